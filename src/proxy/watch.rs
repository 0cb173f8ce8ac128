//! How long a client's connection may stay without a request, and how long a request's head may take.
//!
//! hyper's own header timeout runs while a kept-alive connection idles too, so it cannot tell a slow request from a quiet client. Here the
//! stream notes when bytes arrive and leave, the service notes when requests begin and end, and a watcher looks at intervals no longer than the
//! shorter limit: a limit is enforced at the latest one interval after it has passed, and a request costs a few atomic stores.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};

use crate::upstream::Sips;

/// What a connection is doing, and since when.
#[derive(Debug)]
pub(super) struct Watch {
    born: Instant,
    /// Milliseconds since `born`, shifted left by one, and the [`Phase`].
    state: AtomicU64,
    /// Requests being served: more than one on an HTTP/2 connection.
    serving: AtomicU32,
    /// Whether all that was written has left.
    flushed: AtomicBool,
    head: Duration,
    idle: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first bytes of a request are here, or were due since the connection began.
    Head = 0,
    /// No request is on its way in.
    Idle = 1,
}

/// What became of a connection that nothing was asked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lull {
    /// A limit has passed.
    Expired,
    /// Nothing is under way, and nothing waits to be written.
    Quiet,
}

/// A stream that tells its [`Watch`] of arriving bytes.
#[derive(Debug)]
pub(super) struct Watched<S> {
    /// Given back before anything new.
    prefix: Bytes,
    stream: S,
    watch: Arc<Watch>,
}

/// An answer whose connection counts as busy until it is written: a long download is not an idle connection.
#[derive(Debug)]
pub(super) struct BusyBody<B> {
    body: B,
    _busy: Busy,
}

/// Marks a request as being served until dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Watch>);

// === impl Watch ===

impl Watch {
    /// A connection whose first request's head is due within `head`.
    pub(super) fn awaiting_head(head: Duration, idle: Duration) -> Arc<Self> {
        Self::new(Phase::Head, head, idle)
    }

    /// A connection, or tunnel, that may be quiet for `idle` from now on.
    pub(super) fn idle(head: Duration, idle: Duration) -> Arc<Self> {
        Self::new(Phase::Idle, head, idle)
    }

    fn new(phase: Phase, head: Duration, idle: Duration) -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            state: AtomicU64::new(phase as u64),
            serving: AtomicU32::new(0),
            flushed: AtomicBool::new(true),
            head,
            idle,
        })
    }

    /// Marks a request as being served.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.serving.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Notes that something happened on a connection that has no requests.
    pub(super) fn touch(&self) {
        self.enter(Phase::Idle);
    }

    /// Waits until a limit has passed.
    pub(super) async fn expired(&self) {
        self.lull(NEVER).await;
    }

    /// Waits until no request was under way for `quiet` and all answers have left, or until a limit has passed.
    pub(super) async fn lull(&self, quiet: Duration) -> Lull {
        let interval = self.head.min(self.idle).min(quiet);
        loop {
            let (phase, since) = self.read();
            let passed = since.elapsed();
            let left = if self.serving.load(Ordering::Relaxed) > 0 {
                interval
            } else {
                let limit = if phase == Phase::Head { self.head } else { self.idle };
                if passed >= limit {
                    return Lull::Expired;
                }
                let at_rest = phase == Phase::Idle && self.flushed.load(Ordering::Relaxed);
                if at_rest && passed >= quiet {
                    return Lull::Quiet;
                }
                let due = if at_rest { limit.min(quiet) } else { limit };
                due - passed
            };
            sleep(left.min(interval)).await;
        }
    }

    /// Waits until nothing has happened for `limit`.
    pub(super) async fn quiet_for(&self, limit: Duration) {
        loop {
            let left = (self.read().1 + limit).saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }

    fn enter(&self, phase: Phase) {
        let since = self.born.elapsed().as_millis() as u64;
        self.state.store(since << 1 | phase as u64, Ordering::Relaxed);
    }

    fn read(&self) -> (Phase, Instant) {
        let state = self.state.load(Ordering::Relaxed);
        let phase = if state & 1 == Phase::Head as u64 { Phase::Head } else { Phase::Idle };
        (phase, self.born + Duration::from_millis(state >> 1))
    }

    fn bytes_arrived(&self) {
        if self.read().0 == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// Notes how an attempt to write ended. hyper lets go of an answer's body once it is in its own buffer: what a slow reader takes of it still
    /// counts as life, and what nobody takes does not.
    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        self.flushed.store(false, Ordering::Relaxed);
        if matches!(written, Poll::Ready(Ok(count)) if *count > 0) && self.read().0 == Phase::Idle {
            self.touch();
        }
    }
}

