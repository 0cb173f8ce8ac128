//! Raw clients: what is sent is exactly what the test wrote, and answers come back with their bytes.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::guard;
use super::pki::client_config;
use super::wire::{Framing, Head, Io, Reader, header};

/// One connection, with or without TLS.
pub(crate) struct Client {
    reader: Reader<Box<dyn Io>>,
}

/// A connection through a proxy, after the CONNECT was accepted.
pub(crate) struct Tunnel {
    stream: TcpStream,
    /// What the proxy answered.
    pub(crate) answer: Response,
}

/// An answer, as far as it came.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// Such as 200.
    pub(crate) status: u16,
    /// The words behind the status.
    pub(crate) reason: String,
    /// Names as spelled, in the order sent.
    pub(crate) headers: Vec<(String, String)>,
    /// Without chunk framing.
    pub(crate) body: Vec<u8>,
    /// Whether the end of the body was proved: by its length, its last chunk, or an orderly end of the connection.
    pub(crate) complete: bool,
    /// The exact head.
    pub(crate) raw_head: Vec<u8>,
}

// === impl Client ===

impl Client {
    /// Connects without TLS.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(dial(address).await)
    }

    /// Connects with TLS, trusting `ca_pem` alone and offering the protocols `alpn`.
    pub(crate) async fn connect_tls(address: SocketAddr, ca_pem: &str, host: &str, alpn: &[&str]) -> io::Result<Self> {
        handshake(dial(address).await, ca_pem, host, alpn).await
    }

    /// Sends these bytes.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.reader.stream();
        guard("room to send in", async {
            stream.write_all(bytes).await?;
            stream.flush().await
        })
        .await
    }

    /// Reads the answer to a request with `method`, past any interim ones.
    ///
    /// # Errors
    /// If the connection ends or breaks before the head is there; what happens later shows in [`Response::complete`].
    pub(crate) async fn read_response(&mut self, method: &str) -> io::Result<Response> {
        guard("an answer", read_response(&mut self.reader, method)).await
    }

    /// Whether nothing was read that was not asked for: after a failure, whether not a byte of an answer came.
    pub(crate) fn is_untouched(&self) -> bool {
        self.reader.is_empty()
    }

    /// Sends one whole request and reads its answer.
    pub(crate) async fn request(&mut self, request: &[u8]) -> Response {
        self.exchange(request).await.unwrap()
    }

    /// The same where the connection may end first.
    ///
    /// # Errors
    /// If the request cannot be sent or no answer's head comes.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Response> {
        let method = String::from_utf8_lossy(request).split(' ').next().unwrap_or_default().to_owned();
        self.send_raw(request).await?;
        self.read_response(&method).await
    }

    /// Ends the sending direction only.
    pub(crate) async fn shutdown_write(&mut self) {
        self.reader.stream().shutdown().await.unwrap();
    }

    /// Reads `count` bytes, whatever they are.
    pub(crate) async fn read_exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        guard("bytes", self.reader.exactly(count as u64, &mut bytes)).await?;
        Ok(bytes)
    }

    /// Reads until the other side ends the connection in good order.
    pub(crate) async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        guard("the end of the connection", self.reader.read_to_end(&mut bytes)).await?;
        Ok(bytes)
    }

    /// The protocol that ALPN chose.
    pub(crate) fn alpn(&mut self) -> Option<String> {
        self.reader.stream().alpn()
    }

    /// Whether the TLS handshake was a full one or resumed an earlier session.
    pub(crate) fn handshake_kind(&mut self) -> Option<HandshakeKind> {
        self.reader.stream().handshake_kind()
    }

    /// The bare connection, for clients that speak something else than HTTP/1.1.
    ///
    /// # Panics
    /// If bytes were read that nothing asked for.
    pub(crate) fn into_stream(self) -> Box<dyn Io> {
        assert!(self.is_untouched(), "bytes are left over");
        self.reader.into_parts().0
    }

    /// Hangs up with a RST.
    pub(crate) fn reset(mut self) {
        self.reader.stream().tcp().set_zero_linger().unwrap();
    }

    fn over(stream: impl Io + 'static) -> Self {
        Self { reader: Reader::new(Box::new(stream)) }
    }
}

// === impl Tunnel ===

