//! The direction of imports, read from the source: which module may use which, and which crates the pure core may use.
//!
//! The tables below say the same as the crate documentation. Reading words instead of compiling keeps this fast; [`source`] knows
//! enough Rust to skip comments, strings and test code and to open up grouped imports.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use self::source::Source;

mod source;

/// One import that the tables do not allow.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: String,
    message: String,
}

/// Imports run one way only, and the core stays pure.
#[test]
fn imports_follow_the_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dependencies = dependencies(&std::fs::read_to_string(root.join("Cargo.toml")).unwrap());
    let files = rust_files(&root.join("src"));
    assert!(files.len() > 20, "only {} files found", files.len());
    let mut violations = Vec::new();
    let mut imports = 0;
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let name = file.strip_prefix(root.join("src")).unwrap().to_str().unwrap();
        imports += Source::read(&text).paths().count();
        violations.extend(check(name, &text, &dependencies));
    }
    assert!(imports > 30, "only {imports} paths found");
    assert!(violations.is_empty(), "{violations:#?}");
}

/// The tables name each module of the crate and no other.
#[test]
fn every_module_has_a_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let text = std::fs::read_to_string(root).unwrap();
    let declared: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let rows: BTreeSet<&str> = LAYERS.iter().map(|(module, _)| *module).filter(|module| *module != "main").collect();
    assert_eq!(declared, rows);
}

/// Made-up files: what the checker finds in them, and what it leaves alone.
#[test]
fn the_checker_finds_what_is_forbidden() {
    let dependencies =
        dependencies("[dependencies]\nhttp = \"1\"\ntokio-util = \"1\"\ntime = \"1\"\n[dev-dependencies]\ntokio = \"1\"\n");
    for (file, text, want) in [
        ("batch/fault.rs", "use crate::retry::Decision;", &["batch may not use retry"][..]),
        ("batch.rs", "use crate::{batch, retry::{self, policy}};", &["batch may not use retry"]),
        ("retry/policy.rs", "fn f() { let x = crate::proxy::run(); }", &["retry may not use proxy"]),
        ("retry/policy.rs", "use super::super::metrics::Family;", &["retry may not use metrics"]),
        ("metrics.rs", "#[cfg(test)]\nmod tests { use super::{Family, proxy}; }", &[]),
        ("metrics.rs", "use super::proxy;", &["metrics may not use proxy"]),
        ("main.rs", "use batch_retry_proxy::app::App;", &["main may not use app"]),
        ("main.rs", "use batch_retry_proxy::cli;", &[]),
        ("proxy.rs", "use crate::nonsense::X;", &["proxy may not use nonsense"]),
        ("unheard_of.rs", "use crate::batch;", &["unheard_of has no row in the table"]),
        ("proxy/accept.rs", "use crate::{batch::Host, retry::policy as p};\nuse crate::tls;", &[]),
        ("proxy/accept.rs", "use super::Route; pub(crate) fn f() { $crate::batch::x() }", &[]),
        (
            "batch/endpoint.rs",
            "// use crate::retry;\n/* crate::app /* crate::cli */ */ const A: &str = \"crate::tls\";",
            &[],
        ),
        (
            "batch/endpoint.rs",
            "const A: &str = r#\"\"crate::tls\"#; const B: char = '\"'; use crate::app;",
            &["batch may not use app"],
        ),
        ("batch/endpoint.rs", "fn f<'a>(x: &'a str) -> char { '\\'' }\nuse tokio::spawn;", &["the core may not use tokio"]),
        ("retry/gate.rs", "fn f() { tokio_util::sync::x() }", &["the core may not use tokio_util"]),
        ("retry/gate.rs", "use std::{time::Duration, fmt};", &[]),
        ("retry/gate.rs", "use std::{fs, io::Read};", &["the core may not use std::fs"]),
        (
            "retry/gate.rs",
            "use std::{io::{self, stdin}, net::{IpAddr, TcpStream}};",
            &["the core may not use std::io::stdin", "the core may not use std::net::TcpStream"],
        ),
        ("retry/gate.rs", "fn f() { let t = Instant::now(); }", &["the core may not use Instant::now"]),
        ("retry/gate.rs", "fn f() { std::time::SystemTime::now(); }", &["the core may not use std::time::SystemTime::now"]),
        (
            "batch/x.rs",
            "use ::std::thread;\nuse ::std::process as p;",
            &["the core may not use std::process", "the core may not use std::thread"],
        ),
        ("batch/x.rs", "use std::env::*;", &["the core may not use std::env"]),
        (
            "batch/x.rs",
            "#[cfg(test)]\nmod tests { use tokio::spawn; fn f() { std::fs::read(\"\"); } }\nuse std::env;",
            &["the core may not use std::env"],
        ),
        ("batch/x.rs", "#[cfg(test)]\n#[allow(unused)]\nmod tests;\nuse http::StatusCode;", &[]),
        ("batch/x/tests.rs", "use tokio::spawn; use std::fs;", &[]),
        ("batch/x/tests.rs", "use crate::proxy;", &["batch may not use proxy"]),
        ("upstream.rs", "use tokio::spawn; use std::fs;", &[]),
    ] {
        let found = check(file, text, &dependencies);
        let messages: Vec<&str> = found.iter().map(|violation| violation.message.as_str()).collect();
        assert_eq!(messages, want, "{file}: {text}");
        assert!(found.iter().all(|violation| violation.file == file));
    }
}

