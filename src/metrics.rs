//! Every Prometheus family of the program, in a registry of its own.
//!
//! One method per thing that happens, with typed labels; no caller sees a family. `fate` says what the program saw, `class`
//! and `status` what Batch did. `deploy/METRICS.md` lists the families for users, and a test compares the list with the
//! registry. The families are declared in `families`, label values in [`labels`], and [`Accounts`] bounds the accounts. What
//! counts do not tell, how single requests went, is kept in `replays`.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use prometheus::{Encoder, TextEncoder};

use crate::retry::classify::Class;
use crate::retry::outcome::Failure;
use crate::retry::policy::{StopReason, WaitCause};

mod account;
mod families;
mod family;
pub mod labels;
mod replays;
mod summary;
#[cfg(test)]
mod tests;
mod throttle;

pub use self::account::{Account, Accounts};
use self::families::Families;
use self::family::Gauges;
use self::labels::{
    ConnectionKind, ConnectionResult, Direction, EchoResolution, Fate, LeafResult, ReloadResult, RepairResult, RetryReason,
    Side, UnheldReason,
};
use self::replays::Replays;
pub use self::replays::{Replay, Trail, Waits};
pub use self::summary::{AccountSummary, FateCounts, Summary, Totals};
use self::throttle::Source;
pub use self::throttle::{ThrottleState, ThrottleSummary};

/// What the program counts. Cheap to clone; all clones count into the same registry.
#[derive(Clone, Debug)]
pub struct Metrics {
    families: Arc<Families>,
    throttles: Arc<Source>,
    replays: Replays,
}

/// What was built, as `build_info` and the status page tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The package's version.
    pub version: &'static str,
    /// The source revision, `unknown` where the build was not told.
    pub revision: &'static str,
}

/// Counts a client's connection as open until it is dropped, and then its result.
///
/// Dropped without [`ConnectionGuard::end`] it counts as failed: nobody saw it end in order.
#[derive(Debug)]
#[must_use = "the connection counts as open only while the guard lives"]
pub struct ConnectionGuard {
    families: Arc<Families>,
    kind: ConnectionKind,
    result: ConnectionResult,
}

// === impl Metrics ===

impl Metrics {
    /// An empty set of families, `build_info` and the process's own figures aside.
    pub fn new(build: BuildInfo) -> Self {
        let families = Families::new();
        let help = "Always 1; the labels tell what is running.";
        Gauges::register(&families.registry, "build_info", help, ["version", "revision"])
            .with([build.version, build.revision])
            .set(1);
        families.show_closed_sets();
        Self { families: Arc::new(families), throttles: Arc::default(), replays: Replays::default() }
    }

    /// Where the throttles of accounts are asked for when somebody looks.
    pub fn show_throttles(&self, ask: Box<dyn Fn() -> Vec<ThrottleState> + Send + Sync>) {
        self.throttles.set(ask);
    }

    /// The bounded label of `host` (no port).
    pub fn account(&self, host: &str) -> Account {
        self.families.accounts.label(host)
    }

    /// An opened request ended; `duration` is from the end of its head to the end of its answer.
    ///
    /// `operation` is a name of the operation table or [`UNLISTED`].
    pub fn request(&self, account: &Account, operation: &'static str, fate: Fate, duration: Duration) {
        self.families.requests.with([account.as_str(), operation, fate.as_str()]).inc();
        self.families.request_duration.with([operation]).observe(duration.as_secs_f64());
    }

    /// One attempt ended and was judged.
    pub fn attempt(&self, operation: &'static str, class: Class) {
        self.families.attempts.with([operation, class.as_str()]).inc();
    }

    /// A request is sent again.
    pub fn retry(&self, account: &Account, operation: &'static str, reason: RetryReason) {
        self.families.retries.with([account.as_str(), operation, reason.as_str()]).inc();
    }

    /// A download broke off, and this came of continuing it.
    pub fn repair(&self, result: RepairResult) {
        self.families.repaired_downloads.with([result.as_str()]).inc();
    }

    /// A request that was replayed or given up has ended. Its `number` is given here.
    pub fn replay_ended(&self, replay: Replay) {
        self.replays.add(replay);
    }

    /// An outcome worth a replay was not replayed.
    pub fn stop(&self, operation: &'static str, reason: StopReason) {
        self.families.stops.with([operation, reason.as_str()]).inc();
    }

    /// An answer that may have come of an earlier send was dealt with.
    pub fn echo(&self, operation: &'static str, resolution: EchoResolution) {
        self.families.echoes.with([operation, resolution.as_str()]).inc();
    }

