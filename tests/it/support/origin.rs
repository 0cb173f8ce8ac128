//! A scripted HTTP/1.1 server: it keeps every request as it came, and does with it what the test said.
//!
//! Whatever the script did not ask for (a malformed request, a handshake that fails, a script that panics) is an error of the
//! test: [`Origin::finish`] reports it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::serve::{Log, Shared, accept};
use super::action::Action;
use super::guard;
use super::pki::Authority;
use super::wire::{Framing, Head, header};

mod serve;

/// A listening server. Dropped, it hangs up on everyone.
pub(crate) struct Origin {
    address: SocketAddr,
    hosts: Vec<String>,
    authority: Authority,
    ca_file: NamedTempFile,
    shared: Arc<Shared>,
    task: JoinSet<()>,
}

/// One request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Counted over all connections, from 1.
    pub(crate) number: usize,
    /// The connection it came on, from 1.
    pub(crate) connection: usize,
    /// Its place on that connection, from 1.
    pub(crate) nth_on_connection: usize,
    /// The name the connection's TLS client asked for.
    pub(crate) server_name: Option<String>,
    /// From the first byte to the empty line.
    pub(crate) raw_head: Vec<u8>,
    /// The body with its chunk framing.
    pub(crate) raw_body: Vec<u8>,
    /// The body without.
    pub(crate) body: Vec<u8>,
    /// How the body's end was known.
    pub(crate) framing: Framing,
    /// Such as `GET`.
    pub(crate) method: String,
    /// As spelled.
    pub(crate) target: String,
    /// Names as spelled, in the order sent.
    pub(crate) headers: Vec<(String, String)>,
}

/// What becomes of a connection before any request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ConnectionFault {
    /// Closed as soon as it stands.
    Close,
    /// A certificate of an authority that nobody knows.
    ForeignCertificate,
    /// The first bytes are answered with something that is not TLS.
    Garbage,
    /// Reset as soon as it stands.
    Reset,
    /// The handshake is never answered.
    Stall,
}

/// An origin that does not listen yet.
pub(crate) struct Later {
    refused: Refused,
    hosts: Vec<String>,
    authority: Authority,
    ca_file: NamedTempFile,
}

/// An address that refuses connections for as long as this lives.
pub(crate) struct Refused {
    // Bound and not listening: the port cannot be given to anyone else.
    socket: TcpSocket,
}

// === impl Origin ===

impl Origin {
    /// A TLS server that proves `hosts` with a certificate of [`Origin::ca_pem`].
    pub(crate) async fn start(hosts: &[&str]) -> Self {
        let authority = Authority::new("scripted origin");
        let tls = authority.server_config(hosts);
        Self::listen(hosts, authority, Some(tls)).await
    }

    /// The same, but its address refuses connections until it is started.
    pub(crate) fn later(hosts: &[&str]) -> Later {
        let authority = Authority::new("scripted origin");
        let ca_file = NamedTempFile::with_suffix(".pem").unwrap();
        std::fs::write(ca_file.path(), authority.pem()).unwrap();
        Later { refused: Refused::new(), hosts: hosts.iter().map(ToString::to_string).collect(), authority, ca_file }
    }

    /// A server without TLS.
    pub(crate) async fn plain() -> Self {
        Self::listen(&[], Authority::new("unused"), None).await
    }

    /// Decides each request once its body is there.
    pub(crate) fn script(&self, script: impl FnMut(&Received) -> Action + Send + 'static) {
        *lock(&self.shared.script) = Box::new(script);
    }

    /// Does these in order; a request beyond the last is an error.
    pub(crate) fn queue(&self, actions: impl IntoIterator<Item = Action>) {
        let mut actions: VecDeque<Action> = actions.into_iter().collect();
        self.script(move |request| {
            actions.pop_front().unwrap_or_else(|| panic!("no action for request {}: {}", request.number, request.target))
        });
    }

    /// May act on a head alone, before the body is read. The request is kept without its body, and if the steps leave the connection
    /// open it is cut.
    pub(crate) fn script_at_head(&self, script: impl FnMut(&Head) -> Option<Action> + Send + 'static) {
        *lock(&self.shared.head_script) = Some(Box::new(script));
    }

    /// What the next connections suffer, one each.
    pub(crate) fn connection_faults(&self, faults: impl IntoIterator<Item = ConnectionFault>) {
        lock(&self.shared.faults).extend(faults);
    }

