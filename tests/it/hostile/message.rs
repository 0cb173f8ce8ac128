//! Requests as the strictest reader takes them, to compare what was sent on with what should have been.

use std::fmt::{self, Write};

/// One request.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Up to the empty line, byte for byte.
    pub(super) head: Vec<u8>,
    /// Without chunk framing, whose cuts mean nothing.
    pub(super) body: Vec<u8>,
    /// What stood between the last chunk and the empty line.
    pub(super) trailers: Vec<u8>,
}

/// Why some bytes are no requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// More bytes are needed.
    Incomplete,
    /// They are none.
    Malformed(&'static str),
}

// === impl Message ===

impl Message {
    /// The request that `bytes` begin with, and how many of them it takes.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, usize), Unread> {
        let head = find(bytes, b"\r\n\r\n").ok_or(Unread::Incomplete)? + 4;
        let (mut message, rest) =
            (Self { head: bytes[..head].to_vec(), body: Vec::new(), trailers: Vec::new() }, &bytes[head..]);
        let taken = match (message.values("content-length").as_slice(), message.values("transfer-encoding").as_slice()) {
            ([], []) => 0,
            ([length], []) => {
                let length = length.parse().map_err(|_| Unread::Malformed("a length that is no number"))?;
                message.body = rest.get(..length).ok_or(Unread::Incomplete)?.to_vec();
                length
            }
            ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => message.read_chunks(rest)?,
            _ => return Err(Unread::Malformed("a message that says in two ways where it ends")),
        };
        Ok((message, head + taken))
    }

    pub(super) fn is_head_request(&self) -> bool {
        self.head.starts_with(b"HEAD ")
    }

    /// Whether `self` is what was to be sent. Trailers may be thrown away (RFC 9110, 6.5.1), and not changed.
    pub(super) fn is(&self, wanted: &Self) -> bool {
        let trailers = self.trailers.is_empty() || self.trailers == wanted.trailers;
        self.head == wanted.head && self.body == wanted.body && trailers
    }

    fn values(&self, name: &str) -> Vec<String> {
        let head = String::from_utf8_lossy(&self.head);
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).collect()
    }

    fn read_chunks(&mut self, bytes: &[u8]) -> Result<usize, Unread> {
        let mut at = 0;
        loop {
            let line = line(&bytes[at..])?;
            let digits = std::str::from_utf8(line).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let size = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
            let size = size.ok_or(Unread::Malformed("a chunk size that is no number"))?;
            at += line.len() + 2;
            if size == 0 {
                break;
            }
            let data = bytes.get(at..at + size + 2).ok_or(Unread::Incomplete)?;
            let data = data.strip_suffix(b"\r\n").ok_or(Unread::Malformed("a chunk without its end"))?;
            self.body.extend_from_slice(data);
            at += size + 2;
        }
        loop {
            let line = line(&bytes[at..])?;
            at += line.len() + 2;
            if line.is_empty() {
                return Ok(at);
            }
            self.trailers.extend_from_slice(line);
            self.trailers.extend_from_slice(b"\r\n");
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{}{}", shown(&self.head), shown(&self.body))?;
        if self.trailers.is_empty() { Ok(()) } else { write!(f, "\ntrailers: {}", shown(&self.trailers)) }
    }
}

// === impl Unread ===

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => f.write_str("incomplete"),
            Self::Malformed(what) => f.write_str(what),
        }
    }
}

/// The requests that `bytes` are, with nothing left over.
pub(super) fn messages(mut bytes: &[u8]) -> Result<Vec<Message>, Unread> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let (message, length) = Message::read(bytes)?;
        messages.push(message);
        bytes = &bytes[length..];
    }
    Ok(messages)
}

/// Bytes as a text that a test can fail with.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n\n"),
            b' '..=b'~' => text.push(char::from(*byte)),
            byte => write!(text, "\\x{byte:02x}").unwrap(),
        }
    }
    if text.len() > 2000 { format!("{}... ({} bytes)", &text[..2000], bytes.len()) } else { text }
}

fn line(bytes: &[u8]) -> Result<&[u8], Unread> {
    find(bytes, b"\r\n").map(|end| &bytes[..end]).ok_or(Unread::Incomplete)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
