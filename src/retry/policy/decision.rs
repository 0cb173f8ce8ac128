//! What the rules answer.

use std::time::Duration;

use crate::retry::classify::Class;
use crate::retry::echo::Resolution;

/// What an outcome means and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// What the outcome means.
    pub class: Class,
    /// What to do now.
    pub decision: Decision,
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub enum Decision {
    /// Hand the answer to the client.
    Deliver,
    /// It may be the echo of an earlier send: find out, and hand over what it comes to.
    Echo(Resolution),
    /// Send again.
    Replay {
        /// How long from now.
        after: Duration,
        /// Who chose the wait.
        cause: WaitCause,
    },
    /// A replay would be worth it but must not be; hand over what there is.
    Stop(StopReason),
}

/// Who chose a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitCause {
    /// Our own backoff, the operation's minimum interval, or the budget.
    Backoff,
    /// The account's gate.
    Gate,
    /// The service.
    RetryAfter,
}

/// Why a request worth replaying is not replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// All attempts are used up.
    Attempts,
    /// The body is not held.
    Body,
    /// The account's budget has no token before the deadline.
    Budget,
    /// The wait would end too late.
    Deadline,
    /// The account's gate opens too late, or too many wait at it.
    Gate,
    /// A second execution could do harm.
    Operation,
    /// It is a client's own repeat of what was given up.
    Repeat,
    /// The process will be gone before the wait ends.
    Shutdown,
    /// The Shared Key signature would be stale.
    Signature,
    /// The bearer token would have expired.
    Token,
}

// === impl WaitCause ===

impl WaitCause {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::Backoff, Self::Gate, Self::RetryAfter];

    /// The label value in `wait_seconds`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backoff => "backoff",
            Self::Gate => "gate",
            Self::RetryAfter => "retry_after",
        }
    }
}

// === impl StopReason ===

impl StopReason {
    /// The label value in `stops_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Body => "body",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::Gate => "gate",
            Self::Operation => "operation",
            Self::Repeat => "repeat",
            Self::Shutdown => "shutdown",
            Self::Signature => "signature",
            Self::Token => "token",
        }
    }
}
