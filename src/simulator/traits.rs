//! What an account is like in good health, as a scenario's `[account]` says: slow to delete, slow to show what was made, short of quota. Pure.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::answer::Refusal;
use super::scenario::duration;

/// The traits; those left out are those of an account that is quick and large.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Traits {
    /// How long a deletion takes.
    #[serde(default, with = "duration")]
    pub(super) deletion: Option<Duration>,
    /// How long what was made cannot be read by itself.
    #[serde(default, with = "duration")]
    read_lag: Option<Duration>,
    /// How many jobs and job schedules may be active.
    jobs: Option<usize>,
    /// How many pools there may be.
    pools: Option<usize>,
    /// For how long after the first request others use up both quotas.
    #[serde(default, with = "duration")]
    occupied: Option<Duration>,
}

// === impl Traits ===

impl Traits {
    /// Whether it is unlike an account that is quick and large.
    #[cfg(test)]
    pub(super) fn is_odd(&self) -> bool {
        *self != Self::default()
    }

    /// Whether what was made at `created` is not to be seen yet.
    pub(super) fn hides(&self, created: SystemTime, now: SystemTime) -> bool {
        self.read_lag.is_some_and(|lag| now < created + lag)
    }

    /// Whether one more job or schedule may be active besides `active` of them, in an account first asked at `begun`.
    pub(super) fn admit_job(&self, active: usize, begun: SystemTime, now: SystemTime) -> Result<(), Refusal> {
        if self.has_room(self.jobs, active, begun, now) { Ok(()) } else { Err(JOBS_REACHED) }
    }

    /// Whether there may be one more pool besides `present` of them.
    pub(super) fn admit_pool(&self, present: usize, begun: SystemTime, now: SystemTime) -> Result<(), Refusal> {
        if self.has_room(self.pools, present, begun, now) { Ok(()) } else { Err(POOLS_REACHED) }
    }

    fn has_room(&self, quota: Option<usize>, used: usize, begun: SystemTime, now: SystemTime) -> bool {
        let free = self.occupied.is_none_or(|occupied| now >= begun + occupied);
        free && quota.is_none_or(|quota| used < quota)
    }
}

const JOBS_REACHED: Refusal = Refusal::new(
    409,
    "ActiveJobAndScheduleQuotaReached",
    "The active job and job schedule quota for the account has been reached.",
);
const POOLS_REACHED: Refusal = Refusal::new(409, "PoolQuotaReached", "The pool quota for the account has been reached.");
