//! `run` as a process: what the command is given, what becomes of its status and of signals, and that real clients need nothing more.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::support::origin::Origin;
use crate::support::{batch, guard_for};

/// `run` with `arguments`, and no variables but where programs are.
fn run(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
    command.arg("run").args(arguments).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").kill_on_drop(true);
    command
}

async fn output(mut command: Command) -> Output {
    guard_for(PATIENCE, "the end of a run", command.stdin(Stdio::null()).output()).await.unwrap()
}

/// Exit code, standard output and standard error.
fn report(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn value<'a>(variables: &'a str, name: &str) -> &'a str {
    let mut values = variables.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.next().unwrap_or_else(|| panic!("no {name} in {variables}"))
}

#[tokio::test]
async fn the_command_is_given_the_proxy_and_files_that_are_gone_afterwards() {
    let folder = TempDir::new().unwrap();
    // The files go away with the run, so the command copies them.
    let script = "cp \"$SSL_CERT_FILE\" \"$1/bundle.pem\"; cp \"$NODE_EXTRA_CA_CERTS\" \"$1/node.pem\"; env";
    let mut command = run(&["--", "sh", "-c", script, "sh", folder.path().to_str().unwrap()]);
    let own = Origin::later(&["a.example"]);
    let own_node = Origin::later(&["b.example"]);
    command.env("REQUESTS_CA_BUNDLE", own.ca_file()).env("NODE_EXTRA_CA_CERTS", own_node.ca_file());
    command.env("NO_PROXY", "corp.example").env("HTTP_PROXY", "http://other:1").env("JAVA_TOOL_OPTIONS", "-Xmx1g");
    command.env("TMPDIR", folder.path());
    let (code, variables, stderr) = report(&output(command).await);
    assert_eq!(code, Some(0), "{stderr}");

    let url = value(&variables, "HTTPS_PROXY");
    assert!(url.starts_with("http://127.0.0.1:") && value(&variables, "https_proxy") == url, "{variables}");
    assert_eq!(value(&variables, "HTTP_PROXY"), "http://other:1");
    let direct = "corp.example,169.254.169.254,168.63.129.16,localhost,127.0.0.1";
    assert_eq!((value(&variables, "NO_PROXY"), value(&variables, "no_proxy")), (direct, direct));
    let port = url.rsplit(':').next().unwrap();
    let java = value(&variables, "JAVA_TOOL_OPTIONS");
    assert!(java.starts_with("-Xmx1g -Dhttps.proxyHost=127.0.0.1 "), "{java}");
    assert!(java.contains(&format!(" -Dhttps.proxyPort={port} ")), "{java}");
    let bundle = value(&variables, "SSL_CERT_FILE");
    assert_eq!((value(&variables, "REQUESTS_CA_BUNDLE"), value(&variables, "CURL_CA_BUNDLE")), (bundle, bundle));
    assert!(!Path::new(bundle).exists(), "{bundle} is left behind");
    assert!(Path::new(bundle).starts_with(folder.path()), "{bundle}");

    let [bundle, node] = ["bundle.pem", "node.pem"].map(|name| fs::read_to_string(folder.path().join(name)).unwrap());
    for pem in [own.ca_file(), own_node.ca_file()].map(|path| fs::read_to_string(path).unwrap()) {
        assert!(bundle.contains(body(&pem)), "the user's own certificates are in the bundle");
    }
    let node_count = node.matches("BEGIN CERTIFICATE").count();
    assert!(node_count == 2 && node.contains(body(&fs::read_to_string(own_node.ca_file()).unwrap())), "{node}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// What is between the first and the last line of a certificate, whatever ends the lines.
fn body(pem: &str) -> &str {
    pem.lines().nth(1).unwrap()
}

#[tokio::test]
async fn the_status_is_the_commands_as_a_shell_has_it() {
    let folder = TempDir::new().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "no program").unwrap();
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    let plain = plain.to_str().unwrap();
    for (command, code, says) in [
        (&["--", "true"][..], 0, CLOSING),
        (&["--", "sh", "-c", "exit 7"], 7, CLOSING),
        (&["--", "sh", "-c", "kill -KILL $$"], 128 + 9, CLOSING),
        (&["--", "sh", "-c", "kill -TERM $$"], 128 + 15, CLOSING),
        (&["--", "no-such-program"], 127, "batch-retry-proxy: command not found: no-such-program\n"),
        (&["--", plain], 126, "batch-retry-proxy: cannot execute "),
        (&[], 2, "batch-retry-proxy: the following required arguments were not provided: <COMMAND>"),
        (&["--"], 2, "batch-retry-proxy: the following required arguments were not provided: <COMMAND>"),
        (&["--set", "retry.deadlin=1s", "--", "true"], 78, "batch-retry-proxy: unknown key `retry.deadlin`"),
    ] {
        let (status, stdout, stderr) = report(&output(run(command)).await);
        assert_eq!((status, &*stdout), (Some(code), ""), "{command:?}: {stderr}");
        assert!(stderr.starts_with(says), "{command:?}: {stderr}");
    }
}

#[tokio::test]
async fn signals_are_passed_on_once_and_the_command_has_the_last_word() {
    // `read` waits for the pipe, which stays open; the trap runs when the signal comes.
    let script = "n=0; for s in HUP INT QUIT TERM; do trap \"n=\\$((n+1)); echo $s \\$n\" $s; done; echo ready; \
                  while read line; do exit $((n+40)); done; read line; exit $((n+40))";
    for (signal, want) in
        [(Signal::HUP, "HUP 1"), (Signal::INT, "INT 1"), (Signal::QUIT, "QUIT 1"), (Signal::TERM, "TERM 1")]
    {
        let mut command = run(&["--", "sh", "-c", script]);
        // In a group of its own it is not in a terminal's foreground, wherever the tests run.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = command.spawn().unwrap();
        let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
        let mut next = async || guard_for(PATIENCE, "a line", lines.next_line()).await.unwrap();
        assert_eq!(next().await.as_deref(), Some("ready"));
        kill_process(Pid::from_raw(running.id().unwrap() as i32).unwrap(), signal).unwrap();
        assert_eq!(next().await.as_deref(), Some(want), "{signal:?}");
        let mut stdin = running.stdin.take().unwrap();
        stdin.write_all(b"end\nend\n").await.unwrap();
        drop(stdin);
        let output = guard_for(PATIENCE, "the end of a run", running.wait_with_output()).await.unwrap();
        assert_eq!(output.status.code(), Some(41), "{signal:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn a_host_that_would_bypass_the_proxy_is_warned_of() {
    let mut command = run(&["--", "true"]);
    command.env("no_proxy", ".batch.azure.com");
    let (code, _, stderr) = report(&output(command).await);
    assert_eq!(code, Some(0));
    let want = "batch-retry-proxy: warning: `.batch.azure.com` in NO_PROXY keeps requests to Batch away from the proxy in all programs\n";
    assert!(stderr.starts_with(want), "{stderr}");
}

#[tokio::test]
async fn curl_needs_nothing_but_run() {
    real_client("curl", &["curl", "--silent", "--show-error", "--fail", URL]).await;
}

#[tokio::test]
async fn node_needs_nothing_but_run() {
    // Node's own client knows no proxy, so the script does by hand what its libraries do.
    let script = r#"
        const proxy = new URL(process.env.HTTPS_PROXY), target = new URL(process.argv[1]);
        const fail = error => { console.error(error); process.exit(1); };
        require("http").request({ host: proxy.hostname, port: proxy.port, method: "CONNECT", path: target.host + ":443" })
            .on("connect", (_, socket) => require("https").get(target, { socket, agent: false }, answer => {
                answer.on("data", data => process.stdout.write(data)).on("end", () => process.exit(answer.statusCode == 200 ? 0 : 1));
            }).on("error", fail)).on("error", fail).end();
    "#;
    real_client("node", &["node", "-e", script, URL]).await;
}

#[tokio::test]
async fn java_needs_nothing_but_run() {
    let folder = TempDir::new().unwrap();
    let program = r#"
        import java.net.URI;
        import java.net.http.*;
        public class Read {
            public static void main(String[] arguments) throws Exception {
                var request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
                var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
                System.out.println(answer.body());
                System.exit(answer.statusCode() == 200 ? 0 : 1);
            }
        }
    "#;
    let file = folder.path().join("Read.java");
    fs::write(&file, program).unwrap();
    real_client("java", &["java", file.to_str().unwrap(), URL]).await;
}

/// Runs a client that reads [`URL`] once, from an origin that fails first.
async fn real_client(program: &str, client: &[&str]) {
    if !is_there(program) {
        println!("skipped: there is no {program}");
        return;
    }
    let origin = Origin::start(&[batch::HOST]).await;
    origin.queue([batch::error(503, "ServerBusy", &[("Retry-After", "1")]), batch::json(200, &json!({ "id": "job1" }))]);
    let resolve = format!("upstream.resolve={{ \"{}:443\" = \"{}\" }}", batch::HOST, origin.address());
    let trust = format!("upstream.ca_files=[\"{}\"]", origin.ca_file().display());
    // The wait is then the one that the service names, and a share of it.
    let backoff = "retry.backoff.initial=100ms";
    let arguments = [&["--set", &resolve, "--set", &trust, "--set", backoff, "--"], client].concat();
    let (code, stdout, stderr) = report(&output(run(&arguments)).await);
    assert_eq!((code, stdout.trim()), (Some(0), r#"{"id":"job1"}"#), "{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    // The hint, and up to the interval of the pace that follows it.
    let waited = last.strip_prefix("batch-retry-proxy: 1 request, 1 replay, 0 give-ups, ").expect(last);
    assert!(waited.starts_with(['1', '2', '3']), "{stderr}");
    assert_eq!(origin.requests().len(), 2);
    origin.finish().await;
}

fn is_there(program: &str) -> bool {
    ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|folder| PathBuf::from(folder).join(program).exists())
}

const CLOSING: &str = "batch-retry-proxy: 0 requests, 0 replays, 0 give-ups, 0.0s spent waiting\n";
const URL: &str = "https://testacct.westeurope.batch.azure.com/jobs/job1?api-version=2024-07-01.20.0";
/// Java compiles its program first.
const PATIENCE: Duration = Duration::from_secs(60);
