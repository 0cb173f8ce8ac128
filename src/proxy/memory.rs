//! The memory that held request bodies and buffered answers share, and bytes kept in it.
//!
//! Bytes are copied into blocks of our own, each paid for before it is filled: what a connection's read buffer hands out pins that buffer,
//! which may be many times as large. A block is accounted as long as anything refers to it, the queue of a connection that has yet to
//! write it included, and is given back by itself.
//!
//! Connections take memory too: TLS records and read buffers on both sides, whatever is held. A few hundred fit into what the program is
//! known to need besides ([`FREE_CONNECTIONS`]); each one more is set off against the limit, so that many clients at once leave less to
//! hold instead of passing it. What is held already is not taken back for connections that come later.
//! Uploads that find no memory take turns, so that not all of them have buffers on Batch's side at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::batch::fault;
use crate::metrics::Metrics;
use crate::metrics::labels::UnheldReason;
use crate::upstream::Pieces;

/// The memory that all held bodies and answers share. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Shared>);

/// Bytes kept as they arrive.
#[derive(Debug)]
pub(super) struct Kept {
    memory: Memory,
    full: Pieces,
    open: Block,
    /// What may be kept without being paid for.
    free: usize,
    /// The length announced, or 0.
    expected: u64,
}

/// There is no memory left. What was not kept is here.
#[derive(Debug)]
pub(super) struct Full(pub(super) Bytes);

/// A connection that may carry bodies, as long as this lives.
#[derive(Debug)]
pub(super) struct ConnectionShare(Memory);

#[derive(Debug)]
struct Shared {
    limit: AtomicU64,
    used: AtomicU64,
    connections: AtomicU64,
    turns: Arc<Semaphore>,
    metrics: Metrics,
}

/// A part of the memory, given back when dropped.
#[derive(Debug)]
struct Reservation {
    memory: Memory,
    bytes: u64,
}

/// Memory paid for, if it has to be, and what of it is filled.
#[derive(Debug, Default)]
struct Block {
    data: Vec<u8>,
    _paid: Option<Reservation>,
}

// === impl Memory ===

impl Memory {
    pub(super) fn new(limit: u64, metrics: Metrics) -> Self {
        let (used, connections, turns) = (AtomicU64::new(0), AtomicU64::new(0), Arc::new(Semaphore::new(TURNS)));
        Self(Arc::new(Shared { limit: AtomicU64::new(limit), used, connections, turns, metrics }))
    }

    /// Another limit from now on, for all. What is held already stays, though it were more.
    pub(super) fn limit_to(&self, limit: u64) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// A place for a request's body, of which `expected` bytes were announced.
    pub(super) fn for_body(&self, expected: u64) -> Kept {
        // A limit of nothing asks that no body be held. What will have to be paid for in the end is paid for from the start.
        let free = if self.0.limit.load(Ordering::Relaxed) == 0 || expected > FREE_BYTES as u64 { 0 } else { FREE_BYTES };
        self.keep(free, expected)
    }

    /// A place for an answer. Its beginning is always read: the error code stands there, and without it the wrong thing might be done.
    pub(super) fn for_answer(&self, expected: u64) -> Kept {
        self.keep(FREE_BYTES, expected)
    }

    /// Counts a connection until the share is dropped.
    pub(super) fn connection(&self) -> ConnectionShare {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionShare(self.clone())
    }

    /// Waits until an upload that cannot be held may go on its way: each takes buffers on Batch's side too, which nobody has paid for.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.0.turns.clone().acquire_owned().await.ok()
    }

    /// Counts a body or answer that passes without being held.
    pub(super) fn unheld(&self, reason: UnheldReason) {
        self.0.metrics.unheld_body(reason);
    }

    fn keep(&self, free: usize, expected: u64) -> Kept {
        Kept { memory: self.clone(), full: Pieces::default(), open: Block::default(), free, expected }
    }

    /// Takes nothing where `bytes` are not left.
    fn reserve(&self, bytes: u64) -> Option<Reservation> {
        let shared = &self.0;
        let crowd = shared.connections.load(Ordering::Relaxed).saturating_sub(FREE_CONNECTIONS);
        let limit = shared.limit.load(Ordering::Relaxed).saturating_sub(crowd.saturating_mul(CONNECTION_BYTES));
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        shared.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        shared.metrics.hold_memory(bytes);
        Some(Reservation { memory: self.clone(), bytes })
    }
}

