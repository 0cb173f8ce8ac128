//! Two thousand connections that are slow on purpose, and what the other clients notice of them.
//!
//! It is a measurement: calm and attack alternate within one run, and what counts is the ratio. `make slowloris` runs it with the release binary.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::command::Program;
use super::support::action::{raw, respond};
use super::support::batch::HOST;
use super::support::client::{Client, Tunnel, request};
use super::support::guard_for;
use super::support::metric::sum;
use super::support::origin::Origin;
use super::support::pki::client_config;
use super::support::wire::Io;

/// How a connection is slow.
#[derive(Clone, Copy, Debug)]
enum Slow {
    /// A head on the proxy's port, a byte each second.
    Head,
    /// A CONNECT, and nothing after it.
    Tunnel,
    /// A CONNECT, and the first bytes of a TLS handshake.
    Hello,
    /// A head inside an opened connection, a byte each second.
    HeadInside,
    /// A body inside an opened connection, a byte each second.
    Body,
    /// An answer that is not read.
    Unread,
}

/// Where the proxy is, and how it is trusted.
#[derive(Clone)]
struct Target {
    proxy: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// How long requests took.
#[derive(Default)]
struct Times {
    /// On connections that are kept.
    kept: Vec<Duration>,
    /// With a connection of their own: TCP, CONNECT and TLS included.
    new: Vec<Duration>,
}

/// When requests are due.
struct Pace {
    ticks: Interval,
    end: Instant,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, for a minute and a half: make slowloris"]
async fn two_thousand_slow_connections_leave_the_others_within_twice_their_time() {
    let origin = Origin::start(&[HOST]).await;
    origin.tolerate_broken_connections();
    let large = vec![b'x'; LARGE];
    origin.script(move |request| {
        if request.target == "/large" {
            respond(200, &[], &large)
        } else {
            raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        }
    });
    let program = start(&origin).await;
    let tls = client_config(&program.fetch("/ca.pem").await, &["http/1.1"]);
    let target = Target { proxy: program.proxy, tls };
    let (mut calm, mut attacked) = (Times::default(), Times::default());
    // The first of anything is slower.
    target.measure(Duration::from_secs(2)).await;
    for round in 0..ROUNDS {
        calm.extend(target.measure(SPAN).await);
        let standing = Arc::new(AtomicUsize::new(0));
        let mut attackers = JoinSet::new();
        for number in 0..CONNECTIONS {
            attackers.spawn(target.clone().attack(number, standing.clone()));
        }
        guard_for(PATIENCE, "the attack", async {
            while standing.load(Ordering::Relaxed) < CONNECTIONS * 19 / 20 {
                sleep(Duration::from_millis(500)).await;
            }
        })
        .await;
        attacked.extend(target.measure(SPAN).await);
        let open = sum(&program.fetch("/metrics").await, "process_open_fds", &[]);
        println!(
            "slowloris: round {}, {} slow connections, the proxy has {open} descriptors",
            round + 1,
            standing.load(Ordering::Relaxed)
        );
        attackers.shutdown().await;
        guard_for(PATIENCE, "the end of the attack", async {
            while sum(&program.fetch("/metrics").await, "process_open_fds", &[]) > 100.0 {
                sleep(Duration::from_millis(200)).await;
            }
        })
        .await;
    }
    let mut worst: f64 = 0.0;
    for (name, calm, attacked) in
        [("kept connection", &mut calm.kept, &mut attacked.kept), ("new connection", &mut calm.new, &mut attacked.new)]
    {
        let count = calm.len() + attacked.len();
        let [calm_50, calm_99] = quantiles(calm);
        let [attacked_50, attacked_99] = quantiles(attacked);
        let ratio = attacked_99.as_secs_f64() / calm_99.as_secs_f64();
        worst = worst.max(ratio);
        println!(
            "slowloris: {name}: p50 {calm_50:.2?} calm, {attacked_50:.2?} under attack; p99 {calm_99:.2?} calm, {attacked_99:.2?} under attack, \
             ratio {ratio:.2} ({count} requests)"
        );
    }
    assert!(worst <= 2.0, "the others' p99 is {worst:.2} times what it was");
    origin.finish().await;
}

// === impl Slow ===

impl Slow {
    /// Nearly a half on the port itself, the rest deeper and deeper inside.
    fn of(number: usize) -> Self {
        match number % 20 {
            0..9 => Self::Head,
            9..13 => Self::Tunnel,
            13..15 => Self::Hello,
            15..17 => Self::HeadInside,
            17..19 => Self::Body,
            _ => Self::Unread,
        }
    }
}

// === impl Target ===

impl Target {
    /// Is slow again and again: whoever is dropped comes anew.
    async fn attack(self, number: usize, standing: Arc<AtomicUsize>) {
        let slow = Slow::of(number);
        // One after the other: all at once would measure how fast the machine shakes hands, and again whenever they are dropped.
        sleep(DROPPED_AFTER * number as u32 / CONNECTIONS as u32).await;
        loop {
            if let Ok(mut stream) = self.begin(slow).await {
                standing.fetch_add(1, Ordering::Relaxed);
                drop(self.go_on(slow, &mut stream).await);
                standing.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    async fn begin(&self, slow: Slow) -> io::Result<Box<dyn Io>> {
        if let Slow::Head = slow {
            let mut stream = TcpStream::connect(self.proxy).await?;
            stream.write_all(b"CONNECT ").await?;
            return Ok(Box::new(stream));
        }
        let tunnel = Tunnel::try_open(self.proxy, &format!("{HOST}:443"), None).await?;
        let begun: &[u8] = match slow {
            Slow::Head | Slow::Tunnel => return Ok(tunnel.plain().into_stream()),
            Slow::Hello => {
                let mut client = tunnel.plain();
                client.send_raw(b"\x16\x03\x01\x02").await?;
                return Ok(client.into_stream());
            }
            Slow::HeadInside => b"GET /jobs",
            Slow::Body => {
                b"PUT /jobs/j HTTP/1.1\r\nHost: testacct.westeurope.batch.azure.com\r\nContent-Length: 100000\r\n\r\n"
            }
            Slow::Unread => b"GET /large HTTP/1.1\r\nHost: testacct.westeurope.batch.azure.com\r\n\r\n",
        };
        let mut client = tunnel.tls_with(self.tls.clone(), HOST).await?;
        client.send_raw(begun).await?;
        Ok(client.into_stream())
    }

    /// Until the proxy hangs up.
    async fn go_on(&self, slow: Slow, stream: &mut Box<dyn Io>) -> io::Result<()> {
        match slow {
            Slow::Tunnel | Slow::Hello => drop(stream.read(&mut [0; 64]).await?),
            Slow::Unread => loop {
                sleep(Duration::from_secs(1)).await;
                stream.read_exact(&mut [0; 1]).await?;
            },
            Slow::Head | Slow::HeadInside | Slow::Body => loop {
                sleep(Duration::from_secs(1)).await;
                stream.write_all(b"x").await?;
                stream.flush().await?;
            },
        }
        Ok(())
    }

    /// What others see for a while.
    async fn measure(&self, span: Duration) -> Times {
        let mut tasks = JoinSet::new();
        for _ in 0..KEEPERS {
            let target = self.clone();
            tasks.spawn(async move {
                let (mut client, mut pace) = (target.connect().await, Pace::new(span, Duration::from_millis(10)));
                let mut times = Times::default();
                while let Some(due) = pace.next().await {
                    ask(&mut client).await;
                    times.kept.push(due.elapsed());
                }
                times
            });
        }
        let target = self.clone();
        tasks.spawn(async move {
            let (mut pace, mut times) = (Pace::new(span, Duration::from_millis(25)), Times::default());
            while let Some(due) = pace.next().await {
                ask(&mut target.connect().await).await;
                times.new.push(due.elapsed());
            }
            times
        });
        let mut times = Times::default();
        while let Some(some) = tasks.join_next().await {
            times.extend(some.unwrap());
        }
        times
    }

    async fn connect(&self) -> Client {
        let tunnel = Tunnel::open(self.proxy, &format!("{HOST}:443"), None).await;
        tunnel.tls_with(self.tls.clone(), HOST).await.unwrap()
    }
}

// === impl Pace ===

impl Pace {
    fn new(span: Duration, every: Duration) -> Self {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        Self { ticks, end: Instant::now() + span }
    }

    /// When the next request was due. It counts from then, so that one that waits for another counts in full.
    async fn next(&mut self) -> Option<Instant> {
        let due = self.ticks.tick().await.into_std();
        (due < self.end).then_some(due)
    }
}

// === impl Times ===

impl Times {
    fn extend(&mut self, more: Self) {
        self.kept.extend(more.kept);
        self.new.extend(more.new);
    }
}

async fn ask(client: &mut Client) {
    assert_eq!(client.request(&request("GET", "/jobs", HOST, &[], "")).await.status, 200);
}

/// The median, and what 99 of a hundred stay below.
fn quantiles(times: &mut [Duration]) -> [Duration; 2] {
    times.sort_unstable();
    [50, 99].map(|percent| times[times.len() * percent / 100])
}

async fn start(origin: &Origin) -> Program {
    let binary = std::env::var("BATCH_RELEASE_BINARY").expect("BATCH_RELEASE_BINARY names the program");
    let mut command = Command::new(binary);
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-level", "info"]);
    for setting in [
        format!("upstream.ca_files=['{}']", origin.ca_file().display()),
        format!("upstream.resolve={{\"{HOST}:443\" = \"{}\"}}", origin.address()),
    ] {
        command.args(["--set", &setting]);
    }
    Program::spawn(command).await
}

const CONNECTIONS: usize = 2000;
const KEEPERS: usize = 4;
const ROUNDS: usize = 3;

/// `listen.header_timeout`.
const DROPPED_AFTER: Duration = Duration::from_secs(10);

/// Of each measurement: longer than that, so that all attackers are dropped and come again while it lasts.
const SPAN: Duration = Duration::from_secs(12);

/// An answer that does not fit into the buffers of a socket.
const LARGE: usize = 1 << 20;

const PATIENCE: Duration = Duration::from_secs(120);
