//! A server that keeps every byte it is sent and answers what the strictest reader takes for a request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::message::{Message, Unread};

/// The server, which ends when this is dropped.
pub(super) struct Recorder {
    address: SocketAddr,
    log: Arc<watch::Sender<Log>>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Log {
    /// In the order in which they were complete.
    requests: Vec<Message>,
    /// What came on each connection and is no request, or none yet.
    unread: Vec<Vec<u8>>,
}

// === impl Recorder ===

impl Recorder {
    /// Listens, with TLS or without.
    pub(super) async fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(watch::Sender::new(Log::default()));
        let mut task = JoinSet::new();
        task.spawn(accept(listener, tls, log.clone()));
        Self { address, log, _task: task }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came since this was last asked: requests, and bytes that are none.
    pub(super) fn take(&self) -> (Vec<Message>, Vec<u8>) {
        let (mut requests, mut unread) = (Vec::new(), Vec::new());
        self.log.send_modify(|log| {
            requests = std::mem::take(&mut log.requests);
            unread = log.unread.iter_mut().flat_map(std::mem::take).collect();
        });
        (requests, unread)
    }
}

async fn accept(listener: TcpListener, tls: Option<Arc<ServerConfig>>, log: Arc<watch::Sender<Log>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, log) = (tls.clone(), log.clone());
        connections.spawn(async move {
            match tls {
                None => converse(stream, &log).await,
                Some(tls) => converse(TlsAcceptor::from(tls).accept(stream).await?, &log).await,
            }
        });
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, log: &watch::Sender<Log>) -> io::Result<()> {
    let mut connection = 0;
    log.send_modify(|log| {
        connection = log.unread.len();
        log.unread.push(Vec::new());
    });
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let mut answers = Vec::new();
        let mut malformed = false;
        log.send_modify(|log| {
            let unread = &mut log.unread[connection];
            unread.extend_from_slice(&buffer[..count]);
            loop {
                match Message::read(unread) {
                    Ok((request, length)) => {
                        unread.drain(..length);
                        answers.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
                        answers.extend_from_slice(if request.is_head_request() { b"" } else { b"ok" });
                        log.requests.push(request);
                    }
                    Err(Unread::Incomplete) => return,
                    Err(Unread::Malformed(_)) => {
                        malformed = true;
                        return;
                    }
                }
            }
        });
        stream.write_all(&answers).await?;
        if malformed {
            return Ok(());
        }
    }
}
