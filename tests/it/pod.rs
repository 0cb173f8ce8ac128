//! The program as a sidecar: what becomes of it when the pod's other containers have exited, when the pod is told to end, and when it
//! crashes itself.

use std::any::Any;
use std::time::Duration;

use tokio::net::TcpListener;

use super::command::{Program, behind, behind_proxy_with, text};
use super::connect::blackhole;
use super::support::action::{respond, stall, wait};
use super::support::batch::{HOST, error};
use super::support::client::{Client, Tunnel, request};
use super::support::echo::EchoServer;
use super::support::gate::Gate;
use super::support::origin::Origin;
use super::support::{guard, guard_for};

/// What a program that exits may leave behind.
#[derive(Clone, Copy, Debug)]
enum UnderWay {
    /// A tunnel is being made to an address that does not answer.
    Dialing,
    /// Batch has the request and is silent.
    Sent,
    /// A tunnel whose other end goes on being silent.
    SilentTunnel,
    /// A tunnel whose other end closes too.
    Tunnel,
    /// A replay waits.
    Waiting,
    /// A request waits because the account is closed.
    WaitingAtTheGate,
}

/// The kernel closes what a process leaves open. Whatever was under way for it, the grace is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_program_has_exited_sees_the_proxy_gone() {
    use UnderWay::{Dialing, Sent, SilentTunnel, Tunnel, Waiting, WaitingAtTheGate};
    for under_way in [Dialing, Sent, SilentTunnel, Tunnel, Waiting, WaitingAtTheGate] {
        let (origin, program, _directory) = behind_proxy_with(&PATIENT).await;
        origin.tolerate_broken_connections();
        let (clients, _other_end) = under_way.begin(&origin, &program).await;
        drop(clients);
        program.signal("TERM").await;
        let exit_code = guard_for(GONE_WITHIN, &format!("the proxy's end, {under_way:?}"), program.exit_code()).await;
        assert_eq!(exit_code, Some(0), "{under_way:?}");
    }
}

/// Where the sidecar is an ordinary container, the program says itself that it is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_says_it_is_done_ends_the_proxy_beside_its_idle_connections() {
    let allowed = [&PATIENT[..], &["--set", "admin.allow_shutdown=true"]].concat();
    let (origin, program, _directory) = behind_proxy_with(&allowed).await;
    origin.queue([respond(200, &[], "{}")]);
    let mut client = open(&program).await;
    assert_eq!(client.request(&request("GET", "/jobs", HOST, &[], "")).await.status, 200);
    let post = request("POST", "/shutdown", "localhost", &[("Content-Length", "0")], "");
    assert_eq!(Client::connect(program.admin).await.request(&post).await.status, 202);
    assert_eq!(guard_for(GONE_WITHIN, "the proxy's end", program.exit_code()).await, Some(0));
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_told_to_end_gets_every_answer_that_the_grace_allows_and_the_last_one_of_the_others() {
    let settings = ["--set", "retry.deadline=10m", "--set", "retry.backoff.initial=1s", "--set", "retry.backoff.max=1s"];
    let (origin, mut program, _directory) = behind_proxy_with(&settings).await;
    let gate = Gate::new();
    let (held, mut failures) = (gate.clone(), 0);
    origin.script(move |received| match received.target.split('?').next() {
        Some("/jobs") => wait(&held).then(respond(200, &[], "late")),
        Some("/pools") if failures == 0 => {
            failures += 1;
            error(500, "InternalError", &[])
        }
        Some("/pools") => respond(200, &[], "replayed"),
        _ => error(503, "TooManyEnableAutoScaleRequests", &[("Retry-After", "300")]),
    });
    let mut clients = Vec::new();
    for (method, path) in [("GET", "/jobs"), ("GET", "/pools"), ("POST", "/pools/p/enableautoscale")] {
        let mut client = open(&program).await;
        client.send_raw(&request(method, path, HOST, &[], "")).await.unwrap();
        clients.push((client, method));
    }
    // All have been sent: one is held, two wait.
    origin.wait_for_requests(3).await;
    program.until("batch_retry_proxy_attempts_total", &[("class", "throttled")], 1.0).await;
    program.until("batch_retry_proxy_attempts_total", &[("class", "transient")], 1.0).await;
    program.signal("TERM").await;
    program.line("draining").await;
    gate.open();
    let mut answers = Vec::new();
    for (client, method) in &mut clients {
        let response = client.read_response(method).await.unwrap();
        assert!(response.complete);
        answers.push((response.status, response.text()));
    }
    assert_eq!(answers[..2], [(200, "late".to_owned()), (200, "replayed".to_owned())]);
    assert!(answers[2].0 == 503 && answers[2].1.contains("TooManyEnableAutoScaleRequests"), "{:?}", answers[2]);
    assert_eq!(program.exit_code().await, Some(0));
    origin.finish().await;
}

