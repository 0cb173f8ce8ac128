//! A stream that is read in small parts.
//!
//! hyper doubles its read buffer when a read fills it, and what it reads stays in that buffer until it is passed on. Reads that never fill
//! the first 8 KiB keep it at that, whatever is allowed for a head, which is a third of what thousands of connections under load need. One of the
//! few that read ahead, see [`super::read_ahead`], gives all there is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use super::delegate::write_through_stream;
use super::read_ahead::Bulk;

/// Gives less than 8 KiB at a time unless much comes, and writes as `S` does.
#[derive(Debug)]
pub struct Sips<S> {
    stream: S,
}

// === impl Sips ===

impl<S> Sips<S> {
    /// Reads and writes through `stream`.
    pub fn new(stream: S) -> Self {
        Self { stream }
    }
}

impl<S: AsyncBufRead + Unpin> Sips<S> {
    /// Waits until there is something to read, and leaves it where it is. `false` at the end of the stream.
    pub fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        Pin::new(&mut self.stream).poll_fill_buf(cx).map_ok(|data| !data.is_empty())
    }
}

impl<S: AsyncBufRead + Bulk + Unpin> AsyncRead for Sips<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let sip = if self.stream.is_bulk() { usize::MAX } else { SIP_BYTES };
        let mut stream = Pin::new(&mut self.stream);
        let data = ready!(stream.as_mut().poll_fill_buf(cx))?;
        let count = data.len().min(buf.remaining()).min(sip);
        buf.put_slice(&data[..count]);
        stream.consume(count);
        Poll::Ready(Ok(()))
    }
}

write_through_stream!(Sips<S>);

/// One less than what makes hyper read more the next time.
const SIP_BYTES: usize = 8 * 1024 - 1;
