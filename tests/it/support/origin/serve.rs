//! The connections of an origin: accept, suffer a fault or converse, and note what happened.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{ConnectionFault, Received, lock};
use crate::support::action::{Action, Step};
use crate::support::pki::Authority;
use crate::support::wire::{Framing, Head, Io, Reader};

pub(super) type Script = Box<dyn FnMut(&Received) -> Action + Send>;
pub(super) type HeadScript = Box<dyn FnMut(&Head) -> Option<Action> + Send>;

/// What an origin and its connections share.
pub(super) struct Shared {
    pub(super) log: watch::Sender<Log>,
    pub(super) script: Mutex<Script>,
    pub(super) head_script: Mutex<Option<HeadScript>>,
    pub(super) faults: Mutex<VecDeque<ConnectionFault>>,
    pub(super) tls: Option<Arc<ServerConfig>>,
}

/// What happened so far.
#[derive(Default)]
pub(super) struct Log {
    pub(super) requests: Vec<Received>,
    pub(super) accepted: usize,
    pub(super) ended: usize,
    pub(super) errors: Vec<String>,
    /// Connections that break are no errors.
    pub(super) tolerant: bool,
}

/// Counts a connection as ended, however its task ends.
struct EndGuard<'a>(&'a Shared);

/// What is left of a connection after an action.
#[derive(PartialEq, Eq)]
enum Connection {
    Ended,
    Kept,
}

// === impl Shared ===

impl Shared {
    async fn serve(&self, tcp: TcpStream, connection: usize) {
        let fault = lock(&self.faults).pop_front();
        match (fault, &self.tls) {
            // The client's part in a fault is not looked at.
            (Some(fault), _) => drop(fault.inflict(tcp).await),
            (None, None) => self.converse(Reader::new(tcp), connection).await,
            (None, Some(tls)) => match TlsAcceptor::from(Arc::clone(tls)).accept(tcp).await {
                Ok(stream) => self.converse(Reader::new(stream), connection).await,
                Err(error) => self.note(connection, &error),
            },
        }
    }

    async fn converse<S: Io>(&self, mut reader: Reader<S>, connection: usize) {
        // Noted while the connection stands: a test that sees it end finds the error.
        if let Err(error) = self.exchange(&mut reader, connection).await {
            self.note(connection, &error);
        }
    }

    async fn exchange<S: Io>(&self, reader: &mut Reader<S>, connection: usize) -> io::Result<()> {
        for nth_on_connection in 1.. {
            let Some(head) = next_head(reader).await? else {
                return Ok(());
            };
            let early = lock(&self.head_script).as_mut().and_then(|script| script(&head));
            let is_last =
                early.is_some() || head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            let mut request = Received::new(&head, connection, nth_on_connection, reader.stream().server_name())?;
            if early.is_none() {
                request.read_body(reader).await?;
            }
            self.log.send_modify(|log| {
                request.number = log.requests.len() + 1;
                log.requests.push(request.clone());
            });
            let action = early.map_or_else(|| self.decide(&request), Ok)?;
            if perform(action, reader, request.method == "HEAD").await? == Connection::Ended || is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    fn decide(&self, request: &Received) -> io::Result<Action> {
        let mut script = lock(&self.script);
        catch_unwind(AssertUnwindSafe(|| script(request))).map_err(|panic| {
            let message =
                panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            io::Error::other(format!("the script panicked: {}", message.unwrap_or("no message")))
        })
    }

    fn note(&self, connection: usize, error: &io::Error) {
        self.log.send_modify(|log| {
            if !(log.tolerant && error.kind() != ErrorKind::Other) {
                log.errors.push(format!("connection {connection}: {error}"));
            }
        });
    }
}

// === impl EndGuard ===

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        self.0.log.send_modify(|log| log.ended += 1);
    }
}

// === impl ConnectionFault ===

impl ConnectionFault {
    async fn inflict(self, mut tcp: TcpStream) -> io::Result<()> {
        match self {
            Self::Close => tcp.shutdown().await,
            Self::ForeignCertificate => {
                let tls = Authority::new("known to nobody").server_config(&["localhost"]);
                TlsAcceptor::from(tls).accept(tcp).await.map(drop)
            }
            Self::Garbage => {
                // Read first: closing over unread bytes sends a RST, which can overtake the answer.
                tcp.read_u8().await?;
                while tcp.try_read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
                tcp.write_all(b"220 this is not TLS\r\n").await?;
                tcp.shutdown().await
            }
            Self::Reset => tcp.set_zero_linger(),
            Self::Stall => drain(&mut tcp).await,
        }
    }
}

// === impl Received ===

impl Received {
    fn new(head: &Head, connection: usize, nth_on_connection: usize, server_name: Option<String>) -> io::Result<Self> {
        let mut words = head.start_line.splitn(3, ' ').map(str::to_owned);
        Ok(Self {
            number: 0,
            connection,
            nth_on_connection,
            server_name,
            raw_head: head.raw.clone(),
            raw_body: Vec::new(),
            body: Vec::new(),
            framing: head.framing()?,
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            headers: head.headers.clone(),
        })
    }

    async fn read_body<S: Io>(&mut self, reader: &mut Reader<S>) -> io::Result<()> {
        match self.framing {
            Framing::None => Ok(()),
            Framing::Chunked => reader.chunked(&mut self.raw_body, &mut self.body).await,
            Framing::Length(length) => {
                let read = reader.exactly(length, &mut self.body).await;
                self.raw_body.clone_from(&self.body);
                read
            }
        }
    }
}

/// Accepts until the task is dropped, and with it every connection.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    for connection in 1.. {
        let Ok((tcp, _)) = listener.accept().await else {
            return;
        };
        shared.log.send_modify(|log| log.accepted = connection);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let _end = EndGuard(&shared);
            shared.serve(tcp, connection).await;
        });
    }
}

/// The next request's head. A connection that ends or breaks between requests is merely over.
async fn next_head<S: Io>(reader: &mut Reader<S>) -> io::Result<Option<Head>> {
    match reader.head().await {
        Err(error) if reader.is_empty() && error.kind() != ErrorKind::InvalidData => Ok(None),
        result => result,
    }
}

/// Does the steps; a client that is gone ends them.
async fn perform<S: Io>(action: Action, reader: &mut Reader<S>, is_head: bool) -> io::Result<Connection> {
    for step in action.steps {
        let stream = reader.stream();
        let done = match step {
            Step::Body(_) if is_head => Ok(()),
            Step::Body(bytes) | Step::Write(bytes) => send(stream, &bytes).await,
            Step::Shared(bytes) => send(stream, &bytes).await,
            Step::Wait(gate) => {
                gate.pass().await;
                Ok(())
            }
            Step::Stall => {
                drop(drain(stream).await);
                return Ok(Connection::Ended);
            }
            Step::Reset => {
                stream.tcp().set_zero_linger()?;
                return Ok(Connection::Ended);
            }
            Step::Cut => return Ok(Connection::Ended),
            Step::Close => {
                drop(stream.shutdown().await);
                return Ok(Connection::Ended);
            }
        };
        if done.is_err() {
            return Ok(Connection::Ended);
        }
    }
    Ok(Connection::Kept)
}

async fn send<S: Io>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Reads until the other side ends.
async fn drain<S: Io>(stream: &mut S) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
