//! The body of one attempt: held and repeatable, or streamed once.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

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
        rest: Incoming,
        /// Given back when the body has gone, or is gone without.
        turn: Option<OwnedSemaphorePermit>,
    },
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
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
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
                Pin::new(rest).poll_frame(cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            // hyper drops `Transfer-Encoding: chunked` from a request whose body has ended before it began.
            Self::Held { data, trailers, chunked } => !chunked && data.is_empty() && trailers.is_none(),
            Self::Streamed { prefix, rest, .. } => prefix.is_empty() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Held { data, .. } => SizeHint::with_exact(data.len()),
            Self::Streamed { prefix, rest, .. } => after_prefix(prefix.len(), &rest.size_hint()),
        }
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
