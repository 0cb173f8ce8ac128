//! Where a body ends.

use std::ops::Range;

use http::{HeaderMap, Method};

use super::chunked::Chunks;
use super::error::{MalformedBody, MalformedHead};
use super::head::{Framing, RequestHead, ResponseHead, length_of};
use crate::batch::fields::Fields;

/// Finds a body in the bytes that follow a head.
#[derive(Debug)]
pub enum BodyDecoder {
    /// It ends with the last chunk.
    Chunked(Box<Chunks>),
    /// It ends with the connection.
    Close,
    /// So many bytes are left.
    Length(u64),
}

/// What some bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// How many of them belong to this body.
    pub consumed: usize,
    /// Those of them that are its content.
    pub data: Range<usize>,
}

// === impl BodyDecoder ===

impl BodyDecoder {
    /// The body of a request with this head.
    ///
    /// # Errors
    /// Two readers could take it in two ways.
    pub fn of_request(head: &RequestHead) -> Result<Self, MalformedHead> {
        Ok(match head.framing()? {
            Framing::Chunked => Self::Chunked(Box::default()),
            Framing::Length(length) => Self::Length(length),
            Framing::Nothing => Self::Length(0),
        })
    }

    /// The body of the answer to a request of this method. A coding counts before a length; of several lengths all must be the same.
    ///
    /// # Errors
    /// Where it ends cannot be told.
    pub fn of_response(head: &ResponseHead, method: &Method) -> Result<Self, MalformedHead> {
        if head.is_bodiless(method) {
            return Ok(Self::Length(0));
        }
        if let Some(coding) = head.fields.values("transfer-encoding").last() {
            let last = coding.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
            return Ok(if last.eq_ignore_ascii_case(b"chunked") { Self::Chunked(Box::default()) } else { Self::Close });
        }
        let mut lengths = head.fields.values("content-length").flat_map(|value| value.split(|byte| *byte == b','));
        let Some(first) = lengths.next() else { return Ok(Self::Close) };
        let length = length_of(first.trim_ascii()).ok_or(MalformedHead::Length)?;
        let alike = lengths.all(|other| length_of(other.trim_ascii()) == Some(length));
        if alike { Ok(Self::Length(length)) } else { Err(MalformedHead::Length) }
    }

    /// Looks at the next bytes: at the first piece of content among them, if there is one.
    ///
    /// # Errors
    /// They are no body.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, MalformedBody> {
        match self {
            Self::Chunked(chunks) => chunks.decode(input),
            Self::Close => Ok(Decoded { consumed: input.len(), data: 0..input.len() }),
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= count as u64;
                Ok(Decoded { consumed: count, data: 0..count })
            }
        }
    }

    /// Whether all of it was found.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Chunked(chunks) => chunks.is_over(),
            Self::Close => false,
            Self::Length(left) => *left == 0,
        }
    }

    /// Whether the end of the connection is its end, and no proof that all of it came.
    pub fn ends_by_close(&self) -> bool {
        matches!(self, Self::Close)
    }

    /// The bytes that are left, where they are known.
    pub fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(chunks) if chunks.is_over() => Some(0),
            Self::Chunked(_) | Self::Close => None,
        }
    }

    /// Whether fields came after it that were not taken yet.
    pub fn has_trailers(&self) -> bool {
        matches!(self, Self::Chunked(chunks) if chunks.has_trailers())
    }

    /// The fields that came after it.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        match self {
            Self::Chunked(chunks) => chunks.take_trailers(),
            Self::Close | Self::Length(_) => None,
        }
    }
}
