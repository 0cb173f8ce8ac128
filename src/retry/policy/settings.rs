//! What the rules can be told.

use std::num::NonZeroU32;
use std::time::Duration;

use http::StatusCode;

use crate::retry::backoff::ExponentialBackoff;
use crate::retry::echo::EchoSettings;

/// When and how long requests are replayed.
#[derive(Clone, Debug)]
pub struct RetrySettings {
    /// Tries in all, the first included; 1 switches replaying off (`retry.max_attempts`).
    pub max_attempts: NonZeroU32,
    /// For the whole request, from the end of its body to the last answer's head (`retry.deadline`).
    pub deadline: Duration,
    /// Longer deadlines for clients known to be patient; the first whose text the User-Agent contains counts (`retry.deadline_for`).
    pub deadline_for: Vec<PatientClient>,
    /// Statuses worth a replay (`retry.statuses`).
    pub statuses: Vec<StatusCode>,
    /// Waits where the service names none (`retry.backoff.*`).
    pub backoff: ExponentialBackoff,
    /// Until the answer's head, where a replay may follow (`upstream.response_timeout`).
    pub response_timeout: Duration,
    /// What becomes of echoes (`retry.echo.*`).
    pub echo: EchoSettings,
    /// Replays of a 409 that clears by itself (`retry.state.*`).
    pub state: Lane,
    /// Replays of a 409 for a quota that is used up (`retry.quota.*`).
    pub quota: Lane,
    /// How long a 404 to a read of what was just created is replayed (`retry.read_after_create`); zero for not at all.
    pub read_after_create: Duration,
    /// How long a request given up on is remembered (`retry.repeat_memory`); zero for not at all.
    pub repeat_memory: Duration,
}

/// Replays of a refusal that says that nothing was done, at waits of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Replays at most; none closes the lane.
    pub attempts: u32,
    /// The wait before each, jitter not counted.
    pub wait: Duration,
}

/// A client that waits longer than most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatientClient {
    /// Text its User-Agent contains.
    pub user_agent: String,
    /// The deadline it gets.
    pub deadline: Duration,
}
