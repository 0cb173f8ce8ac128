//! The chunked coding (RFC 9112, 7.1), read strictly and written.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::body::Decoded;
use super::error::MalformedBody;
use super::{FIELD_LIMIT, HEAD_LIMIT};

/// A chunked body on its way.
#[derive(Debug, Default)]
pub struct Chunks {
    at: At,
    /// Of the chunk under way.
    left: u64,
    /// What came of the line under way, or of all fields after the last chunk.
    text: Vec<u8>,
    trailers: Option<HeaderMap>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    Data,
    DataEnd,
    Trailers,
    Over,
}

// === impl Chunks ===

impl Chunks {
    pub(super) fn decode(&mut self, input: &[u8]) -> Result<Decoded, MalformedBody> {
        let mut at = 0;
        while at < input.len() && self.at != At::Over {
            if self.at == At::Data {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len() - at);
                self.left -= count as u64;
                if self.left == 0 {
                    self.at = At::DataEnd;
                }
                let mut consumed = at + count;
                // What ends the chunk mostly came with it, and an end that is known early keeps nobody waiting.
                consumed += self.lines(&input[consumed..])?;
                return Ok(Decoded { consumed, data: at..at + count });
            }
            at += self.lines(&input[at..])?;
        }
        Ok(Decoded { consumed: at, data: 0..0 })
    }

    pub(super) fn is_over(&self) -> bool {
        self.at == At::Over
    }

    pub(super) fn has_trailers(&self) -> bool {
        self.trailers.is_some()
    }

    pub(super) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Reads lines up to the next content, or as far as they came.
    fn lines(&mut self, input: &[u8]) -> Result<usize, MalformedBody> {
        let mut at = 0;
        while !matches!(self.at, At::Data | At::Over) {
            let Some(byte) = input.get(at) else { break };
            at += 1;
            let limit = if self.at == At::Trailers { HEAD_LIMIT } else { SIZE_LINE_LIMIT };
            if self.text.len() == limit {
                return Err(self.wrong());
            }
            self.text.push(*byte);
            if *byte == b'\n' {
                self.line()?;
            } else if self.at == At::DataEnd && self.text != b"\r" {
                // Told at once: a client that announced too little may have nothing more to send.
                return Err(MalformedBody::ChunkEnd);
            }
        }
        Ok(at)
    }

    /// A line has come to its end.
    fn line(&mut self) -> Result<(), MalformedBody> {
        let Some(line) = self.text.strip_suffix(b"\r\n") else { return Err(self.wrong()) };
        match self.at {
            At::Size => {
                self.left = size(line)?;
                self.at = if self.left == 0 { At::Trailers } else { At::Data };
            }
            At::DataEnd if line.is_empty() => self.at = At::Size,
            At::DataEnd => return Err(MalformedBody::ChunkEnd),
            // The empty line that ends them all.
            At::Trailers if line.is_empty() || line.ends_with(b"\r\n") => {
                if !line.is_empty() {
                    self.trailers = Some(trailers(&self.text)?);
                }
                self.at = At::Over;
            }
            At::Trailers => return Ok(()),
            At::Data | At::Over => {}
        }
        self.text.clear();
        Ok(())
    }

    fn wrong(&self) -> MalformedBody {
        match self.at {
            At::DataEnd => MalformedBody::ChunkEnd,
            At::Trailers => MalformedBody::Trailers,
            _ if self.text.contains(&b';') => MalformedBody::ChunkExtension,
            _ => MalformedBody::ChunkSize,
        }
    }
}

/// The size that a chunk's first line says. An extension is allowed and means nothing to anybody.
fn size(line: &[u8]) -> Result<u64, MalformedBody> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extension) = line.split_at(digits);
    let blanks = extension.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match extension.get(blanks) {
        None if blanks == 0 => {}
        Some(b';') => {}
        _ => return Err(MalformedBody::ChunkSize),
    }
    if extension.iter().any(|byte| *byte != b'\t' && (*byte < b' ' || *byte == 0x7f)) {
        return Err(MalformedBody::ChunkExtension);
    }
    if digits.len() > SIZE_DIGITS {
        return Err(MalformedBody::ChunkSize);
    }
    let text = std::str::from_utf8(digits).map_err(|_| MalformedBody::ChunkSize)?;
    u64::from_str_radix(text, 16).map_err(|_| MalformedBody::ChunkSize)
}

/// The fields after the last chunk.
fn trailers(lines: &[u8]) -> Result<HeaderMap, MalformedBody> {
    let mut fields = [httparse::EMPTY_HEADER; FIELD_LIMIT];
    let Ok(httparse::Status::Complete((length, parsed))) = httparse::parse_headers(lines, &mut fields) else {
        return Err(MalformedBody::Trailers);
    };
    let bare = lines.iter().filter(|byte| **byte == b'\r').count() != lines.iter().filter(|byte| **byte == b'\n').count();
    if length != lines.len() || bare {
        return Err(MalformedBody::Trailers);
    }
    let mut map = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| MalformedBody::Trailers)?;
        if FORBIDDEN.contains(&name.as_str()) {
            return Err(MalformedBody::Trailers);
        }
        map.append(name, HeaderValue::from_bytes(field.value).map_err(|_| MalformedBody::Trailers)?);
    }
    Ok(map)
}

/// Writes one chunk's first line.
pub(crate) fn write_size(size: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 16];
    let (mut at, mut left) = (digits.len(), size);
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Writes what ends a body.
pub(crate) fn write_end(trailers: Option<&HeaderMap>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// What frames, routes or authorizes a message, or tells how to read it, is needed before its body (RFC 9110, 6.5.1).
const FORBIDDEN: [&str; 14] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "ocp-date",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
];

/// 64 PiB less one byte, so that no sum of sizes and lengths comes near its end.
const SIZE_DIGITS: usize = 15;

/// Digits, and an extension that nobody needs.
const SIZE_LINE_LIMIT: usize = 256;
