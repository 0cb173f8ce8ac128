//! No secret is written anywhere, whatever goes wrong: every scenario is played with marked secrets against the program at its most
//! talkative, in both forms of its log, and everything that it writes is searched for the mark.
//!
//! A panic cannot be brought about from outside; what is written of one is tested beside the hook, in `telemetry`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use batch_retry_proxy::shutdown;
use batch_retry_proxy::simulator::{Scenario, Simulator, SimulatorSettings};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::command::{MARK, Program, text};
use super::support::client::{Client, Response, Tunnel, request};
use super::support::metric::sum;
use super::support::{guard, guard_for};

#[tokio::test(flavor = "multi_thread")]
async fn no_scenario_brings_a_secret_into_what_is_written_as_text() {
    play_all("text").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_scenario_brings_a_secret_into_what_is_written_as_json() {
    play_all("json").await;
}

/// Everything that one run of the program wrote, by where.
struct Written(Vec<(String, String)>);

/// What a program asks, with secrets in all the places where they are met in the field.
struct Asker<'a> {
    way: Way<'a>,
    connection: Option<Client>,
    written: Written,
}

/// Through which program an account is reached.
#[derive(Clone, Copy)]
struct Way<'a> {
    program: &'a Program,
    host: &'a str,
    ca_pem: &'a str,
}

async fn play_all(format: &'static str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scenarios");
    let (turns, mut plays) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let (path, turns) = (entry.unwrap().path(), turns.clone());
        plays.spawn(async move {
            let _turn = turns.acquire().await.unwrap();
            let scenario = Scenario::load(path.to_str().unwrap()).unwrap();
            play(scenario, format).await
        });
    }
    assert!(plays.len() > 10, "only {} scenarios", plays.len());
    let replays: f64 = guard_for(PATIENCE, "all scenarios", plays.join_all()).await.into_iter().sum();
    assert!(replays > 50.0, "only {replays} replays: nothing was tried");
}

/// Plays one scenario and searches; gives the number of replays.
async fn play(scenario: Scenario, format: &str) -> f64 {
    let (name, begun) = (scenario.name.clone(), Instant::now());
    let helpful = scenario.settings.clone();
    let account = Simulator::bind(SimulatorSettings { scenario, seed: 1, ..SimulatorSettings::demo() }).await.unwrap();
    let (observer, host, address) = (account.observer(), account.host().to_owned(), account.address());
    let folder = tempfile::tempdir().unwrap();
    let (trust, stdout) = (folder.path().join("account.pem"), folder.path().join("stdout"));
    std::fs::write(&trust, account.ca_pem()).unwrap();
    let (stop, drain) = shutdown::channel();
    let serving = tokio::spawn(account.serve(drain));

    let mut command = Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.args(["--log-level", "trace", "--log-format", format, "--publish", text(&folder.path().join("published"))]);
    let settings = [
        format!("upstream.ca_files=['{}']", trust.display()),
        format!("upstream.resolve={{\"{host}:443\" = \"{address}\"}}"),
        format!("ca.directory={}", text(&folder.path().join("authority"))),
        "retry.backoff.initial=20ms".to_owned(),
        "retry.backoff.max=100ms".to_owned(),
        "retry.deadline=2s".to_owned(),
        "upstream.response_timeout=500ms".to_owned(),
    ];
    for setting in helpful.iter().chain(&settings) {
        command.args(["--set", setting]);
    }
    command.env("RUST_BACKTRACE", "1").stdout(std::fs::File::create(&stdout).unwrap());
    let mut program = Program::spawn(command).await;

    let ca_pem = program.fetch("/ca.pem").await;
    let mut asker = Asker {
        way: Way { program: &program, host: &host, ca_pem: &ca_pem },
        connection: None,
        written: Written(Vec::new()),
    };
    for round in 0..ROUNDS {
        asker.work(round).await;
    }
    asker.speak_http_2().await;
    asker.misbehave().await;
    let metrics = program.fetch("/metrics").await;
    let replays = sum(&metrics, "batch_retry_proxy_retries_total", &[]);
    let mut written = asker.look().await;
    assert!(observer.ledger().requests > 40, "{name}: the account was asked {} requests", observer.ledger().requests);

    program.signal("TERM").await;
    program.line("stopped").await;
    guard("the end of the program", program.ended()).await;
    written.add("standard error", program.stderr());
    written.add("standard output", std::fs::read_to_string(stdout).unwrap());
    for folder in ["published", "authority"].map(|name| folder.path().join(name)) {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            written.add(&path.display().to_string(), String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned());
        }
    }
    assert!(program.stderr().contains("DEBUG"), "{name}: it was not at its most talkative");
    println!("{name}, {format}: {replays} replays in {:?}", begun.elapsed());
    assert!(replays == 0.0 || program.stderr().contains("replaying"), "{name}: the log does not say what happened");
    written.search(&format!("{name}, {format}"));
    stop.drain(Duration::ZERO);
    guard("the account's end", serving).await.unwrap();
    replays
}