    /// Batch asked for time. `code` is a known error code, or `other`.
    pub fn throttled(&self, account: &Account, code: &'static str) {
        self.families.throttled_responses.with([account.as_str(), code]).inc();
    }

    /// A wait before a send is over, or was given up, after `duration`.
    pub fn wait(&self, cause: WaitCause, duration: Duration) {
        self.families.wait.with([cause.as_str()]).observe(duration.as_secs_f64());
    }

    /// Batch refused because of a state or quota that clears by itself. `code` is a known error code.
    pub fn state_refused(&self, operation: &'static str, code: &'static str) {
        self.families.state_refusals.with([operation, code]).inc();
    }

    /// A body passed without being held: a request that could be sent only once, or an answer for which there was no memory.
    pub fn unheld_body(&self, reason: UnheldReason) {
        self.families.unheld_bodies.with([reason.as_str()]).inc();
    }

    /// The settings were read anew.
    pub fn reloaded(&self, result: ReloadResult) {
        self.families.config_reloads.with([result.as_str()]).inc();
        self.families.config_last_reload_successful.set(i64::from(result != ReloadResult::Failed));
    }

    /// Some task panicked.
    pub fn panicked(&self) {
        self.families.panics.inc();
    }

    /// Batch answered an attempt.
    pub fn upstream_response(&self, account: &Account, status: StatusCode) {
        self.families.upstream_responses.with([account.as_str(), status.as_str()]).inc();
    }

    /// An attempt ended without a whole answer.
    pub fn upstream_error(&self, failure: Failure) {
        self.families.upstream_errors.with([failure.as_str()]).inc();
    }

    /// A client's connection turned out to be of this kind.
    pub fn connection(&self, kind: ConnectionKind) -> ConnectionGuard {
        self.families.connections.with([kind.as_str()]).inc();
        ConnectionGuard { families: Arc::clone(&self.families), kind, result: ConnectionResult::Failed }
    }

    /// A tunnel carried `bytes`.
    pub fn tunnelled(&self, direction: Direction, bytes: u64) {
        self.families.tunnel_bytes.with([direction.as_str()]).inc_by(bytes);
    }

    /// A TLS handshake failed. `reason` is the label value of the failure's own enum, which belongs to `tls`.
    pub fn handshake_failed(&self, side: Side, reason: &'static str) {
        self.families.tls_handshake_failures.with([side.as_str(), reason]).inc();
    }

    /// A leaf certificate was asked for.
    pub fn leaf(&self, result: LeafResult) {
        self.families.leaf_certificates.with([result.as_str()]).inc();
    }

    /// `bytes` more are held for replays.
    pub fn hold_memory(&self, bytes: u64) {
        self.families.replay_memory.add(whole(bytes));
    }

    /// `bytes` held for replays are free again.
    pub fn release_memory(&self, bytes: u64) {
        self.families.replay_memory.sub(whole(bytes));
    }

    /// All families with at least one series, in the text format [`CONTENT_TYPE`] names.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let families = self.throttles.look(|states| {
            self.families.show_throttles(states);
            self.families.registry.gather()
        });
        TextEncoder::new()
            .encode(&families, &mut text)
            .expect("gathered families have names and series, and a Vec takes all");
        text
    }

    /// The counts a person asks for first.
    pub fn summary(&self) -> Summary {
        Summary::of(self)
    }

    /// The last requests that were replayed or given up, the oldest first; only those whose number is higher than `number`.
    pub fn replays_after(&self, number: u64) -> Vec<Arc<Replay>> {
        self.replays.after(number)
    }

    /// Requests that ended since the start, all accounts together.
    pub fn requests_by_fate(&self) -> FateCounts {
        FateCounts::of(self)
    }

    /// All accounts added up.
    pub fn totals(&self) -> Totals {
        Totals::of(self)
    }
}

// === impl BuildInfo ===

impl BuildInfo {
    /// This build. The revision comes from `BATCH_RETRY_PROXY_REVISION` at compile time.
    pub const fn current() -> Self {
        let revision = match option_env!("BATCH_RETRY_PROXY_REVISION") {
            Some(revision) => revision,
            None => "unknown",
        };
        Self { version: env!("CARGO_PKG_VERSION"), revision }
    }
}

// === impl ConnectionGuard ===

impl ConnectionGuard {
    /// Ends the connection with this result.
    pub fn end(mut self, result: ConnectionResult) {
        self.result = result;
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.families.connections.with([self.kind.as_str()]).dec();
        self.families.connections_total.with([self.kind.as_str(), self.result.as_str()]).inc();
    }
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The `operation` label of a request that the operation table does not list.
pub const UNLISTED: &str = "unlisted";

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;
