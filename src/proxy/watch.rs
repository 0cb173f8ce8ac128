//! How long a client's connection may stay without a request, and how long a request's head may take.
//!
//! Whoever serves the connection notes when bytes arrive and leave, and when requests begin and end, and a watcher looks at intervals no longer
//! than the shorter limit: a limit is enforced at the latest one interval after it has passed, and a request costs a few atomic stores instead of
//! a timer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep};

/// What a connection is doing, and since when.
#[derive(Debug)]
pub(super) struct Watch {
    born: Instant,
    /// Milliseconds since `born`, shifted left by one, and the [`Phase`].
    state: AtomicU64,
    /// Requests being served: more than one on an HTTP/2 connection.
    serving: AtomicU32,
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
        Arc::new(Self { born: Instant::now(), state: AtomicU64::new(phase as u64), serving: AtomicU32::new(0), head, idle })
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
        let interval = self.head.min(self.idle);
        loop {
            let (phase, since) = self.read();
            let left = if self.serving.load(Ordering::Relaxed) > 0 {
                interval
            } else {
                let limit = if phase == Phase::Head { self.head } else { self.idle };
                limit.saturating_sub(since.elapsed())
            };
            if left.is_zero() {
                return;
            }
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

    /// Notes that bytes of a request came.
    pub(super) fn bytes_arrived(&self) {
        if self.read().0 == Phase::Idle {
            self.enter(Phase::Head);
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
