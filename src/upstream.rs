//! The pooled client towards Batch, and errors that know whether anything was sent.
//!
//! One attempt in, one outcome out: this module never sends twice, so that every attempt is counted where it is decided, in [`crate::proxy`].

mod answer;
mod body;
mod connect;
mod connection;
mod delegate;
mod destination;
mod origin;
mod pieces;
mod pool;
mod read_ahead;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use thiserror::Error;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use self::answer::Lease;
pub use self::answer::ResponseBody;
pub use self::body::{RequestBody, Upload, UploadError, after_prefix};
use self::connect::Connector;
pub use self::connect::{ConnectError, Dialer, TLS_WRITE_LIMIT};
pub use self::connection::Outgoing;
use self::connection::{HttpConnection, NoAnswer};
pub(crate) use self::delegate::write_through_stream;
pub use self::destination::Destinations;
pub use self::origin::{Origin, port_of};
pub use self::pieces::Pieces;
use self::pool::Pool;
pub use self::read_ahead::ReadAhead;
use crate::http1::Response;
use crate::retry::outcome::{Failure, Transmission};

/// How Batch is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Roots besides the system's (`upstream.ca_files`).
    pub ca_files: Vec<PathBuf>,
    /// `host:port`, in lower case, to the address that is dialled instead of asking DNS (`upstream.resolve`).
    pub resolve: HashMap<String, SocketAddr>,
    /// Until a connection stands, TLS included (`upstream.connect_timeout`).
    pub connect_timeout: Duration,
    /// Longest pause in an answer's body (`upstream.body_idle_timeout`).
    pub body_idle_timeout: Duration,
    /// How long an idle connection is kept (`upstream.pool_idle_timeout`).
    pub pool_idle_timeout: Duration,
}

/// The client that all connections share.
#[derive(Clone, Debug)]
pub struct Upstream {
    connector: Connector,
    pool: Pool,
}

/// Why an attempt got no answer's head.
#[derive(Debug, Error)]
#[error("{}", chain(.source.as_ref()))]
pub struct SendError {
    /// What went wrong.
    pub failure: Failure,
    /// Whether the request may have reached the service.
    pub transmission: Transmission,
    source: Box<dyn StdError + Send + Sync>,
}

// === impl Upstream ===

impl Upstream {
    /// A client that dials through `dialer` and trusts what `tls` trusts.
    pub fn new(settings: &UpstreamSettings, dialer: Dialer, tls: Arc<ClientConfig>) -> Self {
        let connector = Connector::new(dialer, tls, settings.connect_timeout);
        Self { connector, pool: Pool::new(settings.pool_idle_timeout) }
    }

    /// Sends what `request` makes once to `origin` and waits for the head of its answer, for `limit` at most. It is made when there is a
    /// connection.
    ///
    /// # Errors
    /// [`SendError`] tells what failed and whether the request may have been carried out.
    pub async fn send(
        &self,
        origin: &Origin,
        request: impl FnOnce() -> Outgoing,
        limit: Option<Duration>,
    ) -> Result<Response<ResponseBody>, SendError> {
        self.send_unless(origin, request, limit, pending::<()>()).await
    }

    /// The same, but takes the request back if `withdrawn` comes while it still waits for a connection: that ends as where the connection was
    /// found stale, with nothing sent and nobody at fault.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_unless(
        &self,
        origin: &Origin,
        request: impl FnOnce() -> Outgoing,
        limit: Option<Duration>,
        withdrawn: impl Future,
    ) -> Result<Response<ResponseBody>, SendError> {
        let ends = limit.map(|limit| Instant::now() + limit);
        let taken = by(ends, self.connection(origin, withdrawn)).await;
        let connection = taken.map_err(|elapsed| SendError::late(false, elapsed))??;
        by(ends, self.exchange(connection, origin, request)).await.map_err(|elapsed| SendError::late(true, elapsed))?
    }

    async fn connection(&self, origin: &Origin, withdrawn: impl Future) -> Result<HttpConnection, SendError> {
        let taking = pin!(self.pool.take(origin, || self.connector.clone().connect(origin.clone())));
        tokio::select! {
            biased;
            _ = withdrawn => Err(SendError::withdrawn()),
            taken = taking => taken.map_err(SendError::from),
        }
    }

    /// Sends the request on this connection, which goes back to the pool when the answer was read to its end.
    async fn exchange(
        &self,
        mut connection: HttpConnection,
        origin: &Origin,
        request: impl FnOnce() -> Outgoing,
    ) -> Result<Response<ResponseBody>, SendError> {
        let (head, decoder) = match connection.send(request()).await {
            Ok(answer) => answer,
            Err(error) => return Err(SendError::broken(connection.was_used(), error)),
        };
        let keeps_alive = head.keeps_alive();
        let lease = Lease { connection, origin: origin.clone(), pool: self.pool.clone(), keeps_alive };
        Ok(Response { head, body: ResponseBody::new(decoder, lease) })
    }
}

/// Awaits `future`, until `ends` at most.
async fn by<F: Future>(ends: Option<Instant>, future: F) -> Result<F::Output, Elapsed> {
    match ends {
        Some(ends) => timeout_at(ends, future).await,
        None => Ok(future.await),
    }
}

// === impl SendError ===

impl SendError {
    /// Taken back before there was a connection.
    fn withdrawn() -> Self {
        let source = "the request was withdrawn".into();
        Self { failure: Failure::StaleConnection, transmission: Transmission::NotSent, source }
    }

    /// The connection failed. What is not recognised counts as sent.
    fn broken(used: bool, error: NoAnswer) -> Self {
        let (failure, transmission) = match &error {
            // On a connection that never carried an answer, the service is what closed it, and taking another at once would be a busy loop.
            NoAnswer::Unsent if used => (Failure::StaleConnection, Transmission::NotSent),
            NoAnswer::Unsent => (Failure::ConnectionLost, Transmission::NotSent),
            NoAnswer::Upload(_) => (Failure::RequestBody, Transmission::Unknown),
            NoAnswer::Malformed(_) => (Failure::ProtocolError, Transmission::Sent),
            NoAnswer::Lost(_) => (Failure::ConnectionLost, Transmission::Unknown),
        };
        Self { failure, transmission, source: error.into() }
    }

    /// No answer in time, on a connection or while there was none yet.
    fn late(connected: bool, source: Elapsed) -> Self {
        let (failure, transmission) = if connected {
            (Failure::ResponseTimeout, Transmission::Sent)
        } else {
            (Failure::ConnectTimeout, Transmission::NotSent)
        };
        Self { failure, transmission, source: source.into() }
    }
}

impl From<ConnectError> for SendError {
    fn from(error: ConnectError) -> Self {
        Self { failure: error.failure(), transmission: Transmission::NotSent, source: error.into() }
    }
}

/// The first error of type `E` in the chain of causes.
fn cause<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

/// The chain of causes as one line.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}
