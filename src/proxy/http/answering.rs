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
use crate::http1::{BodyDecoder, Ends, Left, Response, ResponseHead, Writing};

/// What of a request decides how its answer is written.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) keeps_alive: bool,
}

/// An answer that is being written.
pub(super) struct Answering<B> {
    writing: Writing<B>,
    /// Whether the connection can carry another request after it.
    keeps_alive: bool,
    /// While the service is waited for, and not the client.
    waiting: Option<Busy>,
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

// === impl Answering ===

impl<B: Body<Data = Bytes> + Unpin> Answering<B> {
    /// The answer to a request like this, after which the connection ends unless it `may_stay`.
    pub(super) fn new(response: Response<B>, asked: &Asked, may_stay: bool) -> Self {
        let Response { mut head, body } = response;
        let bodiless = head.is_bodiless(&asked.method);
        let ends = if bodiless { Ends::Length(0) } else { frame(&mut head, &body, asked.version) };
        let keeps_alive = may_stay && asked.keeps_alive && head.keeps_alive() && ends != Ends::Close;
        if !keeps_alive || asked.version == Version::HTTP_10 {
            head.fields.remove(&["connection"]);
            head.fields.append("connection", if keeps_alive { b"keep-alive" } else { b"close" });
        }
        let writing = Writing::new(head.written(), Some(body).filter(|_| !bodiless), ends);
        Self { writing, keeps_alive, waiting: None }
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
            let left = self.writing.fill(cx).map_err(|_| Broken::Answer)?;
            let mut line = wire.lock();
            let written = self.writing.poll_write(Pin::new(&mut line.stream), left, cx);
            // What a slow reader takes counts as life, and what nobody takes does not.
            if self.writing.took_some() {
                watch.touch();
            }
            if left != Left::Starved || written.is_pending() {
                self.waiting = None;
            }
            ready!(written)?;
            match left {
                Left::More => {}
                Left::Last => return Poll::Ready(Ok(())),
                Left::Starved => {
                    self.waiting.get_or_insert_with(|| watch.busy());
                    return line.poll_gone(cx).map(|()| Err(Broken::Gone));
                }
            }
        }
    }
}

/// Says in the head where the body ends, where it does not say so already.
fn frame(head: &mut ResponseHead, body: &impl Body, version: Version) -> Ends {
    if head.fields.contains("transfer-encoding") {
        if version == Version::HTTP_11 {
            return Ends::Chunked;
        }
        head.fields.remove(&["transfer-encoding", "trailer"]);
    } else if head.fields.contains("content-length")
        && let Ok(BodyDecoder::Length(length)) = BodyDecoder::of_response(head, &Method::GET)
    {
        return Ends::Length(length);
    }
    match body.size_hint().exact() {
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
