//! The program as a process: what it prints, how it starts, stops and fails, and what it never prints.

use std::fs::Permissions;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::support::action::{reset, respond, wait};
use super::support::batch::{HOST, empty, error};
use super::support::client::{Client, Tunnel, request};
use super::support::echo::{EchoServer, FAREWELL};
use super::support::fixture::wire;
use super::support::gate::Gate;
use super::support::guard;
use super::support::metric::assert_metric;
use super::support::metric::sum;
use super::support::origin::Origin;
use super::support::pki::Authority;

/// The running program and everything it has written to standard error.
pub(super) struct Program {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
    pub(super) proxy: SocketAddr,
    pub(super) admin: SocketAddr,
}

// === impl Program ===

impl Program {
    /// Starts `serve` on ports of the system's choice and waits until it listens.
    pub(super) async fn start(args: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", args).await
    }

    /// The same, with the proxy at `listen`.
    pub(super) async fn start_at(listen: &str, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
        command.args(["serve", "--listen", listen, "--admin-listen", "127.0.0.1:0"]).args(args);
        Self::spawn(command).await
    }

    /// Runs a command that becomes the program, and waits until it listens.
    pub(super) async fn spawn(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let (counter, count) = watch::channel(0);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok(Some(line)) = stderr.next_line().await {
                kept.lock().unwrap().push(line);
                counter.send_modify(|count| *count += 1);
            }
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut program = Self { child, lines, count, proxy: unknown, admin: unknown };
        let line = program.line("listening").await;
        program.proxy = address(&line, "proxy");
        program.admin = address(&line, "admin");
        program
    }

    /// Waits for a line that contains `words`.
    pub(super) async fn line(&mut self, words: &str) -> String {
        guard(&format!("a line with {words:?}"), self.said(words)).await
    }

    /// The same for what may take longer than most. Of many such lines it is the first.
    ///
    /// # Panics
    /// If the program ends without one.
    pub(super) async fn said(&mut self, words: &str) -> String {
        let (lines, count) = (&self.lines, &mut self.count);
        let found = || lines.lock().unwrap().iter().find(|line| line.contains(words)).cloned();
        loop {
            count.mark_unchanged();
            if let Some(line) = found() {
                return line;
            }
            count.changed().await.unwrap_or_else(|_| panic!("it ended: {:?}", lines.lock().unwrap()));
        }
    }

