//! A message on its way out: what was written of its head, and its body as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body;
use thiserror::Error;
use tokio::io::AsyncWrite;

use super::fields::FieldLines;
use super::head::length_of;
use super::outbox::Outbox;
use crate::batch::fields::Fields;

/// A message that is being written.
#[derive(Debug)]
pub struct Writing<B> {
    outbox: Outbox,
    body: Option<B>,
    ends: Ends,
    /// What was written may still lie in the stream.
    unflushed: bool,
    wrote: bool,
}

/// How the reader knows where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// By its last chunk.
    Chunked,
    /// By the end of the connection.
    Close,
    /// By its length, of which so many bytes are owed.
    Length(u64),
}

/// What there is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// More than was taken so far.
    More,
    /// What was taken, and no more for now.
    Starved,
    /// What was taken, and no more.
    Last,
}

/// A body that cannot be written.
#[derive(Debug, Error)]
pub enum Unfit<E> {
    /// It broke off.
    #[error(transparent)]
    Broken(E),
    /// It is longer or shorter than was announced: the rest would be taken for another message.
    #[error("the body is not as long as was announced")]
    Length,
}

// === impl Writing ===

impl<B: Body<Data = Bytes> + Unpin> Writing<B> {
    /// The message of a head as it is written, and its body, which must end as the head says.
    pub fn new(head: Vec<u8>, body: Option<B>, ends: Ends) -> Self {
        Self { outbox: Outbox::new(head), body, ends, unflushed: true, wrote: false }
    }

    /// Takes from the body what fits.
    ///
    /// # Errors
    /// The message cannot be brought to its end.
    pub fn fill(&mut self, cx: &mut Context<'_>) -> Result<Left, Unfit<B::Error>> {
        while let Some(body) = &mut self.body {
            if self.outbox.is_full() {
                return Ok(Left::More);
            }
            let trailers = match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return Ok(Left::Starved),
                Poll::Ready(None) => None,
                Poll::Ready(Some(frame)) => match frame.map_err(Unfit::Broken)?.into_data() {
                    Ok(data) => {
                        self.push(data)?;
                        continue;
                    }
                    Err(frame) => frame.into_trailers().ok(),
                },
            };
            match self.ends {
                Ends::Chunked => self.outbox.end(trailers.as_ref()),
                Ends::Length(owed) if owed > 0 => return Err(Unfit::Length),
                Ends::Close | Ends::Length(_) => {}
            }
            self.body = None;
        }
        Ok(Left::Last)
    }

    /// Writes what was taken. Where that is all for now, ready once it has left the stream too.
    pub fn poll_write<S: AsyncWrite>(
        &mut self,
        mut stream: Pin<&mut S>,
        left: Left,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let count = ready!(stream.as_mut().poll_write(cx, self.outbox.next()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.advance(count);
            (self.unflushed, self.wrote) = (true, true);
        }
        if left != Left::More && self.unflushed {
            ready!(stream.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the stream took something since this was asked last.
    pub fn took_some(&mut self) -> bool {
        std::mem::take(&mut self.wrote)
    }

    fn push(&mut self, data: Bytes) -> Result<(), Unfit<B::Error>> {
        if let Ends::Length(owed) = &mut self.ends {
            *owed = owed.checked_sub(data.len() as u64).ok_or(Unfit::Length)?;
        }
        self.outbox.push(data, self.ends == Ends::Chunked);
        Ok(())
    }
}

// === impl Ends ===

impl Ends {
    /// What the fields of a request say.
    pub fn of_request(fields: &FieldLines) -> Self {
        if fields.contains("transfer-encoding") {
            return Self::Chunked;
        }
        Self::Length(fields.value("content-length").and_then(length_of).unwrap_or(0))
    }
}
