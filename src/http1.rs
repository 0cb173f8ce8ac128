//! HTTP/1.1 messages as they came (RFC 9112): heads whose fields keep spelling and order, and how the end of a body is known.
//!
//! hyper reads a head into one map of values and another of spellings, clones both for each attempt and writes them anew, which was a third of what
//! a request cost; and it takes what could be read in two ways, such as lines that end in a bare LF. Here the bytes of a head are kept, looked at
//! where they lie, and go out as they came.
//!
//! Bytes in, bytes out, through whatever stream: no sockets and no clock, so that both sides of the proxy read and write alike and everything can
//! be tested by tables. What is read from a client is read strictly: a request that two readers could take in two ways is no request. What the
//! service answers is read as other clients read it.

pub mod body;
mod chunked;
mod error;
pub mod fields;
pub mod head;
mod outbox;
mod reading;
mod writing;

pub use self::body::BodyDecoder;
pub use self::error::{MalformedBody, MalformedHead};
pub use self::fields::FieldLines;
pub use self::head::{RequestHead, Response, ResponseHead, path_len, write_request};
pub use self::reading::{CutOff, HeadReader, NoHead, Part, poll_part};
pub use self::writing::{Ends, Left, Unfit, Writing};

/// The longest head, in bytes: twice what Windows' own HTTP server, behind which Batch says it is, takes unless told otherwise.
pub const HEAD_LIMIT: usize = 16 * 1024;

/// The most fields of a head, and of what follows a chunked body.
pub const FIELD_LIMIT: usize = 100;

#[cfg(test)]
mod tests;