// === impl Kept ===

impl Kept {
    /// How many bytes there are.
    pub(super) fn len(&self) -> u64 {
        self.full.len() + self.open.data.len() as u64
    }

    /// Keeps `data`.
    ///
    /// # Errors
    /// The memory is used up. What fitted is kept, the rest given back.
    pub(super) fn push(&mut self, mut data: Bytes) -> Result<(), Full> {
        while !data.is_empty() {
            if self.open.room() == 0 && !self.open_block(data.len()) {
                return Err(Full(data));
            }
            let part = data.split_to(data.len().min(self.open.room()));
            self.open.data.extend_from_slice(&part);
        }
        Ok(())
    }

    /// All of it, to be sent.
    pub(super) fn into_pieces(mut self) -> Pieces {
        self.close_block();
        self.full
    }

    /// Makes room for some of `wanted` bytes: what is announced in few blocks of the right size, what is not in growing ones.
    fn open_block(&mut self, wanted: usize) -> bool {
        self.close_block();
        let len = self.full.len();
        let coming = if self.expected > len { self.expected - len } else { len.max(wanted as u64) };
        let size = usize::try_from(coming).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        self.open = if self.free > 0 {
            let block = Block::new(size.min(self.free), None);
            self.free -= block.room();
            block
        } else {
            let Some(paid) = self.memory.reserve(size as u64) else { return false };
            Block::new(size, Some(paid))
        };
        true
    }

    fn close_block(&mut self) {
        let block = std::mem::take(&mut self.open);
        if !block.data.is_empty() {
            self.full.push(Bytes::from_owner(block));
        }
    }
}

// === impl Block ===

impl Block {
    fn new(size: usize, paid: Option<Reservation>) -> Self {
        Self { data: Vec::with_capacity(size), _paid: paid }
    }

    fn room(&self) -> usize {
        self.data.capacity() - self.data.len()
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

// === impl Reservation ===

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.memory.0.metrics.release_memory(self.bytes);
    }
}

// === impl ConnectionShare ===

