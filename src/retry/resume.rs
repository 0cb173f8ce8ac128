//! Whether one answer goes on where another to the same request broke off, and how many tries a broken download has.
//!
//! The same signed request brings the answer from its beginning, so a client can be given the rest of it only if what it already has is how
//! this one begins too. The heads are compared here, which can only rule that out. The proof is a hash of the bytes, asked for also where `ETag`
//! and `Last-Modified` agree, and making it is [`crate::proxy`]'s task.
//!
//! In doubt the answer is another one. A connection broken off makes the client ask again; a splice that is wrong goes unnoticed.

use http::{Method, StatusCode};

use crate::batch::fields::{Fields, visible};
use crate::batch::operation::Idempotency;

use super::policy::Replayable;
use super::subject::Subject;

/// What an answer's head says of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    status: StatusCode,
    media_type: Vec<Box<[u8]>>,
    codings: Vec<Box<[u8]>>,
    length: Option<u64>,
    /// Whether the end will be told from a lost connection.
    framed: bool,
}

/// How often a download was sent since it last came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    count: u32,
    delivered: u64,
}

// === impl Content ===

impl Content {
    /// Reads an answer's head.
    pub fn of(status: StatusCode, headers: &impl Fields) -> Self {
        let all = |name| headers.values(name).map(Into::into).collect();
        let chunked = headers.value("transfer-encoding").is_some();
        let announced = headers.value("content-length").and_then(|value| visible(value)?.trim().parse().ok());
        let length = announced.filter(|_| !chunked);
        Self {
            status,
            media_type: all("content-type"),
            codings: all("content-encoding"),
            length,
            framed: chunked || length.is_some(),
        }
    }

    /// Whether the rest of this answer may be had by sending the request again, should it break off: only of a whole one to a GET that
    /// changes nothing.
    pub fn is_resumable(&self, method: &Method, subject: &Subject, body: Replayable) -> bool {
        method == Method::GET
            && subject.idempotency() == Idempotency::Safe
            && body == Replayable::Held
            && self.status == StatusCode::OK
    }

    /// Whether `again` may be what this answer, which broke off after `delivered` bytes, goes on in: the same content, or a file that grew.
    pub fn may_go_on_in(&self, again: &Self, delivered: u64) -> bool {
        let alike = self.status == again.status && self.media_type == again.media_type && self.codings == again.codings;
        // What ends by close may be cut short unnoticed, unless the bytes still owed are counted.
        let proves_its_end = again.framed || !self.framed || self.length.is_some();
        let long_enough = again.length.is_none_or(|length| length >= self.length.unwrap_or(delivered));
        // The client was promised so many bytes and gets no more. Of a file that grew they are the beginning; of packed content they are half a
        // stream.
        let whole = self.codings.is_empty() || self.length.is_none() || again.length == self.length;
        alike && proves_its_end && long_enough && whole
    }
}

// === impl Tries ===

impl Tries {
    /// A download whose answer began with the `sent`th send.
    pub fn begun(sent: u32) -> Self {
        Self { count: sent, delivered: 0 }
    }

    /// Notes that it broke off after `delivered` bytes. Bytes that are new show that trying helps: the send that brought them is then the
    /// first of a new count, and the caller gives a new deadline. Returns whether there were any.
    pub fn broke(&mut self, delivered: u64) -> bool {
        let came_on = delivered > self.delivered;
        if came_on {
            *self = Self { count: 1, delivered };
        }
        came_on
    }

    /// Notes another send.
    pub fn sent(&mut self) {
        self.count = self.count.saturating_add(1);
    }

