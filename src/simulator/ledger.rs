//! What happened to the account, to be read from outside.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counts since the start, and the jobs as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Requests that arrived whole.
    pub requests: u64,
    /// The same by operation; `unknown` is what no operation matches.
    pub operations: BTreeMap<String, u64>,
    /// Faults dealt, by kind as scenarios name them.
    pub faults: BTreeMap<String, u64>,
    /// Requests that came into a throttle window after its first refusal.
    pub early: u64,
    /// Requests refused for their credential.
    pub unauthenticated: u64,
    /// Operations that changed something again for the same call, known by its `client-request-id`, method and path.
    pub executed_twice: BTreeMap<String, u64>,
    /// The state of each job by its id.
    pub jobs: BTreeMap<String, String>,
    /// How often each task was made: job in lower case, task, times.
    pub tasks: BTreeMap<String, BTreeMap<String, u64>>,
}

// === impl Ledger ===

impl Ledger {
    /// Tasks that were made at least once.
    pub fn tasks_made(&self) -> usize {
        self.tasks.values().map(BTreeMap::len).sum()
    }

    /// Tasks that were made more than once.
    pub fn tasks_doubled(&self) -> usize {
        self.tasks.values().flat_map(BTreeMap::values).filter(|times| **times > 1).count()
    }

    /// All faults dealt.
    pub fn faults_dealt(&self) -> u64 {
        self.faults.values().sum()
    }
}
