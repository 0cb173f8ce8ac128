//! The server over real sockets, asked by a client that writes raw bytes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tracing::Level;

mod events;
mod html;

use super::*;
use crate::metrics::labels::{ConnectionKind, Fate};
use crate::metrics::{BuildInfo, Metrics};
use crate::telemetry::{self, LogSettings};

/// A server on loopback and what a test changes or looks at beside it.
struct Running {
    address: SocketAddr,
    metrics: Metrics,
    readiness: Readiness,
    logs: telemetry::LogHandle,
    shutdowns: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// An answer, taken apart.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

struct Setup {
    allow_shutdown: bool,
    limits: Limits,
    bundle: Bytes,
}

impl Default for Setup {
    fn default() -> Self {
        Self { allow_shutdown: false, limits: Limits::default(), bundle: Bytes::from_static(b"BUNDLE\n") }
    }
}

impl Setup {
    fn server(self) -> (AdminServer, Metrics, Readiness, telemetry::LogHandle, Arc<AtomicUsize>) {
        let metrics = Metrics::new(BuildInfo { version: "1.2.3", revision: "abc" });
        let readiness = Readiness::default();
        let logs = telemetry::init(LogSettings { level: None, format: None });
        let shutdowns = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&shutdowns);
        let context = AdminContext {
            build: BuildInfo { version: "1.2.3", revision: "abc" },
            proxy_address: SocketAddr::from(([127, 0, 0, 1], 3128)),
            allow_shutdown: Box::new(move || self.allow_shutdown),
            authority: AuthorityInfo {
                subject: "CN=test authority".to_owned(),
                fingerprint: "AB:CD".to_owned(),
                not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
                root_pem: Bytes::from_static(b"ROOT\n"),
                bundle_pem: self.bundle,
            },
            truststore: Box::new(|| Some(Bytes::from_static(b"STORE"))),
            proxy_env: Bytes::from_static(b"export A='b'\n"),
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            logs: logs.clone(),
            config: Box::new(|| r#"{"retry.deadline":"50s"}"#.to_owned()),
            config_status: Box::new(|| ConfigStatus {
                file: Some("/etc/proxy.toml".to_owned()),
                loaded: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
                failed: Some(FailedReload {
                    reason: "unknown key".to_owned(),
                    since: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_001),
                }),
                waiting_for_restart: vec!["listen.address"],
            }),
            shutdown: Box::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            }),
        };
        let server = AdminServer { limits: self.limits, ..AdminServer::new(context) };
        (server, metrics, readiness, logs, shutdowns)
    }

    async fn start(self) -> Running {
        let (server, metrics, readiness, logs, shutdowns) = self.server();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.serve(listener, stop.clone().cancelled_owned()));
        Running { address, metrics, readiness, logs, shutdowns, stop, task }
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// One request on a connection of its own.
    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_with(method, path, "", body).await
    }

    async fn ask_with(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let (length, host) = (body.len(), self.address);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        Answer::rest_of(stream).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    /// Stops the server and waits until it has ended.
    async fn finish(self) {
        self.stop.cancel();
        guarded(self.task).await.unwrap();
    }
}

impl Answer {
    async fn rest_of(mut stream: TcpStream) -> Self {
        let mut text = String::new();
        guarded(stream.read_to_string(&mut text)).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Who asks without a connection.
fn visitor(peer: &str) -> Visitor {
    let (ending, cut) = (CancellationToken::new(), CancellationToken::new());
    Visitor { peer: peer.parse().unwrap(), address: None, ending, cut, tasks: TaskTracker::new() }
}

/// A request and its answer on a connection that stays open.
async fn exchange_livez(stream: &mut TcpStream) {
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\nok\n") {
        assert_ne!(guarded(stream.read_buf(&mut text)).await.unwrap(), 0);
    }
}

/// A future that would otherwise hang a failing test for ever.
async fn guarded<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("the step takes far too long")
}

