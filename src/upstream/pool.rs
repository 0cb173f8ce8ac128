//! Connections that wait for their next request.
//!
//! The one that was used last is used next. A request that finds none makes one, and takes one that another request gives back where that comes
//! first; what it had begun to make is then kept for those that follow.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::connection::HttpConnection;
use super::origin::Origin;

/// The idle connections to all origins. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    origins: Mutex<Origins>,
    idle_timeout: Duration,
}

#[derive(Debug, Default)]
struct Origins {
    known: HashMap<Origin, Idle>,
    /// Whether a task lets go of what is idle for too long.
    swept: bool,
}

/// What is idle, or waited for, at one origin.
#[derive(Debug, Default)]
struct Idle {
    /// The last one was used last.
    connections: Vec<(HttpConnection, Instant)>,
    waiting: VecDeque<oneshot::Sender<HttpConnection>>,
}

// === impl Pool ===

impl Pool {
    /// An empty pool that keeps a connection for `idle_timeout`.
    pub(super) fn new(idle_timeout: Duration) -> Self {
        Self(Arc::new(Shared { origins: Mutex::default(), idle_timeout }))
    }

    /// An idle connection, or one that `connect` makes.
    ///
    /// # Errors
    /// Those of `connect`.
    pub(super) async fn take<E, F>(&self, origin: &Origin, connect: impl FnOnce() -> F) -> Result<HttpConnection, E>
    where
        F: Future<Output = Result<HttpConnection, E>> + Send + 'static,
        E: Send,
    {
        if let Some(idle) = poll_fn(|cx| Poll::Ready(self.idle(origin, cx))).await {
            return Ok(idle);
        }
        let (giver, mut given) = oneshot::channel();
        self.wait_for(origin, giver);
        let mut connecting = Box::pin(connect());
        tokio::select! {
            biased;
            connected = &mut connecting => {
                given.close();
                if let Ok(given) = given.try_recv() {
                    self.put(origin, given);
                }
                connected
            }
            Ok(given) = &mut given => {
                let (pool, origin) = (self.clone(), origin.clone());
                tokio::spawn(async move {
                    if let Ok(connection) = connecting.await {
                        pool.put(&origin, connection);
                    }
                });
                Ok(given)
            }
        }
    }

    /// Keeps a connection that can take a request, or gives it to the one who has waited longest.
    pub(super) fn put(&self, origin: &Origin, mut connection: HttpConnection) {
        let mut origins = self.0.lock();
        let idle = match origins.known.get_mut(origin) {
            Some(idle) => idle,
            None => origins.known.entry(origin.clone()).or_default(),
        };
        while let Some(waiting) = idle.waiting.pop_front() {
            match waiting.send(connection) {
                Ok(()) => return,
                Err(refused) => connection = refused,
            }
        }
        if self.0.idle_timeout.is_zero() {
            return;
        }
        idle.connections.push((connection, Instant::now()));
        // What is given back while the runtime ends needs no sweep.
        if !origins.swept
            && let Ok(runtime) = Handle::try_current()
        {
            origins.swept = true;
            runtime.spawn(sweep(Arc::downgrade(&self.0)));
        }
    }

    fn wait_for(&self, origin: &Origin, giver: oneshot::Sender<HttpConnection>) {
        let mut origins = self.0.lock();
        let waiting = &mut origins.known.entry(origin.clone()).or_default().waiting;
        // Those that gave up wait no more, though nothing comes back.
        while waiting.front().is_some_and(oneshot::Sender::is_closed) {
            waiting.pop_front();
        }
        waiting.push_back(giver);
    }

    /// The connection that was used last and is still good.
    fn idle(&self, origin: &Origin, cx: &mut Context<'_>) -> Option<HttpConnection> {
        loop {
            let (mut connection, since) = self.0.lock().known.get_mut(origin)?.connections.pop()?;
            // The other side may have closed it meanwhile.
            if since.elapsed() < self.0.idle_timeout && connection.is_ready(cx) {
                return Some(connection);
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Origins> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of what was closed, or is idle for too long. Ready once nothing is left.
    fn poll_sweep(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut gone = Vec::new();
        let mut origins = self.lock();
        for idle in origins.known.values_mut() {
            idle.waiting.retain(|waiting| !waiting.is_closed());
            let is_over = |(connection, since): &mut (HttpConnection, Instant)| {
                since.elapsed() >= self.idle_timeout || !connection.is_ready(cx)
            };
            gone.extend(idle.connections.extract_if(.., is_over));
        }
        origins.known.retain(|_, idle| !idle.connections.is_empty() || !idle.waiting.is_empty());
        origins.swept = !origins.known.is_empty();
        let left = origins.swept;
        drop(origins);
        // Sockets are closed once nobody waits for the lock.
        drop(gone);
        if left { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// Sweeps at intervals, and when an idle connection has something to tell, until nothing is left.
async fn sweep(shared: Weak<Shared>) {
    loop {
        let Some(interval) = shared.upgrade().map(|shared| shared.idle_timeout.min(INTERVAL)) else { return };
        let mut pause = pin!(sleep(interval));
        let over = poll_fn(|cx| {
            let Some(shared) = shared.upgrade() else { return Poll::Ready(true) };
            match (shared.poll_sweep(cx), pause.as_mut().poll(cx)) {
                (Poll::Ready(()), _) => Poll::Ready(true),
                (Poll::Pending, Poll::Ready(())) => Poll::Ready(false),
                (Poll::Pending, Poll::Pending) => Poll::Pending,
            }
        });
        if over.await {
            return;
        }
    }
}

/// Between two looks at the idle connections.
const INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
