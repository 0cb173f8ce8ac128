//! Serving HTTP to clients: how a connection is set up, watched and drained, the same inside and outside TLS. HTTP/1.1 is served by [`serve`], one
//! request after the other; HTTP/2, which few clients speak to us, by hyper.

mod answering;
mod serve;
mod wire;

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

pub(super) use self::serve::{Ended, Reply, Service, serve_http1};
pub(super) use self::wire::RequestStream;
use super::watch::Watch;
use crate::http1::HEAD_LIMIT;
use crate::metrics::labels::ConnectionResult;
use crate::shutdown::Drain;

/// What a request comes to. hyper wants to know of errors, and an answer is all there is.
pub(super) type Answered<B> = Result<Response<B>, Infallible>;

/// Serves HTTP/2, for clients that offer nothing else, until the client goes, a limit of `watch` passes, or draining ends the connection after
/// the requests under way.
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
        .max_header_list_size(HEAD_LIMIT as u32)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_WINDOW as usize)
        .serve_connection(TokioIo::new(stream), service_fn(handle));
    drive(pin!(connection), |connection| connection.graceful_shutdown(), watch, drain).await
}

/// Runs a connection to its end, and asks it to end once draining begins.
async fn drive<C>(mut connection: Pin<&mut C>, end: impl Fn(Pin<&mut C>), watch: &Watch, drain: &Drain) -> ConnectionResult
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let mut drained = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                let Err(error) = ended else { return ConnectionResult::Completed };
                debug!(%error, "client connection broke");
                return ConnectionResult::Failed;
            }
            () = watch.expired() => {
                debug!("client connection passed listen.header_timeout or listen.idle_timeout");
                return ConnectionResult::Completed;
            }
            () = drain.started(), if !drained => {
                drained = true;
                end(connection.as_mut());
            }
        }
    }
}

/// Requests at a time on an HTTP/2 connection, as RFC 9113 advises at least. Each may hold what a connection of HTTP/1.1 may.
const MAX_STREAMS: u32 = 100;

/// Streams that a client resets before they are looked at, and those that it makes us reset, until its connection is ended: more are an attack
/// (CVE-2023-44487), not a change of mind.
const MAX_RESETS: usize = 20;

/// What a client may send ahead of who reads it, on one stream and on all of a connection, and what is queued of an answer. Times the streams and
/// connections it is what clients can make the proxy hold; hyper's own limits are some MiB.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;

#[cfg(test)]
mod tests;