    pub(super) fn stderr(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    pub(super) async fn fetch(&self, path: &str) -> String {
        Client::connect(self.admin).await.request(&request("GET", path, "localhost", &[], "")).await.text()
    }

    /// Waits until the series of `name` that carry all of `labels` add up to `want` or more.
    pub(super) async fn until(&self, name: &str, labels: &[(&str, &str)], want: f64) {
        guard(&format!("{name}{labels:?} at {want}"), async {
            while sum(&self.fetch("/metrics").await, name, labels) < want {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// The most memory it has had so far, in KiB; Linux only.
    pub(super) fn peak_memory(&self) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.id())));
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// The id of its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(super) async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().await.unwrap().success());
    }

    pub(super) async fn exit_code(mut self) -> Option<i32> {
        guard("the end of the program", self.ended()).await
    }

    /// The same for what may take longer than most.
    pub(super) async fn ended(&mut self) -> Option<i32> {
        self.child.wait().await.unwrap().code()
    }
}

#[tokio::test]
async fn it_says_on_the_terminal_what_to_set() {
    let directory = tempfile::tempdir().unwrap();
    let published = directory.path().join("trust");
    let program = Program::start(&["--log-format", "text", "--publish", text(&published)]).await;
    let said = program.stderr();
    assert!(said.contains(&format!(". {}", published.join("proxy.env").display())), "{said}");
    let bundle = published.join("bundle.pem");
    let plain = Program::start(&["--log-format", "text"]).await;
    let (said, proxy) = (plain.stderr(), plain.proxy);
    for words in [
        format!("export HTTPS_PROXY=http://{proxy} https_proxy=http://{proxy}"),
        "export REQUESTS_CA_BUNDLE=".to_owned(),
        "NODE_EXTRA_CA_CERTS=".to_owned(),
        "NO_PROXY=169.254.169.254".to_owned(),
    ] {
        assert!(said.contains(&words), "{words} is not in:\n{said}");
    }
    let (root, bundle) = (read(&published.join("ca.pem")), read(&bundle));
    assert!(bundle.trim_end().ends_with(root.trim_end()) && bundle.len() > root.len());
    assert!(root.ends_with(&program.fetch("/ca.pem").await));
}

#[tokio::test]
async fn a_running_proxy_can_be_waited_for_and_its_authority_exported() {
    let program = Program::start(&[]).await;
    let admin = format!("admin.address={}", program.admin);
    for command in [&["wait", "--timeout", "20s"][..], &["healthcheck"]] {
        assert_output(&run(&[command, &["--set", &admin]].concat()).await, 0, "", "");
    }
    let root = program.fetch("/ca.pem").await;
    assert_output(&run(&["ca", "export", "--set", &admin]).await, 0, &root, "");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bundle.pem");
    let export = ["ca", "export", "--format", "bundle", "--out", text(&file), "--set", &admin];
    assert_output(&run(&export).await, 0, "", "");
    assert_eq!(read(&file), program.fetch("/bundle.pem").await);
    let shown = run(&["ca", "show", "--set", &admin]).await;
    assert!(String::from_utf8(shown.stdout).unwrap().contains("batch-retry-proxy CA"));
}

#[tokio::test]
async fn without_a_proxy_the_probes_fail_with_what_to_check() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = taken.local_addr().unwrap();
    drop(taken);
    let admin = format!("admin.address={free}");
    for command in [&["wait", "--timeout", "100ms"][..], &["healthcheck"], &["ca", "export"]] {
        let output = run(&[command, &["--set", &admin]].concat()).await;
        assert_refused(&output, 69, &[&free.to_string(), "admin.address"]);
    }
}

/// A restart keeps the authority; its key is for the owner alone.
#[tokio::test]
async fn an_authority_kept_in_a_directory_outlives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let kept = format!("ca.directory={}", text(directory.path()));
    let mut roots = Vec::new();
    for _ in 0..2 {
        let program = Program::start(&["--set", &kept]).await;
        roots.push(program.fetch("/ca.pem").await);
        program.signal("TERM").await;
        assert_eq!(program.exit_code().await, Some(0));
    }
    assert_eq!(roots[0], roots[1]);
    assert_output(&run(&["ca", "export", "--set", &kept]).await, 0, &roots[0], "");
    let key = directory.path().join("ca-key.pem");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    assert_refused(&run(&["--set", &kept]).await, 69, &["ca.directory", text(&key)]);
}

#[tokio::test]
async fn a_start_that_cannot_be_is_one_line_that_names_the_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = (taken.local_addr().unwrap().to_string(), taken);
    let file = tempfile::NamedTempFile::new().unwrap();
    let in_the_way = file.path().join("trust");
    let free = "127.0.0.1:0";
    for (args, code, words) in [
        (vec!["--listen", &taken.0, "--admin-listen", free], 69, vec![taken.0.as_str(), "listen.address", "in use"]),
        (vec!["--listen", free, "--admin-listen", &taken.0], 69, vec![&taken.0, "admin.address", "in use"]),
        (
            vec!["--listen", free, "--admin-listen", free, "--publish", text(&in_the_way)],
            69,
            vec!["ca.publish", text(&in_the_way)],
        ),
        (vec!["--set", "upstream.ca_files=['/does/not/exist.pem']"], 78, vec!["upstream.ca_files", "/does/not/exist.pem"]),
    ] {
        assert_refused(&run(&args).await, code, &words);
    }
}

/// The first signal drains, and an open tunnel is part of what is drained.
#[tokio::test]
async fn sigterm_lets_an_open_tunnel_finish() {
    for signal in ["TERM", "INT"] {
        let echo = EchoServer::start().await;
        let resolve = format!("upstream.resolve={{\"login.example:443\" = \"{}\"}}", echo.address());
        let mut program = Program::start(&["--set", &resolve]).await;
        let mut client = Tunnel::open(program.proxy, "login.example:443", None).await.plain();
        program.signal(signal).await;
        program.line("draining").await;
        client.send_raw(b"still here").await.unwrap();
        assert_eq!(client.read_exactly(10).await.unwrap(), b"still here");
        client.shutdown_write().await;
        assert_eq!(client.read_to_end().await.unwrap(), FAREWELL);
        assert_eq!(program.exit_code().await, Some(0), "{signal}");
    }
}

