//! Signals and draining: the first SIGTERM or SIGINT lets work under way finish, the second stops at once.
//!
//! A [`Drain`] is passed down to everything that runs. It tells when draining began and by when the process will be gone, and it
//! knows the tasks that must end first: hyper's own graceful shutdown does not watch tunnels and opened connections.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Starts draining. Cloning it gives another handle to the same process.
#[derive(Clone, Debug)]
pub struct Shutdown {
    drain: Drain,
}

/// What running work sees of a shutdown.
#[derive(Clone, Debug)]
pub struct Drain {
    started: CancellationToken,
    gone: Arc<OnceLock<Instant>>,
    tasks: TaskTracker,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// The grace passed with this many tasks still running; they are cut off.
    Cut(usize),
    /// Everything finished.
    Finished,
}

/// A shutdown and what sees it.
pub fn channel() -> (Shutdown, Drain) {
    let drain = Drain { started: CancellationToken::new(), gone: Arc::default(), tasks: TaskTracker::new() };
    (Shutdown { drain: drain.clone() }, drain)
}

/// The next SIGTERM or SIGINT, as often as it is called.
#[derive(Debug)]
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

// === impl Shutdown ===

impl Shutdown {
    /// Begins draining; work under way has `grace` to finish. Only the first call counts.
    pub fn drain(&self, grace: Duration) {
        self.drain.gone.get_or_init(|| Instant::now() + grace);
        self.drain.started.cancel();
    }

    /// Whether draining has begun.
    pub fn has_started(&self) -> bool {
        self.drain.has_started()
    }

    /// Waits for `delay`, or less once no task has been under way for `quiet`: whoever might have asked for something is gone.
    pub async fn linger(&self, delay: Duration, quiet: Duration) {
        let end = Instant::now() + delay;
        let mut busy = Instant::now();
        while Instant::now() < end {
            if !self.drain.tasks.is_empty() {
                busy = Instant::now();
            } else if busy.elapsed() >= quiet {
                return;
            }
            // Tasks that end tell nobody as long as others may begin.
            sleep_until(end.min(Instant::now() + LOOK)).await;
        }
    }
}

// === impl Drain ===

impl Drain {
    /// Waits until draining begins.
    pub async fn started(&self) {
        self.started.cancelled().await;
    }

    /// Whether draining has begun.
    pub fn has_started(&self) -> bool {
        self.started.is_cancelled()
    }

    /// When the process will be gone, once draining has begun.
    pub fn gone_at(&self) -> Option<Instant> {
        self.gone.get().copied()
    }

    /// Runs a task that the drain waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits until every task has ended, at most until the grace has passed.
    pub async fn finished(&self) -> Drained {
        self.tasks.close();
        let Some(gone) = self.gone_at() else {
            self.tasks.wait().await;
            return Drained::Finished;
        };
        match timeout_at(gone, self.tasks.wait()).await {
            Ok(()) => Drained::Finished,
            Err(_) => Drained::Cut(self.tasks.len()),
        }
    }
}

// === impl Signals ===

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// Where the system refuses to install the handlers.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next signal and gives its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => SIGTERM,
        }
    }
}

/// The name of the signal by which a supervisor ends a process.
pub const SIGTERM: &str = "SIGTERM";

/// Between two looks at whether something is under way.
const LOOK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long it lingers, in tenths of a second, beside a task that begins and ends at these times.
    async fn lingers(delay: Duration, begins: Duration, ends: Duration) -> u128 {
        let (shutdown, drain) = channel();
        let from = Instant::now();
        tokio::spawn(async move {
            sleep_until(from + begins).await;
            drain.spawn(async move { sleep_until(from + ends).await });
        });
        shutdown.linger(delay, 3 * SECOND).await;
        from.elapsed().as_millis().div_ceil(100)
    }

    #[tokio::test(start_paused = true)]
    async fn it_lingers_until_nothing_was_under_way_for_a_while_and_no_longer_than_told() {
        for (delay, begins, ends, want) in
            [(0, 0, 9, 0), (10, 20, 20, 30), (10, 0, 4, 70), (10, 2, 5, 80), (10, 0, 60, 100), (2, 20, 20, 20)]
        {
            let got = lingers(delay * SECOND, begins * SECOND, ends * SECOND).await;
            assert!(got.abs_diff(want) <= 1, "{delay} s, busy from {begins} to {ends}: {got} instead of {want}");
        }
    }
}
