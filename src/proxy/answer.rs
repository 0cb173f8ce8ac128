//! Answers: read whole before the client sees a byte, so that one cut short can be replayed. What is too large for that goes on in
//! [`super::stream`].

use std::collections::VecDeque;
use std::io::{BufReader, Read};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt;
use serde::de::IgnoredAny;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::exchange::Exchange;
use super::forward::Forwarder;
use super::forward::download::Download;
use super::memory::{Full, Kept, Memory};
use super::stream::{AnswerBody, Stream};
use crate::batch::coding::Coding;
use crate::batch::fault;
use crate::batch::fields::{Fields, visible};
use crate::http1::{Response, ResponseHead};
use crate::metrics::labels::{Fate, UnheldReason};
use crate::upstream::{Pieces, ResponseBody};

/// An answer as far as it was read.
#[derive(Debug)]
pub(super) enum Answer {
    /// Larger than the buffer, or a file that takes its time: the rest comes as it comes.
    Streaming { head: ResponseHead, prefix: VecDeque<Bytes>, rest: ResponseBody },
    /// All of it.
    Whole { head: ResponseHead, data: Pieces, trailers: Option<HeaderMap> },
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
    /// Reads `response` until it ends, `limits` say to stream it, or `memory` is used up.
    ///
    /// # Errors
    /// The body broke off, paused for too long, or is JSON that does not end.
    pub(super) async fn read(
        response: Response<ResponseBody>,
        limits: ReadLimits,
        memory: &Memory,
    ) -> Result<Self, CutShort> {
        let Response { head, mut body } = response;
        let ends_by_close = body.ends_by_close();
        let expected = body.size_hint().lower();
        if expected > limits.buffer {
            return Ok(Self::Streaming { head, prefix: VecDeque::new(), rest: body });
        }
        let mut kept = memory.for_answer(expected);
        let mut trailers = None;
        loop {
            let silent_at = Instant::now() + limits.idle;
            let frame = match timeout_at(silent_at.min(limits.stream_at), body.frame()).await {
                Ok(Some(frame)) => frame.map_err(|_| CutShort)?,
                Ok(None) => break,
                Err(_) if limits.stream_at < silent_at => return Ok(Self::streaming(head, kept, Bytes::new(), body)),
                Err(_) => return Err(CutShort),
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    trailers = frame.into_trailers().ok();
                    continue;
                }
            };
            if kept.len() + data.len() as u64 > limits.buffer {
                return Ok(Self::streaming(head, kept, data, body));
            }
            if let Err(Full(data)) = kept.push(data) {
                memory.unheld(UnheldReason::Memory);
                return Ok(Self::streaming(head, kept, data, body));
            }
        }
        let data = kept.into_pieces();
        if ends_by_close && is_unfinished_json(&head.fields, &data) {
            return Err(CutShort);
        }
        Ok(Self::Whole { head, data, trailers })
    }

    /// An answer of which all is here.
    pub(super) fn whole(head: ResponseHead, data: Bytes) -> Self {
        Self::Whole { head, data: data.into(), trailers: None }
    }

    /// The body in one piece, where all of it is here.
    pub(super) fn data(&self) -> Option<Bytes> {
        match self {
            Self::Streaming { .. } => None,
            Self::Whole { data, .. } => Some(data.join()),
        }
    }

    /// The body unpacked, where all of it is here and its coding is understood.
    pub(super) fn plain(&self) -> Option<Box<dyn Read>> {
        match self {
            Self::Streaming { .. } => None,
            Self::Whole { head, data, .. } => plain(&head.fields, data),
        }
    }

    /// The answer's head.
    pub(super) fn head(&self) -> &ResponseHead {
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
        let encoding = head.fields.text("content-encoding");
        fault::code(&data.start(fault::PREFIX_LIMIT), encoding)
    }

    fn streaming(head: ResponseHead, kept: Kept, next: Bytes, rest: ResponseBody) -> Self {
        let mut prefix = kept.into_pieces();
        prefix.push(next);
        Self::Streaming { head, prefix: prefix.into_inner(), rest }
    }

    /// The head alone.
    pub(super) fn into_head(self) -> ResponseHead {
        match self {
            Self::Streaming { head, .. } | Self::Whole { head, .. } => head,
        }
    }

    /// The answer for the client. Its record ends now, or with the stream.
    pub(super) fn into_response(self, forwarder: &Forwarder, exchange: Box<Exchange>, fate: Fate) -> Response<AnswerBody> {
        match self {
            Self::Whole { head, data, trailers } => {
                exchange.record.finish(fate);
                Response { head, body: AnswerBody::Whole { data, trailers } }
            }
            Self::Streaming { head, prefix, rest } => {
                let download = Box::new(Download::begin(forwarder, exchange, &head, fate));
                Response { head, body: AnswerBody::Streaming(Box::new(Stream::new(prefix, rest, download))) }
            }
        }
    }
}