    /// Allows handshakes that fail and requests that end too early: for tests whose client hangs up.
    pub(crate) fn tolerate_broken_connections(&self) {
        self.shared.log.send_modify(|log| log.tolerant = true);
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names it proves.
    pub(crate) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The certificate to trust it by.
    pub(crate) fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// A file that holds [`Origin::ca_pem`] as long as the origin lives.
    pub(crate) fn ca_file(&self) -> &Path {
        self.ca_file.path()
    }

    /// Every request so far, in the order in which they were complete.
    pub(crate) fn requests(&self) -> Vec<Received> {
        self.shared.log.borrow().requests.clone()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.log.borrow().accepted
    }

    /// Waits for `count` requests in all, and gives those there are.
    pub(crate) async fn wait_for_requests(&self, count: usize) -> Vec<Received> {
        self.wait_until(&format!("request {count} at the origin"), |log| log.requests.len() >= count).await;
        self.requests()
    }

    /// Waits for `count` connections in all.
    pub(crate) async fn wait_for_connections(&self, count: usize) {
        self.wait_until(&format!("connection {count} at the origin"), |log| log.accepted >= count).await;
    }

    /// Waits until `count` connections have ended, by either side.
    pub(crate) async fn wait_for_ended_connections(&self, count: usize) {
        self.wait_until(&format!("end of connection {count} at the origin"), |log| log.ended >= count).await;
    }

    /// Ends the test.
    ///
    /// # Panics
    /// If something happened that the script did not ask for.
    pub(crate) async fn finish(mut self) {
        self.task.shutdown().await;
        let errors = self.take_errors();
        assert!(errors.is_empty(), "at the origin: {}", errors.join("; "));
    }

    async fn listen(hosts: &[&str], authority: Authority, tls: Option<Arc<ServerConfig>>) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), hosts, authority, tls)
    }

    fn serve(listener: TcpListener, hosts: &[&str], authority: Authority, tls: Option<Arc<ServerConfig>>) -> Self {
        let address = listener.local_addr().unwrap();
        let ca_file = NamedTempFile::with_suffix(".pem").unwrap();
        std::fs::write(ca_file.path(), authority.pem()).unwrap();
        let shared = Arc::new(Shared {
            log: watch::Sender::default(),
            script: Mutex::new(Box::new(|_| panic!("the origin has no script"))),
            head_script: Mutex::default(),
            faults: Mutex::default(),
            tls,
        });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&shared)));
        let hosts = hosts.iter().map(ToString::to_string).collect();
        Self { address, hosts, authority, ca_file, shared, task }
    }

    async fn wait_until(&self, what: &str, condition: impl FnMut(&Log) -> bool) {
        let mut log = self.shared.log.subscribe();
        drop(guard(what, log.wait_for(condition)).await.expect("the origin holds the sender"));
    }

    pub(crate) fn take_errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        self.shared.log.send_modify(|log| errors = std::mem::take(&mut log.errors));
        errors
    }
}

impl Drop for Origin {
    /// Fails the test as [`Origin::finish`] does, for tests that forgot it.
    fn drop(&mut self) {
        let errors = self.take_errors();
        if !std::thread::panicking() {
            assert!(errors.is_empty(), "at the origin: {}", errors.join("; "));
        }
    }
}

// === impl Received ===

impl Received {
    /// The value of the first field of that name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Head and body, byte for byte.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.raw_head.as_slice(), &self.raw_body].concat()
    }
}

// === impl Later ===

impl Later {
    /// Where it will listen.
    pub(crate) fn address(&self) -> SocketAddr {
        self.refused.address()
    }

    /// A file that holds the certificate to trust it by.
    pub(crate) fn ca_file(&self) -> &Path {
        self.ca_file.path()
    }

    /// Listens from now on.
    pub(crate) fn start(self) -> Origin {
        let hosts: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        let tls = self.authority.server_config(&hosts);
        Origin::serve(self.refused.socket.listen(64).unwrap(), &hosts, self.authority, Some(tls))
    }
}

// === impl Refused ===

impl Refused {
    /// Takes a port.
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self { socket }
    }

    /// The address nothing answers at.
    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A script that panicked has been reported; what it left is not looked at again.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