#[tokio::test]
async fn sigterm_lets_a_request_under_way_finish() {
    let (origin, mut program, _directory) = behind_proxy().await;
    let gate = Gate::new();
    origin.queue([wait(&gate).then(respond(200, &[], "finished"))]);
    let tunnel = Tunnel::open(program.proxy, &format!("{HOST}:443"), None).await;
    let mut client = tunnel.tls(&program.fetch("/ca.pem").await, HOST, &[]).await.unwrap();
    client.send_raw(&request("GET", "/jobs", HOST, &[], "")).await.unwrap();
    gate.arrived().await;
    program.signal("TERM").await;
    program.line("draining").await;
    gate.open();
    assert_eq!(client.read_response("GET").await.unwrap().text(), "finished");
    assert_eq!(program.exit_code().await, Some(0));
    origin.finish().await;
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let echo = EchoServer::start().await;
    let resolve = format!("upstream.resolve={{\"login.example:443\" = \"{}\"}}", echo.address());
    let mut program = Program::start(&["--set", &resolve, "--set", "shutdown.grace=10m"]).await;
    let _client = Tunnel::open(program.proxy, "login.example:443", None).await;
    program.signal("TERM").await;
    program.line("draining").await;
    program.signal("TERM").await;
    assert_eq!(program.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_shutdown_over_http_works_only_where_it_is_allowed() {
    for (allowed, status) in [("false", 404), ("true", 202)] {
        let program = Program::start(&["--set", &format!("admin.allow_shutdown={allowed}")]).await;
        let post = request("POST", "/shutdown", "localhost", &[("Content-Length", "0")], "");
        assert_eq!(Client::connect(program.admin).await.request(&post).await.status, status);
        if status == 202 {
            assert_eq!(program.exit_code().await, Some(0));
        }
    }
}

/// One line that names the cause and the variable for that kind of client, guessed from its CONNECT.
#[tokio::test]
async fn a_client_that_does_not_trust_is_told_in_the_log_what_to_set() {
    for (connect, variable) in [
        ("connect/py15.http", "REQUESTS_CA_BUNDLE"),
        ("connect/js-core.http", "NODE_EXTRA_CA_CERTS"),
        ("connect/curl.http", "CURL_CA_BUNDLE"),
    ] {
        let mut program = Program::start(&[]).await;
        let tunnel = Tunnel::open(program.proxy, &format!("{HOST}:443"), Some(&wire(connect))).await;
        assert!(tunnel.tls(Authority::new("stranger").pem(), HOST, &[]).await.is_err());
        let line = program.line("does not trust").await;
        assert!(line.contains(variable), "{connect}: {line}");
        let failures = [("side", "client"), ("reason", "unknown_ca")];
        assert_metric(&program.fetch("/metrics").await, "batch_retry_proxy_tls_handshake_failures_total", &failures, 1.0);
        assert_eq!(program.stderr().matches("does not trust").count(), 1, "{connect}");
    }
}

/// Node looks at the certificate after the handshake and hangs up without an alert.
#[tokio::test]
async fn a_real_node_is_told_apart_by_whether_it_trusts() {
    if !installed("node").await {
        return;
    }
    let (origin, mut program, directory) = behind_proxy().await;
    origin.script(|_| respond(200, &[], "from batch"));
    let script = format!(
        "const http = require('http'), tls = require('tls');
         http.request({{host: '127.0.0.1', port: {}, method: 'CONNECT', path: '{HOST}:443', headers: {{Connection: 'close'}}}})
           .on('connect', (_, socket) => {{
             const secure = tls.connect({{socket, servername: '{HOST}'}}, () =>
               secure.write('GET /jobs HTTP/1.1\\r\\nHost: {HOST}\\r\\nConnection: close\\r\\n\\r\\n'));
             secure.on('error', error => {{ console.log(error.code); process.exit(3); }});
             secure.pipe(process.stdout);
           }}).end();",
        program.proxy.port()
    );
    let node = |trust: Option<&Path>| {
        let mut command = Command::new("node");
        command.args(["-e", &script]).env_remove("NODE_EXTRA_CA_CERTS");
        command.envs(trust.map(|file| ("NODE_EXTRA_CA_CERTS", file)));
        command
    };
    let refused = guard("node", node(None).output()).await.unwrap();
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let line = program.line("does not trust").await;
    assert!(line.contains("NODE_EXTRA_CA_CERTS"), "{line}");
    let served = guard("node", node(Some(&directory.path().join("bundle.pem"))).output()).await.unwrap();
    assert!(String::from_utf8_lossy(&served.stdout).ends_with("from batch"), "{served:?}");
    assert_eq!(program.stderr().matches("does not trust").count(), 1);
    origin.finish().await;
}

#[tokio::test]
async fn a_real_curl_works_with_the_published_bundle_and_not_without() {
    if !installed("curl").await {
        return;
    }
    let (origin, program, directory) = behind_proxy().await;
    origin.queue([error(503, "ServerBusy", &[]), respond(200, &[], "from batch")]);
    let curl = |trust: &Path| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", &format!("https://{HOST}/jobs")]);
        command.env("HTTPS_PROXY", format!("http://{}", program.proxy)).env_remove("NO_PROXY").env_remove("no_proxy");
        command.env("CURL_CA_BUNDLE", trust).env("SSL_CERT_DIR", "/nonexistent");
        command
    };
    let stranger = directory.path().join("stranger.pem");
    std::fs::write(&stranger, Authority::new("stranger").pem()).unwrap();
    let refused = guard("curl", curl(&stranger).output()).await.unwrap();
    assert_eq!(refused.status.code(), Some(60), "{refused:?}");
    let served = guard("curl", curl(&directory.path().join("bundle.pem")).output()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&served.stdout), "from batch", "{served:?}");
    origin.finish().await;
}

