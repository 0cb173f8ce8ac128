//! An HTTP/1.1 connection that whoever uses it drives.
//!
//! The request that has the connection does the work itself: no other task is woken to write what it sends, nor to read what it waits for, and
//! the threads of the runtime hand nothing to one another on the way. While nobody uses it, it holds nothing but its stream.
//!
//! A service that refuses a large body answers and closes before it has read it. The next write then fails. Such a failure is taken for done: what
//! came before the end is read, and then the end, which tells the same as the write would have.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body;
use thiserror::Error;
use tokio::io::{AsyncBufRead, AsyncWrite};

use super::body::{RequestBody, UploadError};
use super::connect::UpstreamStream;
use crate::http1::{BodyDecoder, Decoded, HEAD_LIMIT, MalformedBody, MalformedHead, Outbox, ResponseHead};

/// A request as it is written.
#[derive(Debug)]
pub struct Outgoing {
    /// The bytes of its head, with the empty line that ends it.
    pub head: Vec<u8>,
    /// Its method, which decides whether the answer has a body.
    pub method: Method,
    /// Whether its body is sent in chunks.
    pub chunked: bool,
    /// Its body.
    pub body: RequestBody,
}

/// A connection that carries one request at a time.
pub(super) struct HttpConnection {
    stream: UpstreamStream,
    sending: Sending,
    /// Part of a head of an answer.
    partial: Vec<u8>,
    /// Nothing can be written any more.
    deaf: bool,
    used: bool,
}

/// What is still to be written of a request.
#[derive(Default)]
struct Sending {
    outbox: Outbox,
    chunked: bool,
    body: Option<RequestBody>,
    /// What was written may still lie in the stream.
    unflushed: bool,
}

