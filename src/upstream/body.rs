//! The body of one attempt: held and repeatable, or streamed once.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
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
pub struct Upload {
    body: Pin<Box<dyn ClientUpload>>,
    idle: Duration,
    /// Runs while the client is waited for, not while the service is.
    silence: Option<Pin<Box<Sleep>>>,
}

/// A body as a client's connection gives it.
trait ClientUpload: Body<Data = Bytes, Error = Box<dyn StdError + Send + Sync>> + Send + Sync {}

impl<B: Body<Data = Bytes, Error = Box<dyn StdError + Send + Sync>> + Send + Sync> ClientUpload for B {}

/// An upload that does not come to its end.
#[derive(Debug, Error)]
pub enum UploadError {
    /// The client broke off, or its framing is malformed.
    #[error("the client's upload broke off: {0}")]
    Broken(Box<dyn StdError + Send + Sync>),
    /// It fell silent.
    #[error("the client sent nothing more for {} s", .0.as_secs_f64())]
    Silent(Duration),
}

// === impl RequestBody ===

impl RequestBody {
    /// No body at all.
    pub fn empty() -> Self {
        Self::Held { data: Pieces::default(), trailers: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match self.get_mut() {
            Self::Held { data, trailers } => {
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
            Self::Held { data, trailers } => data.is_empty() && trailers.is_none(),
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
    pub fn new<B>(body: B, idle: Duration) -> Self
    where
        B: Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self { body: Box::pin(body.map_err(Into::into)), idle, silence: None }
    }

    /// Whether there is nothing to upload.
    pub fn is_empty(&self) -> bool {
        self.body.is_end_stream()
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if let Poll::Ready(frame) = self.body.as_mut().poll_frame(cx) {
            self.silence = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(UploadError::Broken)));
        }
        ready!(self.silence.get_or_insert_with(|| Box::pin(sleep(self.idle))).as_mut().poll(cx));
        Poll::Ready(Some(Err(UploadError::Silent(self.idle))))
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("idle", &self.idle).finish_non_exhaustive()
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