/// What `text`, the file `name` below `src`, uses against the tables.
fn check(name: &str, text: &str, dependencies: &BTreeSet<String>) -> Vec<Violation> {
    let violation = |message: String| Violation { file: name.to_owned(), message };
    let stem = name.trim_end_matches(".rs");
    let module = stem.split('/').next().unwrap_or_default();
    if module == "lib" {
        return Vec::new();
    }
    let Some((_, allowed)) = LAYERS.iter().find(|(row, _)| *row == module) else {
        return vec![violation(format!("{module} has no row in the table"))];
    };
    let depth = stem.split('/').count();
    let source = Source::read(text);
    let production = source.without_tests();
    let climbed = production.paths().filter_map(|path| climbed_module(path, depth));
    let mut messages = BTreeSet::new();
    for used in source.paths().filter_map(crate_module).chain(climbed) {
        if used != module && !allowed.contains(&used) && *allowed != ["*"] {
            messages.insert(format!("{module} may not use {used}"));
        }
    }
    let is_test = stem.split('/').any(|part| part == "tests");
    if CORE.contains(&module) && !is_test {
        let impure = production.paths().filter_map(|path| impurity(path, dependencies));
        messages.extend(impure.map(|used| format!("the core may not use {used}")));
    }
    messages.into_iter().map(violation).collect()
}

/// The module of this crate that a path leads to from the root.
fn crate_module(path: &[String]) -> Option<&str> {
    let is_absolute = matches!(path.first()?.as_str(), "crate" | "batch_retry_proxy");
    if is_absolute { path.get(1).map(String::as_str) } else { None }
}

/// The module of this crate that a path leads to by climbing out of a file `depth` modules below the root.
fn climbed_module(path: &[String], depth: usize) -> Option<&str> {
    let supers = path.iter().take_while(|word| *word == "super").count();
    let name = path.get(supers)?.as_str();
    // In a module inside the file the same words lead to the file's own items, which are not named like modules.
    let leads_out = supers >= depth && LAYERS.iter().any(|(module, _)| *module == name);
    leads_out.then_some(name)
}

/// What of a path has no place in the core.
fn impurity(path: &[String], dependencies: &BTreeSet<String>) -> Option<String> {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    match words.as_slice() {
        [.., "Instant" | "SystemTime", "now" | "elapsed"] => Some(words.join("::")),
        ["std" | "core", "env" | "fs" | "os" | "process" | "thread", ..] => Some(words[..2].join("::")),
        ["std" | "core", "net", "IpAddr" | "Ipv4Addr" | "Ipv6Addr", ..] => None,
        ["std" | "core", "net", ..] | ["std", "io", "stdin" | "stdout" | "stderr", ..] => Some(words.join("::")),
        [first, ..] if dependencies.contains(*first) && !CORE_CRATES.contains(first) => Some((*first).to_owned()),
        _ => None,
    }
}

/// The crates named in a manifest, as the source spells them.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    ["dependencies", "dev-dependencies"]
        .iter()
        .filter_map(|section| manifest.get(*section)?.as_table())
        .flat_map(|table| table.keys())
        .map(|name| name.replace('-', "_"))
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// A module, and the others it may use; `*` is all of them.
const LAYERS: &[(&str, &[&str])] = &[
    ("batch", &[]),
    ("retry", &["batch"]),
    ("metrics", &["batch", "retry"]),
    ("tls", &["batch", "metrics"]),
    ("http1", &["batch"]),
    ("upstream", &["batch", "http1", "metrics", "retry", "tls"]),
    ("proxy", &["batch", "http1", "metrics", "retry", "shutdown", "telemetry", "tls", "upstream"]),
    ("admin", &["batch", "metrics", "shutdown", "telemetry", "tls"]),
    ("telemetry", &["metrics"]),
    ("shutdown", &[]),
    ("simulator", &["batch", "metrics", "shutdown", "tls"]),
    ("config", &["admin", "batch", "proxy", "retry", "telemetry", "tls", "upstream"]),
    ("app", &["admin", "batch", "config", "metrics", "proxy", "retry", "shutdown", "telemetry", "tls", "upstream"]),
    ("cli", &["*"]),
    ("fuzzing", &["batch", "config", "proxy", "retry"]),
    ("main", &["cli"]),
];

/// The modules without clock, sockets, files, environment or chance.
const CORE: &[&str] = &["batch", "retry"];

/// What the core may use besides the standard library.
const CORE_CRATES: &[&str] = &["base64", "flate2", "http", "httpdate", "humantime", "serde_json", "thiserror"];
