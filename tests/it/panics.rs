//! A defect that panics costs the connection it happens on and nothing else, is counted, and its text is kept from the log.
//!
//! No request is known that makes the proxy panic, so two of its parts do so on demand: the clock that leaves are made by, while a connection is
//! opened, and the verifier of Batch's certificate, while a request is answered.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use batch_retry_proxy::config::Settings;
use batch_retry_proxy::metrics::{BuildInfo, Metrics};
use batch_retry_proxy::proxy::{Parts, Proxy, Terms};
use batch_retry_proxy::shutdown::{self, Drained};
use batch_retry_proxy::telemetry;
use batch_retry_proxy::tls::authority::CertificateAuthority;
use batch_retry_proxy::tls::leaf::ServerConfigs;
use batch_retry_proxy::upstream::{Destinations, Dialer, Upstream};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::support::action::respond;
use crate::support::batch::HOST;
use crate::support::client::{Tunnel, request};
use crate::support::echo::EchoServer;
use crate::support::metric::assert_metric;
use crate::support::origin::Origin;
use crate::support::{guard, guard_for};

const SECRET: &str = "sig-of-a-request-9f3a";
const ELSEWHERE: &str = "elsewhere.example:443";

/// A part that panics while it is told to, with what it has in hand.
#[derive(Clone, Debug, Default)]
struct Fuse(Arc<AtomicBool>);

impl Fuse {
    fn set(&self, lit: bool) {
        self.0.store(lit, Ordering::SeqCst);
    }

    fn burn(&self) {
        assert!(!self.0.load(Ordering::SeqCst), "cannot go on with {SECRET}");
    }
}

/// Believes what [`WebPkiServerVerifier`] believes.
#[derive(Debug)]
struct Verifier {
    fuse: Fuse,
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.fuse.burn();
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A panic has to unwind to be contained, and a number that does not fit has to panic to be seen: in what is shipped too.
#[test]
fn what_is_shipped_unwinds_and_checks_for_overflow() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let profiles = manifest.parse::<toml::Table>().unwrap()["profile"].as_table().unwrap().clone();
    assert_eq!(profiles["release"]["overflow-checks"].as_bool(), Some(true));
    assert_eq!(profiles["image"]["inherits"].as_str(), Some("release"));
    let text = toml::to_string(&profiles).unwrap();
    for weaker in ["panic = \"abort\"", "overflow-checks = false"] {
        assert!(!text.contains(weaker), "{weaker}");
    }
}

/// In a process of its own: the hook that counts panics is the process's, and so is its log.
#[tokio::test]
async fn a_panic_costs_one_connection_and_is_logged_without_what_it_held() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "panics::connections_of_which_some_panic"]);
    command.env_remove("RUST_BACKTRACE").stdin(Stdio::null()).kill_on_drop(true);
    let patience = std::time::Duration::from_secs(60);
    let output = guard_for(patience, "the end of the other process", command.output()).await.unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
    let panics: Vec<&str> = stderr.lines().filter(|line| line.contains("\"panicked\"")).collect();
    assert_eq!(panics.len(), 6, "{stderr}");
    for line in panics {
        assert!(line.contains("tests/it/panics.rs:") && line.contains("not shown"), "{line}");
    }
    assert!(!stderr.contains(SECRET) && !stdout.contains(SECRET), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above in a process of its own"]
async fn connections_of_which_some_panic() {
    let (origin, echo) = (Origin::start(&[HOST]).await, EchoServer::start().await);
    origin.script(|_| respond(200, &[], "{}").closing());
    let settings = Settings::from_toml(&format!(
        "listen.max_connections = 3\nlog = {{ level = \"debug\", format = \"json\" }}\n[upstream.resolve]\n\"{HOST}:443\" = \"{}\"\n\"{ELSEWHERE}\" = \"{}\"",
        origin.address(),
        echo.address()
    ))
    .unwrap();
    telemetry::init(settings.log);
    let metrics = Metrics::new(BuildInfo::current());
    telemetry::install_panic_hook(metrics.clone());

    let [clock, verifier] = [Fuse::default(), Fuse::default()];
    let authority =
        Arc::new(CertificateAuthority::open(&settings.route.intercept, &settings.ca, SystemTime::now()).unwrap());
    let ca_pem = authority.root_pem().to_owned();
    let burning = clock.clone();
    let certificates = ServerConfigs::new(authority, move || {
        burning.burn();
        SystemTime::now()
    });
    let (shutdown, drain) = shutdown::channel();
    let terms = terms(&settings, &origin, verifier.clone());
    let parts = Parts { terms, certificates: certificates.unwrap(), metrics: metrics.clone(), drain: drain.clone() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Proxy::new(parts, address).serve(listener));
    let counted = || String::from_utf8(metrics.encode()).unwrap();
    let opened = async |alpn| {
        let tunnel = Tunnel::open(address, &format!("{HOST}:443"), None).await;
        tunnel.tls(&ca_pem, HOST, &[alpn]).await
    };
    let get = request("GET", "/jobs", HOST, &[("Authorization", SECRET)], "");

    // Two of the three places are taken, and stay so.
    let mut tunnel = Tunnel::open(address, ELSEWHERE, None).await.plain();
    let mut kept = opened("http/1.1").await.unwrap();
    assert_eq!(kept.request(&get).await.status, 200);

    clock.set(true);
    for _ in 0..3 {
        assert!(opened("http/1.1").await.is_err(), "there was no leaf");
    }
    clock.set(false);
    verifier.set(true);
    for _ in 0..2 {
        let mut client = opened("http/1.1").await.unwrap();
        client.send_raw(&get).await.unwrap();
        assert!(client.read_response("GET").await.is_err(), "nobody was there to answer");
    }
    assert_metric(&counted(), "batch_retry_proxy_panics_total", &[], 5.0);

    // Over HTTP/2 it costs one of the connection's requests.
    let io = TokioIo::new(opened("h2").await.unwrap().into_stream());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let ask = || http::Request::get(format!("https://{HOST}/jobs")).body(Empty::<Bytes>::new()).unwrap();
    assert!(guard("the end of a request", sender.send_request(ask())).await.is_err());
    verifier.set(false);
    assert_eq!(guard("an answer", sender.send_request(ask())).await.unwrap().status(), 200);
    drop(sender);
    guard("the end of the connection", connection).await.unwrap().unwrap();

    assert_metric(&counted(), "batch_retry_proxy_panics_total", &[], 6.0);
    assert_eq!(kept.request(&get).await.status, 200);
    tunnel.send_raw(b"still here").await.unwrap();
    assert_eq!(tunnel.read_exactly(10).await.unwrap(), b"still here");
    assert_eq!(opened("http/1.1").await.unwrap().request(&get).await.status, 200);
    drop((tunnel, kept));
    shutdown.drain(settings.shutdown_grace);
    assert_eq!(guard("the end of the drain", drain.finished()).await, Drained::Finished);
    assert_metric(&counted(), "batch_retry_proxy_connections", &[], 0.0);
    assert!(!origin.take_errors().is_empty(), "handshakes broke off");
}

fn terms(settings: &Settings, origin: &Origin, fuse: Fuse) -> Terms {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(origin.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { fuse, inner }))
        .with_no_client_auth();
    // A resumed session is not verified again.
    tls.resumption = Resumption::disabled();
    let dialer = Dialer::new(&settings.upstream, Destinations::All);
    let upstream = Upstream::new(&settings.upstream, dialer.clone(), Arc::new(tls));
    batch_retry_proxy::app::terms(settings, dialer, upstream)
}
