//! The heads of requests and answers.

use bytes::Bytes;
use http::{Method, StatusCode, Version};

use super::error::MalformedHead;
use super::fields::FieldLines;
use super::{FIELD_LIMIT, HEAD_LIMIT};
use crate::batch::fields::Fields;

/// The head of a request.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method, as it was spelled.
    pub method: Method,
    /// The target, as it was written: origin form, absolute form, authority form or `*` (RFC 9112, 3.2).
    pub target: Box<str>,
    /// 1.1, 1.0, or 2 where it was made of such a request.
    pub version: Version,
    /// The fields.
    pub fields: FieldLines,
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The words beside it, where they are not the usual ones.
    pub reason: Option<Bytes>,
    /// 1.1 or 1.0.
    pub version: Version,
    /// The fields.
    pub fields: FieldLines,
}

/// An answer.
#[derive(Debug)]
pub struct Response<B> {
    /// Its head.
    pub head: ResponseHead,
    /// Its body, or what will give it.
    pub body: B,
}

/// How the end of a request's body is known (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Neither length nor coding: there is none.
    Nothing,
    /// By its length in bytes, which may be 0.
    Length(u64),
    /// By its last chunk.
    Chunked,
}

// === impl RequestHead ===

impl RequestHead {
    /// Reads the head that `input` begins with, and tells its length; `None` where it has not come to its end.
    ///
    /// # Errors
    /// It is none, or could be taken in two ways.
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, MalformedHead> {
        let mut fields = [const { std::mem::MaybeUninit::uninit() }; FIELD_LIMIT];
        let mut parsed = httparse::Request::new(&mut []);
        let length = match parsed.parse_with_uninit_headers(input, &mut fields) {
            Ok(httparse::Status::Complete(length)) if length <= HEAD_LIMIT => length,
            Ok(httparse::Status::Partial) if input.len() < HEAD_LIMIT => return Ok(None),
            Ok(_) => return Err(too_long(input)),
            // Who names no protocol speaks none.
            Err(httparse::Error::Version) if !names_version(first_line(input)) => return Err(MalformedHead::RequestLine),
            Err(error) => return Err(error.into()),
        };
        let head = &input[..length];
        check_lines(head)?;
        let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(MalformedHead::RequestLine);
        };
        if target.bytes().fold(false, |bad, byte| bad | (byte <= b' ') | (byte == b'#') | (byte >= 0x7f)) {
            return Err(MalformedHead::Target);
        }
        let fields = FieldLines::new(head, Bytes::copy_from_slice(head), parsed.headers);
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| MalformedHead::RequestLine)?;
        let version = if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
        Ok(Some((Self { method, target: target.into(), version, fields }, length)))
    }

    /// How the end of its body is known.
    ///
    /// # Errors
    /// Two readers could take it in two ways.
    pub fn framing(&self) -> Result<Framing, MalformedHead> {
        let (mut lengths, mut codings) = (self.fields.values("content-length"), self.fields.values("transfer-encoding"));
        match (lengths.next(), codings.next()) {
            (None, None) => Ok(Framing::Nothing),
            (Some(_), Some(_)) => Err(MalformedHead::TwoFramings),
            (Some(length), None) if lengths.next().is_none() => {
                length_of(length).map(Framing::Length).ok_or(MalformedHead::Length)
            }
            (Some(_), None) => Err(MalformedHead::Length),
            (None, Some(coding)) => {
                let understood = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
                let allowed = understood && self.version != Version::HTTP_10;
                if allowed { Ok(Framing::Chunked) } else { Err(MalformedHead::Coding) }
            }
        }
    }

    /// Whether the client wants the connection to stay open after the answer (RFC 9112, 9.3).
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(self.version, &self.fields)
    }

    /// The path of its target; nothing where it has none.
    pub fn path(&self) -> &str {
        let target = &*self.target;
        let from_path = if target.starts_with('/') {
            target
        } else if let Some((_, rest)) = target.split_once("://") {
            rest.find('/').map_or("/", |at| &rest[at..])
        } else {
            ""
        };
        &from_path[..path_len(from_path)]
    }
}

/// The head of a request as it is written, with the empty line that ends it, and room for a small body behind it.
pub fn write_request(method: &Method, target: &str, fields: &FieldLines) -> Vec<u8> {
    let mut out = Vec::with_capacity(fields.written_len() + LINE_BYTES + target.len() + SMALL_BODY_BYTES);
    for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    fields.write_to(&mut out);
    out.extend_from_slice(b"\r\n");
    out
}

/// Where the query begins, or the end.
pub fn path_len(target: &str) -> usize {
    target.bytes().position(|byte| byte == b'?').unwrap_or(target.len())
}

