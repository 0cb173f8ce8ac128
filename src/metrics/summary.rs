//! The counts a person asks for first, read from the same families that Prometheus reads.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::Metrics;
use super::family::Sample;
use super::labels::Fate;
use super::throttle::ThrottleSummary;

/// Where things stand, by account.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// By the `account` label.
    pub accounts: BTreeMap<String, AccountSummary>,
    /// Open client connections by kind.
    pub connections: BTreeMap<String, u64>,
}

/// One account's counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AccountSummary {
    /// Finished requests by fate.
    pub requests: BTreeMap<String, u64>,
    /// Replays by reason.
    pub retries: BTreeMap<String, u64>,
    /// Throttled answers.
    pub throttled: u64,
    /// Answers by status code.
    pub upstream_responses: BTreeMap<String, u64>,
    /// The account's gate and budget; of those that share the label `other`, one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<ThrottleSummary>,
}

/// All accounts together, for one line at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Opened requests that ended.
    pub requests: u64,
    /// Sends after the first.
    pub replays: u64,
    /// Failures worth a replay that were not replayed (again).
    pub given_up: u64,
    /// The waits of all requests added up; those of requests side by side count each.
    pub waited: Duration,
}

/// Requests by fate, in the order of [`Fate::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FateCounts(pub [u64; Fate::ALL.len()]);

// === impl FateCounts ===

impl FateCounts {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let mut counts = Self::default();
        for sample in metrics.families.requests.samples() {
            let fate = Fate::ALL.iter().position(|fate| fate.as_str() == sample.label("fate"));
            if let Some(fate) = fate {
                counts.0[fate] += count(&sample);
            }
        }
        counts
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|fate| self.0[fate].saturating_sub(earlier.0[fate])))
    }

    /// Whether nothing is counted.
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }
}

// === impl Totals ===

impl Totals {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let families = &metrics.families;
        let sum = |samples: Vec<Sample>| samples.iter().map(count).sum();
        Self {
            requests: sum(families.requests.samples()),
            replays: sum(families.retries.samples()),
            given_up: sum(families.stops.samples()),
            waited: Duration::try_from_secs_f64(families.wait.sum()).unwrap_or_default(),
        }
    }
}

// === impl Summary ===

impl Summary {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let mut summary = Self::default();
        let families = &metrics.families;
        for sample in families.requests.samples() {
            add(&mut summary.account(&sample).requests, &sample, "fate");
        }
        for sample in families.retries.samples() {
            add(&mut summary.account(&sample).retries, &sample, "reason");
        }
        for sample in families.throttled_responses.samples() {
            summary.account(&sample).throttled += count(&sample);
        }
        for sample in families.upstream_responses.samples() {
            add(&mut summary.account(&sample).upstream_responses, &sample, "status");
        }
        metrics.throttles.look(|states| {
            for state in states {
                let account = summary.accounts.entry(state.account.as_str().to_owned()).or_default();
                account.throttle = Some(state.into());
            }
        });
        for sample in families.connections.samples() {
            add(&mut summary.connections, &sample, "kind");
        }
        summary
    }

    fn account(&mut self, sample: &Sample) -> &mut AccountSummary {
        self.accounts.entry(sample.label("account").to_owned()).or_default()
    }
}

fn add(counts: &mut BTreeMap<String, u64>, sample: &Sample, label: &str) {
    *counts.entry(sample.label(label).to_owned()).or_default() += count(sample);
}

fn count(sample: &Sample) -> u64 {
    // Saturates, and the families read here hold whole numbers below 2^53.
    sample.value as u64
}
