//! An answer on its way to the client.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Version};
use http_body::Body;
use thiserror::Error;
use tokio::io::{AsyncBufRead, AsyncWrite};

use super::super::watch::{Busy, Watch};
use super::wire::Wire;
use crate::batch::fields::Fields;
use crate::http1::{BodyDecoder, Outbox, Response, ResponseHead};

/// What of a request decides how its answer is written.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) keeps_alive: bool,
}

/// An answer that is being written.
pub(super) struct Writing<B> {
    outbox: Outbox,
    body: Option<B>,
    ends: Ends,
    /// Whether the connection can carry another request after it.
    keeps_alive: bool,
    unflushed: bool,
    /// While the service is waited for, and not the client.
    waiting: Option<Busy>,
}

/// How the client knows where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Chunked,
    Close,
    /// So many bytes are owed.
    Length(u64),
}

/// An answer that does not come to its end, and its connection with it.
#[derive(Debug, Error)]
pub(super) enum Broken {
    #[error("the answer broke off")]
    Answer,
    #[error("the client hung up")]
    Gone,
    #[error(transparent)]
    Stream(#[from] io::Error),
}

// === impl Writing ===

impl<B: Body<Data = Bytes> + Unpin> Writing<B> {
    /// The answer to a request like this, after which the connection ends unless it `may_stay`.
    pub(super) fn new(response: Response<B>, asked: &Asked, may_stay: bool) -> Self {
        let Response { mut head, body } = response;
        let bodiless = head.is_bodiless(&asked.method);
        let ends = if bodiless { Ends::Length(0) } else { frame(&mut head, &body, asked.version) };
        let keeps_alive = may_stay && asked.keeps_alive && head.keeps_alive() && ends != Ends::Close;
        if !keeps_alive {
            head.fields.remove(&["connection"]);
            head.fields.append("connection", b"close");
        } else if asked.version == Version::HTTP_10 {
            head.fields.remove(&["connection"]);
            head.fields.append("connection", b"keep-alive");
        }
        // A small body fits in behind it.
        let mut start = Vec::with_capacity(head.fields.written_len() + 1024 + 64);
        head.write_to(&mut start);
        let body = Some(body).filter(|_| !bodiless);
        Self { outbox: Outbox::new(start), body, ends, keeps_alive, unflushed: true, waiting: None }
    }

    pub(super) fn keeps_alive(&self) -> bool {
        self.keeps_alive
    }

    /// Ready once all of it has left. The connection is locked only while it is written to: the body may have to do with what is left of the
    /// request, which is read from there too.
    pub(super) fn poll<S>(&mut self, wire: &Wire<S>, watch: &Arc<Watch>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>
    where
        S: AsyncBufRead + AsyncWrite + Unpin,
    {
        loop {
            let starved = self.fill(cx)?;
            if !starved {
                self.waiting = None;
            }
            let mut line = wire.lock();
            while !self.outbox.is_empty() {
                let count = ready!(Pin::new(&mut line.stream).poll_write(cx, self.outbox.next()))?;
                if count == 0 {
                    return Poll::Ready(Err(Broken::Gone));
                }
                self.outbox.advance(count);
                self.unflushed = true;
                // What a slow reader takes counts as life, and what nobody takes does not.
                watch.touch();
            }
            if self.body.is_some() && !starved {
                continue;
            }
            if self.unflushed {
                ready!(Pin::new(&mut line.stream).poll_flush(cx))?;
                self.unflushed = false;
            }
            if !starved {
                return Poll::Ready(Ok(()));
            }
            if self.waiting.is_none() {
                self.waiting = Some(watch.busy());
            }
            return line.poll_gone(cx).map(|()| Err(Broken::Gone));
        }
    }

    /// Takes from the body what fits. Whether nothing more is there for now.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        while let Some(body) = &mut self.body
            && !self.outbox.is_full()
        {
            let trailers = match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Some(Err(_))) => return Err(Broken::Answer),
                Poll::Ready(None) => None,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        self.push(data)?;
                        continue;
                    }
                    Err(frame) => frame.into_trailers().ok(),
                },
            };
            match self.ends {
                Ends::Chunked => self.outbox.end(trailers.as_ref()),
                Ends::Length(owed) if owed > 0 => return Err(Broken::Answer),
                Ends::Close | Ends::Length(_) => {}
            }
            self.body = None;
        }
        Ok(false)
    }

    fn push(&mut self, data: Bytes) -> Result<(), Broken> {
        if let Ends::Length(owed) = &mut self.ends {
            // Never more than was announced: it would be taken for the next answer.
            *owed = owed.checked_sub(data.len() as u64).ok_or(Broken::Answer)?;
        }
        self.outbox.push(data, self.ends == Ends::Chunked);
        Ok(())
    }
}

/// Says in the head where the body ends, where it does not say so already.
fn frame(head: &mut ResponseHead, body: &impl Body, version: Version) -> Ends {
    let exact = body.size_hint().exact();
    if head.fields.contains("transfer-encoding") {
        if version == Version::HTTP_11 {
            return Ends::Chunked;
        }
        head.fields.remove(&["transfer-encoding", "trailer"]);
    } else if head.fields.value("content-length").is_some()
        && let Ok(BodyDecoder::Length(length)) = BodyDecoder::of_response(head, &Method::GET)
    {
        return Ends::Length(length);
    }
    match exact {
        Some(length) => {
            head.fields.append("content-length", length.to_string().as_bytes());
            Ends::Length(length)
        }
        None if version == Version::HTTP_11 => {
            head.fields.append("transfer-encoding", b"chunked");
            Ends::Chunked
        }
        None => Ends::Close,
    }
}
