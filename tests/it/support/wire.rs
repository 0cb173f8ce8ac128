//! HTTP/1.1 as bytes: just enough reading to know where a message ends, with nothing normalised.

use std::io::{self, ErrorKind};

use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

/// A byte stream whose socket can be reached, for resets and addresses.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {
    /// The socket below any TLS.
    fn tcp(&self) -> &TcpStream;
    /// The protocol that ALPN chose.
    fn alpn(&self) -> Option<String> {
        None
    }
    /// Whether the TLS handshake was a full one; clients only.
    fn handshake_kind(&self) -> Option<HandshakeKind> {
        None
    }
    /// The name the client asked for; servers only.
    fn server_name(&self) -> Option<String> {
        None
    }
}

/// How the end of a message's body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// `Content-Length`.
    Length(u64),
    /// Neither.
    None,
}

/// The start line and fields of a message.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The exact bytes, with the empty line.
    pub(crate) raw: Vec<u8>,
    /// Without its line end.
    pub(crate) start_line: String,
    /// Names as spelled, in the order sent; values without the blanks around them.
    pub(crate) headers: Vec<(String, String)>,
}

/// Reads messages off a stream, holding what came too early.
pub(crate) struct Reader<S> {
    stream: S,
    buffer: Vec<u8>,
}

// === impl Io ===

impl Io for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Io for tokio_rustls::client::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }

    fn alpn(&self) -> Option<String> {
        self.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
    }

    fn handshake_kind(&self) -> Option<HandshakeKind> {
        self.get_ref().1.handshake_kind()
    }
}

impl Io for tokio_rustls::server::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }

    fn alpn(&self) -> Option<String> {
        self.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
    }

    fn server_name(&self) -> Option<String> {
        self.get_ref().1.server_name().map(str::to_owned)
    }
}

// === impl Head ===

impl Head {
    /// The value of the first field of that name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// What the fields say about the body.
    pub(crate) fn framing(&self) -> io::Result<Framing> {
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Ok(Framing::Chunked);
        }
        let Some(length) = self.header("content-length") else {
            return Ok(Framing::None);
        };
        length.parse().map(Framing::Length).map_err(|_| malformed("content-length", length))
    }

    fn parse(raw: Vec<u8>) -> io::Result<Self> {
        let text = String::from_utf8_lossy(&raw);
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let start_line = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .map(|line| match line.split_once(':') {
                Some((name, value)) if !name.is_empty() && !line.contains('\n') => {
                    Ok((name.to_owned(), value.trim().to_owned()))
                }
                _ => Err(malformed("header line", line)),
            })
            .collect::<io::Result<_>>()?;
        if start_line.split(' ').count() < 3 || start_line.contains('\n') {
            return Err(malformed("start line", &start_line));
        }
        Ok(Self { raw, start_line, headers })
    }
}

// === impl Reader ===

impl<S: AsyncRead + Unpin> Reader<S> {
    /// Reads from `stream`.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The stream, for writing.
    pub(crate) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream, and what was read from it but not asked for.
    pub(crate) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.buffer)
    }

    /// Whether bytes are held that nothing asked for yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next head; `None` when the stream ends before its first byte.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Head::parse(self.take(end + 4)).map(Some);
            }
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(cut_short("a head")) };
            }
        }
    }

    /// Appends `count` bytes to `into`; what came before a failure is there too.
    pub(crate) async fn exactly(&mut self, count: u64, into: &mut Vec<u8>) -> io::Result<()> {
        let mut missing = usize::try_from(count).expect("test bodies fit in memory");
        loop {
            let taken = self.take(missing.min(self.buffer.len()));
            missing -= taken.len();
            into.extend(taken);
            if missing == 0 {
                return Ok(());
            }
            if self.fill().await? == 0 {
                return Err(cut_short("a body"));
            }
        }
    }

    /// Appends a chunked body to `raw` as it came and to `decoded` without its framing. Trailers are in `raw` only.
    pub(crate) async fn chunked(&mut self, raw: &mut Vec<u8>, decoded: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.line(raw).await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16).map_err(|_| malformed("chunk size", &line))?;
            if size == 0 {
                while !self.line(raw).await?.is_empty() {}
                return Ok(());
            }
            let start = decoded.len();
            let read = self.exactly(size, decoded).await;
            raw.extend_from_slice(&decoded[start..]);
            read?;
            if !self.line(raw).await?.is_empty() {
                return Err(malformed("chunk", "longer than its size"));
            }
        }
    }

    /// Appends everything up to the end of the stream.
    pub(crate) async fn read_to_end(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        loop {
            into.append(&mut self.buffer);
            if self.fill().await? == 0 {
                return Ok(());
            }
        }
    }

    async fn line(&mut self, raw: &mut Vec<u8>) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.take(end + 2);
                raw.extend_from_slice(&line);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.fill().await? == 0 {
                return Err(cut_short("a chunk"));
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.buffer).await
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.buffer.drain(..count).collect()
    }
}

/// The value of the first field of that name, in any case.
pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn malformed(what: &str, found: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("malformed {what}: {found:?}"))
}

fn cut_short(what: &str) -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, format!("stream ended inside {what}"))
}
