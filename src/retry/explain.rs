//! Asks the rules what they would decide, without a request: for one outcome, under one circumstance at a time, and over all attempts.
//!
//! Nothing is decided here. Every answer comes from [`RetryPolicy::decide`], so that an explanation cannot differ from what the proxy
//! does. What outcomes there are to ask about is in `case`; words and tables are for [`crate::cli`].

use std::time::{Duration, Instant};

use super::outcome::{Failure, Outcome};
use super::policy::{Decision, Earlier, LaneReplays, Origin, Replayable, RetryPolicy, Situation, StopReason, Verdict};
use super::subject::Subject;
use crate::batch::credential::Credential;

mod case;

pub use case::{Case, Shape};

/// A request to ask about.
#[derive(Clone, Copy, Debug)]
pub struct Enquiry<'p> {
    /// The rules and their settings.
    pub policy: &'p RetryPolicy,
    /// What the request is.
    pub subject: Subject,
    /// How long it may take in all.
    pub deadline: Duration,
    /// How long making a connection may take (`upstream.connect_timeout`).
    pub connect_timeout: Duration,
    /// The limit that the request names for the service, see [`super::policy::server_timeout`].
    pub server_timeout: Option<Duration>,
    /// Some instant to count from.
    pub now: Instant,
}

/// What may stand against a replay that is harmless in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circumstance {
    /// The body was too large to hold.
    BodyStreamed,
    /// An earlier send reached the service and may have been carried out.
    Reached,
    /// The Shared Key signature is as old as it may get.
    SignatureOld,
    /// The program is about to end.
    Stopping,
    /// The bearer token is about to expire.
    TokenOld,
}

/// Which sends there would be if each ended the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The sends, the first included; at most [`Schedule::MOST`].
    pub sends: Vec<ScheduledSend>,
    /// Why there are no more, by how chance falls; empty where nothing stops them.
    pub ends: Vec<StopReason>,
    /// The least and the most number of sends, by how chance falls; equal without jitter.
    pub count: Range<usize>,
}

/// One send of a [`Schedule`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScheduledSend {
    /// The wait before it.
    pub wait: Range<Duration>,
    /// When it begins, counted from the end of the request's body.
    pub at: Range<Duration>,
}

/// What chance leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range<T> {
    /// The least.
    pub least: T,
    /// The most.
    pub most: T,
}

// === impl Enquiry ===

