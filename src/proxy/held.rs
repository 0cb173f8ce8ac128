//! Request bodies: read whole before the first send, so that they can be sent again, or streamed once where that cannot be.
//!
//! All held bodies share one reservation. When it is used up requests still flow, but cannot be replayed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::timeout;

use crate::metrics::Metrics;
use crate::metrics::labels::UnheldReason;
use crate::retry::policy::Replayable;
use crate::upstream::RequestBody;

/// The memory that all held bodies share.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    limit: u64,
    used: Arc<AtomicU64>,
    metrics: Metrics,
}

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

/// A part of the memory, given back when dropped.
#[derive(Debug)]
struct Reservation {
    memory: Memory,
    bytes: u64,
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
    data: Bytes,
    trailers: Option<HeaderMap>,
    chunked: bool,
    _reservation: Reservation,
}

// === impl Memory ===

impl Memory {
    pub(super) fn new(limit: u64, metrics: Metrics) -> Self {
        Self { limit, used: Arc::default(), metrics }
    }

    fn nothing(&self) -> Reservation {
        Reservation { memory: self.clone(), bytes: 0 }
    }
}

// === impl Reservation ===

impl Reservation {
    /// Takes `bytes` more. Returns false, and takes nothing, where they are not left.
    fn grow(&mut self, bytes: u64) -> bool {
        let memory = &self.memory;
        let taken = memory.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= memory.limit)
        });
        if taken.is_ok() {
            self.bytes += bytes;
            memory.metrics.hold_memory(bytes);
        }
        taken.is_ok()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
            self.memory.metrics.release_memory(self.bytes);
        }
    }
}

// === impl ClientBody ===

impl ClientBody {
    /// Reads the body up to the limit; past it, or past the shared memory, what follows will stream.
    ///
    /// # Errors
    /// The client broke off or fell silent, or its framing is malformed.
    pub(super) async fn read(mut body: Incoming, chunked: bool, holding: &Holding) -> Result<Self, BrokenUpload> {
        let memory = &holding.memory;
        if body.size_hint().lower() > holding.limit {
            return Ok(Self::stream(Bytes::new(), body, UnheldReason::Size, memory));
        }
        // Paid for as it arrives: an announcement costs a client nothing.
        let mut reservation = memory.nothing();
        let mut held = BytesMut::new();
        let mut single = Bytes::new();
        let mut trailers = None;
        while let Some(frame) = timeout(holding.idle, body.frame()).await.map_err(|_| BrokenUpload)? {
            let data = match frame.map_err(|_| BrokenUpload)?.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    trailers = frame.into_trailers().ok();
                    continue;
                }
            };
            let more = data.len() as u64;
            if held.is_empty() && single.is_empty() {
                // Most bodies arrive in one piece, which is kept as it is.
                single = data;
            } else {
                held.extend_from_slice(&std::mem::take(&mut single));
                held.extend_from_slice(&data);
            }
            let reason = if reservation.bytes + more > holding.limit {
                Some(UnheldReason::Size)
            } else {
                (!reservation.grow(more)).then_some(UnheldReason::Memory)
            };
            if let Some(reason) = reason {
                let prefix = if held.is_empty() { single } else { held.freeze() };
                return Ok(Self::stream(prefix, body, reason, memory));
            }
        }
        let data = if held.is_empty() { single } else { held.freeze() };
        Ok(Self::Held(HeldBody { data, trailers, chunked, _reservation: reservation }))
    }

    /// The body for the next attempt; a streamed one can be taken once, after that it is empty.
    pub(super) fn next(&mut self) -> RequestBody {
        match std::mem::replace(self, Self::Spent) {
            Self::Held(held) => {
                let body =
                    RequestBody::Held { data: held.data.clone(), trailers: held.trailers.clone(), chunked: held.chunked };
                *self = Self::Held(held);
                body
            }
            Self::Streamed(body) => body,
            Self::Spent => RequestBody::empty(),
        }
    }

    /// All of it, where it is held.
    pub(super) fn whole(&self) -> Option<Bytes> {
        match self {
            Self::Held(held) => Some(held.data.clone()),
            Self::Streamed(_) | Self::Spent => None,
        }
    }

    /// Whether it can be sent a second time.
    pub(super) fn replayable(&self) -> Replayable {
        match self {
            Self::Held(_) => Replayable::Held,
            Self::Streamed(_) | Self::Spent => Replayable::Streamed,
        }
    }

    fn stream(prefix: Bytes, rest: Incoming, reason: UnheldReason, memory: &Memory) -> Self {
        memory.metrics.unheld_body(reason);
        Self::Streamed(RequestBody::Streamed { prefix, rest })
    }
}
