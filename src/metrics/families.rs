//! The families themselves: names, help, label names and buckets, registered together.

use prometheus::{IntCounter, IntGauge, Opts, Registry};

use super::account::Accounts;
use super::family::{Counters, Gauges, Histograms, Levels, NAMESPACE};
use super::labels::{ConnectionKind, ConnectionResult, Direction, LeafResult, ReloadResult, RepairResult, UnheldReason};
use super::throttle::ThrottleState;
use crate::retry::policy::WaitCause;

/// Every family but `build_info`, which never changes.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) registry: Registry,
    pub(super) accounts: Accounts,
    pub(super) attempts: Counters<2>,
    pub(super) budget_balance: Levels<1>,
    pub(super) config_last_reload_successful: IntGauge,
    pub(super) config_reloads: Counters<1>,
    pub(super) connections: Gauges<1>,
    pub(super) connections_total: Counters<2>,
    pub(super) echoes: Counters<2>,
    pub(super) leaf_certificates: Counters<1>,
    pub(super) panics: IntCounter,
    pub(super) repaired_downloads: Counters<1>,
    pub(super) replay_memory: IntGauge,
    pub(super) request_duration: Histograms<1>,
    pub(super) requests: Counters<3>,
    pub(super) retries: Counters<3>,
    pub(super) state_refusals: Counters<2>,
    pub(super) stops: Counters<2>,
    pub(super) throttle_gate_closed: Levels<1>,
    pub(super) throttle_gate_waiting: Levels<1>,
    pub(super) throttle_pace: Levels<1>,
    pub(super) throttled_responses: Counters<2>,
    pub(super) tls_handshake_failures: Counters<2>,
    pub(super) tunnel_bytes: Counters<1>,
    pub(super) unheld_bodies: Counters<1>,
    pub(super) upstream_errors: Counters<1>,
    pub(super) upstream_responses: Counters<2>,
    pub(super) wait: Histograms<1>,
}

// === impl Families ===

impl Families {
    pub(super) fn new() -> Self {
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
            budget_balance: Levels::register(
                r,
                "budget_balance",
                "Replays that the budget would grant now, besides those that the gate paces.",
                ["account"],
            ),
            config_last_reload_successful: gauge(
                r,
                "config_last_reload_successful",
                "Whether the settings that were read last could be used; 1 also before the first reload.",
            ),
            config_reloads: Counters::register(
                r,
                "config_reloads_total",
                "Times that the settings were read anew, by what came of it.",
                ["result"],
            ),
            connections: Gauges::register(r, "connections", "Open client connections.", ["kind"]),
            connections_total: Counters::register(
                r,
                "connections_total",
                "Client connections that ended, by how.",
                ["kind", "result"],
            ),
            echoes: Counters::register(
                r,
                "echoes_total",
                "Answers to replays that may have come of an earlier send, by what was made of them.",
                ["operation", "resolution"],
            ),
            leaf_certificates: Counters::register(
                r,
                "leaf_certificates_total",
                "Leaf certificates asked for, by where they came from.",
                ["result"],
            ),
            panics: counter(r, "panics_total", "Tasks that panicked; each is a defect of the proxy."),
            repaired_downloads: Counters::register(
                r,
                "repaired_downloads_total",
                "Downloads that broke off under way, by what came of continuing them.",
                ["result"],
            ),
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
            throttle_gate_closed: Levels::register(
                r,
                "throttle_gate_closed",
                "Whether Batch asked for time that has not passed yet: nothing is sent to the account.",
                ["account"],
            ),
            throttle_gate_waiting: Levels::register(
                r,
                "throttle_gate_waiting",
                "Requests that wait at the account's gate.",
                ["account"],
            ),
            throttle_pace: Levels::register(
                r,
                "throttle_pace_per_second",
                "Requests a second that the gate lets pass; no series while it is out of the way.",
                ["account"],
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
                "Bodies of requests, and of answers where memory was used up, that passed without being held for a replay.",
                ["reason"],
            ),
            upstream_errors: Counters::register(r, "upstream_errors_total", "Sends that got no whole answer.", ["failure"]),
            upstream_responses: Counters::register(
                r,
                "upstream_responses_total",
                "Answers of Batch to single sends.",
                ["account", "status"],
            ),
            wait: Histograms::register(
                r,
                "wait_seconds",
                "Waits before sends, by what set their length.",
                WAIT_SECONDS,
                ["cause"],
            ),
            registry,
        }
    }

    /// Shows the throttles as they are.
    pub(super) fn show_throttles(&self, states: &[ThrottleState]) {
        for family in [&self.throttle_gate_closed, &self.throttle_gate_waiting, &self.throttle_pace, &self.budget_balance] {
            family.clear();
        }
        // Accounts that share a label, those past the limit, are added up.
        for state in states {
            let account = [state.account.as_str()];
            self.throttle_gate_closed.with(account).add(if state.closed_for.is_some() { 1.0 } else { 0.0 });
            self.throttle_gate_waiting.with(account).add(state.waiting as f64);
            self.budget_balance.with(account).add(state.budget_balance);
            if let Some(pace) = state.pace_per_second {
                self.throttle_pace.with(account).add(pace);
            }
        }
    }

    /// Makes the series appear whose labels are all known, at zero: a rate needs a value before the first event.
    pub(super) fn show_closed_sets(&self) {
        // The program started with settings that could be used.
        self.config_last_reload_successful.set(1);
        for result in ReloadResult::ALL {
            self.config_reloads.with([result.as_str()]);
        }
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
        for result in RepairResult::ALL {
            self.repaired_downloads.with([result.as_str()]);
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
