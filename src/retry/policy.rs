//! Settings first; the decision follows.

use std::num::NonZeroU32;
use std::time::Duration;

use http::StatusCode;

use super::backoff::ExponentialBackoff;

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
}

/// A client that waits longer than most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatientClient {
    /// Text its User-Agent contains.
    pub user_agent: String,
    /// The deadline it gets.
    pub deadline: Duration,
}