    /// The sends that count.
    pub fn count(self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    const TAG: (&str, &str) = ("etag", "\"1\"");
    const DATE: (&str, &str) = ("last-modified", "Mon, 23 Nov 2026 03:40:00 GMT");
    const CHUNKED: (&str, &str) = ("transfer-encoding", "chunked");
    const GZIP: (&str, &str) = ("content-encoding", "gzip");
    const L9: (&str, &str) = ("content-length", "9");
    const L10: (&str, &str) = ("content-length", "10");
    const L11: (&str, &str) = ("content-length", "11");

    fn content(status: u16, fields: &[(&'static str, &'static str)]) -> Content {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Content::of(StatusCode::from_u16(status).unwrap(), &headers)
    }

    /// All after 5 delivered bytes.
    #[test]
    fn an_answer_continues_another_unless_something_speaks_against_it() {
        for (first, again, want) in [
            (&[TAG, DATE, L10][..], &[TAG, DATE, L10][..], true),
            (&[TAG, DATE, CHUNKED], &[TAG, DATE, CHUNKED], true),
            (&[TAG, DATE, L10], &[TAG, DATE, CHUNKED], true),
            (&[TAG, DATE, CHUNKED], &[TAG, DATE, L10], true),
            // A tag or a date is missing, weak or different: the bytes tell.
            (&[TAG, L10], &[TAG, L10], true),
            (&[DATE, L10], &[DATE, L10], true),
            (&[TAG, DATE, L10], &[TAG, L10], true),
            (&[("etag", "W/\"1\""), DATE, L10], &[("etag", "W/\"1\""), DATE, L10], true),
            (&[TAG, DATE, L10], &[("etag", "\"2\""), DATE, L10], true),
            (&[TAG, DATE, L10], &[TAG, ("last-modified", "Mon, 23 Nov 2026 03:40:01 GMT"), L10], true),
            (&[L10], &[L10], true),
            // Longer is what a file that grew is.
            (&[TAG, DATE, L10], &[("etag", "\"2\""), DATE, L11], true),
            (&[L10], &[CHUNKED], true),
            (&[CHUNKED], &[L10], true),
            (&[TAG, DATE, L10], &[TAG, DATE, L11], true),
            // Shorter than promised, or than what the client has.
            (&[L10], &[L9], false),
            (&[TAG, DATE, L10], &[TAG, DATE, L9], false),
            (&[CHUNKED], &[("content-length", "5")], true),
            (&[CHUNKED], &[("content-length", "4")], false),
            // Packed content is not cut.
            (&[TAG, DATE, L10, GZIP], &[TAG, DATE, L10, GZIP], true),
            (&[CHUNKED, GZIP], &[CHUNKED, GZIP], true),
            (&[L10, GZIP], &[L11, GZIP], false),
            (&[L10, GZIP], &[CHUNKED, GZIP], false),
            (&[TAG, DATE, L10, GZIP], &[TAG, DATE, L10], false),
            (&[TAG, DATE, L10], &[TAG, DATE, L10, GZIP], false),
            // Another type is another thing.
            (&[TAG, DATE, L10, ("content-type", "text/plain")], &[TAG, DATE, L10, ("content-type", "text/html")], false),
            (&[TAG, DATE, L10, ("content-type", "text/plain")], &[TAG, DATE, L10], false),
            // An end that proves nothing, where the first one's would have.
            (&[CHUNKED], &[], false),
            (&[TAG, DATE, CHUNKED], &[TAG, DATE], false),
            (&[L10], &[], true),
            (&[], &[], true),
            (&[], &[CHUNKED], true),
        ] {
            assert_eq!(content(200, first).may_go_on_in(&content(200, again), 5), want, "{first:?} {again:?}");
        }
        for status in [206, 304, 404] {
            let again = content(status, &[TAG, DATE, L10]);
            assert!(!content(200, &[TAG, DATE, L10]).may_go_on_in(&again, 5), "{status}");
        }
    }

    #[test]
    fn only_whole_answers_to_gets_can_be_had_again() {
        let file = "/jobs/j/tasks/t/files/f";
        for (method, path, body, status, want) in [
            (Method::GET, file, Replayable::Held, 200, true),
            (Method::GET, "/jobs", Replayable::Held, 200, true),
            (Method::GET, "/unheard/of", Replayable::Held, 200, true),
            (Method::GET, file, Replayable::Streamed, 200, false),
            (Method::GET, file, Replayable::Held, 206, false),
            (Method::GET, file, Replayable::Held, 304, false),
            (Method::GET, file, Replayable::Held, 404, false),
            (Method::HEAD, file, Replayable::Held, 200, false),
            (Method::POST, "/pools/p/evaluateautoscale", Replayable::Held, 200, false),
            (Method::POST, "/jobs", Replayable::Held, 200, false),
        ] {
            let subject = Subject::of(&method, path);
            assert_eq!(content(status, &[]).is_resumable(&method, &subject, body), want, "{method} {path} {status}");
        }
    }

    #[test]
    fn new_bytes_start_a_new_count_of_tries() {
        let mut tries = Tries::begun(3);
        assert!(!tries.broke(0), "a break before the first byte goes on counting");
        assert_eq!(tries.count(), 3);
        tries.sent();
        assert!(tries.broke(10));
        assert_eq!(tries.count(), 1);
        tries.sent();
        tries.sent();
        assert!(!tries.broke(10));
        assert_eq!(tries.count(), 3);
        assert!(tries.broke(11));
        assert_eq!(tries.count(), 1);
    }
}
