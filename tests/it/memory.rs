//! How much memory the program takes when a crowd comes at once: never more than `retry.memory_limit` and a fixed allowance.
//!
//! The program runs as a process of its own, so that its figures are its own: `VmHWM` in `/proc/PID/status` is the most it ever had in
//! memory, its code included. Of a crowd that sends at once, many requests are under way before the origin reads the first body.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Barrier, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::support::batch::HOST;
use super::support::client::{Client, Tunnel, request};
use super::support::guard_for;
use super::support::metric::sum;
use super::support::pki::{Authority, client_config};
use super::support::wire::{Framing, Head, Io, Reader};

/// What every client of a crowd does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// Sends a body, to which the answer is short.
    Upload,
    /// Asks for an answer that is as large.
    Download,
}

/// Clients that come at once.
#[derive(Clone, Copy, Debug)]
struct Crowd {
    clients: usize,
    load: Load,
    /// `retry.memory_limit`, in MiB.
    limit: u64,
}

/// The program under test.
struct Program {
    child: Child,
    proxy: SocketAddr,
    admin: SocketAddr,
}

/// What `/proc/PID/status` says, in KiB.
#[derive(Clone, Copy, Debug)]
struct Figures {
    peak: u64,
    /// Read in the output of a test that failed.
    #[expect(dead_code, reason = "printed")]
    anonymous: u64,
}

/// The crowd that fits into every run of the tests.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_uploads_stays_within_the_limit_and_the_allowance() {
    Crowd { clients: 200, load: Load::Upload, limit: 32 }.come(env!("CARGO_BIN_EXE_batch-retry-proxy")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_downloads_stays_within_the_limit_and_the_allowance() {
    Crowd { clients: 200, load: Load::Download, limit: 32 }.come(env!("CARGO_BIN_EXE_batch-retry-proxy")).await;
}

/// The promise itself. `BATCH_RELEASE_BINARY` names the program: a debug build would be measured in minutes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and wants the release binary: make check-all"]
async fn two_thousand_uploads_stay_within_the_limit_and_the_allowance() {
    Crowd { clients: 2000, load: Load::Upload, limit: 256 }.come(&release_binary()).await;
}

// === impl Crowd ===

impl Crowd {
    async fn come(self, binary: &str) {
        let authority = Authority::new("sink");
        let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = origin.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("origin.pem");
        std::fs::write(&ca_file, authority.pem()).unwrap();
        let program = Program::start(
            binary,
            &[
                format!("retry.memory_limit={}MiB", self.limit),
                format!("upstream.ca_files=['{}']", ca_file.display()),
                format!("upstream.resolve={{'{HOST}:443'='{address}'}}"),
                "upstream.response_timeout=10m".to_owned(),
                "upstream.connect_timeout=2m".to_owned(),
                "upstream.body_idle_timeout=10m".to_owned(),
                "listen.header_timeout=2m".to_owned(),
                "retry.deadline=20m".to_owned(),
            ],
        )
        .await;
        let before = program.figures();
        let mut origin = serve(origin, TlsAcceptor::from(authority.server_config(&[HOST])), self);
        guard_for(PATIENCE, "the crowd", self.send(&program)).await;
        let after = program.figures();
        let metrics = program.metrics().await;
        let unheld = sum(&metrics, "batch_retry_proxy_unheld_bodies_total", &[("reason", "memory")]);
        println!("{self:?}: before {before:?}, after {after:?}, {unheld} not held");
        assert!(unheld > 0.0, "the crowd is too small to use the memory up");
        let allowed = (self.limit + ALLOWANCE) * 1024;
        assert!(after.peak <= allowed, "{} KiB at most are more than {allowed} KiB", after.peak);
        let held = sum(&metrics, "batch_retry_proxy_replay_memory_bytes", &[]);
        assert!(held < 0.5, "{held} bytes are held for nobody");
        origin.shutdown().await;
    }

    /// Connects everyone, then lets all of them send at once, and waits for every answer.
    async fn send(self, program: &Program) {
        let tls = client_config(&program.ca().await, &["http/1.1"]);
        let (turns, together) = (Arc::new(Semaphore::new(CONNECTING)), Arc::new(Barrier::new(self.clients + 1)));
        let message: Arc<Vec<u8>> = Arc::new(match self.load {
            Load::Upload => request("PUT", "/jobs/j", HOST, &[], &FILLER[..]),
            Load::Download => request("GET", "/jobs/j", HOST, &[], ""),
        });
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            let (tls, turns, together, message) = (tls.clone(), turns.clone(), together.clone(), message.clone());
            let proxy = program.proxy;
            clients.spawn(async move {
                let turn = turns.acquire().await.unwrap();
                let tunnel = Tunnel::open(proxy, &format!("{HOST}:443"), None).await;
                let mut stream = tunnel.tls_with(tls, HOST).await.unwrap().into_stream();
                drop(turn);
                together.wait().await;
                stream.write_all(&message).await.unwrap();
                stream.flush().await.unwrap();
                let mut reader = Reader::new(stream);
                let head = reader.head().await.unwrap().unwrap();
                assert!(head.start_line.contains(" 200 "), "{}", String::from_utf8_lossy(&head.raw));
                let Framing::Length(length) = head.framing().unwrap() else { panic!("no length") };
                discard(&mut reader, length).await.unwrap();
            });
        }
        together.wait().await;
        println!("{self:?}: connected at {:?}", program.figures());
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
    }
}

