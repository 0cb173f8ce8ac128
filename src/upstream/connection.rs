//! An HTTP/1.1 connection that whoever uses it drives.
//!
//! The request that has the connection does the work itself: no other task is woken to write what it sends, nor to read what it waits for, and
//! the threads of the runtime hand nothing to one another on the way. While nobody uses it, it holds nothing but its stream.
//!
//! A service that refuses a large body answers and closes before it has read it. The next write then fails. Such a failure is taken for done: what
//! came before the end is read, and then the end, which tells the same as the write would have.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Method, StatusCode};
use thiserror::Error;
use tokio::io::AsyncBufRead;

use super::body::{RequestBody, UploadError};
use super::connect::UpstreamStream;
use crate::http1::{
    BodyDecoder, CutOff, Ends, FieldLines, HeadReader, Left, MalformedHead, NoHead, Part, ResponseHead, Unfit, Writing,
    poll_part, write_request,
};

/// A request, ready to be sent.
#[derive(Debug)]
pub struct Outgoing {
    /// Decides whether the answer has a body.
    method: Method,
    message: Writing<RequestBody>,
}

/// A connection that carries one request at a time.
pub(super) struct HttpConnection {
    stream: UpstreamStream,
    heads: HeadReader,
    /// The request, until all of it has left.
    sending: Option<Writing<RequestBody>>,
    /// Nothing can be written any more.
    deaf: bool,
    used: bool,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum NoAnswer {
    /// The other side had closed the connection, or said something unasked, before a byte of the request was written.
    #[error("the connection was closed before the request was sent")]
    Unsent,
    /// The request's body does not come to its end.
    #[error(transparent)]
    Upload(#[from] Unfit<UploadError>),
    /// What came is no answer.
    #[error(transparent)]
    Malformed(#[from] MalformedHead),
    /// The connection ended or broke.
    #[error("{0}")]
    Lost(NoHead),
}

// === impl Outgoing ===

impl Outgoing {
    /// A request whose body is framed as its fields say.
    pub fn new(method: &Method, target: &str, fields: &FieldLines, body: RequestBody) -> Self {
        let message = Writing::new(write_request(method, target, fields), Some(body), Ends::of_request(fields));
        Self { method: method.clone(), message }
    }
}

// === impl HttpConnection ===

impl HttpConnection {
    /// A connection over a stream that nothing was written to.
    pub(super) fn new(stream: UpstreamStream) -> Self {
        Self { stream, heads: HeadReader::default(), sending: None, deaf: false, used: false }
    }

    /// Whether it can take a request. `false` is for good, unless something is still being written or read.
    pub(super) fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        self.sending.is_none() && !self.deaf && self.is_silent(cx)
    }

    /// Whether it has carried an answer: one that never did was not found stale when it breaks.
    pub(super) fn was_used(&self) -> bool {
        self.used
    }

    /// Sends the request and waits for the head of the answer, and says how its body is found. Dropped before that, the connection is closed with
    /// whatever is under way.
    ///
    /// # Errors
    /// [`NoAnswer`] tells whether a byte of the request was written.
    pub(super) async fn send(&mut self, request: Outgoing) -> Result<(ResponseHead, BodyDecoder), NoAnswer> {
        let Outgoing { method, message } = request;
        let mut message = Some(message);
        let head = poll_fn(|cx| {
            if let Some(message) = message.take() {
                if !self.is_silent(cx) {
                    return Poll::Ready(Err(NoAnswer::Unsent));
                }
                self.sending = Some(message);
            }
            if let Poll::Ready(Err(unfit)) = self.poll_send(cx) {
                return Poll::Ready(Err(unfit.into()));
            }
            self.poll_head(cx)
        });
        let head = head.await?;
        self.used = true;
        let decoder = BodyDecoder::of_response(&head, &method)?;
        Ok((head, decoder))
    }

    /// Writes what can be written of the request. An error is its body's: see above for those of the connection.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unfit<UploadError>>> {
        while let Some(sending) = &mut self.sending {
            let left = match sending.fill(cx) {
                Ok(left) => left,
                Err(unfit) => {
                    // The service waits for the rest, which will not come.
                    (self.deaf, self.sending) = (true, None);
                    return Poll::Ready(Err(unfit));
                }
            };
            let written = ready!(sending.poll_write(Pin::new(&mut self.stream), left, cx));
            self.deaf |= written.is_err();
            if self.deaf || left == Left::Last {
                self.sending = None;
            } else if left == Left::Starved {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The next part of the body that `decoder` finds.
    pub(super) fn poll_part(&mut self, decoder: &mut BodyDecoder, cx: &mut Context<'_>) -> Poll<Result<Part, CutOff>> {
        poll_part(Pin::new(&mut self.stream), decoder, cx)
    }

    /// Whether nothing came unasked, the end of the stream included.
    fn is_silent(&mut self, cx: &mut Context<'_>) -> bool {
        Pin::new(&mut self.stream).poll_fill_buf(cx).is_pending()
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, NoAnswer>> {
        loop {
            let head = ready!(self.heads.poll(Pin::new(&mut self.stream), ResponseHead::parse, cx))?;
            // Others tell of an answer that is still to come; this one of another protocol, which nobody asked for.
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Poll::Ready(Err(NoAnswer::Malformed(MalformedHead::StatusLine)));
            }
            if !head.status.is_informational() {
                return Poll::Ready(Ok(head));
            }
        }
    }
}

impl fmt::Debug for HttpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConnection").field("deaf", &self.deaf).field("used", &self.used).finish_non_exhaustive()
    }
}

// === impl NoAnswer ===

impl From<NoHead> for NoAnswer {
    fn from(error: NoHead) -> Self {
        match error {
            NoHead::Malformed(malformed) => Self::Malformed(malformed),
            NoHead::Broken(_) | NoHead::Ended => Self::Lost(error),
        }
    }
}
