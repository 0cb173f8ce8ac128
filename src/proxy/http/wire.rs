//! A client's connection as whoever serves it sees it: heads and bodies read from where the stream has them, with no buffer of its own.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncBufRead, AsyncWrite};

use super::super::watch::Watch;
use crate::http1::{BodyDecoder, CutOff, HeadReader, MalformedHead, NoHead, Part, RequestHead, poll_part};

/// What the one who serves a connection shares with the body of the request under way. Both are polled by the same task, so neither waits.
pub(super) struct Wire<S>(Arc<Mutex<Line<S>>>);

/// The connection.
pub(super) struct Line<S> {
    pub(super) stream: S,
    heads: HeadReader,
    /// The body of the request under way.
    decoder: BodyDecoder,
    /// What is to be said before the body is read.
    interim: &'static [u8],
    watch: Arc<Watch>,
}

/// What came of a request's head.
#[derive(Debug)]
pub(super) enum Next {
    /// All of it.
    Head(RequestHead),
    /// Nothing, and nothing will.
    Gone,
    /// Part of it, and nothing more will.
    BrokenOff,
    /// Something else.
    Malformed(MalformedHead),
}

/// The body of a request as the client sends it.
pub(in crate::proxy) struct RequestStream<S>(Arc<Mutex<Line<S>>>);

// === impl Wire ===

impl<S> Wire<S> {
    pub(super) fn new(stream: S, watch: Arc<Watch>) -> Self {
        let line = Line { stream, heads: HeadReader::default(), decoder: BodyDecoder::Length(0), interim: b"", watch };
        Self(Arc::new(Mutex::new(line)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Line<S>> {
        lock(&self.0)
    }

    /// The body that follows the head just read. `asked_for`: the client waits until it is.
    pub(super) fn body(&self, decoder: BodyDecoder, asked_for: bool) -> RequestStream<S> {
        let mut line = self.lock();
        line.interim = if asked_for && !decoder.is_over() { CONTINUE } else { b"" };
        line.decoder = decoder;
        drop(line);
        RequestStream(self.0.clone())
    }

    /// The stream, once no body refers to it.
    pub(super) fn into_inner(self) -> Option<S> {
        let line = Arc::into_inner(self.0)?;
        Some(line.into_inner().unwrap_or_else(PoisonError::into_inner).stream)
    }
}

// === impl Line ===

impl<S: AsyncBufRead + AsyncWrite + Unpin> Line<S> {
    /// Whether nothing of a request has come yet.
    pub(super) fn is_idle(&self) -> bool {
        self.heads.is_idle()
    }

    /// Whether the body of the request under way was read to its end.
    pub(super) fn is_read(&self) -> bool {
        self.decoder.is_over()
    }

    /// Reads a request's head.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let polled = self.heads.poll(Pin::new(&mut self.stream), RequestHead::parse, cx);
        let idle = self.is_idle();
        if !idle || matches!(polled, Poll::Ready(Ok(_))) {
            self.watch.bytes_arrived();
        }
        polled.map(|read| match read {
            Ok(head) => Next::Head(head),
            Err(NoHead::Malformed(malformed)) => Next::Malformed(malformed),
            Err(NoHead::Broken(_) | NoHead::Ended) if idle => Next::Gone,
            Err(NoHead::Broken(_) | NoHead::Ended) => Next::BrokenOff,
        })
    }

    /// Ready once the client has hung up, as far as can be seen: behind the next request, or a body that nobody reads, it cannot.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.decoder.is_over() {
            return Poll::Pending;
        }
        match ready!(Pin::new(&mut self.stream).poll_fill_buf(cx)) {
            Ok(more) if !more.is_empty() => Poll::Pending,
            Ok(_) | Err(_) => Poll::Ready(()),
        }
    }

    /// Reads what still comes, and ignores it. Ready once nothing does.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut stream = Pin::new(&mut self.stream);
            let count = match ready!(stream.as_mut().poll_fill_buf(cx)) {
                Ok(more) if !more.is_empty() => more.len(),
                Ok(_) | Err(_) => return Poll::Ready(()),
            };
            stream.consume(count);
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, CutOff>> {
        while !self.interim.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, self.interim))?;
            if count == 0 {
                return Poll::Ready(Err(CutOff::Ended));
            }
            self.interim = &self.interim[count..];
            if self.interim.is_empty() {
                // What does not leave at once leaves with the next flush, which the answer brings at the latest.
                let _ = Pin::new(&mut self.stream).poll_flush(cx);
            }
        }
        poll_part(Pin::new(&mut self.stream), &mut self.decoder, cx)
    }
}

// === impl RequestStream ===

impl<S: AsyncBufRead + AsyncWrite + Unpin> Body for RequestStream<S> {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        lock(&self.0).poll_body(cx).map(|part| part.map(Part::into_frame).transpose())
    }

    fn is_end_stream(&self) -> bool {
        let line = lock(&self.0);
        line.decoder.is_over() && !line.decoder.has_trailers()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).decoder.left().map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl<S> fmt::Debug for RequestStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestStream").finish_non_exhaustive()
    }
}

/// Never contended, and nothing in it is half done between two polls.
fn lock<S>(line: &Mutex<Line<S>>) -> MutexGuard<'_, Line<S>> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a client that announced its body waits for (RFC 9110, 10.1.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
