//! A plain TCP server that sends back what it gets, for tunnels.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::guard;

/// Echoes on every connection. When the client ends its side, says [`FAREWELL`] and ends its own.
pub(crate) struct EchoServer {
    address: SocketAddr,
    seen: Arc<watch::Sender<Seen>>,
    // Held for its drop, which ends the server with the test.
    _task: JoinSet<()>,
}

/// What an [`EchoServer`] has been through.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Connections accepted.
    pub(crate) connections: usize,
    /// Connections whose client ended its side in good order.
    pub(crate) half_closes: usize,
    /// Connections that broke instead.
    pub(crate) resets: usize,
}

// === impl EchoServer ===

impl EchoServer {
    /// Listens.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(watch::Sender::new(Seen::default()));
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&seen)));
        Self { address, seen, _task: task }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until what was seen meets `condition`, and gives it.
    pub(crate) async fn wait_until(&self, what: &str, condition: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.subscribe();
        *guard(what, seen.wait_for(condition)).await.expect("the server holds the sender")
    }
}

async fn accept(listener: TcpListener, seen: Arc<watch::Sender<Seen>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        seen.send_modify(|seen| seen.connections += 1);
        connections.spawn(echo(stream, Arc::clone(&seen)));
    }
}

async fn echo(mut stream: TcpStream, seen: Arc<watch::Sender<Seen>>) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) if stream.write_all(&buffer[..count]).await.is_ok() => {}
            _ => return seen.send_modify(|seen| seen.resets += 1),
        }
    }
    seen.send_modify(|seen| seen.half_closes += 1);
    // A client that did not wait for the farewell is none of the server's business.
    drop(stream.write_all(FAREWELL).await);
    drop(stream.shutdown().await);
}

/// The last bytes an [`EchoServer`] sends: a client that reads them closed one direction only.
pub(crate) const FAREWELL: &[u8] = b"<end of echo>";
