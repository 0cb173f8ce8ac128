//! An HTTP/1.1 connection that whoever uses it drives.
//!
//! hyper parts a connection into a handle and the work behind it, which is mostly given a task of its own. Here the request that has the
//! connection does the work itself: no other task is woken to write what it sends, nor to read what it waits for, and the threads of the
//! runtime hand nothing to one another on the way.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use tracing::debug;

use super::body::RequestBody;
use super::connect::UpstreamStream;

/// A connection that carries one request at a time.
pub(super) struct HttpConnection {
    handle: SendRequest<RequestBody>,
    work: Box<http1::Connection<UpstreamStream, RequestBody>>,
    over: bool,
    used: bool,
}

/// Why there is no answer.
type NoAnswer = TrySendError<Request<RequestBody>>;

// === impl HttpConnection ===

impl HttpConnection {
    /// A connection over a stream that nothing was written to.
    pub(super) async fn new(stream: UpstreamStream) -> hyper::Result<Self> {
        let (handle, work) =
            http1::Builder::new().preserve_header_case(true).max_buf_size(BUFFER_LIMIT).handshake(stream).await?;
        Ok(Self { handle, work: Box::new(work), over: false, used: false })
    }

    /// Writes and reads what can be written and read. Ready once the connection is over.
    pub(super) fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.over {
            match Pin::new(&mut self.work).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => debug!(%error, "upstream connection broke"),
            }
            self.over = true;
        }
        Poll::Ready(())
    }

    /// Whether it can take a request. `false` is for good, unless something is still being written or read.
    pub(super) fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_work(cx).is_pending() && self.handle.is_ready()
    }

    /// Whether it has carried an answer: one that never did was not found stale when it breaks.
    pub(super) fn was_used(&self) -> bool {
        self.used
    }

    /// Sends the request and waits for the head of the answer. Dropped before that, the connection is closed with whatever is under way.
    ///
    /// # Errors
    /// hyper's own, with the request where no byte of it was written.
    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, NoAnswer>> {
        // At once, so that the future does not keep room for the request.
        let answering = self.handle.try_send_request(request);
        async {
            let mut answering = pin!(answering);
            let answer = poll_fn(|cx| {
                // When the work is over, it has said so to the one who waits.
                let _ = self.poll_work(cx);
                answering.as_mut().poll(cx)
            });
            let answer = answer.await?;
            self.used = true;
            Ok(answer)
        }
    }
}

impl fmt::Debug for HttpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConnection").field("over", &self.over).field("used", &self.used).finish_non_exhaustive()
    }
}

/// The longest head of an answer, and what is queued at most before a connection takes more of a body. hyper's own limit is 400 KiB, which
/// thousands of connections make much of.
const BUFFER_LIMIT: usize = 16 * 1024;
