//! A client's connection: through CONNECT or straight, TLS, then one request after the other, each answer checked.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::channel::Channel;
use crate::http::lone_head;
use crate::request::{Request, Subject};

/// How to get at a target.
#[derive(Clone)]
pub(crate) struct Door {
    address: SocketAddr,
    opening: Opening,
    /// The port that hosts have, the origin's.
    port: u16,
    tls: Arc<ClientConfig>,
}

/// What comes before the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// A CONNECT, as to a forward proxy.
    Connect,
    /// Nothing, as to a reverse proxy or the origin.
    Straight,
}

/// An open connection.
pub(crate) struct Client {
    channel: Channel,
    /// With the port.
    host: String,
}

/// What came back, with a body of the length its head told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 200 with what was asked for.
    Good,
    /// Another status or length.
    Other { status: u16, length: usize },
}

// === impl Door ===

impl Door {
    pub(crate) fn new(address: SocketAddr, opening: Opening, port: u16, tls: Arc<ClientConfig>) -> Self {
        Self { address, opening, port, tls }
    }

    /// A new connection for requests to `host`.
    pub(crate) async fn open(&self, host: &str) -> io::Result<Client> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let host = format!("{host}:{}", self.port);
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        if self.opening == Opening::Connect {
            let request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let status = lone_head(&mut stream).await?.status()?;
            if status != 200 {
                return Err(io::Error::other(format!("CONNECT is answered with {status}")));
            }
        }
        Ok(Client { channel: Channel::connect(stream, name, self.tls.clone()).await?, host })
    }
}

// === impl Client ===

impl Client {
    /// A request for this connection. Numbers of different connections differ.
    pub(crate) fn request(&self, subject: Subject, connection: usize) -> Request {
        Request::new(subject, &self.host, connection)
    }

    /// Sends a request without a body, or what comes before it, and reads the answer.
    pub(crate) async fn ask(&mut self, request: &mut Request) -> io::Result<Answer> {
        self.channel.send(request.next()).await?;
        self.answer(request.subject()).await
    }

    /// Sends a request with its body made of `piece`s, and reads the answer.
    pub(crate) async fn upload(&mut self, request: &mut Request, piece: &[u8]) -> io::Result<Answer> {
        self.channel.send(request.next()).await?;
        for _ in 0..request.subject().sent() / piece.len() {
            self.channel.send(piece).await?;
        }
        self.answer(request.subject()).await
    }

    /// Says goodbye.
    pub(crate) async fn close(self) -> io::Result<()> {
        self.channel.close().await
    }

    async fn answer(&mut self, subject: Subject) -> io::Result<Answer> {
        if subject == Subject::File {
            self.channel.widen();
        }
        let head = self.channel.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.status()?;
        self.channel.skip(head.length).await?;
        if self.channel.has_more() {
            return Err(io::Error::other("more than an answer"));
        }
        Ok(if (status, head.length) == (200, subject.received()) {
            Answer::Good
        } else {
            Answer::Other { status, length: head.length }
        })
    }
}

// === impl Answer ===

impl Answer {
    /// An error where it is other than asked for.
    pub(crate) fn wanted(self) -> io::Result<()> {
        if self == Self::Good { Ok(()) } else { Err(io::Error::other(format!("the answer is {self}"))) }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("200"),
            Self::Other { status, length } => write!(f, "{status} with {length} bytes"),
        }
    }
}
