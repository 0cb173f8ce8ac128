//! The admin server: metrics, probes and status over plain HTTP, beside the proxy and not through it.
//!
//! Reading is open to whoever reaches the address, which is loopback unless set wider; changing is for loopback peers
//! only. A client that stalls, floods or sends nonsense costs one of 64 places for a limited time and
//! nothing else. The paths are in `endpoint`, the answers in `page`, the page for people in `html` and what it listens to in `events`;
//! [`probe`] asks such a server from outside.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

mod body;
mod endpoint;
mod events;
mod history;
mod html;
mod names;
mod page;
pub mod probe;
mod readiness;
mod status;
#[cfg(test)]
mod tests;

use self::page::Pages;
pub use self::page::{AdminContext, AuthorityInfo};
pub use self::readiness::Readiness;
pub use self::status::{ConfigStatus, FailedReload};

/// The admin side.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// Where it listens (`admin.address`).
    pub address: SocketAddr,
    /// Whether `POST /shutdown` from loopback is obeyed (`admin.allow_shutdown`).
    pub allow_shutdown: bool,
}

/// Answers the admin endpoints on a listener that is already bound.
#[derive(Debug)]
pub struct AdminServer {
    pages: Arc<Pages>,
    limits: Limits,
}

/// What one client, and all together, may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at a time; past it new ones wait in the backlog.
    connections: usize,
    /// From the moment a head is waited for until it is complete, so also the longest idle time.
    header: Duration,
    /// After that a connection is closed behind the answer under way. It bounds a client that does not read.
    age: Duration,
    /// For the answer under way when a connection is asked to close.
    grace: Duration,
}

// === impl AdminServer ===

impl AdminServer {
    /// A server that tells what `context` holds. Its uptime counts from here.
    pub fn new(context: AdminContext) -> Self {
        Self { pages: Arc::new(Pages::new(context)), limits: Limits::default() }
    }

    /// Serves until `shutdown` resolves and the answers under way are out, a few seconds at most.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let address = listener.local_addr().ok();
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (pages, ended) = (Arc::clone(&self.pages), closing.clone());
        tasks.spawn(async move { ended.run_until_cancelled(pages.keep_history()).await });
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept(&listener, &places) => accepted,
            };
            match accepted {
                Ok((stream, peer, place)) => {
                    let (ending, cut) = (closing.child_token(), CancellationToken::new());
                    let visitor = Visitor { peer, address, ending, cut, tasks: tasks.clone() };
                    let connection = Connection { pages: Arc::clone(&self.pages), limits: self.limits, visitor };
                    tasks.spawn(async move {
                        connection.run(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    debug!(%error, "admin accept failed");
                    // Out of file descriptors, as a rule: the condition outlives a busy loop.
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        closing.cancel();
        tasks.close();
        tasks.wait().await;
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

// === impl Connection ===

/// What serving one connection needs.
struct Connection {
    pages: Arc<Pages>,
    limits: Limits,
    visitor: Visitor,
}

/// Who asks, and how its connection ends.
#[derive(Clone)]
struct Visitor {
    peer: SocketAddr,
    /// Where it was accepted.
    address: Option<SocketAddr>,
    /// The connection closes behind the answer under way, which is to end soon.
    ending: CancellationToken,
    /// It does not read.
    cut: CancellationToken,
    /// What is done for it beside its connection.
    tasks: TaskTracker,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let Self { pages, limits, visitor } = self;
        let Visitor { peer, ending, cut, .. } = visitor.clone();
        let service = service_fn(move |request| {
            let (pages, visitor) = (Arc::clone(&pages), visitor.clone());
            async move { Ok::<_, Infallible>(pages.answer(request, &visitor).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = ending.cancelled() => None,
            () = cut.cancelled() => return,
            () = sleep(limits.age) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                ending.cancel();
                connection.as_mut().graceful_shutdown();
                let Ok(ended) = timeout(limits.grace, connection).await else {
                    debug!(%peer, "admin client did not take its answer");
                    return;
                };
                ended
            }
        };
        if let Err(error) = ended {
            debug!(%peer, %error, "admin connection failed");
        }
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            header: Duration::from_secs(5),
            age: Duration::from_secs(300),
            grace: Duration::from_secs(5),
        }
    }
}

/// For a connection's request head, in bytes: the least hyper takes, and far more than a probe sends.
const BUFFER: usize = 8 * 1024;

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
