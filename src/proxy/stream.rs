//! What the client's connection writes: an answer known whole, or one under way whose end decides the request's fate.
//!
//! Here bytes are carried, and counted where the client was told how many; how an answer that breaks off is continued is in
//! [`super::forward::download`].

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::answer::CutShort;
use super::forward::download::{Continued, Download, Repair};
use crate::upstream::{Pieces, ResponseBody, after_prefix};

/// What the client's connection writes.
#[derive(Debug)]
pub(super) enum AnswerBody {
    Streaming(Box<Stream>),
    Whole { data: Pieces, trailers: Option<HeaderMap> },
}

/// An answer under way. Its end decides the request's fate.
pub(super) struct Stream {
    prefix: VecDeque<Bytes>,
    state: State,
    /// What is left of the length that the client was told.
    owed: Option<u64>,
    timer: Pin<Box<Sleep>>,
    /// The timer runs only while the service is waited for, not while the client is.
    waiting: bool,
}

/// Where a stream stands.
enum State {
    Broken(Repair),
    Flowing { download: Box<Download>, rest: ResponseBody },
    Over,
}

/// What comes next of an answer that flows.
enum Next {
    Break,
    End,
    Frame(Frame<Bytes>),
}

// === impl AnswerBody ===

impl AnswerBody {
    /// A body known whole.
    pub(super) fn whole(data: Bytes) -> Self {
        Self::Whole { data: data.into(), trailers: None }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        match self.get_mut() {
            Self::Streaming(stream) => stream.poll_frame(cx),
            Self::Whole { data, trailers } => {
                if let Some(piece) = data.pop() {
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Poll::Ready(trailers.take().map(|fields| Ok(Frame::trailers(fields))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streaming(stream) => stream.is_complete(),
            Self::Whole { data, trailers } => data.is_empty() && trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streaming(stream) => stream.owed.map_or_else(SizeHint::new, SizeHint::with_exact),
            Self::Whole { data, .. } => SizeHint::with_exact(data.len()),
        }
    }
}

// === impl Stream ===

impl Stream {
    /// Delivers what was read so far and then the rest.
    pub(super) fn new(prefix: VecDeque<Bytes>, rest: ResponseBody, download: Box<Download>) -> Self {
        let read = prefix.iter().map(|piece| piece.len() as u64).sum();
        let owed = after_prefix(read, &rest.size_hint()).exact();
        let timer = Box::pin(sleep(download.idle()));
        Self { prefix, state: State::Flowing { download, rest }, owed, timer, waiting: false }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        loop {
            let next = match &mut self.state {
                State::Over => return Poll::Ready(None),
                State::Flowing { .. } => ready!(self.poll_next(cx)),
                State::Broken(repair) => match ready!(repair.as_mut().poll(cx)) {
                    Ok(Continued { download, piece, rest }) => {
                        self.prefix.extend(Some(piece).filter(|piece| !piece.is_empty()));
                        self.state = State::Flowing { download, rest };
                        continue;
                    }
                    // The error breaks the client's connection off: never an answer that looks complete and is not.
                    Err(cut_short) => {
                        self.state = State::Over;
                        return Poll::Ready(Some(Err(cut_short)));
                    }
                },
            };
            if let Next::Frame(frame) = next {
                if frame.is_trailers() {
                    // Over HTTP/2 nobody asks for more.
                    self.finish();
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            // What is left of the answer is dropped here, and its connection with it. The next one may pause anew.
            self.waiting = false;
            let State::Flowing { download, .. } = std::mem::replace(&mut self.state, State::Over) else { continue };
            match next {
                Next::Break => self.state = State::Broken(download.repair()),
                Next::End if self.owed.is_some_and(|owed| owed > 0) => {
                    download.ended_early();
                    return Poll::Ready(Some(Err(CutShort)));
                }
                Next::End | Next::Frame(_) => download.finish(),
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let State::Flowing { download, rest } = &mut self.state else { return Poll::Ready(Next::End) };
        if self.owed == Some(0) {
            return Poll::Ready(Next::End);
        }
        let frame = match self.prefix.pop_front() {
            Some(piece) => Frame::data(piece),
            None => match Pin::new(rest).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Next::Break),
                Poll::Ready(None) => return Poll::Ready(Next::End),
                Poll::Pending => {
                    if !self.waiting {
                        self.waiting = true;
                        self.timer.as_mut().reset(Instant::now() + download.idle());
                    }
                    ready!(self.timer.as_mut().poll(cx));
                    return Poll::Ready(Next::Break);
                }
            },
        };
        self.waiting = false;
        let mut piece = match frame.into_data() {
            Ok(piece) => piece,
            Err(_) if self.owed.is_some() => return Poll::Ready(Next::End),
            Err(trailers) => return Poll::Ready(Next::Frame(trailers)),
        };
        if let Some(owed) = &mut self.owed {
            // A file that grew is longer than the client was told.
            piece.truncate(usize::try_from(*owed).unwrap_or(usize::MAX));
            *owed -= piece.len() as u64;
        }
        download.deliver(&piece);
        Poll::Ready(Next::Frame(Frame::data(piece)))
    }

    /// The end was delivered.
    fn finish(&mut self) {
        if let State::Flowing { download, .. } = std::mem::replace(&mut self.state, State::Over) {
            download.finish();
        }
    }

    fn is_complete(&self) -> bool {
        match (&self.state, self.owed) {
            (State::Flowing { .. }, Some(owed)) => owed == 0,
            (State::Flowing { rest, .. }, None) => self.prefix.is_empty() && rest.is_end_stream(),
            (State::Over, _) => true,
            (State::Broken(_), _) => false,
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
        // With a known length HTTP/2 stops asking once the last byte is out.
        if self.is_complete() {
            self.finish();
        }
    }
}