/// Whatever happens to them: no credential, signature, cookie or body is written anywhere.
#[tokio::test]
async fn secrets_reach_no_log_metric_or_status() {
    let (origin, program, _directory) = behind_proxy_with(&["--log-level", "trace"]).await;
    let detail = format!(
        "{{\"code\":\"AuthenticationFailed\",\"values\":[{{\"key\":\"AuthenticationErrorDetail\",\"value\":\"{MARK}7\"}}]}}"
    );
    origin.queue([
        empty(202),
        error(503, "ServerBusy", &[]),
        empty(202),
        respond(403, &[("Content-Type", "application/json"), ("Set-Cookie", &format!("a={MARK}8"))], detail),
        reset(),
    ]);
    let connect = format!("CONNECT {HOST}:443 HTTP/1.1\r\nProxy-Authorization: Basic {MARK}1\r\n\r\n");
    let tunnel = Tunnel::open(program.proxy, &format!("{HOST}:443"), Some(connect.as_bytes())).await;
    let mut client = tunnel.tls(&program.fetch("/ca.pem").await, HOST, &[]).await.unwrap();
    let fields = [("Authorization", format!("SharedKey testacct:{MARK}2")), ("Cookie", format!("b={MARK}3"))];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let target = format!("/pools/p/nodes/n/reboot?sig={MARK}4&api-version=2025-06-01");
    for (method, target, status) in
        [("PUT", "/jobs/j", 202), ("DELETE", "/jobs/j", 202), ("GET", "/jobs", 403), ("POST", target.as_str(), 502)]
    {
        let response =
            client.request(&request(method, target, HOST, &fields, format!("{{\"password\":\"{MARK}5\"}}"))).await;
        assert_eq!(response.status, status, "{method} {target}");
    }
    let blob =
        format!("GET http://127.0.0.1:9/container?sig={MARK}6 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MARK}9\r\n\r\n");
    assert_eq!(Client::connect(program.proxy).await.request(blob.as_bytes()).await.status, 502);
    let mut written = String::new();
    for path in ["/metrics", "/status", "/config"] {
        written += &program.fetch(path).await;
    }
    written += &program.stderr();
    assert!(written.contains("replaying") && written.contains("not replayed"), "the log says what happened:\n{written}");
    let shown: Vec<&str> = written.lines().filter(|line| line.contains(MARK)).collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
    origin.finish().await;
}