// === impl Busy ===

impl Busy {
    /// Lasts as long as `body`.
    pub(super) fn until_written<B>(self, body: B) -> BusyBody<B> {
        BusyBody { body, _busy: self }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
        self.0.serving.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl BusyBody ===

impl<B: Body + Unpin> Body for BusyBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Watched ===

impl<S> Watched<S> {
    /// Watches `stream`.
    pub(super) fn new(stream: S, watch: Arc<Watch>) -> Self {
        Self { prefix: Bytes::new(), stream, watch }
    }

    /// The stream alone.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// The same with what was read from it and not used.
    pub(super) fn with_read(self, prefix: Bytes) -> Self {
        Self { prefix, ..self }
    }
}

impl<S: AsyncBufRead + Unpin> Watched<Sips<S>> {
    /// Waits until there is something to read. `false` where nothing will come any more.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if !self.prefix.is_empty() {
            return Poll::Ready(true);
        }
        self.stream.poll_peek(cx).map(|more| more.unwrap_or(false))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = if self.prefix.is_empty() {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        } else {
            let count = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix.split_to(count));
            Poll::Ready(Ok(()))
        };
        if buf.filled().len() > before {
            self.watch.bytes_arrived();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch.wrote(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch.flushed.store(flushed.is_ready(), Ordering::Relaxed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What ends never comes to rest: what the client still sends belongs to a request that was answered without it.
        self.watch.flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch.wrote(&written);
        written
    }
}

/// Longer than any limit.
pub(super) const NEVER: Duration = Duration::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(300);

    async fn expires_after(watch: &Watch) -> Duration {
        let start = Instant::now();
        watch.expired().await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_sends_no_head_is_given_the_head_limit() {
        let watch = Watch::awaiting_head(HEAD, IDLE);
        assert_eq!(expires_after(&watch).await, HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_connection_is_given_the_idle_limit() {
        let watch = Watch::idle(HEAD, IDLE);
        assert_eq!(expires_after(&watch).await, IDLE);
    }

    const QUIET: Duration = Duration::from_millis(250);

    #[tokio::test(start_paused = true)]
    async fn a_lull_begins_when_nothing_was_asked_for_a_moment_and_everything_has_left() {
        let start = Instant::now();
        let watch = Watch::idle(HEAD, IDLE);
        let busy = watch.busy();
        let later = watch.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(3)).await;
            later.wrote(&Poll::Ready(Ok(1)));
            drop(busy);
            sleep(Duration::from_secs(2)).await;
            later.flushed.store(true, Ordering::Relaxed);
        });
        assert_eq!(watch.lull(QUIET).await, Lull::Quiet);
        assert!((5.0..6.0).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
        watch.bytes_arrived();
        let start = Instant::now();
        assert_eq!(watch.lull(QUIET).await, Lull::Expired);
        assert!(start.elapsed() >= HEAD && start.elapsed() <= HEAD + QUIET, "{:?}", start.elapsed());
        watch.touch();
        watch.wrote(&Poll::Pending);
        let start = Instant::now();
        assert_eq!(watch.lull(NEVER).await, Lull::Expired);
        assert_eq!(start.elapsed(), IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_stops_half_way_is_cut_within_two_head_limits() {
        let watch = Watch::idle(HEAD, IDLE);
        let later = watch.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(25)).await;
            later.bytes_arrived();
        });
        let after = expires_after(&watch).await - Duration::from_secs(25);
        assert!(after >= HEAD && after <= 2 * HEAD, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_under_way_has_no_limit_and_the_idle_limit_begins_at_its_end() {
        let watch = Watch::idle(HEAD, IDLE);
        let busy = watch.busy();
        tokio::spawn(async move {
            sleep(Duration::from_secs(1000)).await;
            drop(busy);
        });
        let after = expires_after(&watch).await - Duration::from_secs(1000);
        assert!(after >= IDLE && after <= IDLE + HEAD, "{after:?}");
    }
}
