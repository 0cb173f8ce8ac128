//! What all callers share: whether there is a proxy, what time it is, and when everybody rests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, watch};

use crate::support::guard_for;

/// The ground on which callers stand. Where nothing happens to it, a call that gets no answer is lost.
#[derive(Default)]
pub(super) struct Ground {
    /// Even while a proxy runs, odd between two.
    era: watch::Sender<u64>,
    /// Answers so far.
    answers: watch::Sender<u64>,
    pub(super) clock: Arc<Clock>,
    /// Held for reading during a call, for writing while everybody rests.
    rest: RwLock<()>,
    fickle: bool,
}

/// The machine's clock, which can be put forward and back.
#[derive(Debug, Default)]
pub(super) struct Clock {
    ahead: AtomicI64,
}

// === impl Ground ===

impl Ground {
    /// Where callers leave a good connection now and then, for a new one to be made.
    pub(super) fn fickle() -> Self {
        Self { fickle: true, ..Self::default() }
    }

    pub(super) fn era(&self) -> u64 {
        *self.era.borrow()
    }

    /// The proxy ends, or another one runs.
    pub(super) fn turn(&self) {
        self.era.send_modify(|era| *era += 1);
    }

    /// Whether the proxy of `era` may have ended.
    pub(super) fn is_over(&self, era: u64) -> bool {
        era % 2 == 1 || self.era() != era
    }

    /// Waits until there is a proxy.
    pub(super) async fn running(&self) {
        let mut era = self.era.subscribe();
        guard_for(PATIENCE, "the next proxy", era.wait_for(|era| era % 2 == 0)).await.expect("the ground holds the sender");
    }

    /// Counts an answer.
    pub(super) fn progress(&self) {
        self.answers.send_modify(|count| *count += 1);
    }

    pub(super) fn answers(&self) -> u64 {
        *self.answers.borrow()
    }

    /// Waits until so many more calls were answered.
    pub(super) async fn answers_more(&self, count: u64) {
        let mut answers = self.answers.subscribe();
        let until = self.answers() + count;
        let reached = answers.wait_for(|answers| *answers >= until);
        guard_for(PATIENCE, "answers", reached).await.expect("the ground holds the sender");
    }

    pub(super) fn is_fickle(&self, whim: &mut Rng) -> bool {
        self.fickle && whim.u32(0..32) == 0
    }

    /// Kept during a call, so that no rest begins. `None` where one is asked for.
    pub(super) fn try_awake(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.rest.try_read().ok()
    }

    /// The same once the rest is over.
    pub(super) async fn awake(&self) -> RwLockReadGuard<'_, ()> {
        self.rest.read().await
    }

    /// Lets everybody rest once their calls are answered.
    pub(super) async fn rest(&self) -> RwLockWriteGuard<'_, ()> {
        guard_for(PATIENCE, "rest", self.rest.write()).await
    }
}

// === impl Clock ===

impl Clock {
    pub(super) fn now(&self) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let distance = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 { SystemTime::now() - distance } else { SystemTime::now() + distance }
    }

    /// Puts it so many seconds ahead of the true time.
    pub(super) fn set(&self, seconds: i64) {
        self.ahead.store(seconds, Ordering::Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        self.now().duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

/// Longer than any healthy run takes for one step, drains included.
const PATIENCE: Duration = Duration::from_secs(60);
