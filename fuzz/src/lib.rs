//! What the fuzzers of the whole proxy stand on: the proxy as the program starts it, on loopback, between a client and a service that keeps
//! every request it gets.
//!
//! One thread runs everything, so that an input that breaks something breaks it again.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use batch_retry_proxy::app::{App, Configuration, Controls};
use batch_retry_proxy::config::Settings;
use batch_retry_proxy::{shutdown, telemetry};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[path = "../../tests/it/hostile/message.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod message;
pub mod reference;

use message::{Message, Unread};

/// The account.
pub const HOST: &str = "testacct.westeurope.batch.azure.com";

/// A server that is not the service, for plain requests.
pub const PLAIN: &str = "plain.example";

/// The proxy and those around it.
pub struct Stage {
    runtime: Runtime,
    proxy: SocketAddr,
    tls: TlsConnector,
    service: Arc<Mutex<Service>>,
}

/// Whom a client speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The service, through a connection that the proxy opened.
    Inside,
    /// The proxy, on its own port.
    Port,
}

/// What became of what a client sent.
#[derive(Debug)]
pub struct Conversation {
    /// What the client was answered, up to the end of the connection.
    pub answers: Vec<u8>,
    /// The requests that reached a server, in their order.
    pub requests: Vec<Received>,
    /// What reached a server and is no request.
    pub malformed: Vec<u8>,
}

/// A request, as it reached a server.
#[derive(Debug)]
pub struct Received {
    /// Up to the empty line.
    pub head: Vec<u8>,
    /// Without chunk framing.
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Service {
    /// How many of the next requests fail.
    failures: usize,
    requests: Vec<Received>,
    malformed: Vec<u8>,
    unread: HashMap<usize, Vec<u8>>,
    connections: usize,
}

// === impl Stage ===

impl Stage {
    /// The one stage of this process, which is set when it is first asked for.
    pub fn get() -> MutexGuard<'static, Self> {
        static STAGE: OnceLock<Mutex<Stage>> = OnceLock::new();
        STAGE.get_or_init(|| Mutex::new(Self::set())).lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let service = Arc::new(Mutex::new(Service::default()));
        let (proxy, tls) = runtime.block_on(async {
            // Rust's own start of a program, which a fuzzer does without, makes a write to a closed socket no reason to die.
            drop(signal(SignalKind::pipe()).expect("a signal"));
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let ca = params.self_signed(&key).expect("an authority").pem();
            let issuer = Issuer::new(params, key);
            let secure = listen(Some(server_config(&issuer)), service.clone()).await;
            let plain = listen(None, service.clone()).await;
            let ca_file = NamedTempFile::with_suffix(".pem").expect("a file");
            std::fs::write(ca_file.path(), ca).expect("a written file");
            let settings = Settings::from_toml(&format!(
                "listen.address = '127.0.0.1:0'\nadmin.address = '127.0.0.1:0'\nlog.level = 'off'\n\
                 retry.backoff = {{ initial = '1ms', max = '1ms', jitter = 0.0 }}\nretry.budget.min_per_second = 1000000\n\
                 retry.body_limit = '64KiB'\n[upstream]\nca_files = ['{}']\n\
                 resolve = {{ '{HOST}:443' = '{secure}', '{PLAIN}:80' = '{plain}' }}\n",
                ca_file.path().display()
            ));
            let settings = settings.expect("settings");
            let logs = telemetry::init(settings.log);
            let app = App::bind(settings).await.expect("a proxy");
            let (proxy, tls) = (app.proxy_address(), client_config(app.root_pem()));
            let (shutdown, drain) = shutdown::channel();
            let controls = Controls { logs, config: Configuration::Fixed(String::new()), shutdown };
            tokio::spawn(app.run(drain, controls));
            (proxy, tls)
        });
        Self { runtime, proxy, tls, service }
    }

