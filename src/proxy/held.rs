//! Request bodies: read whole before the first send, so that they can be sent again, or streamed once where that cannot be.
//!
//! What they are kept in is [`super::memory`]'s. When that is used up requests still flow, but cannot be replayed.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt;
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::memory::{Full, Memory};
use crate::metrics::labels::UnheldReason;
use crate::retry::policy::Replayable;
use crate::upstream::{Pieces, RequestBody, Upload};

/// How bodies are held.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    /// What all of them share.
    pub(super) memory: Memory,
    /// The largest, in bytes.
    pub(super) limit: u64,
    /// The longest pause of a client in its upload.
    pub(super) idle: Duration,
}

/// A request's body, ready to be sent.
#[derive(Debug)]
pub(super) enum ClientBody {
    /// Read whole.
    Held(HeldBody),
    /// Streams, once.
    Streamed(RequestBody),
    /// Already given to the one attempt it had.
    Spent,
}

/// An upload that did not come to its end.
#[derive(Debug, Error)]
#[error("the request's body broke off")]
pub(super) struct BrokenUpload;

/// A body read whole.
#[derive(Debug)]
pub(super) struct HeldBody {
    data: Pieces,
    trailers: Option<HeaderMap>,
}

// === impl ClientBody ===

impl ClientBody {
    /// Reads the body up to the limit; past it, or past the shared memory, what follows will stream.
    ///
    /// # Errors
    /// The client broke off or fell silent, or its framing is malformed.
    pub(super) async fn read<B>(mut body: B, holding: &Holding) -> Result<Self, BrokenUpload>
    where
        B: Body<Data = Bytes> + Send + Sync + Unpin + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let memory = &holding.memory;
        let expected = body.size_hint().lower();
        if expected > holding.limit {
            memory.unheld(UnheldReason::Size);
            return Ok(Self::stream(Pieces::default(), Upload::new(body, holding.idle), None));
        }
        // Paid for as it arrives: an announcement costs a client nothing.
        let mut kept = memory.for_body(expected);
        let mut trailers = None;
        while let Some(frame) = timeout(holding.idle, body.frame()).await.map_err(|_| BrokenUpload)? {
            let data = match frame.map_err(|_| BrokenUpload)?.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    trailers = frame.into_trailers().ok();
                    continue;
                }
            };
            let (reason, rest) = if kept.len() + data.len() as u64 > holding.limit {
                (UnheldReason::Size, data)
            } else {
                match kept.push(data) {
                    Ok(()) => continue,
                    Err(Full(rest)) => (UnheldReason::Memory, rest),
                }
            };
            memory.unheld(reason);
            let turn = if reason == UnheldReason::Memory { memory.turn().await } else { None };
            let mut prefix = kept.into_pieces();
            prefix.push(rest);
            return Ok(Self::stream(prefix, Upload::new(body, holding.idle), turn));
        }
        Ok(Self::Held(HeldBody { data: kept.into_pieces(), trailers }))
    }

    /// The body for the next attempt; a streamed one can be taken once, after that it is empty.
    pub(super) fn next(&mut self) -> RequestBody {
        match std::mem::replace(self, Self::Spent) {
            Self::Held(held) => {
                let body = RequestBody::Held { data: held.data.clone(), trailers: held.trailers.clone() };
                *self = Self::Held(held);
                body
            }
            Self::Streamed(body) => body,
            Self::Spent => RequestBody::empty(),
        }
    }

    /// All of it, where it is held.
    pub(super) fn pieces(&self) -> Option<&Pieces> {
        match self {
            Self::Held(held) => Some(&held.data),
            Self::Streamed(_) | Self::Spent => None,
        }
    }

    /// All of it in one piece, where it is held: for those who must understand it.
    pub(super) fn whole(&self) -> Option<Bytes> {
        self.pieces().map(Pieces::join)
    }

    /// Whether it can be sent a second time.
    pub(super) fn replayable(&self) -> Replayable {
        match self {
            Self::Held(_) => Replayable::Held,
            Self::Streamed(_) | Self::Spent => Replayable::Streamed,
        }
    }

    fn stream(prefix: Pieces, rest: Upload, turn: Option<OwnedSemaphorePermit>) -> Self {
        Self::Streamed(RequestBody::Streamed { prefix, rest, turn })
    }
}
