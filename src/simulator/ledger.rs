//! What happened to the account, to be read from outside.

use std::collections::BTreeMap;

use serde::Serialize;

use super::register::Life;

/// Counts since the start, and the account as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Requests that arrived whole.
    pub requests: u64,
    /// The same by operation; `unknown` is what no operation matches.
    pub operations: BTreeMap<String, u64>,
    /// Faults dealt, by kind as scenarios name them; `limit` is what came past the account's limit.
    pub faults: BTreeMap<String, u64>,
    /// Changes whose answer was lost to a fault, by operation.
    pub lost: BTreeMap<String, u64>,
    /// Requests that came into a throttle window so long after its first refusal that their sender could have known.
    pub early: u64,
    /// Requests that met no fault, by the second in which they came, counted from the first of all.
    pub let_in: BTreeMap<u64, u64>,
    /// Requests refused for their credential.
    pub unauthenticated: u64,
    /// Requests that came again after the same call had changed something, by operation. It is what a replay does after a lost answer, and what
    /// must not happen to an operation that is harmful when done twice.
    pub asked_again: BTreeMap<String, u64>,
    /// Operations that changed something again for the same call, known by its `client-request-id`, method and path.
    pub executed_twice: BTreeMap<String, u64>,
    /// The state of each job by its id.
    pub jobs: BTreeMap<String, String>,
    /// How often each task was made: job in lower case, task, times.
    pub tasks: BTreeMap<String, BTreeMap<String, u64>>,
    /// What became of all that was made or deleted, by path with ids in lower case, such as `/jobs/j/tasks/t`.
    pub lives: BTreeMap<String, Life>,
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

    /// All deletions that were carried out.
    pub fn deletions(&self) -> u64 {
        self.lives.values().map(|life| life.deleted_by.len() as u64).sum()
    }

    /// The most requests that met no fault in one second.
    pub fn busiest_second(&self) -> u64 {
        self.let_in.values().copied().max().unwrap_or(0)
    }

    /// Requests past the account's limit.
    pub fn past_limit(&self) -> u64 {
        self.faults.get(PAST_LIMIT).copied().unwrap_or(0)
    }

    /// All faults dealt.
    pub fn faults_dealt(&self) -> u64 {
        self.faults.values().sum()
    }

    /// All changes whose answer was lost.
    pub fn answers_lost(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// What a refusal for the account's limit is called among the faults.
pub(super) const PAST_LIMIT: &str = "limit";
