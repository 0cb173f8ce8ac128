//! What the fuzzers in `fuzz/` feed with bytes. Each holds what it finds to what must be true of it, and panics where it is not.
//!
//! Built for the fuzzers and for tests alone. An input that once broke one of them is kept in `tests/fixtures/fuzz`, in the folder of its
//! function's name and beside what the fuzzer begins with, and the test here feeds it again. The whole proxy, and bodies that are sent again,
//! are fed through sockets: they need nothing of this.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::batch::echo::{self, Echo};
use crate::batch::fault;
use crate::batch::operation::{Idempotency, OperationTable};
use crate::config::{Loaded, Sources};
pub use crate::proxy::fuzzing::route;
use crate::retry::retry_after;
use crate::retry::subject::Subject;

/// A file, and behind zero bytes arguments of `--set` and environment variables in turn.
pub fn configuration(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0);
    let file = parts.next().unwrap_or_default();
    let mut sources = Sources { file: Some(PathBuf::from("fuzz.toml")), ..Sources::default() };
    for (nth, part) in parts.enumerate() {
        let text = String::from_utf8_lossy(part).into_owned();
        match text.split_once('=') {
            Some((name, value)) if nth % 2 == 1 => sources.env.push((name.to_owned(), value.to_owned())),
            _ => sources.set.push(text),
        }
    }
    match Loaded::with_file(&sources, Some(file)) {
        Ok(loaded) => {
            let effective = loaded.effective().to_json();
            assert!(serde_json::from_str::<serde_json::Value>(&effective).is_ok(), "no JSON: {effective}");
            assert!(loaded.differences(&loaded).is_empty(), "settings that differ from themselves");
            let settings = loaded.into_settings();
            assert!(settings.listen.max_connections > 0, "a proxy that takes nobody");
            assert!(!settings.listen.header_timeout.is_zero(), "a proxy that waits for nobody");
        }
        Err(error) => assert!(!error.to_string().is_empty(), "an error without words"),
    }
}

/// A byte that says whether what follows is compressed, and the body of an answer.
pub fn error_body(data: &[u8]) {
    let Some((packed, body)) = data.split_first() else { return };
    let code = fault::code(body, (packed % 2 == 1).then_some("gzip"));
    if let Some(code) = &code {
        assert!((1..=128).contains(&code.len()), "a code of {} bytes", code.len());
        assert!(code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)), "no code: {code:?}");
        let label = fault::label(code);
        assert!(label == "other" || label == code, "{code} is called {label}");
        let _ = fault::kind(code);
    }
    // Where nothing is cut, escaped or there twice, everybody must see the same code.
    let plain = packed % 2 == 0 && body.len() <= 1024 && !body.contains(&b'\\') && count(body, b"\"code\"") == 1;
    if plain && let Ok(read) = serde_json::from_slice::<serde_json::Value>(body) {
        let text = read.get("code").and_then(serde_json::Value::as_str);
        let plausible = |code: &&str| {
            (1..=128).contains(&code.len())
                && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        if let Some(text) = text.filter(plausible) {
            assert_eq!(code.as_deref(), Some(text), "another code than a JSON reader sees");
        }
    }
}

/// A method, a line end, and a path.
pub fn operation(data: &[u8]) {
    let Some((method, path)) = halves(data) else { return };
    let (Ok(method), Ok(path)) = (Method::from_bytes(method), std::str::from_utf8(path)) else { return };
    let subject = Subject::of(&method, path);
    let Some(row) = subject.operation() else {
        assert_eq!(subject.idempotency(), Idempotency::of_method(&method), "{method} {path}: nothing is known of it");
        return;
    };
    assert!(OperationTable::all().any(|other| other == row), "{method} {path}: a row that is in no table");
    assert!(path.starts_with('/') && !path.contains("//"), "{method} {path} is {}", row.name);
    let literals = row.path.split('/').filter(|segment| !segment.is_empty() && !segment.contains('{'));
    for literal in literals {
        let word = literal.split(['(', '=']).next().unwrap_or(literal);
        assert!(path.contains(word), "{method} {path} is {}, without {word}", row.name);
    }
    if row.idempotency != Idempotency::Safe {
        assert!(![Method::GET, Method::HEAD].contains(&method), "{method} {path} is {}, which changes something", row.name);
    }
    assert!(echo::success(row).is_none_or(|status| status.is_success()), "{}", row.name);
    for (code, found) in Echo::all(row) {
        let refusals = [StatusCode::CONFLICT, StatusCode::NOT_FOUND];
        let again = refusals.iter().any(|status| Echo::of(row, *status, code) == Some(found));
        assert!(again, "{} is not known by {code}", row.name);
    }
}

/// A number of seconds, and the fields of an answer, each as a line.
pub fn retry_after(data: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut lines = data.split(|byte| *byte == b'\n');
    let seconds = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse::<u32>().ok()).unwrap_or_default();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let Some(wait) = retry_after::hint(&headers, now) else { return };
    assert!(!wait.is_zero(), "a hint to wait for nothing");
    assert!(wait <= Duration::from_secs(366 * 24 * 60 * 60), "a hint to wait for {wait:?}");
    // A hint more never makes the wait shorter.
    headers.append("retry-after", HeaderValue::from_static("1"));
    assert!(retry_after::hint(&headers, now).is_some_and(|longer| longer >= wait), "less than {wait:?}");
}

/// What is before and behind the first line end.
pub(crate) fn halves(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = data.iter().position(|byte| *byte == b'\n')?;
    Some((&data[..at], &data[at + 1..]))
}

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).filter(|window| *window == needle).count()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 5] = [
        ("configuration", configuration),
        ("error_body", error_body),
        ("operation", operation),
        ("retry_after", retry_after),
        ("route", route),
    ];

    #[test]
    fn every_input_that_is_kept_is_taken() {
        let mut inputs = 0;
        for (name, target) in TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fuzz").join(name);
            for input in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
                let input = input.unwrap().path();
                println!("{}", input.display());
                target(&std::fs::read(input).unwrap());
                inputs += 1;
            }
        }
        assert!(inputs >= TARGETS.len(), "only {inputs}");
    }
}