impl Tunnel {
    /// Opens a tunnel to `authority` (`host:port`), with an HTTP/1.1 CONNECT unless the test brings its own bytes. To see a refusal,
    /// send the CONNECT with [`Client::request`].
    ///
    /// # Panics
    /// If the proxy does not answer 200.
    pub(crate) async fn open(proxy: SocketAddr, authority: &str, connect: Option<&[u8]>) -> Self {
        Self::try_open(proxy, authority, connect).await.unwrap()
    }

    /// The same where the proxy may be away.
    ///
    /// # Errors
    /// If there is no connection, or no answer.
    pub(crate) async fn try_open(proxy: SocketAddr, authority: &str, connect: Option<&[u8]>) -> io::Result<Self> {
        let usual = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        let mut reader = Reader::new(guard("a connection", TcpStream::connect(proxy)).await?);
        reader.stream().write_all(connect.unwrap_or(usual.as_bytes())).await?;
        let answer = guard("an answer to CONNECT", read_response(&mut reader, "CONNECT")).await?;
        assert_eq!(answer.status, 200, "CONNECT {authority}: {}", answer.text());
        assert!(reader.is_empty(), "the proxy spoke first in the tunnel to {authority}");
        Ok(Self { stream: reader.into_parts().0, answer })
    }

    /// Speaks TLS inside, trusting `ca_pem` alone and offering the protocols `alpn`.
    pub(crate) async fn tls(self, ca_pem: &str, host: &str, alpn: &[&str]) -> io::Result<Client> {
        handshake(self.stream, ca_pem, host, alpn).await
    }

    /// Speaks TLS inside, with what `config` remembers of earlier sessions.
    pub(crate) async fn tls_with(self, config: Arc<ClientConfig>, host: &str) -> io::Result<Client> {
        handshake_with(self.stream, config, host).await
    }

    /// Speaks whatever the test sends.
    pub(crate) fn plain(self) -> Client {
        Client::over(self.stream)
    }
}

// === impl Response ===

impl Response {
    /// The value of the first field of that name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The body, for messages and comparisons.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn new(head: Head) -> io::Result<Self> {
        let mut words = head.start_line.splitn(3, ' ');
        let status = words.nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "malformed status line"))?;
        let reason = words.next().unwrap_or_default().to_owned();
        Ok(Self { status, reason, headers: head.headers, body: Vec::new(), complete: false, raw_head: head.raw })
    }
}

/// A request with `Host`, the given fields, and `Content-Length` where there is a body.
pub(crate) fn request(method: &str, target: &str, host: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    if !body.is_empty() {
        fields.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    [format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").as_bytes(), body].concat()
}

async fn dial(address: SocketAddr) -> TcpStream {
    guard("a connection", TcpStream::connect(address)).await.unwrap()
}

async fn handshake(stream: TcpStream, ca_pem: &str, host: &str, alpn: &[&str]) -> io::Result<Client> {
    handshake_with(stream, client_config(ca_pem, alpn), host).await
}

async fn handshake_with(stream: TcpStream, config: Arc<ClientConfig>, host: &str) -> io::Result<Client> {
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let connector = TlsConnector::from(config);
    Ok(Client::over(guard("a TLS handshake", connector.connect(name, stream)).await?))
}

async fn read_response<S: AsyncRead + Unpin>(reader: &mut Reader<S>, method: &str) -> io::Result<Response> {
    loop {
        let head = reader.head().await?.ok_or_else(|| io::Error::new(ErrorKind::UnexpectedEof, "no answer"))?;
        let framing = head.framing()?;
        let mut response = Response::new(head)?;
        let is_interim = (100..200).contains(&response.status) && response.status != 101;
        if is_interim {
            continue;
        }
        let is_bodiless =
            method == "HEAD" || matches!(response.status, 101 | 204 | 304) || method == "CONNECT" && response.status < 300;
        let read = match framing {
            _ if is_bodiless => Ok(()),
            Framing::Chunked => reader.chunked(&mut Vec::new(), &mut response.body).await,
            Framing::Length(length) => reader.exactly(length, &mut response.body).await,
            Framing::None => reader.read_to_end(&mut response.body).await,
        };
        response.complete = read.is_ok();
        return Ok(response);
    }
}
