//! The body of one attempt: held and repeatable, or streamed once.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use super::pieces::Pieces;

/// What is sent after the request's head.
#[derive(Debug)]
pub enum RequestBody {
    /// All of it is here. Cloning the parts gives the next attempt the same bytes.
    Held {
        /// The bytes not yet sent.
        data: Pieces,
        /// Fields after a chunked body.
        trailers: Option<HeaderMap>,
        /// Whether the client sent it chunked; it goes out as it came in, even when it is empty.
        chunked: bool,
    },
    /// Too large to hold: what was read so far, then the rest as it comes.
    Streamed {
        /// Read before the limit was found to be passed.
        prefix: Pieces,
        /// What follows.
        rest: Upload,
        /// Given back when the body has gone, or is gone without.
        turn: Option<OwnedSemaphorePermit>,
    },
}

/// What a client still uploads.
#[derive(Debug)]
pub struct Upload {
    body: Incoming,
    idle: Duration,
    /// Runs while the client is waited for, not while the service is.
    silence: Option<Pin<Box<Sleep>>>,
}

/// An upload that does not come to its end.
#[derive(Debug, Error)]
pub enum UploadError {
    /// The client broke off, or its framing is malformed.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// It fell silent.
    #[error("the client sent nothing more for {} s", .0.as_secs_f64())]
    Silent(Duration),
}

// === impl RequestBody ===

impl RequestBody {
    /// No body at all.
    pub fn empty() -> Self {
        Self::Held { data: Pieces::default(), trailers: None, chunked: false }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match self.get_mut() {
            Self::Held { data, trailers, .. } => {
                if let Some(piece) = data.pop() {
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Poll::Ready(trailers.take().map(|fields| Ok(Frame::trailers(fields))))
            }
            Self::Streamed { prefix, rest, .. } => {
                if let Some(piece) = prefix.pop() {
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                rest.poll_frame(cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            // hyper drops `Transfer-Encoding: chunked` from a request whose body has ended before it began.
            Self::Held { data, trailers, chunked } => !chunked && data.is_empty() && trailers.is_none(),
            Self::Streamed { prefix, rest, .. } => prefix.is_empty() && rest.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Held { data, .. } => SizeHint::with_exact(data.len()),
            Self::Streamed { prefix, rest, .. } => after_prefix(prefix.len(), &rest.body.size_hint()),
        }
    }
}

// === impl Upload ===

impl Upload {
    /// An upload given up on once the client is silent for `idle`.
    pub fn new(body: Incoming, idle: Duration) -> Self {
        Self { body, idle, silence: None }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.silence = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(UploadError::from)));
        }
        ready!(self.silence.get_or_insert_with(|| Box::pin(sleep(self.idle))).as_mut().poll(cx));
        Poll::Ready(Some(Err(UploadError::Silent(self.idle))))
    }
}

/// The size of `prefix` bytes and what follows them.
pub fn after_prefix(prefix: u64, rest: &SizeHint) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(rest.lower().saturating_add(prefix));
    if let Some(upper) = rest.upper() {
        hint.set_upper(upper.saturating_add(prefix));
    }
    hint
}
