//! What is wrong with a message, in words that its sender can act on.

use thiserror::Error;

/// A head that is none, or could be read in two ways.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{}", self.as_str())]
pub enum MalformedHead {
    /// RFC 9112, 2.2: a line ends in CRLF, and in neither half of it alone.
    LineEnd,
    /// RFC 9112, 3: no method, or one that is no token.
    RequestLine,
    /// RFC 9112, 3.2: a target with blanks, control characters, a fragment, or bytes that are not ASCII.
    Target,
    /// RFC 9112, 2.3: neither HTTP/1.1 nor HTTP/1.0.
    Version,
    /// RFC 9112, 4: a status line that is none.
    StatusLine,
    /// RFC 9112, 5.1 and 5.2: a name that is no token, white space before the colon, or a folded line.
    FieldName,
    /// RFC 9110, 5.5: a control character.
    FieldValue,
    /// More than [`super::FIELD_LIMIT`] fields.
    TooManyFields,
    /// More than [`super::HEAD_LIMIT`] bytes.
    TooLong,
    /// The target alone is as long.
    TargetTooLong,
    /// RFC 9112, 6.1 and 6.3: a length beside a transfer coding.
    TwoFramings,
    /// RFC 9110, 8.6: several lengths, or one that is no number.
    Length,
    /// RFC 9112, 6.1: a coding other than `chunked`, or not in HTTP/1.1.
    Coding,
}

/// A chunked body that is none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MalformedBody {
    /// RFC 9112, 7.1: a size that is no hexadecimal number of at most 15 digits.
    #[error("a chunk's size is malformed")]
    ChunkSize,
    /// RFC 9112, 7.1.1: longer than anybody needs, or with control characters.
    #[error("a chunk's extension is malformed or too long")]
    ChunkExtension,
    /// RFC 9112, 7.1: data that is not followed by CRLF.
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    /// RFC 9112, 7.1.2: fields that are malformed, too many, or may not come after a body (RFC 9110, 6.5.1).
    #[error("the fields after the body are malformed or may not stand there")]
    Trailers,
}

// === impl MalformedHead ===

impl MalformedHead {
    /// What is wrong.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LineEnd => "a line does not end in CRLF",
            Self::RequestLine => "the request line is malformed",
            Self::Target => "the request target holds characters that it may not",
            Self::Version => "the HTTP version is not 1.1 or 1.0",
            Self::StatusLine => "the status line is malformed",
            Self::FieldName => "a field name is malformed, has white space before its colon, or continues a line",
            Self::FieldValue => "a field value holds control characters",
            Self::TooManyFields => "the head has more than 100 fields",
            Self::TooLong => "the head is longer than 16 KiB",
            Self::TargetTooLong => "the request line is longer than 16 KiB",
            Self::TwoFramings => "Content-Length and Transfer-Encoding are both given",
            Self::Length => "Content-Length is malformed or given several times",
            Self::Coding => "Transfer-Encoding is something else than chunked",
        }
    }
}

impl From<httparse::Error> for MalformedHead {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::HeaderName => Self::FieldName,
            httparse::Error::HeaderValue => Self::FieldValue,
            httparse::Error::NewLine => Self::LineEnd,
            httparse::Error::Status => Self::StatusLine,
            httparse::Error::Token => Self::RequestLine,
            httparse::Error::TooManyHeaders => Self::TooManyFields,
            httparse::Error::Version => Self::Version,
        }
    }
}
