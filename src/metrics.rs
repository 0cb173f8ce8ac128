//! Every Prometheus family of the program, in a registry of its own.
//!
//! One method per thing that happens, with typed labels; no caller sees a family. `fate` says what the program saw, `class`
//! and `status` what Batch did. `deploy/METRICS.md` lists the families for users, and a test compares the list with the
//! registry. Label values are in [`labels`], the bound on accounts in [`account`](Accounts).

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use prometheus::{Encoder, IntCounter, IntGauge, Opts, Registry, TextEncoder};

use crate::retry::classify::Class;
use crate::retry::outcome::Failure;
use crate::retry::policy::{StopReason, WaitCause};

mod account;
mod family;
pub mod labels;
mod summary;
#[cfg(test)]
mod tests;

pub use self::account::{Account, Accounts};
use self::family::{Counters, Gauges, Histograms, NAMESPACE};
use self::labels::{ConnectionKind, ConnectionResult, Direction, Fate, LeafResult, RetryReason, Side, UnheldReason};
pub use self::summary::{AccountSummary, Summary};

/// What the program counts. Cheap to clone; all clones count into the same registry.
#[derive(Clone, Debug)]
pub struct Metrics {
    families: Arc<Families>,
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

#[derive(Debug)]
struct Families {
    registry: Registry,
    accounts: Accounts,
    attempts: Counters<2>,
    connections: Gauges<1>,
    connections_total: Counters<2>,
    leaf_certificates: Counters<1>,
    panics: IntCounter,
    replay_memory: IntGauge,
    request_duration: Histograms<1>,
    requests: Counters<3>,
    retries: Counters<3>,
    state_refusals: Counters<2>,
    stops: Counters<2>,
    throttled_responses: Counters<2>,
    tls_handshake_failures: Counters<2>,
    tunnel_bytes: Counters<1>,
    unheld_bodies: Counters<1>,
    upstream_errors: Counters<1>,
    upstream_responses: Counters<2>,
    wait: Histograms<1>,
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
        Self { families: Arc::new(families) }
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

    /// An outcome worth a replay was not replayed.
    pub fn stop(&self, operation: &'static str, reason: StopReason) {
        self.families.stops.with([operation, reason.as_str()]).inc();
    }

    /// Batch asked for time. `code` is a known error code, or `other`.
    pub fn throttled(&self, account: &Account, code: &'static str) {
        self.families.throttled_responses.with([account.as_str(), code]).inc();
    }

    /// A wait before a replay is over, or was given up, after `duration`.
    pub fn wait(&self, cause: WaitCause, duration: Duration) {
        self.families.wait.with([cause.as_str()]).observe(duration.as_secs_f64());
    }

    /// Batch refused because of a state or quota that clears by itself. `code` is a known error code.
    pub fn state_refused(&self, operation: &'static str, code: &'static str) {
        self.families.state_refusals.with([operation, code]).inc();
    }

    /// A request's body passed without being held, so that it could be sent only once.
    pub fn unheld_body(&self, reason: UnheldReason) {
        self.families.unheld_bodies.with([reason.as_str()]).inc();
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
        let families = self.families.registry.gather();
        TextEncoder::new()
            .encode(&families, &mut text)
            .expect("gathered families have names and series, and a Vec takes all");
        text
    }