impl Enquiry<'_> {
    /// The verdict on a first attempt whose body is held and whose credential is fresh, by the deadline; the wait without jitter.
    pub fn first(&self, outcome: &Outcome<'_>) -> Verdict {
        let elapsed = self.duration_of(outcome, 0, Duration::ZERO);
        self.policy.decide(&self.situation(1, elapsed, 0.0), outcome)
    }

    /// The verdict on that attempt if there were no deadline.
    pub fn with_time(&self, outcome: &Outcome<'_>) -> Verdict {
        self.policy.decide(&self.without_deadline(1), outcome)
    }

    /// What the first attempt's decision would be under `circumstance`, were there no deadline.
    pub fn under(&self, circumstance: Circumstance, outcome: &Outcome<'_>) -> Decision {
        let plain = self.without_deadline(1);
        let situation = match circumstance {
            Circumstance::BodyStreamed => Situation { body: Replayable::Streamed, ..plain },
            Circumstance::Reached => Situation { earlier: Earlier::MayHaveLanded, ..plain },
            Circumstance::SignatureOld => {
                Situation { fresh_until: Some((self.now, Credential::SharedKeySignature)), ..plain }
            }
            Circumstance::Stopping => Situation { drain_by: Some(self.now), ..plain },
            Circumstance::TokenOld => Situation { fresh_until: Some((self.now, Credential::BearerToken)), ..plain },
        };
        self.policy.decide(&situation, outcome).decision
    }

    /// How many sends there may be in all with time without end; `None` where nothing counts them.
    pub fn most_attempts(&self, outcome: &Outcome<'_>) -> Option<u32> {
        let spent = |attempts| {
            self.policy.decide(&self.without_deadline(attempts), outcome).decision == Decision::Stop(StopReason::Attempts)
        };
        // Once spent they stay spent, so the first number that is can be found by halving.
        let (mut low, mut high) = (1, u32::MAX);
        while low < high {
            let middle = low + (high - low) / 2;
            if spent(middle) { high = middle } else { low = middle + 1 }
        }
        spent(low).then_some(low)
    }

    /// Every send if each ended like this; an attempt takes no time unless a time-out ended it. Chance is tried in steps, the same for
    /// all waits of a run.
    pub fn schedule(&self, outcome: &Outcome<'_>) -> Schedule {
        let (mut sends, mut ends) = (Vec::<ScheduledSend>::new(), Vec::new());
        let mut count: Option<Range<usize>> = None;
        for step in 0..=CHANCE_STEPS {
            let (run, stop) = self.run(outcome, f64::from(step) / f64::from(CHANCE_STEPS));
            for (index, (wait, at)) in run.iter().enumerate() {
                let one = ScheduledSend { wait: Range::one(*wait), at: Range::one(*at) };
                match sends.get_mut(index) {
                    Some(send) => *send = ScheduledSend { wait: send.wait.join(one.wait), at: send.at.join(one.at) },
                    None => sends.push(one),
                }
            }
            let length = Range::one(run.len());
            count = Some(count.map_or(length, |count| count.join(length)));
            ends.extend(stop.filter(|reason| !ends.contains(reason)));
        }
        Schedule { sends, ends, count: count.unwrap_or_else(|| Range::one(0)) }
    }

    /// The sends with one choice of chance: the wait before each, and when it begins.
    fn run(&self, outcome: &Outcome<'_>, entropy: f64) -> (Vec<(Duration, Duration)>, Option<StopReason>) {
        let mut sends = vec![(Duration::ZERO, Duration::ZERO)];
        let mut elapsed = Duration::ZERO;
        while sends.len() < Schedule::MOST {
            let attempts = u32::try_from(sends.len()).unwrap_or(u32::MAX);
            elapsed += self.duration_of(outcome, attempts - 1, elapsed);
            match self.policy.decide(&self.situation(attempts, elapsed, entropy), outcome).decision {
                Decision::Replay { after, .. } => {
                    elapsed += after;
                    sends.push((after, elapsed));
                    if after.is_zero() {
                        // It does not count as a send, and how often the pool has another such connection is chance.
                        return (sends, None);
                    }
                }
                Decision::Stop(reason) => return (sends, Some(reason)),
                Decision::Deliver | Decision::Echo(_) => return (sends, None),
            }
        }
        (sends, None)
    }

    /// How long an attempt takes that ends like this and begins after `elapsed`.
    fn duration_of(&self, outcome: &Outcome<'_>, attempts: u32, elapsed: Duration) -> Duration {
        match outcome {
            Outcome::Failed { failure: Failure::ConnectTimeout, .. } => {
                self.connect_timeout.min(self.deadline.saturating_sub(elapsed))
            }
            Outcome::Failed { failure: Failure::ResponseTimeout, .. } => {
                let situation = self.situation(attempts, elapsed, 0.0);
                self.policy.attempt_limit(&situation, self.server_timeout).unwrap_or_default()
            }
            Outcome::Failed { .. } | Outcome::Responded { .. } => Duration::ZERO,
        }
    }

    fn situation(&self, attempts: u32, elapsed: Duration, entropy: f64) -> Situation {
        Situation {
            subject: self.subject,
            body: Replayable::Held,
            attempts,
            origin: Origin::Program,
            earlier: Earlier::Nothing,
            // All sends end the same way, so each but the first was allowed by the same lane.
            lane_replays: LaneReplays { state: attempts.saturating_sub(1), quota: attempts.saturating_sub(1) },
            lags_until: None,
            now: self.now + elapsed,
            deadline: self.now + self.deadline,
            drain_by: None,
            fresh_until: None,
            entropy,
        }
    }

    fn without_deadline(&self, attempts: u32) -> Situation {
        Situation { deadline: self.now + ENDLESS, ..self.situation(attempts, Duration::ZERO, 0.0) }
    }
}

// === impl Schedule ===

impl Schedule {
    /// Whether the second send follows at once and the first does not count, as after a stale connection.
    pub fn is_uncounted(&self) -> bool {
        self.sends.get(1).is_some_and(|send| send.wait.most.is_zero())
    }

    /// No schedule is longer: its reader has seen enough.
    pub const MOST: usize = 100;
}

// === impl Range ===

impl<T: Copy + Ord> Range<T> {
    fn one(value: T) -> Self {
        Self { least: value, most: value }
    }

    fn join(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), most: self.most.max(other.most) }
    }
}

/// In how many steps chance is tried from none to all.
const CHANCE_STEPS: u32 = 20;

/// Longer than any hint is taken to be.
const ENDLESS: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests need some instant to begin with")]
mod tests;
