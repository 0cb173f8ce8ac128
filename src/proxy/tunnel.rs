//! CONNECT to hosts that are not opened: bytes both ways, untouched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::prefixed::Prefixed;
use super::route::Target;
use super::watch::Watch;
use crate::metrics::Metrics;
use crate::metrics::labels::{ConnectionResult, Direction};
use crate::shutdown::Drain;
use crate::upstream::write_through_stream;

/// A side of the tunnel whose incoming bytes are counted and keep the tunnel awake.
struct Counted<S> {
    stream: S,
    direction: Direction,
    metrics: Metrics,
    watch: Arc<Watch>,
    ended: CancellationToken,
}

/// Copies until both sides have ended. One side's end closes the other's for writing only, so that an answer can still come back. Ends too
/// when no byte moved for `idle`, and in a drain soon after the client has ended its side: a program that exited looks just like
/// one that waits for the rest, and the other end may keep silent for long.
pub(super) async fn relay(
    client: Prefixed,
    upstream: TcpStream,
    target: &Target,
    idle: Duration,
    metrics: &Metrics,
    drain: &Drain,
) -> ConnectionResult {
    let watch = Watch::idle(idle, idle);
    let counted = |direction| (direction, metrics.clone(), watch.clone());
    let client_ended = CancellationToken::new();
    let mut client = Counted::new(client, counted(Direction::Sent), client_ended.clone());
    let mut upstream = Counted::new(upstream, counted(Direction::Received), CancellationToken::new());
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
        () = async {
            drain.started().await;
            client_ended.cancelled().await;
            watch.quiet_for(DRAIN_LINGER).await;
        } => {
            debug!(destination = %target, "tunnel whose client had ended its side was closed by the shutdown");
            ConnectionResult::Completed
        }
    }
}

// === impl Counted ===

impl<S> Counted<S> {
    fn new(stream: S, (direction, metrics, watch): (Direction, Metrics, Arc<Watch>), ended: CancellationToken) -> Self {
        Self { stream, direction, metrics, watch, ended }
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
        } else if polled.is_ready() && buf.remaining() > 0 {
            self.ended.cancel();
        }
        polled
    }
}

// A byte that was read moves the tunnel; writing it on is the other half of the same event.
write_through_stream!(Counted<S>);

/// How long a drain leaves a tunnel that is silent behind its client's end. A pod whose program has exited is to be gone within five seconds.
const DRAIN_LINGER: Duration = Duration::from_secs(2);

/// Bytes held for each direction.
const BUFFER: usize = 16 * 1024;
