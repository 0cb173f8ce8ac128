//! What is to be written, in as few writes as copying little allows.

use bytes::{Buf, Bytes};
use http::HeaderMap;

use super::chunked::{write_end, write_size};

/// Bytes of a message on their way out: small parts are gathered, a large one is written as it is.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    gathered: Vec<u8>,
    written: usize,
    /// Comes after what is gathered.
    piece: Bytes,
    /// Comes after the piece.
    tail: &'static [u8],
}

// === impl Outbox ===

impl Outbox {
    /// Bytes to begin with.
    pub(super) fn new(start: Vec<u8>) -> Self {
        Self { gathered: start, ..Self::default() }
    }

    /// Whether nothing is left to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.gathered.len() && self.piece.is_empty() && self.tail.is_empty()
    }

    /// Whether more had better wait until this is written.
    pub(super) fn is_full(&self) -> bool {
        !self.piece.is_empty() || !self.tail.is_empty() || self.gathered.len() >= GATHER_BYTES
    }

    /// Adds content, as a chunk of its own where `chunked`. Nothing is no chunk: that would end the body.
    pub(super) fn push(&mut self, mut data: Bytes, chunked: bool) {
        if data.is_empty() {
            return;
        }
        if chunked {
            write_size(data.len(), &mut self.gathered);
        }
        let end: &[u8] = if chunked { b"\r\n" } else { b"" };
        // What is gathered goes out with the beginning of a large piece, as one full record.
        let room = GATHER_BYTES.saturating_sub(self.gathered.len()).min(data.len());
        self.gathered.extend_from_slice(&data[..room]);
        data.advance(room);
        if data.is_empty() {
            self.gathered.extend_from_slice(end);
        } else {
            self.piece = data;
            self.tail = if chunked { b"\r\n" } else { b"" };
        }
    }

    /// Adds what ends a chunked body.
    pub(super) fn end(&mut self, trailers: Option<&HeaderMap>) {
        // Nothing is added to a full outbox, so that nothing stands behind a piece.
        debug_assert!(self.piece.is_empty() && self.tail.is_empty());
        write_end(trailers, &mut self.gathered);
    }

    /// What is written next.
    pub(super) fn next(&self) -> &[u8] {
        if self.written < self.gathered.len() {
            &self.gathered[self.written..]
        } else if !self.piece.is_empty() {
            &self.piece
        } else {
            self.tail
        }
    }

    /// So much of it was written.
    pub(super) fn advance(&mut self, count: usize) {
        if self.written < self.gathered.len() {
            self.written += count;
            if self.written == self.gathered.len() {
                self.gathered.clear();
                self.written = 0;
            }
        } else if !self.piece.is_empty() {
            self.piece.advance(count);
        } else {
            self.tail = &self.tail[count..];
        }
    }
}

/// As much as one TLS record holds.
const GATHER_BYTES: usize = 16 * 1024;
