//! A stream some of whose bytes were read too early.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, BufReader, ReadBuf};
use tokio::net::TcpStream;

use crate::upstream::write_through_stream;

/// A TCP stream that gives `prefix` back before anything new.
#[derive(Debug)]
pub(super) struct Prefixed {
    prefix: Bytes,
    stream: TcpStream,
}

// === impl Prefixed ===

impl Prefixed {
    /// The stream that `buffered` reads, with what it has read.
    pub(super) fn new(buffered: BufReader<TcpStream>) -> Self {
        // Copied, and mostly nothing: the buffer it was read into would live as long as the connection.
        Self { prefix: Bytes::copy_from_slice(buffered.buffer()), stream: buffered.into_inner() }
    }

    /// Where the other end is; unspecified once it is gone.
    pub(super) fn client(&self) -> IpAddr {
        self.stream.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical())
    }

    /// The next byte, left where it is; `None` at the end of the stream.
    pub(super) async fn peek(&self) -> io::Result<Option<u8>> {
        if let Some(first) = self.prefix.first() {
            return Ok(Some(*first));
        }
        let mut first = [0];
        let count = self.stream.peek(&mut first).await?;
        Ok((count > 0).then_some(first[0]))
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..count]);
        self.prefix.advance(count);
        Poll::Ready(Ok(()))
    }
}

write_through_stream!(Prefixed);
