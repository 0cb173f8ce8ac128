//! TLS over TCP, cheaper than any proxy can have it: rustls makes the handshake, then records are opened where they were read and many are
//! sent at once. Otherwise the harness would be what limits a large transfer.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::Head;
use crate::record::{self, Content, Keys, MAX_RECORD};

/// An open connection.
pub(crate) struct Channel {
    stream: TcpStream,
    reading: Keys,
    writing: Keys,
    wire: Wire,
    /// What was opened and not yet used, within the wire's bytes.
    data: Range<usize>,
    /// Sealed, on the way out.
    sealed: Vec<u8>,
    /// The beginning of a head that came in several records.
    begun: Vec<u8>,
}

/// What was read from the stream and not yet opened.
struct Wire {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

// === impl Channel ===

impl Channel {
    /// Makes the handshake of a client.
    pub(crate) async fn connect(stream: TcpStream, name: ServerName<'static>, tls: Arc<ClientConfig>) -> io::Result<Self> {
        let connection = ClientConnection::new(tls, name).map_err(io::Error::other)?;
        Self::shake(stream, connection.into()).await
    }

    /// Makes the handshake of a server.
    pub(crate) async fn accept(stream: TcpStream, tls: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
        Self::shake(stream, connection.into()).await
    }

    async fn shake(mut stream: TcpStream, mut connection: Connection) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let mut wire = Wire { bytes: vec![0; NARROW].into(), start: 0, end: 0 };
        let mut sealed = Vec::new();
        while connection.is_handshaking() || connection.wants_write() {
            if connection.wants_write() {
                connection.write_tls(&mut sealed)?;
                continue;
            }
            stream.write_all(&sealed).await?;
            sealed.clear();
            // No more than one record, as what rustls has read cannot be had back.
            let record = wire.record(&mut stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let mut bytes = &wire.bytes[record];
            while !bytes.is_empty() {
                connection.read_tls(&mut bytes)?;
            }
            connection.process_new_packets().map_err(io::Error::other)?;
        }
        stream.write_all(&sealed).await?;
        sealed.clear();
        let secrets = connection.dangerous_extract_secrets().map_err(io::Error::other)?;
        let (reading, writing) = (Keys::new(secrets.rx)?, Keys::new(secrets.tx)?);
        Ok(Self { stream, reading, writing, wire, data: 0..0, sealed, begun: Vec::new() })
    }

    /// Makes room for many records at once.
    pub(crate) fn widen(&mut self) {
        self.wire.widen();
    }

    /// The next head. `None` where the other end has closed instead of beginning one.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        self.begun.clear();
        loop {
            if self.data.is_empty() && !self.open().await? {
                return if self.begun.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            let here = &self.wire.bytes[self.data.clone()];
            if self.begun.is_empty()
                && let Some(head) = Head::parse(here)?
            {
                self.data.start += head.size;
                return Ok(Some(head));
            }
            let before = self.begun.len();
            self.begun.extend_from_slice(here);
            if let Some(head) = Head::parse(&self.begun)? {
                self.data.start += head.size - before;
                return Ok(Some(head));
            }
            self.data.start = self.data.end;
        }
    }

    /// Reads `length` bytes and forgets them.
    pub(crate) async fn skip(&mut self, length: usize) -> io::Result<()> {
        let mut missing = length;
        loop {
            let here = missing.min(self.data.len());
            self.data.start += here;
            missing -= here;
            if missing == 0 {
                return Ok(());
            }
            if !self.open().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Whether something is here that no one has asked for.
    pub(crate) fn has_more(&self) -> bool {
        !self.data.is_empty()
    }

    /// Sends `data`.
    pub(crate) async fn send(&mut self, data: &[u8]) -> io::Result<()> {
        self.sealed.clear();
        self.writing.seal(data, &mut self.sealed)?;
        self.stream.write_all(&self.sealed).await
    }

    /// Says goodbye and closes.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.sealed.clear();
        self.writing.seal_goodbye(&mut self.sealed)?;
        self.stream.write_all(&self.sealed).await?;
        self.stream.shutdown().await
    }

    /// Opens records until one has data. Whether there was one: false at the end.
    async fn open(&mut self) -> io::Result<bool> {
        while let Some(record) = self.wire.record(&mut self.stream).await? {
            match self.reading.open(&mut self.wire.bytes[record.clone()])? {
                Content::Data(data) if data.is_empty() => {}
                Content::Data(data) => {
                    self.data = record.start + data.start..record.start + data.end;
                    return Ok(true);
                }
                Content::Closed => return Ok(false),
                Content::Nothing => {}
            }
        }
        Ok(false)
    }
}

// === impl Wire ===

impl Wire {
    /// Where the next record is, whole; what was read before it may be overwritten. `None` at the end.
    async fn record(&mut self, stream: &mut TcpStream) -> io::Result<Option<Range<usize>>> {
        loop {
            let here = &self.bytes[self.start..self.end];
            if let Some(size) = record::size(here)
                && size <= here.len()
            {
                let record = self.start..self.start + size;
                self.start = record.end;
                return Ok(Some(record));
            }
            if self.start == self.end {
                (self.start, self.end) = (0, 0);
            } else if self.bytes.len() - self.start < MAX_RECORD {
                self.bytes.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            match stream.read(&mut self.bytes[self.end..]).await? {
                0 if self.start == self.end => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.end += read,
            }
        }
    }

    fn widen(&mut self) {
        if self.bytes.len() < WIDE {
            let mut bytes = vec![0; WIDE].into_boxed_slice();
            bytes[..self.bytes.len()].copy_from_slice(&self.bytes);
            self.bytes = bytes;
        }
    }
}

const NARROW: usize = 2 * MAX_RECORD;
const WIDE: usize = 512 << 10;