    /// Sends `bytes` in pieces of at most `piece`, ends the client's side once nothing came for `quiet`, and waits for the end. The next
    /// `failures` requests that reach the service fail.
    ///
    /// # Panics
    /// If the connection does not end.
    pub fn converse(&mut self, place: Place, bytes: &[u8], piece: usize, failures: usize, quiet: Duration) -> Conversation {
        lock(&self.service).failures = failures;
        let (proxy, tls) = (self.proxy, self.tls.clone());
        let conversing = async {
            let mut stream = TcpStream::connect(proxy).await?;
            stream.set_nodelay(true)?;
            if place == Place::Port {
                return converse(stream, bytes, piece, quiet).await;
            }
            stream.write_all(format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n").as_bytes()).await?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(stream.read_u8().await?);
            }
            let name = ServerName::try_from(HOST).expect("a name");
            converse(tls.connect(name, stream).await?, bytes, piece, quiet).await
        };
        let answers = self.runtime.block_on(async { timeout(PATIENCE, conversing).await });
        let answers = answers.expect("the connection has no end").expect("the client reaches the proxy");
        let mut service = lock(&self.service);
        Conversation {
            answers,
            requests: std::mem::take(&mut service.requests),
            malformed: std::mem::take(&mut service.malformed),
        }
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite, bytes: &[u8], piece: usize, quiet: Duration) -> io::Result<Vec<u8>> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut answers = Vec::new();
    let writing = async {
        for piece in bytes.chunks(piece.max(1)) {
            writer.write_all(piece).await?;
            writer.flush().await?;
            tokio::task::yield_now().await;
        }
        io::Result::Ok(())
    };
    let reading = async {
        let mut buffer = [0; 4096];
        loop {
            // What is incomplete gets no answer; the end of the client's side tells the proxy that it stays so.
            match timeout(quiet, reader.read(&mut buffer)).await {
                Err(_) => return false,
                Ok(Err(_) | Ok(0)) => return true,
                Ok(Ok(count)) => answers.extend_from_slice(&buffer[..count]),
            }
        }
    };
    // A proxy that has said no takes nothing more.
    let (_, ended) = tokio::join!(writing, reading);
    if !ended {
        let _ = writer.shutdown().await;
        let _ = reader.read_to_end(&mut answers).await;
    }
    Ok(answers)
}

async fn listen(tls: Option<Arc<ServerConfig>>, service: Arc<Mutex<Service>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, service) = (tls.clone(), service.clone());
            tokio::spawn(async move {
                match tls {
                    None => serve(stream, &service).await,
                    Some(tls) => serve(TlsAcceptor::from(tls).accept(stream).await?, &service).await,
                }
            });
        }
    });
    address
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, service: &Mutex<Service>) -> io::Result<()> {
    let connection = {
        let mut service = lock(service);
        service.connections += 1;
        service.connections
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            lock(service).unread.remove(&connection);
            return Ok(());
        }
        let answers = lock(service).take(connection, &buffer[..count]);
        let Some(answers) = answers else { return Ok(()) };
        stream.write_all(&answers).await?;
    }
}

// === impl Service ===

impl Service {
    /// Notes what came, and answers each request in it; `None` where it is none.
    fn take(&mut self, connection: usize, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut unread = self.unread.remove(&connection).unwrap_or_default();
        unread.extend_from_slice(bytes);
        let mut answers = Vec::new();
        loop {
            match Message::read(&unread) {
                Ok((request, length)) => {
                    unread.drain(..length);
                    let failed = self.failures > 0;
                    self.failures -= usize::from(failed);
                    let status = if failed { "500 Internal Server Error" } else { "200 OK" };
                    let body = if request.is_head_request() { "" } else { "ok" };
                    answers.extend_from_slice(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{body}").as_bytes());
                    self.requests.push(Received { head: request.head, body: request.body });
                }
                Err(Unread::Incomplete) => {
                    self.unread.insert(connection, unread);
                    return Some(answers);
                }
                Err(Unread::Malformed(_)) => {
                    self.malformed.extend(unread);
                    return None;
                }
            }
        }
    }
}

fn server_config(issuer: &Issuer<'static, KeyPair>) -> Arc<ServerConfig> {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![HOST.to_owned()]).expect("a name");
    let leaf = params.signed_by(&key, issuer).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config =
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth();
    Arc::new(config.with_single_cert(vec![leaf.der().clone()], key).expect("a certificate"))
}

fn client_config(ca: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("a certificate")).expect("an authority");
    let config =
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let mut config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a connection may take to end after that.
const PATIENCE: Duration = Duration::from_secs(20);