/// Whether this says that it is JSON and does not end. What is coded in a way that cannot be read here is taken for finished.
fn is_unfinished_json(fields: &impl Fields, data: &Pieces) -> bool {
    let media_type = fields.text("content-type").unwrap_or_default().trim();
    if !media_type.to_ascii_lowercase().starts_with("application/json") {
        return false;
    }
    // Nothing is not even a gzip stream, and nobody's loss.
    !data.is_empty() && plain(fields, data).is_some_and(is_unfinished)
}

/// What `data` is once unpacked, where its coding is understood.
fn plain(fields: &impl Fields, data: &Pieces) -> Option<Box<dyn Read>> {
    let coding = match fields.value("content-encoding") {
        None => None,
        Some(coding) => Some(visible(coding)?),
    };
    Some(match Coding::of(coding)? {
        Coding::Identity => Box::new(data.reader()),
        Coding::Gzip => Box::new(MultiGzDecoder::new(data.reader())),
    })
}

/// Whether JSON does not end. No text at all, and a byte order mark before it, are nobody's loss.
fn is_unfinished(text: impl Read) -> bool {
    let mut text = text.take(INFLATED_LIMIT);
    let mut first = Vec::new();
    if text.by_ref().take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut first).is_err() {
        return true;
    }
    let start = first.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&first);
    if first.is_empty() {
        return false;
    }
    let mut text = start.chain(BufReader::new(text));
    let ended = serde_json::from_reader::<_, IgnoredAny>(&mut text).is_ok();
    // Past the limit nobody knows, and nothing is known to be missing.
    !ended && text.get_ref().1.get_ref().limit() > 0
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is looked through at most, so that a small body cannot become endless work.
const INFLATED_LIMIT: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http::HeaderValue;
    use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut coder = GzEncoder::new(Vec::new(), Compression::fast());
        coder.write_all(plain).unwrap();
        coder.finish().unwrap()
    }

    fn unfinished(kind: &'static str, coding: &'static str, body: &[u8]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if !coding.is_empty() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        let mut pieces = Pieces::default();
        body.chunks(2).for_each(|piece| pieces.push(Bytes::copy_from_slice(piece)));
        is_unfinished_json(&headers, &pieces)
    }

    #[test]
    fn json_is_unfinished_only_where_something_is_missing() {
        for (json, want) in [
            (&b"{\"value\":[]}"[..], false),
            (b"{\"value\":[]}\r\n", false),
            (b"\xef\xbb\xbf{}", false),
            (b"\xef\xbb\xbf", true),
            (b"", false),
            (b"{\"value\":[{\"id\":", true),
            (b"{\"value\":[]", true),
            (b"{", true),
            (b"{}}", true),
        ] {
            let text = String::from_utf8_lossy(json);
            assert_eq!(unfinished("application/json;odata=minimalmetadata", "", json), want, "{text}");
            assert_eq!(unfinished("Application/JSON", "gzip", &gzip(json)), want, "{text} in gzip");
            assert!(!unfinished("text/plain", "", json), "{text} as text");
            assert!(!unfinished("application/json", "br", json), "{text} in an unknown coding");
        }
    }

    #[test]
    fn a_coded_answer_is_unfinished_where_its_coding_is() {
        let whole = gzip(b"{\"value\":[]}");
        assert!(!unfinished("application/json", "gzip", b""));
        for cut in 1..whole.len() {
            assert!(unfinished("application/json", "gzip", &whole[..cut]), "{cut} bytes");
        }
    }

    /// Here is more than is looked at: nobody can say that something is missing.
    #[test]
    fn an_answer_that_inflates_without_end_is_taken_for_finished() {
        let long = std::io::repeat(b' ').take(2 * INFLATED_LIMIT);
        assert!(!is_unfinished((&b"["[..]).chain(long)));
        assert!(is_unfinished((&b"["[..]).chain(std::io::repeat(b' ').take(100))));
    }
}