/// A sidecar that is an ordinary container is told to end together with the program, which may have something left to ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_told_to_end_as_well_is_served_until_the_delay_is_over() {
    let (origin, mut program, _directory) =
        behind_proxy_with(&["--set", "shutdown.delay=10m", "--set", "admin.allow_shutdown=true"]).await;
    origin.script(|_| respond(200, &[], "{}"));
    let mut before = open(&program).await;
    assert_eq!(before.request(&request("GET", "/jobs", HOST, &[], "")).await.status, 200);
    program.signal("TERM").await;
    program.line("finishing what is under way").await;
    assert_eq!(before.request(&request("GET", "/jobs", HOST, &[], "")).await.status, 200);
    assert_eq!(open(&program).await.request(&request("GET", "/jobs", HOST, &[], "")).await.status, 200);
    let post = request("POST", "/shutdown", "localhost", &[("Content-Length", "0")], "");
    assert_eq!(Client::connect(program.admin).await.request(&post).await.status, 202);
    assert_eq!(
        guard_for(GONE_WITHIN, "the proxy's end", program.exit_code()).await,
        Some(0),
        "it is over when the program says so"
    );
    origin.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delay_ends_where_nobody_is_connected_and_a_second_signal_or_a_person_does_not_wait_for_it() {
    for (delay, signals) in [("100ms", &["TERM"][..]), ("10m", &["TERM"]), ("10m", &["TERM", "TERM"]), ("10m", &["INT"])] {
        let mut program = Program::start(&["--set", &format!("shutdown.delay={delay}")]).await;
        for signal in signals {
            program.signal(signal).await;
            program.line("finishing what is under way").await;
        }
        assert_eq!(guard_for(GONE_WITHIN, "the proxy's end", program.exit_code()).await, Some(0), "{delay} {signals:?}");
    }
}

/// Programs read what to trust when they start, and are not started again because the sidecar was.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_programs_trust_the_proxy_as_before() {
    let kept = tempfile::tempdir().unwrap();
    let directory = format!("ca.directory={}", text(kept.path()));
    let (origin, program, _directory) = behind_proxy_with(&["--set", &directory]).await;
    origin.script(|_| respond(200, &[], "{}"));
    let trusted = program.fetch("/ca.pem").await;
    program.signal("KILL").await;
    assert_eq!(program.exit_code().await, None, "ended by the signal");
    let again = behind(&origin, &["--set", &directory]).await;
    let tunnel = Tunnel::open(again.proxy, &format!("{HOST}:443"), None).await;
    let mut client = tunnel.tls(&trusted, HOST, &[]).await.unwrap();
    assert_eq!(client.request(&request("GET", "/jobs", HOST, &[], "")).await.status, 200);
    origin.finish().await;
}

// === impl UnderWay ===

impl UnderWay {
    /// Begins it, and gives what the program's exit closes and what stays.
    async fn begin(self, origin: &Origin, program: &Program) -> (Vec<Client>, Box<dyn Any>) {
        match self {
            Self::Dialing => {
                let silent = blackhole().await;
                let address = silent.0.local_addr().unwrap();
                let mut client = Client::connect(program.proxy).await;
                let connect = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n");
                client.send_raw(connect.as_bytes()).await.unwrap();
                program.until("batch_retry_proxy_connections", &[("kind", "tunnel")], 1.0).await;
                (vec![client], Box::new(silent))
            }
            Self::Sent => {
                origin.queue([stall()]);
                (vec![ask(origin, program).await], Box::new(()))
            }
            Self::SilentTunnel => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let target = listener.local_addr().unwrap().to_string();
                let tunnel = Tunnel::open(program.proxy, &target, None).await;
                let accepted = guard("a connection", listener.accept()).await.unwrap();
                (vec![tunnel.plain()], Box::new(accepted))
            }
            Self::Tunnel => {
                let echo = EchoServer::start().await;
                let tunnel = Tunnel::open(program.proxy, &echo.address().to_string(), None).await;
                (vec![tunnel.plain()], Box::new(echo))
            }
            Self::Waiting => {
                origin.queue([error(500, "InternalError", &[])]);
                let client = ask(origin, program).await;
                program.until("batch_retry_proxy_attempts_total", &[("class", "transient")], 1.0).await;
                (vec![client], Box::new(()))
            }
            Self::WaitingAtTheGate => {
                origin.queue([error(429, "TooManyRequests", &[("Retry-After", "300")])]);
                let refused = ask(origin, program).await;
                program.until("batch_retry_proxy_throttle_gate_closed", &[("account", "testacct.westeurope")], 1.0).await;
                let held = ask(origin, program).await;
                program.until("batch_retry_proxy_throttle_gate_waiting", &[("account", "testacct.westeurope")], 1.0).await;
                (vec![refused, held], Box::new(()))
            }
        }
    }
}

/// A client whose question Batch has, or whose account is closed.
async fn ask(origin: &Origin, program: &Program) -> Client {
    let mut client = open(program).await;
    client.send_raw(&request("GET", "/jobs", HOST, &[], "")).await.unwrap();
    origin.wait_for_requests(1).await;
    client
}

/// A connection opened by the proxy.
async fn open(program: &Program) -> Client {
    let tunnel = Tunnel::open(program.proxy, &format!("{HOST}:443"), None).await;
    tunnel.tls(&program.fetch("/ca.pem").await, HOST, &[]).await.unwrap()
}

/// What is waited for takes minutes, and so may the shutdown.
const PATIENT: [&str; 8] = [
    "--set",
    "shutdown.grace=10m",
    "--set",
    "retry.deadline=10m",
    "--set",
    "retry.backoff.initial=5m",
    "--set",
    "retry.backoff.max=5m",
];

/// What is promised; the work itself takes two seconds at most, which are those of a tunnel.
const GONE_WITHIN: Duration = Duration::from_secs(5);
