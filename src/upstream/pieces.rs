//! Bytes that came in pieces and go out in pieces: joined only for those who ask.

use std::collections::VecDeque;
use std::io::{self, Read};

use bytes::{Buf, Bytes, BytesMut};

/// Bytes in pieces. Cloning copies none of them.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    pieces: VecDeque<Bytes>,
    len: u64,
}

/// Reads pieces one after the other, and lets each go once it was read.
struct Reading(Pieces);

// === impl Pieces ===

impl Pieces {
    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Adds `piece` at the end.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len() as u64;
            self.pieces.push_back(piece);
        }
    }

    /// Takes the first piece, which is never empty.
    pub fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front()?;
        self.len -= piece.len() as u64;
        Some(piece)
    }

    /// The pieces, of which none is empty.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }

    /// All bytes in one piece, copied unless they are already.
    pub fn join(&self) -> Bytes {
        self.start(usize::MAX)
    }

    /// The first `limit` bytes, or all where there are fewer.
    pub fn start(&self, limit: usize) -> Bytes {
        let limit = usize::try_from(self.len).unwrap_or(usize::MAX).min(limit);
        match self.pieces.front() {
            None => Bytes::new(),
            Some(first) if first.len() >= limit => first.slice(..limit),
            Some(_) => {
                let mut joined = BytesMut::with_capacity(limit);
                for piece in &self.pieces {
                    joined.extend_from_slice(&piece[..piece.len().min(limit - joined.len())]);
                }
                joined.freeze()
            }
        }
    }

    /// Reads the bytes without joining them.
    pub fn reader(&self) -> impl Read + use<> {
        Reading(self.clone())
    }

    /// The pieces themselves.
    pub fn into_inner(self) -> VecDeque<Bytes> {
        self.pieces
    }
}

impl From<Bytes> for Pieces {
    fn from(piece: Bytes) -> Self {
        let mut pieces = Self::default();
        pieces.push(piece);
        pieces
    }
}

// === impl Reading ===

impl Read for Reading {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(first) = self.0.pieces.front_mut() else { return Ok(0) };
        let count = first.len().min(into.len());
        first.copy_to_slice(&mut into[..count]);
        if first.is_empty() {
            self.0.pieces.pop_front();
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_joined_and_taken_in_order() {
        let mut pieces = Pieces::default();
        for piece in ["", "ab", "", "cde", "f"] {
            pieces.push(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!(pieces.len(), 6);
        for (limit, want) in [(0, ""), (1, "a"), (2, "ab"), (4, "abcd"), (6, "abcdef"), (usize::MAX, "abcdef")] {
            assert_eq!(pieces.start(limit), want);
        }
        assert_eq!(io::read_to_string(pieces.reader()).unwrap(), "abcdef");
        assert_eq!(pieces.pop().unwrap(), "ab");
        assert_eq!((pieces.len(), pieces.join()), (4, "cdef".into()));
        assert!(Pieces::from(Bytes::new()).is_empty());
    }
}