#[tokio::test]
async fn every_endpoint_answers_a_get_and_a_head_with_its_kind_of_text() {
    let admin = Setup::default().start().await;
    admin.readiness.set_listening();
    admin.readiness.set_published();
    for (path, media_type, body) in [
        ("/", "text/plain; charset=utf-8", "/metrics"),
        ("/metrics", "text/plain; version=0.0.4", "batch_retry_proxy_build_info{revision=\"abc\",version=\"1.2.3\"} 1\n"),
        ("/livez", "text/plain; charset=utf-8", "ok\n"),
        ("/readyz", "text/plain; charset=utf-8", "ready\n"),
        ("/status", "application/json", "\"version\": \"1.2.3\""),
        ("/ca.pem", "application/x-pem-file", "ROOT\n"),
        ("/bundle.pem", "application/x-pem-file", "BUNDLE\n"),
        ("/truststore.p12", "application/x-pkcs12", "STORE"),
        ("/proxy.env", "text/plain; charset=utf-8", "export A='b'\n"),
        ("/config", "application/json", r#"{"retry.deadline":"50s"}"#),
        ("/log-level", "text/plain; charset=utf-8", "off\n"),
    ] {
        let got = admin.get(path).await;
        assert_eq!((got.status, got.header("content-type")), (200, Some(media_type)), "{path}");
        assert!(got.body.contains(body), "{path}: {}", got.body);
        assert_eq!(got.header("cache-control"), Some("no-store"));
        assert_eq!(got.header("x-content-type-options"), Some("nosniff"));

        let head = admin.ask("HEAD", path, "").await;
        assert_eq!((head.status, head.header("content-type")), (200, Some(media_type)), "HEAD {path}");
        assert_eq!(head.body, "");
        assert!(head.header("content-length").unwrap().parse::<usize>().unwrap() > 0);
    }
    admin.finish().await;
}

#[tokio::test]
async fn another_method_is_refused_with_the_ones_that_are_allowed() {
    let admin = Setup { allow_shutdown: true, ..Setup::default() }.start().await;
    for (method, path, allow) in [
        ("POST", "/metrics", "get, head"),
        ("DELETE", "/", "get, head"),
        ("PUT", "/readyz", "get, head"),
        ("POST", "/log-level", "get, head, put"),
        ("GET", "/shutdown", "post"),
        ("HEAD", "/shutdown", "post"),
        ("PUT", "/shutdown", "post"),
    ] {
        let got = admin.ask(method, path, "").await;
        assert_eq!((got.status, got.header("allow")), (405, Some(allow)), "{method} {path}");
    }
    assert_eq!(admin.shutdowns.load(Ordering::SeqCst), 0);
    admin.finish().await;
}

#[tokio::test]
async fn an_unknown_path_is_answered_with_the_index() {
    let admin = Setup::default().start().await;
    for path in ["/nowhere", "/metrics/", "//metrics"] {
        let got = admin.get(path).await;
        assert_eq!(got.status, 404, "{path}");
        assert!(got.body.contains("/readyz") && got.body.contains("/metrics"), "{}", got.body);
    }
    assert_eq!(admin.get("/livez?verbose=1").await.status, 200);
    admin.finish().await;
}

#[tokio::test]
async fn readyz_follows_the_application_and_livez_does_not() {
    let admin = Setup::default().start().await;
    let check = async |status, reason: &str| {
        let got = admin.get("/readyz").await;
        assert_eq!((got.status, got.body.trim()), (status, reason));
        assert_eq!(admin.get("/livez").await.status, 200);
    };
    check(503, "not listening yet").await;
    admin.readiness.set_listening();
    check(503, "certificates are not published yet").await;
    admin.readiness.set_published();
    check(200, "ready").await;
    admin.readiness.set_draining();
    check(503, "draining").await;
    admin.finish().await;
}

#[tokio::test]
async fn status_tells_where_things_stand() {
    let admin = Setup::default().start().await;
    let account = admin.metrics.account("acct.westeurope.batch.azure.com");
    admin.metrics.request(&account, "Jobs_GetJob", Fate::FirstTry, Duration::ZERO);
    admin.metrics.upstream_response(&account, StatusCode::OK);
    let tunnel = admin.metrics.connection(ConnectionKind::Tunnel);
    let mut status: Value = serde_json::from_str(&admin.get("/status").await.body).unwrap();
    let started = status["started"].take();
    assert!(humantime::parse_rfc3339(started.as_str().unwrap()).is_ok(), "{started}");
    assert!(status["uptime_seconds"].take().as_u64().unwrap() < 20);
    let slots = status["last_15_minutes"]["fates"]["first_try"].clone();
    assert_eq!((slots.as_array().unwrap().len(), slots[59].as_u64()), (60, Some(1)));
    assert_eq!(
        status,
        json!({
            "version": "1.2.3",
            "revision": "abc",
            "started": null,
            "uptime_seconds": null,
            "ready": false,
            "draining": false,
            "not_ready_because": "not listening yet",
            "proxy_address": "127.0.0.1:3128",
            "admin_address": admin.address.to_string(),
            "ca": {"subject": "CN=test authority", "fingerprint": "AB:CD", "not_after": "2023-11-14T22:13:20Z"},
            "config": {
                "file": "/etc/proxy.toml",
                "loaded": "2023-11-14T22:13:20Z",
                "failed": {"reason": "unknown key", "since": "2023-11-14T22:13:21Z"},
                "waiting_for_restart": ["listen.address"],
            },
            "accounts": {
                "acct.westeurope": {
                    "requests": {"first_try": 1}, "retries": {}, "throttled": 0, "upstream_responses": {"200": 1},
                },
            },
            "connections": {"forward": 0, "intercept": 0, "tunnel": 1},
            "last_15_minutes": {"slot_seconds": 15, "fates": {"first_try": slots}},
            "replays": [],
        })
    );
    drop(tunnel);

    admin.readiness.set_listening();
    admin.readiness.set_published();
    let status: Value = serde_json::from_str(&admin.get("/status").await.body).unwrap();
    assert_eq!((&status["ready"], &status["not_ready_because"]), (&json!(true), &Value::Null));
    admin.readiness.set_draining();
    let status: Value = serde_json::from_str(&admin.get("/status").await.body).unwrap();
    assert_eq!((&status["ready"], &status["draining"]), (&json!(false), &json!(true)));
    admin.finish().await;
}

#[tokio::test]
async fn the_log_level_changes_by_a_put_of_its_word() {
    let admin = Setup::default().start().await;
    let put = admin.ask("PUT", "/log-level", "debug\n").await;
    assert_eq!((put.status, put.body.as_str()), (200, "debug\n"));
    assert_eq!(admin.logs.level(), Some(Level::DEBUG));
    assert_eq!(admin.get("/log-level").await.body, "debug\n");

    for body in ["", "loud", &"debug".repeat(1000)] {
        let got = admin.ask("PUT", "/log-level", body).await;
        assert_eq!(got.status, 400, "{body}");
        assert!(got.body.contains("off, error, warn, info, debug or trace"), "{}", got.body);
    }
    assert_eq!(admin.logs.level(), Some(Level::DEBUG));
    assert_eq!(admin.ask("PUT", "/log-level", "off").await.status, 200);
    assert_eq!(admin.logs.level(), None);
    admin.finish().await;
}

#[tokio::test]
async fn only_a_program_on_the_same_machine_may_change_something() {
    let (server, _, _, logs, shutdowns) = Setup { allow_shutdown: true, ..Setup::default() }.server();
    let answer = async |method: &str, path: &str, peer: &str, origin: Option<&str>| {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let request = request.body(Full::new(Bytes::from_static(b"info"))).unwrap();
        let page = server.pages.answer(request, &visitor(peer)).await;
        let status = page.status().as_u16();
        (status, page.into_body().collect().await.unwrap().to_bytes())
    };
    for (method, path) in [("PUT", "/log-level"), ("POST", "/shutdown")] {
        for peer in ["10.0.0.1:9", "[fd00::1]:9", "[::ffff:10.0.0.1]:9", "0.0.0.0:9"] {
            assert_eq!(answer(method, path, peer, None).await.0, 403, "{path} {peer}");
        }
        let (status, body) = answer(method, path, "127.0.0.1:9", Some("http://evil.example")).await;
        assert_eq!((status, &body[..]), (403, &b"a web page may not do this\n"[..]));
    }
    assert_eq!((logs.level(), shutdowns.load(Ordering::SeqCst)), (None, 0));
    assert_eq!(answer("GET", "/metrics", "10.0.0.1:9", None).await.0, 200);

    for (n, peer) in ["127.0.0.1:9", "127.1.2.3:9", "[::1]:9", "[::ffff:127.0.0.1]:9"].into_iter().enumerate() {
        assert_eq!(answer("PUT", "/log-level", peer, None).await.0, 200, "{peer}");
        assert_eq!(answer("POST", "/shutdown", peer, None).await.0, 202, "{peer}");
        assert_eq!(shutdowns.load(Ordering::SeqCst), n + 1);
    }
    assert_eq!(logs.level(), Some(Level::INFO));
}

#[tokio::test]
async fn shutdown_exists_only_where_it_is_allowed() {
    let admin = Setup::default().start().await;
    let got = admin.ask("POST", "/shutdown", "").await;
    assert_eq!((got.status, admin.shutdowns.load(Ordering::SeqCst)), (404, 0));
    assert!(!got.body.contains("/shutdown"));
    admin.finish().await;

    let admin = Setup { allow_shutdown: true, ..Setup::default() }.start().await;
    assert!(admin.get("/").await.body.contains("/shutdown"));
    let got = admin.ask("POST", "/shutdown", "").await;
    assert_eq!((got.status, admin.shutdowns.load(Ordering::SeqCst)), (202, 1));
    for foreign in ["Origin: http://evil.example\r\n", "Host: evil.example:9464\r\n"] {
        let got = admin.ask_with("POST", "/shutdown", foreign, "").await;
        assert_eq!((got.status, admin.shutdowns.load(Ordering::SeqCst)), (403, 1), "{foreign}");
    }
    admin.finish().await;
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let admin = Setup::default().start().await;
    let mut stream = admin.connect().await;
    for _ in 0..3 {
        exchange_livez(&mut stream).await;
    }
    admin.finish().await;
}

#[tokio::test]
async fn a_client_past_the_limit_waits_for_a_place() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let admin = Setup { limits, ..Setup::default() }.start().await;
    let mut first = admin.connect().await;
    exchange_livez(&mut first).await;
    let mut second = admin.connect().await;
    second.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    // Rounds enough for the second to be answered, were it served.
    for _ in 0..50 {
        exchange_livez(&mut first).await;
    }
    assert_eq!(second.try_read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(first);
    assert_eq!(Answer::rest_of(second).await.status, 200);
    admin.finish().await;
}

#[tokio::test]
async fn a_slow_client_does_not_keep_another_waiting() {
    let admin = Setup::default().start().await;
    let mut slow = admin.connect().await;
    slow.write_all(b"GET /livez HTTP/1.1\r\nHos").await.unwrap();
    assert_eq!(admin.get("/livez").await.status, 200);
    slow.write_all(b"t: x\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(Answer::rest_of(slow).await.status, 200);
    admin.finish().await;
}

#[tokio::test]
async fn clients_that_never_finish_a_head_lose_their_places() {
    let limits = Limits { connections: 2, header: Duration::from_millis(200), ..Limits::default() };
    let admin = Setup { limits, ..Setup::default() }.start().await;
    let mut silent = admin.connect().await;
    let mut slow = admin.connect().await;
    slow.write_all(b"GET /livez HTTP/1.1\r\nHos").await.unwrap();
    assert_eq!(admin.get("/livez").await.status, 200);
    let mut rest = Vec::new();
    guarded(silent.read_to_end(&mut rest)).await.unwrap();
    guarded(slow.read_to_end(&mut rest)).await.unwrap();
    admin.finish().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_loses_its_place() {
    let brief = Duration::from_millis(200);
    let limits = Limits { connections: 1, age: brief, grace: brief, ..Limits::default() };
    // More than the sockets' buffers hold.
    let bundle = Bytes::from(vec![b'x'; 32 << 20]);
    let admin = Setup { limits, bundle, ..Setup::default() }.start().await;
    let mut deaf = admin.connect().await;
    deaf.write_all(b"GET /bundle.pem HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(admin.get("/livez").await.status, 200);
    drop(deaf);
    admin.finish().await;
}

#[tokio::test]
async fn nonsense_is_refused_and_the_next_client_is_served() {
    let admin = Setup::default().start().await;
    let large = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(BUFFER));
    for (bytes, status) in [(&b"\x16\x03\x01 hello\r\n\r\n"[..], 400), (large.as_bytes(), 431)] {
        let mut stream = admin.connect().await;
        stream.write_all(bytes).await.unwrap();
        assert_eq!(Answer::rest_of(stream).await.status, status);
        assert_eq!(admin.get("/livez").await.status, 200);
    }
    admin.finish().await;
}

#[tokio::test]
async fn the_server_ends_with_clients_still_connected() {
    let limits = Limits { grace: Duration::from_millis(50), header: Duration::from_secs(300), ..Limits::default() };
    let admin = Setup { limits, ..Setup::default() }.start().await;
    let idle = admin.connect().await;
    let mut slow = admin.connect().await;
    slow.write_all(b"GET /livez HTTP/1.1\r\nHos").await.unwrap();
    assert_eq!(admin.get("/livez").await.status, 200);
    let address = admin.address;
    admin.finish().await;
    assert!(TcpStream::connect(address).await.is_err());
    drop((idle, slow));
}

#[tokio::test]
async fn the_server_ends_after_the_answer_under_way_without_waiting_for_idle_clients() {
    let limits = Limits { grace: Duration::from_secs(300), header: Duration::from_secs(300), ..Limits::default() };
    let admin = Setup { limits, ..Setup::default() }.start().await;
    let mut idle = admin.connect().await;
    exchange_livez(&mut idle).await;
    let mut busy = admin.connect().await;
    let head = b"PUT /log-level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    busy.write_all(head).await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"100 Continue\r\n\r\n") {
        assert_ne!(guarded(busy.read_buf(&mut text)).await.unwrap(), 0);
    }
    admin.stop.cancel();
    // The server has turned to its end once the idle connection is closed.
    assert_eq!(guarded(idle.read(&mut [0])).await.unwrap(), 0);
    busy.write_all(b"off").await.unwrap();
    let answer = Answer::rest_of(busy).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "off\n"));
    admin.finish().await;
}