/// A support ticket can be written from a replay's line.
#[tokio::test]
async fn a_replay_is_logged_with_what_a_support_ticket_needs() {
    let (origin, mut program, _directory) = behind_proxy().await;
    origin.queue([error(503, "ServerBusy", &[("Retry-After", "1")]), empty(202)]);
    let tunnel = Tunnel::open(program.proxy, &format!("{HOST}:443"), None).await;
    let mut client = tunnel.tls(&program.fetch("/ca.pem").await, HOST, &[]).await.unwrap();
    let fields = [("client-request-id", "the-clients-id")];
    assert_eq!(client.request(&request("DELETE", "/jobs/j", HOST, &fields, "")).await.status, 202);
    let line: Value = serde_json::from_str(&program.line("\"replaying\"").await).unwrap();
    let want = serde_json::json!({
        "level": "INFO",
        "operation": "Jobs_DeleteJob",
        "account": "testacct.westeurope",
        "attempt": 1,
        "class": "throttled",
        "cause": "503 ServerBusy",
        "client_request_id": "the-clients-id",
    });
    for (key, value) in want.as_object().unwrap() {
        assert_eq!(&line[key], value, "{key} in {line}");
    }
    assert!(line["wait_seconds"].as_f64().unwrap() >= 1.0 && line["request_id"].is_string(), "{line}");
    origin.finish().await;
}

/// An origin behind the program, which publishes what its clients need.
async fn behind_proxy() -> (Origin, Program, TempDir) {
    behind_proxy_with(&[]).await
}

pub(super) async fn behind_proxy_with(args: &[&str]) -> (Origin, Program, TempDir) {
    let origin = Origin::start(&[HOST]).await;
    let directory = tempfile::tempdir().unwrap();
    let publish = format!("ca.publish={}", text(directory.path()));
    let program = behind(&origin, &[&["--set", &publish], args].concat()).await;
    (origin, program, directory)
}

/// The program, which reaches this origin and waits briefly.
pub(super) async fn behind(origin: &Origin, args: &[&str]) -> Program {
    let settings = [
        format!("upstream.ca_files=['{}']", origin.ca_file().display()),
        format!("upstream.resolve={{\"{HOST}:443\" = \"{}\"}}", origin.address()),
        "retry.backoff.initial=20ms".to_owned(),
        "retry.backoff.max=100ms".to_owned(),
    ];
    let settings = settings.iter().flat_map(|setting| ["--set", setting.as_str()]);
    Program::start(&settings.chain(args.iter().copied()).collect::<Vec<_>>()).await
}

/// Runs the program to its end.
pub(super) async fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
    guard("the end of the program", command.args(args).stdin(Stdio::null()).kill_on_drop(true).output()).await.unwrap()
}

#[track_caller]
fn assert_output(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str(), text(&output.stderr).as_str()),
        (Some(code), stdout, stderr)
    );
}

/// One line on standard error, with all of `words`, and this code.
#[track_caller]
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.starts_with("batch-retry-proxy: ") && stderr.lines().count() == 1, "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in {stderr}");
    }
}

/// Whether a client is on this machine; says so where it is not.
async fn installed(name: &str) -> bool {
    let found = Command::new(name).arg("--version").output().await.is_ok();
    if !found {
        eprintln!("skipped: there is no {name}");
    }
    found
}

/// The address that a log line, in JSON or text, gives for `key`.
fn address(line: &str, key: &str) -> SocketAddr {
    let json = serde_json::from_str::<Value>(line).ok().and_then(|line| Some(line[key].as_str()?.to_owned()));
    let text = || line.split_whitespace().find_map(|word| word.strip_prefix(&format!("{key}="))).map(str::to_owned);
    json.or_else(text).unwrap_or_else(|| panic!("no {key} in {line}")).parse().unwrap()
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// In every secret, and nowhere else.
pub(super) const MARK: &str = "c2VjcmV0LW1hcms";