    /// The counts a person asks for first.
    pub fn summary(&self) -> Summary {
        Summary::of(self)
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

// === impl Families ===

impl Families {
    fn new() -> Self {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("the registry is empty");
        let r = &registry;
        Self {
            accounts: Accounts::default(),
            attempts: Counters::register(
                r,
                "attempts_total",
                "Sends to Batch, by what their outcome meant.",
                ["operation", "class"],
            ),
            connections: Gauges::register(r, "connections", "Open client connections.", ["kind"]),
            connections_total: Counters::register(
                r,
                "connections_total",
                "Client connections that ended, by how.",
                ["kind", "result"],
            ),
            leaf_certificates: Counters::register(
                r,
                "leaf_certificates_total",
                "Leaf certificates asked for, by where they came from.",
                ["result"],
            ),
            panics: counter(r, "panics_total", "Tasks that panicked; each is a defect of the proxy."),
            replay_memory: gauge(r, "replay_memory_bytes", "Bytes held now so that they can be sent or handed over again."),
            request_duration: Histograms::register(
                r,
                "request_duration_seconds",
                "Time from a request's head to the end of its answer, replays and waits included.",
                REQUEST_SECONDS,
                ["operation"],
            ),
            requests: Counters::register(
                r,
                "requests_total",
                "Requests of programs to Batch, by how they ended for the program.",
                ["account", "operation", "fate"],
            ),
            retries: Counters::register(
                r,
                "retries_total",
                "Replays, by what made them necessary.",
                ["account", "operation", "reason"],
            ),
            state_refusals: Counters::register(
                r,
                "state_refusals_total",
                "Refusals because of a state or quota that clears by itself.",
                ["operation", "code"],
            ),
            stops: Counters::register(
                r,
                "stops_total",
                "Failures that were not replayed, by what forbade it.",
                ["operation", "reason"],
            ),
            throttled_responses: Counters::register(
                r,
                "throttled_responses_total",
                "Answers by which Batch asked for time.",
                ["account", "code"],
            ),
            tls_handshake_failures: Counters::register(
                r,
                "tls_handshake_failures_total",
                "TLS handshakes that failed, by whose and why.",
                ["side", "reason"],
            ),
            tunnel_bytes: Counters::register(
                r,
                "tunnel_bytes_total",
                "Bytes carried by tunnels that are not opened.",
                ["direction"],
            ),
            unheld_bodies: Counters::register(
                r,
                "unheld_bodies_total",
                "Request bodies that were not held, so that they could be sent only once.",
                ["reason"],
            ),
            upstream_errors: Counters::register(r, "upstream_errors_total", "Sends that got no whole answer.", ["failure"]),
            upstream_responses: Counters::register(
                r,
                "upstream_responses_total",
                "Answers of Batch to single sends.",
                ["account", "status"],
            ),
            wait: Histograms::register(r, "wait_seconds", "Waits before replays.", WAIT_SECONDS, ["cause"]),
            registry,
        }
    }

    /// Makes the series appear whose labels are all known, at zero: a rate needs a value before the first event.
    fn show_closed_sets(&self) {
        for kind in ConnectionKind::ALL {
            self.connections.with([kind.as_str()]);
            for result in ConnectionResult::ALL {
                self.connections_total.with([kind.as_str(), result.as_str()]);
            }
        }
        for direction in Direction::ALL {
            self.tunnel_bytes.with([direction.as_str()]);
        }
        for result in LeafResult::ALL {
            self.leaf_certificates.with([result.as_str()]);
        }
        for reason in UnheldReason::ALL {
            self.unheld_bodies.with([reason.as_str()]);
        }
        for cause in WaitCause::ALL {
            self.wait.with([cause.as_str()]);
        }
    }
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    let counter = IntCounter::with_opts(Opts::new(name, help).namespace(NAMESPACE)).expect("the name is a valid constant");
    registry.register(Box::new(counter.clone())).expect("the name is used once");
    counter
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::with_opts(Opts::new(name, help).namespace(NAMESPACE)).expect("the name is a valid constant");
    registry.register(Box::new(gauge.clone())).expect("the name is used once");
    gauge
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The `operation` label of a request that the operation table does not list.
pub const UNLISTED: &str = "unlisted";

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Upper bounds for whole requests, in seconds. A healthy answer takes milliseconds; from 30 s on the bounds are the limits
/// that matter: the service's own (30), the default deadline (50), the read timeouts of Java (60), msrest (100) and the
/// Python SDK (300), and the longer deadline patient clients get (240).
const REQUEST_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 50.0, 60.0, 100.0, 240.0,
    300.0,
];

/// Upper bounds for waits, in seconds. The default backoff waits 2 to 3, 4 to 6, 8 to 12 and then 10 to 15, and each of
/// these ends on a bound; below are backoffs set shorter, above are long hints.
const WAIT_SECONDS: &[f64] =
    &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 15.0, 30.0, 60.0, 120.0, 300.0];