/// Why a request was not sent whole.
enum NotSent {
    Stream,
    Upload(UploadError),
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum NoAnswer {
    /// The other side had closed the connection, or said something unasked, before a byte of the request was written.
    #[error("the connection was closed before the request was sent")]
    Unsent,
    /// The client's upload broke off.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// What came is no answer.
    #[error(transparent)]
    Malformed(#[from] MalformedHead),
    /// The connection ended.
    #[error("the connection ended before the answer's head did")]
    Ended,
    /// It broke.
    #[error(transparent)]
    Broken(#[from] io::Error),
}

/// Why an answer's body does not come to its end.
#[derive(Debug, Error)]
pub enum CutOff {
    /// The connection ended first.
    #[error("the connection ended before the answer did")]
    Ended,
    /// It broke.
    #[error(transparent)]
    Broken(#[from] io::Error),
    /// Its chunks are malformed.
    #[error(transparent)]
    Malformed(#[from] MalformedBody),
}

/// A part of a body, or what follows it.
pub(super) enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

// === impl HttpConnection ===

impl HttpConnection {
    /// A connection over a stream that nothing was written to.
    pub(super) fn new(stream: UpstreamStream) -> Self {
        Self { stream, sending: Sending::default(), partial: Vec::new(), deaf: false, used: false }
    }

    /// Whether it can take a request. `false` is for good, unless something is still being written or read.
    pub(super) fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        self.sending.is_over() && !self.deaf && self.is_silent(cx)
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
        let Outgoing { head, method, chunked, body } = request;
        let mut waiting = Some(Sending { outbox: Outbox::new(head), chunked, body: Some(body), unflushed: false });
        let head = poll_fn(|cx| {
            if let Some(sending) = waiting.take() {
                if !self.is_silent(cx) {
                    return Poll::Ready(Err(NoAnswer::Unsent));
                }
                self.sending = sending;
            }
            if let Poll::Ready(Err(broken)) = self.poll_send(cx) {
                return Poll::Ready(Err(broken.into()));
            }
            self.poll_head(cx)
        });
        let head = head.await?;
        self.used = true;
        let decoder = BodyDecoder::of_response(&head, &method)?;
        Ok((head, decoder))
    }

    /// Writes what can be written of the request. An error is the upload's: see above for those of the connection.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        if self.sending.is_over() {
            return Poll::Ready(Ok(()));
        }
        if !self.deaf {
            match self.sending.poll(Pin::new(&mut self.stream), cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(NotSent::Upload(broken))) => {
                    // The service waits for the rest, which will not come.
                    (self.deaf, self.sending) = (true, Sending::default());
                    return Poll::Ready(Err(broken));
                }
                Poll::Ready(Err(NotSent::Stream)) => self.deaf = true,
            }
        }
        self.sending = Sending::default();
        Poll::Ready(Ok(()))
    }

    /// The next part of the body that `decoder` finds.
    pub(super) fn poll_part(&mut self, decoder: &mut BodyDecoder, cx: &mut Context<'_>) -> Poll<Result<Part, CutOff>> {
        loop {
            if let Some(trailers) = decoder.take_trailers() {
                return Poll::Ready(Ok(Part::Trailers(trailers)));
            }
            if decoder.is_over() {
                return Poll::Ready(Ok(Part::End));
            }
            let mut stream = Pin::new(&mut self.stream);
            let input = ready!(stream.as_mut().poll_fill_buf(cx))?;
            if input.is_empty() {
                return Poll::Ready(if decoder.ends_by_close() { Ok(Part::End) } else { Err(CutOff::Ended) });
            }
            let Decoded { consumed, data } = decoder.decode(input)?;
            let data = Bytes::copy_from_slice(&input[data]);
            stream.consume(consumed);
            if !data.is_empty() {
                return Poll::Ready(Ok(Part::Data(data)));
            }
        }
    }

    /// Whether nothing came unasked, the end of the stream included.
    fn is_silent(&mut self, cx: &mut Context<'_>) -> bool {
        Pin::new(&mut self.stream).poll_fill_buf(cx).is_pending()
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, NoAnswer>> {
        loop {
            let mut stream = Pin::new(&mut self.stream);
            let input = ready!(stream.as_mut().poll_fill_buf(cx))?;
            if input.is_empty() {
                return Poll::Ready(Err(NoAnswer::Ended));
            }
            // Mostly all of it is here at once, and nothing of it is copied but what is kept.
            let before = self.partial.len();
            let parsed = if before == 0 {
                ResponseHead::parse(input)?
            } else {
                self.partial.extend_from_slice(&input[..input.len().min(HEAD_LIMIT)]);
                ResponseHead::parse(&self.partial)?
            };
            let Some((head, length)) = parsed else {
                if before == 0 {
                    self.partial.extend_from_slice(input);
                }
                let consumed = self.partial.len() - before;
                stream.consume(consumed);
                continue;
            };
            stream.consume(length - before);
            self.partial = Vec::new();
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

// === impl Sending ===

impl Sending {
    fn is_over(&self) -> bool {
        self.body.is_none() && self.outbox.is_empty() && !self.unflushed
    }

    /// Ready once all of it has left.
    fn poll(&mut self, mut stream: Pin<&mut UpstreamStream>, cx: &mut Context<'_>) -> Poll<Result<(), NotSent>> {
        loop {
            let starved = self.fill(cx).map_err(NotSent::Upload)?;
            while !self.outbox.is_empty() {
                let count = ready!(stream.as_mut().poll_write(cx, self.outbox.next())).map_err(|_| NotSent::Stream)?;
                if count == 0 {
                    return Poll::Ready(Err(NotSent::Stream));
                }
                self.outbox.advance(count);
                self.unflushed = true;
            }
            if self.body.is_some() && !starved {
                continue;
            }
            if self.unflushed {
                ready!(stream.as_mut().poll_flush(cx)).map_err(|_| NotSent::Stream)?;
                self.unflushed = false;
            }
            if starved {
                return Poll::Pending;
            }
            self.outbox = Outbox::default();
            return Poll::Ready(Ok(()));
        }
    }

    /// Takes from the body what fits. Whether nothing more is there for now.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, UploadError> {
        while let Some(body) = &mut self.body
            && !self.outbox.is_full()
        {
            let trailers = match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(None) => None,
                Poll::Ready(Some(frame)) => match frame?.into_data() {
                    Ok(data) => {
                        self.outbox.push(data, self.chunked);
                        continue;
                    }
                    Err(frame) => frame.into_trailers().ok(),
                },
            };
            if self.chunked {
                self.outbox.end(trailers.as_ref());
            }
            self.body = None;
        }
        Ok(false)
    }
}
