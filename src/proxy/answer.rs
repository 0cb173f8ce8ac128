//! Answers: read whole before the client sees a byte, so that one cut short can be replayed. What is too large for that goes on in
//! [`super::stream`].

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::IgnoredAny;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::exchange::Exchange;
use super::forward::Forwarder;
use super::forward::download::Download;
use super::stream::{AnswerBody, Stream};
use crate::batch::fault;
use crate::metrics::labels::Fate;

/// An answer as far as it was read.
#[derive(Debug)]
pub(super) enum Answer {
    /// Larger than the buffer, or a file that takes its time: the rest comes as it comes.
    Streaming { head: Parts, prefix: VecDeque<Bytes>, rest: Incoming },
    /// All of it.
    Whole { head: Parts, data: Bytes, trailers: Option<HeaderMap> },
}

/// An answer that began and did not end.
#[derive(Debug, Error)]
#[error("the answer was cut short")]
pub(super) struct CutShort;

/// How an answer is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadLimits {
    /// The most that is read before the client sees a byte.
    pub(super) buffer: u64,
    /// The longest pause.
    pub(super) idle: Duration,
    /// When the client sees what there is in any case.
    pub(super) stream_at: Instant,
}

// === impl Answer ===

impl Answer {
    /// Reads `response` until it ends or `limits` say to stream it.
    ///
    /// # Errors
    /// The body broke off, paused for too long, or is JSON that does not end.
    pub(super) async fn read(response: Response<Incoming>, method: &Method, limits: ReadLimits) -> Result<Self, CutShort> {
        let (head, mut body) = response.into_parts();
        let mut prefix = VecDeque::new();
        if body.size_hint().lower() > limits.buffer {
            return Ok(Self::Streaming { head, prefix, rest: body });
        }
        let mut total = 0;
        let mut trailers = None;
        loop {
            let silent_at = Instant::now() + limits.idle;
            let frame = match timeout_at(silent_at.min(limits.stream_at), body.frame()).await {
                Ok(Some(frame)) => frame.map_err(|_| CutShort)?,
                Ok(None) => break,
                Err(_) if limits.stream_at < silent_at => return Ok(Self::Streaming { head, prefix, rest: body }),
                Err(_) => return Err(CutShort),
            };
            match frame.into_data() {
                Ok(data) => {
                    total += data.len() as u64;
                    prefix.push_back(data);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
            if total > limits.buffer {
                return Ok(Self::Streaming { head, prefix, rest: body });
            }
        }
        let data = join(prefix);
        if ends_by_close(method, &head) && is_json(&head.headers) && is_unfinished(&data) {
            return Err(CutShort);
        }
        Ok(Self::Whole { head, data, trailers })
    }

    /// An answer of which all is here.
    pub(super) fn whole(head: Parts, data: Bytes) -> Self {
        Self::Whole { head, data, trailers: None }
    }

    /// The body, where all of it is here.
    pub(super) fn data(&self) -> Option<&Bytes> {
        match self {
            Self::Streaming { .. } => None,
            Self::Whole { data, .. } => Some(data),
        }
    }

    /// The answer's head.
    pub(super) fn head(&self) -> &Parts {
        match self {
            Self::Streaming { head, .. } | Self::Whole { head, .. } => head,
        }
    }

    /// The `code` of a Batch error body.
    pub(super) fn fault(&self) -> Option<String> {
        let Self::Whole { head, data, .. } = self else { return None };
        if head.status.as_u16() < 400 {
            return None;
        }
        let encoding = head.headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        fault::code(&data[..data.len().min(fault::PREFIX_LIMIT)], encoding)
    }

    /// The head alone.
    pub(super) fn into_head(self) -> Parts {
        match self {
            Self::Streaming { head, .. } | Self::Whole { head, .. } => head,
        }
    }

    /// The answer for the client. Its record ends now, or with the stream.
    pub(super) fn into_response(self, forwarder: &Forwarder, exchange: Exchange, fate: Fate) -> Response<AnswerBody> {
        match self {
            Self::Whole { head, data, trailers } => {
                exchange.record.finish(fate);
                Response::from_parts(head, AnswerBody::Whole { data, trailers })
            }
            Self::Streaming { head, prefix, rest } => {
                let download = Box::new(Download::begin(forwarder, exchange, &head, fate));
                Response::from_parts(head, AnswerBody::Streaming(Box::new(Stream::new(prefix, rest, download))))
            }
        }
    }
}

/// The pieces as one; the usual single piece is not copied.
fn join(mut pieces: VecDeque<Bytes>) -> Bytes {
    if pieces.len() <= 1 {
        return pieces.pop_front().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in &pieces {
        whole.extend_from_slice(piece);
    }
    whole.freeze()
}

/// Whether only the end of the connection marks the end of the body: no proof that it is complete.
fn ends_by_close(method: &Method, head: &Parts) -> bool {
    let bodiless = method == Method::HEAD || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
    !bodiless && !head.headers.contains_key(CONTENT_LENGTH) && !head.headers.contains_key(TRANSFER_ENCODING)
}

/// Whether JSON does not end. No text at all, and a byte order mark before it, are nobody's loss.
fn is_unfinished(json: &[u8]) -> bool {
    let text = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    !text.is_empty() && serde_json::from_slice::<IgnoredAny>(text).is_err()
}

fn is_json(headers: &HeaderMap) -> bool {
    let json = |value: &str| value.trim_start().to_ascii_lowercase().starts_with("application/json");
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(json)
        && !headers.contains_key(CONTENT_ENCODING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_unfinished_only_where_something_is_missing() {
        for (json, want) in [
            (&b"{\"value\":[]}"[..], false),
            (b"{\"value\":[]}\r\n", false),
            (b"\xef\xbb\xbf{}", false),
            (b"", false),
            (b"{\"value\":[{\"id\":", true),
            (b"{\"value\":[]", true),
            (b"{}}", true),
        ] {
            assert_eq!(is_unfinished(json), want, "{}", String::from_utf8_lossy(json));
        }
    }
}
