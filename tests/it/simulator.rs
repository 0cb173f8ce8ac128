//! The simulator over real sockets: framing, resets, answers cut short and draining, as a raw client sees them.

use std::sync::Arc;
use std::time::Duration;

use batch_retry_proxy::shutdown;
use batch_retry_proxy::simulator::{Observer, Scenario, Simulator, SimulatorSettings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// A running simulator and what is needed to reach it.
struct Running {
    connector: TlsConnector,
    host: String,
    address: std::net::SocketAddr,
    observer: Observer,
    shutdown: shutdown::Shutdown,
    served: JoinHandle<()>,
}

impl Running {
    async fn start(faults: &str) -> Self {
        let scenario = Scenario::parse("test", &format!("name='test'\ndescription='x'\n{faults}")).unwrap();
        let bound = Simulator::bind(SimulatorSettings { scenario, ..SimulatorSettings::demo() }).await.unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(bound.ca_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let (shutdown, drain) = shutdown::channel();
        Self {
            connector: TlsConnector::from(Arc::new(config)),
            host: bound.host().to_owned(),
            address: bound.address(),
            observer: bound.observer(),
            shutdown,
            served: tokio::spawn(bound.serve(drain)),
        }
    }

    /// All that comes back for one request on its own connection, and whether the connection ended as it should.
    async fn exchange(&self, call: &str, body: &str) -> (String, bool) {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(self.host.clone()).unwrap();
        let mut stream = self.connector.connect(name, tcp).await.unwrap();
        let (host, length) = (&self.host, body.len());
        let request = format!(
            "{call} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer).await;
        (String::from_utf8(answer).unwrap().to_ascii_lowercase(), ended.is_ok())
    }

    async fn finish(self) {
        self.shutdown.drain(Duration::from_secs(5));
        self.served.await.unwrap();
    }
}

const JOBS: &str = "GET /jobs?api-version=2024-07-01.20.0";

/// Clients and proxies read the two kinds of answer differently.
#[tokio::test]
async fn success_is_chunked_and_errors_have_a_length() {
    let simulator = Running::start("").await;
    let chunked = ["\r\ntransfer-encoding: chunked\r\n"];
    for (call, body, want) in [
        (JOBS, "", &chunked[..]),
        ("POST /jobs?api-version=1", r#"{"id":"j"}"#, &["http/1.1 201", chunked[0], "\r\n\r\n0\r\n\r\n"]),
        ("POST /jobs/j/tasks?api-version=1", r#"{"id":"t"}"#, &["http/1.1 201", chunked[0]]),
        ("GET /jobs/x?api-version=1", "", &["http/1.1 404", "\r\ncontent-length: ", "jobnotfound"]),
        (
            "GET /jobs/j/tasks/t/files/stdout.txt?api-version=1",
            "",
            &["http/1.1 200", "\r\ncontent-length: ", "line 100 of 100\n"],
        ),
        (
            "HEAD /jobs/j/tasks/t/files/stdout.txt?api-version=1",
            "",
            &["http/1.1 200", "\r\ncontent-length: ", "ocp-batch-file-mode"],
        ),
        ("HEAD /pools/x?api-version=1", "", &["http/1.1 404"]),
        ("POST /jobs/j/tasks/t/terminate?api-version=1", "", &["http/1.1 204"]),
        ("POST /jobs/j/terminate?api-version=1", "", &["http/1.1 202", chunked[0]]),
    ] {
        let (answer, ended) = simulator.exchange(call, body).await;
        assert!(ended && want.iter().all(|part| answer.contains(part)), "{call}: {answer}");
        assert!(!(answer.contains("content-length") && answer.contains("transfer-encoding")), "{call}: {answer}");
    }
    assert_eq!(simulator.observer.ledger().requests, 9);
    simulator.finish().await;
}

/// A program needs no name in the DNS: the links of its answers lead back to where it asked.
#[tokio::test]
async fn the_account_is_served_as_localhost_too() {
    let mut simulator = Running::start("").await;
    simulator.host = "localhost".to_owned();
    for id in ["a", "b"] {
        let body = format!(r#"{{"id": "{id}", "poolInfo": {{"poolId": "p"}}}}"#);
        let (answer, ended) = simulator.exchange("POST /jobs?api-version=1", &body).await;
        assert!(answer.starts_with("http/1.1 201") && ended, "{answer}");
    }
    let (answer, _) = simulator.exchange("GET /jobs?maxresults=1&api-version=1", "").await;
    assert!(answer.contains("\"odata.nextlink\":\"https://localhost/jobs"), "{answer}");
    simulator.finish().await;
}

/// A reset gives nothing at all, a cut answer its head and first half, and neither a proper end.
#[tokio::test]
async fn faults_end_the_connection_as_the_scenario_says() {
    for (fault, head_comes) in [
        ("kind='reset-before-work'", false),
        ("kind='reset-after-work'", false),
        ("kind='stall'\nhold='1ms'", false),
        ("kind='truncate'", true),
    ] {
        let simulator = Running::start(&format!("[[fault]]\non=['reads']\nevery=1\n{fault}")).await;
        let (answer, ended) = simulator.exchange(JOBS, "").await;
        assert!(!ended, "{fault}: {answer}");
        assert_eq!(answer.starts_with("http/1.1 200"), head_comes, "{fault}: {answer}");
        assert!(!answer.ends_with("\r\n0\r\n\r\n"), "{fault}: {answer}");
        simulator.finish().await;
    }
}

/// The command says how to reach the account, runs until a signal, and sums up.
#[tokio::test]
async fn the_command_tells_what_a_client_needs_and_sums_up_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
    command
        .args(["simulate", "--listen", "127.0.0.1:0", "--scenario", "calm", "--ca-out", "ca.pem"])
        .current_dir(dir.path());
    let mut child = command.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = Vec::new();
    loop {
        told.push(lines.next_line().await.unwrap().expect("the command goes on"));
        if told.last().is_some_and(|line| line.starts_with("Control-C")) {
            break;
        }
    }
    let told = told.join("\n");
    for part in ["demo.simulated.batch.azure.com", "upstream.resolve=", "scenario calm", "https://localhost:", "ca.pem"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(std::fs::read_to_string(dir.path().join("ca.pem")).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    let pid = child.id().unwrap().to_string();
    assert!(tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert!(child.wait().await.unwrap().success());
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("requests          0"));
}

/// A scenario that does not exist is a bad setting, and the known ones are named; so is a limit that is none.
#[tokio::test]
async fn what_cannot_be_simulated_is_exit_code_78() {
    for (flag, value, want) in [
        ("--scenario", "nonsense", "brownout, calm, crowded, errors, flaps, lost-creates"),
        ("--limit", "0", "limit: per_second is above 0"),
    ] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_batch-retry-proxy"));
        let output = command.args(["simulate", flag, value]).output().await.unwrap();
        assert_eq!(output.status.code(), Some(78), "{flag} {value}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(want), "{flag} {value}");
    }
}

/// Past the limit the account refuses, names the wait in the scenario's form, and counts.
#[tokio::test]
async fn what_is_past_the_limit_is_refused_over_the_wire() {
    for (form, name, is_date) in [
        ("seconds", Some("retry-after: "), false),
        ("milliseconds", Some("x-ms-retry-after-ms: "), false),
        ("date", Some("retry-after: "), true),
        ("none", None, false),
    ] {
        let simulator = Running::start(&format!("[limit]\nper_second=0.1\nburst=2\nhint='{form}'")).await;
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(simulator.exchange(JOBS, "").await.0);
        }
        let [first, second, third] = &answers[..] else { panic!("three were asked for") };
        assert!(first.starts_with("http/1.1 200") && second.starts_with("http/1.1 200"), "{form}: {first} {second}");
        assert!(third.starts_with("http/1.1 429") && third.contains("toomanyrequests"), "{form}: {third}");
        assert_eq!(third.contains("retry-after"), name.is_some(), "{form}: {third}");
        if let Some(name) = name {
            let value = third.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            assert!(value.parse::<u32>().is_ok() != is_date && value.ends_with(" gmt") == is_date, "{form}: {third}");
        }
        let ledger = simulator.observer.ledger();
        let let_in: u64 = ledger.let_in.values().sum();
        assert_eq!((ledger.requests, let_in, ledger.past_limit(), ledger.early), (3, 2, 1, 0), "{form}");
        simulator.finish().await;
    }
}
