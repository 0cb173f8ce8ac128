//! Serving HTTP/1.1: one request after the other on a connection, each answered before the next is read.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::Body;
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::time::timeout;
use tracing::debug;

use super::super::watch::Watch;
use super::answering::{Answering, Asked, Broken};
use super::wire::{Next, RequestStream, Wire};
use crate::batch::fields::Fields;
use crate::http1::{BodyDecoder, MalformedHead, RequestHead, Response};
use crate::metrics::labels::ConnectionResult;
use crate::shutdown::Drain;

/// What a request comes to.
pub(in crate::proxy) enum Reply<B, U> {
    /// An answer.
    Answer(Response<B>),
    /// A `200` without a body, after which the connection is no longer HTTP.
    Upgrade(U),
}

/// How a connection ended.
pub(in crate::proxy) enum Ended<S, U> {
    /// It is closed.
    Closed(ConnectionResult),
    /// It goes on as something else. What came after the request is still in the stream.
    Upgraded(S, U),
}

/// The same, while the stream is still shared with the body of the last request.
enum Served<U> {
    Closed(ConnectionResult),
    Upgraded(U),
}

/// What answers the requests of a connection.
pub(in crate::proxy) trait Service<S> {
    /// The body of an answer.
    type Body: Body<Data = Bytes> + Unpin;
    /// What a connection may become.
    type Upgrade;

    /// Answers a request.
    fn answer(
        &self,
        head: RequestHead,
        body: RequestStream<S>,
    ) -> impl Future<Output = Reply<Self::Body, Self::Upgrade>> + Send;

    /// Answers what is no request.
    fn refuse(&self, malformed: MalformedHead) -> Response<Self::Body>;
}

/// Serves HTTP/1.1 until the client goes, a limit of `watch` passes, or draining ends the connection after the request under way.
pub(in crate::proxy) async fn serve_http1<S, V>(
    stream: S,
    service: &V,
    watch: &Arc<Watch>,
    drain: &Drain,
) -> Ended<S, V::Upgrade>
where
    S: AsyncBufRead + AsyncWrite + Unpin,
    V: Service<S>,
{
    let wire = Wire::new(stream, watch.clone());
    let served = tokio::select! {
        biased;
        served = serve(&wire, service, watch, drain) => served,
        () = watch.expired() => {
            debug!("client connection passed listen.header_timeout or listen.idle_timeout");
            farewell(&wire, false).await;
            Served::Closed(ConnectionResult::Completed)
        }
    };
    match served {
        Served::Closed(result) => Ended::Closed(result),
        Served::Upgraded(upgrade) => match wire.into_inner() {
            Some(stream) => Ended::Upgraded(stream, upgrade),
            None => Ended::Closed(ConnectionResult::Failed),
        },
    }
}

async fn serve<S, V>(wire: &Wire<S>, service: &V, watch: &Arc<Watch>, drain: &Drain) -> Served<V::Upgrade>
where
    S: AsyncBufRead + AsyncWrite + Unpin,
    V: Service<S>,
{
    let mut drained = pin!(drain.started());
    loop {
        let next = poll_fn(|cx| {
            let mut line = wire.lock();
            match line.poll_head(cx) {
                Poll::Ready(next) => Poll::Ready(Some(next)),
                // What has begun to ask is answered.
                Poll::Pending if line.is_idle() => drained.as_mut().poll(cx).map(|()| None),
                Poll::Pending => Poll::Pending,
            }
        });
        let head = match next.await {
            Some(Next::Head(head)) => head,
            None | Some(Next::Gone) => {
                farewell(wire, false).await;
                return Served::Closed(ConnectionResult::Completed);
            }
            Some(Next::BrokenOff) => return Served::Closed(ConnectionResult::Failed),
            Some(Next::Malformed(malformed)) => return reject(wire, service, malformed, watch).await,
        };
        let decoder = match BodyDecoder::of_request(&head) {
            Ok(decoder) => decoder,
            Err(malformed) => return reject(wire, service, malformed, watch).await,
        };
        let asked = Asked { method: head.method.clone(), version: head.version, keeps_alive: head.keeps_alive() };
        let waits = asked.version == Version::HTTP_11
            && head.fields.value("expect").is_some_and(|expected| expected.eq_ignore_ascii_case(b"100-continue"));
        let body = wire.body(decoder, waits);
        let reply = {
            let _busy = watch.busy();
            // Apart, so that a connection without a request keeps no room for one.
            let mut answering = Box::pin(service.answer(head, body));
            poll_fn(|cx| match answering.as_mut().poll(cx) {
                Poll::Ready(reply) => Poll::Ready(Some(reply)),
                Poll::Pending => wire.lock().poll_gone(cx).map(|()| None),
            })
            .await
        };
        let response = match reply {
            Some(Reply::Answer(response)) => response,
            Some(Reply::Upgrade(upgrade)) => return establish(wire, upgrade).await,
            None => {
                debug!("client hung up before it was answered");
                return Served::Closed(ConnectionResult::Failed);
            }
        };
        match write(wire, response, &asked, watch, drain).await {
            Ok(true) => {}
            Ok(false) => {
                let unread = !wire.lock().is_read();
                farewell(wire, unread).await;
                return Served::Closed(ConnectionResult::Completed);
            }
            Err(error) => {
                debug!(%error, "client connection broke");
                return Served::Closed(ConnectionResult::Failed);
            }
        }
    }
}

