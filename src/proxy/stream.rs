//! What the client's connection writes: an answer known whole, or one under way whose end decides the request's fate.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use super::answer::CutShort;
use super::record::Record;
use crate::metrics::labels::Fate;
use crate::upstream::after_prefix;

/// What the client's connection writes.
#[derive(Debug)]
pub(super) enum AnswerBody {
    Streaming(Box<Stream>),
    Whole { data: Bytes, trailers: Option<HeaderMap> },
}

/// An answer under way. Its end decides the request's fate.
pub(super) struct Stream {
    prefix: VecDeque<Bytes>,
    rest: Incoming,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    /// The timer runs only while the service is waited for, not while the client is.
    waiting: bool,
    record: Option<(Record, Fate)>,
}

// === impl AnswerBody ===

impl AnswerBody {
    /// A body known whole.
    pub(super) fn whole(data: Bytes) -> Self {
        Self::Whole { data, trailers: None }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        match self.get_mut() {
            Self::Streaming(stream) => stream.poll_frame(cx),
            Self::Whole { data, trailers } => {
                if !data.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(std::mem::take(data)))));
                }
                Poll::Ready(trailers.take().map(|fields| Ok(Frame::trailers(fields))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streaming(stream) => stream.prefix.is_empty() && stream.rest.is_end_stream(),
            Self::Whole { data, trailers } => data.is_empty() && trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streaming(stream) => {
                let prefix = stream.prefix.iter().map(|piece| piece.len() as u64).sum();
                after_prefix(prefix, &stream.rest.size_hint())
            }
            Self::Whole { data, .. } => SizeHint::with_exact(data.len() as u64),
        }
    }
}

// === impl Stream ===

impl Stream {
    pub(super) fn new(prefix: VecDeque<Bytes>, rest: Incoming, idle: Duration, record: Record, fate: Fate) -> Self {
        Self { prefix, rest, idle, timer: Box::pin(sleep(idle)), waiting: false, record: Some((record, fate)) }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        if let Some(piece) = self.prefix.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match Pin::new(&mut self.rest).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.waiting = false;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => self.broken(),
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
            Poll::Pending => {
                if !self.waiting {
                    self.waiting = true;
                    self.timer.as_mut().reset(Instant::now() + self.idle);
                }
                ready!(self.timer.as_mut().poll(cx));
                self.broken()
            }
        }
    }

    /// The error makes hyper break the client's connection off: never an answer that looks complete and is not.
    fn broken(&mut self) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        if let Some((record, _)) = self.record.take() {
            record.finish(Fate::Broken);
        }
        Poll::Ready(Some(Err(CutShort)))
    }

    fn complete(&mut self) {
        if let Some((record, fate)) = self.record.take() {
            record.finish(fate);
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // With a known length hyper stops asking once the last byte is out.
        if self.prefix.is_empty() && self.rest.is_end_stream() {
            self.complete();
        }
    }
}
