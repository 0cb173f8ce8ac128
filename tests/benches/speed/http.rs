//! As much of HTTP/1.1 as both ends of the bench need: heads with a Content-Length.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::request::Subject;

/// What a head says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// Bytes of the head, the empty line included.
    pub(crate) size: usize,
    /// Content-Length; none stands for nothing.
    pub(crate) length: usize,
    start: [u8; START],
}

// === impl Head ===

impl Head {
    /// Reads it from the beginning of `bytes`, if it is there in full.
    pub(crate) fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let (mut at, mut length) = (0, 0);
        while let Some(line) = bytes[at..].iter().position(|byte| *byte == b'\n') {
            let field = bytes[at..at + line].trim_ascii_end();
            at += line + 1;
            if field.is_empty() {
                let mut start = [0; START];
                let known = at.min(START);
                start[..known].copy_from_slice(&bytes[..known]);
                return Ok(Some(Self { size: at, length, start }));
            }
            if field.len() > LENGTH.len() && field[..LENGTH.len()].eq_ignore_ascii_case(LENGTH) {
                let digits = std::str::from_utf8(&field[LENGTH.len()..]).ok().and_then(|text| text.trim().parse().ok());
                length = digits.ok_or_else(|| io::Error::other("a Content-Length that is no number"))?;
            }
        }
        Ok(None)
    }

    /// Of an answer.
    pub(crate) fn status(&self) -> io::Result<u16> {
        let status =
            self.start.strip_prefix(b"HTTP/1.1 ").and_then(|rest| std::str::from_utf8(&rest[..3]).ok()?.parse().ok());
        status.ok_or_else(|| io::Error::other("an answer without a status"))
    }

    /// What a request is for.
    pub(crate) fn subject(&self) -> Subject {
        if self.start.starts_with(b"PUT") {
            Subject::Upload
        } else if self.start.windows(11).any(|part| part == b"/files/part") {
            Subject::Part
        } else if self.start.windows(7).any(|part| part == b"/files/") {
            Subject::File
        } else {
            Subject::Task
        }
    }
}

/// Reads a head that nothing follows until it is answered, such as that of CONNECT, and of its answer.
pub(crate) async fn lone_head(stream: &mut TcpStream) -> io::Result<Head> {
    let (mut bytes, mut end) = ([0; 4096], 0);
    loop {
        match stream.read(&mut bytes[end..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => end += read,
        }
        match Head::parse(&bytes[..end])? {
            Some(head) if head.size == end => return Ok(head),
            Some(_) => return Err(io::Error::other("more than a head")),
            None => {}
        }
    }
}

/// Enough of the first line to tell what it is about.
const START: usize = 64;
const LENGTH: &[u8] = b"content-length:";