// === impl Program ===

impl Program {
    async fn start(binary: &str, settings: &[String]) -> Self {
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = guard_for(PATIENCE, "the first line", async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it starts");
                if line.contains("listening") {
                    return line;
                }
            }
        })
        .await;
        // Goes on reading, so that the program never waits for its own log.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let line: serde_json::Value = serde_json::from_str(&first).unwrap();
        let address = |name: &str| line[name].as_str().and_then(|text| text.parse().ok()).expect("an address");
        Self { child, proxy: address("proxy"), admin: address("admin") }
    }

    fn figures(&self) -> Figures {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let figure = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim_end_matches("kB").trim().parse().unwrap()
        };
        Figures { peak: figure("VmHWM"), anonymous: figure("RssAnon") }
    }

    async fn metrics(&self) -> String {
        self.fetch("/metrics").await
    }

    async fn ca(&self) -> String {
        self.fetch("/ca.pem").await
    }

    async fn fetch(&self, path: &str) -> String {
        Client::connect(self.admin).await.request(&request("GET", path, "localhost", &[], "")).await.text()
    }
}

/// An origin that takes every body without keeping it, once many requests of the crowd wait for it.
fn serve(listener: TcpListener, tls: TlsAcceptor, crowd: Crowd) -> JoinSet<()> {
    let here = Arc::new(watch::Sender::new(0));
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let (tls, here) = (tls.clone(), here.clone());
            connections.spawn(async move {
                let mut reader = Reader::new(tls.accept(tcp).await.unwrap());
                while let Ok(Some(head)) = reader.head().await {
                    here.send_modify(|count| *count += 1);
                    drop(here.subscribe().wait_for(|count| *count >= STUCK).await);
                    answer(&mut reader, &head, crowd.load).await.unwrap();
                }
            });
        }
    });
    task
}

async fn answer<S: Io>(reader: &mut Reader<S>, head: &Head, load: Load) -> io::Result<()> {
    if let Framing::Length(length) = head.framing()? {
        discard(reader, length).await?;
    }
    let body: &[u8] = match load {
        Load::Download => &FILLER[..],
        Load::Upload => b"{}",
    };
    let stream = reader.stream();
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes()).await?;
    stream.write_all(body).await?;
    stream.flush().await
}

/// Reads `length` bytes and keeps none.
async fn discard<S: AsyncRead + Unpin>(reader: &mut Reader<S>, length: u64) -> io::Result<()> {
    let mut piece = Vec::new();
    let mut left = length;
    while left > 0 {
        let next = left.min(64 * 1024);
        piece.clear();
        reader.exactly(next, &mut piece).await?;
        left -= next;
    }
    Ok(())
}

fn release_binary() -> String {
    std::env::var("BATCH_RELEASE_BINARY").expect("BATCH_RELEASE_BINARY names the program")
}

/// What every client sends or is sent: as large as a request body may be to be held.
const SIZE: usize = 4 << 20;

static FILLER: [u8; SIZE] = [b'x'; SIZE];

/// What the program may take besides what it holds, in MiB.
const ALLOWANCE: u64 = 64;

/// Requests that wait at the origin before it reads the first body.
const STUCK: usize = 128;

/// Clients that shake hands at a time: the crowd is to send at once, not to connect at once.
const CONNECTING: usize = 16;

/// Longer than a slow machine takes.
const PATIENCE: Duration = Duration::from_secs(600);
