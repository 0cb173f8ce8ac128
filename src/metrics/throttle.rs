//! The throttles of accounts, seen from outside: asked for when somebody looks, because time alone changes them.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::Account;

/// One account's gate and budget at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ThrottleState {
    /// Whose they are.
    pub account: Account,
    /// How long the service still wants nothing.
    pub closed_for: Option<Duration>,
    /// How many wait.
    pub waiting: u64,
    /// Requests a second; `None` while the gate is out of the way.
    pub pace_per_second: Option<f64>,
    /// Until the next one that waits is let through.
    pub next_opening: Option<Duration>,
    /// Replays that the budget would grant.
    pub budget_balance: f64,
}

/// The same in the status document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ThrottleSummary {
    /// `open`, `paced` or `closed`.
    pub gate: &'static str,
    /// Seconds until the service wants requests again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_for_seconds: Option<f64>,
    /// Requests a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace_per_second: Option<f64>,
    /// Requests that wait.
    pub waiting: u64,
    /// Seconds until the next of them is let through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_opening_seconds: Option<f64>,
    /// Replays that the budget would grant.
    pub budget_balance: f64,
}

/// Where the states are asked for.
#[derive(Default)]
pub(super) struct Source(Mutex<Option<Ask>>);

type Ask = Box<dyn Fn() -> Vec<ThrottleState> + Send + Sync>;

// === impl Source ===

impl Source {
    pub(super) fn set(&self, ask: Ask) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ask);
    }

    /// Hands the states to `look`; one looks at a time.
    pub(super) fn look<T>(&self, look: impl FnOnce(&[ThrottleState]) -> T) -> T {
        let ask = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        look(&ask.as_ref().map(|ask| ask()).unwrap_or_default())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

// === impl ThrottleSummary ===

impl From<&ThrottleState> for ThrottleSummary {
    fn from(state: &ThrottleState) -> Self {
        let gate = match (state.closed_for, state.pace_per_second) {
            (Some(_), _) => "closed",
            (None, Some(_)) => "paced",
            (None, None) => "open",
        };
        // Digits past the millisecond would only be read.
        let rounded = |number: f64| (number * 1e3).round() / 1e3;
        let seconds = |time: Option<Duration>| time.map(|time| rounded(time.as_secs_f64()));
        Self {
            gate,
            closed_for_seconds: seconds(state.closed_for),
            pace_per_second: state.pace_per_second.map(rounded),
            waiting: state.waiting,
            next_opening_seconds: seconds(state.next_opening),
            budget_balance: rounded(state.budget_balance),
        }
    }
}
