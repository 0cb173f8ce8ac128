//! Answers as values, in the shapes Batch gives them: success chunked, even where it is empty, errors with a length.
//!
//! Source of the error body: the Batch status and error codes page of the REST reference, and bodies quoted in public issues.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

/// What is sent back for a request that is answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) framing: Framing,
    /// Whether the account is not what it was before.
    pub(super) changed: bool,
}

/// How an answer's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By a last chunk.
    Chunked,
    /// By a length: of the body, or, of an answer to HEAD, as its headers say.
    Sized,
}

/// Why the account does not do what is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: &'static str,
    /// Details, as in the body's `values`.
    pub(super) values: Vec<(&'static str, String)>,
}

// === impl Answer ===

impl Answer {
    /// A success without content.
    pub(super) fn empty(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        let framing = if status == StatusCode::NO_CONTENT { Framing::Sized } else { Framing::Chunked };
        Self { status, headers: HeaderMap::new(), body: Bytes::new(), framing, changed: false }
    }

    /// A success with a JSON body.
    pub(super) fn json(body: &Value) -> Self {
        let mut answer = Self::empty(200).with("content-type", JSON);
        answer.body = Bytes::from(body.to_string());
        answer
    }

    /// The same answer with one more header; a value that cannot be one is left out.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// The same answer to a request that changed something.
    pub(super) fn changing(mut self) -> Self {
        self.changed = true;
        self
    }

    /// The error answer for a refusal.
    pub(super) fn refused(refusal: &Refusal, base: &str, request_id: &str, time: &str) -> Self {
        let message = format!("{}\nRequestId:{request_id}\nTime:{time}", refusal.message);
        let mut body = json!({
            "odata.metadata": format!("{base}/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element"),
            "code": refusal.code,
            "message": { "lang": "en-US", "value": message },
        });
        if !refusal.values.is_empty() {
            let values = refusal.values.iter().map(|(key, value)| json!({ "key": key, "value": value }));
            body["values"] = values.collect();
        }
        let mut answer = Self::empty(refusal.status).with("content-type", JSON);
        answer.framing = Framing::Sized;
        // A 304 has no body by its definition.
        if answer.status != StatusCode::NOT_MODIFIED {
            answer.body = Bytes::from(body.to_string());
        }
        answer
    }
}

// === impl Refusal ===

impl Refusal {
    /// The body is no JSON object.
    pub(super) const INVALID_BODY: Self =
        Self::new(400, "InvalidRequestBody", "The specified Request Body is not syntactically valid.");
    /// A name in the body or query that is needed and missing is told in `values`.
    pub(super) const MISSING_PARAMETER: Self = Self::new(
        400,
        "MissingRequiredQueryParameter",
        "A query parameter that's mandatory for this request is not specified.",
    );
    /// A property that is needed and missing.
    pub(super) const MISSING_PROPERTY: Self =
        Self::new(400, "MissingRequiredProperty", "A required property was not specified in the request body.");

    /// A refusal without details.
    pub(super) const fn new(status: u16, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message, values: Vec::new() }
    }

    /// The same refusal with one more detail.
    pub(super) fn telling(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.values.push((key, value.into()));
        self
    }
}

const JSON: &str = "application/json;odata=minimalmetadata";