/// Writes an answer, and tells whether the connection stays.
async fn write<S, B>(
    wire: &Wire<S>,
    response: Response<B>,
    asked: &Asked,
    watch: &Arc<Watch>,
    drain: &Drain,
) -> Result<bool, Broken>
where
    S: AsyncBufRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes> + Unpin,
{
    // What is left of a body that was answered without it belongs to no other request.
    let may_stay = wire.lock().is_read() && !drain.has_started();
    let mut answering = Answering::new(response, asked, may_stay);
    poll_fn(|cx| answering.poll(wire, watch, cx)).await?;
    Ok(answering.keeps_alive())
}

/// Answers what could be taken for two requests, or is none, and ends the connection: nobody knows where the next one begins.
async fn reject<S, V>(wire: &Wire<S>, service: &V, malformed: MalformedHead, watch: &Arc<Watch>) -> Served<V::Upgrade>
where
    S: AsyncBufRead + AsyncWrite + Unpin,
    V: Service<S>,
{
    let asked = Asked { method: http::Method::GET, version: Version::HTTP_11, keeps_alive: false };
    let mut answering = Answering::new(service.refuse(malformed), &asked, false);
    if poll_fn(|cx| answering.poll(wire, watch, cx)).await.is_ok() {
        farewell(wire, true).await;
    }
    Served::Closed(ConnectionResult::Failed)
}

/// Tells the client that the way is clear.
async fn establish<S, U>(wire: &Wire<S>, upgrade: U) -> Served<U>
where
    S: AsyncBufRead + AsyncWrite + Unpin,
{
    let mut left = ESTABLISHED;
    let told = poll_fn(|cx| {
        let mut line = wire.lock();
        while !left.is_empty() {
            match ready!(Pin::new(&mut line.stream).poll_write(cx, left)) {
                Ok(count @ 1..) => left = &left[count..],
                Ok(0) | Err(_) => return Poll::Ready(false),
            }
        }
        Pin::new(&mut line.stream).poll_flush(cx).map(|flushed| flushed.is_ok())
    });
    if !told.await {
        debug!("client left before its CONNECT was answered");
        return Served::Closed(ConnectionResult::Failed);
    }
    Served::Upgraded(upgrade)
}

/// Says that nothing more comes. Where something is `unread` the client is heard out for a moment: closed without, the connection would be
/// reset, and the answer perhaps lost with it (RFC 9112, 9.6).
async fn farewell<S: AsyncBufRead + AsyncWrite + Unpin>(wire: &Wire<S>, unread: bool) {
    let leave = async {
        let told = poll_fn(|cx| Pin::new(&mut wire.lock().stream).poll_shutdown(cx)).await;
        if told.is_ok() && unread {
            poll_fn(|cx| wire.lock().poll_discard(cx)).await;
        }
    };
    let _ = timeout(FAREWELL, leave).await;
}

/// How long a client that neither reads nor leaves is kept for the end of its connection.
const FAREWELL: Duration = Duration::from_secs(1);

/// Clients look at the status alone.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
