//! Serving HTTP to clients: how a connection is set up, watched and drained, the same inside and outside TLS.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tracing::debug;

use super::watch::{Lull, NEVER, Watch, Watched};
use crate::metrics::labels::ConnectionResult;
use crate::shutdown::Drain;
use crate::upstream::{Bulk, Sips};

/// What a request comes to. hyper wants to know of errors, and an answer is all there is.
pub(super) type Answered<B> = Result<Response<B>, Infallible>;

/// Serves HTTP/1.1 until the client goes, a limit of `watch` passes, or draining ends the connection after the request under way. What hyper
/// needs is taken when bytes arrive, and given back once nothing was asked for a moment.
pub(super) async fn serve_http1<S, H, F, B>(
    stream: Sips<S>,
    handle: H,
    watch: &Arc<Watch>,
    drain: &Drain,
) -> ConnectionResult
where
    S: AsyncBufRead + AsyncWrite + Bulk + Unpin,
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Answered<B>>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut stream = Watched::new(stream, watch.clone());
    loop {
        let more = tokio::select! {
            biased;
            more = poll_fn(|cx| stream.poll_more(cx)) => more,
            () = watch.expired() => {
                debug!("client connection passed listen.idle_timeout");
                false
            }
            () = drain.started() => false,
        };
        if !more {
            // Whoever has left already needs no word of it.
            let _ = timeout(FAREWELL, stream.shutdown()).await;
            return ConnectionResult::Completed;
        }
        let mut connection = Box::new(http1().serve_connection(TokioIo::new(stream), service_fn(&handle)));
        let driven = drive(Pin::new(&mut *connection), |connection| connection.graceful_shutdown(), QUIET, watch, drain);
        if let Some(result) = Box::pin(driven).await {
            return result;
        }
        let parts = connection.into_parts();
        stream = parts.io.into_inner().with_read(parts.read_buf);
    }
}

/// Serves HTTP/1.1 where a request may be a CONNECT, after which the connection is no longer ours.
pub(super) async fn serve_connects<S, H, F, B>(stream: S, handle: H, watch: &Arc<Watch>, drain: &Drain) -> ConnectionResult
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Answered<B>>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let io = TokioIo::new(Watched::new(stream, watch.clone()));
    let connection = pin!(http1().serve_connection(io, service_fn(handle)).with_upgrades());
    drive_to_end(connection, |connection| connection.graceful_shutdown(), watch, drain).await
}

/// How connections speak HTTP/1.1.
fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The service's answers are passed on as they are, and ours need no date.
        .auto_date_header(false)
        // Limits are kept by `watch`, which tells a slow request from a quiet client.
        .header_read_timeout(None)
        .preserve_header_case(true)
        .max_buf_size(BUFFER_LIMIT);
    builder
}

/// The same for HTTP/2, for clients that offer nothing else.
pub(super) async fn serve_http2<S, H, F, B>(stream: S, handle: H, watch: &Arc<Watch>, drain: &Drain) -> ConnectionResult
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Answered<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service_fn(handle));
    drive_to_end(pin!(connection), |connection| connection.graceful_shutdown(), watch, drain).await
}

/// Runs a connection that keeps what it has until it ends.
async fn drive_to_end<C>(
    connection: Pin<&mut C>,
    end: impl Fn(Pin<&mut C>),
    watch: &Watch,
    drain: &Drain,
) -> ConnectionResult
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    drive(connection, end, NEVER, watch, drain).await.unwrap_or(ConnectionResult::Completed)
}

/// Runs a connection to its end, and asks it to end once draining begins. `None` where nothing was asked for `quiet` before that.
async fn drive<C>(
    mut connection: Pin<&mut C>,
    end: impl Fn(Pin<&mut C>),
    quiet: Duration,
    watch: &Watch,
    drain: &Drain,
) -> Option<ConnectionResult>
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let mut drained = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                let Err(error) = ended else { return Some(ConnectionResult::Completed) };
                debug!(%error, "client connection broke");
                return Some(ConnectionResult::Failed);
            }
            lull = watch.lull(if drained { NEVER } else { quiet }) => match lull {
                Lull::Expired => {
                    debug!("client connection passed listen.header_timeout or listen.idle_timeout");
                    return Some(ConnectionResult::Completed);
                }
                Lull::Quiet => return None,
            },
            () = drain.started(), if !drained => {
                drained = true;
                end(connection.as_mut());
            }
        }
    }
}

/// How long a connection keeps its buffers after a request: programs that ask more often than this have them ready, those that wait hold
/// nothing.
const QUIET: Duration = Duration::from_millis(250);

/// How long a client that reads nothing is told that its connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// The longest head of a request, twice what Windows' own HTTP server, behind which Batch says it is, takes unless told otherwise; and what
/// is queued at most before a connection takes more of an answer. hyper's own limit is 400 KiB, which thousands of connections make much of.
const BUFFER_LIMIT: usize = 16 * 1024;

#[cfg(test)]
mod tests;
