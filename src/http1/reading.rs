//! Reading from where a stream has its bytes: nothing is kept but a head that came in part.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use thiserror::Error;
use tokio::io::AsyncBufRead;

use super::HEAD_LIMIT;
use super::body::{BodyDecoder, Decoded};
use super::error::{MalformedBody, MalformedHead};

/// Reads heads, one after the other.
#[derive(Debug, Default)]
pub struct HeadReader {
    /// What came of one that has not come to its end.
    partial: Vec<u8>,
}

/// Why there is no head.
#[derive(Debug, Error)]
pub enum NoHead {
    /// The stream ended before it did.
    #[error("the connection ended before the head did")]
    Ended,
    /// The stream broke.
    #[error(transparent)]
    Broken(#[from] io::Error),
    /// What came is none.
    #[error(transparent)]
    Malformed(#[from] MalformedHead),
}

/// Why a body does not come to its end.
#[derive(Debug, Error)]
pub enum CutOff {
    /// The stream ended first.
    #[error("the connection ended before the body did")]
    Ended,
    /// It broke.
    #[error(transparent)]
    Broken(#[from] io::Error),
    /// The chunks are malformed.
    #[error(transparent)]
    Malformed(#[from] MalformedBody),
}

/// A part of a body, or what follows it.
#[derive(Debug)]
pub enum Part {
    /// Content, never empty.
    Data(Bytes),
    /// The fields after it.
    Trailers(HeaderMap),
    /// Its end.
    End,
}

// === impl Part ===

impl Part {
    /// It as a frame; `None` is the end.
    pub fn into_frame(self) -> Option<Frame<Bytes>> {
        match self {
            Self::Data(data) => Some(Frame::data(data)),
            Self::Trailers(fields) => Some(Frame::trailers(fields)),
            Self::End => None,
        }
    }
}

/// What [`super::RequestHead::parse`] and [`super::ResponseHead::parse`] do.
type Parse<H> = fn(&[u8]) -> Result<Option<(H, usize)>, MalformedHead>;

// === impl HeadReader ===

impl HeadReader {
    /// Whether nothing of the next head has come.
    pub fn is_idle(&self) -> bool {
        self.partial.is_empty()
    }

    /// Reads a head and nothing of what follows it.
    pub fn poll<S, H>(&mut self, mut stream: Pin<&mut S>, parse: Parse<H>, cx: &mut Context<'_>) -> Poll<Result<H, NoHead>>
    where
        S: AsyncBufRead,
    {
        loop {
            let input = ready!(stream.as_mut().poll_fill_buf(cx))?;
            if input.is_empty() {
                return Poll::Ready(Err(NoHead::Ended));
            }
            let before = self.partial.len();
            // Mostly all of it is here at once, and nothing of it is copied but what is kept.
            let parsed = if before == 0 {
                parse(input)?
            } else {
                let more = &input[..input.len().min(HEAD_LIMIT)];
                self.partial.extend_from_slice(more);
                // A head ends with a line.
                if more.contains(&b'\n') || self.partial.len() >= HEAD_LIMIT { parse(&self.partial)? } else { None }
            };
            if let Some((head, length)) = parsed {
                stream.as_mut().consume(length - before);
                self.partial = Vec::new();
                return Poll::Ready(Ok(head));
            }
            if before == 0 {
                self.partial.extend_from_slice(input);
            }
            let consumed = self.partial.len() - before;
            stream.as_mut().consume(consumed);
        }
    }
}

/// The next part of the body that `decoder` finds.
pub fn poll_part<S: AsyncBufRead>(
    mut stream: Pin<&mut S>,
    decoder: &mut BodyDecoder,
    cx: &mut Context<'_>,
) -> Poll<Result<Part, CutOff>> {
    loop {
        if let Some(trailers) = decoder.take_trailers() {
            return Poll::Ready(Ok(Part::Trailers(trailers)));
        }
        if decoder.is_over() {
            return Poll::Ready(Ok(Part::End));
        }
        let input = ready!(stream.as_mut().poll_fill_buf(cx))?;
        if input.is_empty() {
            return Poll::Ready(if decoder.ends_by_close() { Ok(Part::End) } else { Err(CutOff::Ended) });
        }
        let Decoded { consumed, data } = decoder.decode(input)?;
        let data = Bytes::copy_from_slice(&input[data]);
        stream.as_mut().consume(consumed);
        if !data.is_empty() {
            return Poll::Ready(Ok(Part::Data(data)));
        }
    }
}