// === impl Written ===

impl Written {
    fn add(&mut self, place: &str, text: String) {
        self.0.push((place.to_owned(), text));
    }

    /// Fails if the mark is anywhere.
    fn search(&self, what: &str) {
        for (place, text) in &self.0 {
            let shown: Vec<&str> = text.lines().filter(|line| line.contains(MARK)).take(5).collect();
            assert!(shown.is_empty(), "{what}: in {place}:\n{}", shown.join("\n"));
        }
    }
}

// === impl Way ===

impl Way<'_> {
    async fn connect(self, alpn: &[&str]) -> Client {
        let authority = format!("{}:443", self.host);
        let connect =
            format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: Basic {MARK}20\r\n\r\n");
        let tunnel = Tunnel::open(self.program.proxy, &authority, Some(connect.as_bytes())).await;
        tunnel.tls(self.ca_pem, self.host, alpn).await.unwrap()
    }
}

// === impl Asker ===

impl Asker<'_> {
    /// A pool, a job, tasks, users and files, made, read, changed and deleted.
    async fn work(&mut self, round: u32) {
        let secret = |number: u32| format!("{MARK}-{round}-{number}");
        // The last round makes anew what is being deleted.
        let last = round.min(ROUNDS - 2);
        let (pool, job) = (format!("p{last}"), format!("j{last}"));
        let node = format!("/pools/{pool}/nodes/tvmps_00000001_d");
        let setting = |number| json!([{ "name": "KEY", "value": secret(number) }]);
        let file = |number| json!([{ "httpUrl": format!("https://x.blob.core.windows.net/c?sig={}", secret(number)) }]);
        let task = |id: &str| json!({ "id": id, "commandLine": secret(1), "environmentSettings": setting(2), "resourceFiles": file(3) });
        let asks = [
            (
                "POST",
                "/pools".to_owned(),
                json!({
                    "id": pool, "vmSize": "standard_d2s_v3", "targetDedicatedNodes": 1,
                    "userAccounts": [{ "name": "u", "password": secret(4) }], "startTask": { "environmentSettings": setting(5) },
                }),
            ),
            (
                "POST",
                "/jobs".to_owned(),
                json!({ "id": job, "poolInfo": { "poolId": pool }, "commonEnvironmentSettings": setting(6) }),
            ),
            ("POST", format!("/jobs/{job}/tasks"), task("t")),
            ("POST", format!("/jobs/{job}/addtaskcollection"), json!({ "value": [task("a"), task("b"), task("t")] })),
            ("GET", format!("/jobs/{job}/tasks/t?sig={}", secret(7)), Value::Null),
            ("GET", format!("/jobs/{job}/tasks?$filter=id%20eq%20'{}'", secret(8)), Value::Null),
            ("GET", format!("/jobs/{job}/tasks/t/files/stdout.txt?sv=1&sig={}", secret(9)), Value::Null),
            ("PATCH", format!("/jobs/{job}"), json!({ "metadata": setting(10) })),
            ("POST", format!("{node}/users"), json!({ "name": "u", "password": secret(11) })),
            ("PUT", format!("{node}/users/u"), json!({ "password": secret(12) })),
            ("POST", format!("{node}/reboot?token={}", secret(13)), Value::Null),
            ("POST", format!("/unheard-of?key={}", secret(14)), json!({ "key": secret(15) })),
            ("DELETE", format!("/jobs/{job}/tasks/t?{}", secret(16)), Value::Null),
            ("POST", format!("/jobs/{job}/terminate"), json!({ "terminateReason": secret(17) })),
            ("DELETE", format!("/jobs/{job}"), Value::Null),
            ("DELETE", format!("/pools/{pool}"), Value::Null),
        ];
        for (number, (method, target, body)) in (100..).zip(asks) {
            let between = if target.contains('?') { '&' } else { '?' };
            let target = format!("{target}{between}api-version=2024-07-01.20.0");
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let authorization = match number % 8 {
                // Refused, in words that repeat it.
                0 => format!("SharedKey demo:{}", secret(number)),
                // Looks like a token with a time in it.
                1 => format!("Bearer {MARK}.{MARK}.{}", secret(number)),
                _ => format!("Bearer {}", secret(number)),
            };
            let fields = [
                ("Authorization", authorization.as_str()),
                ("Cookie", &format!("session={}", secret(18))),
                ("ocp-date", &httpdate::fmt_http_date(SystemTime::now())),
                ("Content-Type", "application/json; odata=minimalmetadata"),
                ("x-ms-meta", &secret(19)),
                ("batch-retry-proxy-deadline", if number % 5 == 0 { MARK } else { "2s" }),
                ("client-request-id", &format!("id-{round}-{number}")),
            ];
            self.ask(&request(method, &target, self.way.host, &fields, body)).await;
        }
    }

    async fn ask(&mut self, request: &[u8]) {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.way.connect(&["http/1.1"]).await,
        };
        let response = connection.exchange(request).await.unwrap();
        let closes = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        self.connection = Some(connection).filter(|_| response.complete && !closes);
        self.note(&response);
    }

    /// What the proxy says itself counts as written.
    fn note(&mut self, response: &Response) {
        let is_account = response.header("request-id").is_some();
        let head = String::from_utf8_lossy(&response.raw_head);
        let own = if is_account {
            response.header("proxy-status").unwrap_or_default().to_owned()
        } else {
            format!("{head}{}", response.text())
        };
        self.written.add("an answer", own);
    }

    async fn speak_http_2(&mut self) {
        let io = TokioIo::new(self.way.connect(&["h2"]).await.into_stream());
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let connection = tokio::spawn(connection);
        for number in 0..3 {
            let target = format!("https://{}/jobs/none?api-version=2024-07-01.20.0&sig={MARK}21-{number}", self.way.host);
            let request = http::Request::get(target)
                .header("authorization", format!("Bearer {MARK}22"))
                .header("cookie", format!("a={MARK}23"))
                .body(Full::new(bytes::Bytes::from(format!("{MARK}24"))))
                .unwrap();
            let response = guard("an answer over HTTP/2", sender.send_request(request)).await.unwrap();
            let own = response.headers().get("proxy-status").map(|value| value.to_str().unwrap().to_owned());
            self.written.add("an answer over HTTP/2", own.unwrap_or_default());
            let _ = response.into_body().collect().await;
        }
        drop(sender);
        let _ = guard("the end of the connection", connection).await;
    }

    /// Requests that cannot be understood, allowed or sent on, to the proxy's port, inside an opened connection and to the admin server.
    async fn misbehave(&mut self) {
        let authority = format!("{}:443", self.way.host);
        let outside = [
            format!("GET /x?sig={MARK}30 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MARK}31\r\n\r\n"),
            format!("GET http://127.0.0.1:9/c?sig={MARK}32 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MARK}33\r\n\r\n"),
            format!("GET http://user:{MARK}34@127.0.0.1:9/ HTTP/1.1\r\nHost: x\r\n\r\n"),
            format!("CONNECT user:{MARK}35@{authority} HTTP/1.1\r\nHost: x\r\n\r\n"),
            format!("CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic {MARK}36\r\n\r\n"),
            format!("CONNECT nowhere.invalid:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic {MARK}37\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nAuthorization : Bearer {MARK}38\r\n\r\n"),
            format!("{MARK}39\r\n\r\n"),
            format!("GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: x\r\nCookie: {MARK}40{}\r\n\r\n", "x".repeat(70_000)),
        ];
        for bytes in outside {
            let mut client = Client::connect(self.way.program.proxy).await;
            // Some are answered, some only hung up on.
            if let Ok(response) = client.exchange(bytes.as_bytes()).await {
                self.note(&response);
            }
        }
        let head =
            format!("POST /jobs?sig={MARK}41 HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {MARK}42\r\n", self.way.host);
        let inside = [
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{MARK}43\r\n"),
            format!("{head}Content-Length: {MARK}44\r\n\r\n"),
            format!("{head}Cookie : {MARK}45\r\n\r\n"),
            format!("{head}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n{MARK}46"),
            format!("{MARK}47 /jobs?sig={MARK}48 HTTP/1.1\r\nHost: {}\r\n\r\n", self.way.host),
            format!("GET https://user:{MARK}49@{}/jobs HTTP/1.1\r\nHost: {}\r\n\r\n", self.way.host, self.way.host),
            format!("GET /jobs#{MARK}50 HTTP/1.1\r\nHost: {}\r\nCookie: {MARK}51\u{1}\r\n\r\n", self.way.host),
        ];
        for bytes in inside {
            let mut client = self.way.connect(&["http/1.1"]).await;
            if let Ok(response) = client.exchange(bytes.as_bytes()).await {
                self.note(&response);
            }
        }
        // One that leaves in the middle of its body.
        let mut client = self.way.connect(&["http/1.1"]).await;
        client.send_raw(format!("{head}Content-Length: 1000\r\n\r\n{{\"password\":\"{MARK}52").as_bytes()).await.unwrap();
        client.reset();
        let fields = [("Authorization", format!("Bearer {MARK}53")), ("Cookie", format!("{MARK}54"))];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for (method, target, body) in [
            ("GET", format!("/status?token={MARK}55"), String::new()),
            ("PUT", "/log-level".to_owned(), format!("{MARK}56")),
            ("GET", format!("/unheard-of?token={MARK}57"), String::new()),
            ("POST", "/shutdown".to_owned(), format!("{MARK}58")),
        ] {
            let mut client = Client::connect(self.way.program.admin).await;
            client.request(&request(method, &target, "localhost", &fields, body)).await;
        }
    }

    /// All that the admin server shows.
    async fn look(mut self) -> Written {
        for path in ["/metrics", "/status", "/config", "/", "/proxy.env", "/readyz"] {
            for accept in ["text/html", "*/*"] {
                let mut client = Client::connect(self.way.program.admin).await;
                let page = client.request(&request("GET", path, "localhost", &[("Accept", accept)], "")).await;
                assert_eq!(page.status, 200, "{path}");
                self.written.add(path, page.text());
            }
        }
        let mut client = Client::connect(self.way.program.admin).await;
        client.send_raw(&request("GET", "/events", "localhost", &[], "")).await.unwrap();
        let mut events = Vec::new();
        let is_whole = |events: &[u8]| {
            String::from_utf8_lossy(events).split_once("data: ").is_some_and(|(_, event)| event.contains('\n'))
        };
        while !is_whole(&events) {
            events.extend(client.read_exactly(1).await.unwrap());
        }
        self.written.add("/events", String::from_utf8_lossy(&events).into_owned());
        self.written
    }
}

/// Enough that the rarest fault comes, with the 75th request.
const ROUNDS: u32 = 6;

/// Programs that run at a time.
const AT_ONCE: usize = 4;

const PATIENCE: Duration = Duration::from_secs(300);
