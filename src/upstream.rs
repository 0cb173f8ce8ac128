//! The pooled client towards Batch, and errors that know whether anything was sent.
//!
//! One attempt in, one outcome out: this module never sends twice. Its pool is hyper-util's, whose own silent resending is switched off, so
//! that every attempt is counted where it is decided, in [`crate::proxy`].

mod body;
mod connect;
mod last_words;
mod pieces;
mod sips;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use thiserror::Error;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

pub use self::body::{RequestBody, Upload, UploadError, after_prefix};
pub use self::connect::{ConnectError, Dialer, TLS_WRITE_LIMIT};
use self::connect::{ConnectionUse, Connector};
pub use self::pieces::Pieces;
pub use self::sips::Sips;
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
    client: Client<Connector, RequestBody>,
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
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.pool_idle_timeout)
            .retry_canceled_requests(false)
            .http1_preserve_header_case(true)
            .http1_max_buf_size(BUFFER_LIMIT)
            .build(Connector::new(dialer, tls, settings.connect_timeout));
        Self { client }
    }

    /// Sends the request once and waits for the head of its answer, for `limit` at most. The target is in absolute form; only path and query
    /// are written.
    ///
    /// # Errors
    /// [`SendError`] tells what failed and whether the request may have been carried out.
    pub async fn send(
        &self,
        request: Request<RequestBody>,
        limit: Option<Duration>,
    ) -> Result<Response<Incoming>, SendError> {
        self.send_unless(request, limit, pending::<()>()).await
    }

    /// The same, but takes the request back if `withdrawn` comes while it still waits for a connection: that ends as where the connection was
    /// found stale, with nothing sent and nobody at fault.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_unless(
        &self,
        mut request: Request<RequestBody>,
        limit: Option<Duration>,
        withdrawn: impl Future,
    ) -> Result<Response<Incoming>, SendError> {
        *request.version_mut() = Version::HTTP_11;
        let connection = capture_connection(&mut request);
        let sending = unless(self.client.request(request), &connection, withdrawn);
        let sent = match limit {
            None => sending.await,
            Some(limit) => match timeout(limit, sending).await {
                Ok(sent) => sent,
                // hyper-util names the connection before it writes to it.
                Err(elapsed) => return Err(SendError::late(connection.connection_metadata().is_some(), elapsed)),
            },
        };
        let Some(sent) = sent else { return Err(SendError::withdrawn()) };
        let response = sent.map_err(SendError::from)?;
        if let Some(connection) = response.extensions().get::<ConnectionUse>() {
            connection.mark_used();
        }
        Ok(response)
    }
}

/// Awaits `sending` unless `withdrawn` comes first and there is no connection yet.
async fn unless<T>(sending: impl Future<Output = T>, connection: &CaptureConnection, withdrawn: impl Future) -> Option<T> {
    let mut sending = pin!(sending);
    tokio::select! {
        biased;
        _ = withdrawn => {
            // hyper-util names the connection before it writes to it, and nothing happens while nobody polls.
            if connection.connection_metadata().is_none() {
                return None;
            }
        }
        sent = &mut sending => return Some(sent),
    }
    Some(sending.await)
}

// === impl SendError ===

impl SendError {
    /// Taken back before there was a connection.
    fn withdrawn() -> Self {
        let source = "the request was withdrawn".into();
        Self { failure: Failure::StaleConnection, transmission: Transmission::NotSent, source }
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

impl From<legacy::Error> for SendError {
    fn from(error: legacy::Error) -> Self {
        let (failure, transmission) = judge(&error);
        Self { failure, transmission, source: error.into() }
    }
}

/// What failed, and whether the request may have left. Read from the types in the chain of causes; what is not recognised counts as sent.
fn judge(error: &legacy::Error) -> (Failure, Transmission) {
    if let Some(connect) = cause::<ConnectError>(error) {
        return (connect.failure(), Transmission::NotSent);
    }
    if error.connect_info().is_none() {
        // Lost between the handshake and the first request: every later error names its connection.
        return (Failure::ConnectionLost, Transmission::NotSent);
    }
    let Some(cause) = cause::<hyper::Error>(error) else { return (Failure::ConnectionLost, Transmission::Unknown) };
    if cause.is_canceled() {
        // hyper hands a request back only if it never began to write it. On a connection that never carried an answer, the service is what
        // closed it, and taking another at once would be a busy loop.
        let stale = connection_use(error).is_some_and(|connection| connection.was_used());
        let failure = if stale { Failure::StaleConnection } else { Failure::ConnectionLost };
        return (failure, Transmission::NotSent);
    }
    if cause.is_user() {
        return (Failure::RequestBody, Transmission::Unknown);
    }
    if cause.is_parse() {
        return (Failure::ProtocolError, Transmission::Sent);
    }
    (Failure::ConnectionLost, Transmission::Unknown)
}

fn connection_use(error: &legacy::Error) -> Option<ConnectionUse> {
    let mut extensions = http::Extensions::new();
    error.connect_info()?.get_extras(&mut extensions);
    extensions.remove::<ConnectionUse>()
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

/// The longest head of an answer, and what is queued at most before a connection takes more of a body. hyper's own limit is 400 KiB, which
/// thousands of connections make much of.
const BUFFER_LIMIT: usize = 16 * 1024;
