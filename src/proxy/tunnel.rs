//! CONNECT to hosts that are not opened: bytes both ways, untouched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tracing::debug;

use super::delegate::write_through_stream;
use super::prefixed::Prefixed;
use super::route::Target;
use super::watch::Watch;
use crate::metrics::Metrics;
use crate::metrics::labels::{ConnectionResult, Direction};

/// A side of the tunnel whose incoming bytes are counted and keep the tunnel awake.
struct Counted<S> {
    stream: S,
    direction: Direction,
    metrics: Metrics,
    watch: Arc<Watch>,
}

/// Copies until both sides have ended. One side's end closes the other's for writing only, so that an answer can still come back. Ends too
/// when no byte moved for `idle`.
pub(super) async fn relay(
    client: Prefixed,
    upstream: TcpStream,
    target: &Target,
    idle: Duration,
    metrics: &Metrics,
) -> ConnectionResult {
    let watch = Watch::idle(idle, idle);
    let counted = |direction| (direction, metrics.clone(), watch.clone());
    let mut client = Counted::new(client, counted(Direction::Sent));
    let mut upstream = Counted::new(upstream, counted(Direction::Received));
    tokio::select! {
        copied = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER) => match copied {
            Ok((sent, received)) => {
                debug!(destination = %target, sent, received, "tunnel ended");
                ConnectionResult::Completed
            }
            Err(error) => {
                debug!(destination = %target, %error, "tunnel broke");
                ConnectionResult::Failed
            }
        },
        () = watch.expired() => {
            debug!(destination = %target, "tunnel was idle for tunnel.idle_timeout");
            ConnectionResult::Failed
        }
    }
}

// === impl Counted ===

impl<S> Counted<S> {
    fn new(stream: S, (direction, metrics, watch): (Direction, Metrics, Arc<Watch>)) -> Self {
        Self { stream, direction, metrics, watch }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let count = buf.filled().len() - before;
        if count > 0 {
            self.metrics.tunnelled(self.direction, count as u64);
            self.watch.touch();
        }
        polled
    }
}

// A byte that was read moves the tunnel; writing it on is the other half of the same event.
write_through_stream!(Counted<S>);

/// Bytes held for each direction.
const BUFFER: usize = 16 * 1024;