impl Drop for ConnectionShare {
    fn drop(&mut self) {
        self.0.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How much of a body or answer is kept without being paid for: a connection's own buffers take more than that. Small bodies, which
/// are nearly all, can so be replayed however much large ones hold, and errors can always be read.
const FREE_BYTES: usize = fault::PREFIX_LIMIT;

/// A TLS record's worth: large enough for few writes, small enough to leave little unfilled.
const BLOCK_BYTES: usize = 16 * 1024;

/// Connections that fit, with the program itself, into 64 MiB.
const FREE_CONNECTIONS: u64 = 256;

/// What a client's connection takes when it brings a body and nobody takes it off: a TLS record as it came and as it is read, buffers for
/// reading and writing, and the task. Batch's side takes another 75 KiB for each of [`TURNS`]. Measured by `tests/it/memory.rs`.
const CONNECTION_BYTES: u64 = 104 * 1024;

/// Uploads under way at a time that could not be held because there was no memory; further ones wait, at no cost, for one to end.
const TURNS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::BuildInfo;

    fn memory(limit: u64) -> Memory {
        Memory::new(limit, Metrics::new(BuildInfo { version: "0", revision: "0" }))
    }

    fn used(memory: &Memory) -> u64 {
        memory.0.used.load(Ordering::Relaxed)
    }

    #[test]
    fn bytes_come_back_as_they_went_in_and_are_free_again_once_nothing_refers_to_them() {
        let memory = memory(1 << 20);
        let all: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
        for (expected, size) in [(0, 1), (0, 777), (100_000, 16_384), (100_000, 100_000), (5, 10_000)] {
            let mut kept = memory.for_body(expected);
            all.chunks(size).for_each(|piece| kept.push(Bytes::copy_from_slice(piece)).unwrap());
            assert_eq!(kept.len(), 100_000);
            let pieces = kept.into_pieces();
            assert_eq!(pieces.len(), 100_000);
            assert!(pieces.join() == all);
            assert!(used(&memory) >= 100_000 - FREE_BYTES as u64 && used(&memory) < 130_000, "{}", used(&memory));
            let attempt = pieces.clone();
            drop(pieces);
            assert!(used(&memory) > 0, "an attempt still has it");
            drop(attempt);
            assert_eq!(used(&memory), 0);
        }
    }

    #[test]
    fn what_does_not_fit_is_given_back_and_what_fits_is_kept() {
        let memory = memory(20_000);
        let mut kept = memory.for_body(0);
        let all: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
        let Err(Full(rest)) = kept.push(Bytes::copy_from_slice(&all)) else { panic!("it cannot fit") };
        assert!(used(&memory) <= 20_000);
        assert!(rest.len() < 100_000 - FREE_BYTES);
        let mut pieces = kept.into_pieces();
        pieces.push(rest);
        assert!(pieces.join() == all);
    }

    #[test]
    fn a_small_body_is_held_when_large_ones_have_taken_everything() {
        let memory = memory(20_000);
        let mut large = memory.for_body(1 << 20);
        assert!(large.push(vec![0; 1 << 20].into()).is_err());
        assert!(memory.for_body(FREE_BYTES as u64).push(vec![0; FREE_BYTES].into()).is_ok());
        assert!(memory.for_body(FREE_BYTES as u64 + 1).push(vec![0; FREE_BYTES + BLOCK_BYTES].into()).is_err());
    }

    #[test]
    fn with_a_limit_of_nothing_no_body_is_held_and_the_beginning_of_an_answer_is_read() {
        let memory = memory(0);
        assert!(memory.for_body(0).push(Bytes::from_static(b"x")).is_err());
        assert!(memory.for_answer(0).push(Bytes::from_static(b"x")).is_ok());
    }

    #[test]
    fn many_connections_leave_less_to_hold() {
        let memory = memory(10 * CONNECTION_BYTES);
        let few: Vec<_> = (0..FREE_CONNECTIONS).map(|_| memory.connection()).collect();
        assert!(memory.reserve(10 * CONNECTION_BYTES).is_some());
        let more: Vec<_> = (0..4).map(|_| memory.connection()).collect();
        assert!(memory.reserve(6 * CONNECTION_BYTES + 1).is_none());
        assert!(memory.reserve(6 * CONNECTION_BYTES).is_some());
        drop(few);
        drop(more);
        assert!(memory.reserve(10 * CONNECTION_BYTES).is_some());
    }

    #[test]
    fn a_lower_limit_takes_nothing_back_and_holds_for_what_comes() {
        let memory = memory(50_000);
        let held = memory.reserve(40_000).unwrap();
        memory.limit_to(30_000);
        assert!(used(&memory) == 40_000 && memory.reserve(1).is_none());
        drop(held);
        assert!(memory.reserve(30_001).is_none());
        memory.limit_to(30_001);
        assert!(memory.reserve(30_001).is_some());
    }

    #[tokio::test]
    async fn uploads_that_could_not_be_held_wait_for_one_of_them_to_end() {
        let memory = memory(0);
        let mut under_way = Vec::new();
        for _ in 0..TURNS {
            under_way.push(memory.turn().await.unwrap());
        }
        let next = memory.turn();
        tokio::pin!(next);
        tokio::select! {
            biased;
            _ = &mut next => panic!("there is no room"),
            () = std::future::ready(()) => {}
        }
        under_way.pop();
        assert!(next.await.is_some());
    }
}