// === impl ResponseHead ===

impl ResponseHead {
    /// A head without fields.
    pub fn new(status: StatusCode) -> Self {
        Self { status, reason: None, version: Version::HTTP_11, fields: FieldLines::default() }
    }

    /// Reads the head that `input` begins with, and tells its length; `None` where it has not come to its end.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, MalformedHead> {
        let mut fields = [const { std::mem::MaybeUninit::uninit() }; FIELD_LIMIT];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let length = match config.parse_response_with_uninit_headers(&mut parsed, input, &mut fields)? {
            httparse::Status::Complete(length) if length <= HEAD_LIMIT => length,
            httparse::Status::Partial if input.len() < HEAD_LIMIT => return Ok(None),
            _ => return Err(MalformedHead::TooLong),
        };
        let head = &input[..length];
        let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(MalformedHead::StatusLine)?;
        let reason = parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason());
        let reason = reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes()));
        let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
        let fields = FieldLines::new(head, Bytes::copy_from_slice(head), parsed.headers);
        Ok(Some((Self { status, reason, version, fields }, length)))
    }

    /// Whether the server keeps the connection open after it.
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(self.version, &self.fields)
    }

    /// Whether there is no body, whatever the fields say: after HEAD, and with 1xx, 204 and 304 (RFC 9112, 6.3).
    pub fn is_bodiless(&self, method: &Method) -> bool {
        method == Method::HEAD
            || self.status.is_informational()
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&self.status)
    }

    /// It as it is written, with the empty line that ends it, and room for a small body behind it.
    pub fn written(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.fields.written_len() + LINE_BYTES + SMALL_BODY_BYTES);
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.as_str().as_bytes());
        out.push(b' ');
        match (&self.reason, self.status.canonical_reason()) {
            (Some(reason), _) => out.extend_from_slice(reason),
            (None, Some(usual)) => out.extend_from_slice(usual.as_bytes()),
            (None, None) => {}
        }
        out.extend_from_slice(b"\r\n");
        self.fields.write_to(&mut out);
        out.extend_from_slice(b"\r\n");
        out
    }
}

// === impl Response ===

impl<B> Response<B> {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The same with another body.
    pub fn map<C>(self, other: impl FnOnce(B) -> C) -> Response<C> {
        Response { head: self.head, body: other(self.body) }
    }
}

impl<B> From<http::Response<B>> for Response<B> {
    fn from(response: http::Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        let fields = FieldLines::from(&parts.headers);
        Self { head: ResponseHead { fields, ..ResponseHead::new(parts.status) }, body }
    }
}

/// The length that a field's value says; digits and nothing else, and no more than a signed number holds.
pub(super) fn length_of(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()?;
    i64::try_from(length).is_ok().then_some(length)
}

fn keeps_alive(version: Version, fields: &FieldLines) -> bool {
    let option = |wanted: &[u8]| {
        let mut options = fields.values("connection").flat_map(|value| value.split(|byte| *byte == b','));
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    if version == Version::HTTP_10 { option(b"keep-alive") && !option(b"close") } else { !option(b"close") }
}

/// Every line ends in CRLF. That no CR stands without its LF was seen to by the parser, so there must be one for each LF.
fn check_lines(head: &[u8]) -> Result<(), MalformedHead> {
    // Summed in bytes, which cannot overflow within so many, so that wide registers can do it.
    let balance =
        |part: &[u8]| part.iter().fold(0_i8, |sum, byte| sum + i8::from(*byte == b'\r') - i8::from(*byte == b'\n'));
    let balanced = head.chunks(127).map(|part| isize::from(balance(part))).sum::<isize>() == 0;
    if balanced { Ok(()) } else { Err(MalformedHead::LineEnd) }
}

/// What is too long of a head that is.
fn too_long(input: &[u8]) -> MalformedHead {
    let start = input[..input.len().min(HEAD_LIMIT)].trim_ascii_start();
    if start.is_empty() || first_line(start).len() < start.len() {
        MalformedHead::TooLong
    } else {
        MalformedHead::TargetTooLong
    }
}

/// Whether a request line is one but for its version.
fn names_version(line: &[u8]) -> bool {
    let mut parts = line.split(|byte| *byte == b' ');
    let version = parts.nth(2).filter(|version| version.starts_with(b"HTTP/"));
    version.is_some() && parts.next().is_none()
}

fn first_line(input: &[u8]) -> &[u8] {
    input.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// A first line, but for a target.
const LINE_BYTES: usize = 64;

/// What most bodies have at most.
const SMALL_BODY_BYTES: usize = 1024;
