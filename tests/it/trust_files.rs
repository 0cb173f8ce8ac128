//! The files by which clients use and trust the proxy: published, handed out while it runs, and read by a shell.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::support::guard;
use crate::support::origin::Origin;
use crate::support::proxy::TestProxy;

async fn output(command: &mut Command) -> Vec<u8> {
    let output = guard("a command", command.env_clear().env("PATH", "/usr/bin:/bin").output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test]
async fn what_is_published_is_what_ca_export_hands_out() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("a folder");
    let origin = Origin::start(&[]).await;
    let proxy = TestProxy::builder().trust(origin.ca_file()).set("ca.publish", directory.to_str().unwrap()).start().await;
    for (format, name) in [("pem", "ca.pem"), ("bundle", "bundle.pem"), ("env", "proxy.env")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
        command.args(["ca", "export", "--format", format, "--set", &format!("admin.address={}", proxy.admin())]);
        let exported = String::from_utf8(output(&mut command).await).unwrap();
        let published = std::fs::read_to_string(directory.join(name)).unwrap();
        // The comment above a published certificate is for people.
        let plain = |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        assert_eq!(plain(&exported), plain(&published), "{name}");
        assert!(!exported.is_empty(), "{name}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
    command.args(["ca", "export", "--format", "p12", "--set", &format!("admin.address={}", proxy.admin())]);
    let exported = output(&mut command).await;
    // Salts differ from one to the next.
    assert_eq!(exported.len(), std::fs::metadata(directory.join("truststore.p12")).unwrap().len() as usize);
    let names = std::fs::read_dir(&directory).unwrap().count();
    assert_eq!(names, 4, "nothing else is left there");
    proxy.finish().await;
    origin.finish().await;
}

/// Where it works, publishes and has its temporary files, for all of its life.
#[tokio::test]
async fn no_key_is_written_unless_ca_directory_asks() {
    for kept in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        for name in ["here", "trust", "tmp"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
        command.current_dir(folder.path().join("here")).env("TMPDIR", folder.path().join("tmp")).kill_on_drop(true);
        // The program that it runs looks at what is there as long as it lives.
        command.args(["run", "--", "sh", "-c", "ls \"$TMPDIR\"/*/truststore.p12 && ! grep -rq 'PRIVATE KEY' \"$TMPDIR\""]);
        let seen = folder.path().join("trust");
        let mut serve = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
        serve.current_dir(folder.path().join("here")).env("TMPDIR", folder.path().join("tmp")).kill_on_drop(true);
        serve.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--publish", "../trust"]);
        if kept {
            serve.args(["--set", "ca.directory=../kept"]);
        }
        let mut serving = serve.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        guard("the published files", async {
            while !seen.join("proxy.env").exists() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let run = guard("a run", command.output()).await.unwrap();
        assert!(run.status.success(), "{run:?}");
        let mut holders = Vec::new();
        holding_keys(folder.path(), &mut holders);
        let want = if kept { vec![folder.path().join("kept/ca-key.pem")] } else { Vec::new() };
        assert_eq!(holders, want);
        serving.kill().await.unwrap();
    }
}

/// The files below `folder` that hold a private key, as PEM or as PKCS#12 shows it by its object identifier.
fn holding_keys(folder: &Path, found: &mut Vec<PathBuf>) {
    const SHROUDED_KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x02];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holding_keys(&path, found);
            continue;
        }
        let content = std::fs::read(&path).unwrap();
        let holds = |words: &[u8]| content.windows(words.len()).any(|window| window == words);
        if holds(b"PRIVATE KEY") || holds(SHROUDED_KEY_BAG) {
            found.push(path);
        }
    }
}

#[tokio::test]
async fn a_shell_that_reads_proxy_env_gives_its_programs_the_proxy_and_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("it's a folder");
    let proxy = TestProxy::builder().set("ca.publish", directory.to_str().unwrap()).start().await;
    let script = ". \"$1/proxy.env\" && env";
    let printed = output(Command::new("sh").args(["-c", script, "sh", directory.to_str().unwrap()])).await;
    let printed = String::from_utf8(printed).unwrap();
    let value = |name: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {name} in {printed}")).to_owned()
    };
    for name in ["HTTPS_PROXY", "https_proxy"] {
        assert_eq!(value(name), format!("http://{}", proxy.address()));
    }
    for (name, file) in [
        ("REQUESTS_CA_BUNDLE", "bundle.pem"),
        ("SSL_CERT_FILE", "bundle.pem"),
        ("CURL_CA_BUNDLE", "bundle.pem"),
        ("NODE_EXTRA_CA_CERTS", "ca.pem"),
    ] {
        assert_eq!(Path::new(&value(name)), directory.join(file));
        assert!(std::fs::read_to_string(value(name)).unwrap().contains(proxy.ca_pem().trim()), "{name}");
    }
    let java = value("JAVA_TOOL_OPTIONS");
    assert!(java.contains(&format!("-Dhttps.proxyPort={} ", proxy.address().port())), "{java}");
    assert!(java.contains(directory.join("truststore.p12").to_str().unwrap()), "{java}");
    proxy.finish().await;
}

#[tokio::test]
async fn a_kept_authority_is_exported_in_every_form_without_a_running_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::later(&["a.example"]);
    let kept = format!("ca.directory=\"{}\"", folder.path().join("ca").display());
    // A machine without roots of its own has these.
    let roots = format!("upstream.ca_files=[\"{}\"]", origin.ca_file().display());
    for (format, want) in [
        ("pem", &b"-----BEGIN CERTIFICATE-----"[..]),
        ("bundle", b"-----BEGIN CERTIFICATE-----"),
        // The version of every PKCS#12 file, at its beginning; how its length is written depends on the machine's roots.
        ("p12", b"\x02\x01\x03"),
        ("env", b"export HTTPS_PROXY='http://127.0.0.1:4128'\n"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
        command.args(["ca", "export", "--format", format, "--set", &kept, "--set", &roots]);
        command.args(["--set", "listen.address=127.0.0.1:4128"]);
        let exported = output(&mut command).await;
        assert!(exported.windows(want.len()).any(|part| part == want), "{format}");
    }
}
