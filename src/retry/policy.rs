//! Whether a request may be sent again, and after how long: one value for each outcome, acted on by one loop.
//!
//! | | NotSent | Throttled | Transient |
//! |---|---|---|---|
//! | `Safe` | yes | yes | yes |
//! | `Idempotent` | yes | yes | yes |
//! | `NonIdempotent` | yes | only with a hint | no |
//!
//! and then, in this order: the body is held, attempts are left, the wait ends inside the deadline, the credential is still fresh at its
//! end. A token from the account's [budget](super::budget) is asked for last of all, when the wait is over, because one spent on a replay that
//! is then refused starves the next.
//!
//! A 401 or 403 met only after a send that reached the service stops too: the credential grew old on the way, and the answer before it is
//! the client's. An answer that may be the echo of an earlier send is judged by [`super::echo`].
//!
//! Three lanes are closed unless the settings open them: a `State` and a `Quota` refusal, which say that nothing was done, are replayed after
//! waits of their own, and a 404 to a read of what was just created is replayed until reads are taken to have caught up.
//!
//! A client's own repeat of what was given up is sent once: the client replays by itself, and replays of replays multiply.
//!
//! `wait = max(hint, backoff, the operation's minimum interval) + jitter`. A wait of our own is shortened to fit the deadline once more, but
//! a hint is obeyed or the replaying ends at once: the client gets the service's own answer, not a late error.

use std::time::{Duration, Instant};

use http::StatusCode;

pub use self::decision::{Decision, StopReason, Verdict, WaitCause};
pub use self::settings::{Lane, PatientClient, RetrySettings};
pub use self::situation::{Earlier, LaneReplays, Origin, Replayable, Situation};
use super::classify::{Class, classify};
use super::echo::Resolution;
use super::outcome::{Failure, Outcome};
use crate::batch::operation::Idempotency;

mod decision;
mod settings;
mod situation;

/// The rules, with their settings.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    settings: RetrySettings,
}

// === impl RetryPolicy ===

impl RetryPolicy {
    /// The rules under these settings.
    pub fn new(settings: RetrySettings) -> Self {
        Self { settings }
    }

    /// Judges the outcome of an attempt.
    pub fn decide(&self, at: &Situation, outcome: &Outcome<'_>) -> Verdict {
        let class = classify(&at.subject, outcome, &self.settings.statuses, at.reading());
        Verdict { class, decision: self.decide_class(class, at, outcome) }
    }

    /// How long to keep back the answer that this outcome leads to, so that a client that tries again at once does not do so faster than this
    /// proxy would. The bulk helpers of the Python SDKs send addtaskcollection again without a wait for as long as it ends in a 5xx, as
    /// a new call or as a repeat. After a second attempt there was a wait already.
    pub fn hold(&self, at: &Situation, outcome: &Outcome<'_>) -> Option<Duration> {
        let backoff = &self.settings.backoff;
        let is_5xx = match outcome {
            Outcome::Failed { failure, .. } => *failure != Failure::RequestBody,
            Outcome::Responded { status, .. } => status.is_server_error(),
        };
        let hot = is_5xx && at.subject.creates_collection() && at.attempts <= 1;
        hot.then(|| backoff.base(at.attempts) + backoff.jitter(at.attempts, at.entropy))
    }

    /// Until when a send that waits for its account is still of use: its answer must come before the deadline, and its credential be fresh.
    pub fn send_by(&self, at: &Situation) -> Instant {
        let answered = at.deadline.checked_sub(self.answer_room()).unwrap_or(at.deadline);
        // A credential that is stale already is for the service to judge: the first send always goes.
        let fresh = at.fresh_until.map(|(until, _)| until).filter(|until| *until > at.now);
        [fresh, at.drain_by].into_iter().flatten().fold(answered, Instant::min)
    }

    /// Whether a replay after an outcome of this class is paced by the gate, so that the budget need not limit it.
    pub fn is_paced(class: Class) -> bool {
        class == Class::Throttled
    }

    /// How long to wait for an answer that is asked for only to understand another.
    pub fn lookup_limit(&self, at: &Situation) -> Duration {
        self.settings.response_timeout.min(at.deadline.saturating_duration_since(at.now))
    }

    /// How long a request given up on is remembered.
    pub fn repeat_memory(&self) -> Duration {
        self.settings.repeat_memory
    }

    /// How long a read may lag behind a create.
    pub fn read_after_create(&self) -> Duration {
        self.settings.read_after_create
    }

    /// How long to wait for the head of the answer to the next attempt: the service's own limit, `server_timeout` where the request names
    /// one, and never past the deadline. `None` where no replay may follow: then the client's own patience decides.
    pub fn attempt_limit(&self, at: &Situation, server_timeout: Option<Duration>) -> Option<Duration> {
        let replay_may_follow = at.subject.idempotency() != Idempotency::NonIdempotent
            && at.body == Replayable::Held
            && at.origin == Origin::Program
            && at.attempts + 1 < self.settings.max_attempts.get();
        let limit = server_timeout.map_or(self.settings.response_timeout, |timeout| timeout + SERVER_TIMEOUT_MARGIN);
        replay_may_follow.then(|| limit.min(at.deadline.saturating_duration_since(at.now)))
    }

    /// The deadline for a client with this User-Agent.
    pub fn deadline_for(&self, user_agent: &str) -> Duration {
        let patient = self.settings.deadline_for.iter().find(|client| user_agent.contains(&client.user_agent));
        patient.map_or(self.settings.deadline, |client| client.deadline)
    }

    fn decide_class(&self, class: Class, at: &Situation, outcome: &Outcome<'_>) -> Decision {
        let hint = match *outcome {
            Outcome::Responded { hint, .. } => hint,
            Outcome::Failed { .. } => None,
        };
        // To a repeat there is no answer before it that could be given instead.
        if at.origin == Origin::Program && at.earlier > Earlier::Nothing && is_credential_refusal(outcome) {
            return Decision::Stop(at.stale_credential());
        }
        if let Some(resolution) = self.echo(at, outcome) {
            return Decision::Echo(resolution);
        }
        let harmless = match (class, at.subject.idempotency()) {
            (Class::Success | Class::Permanent, _) => return Decision::Deliver,
            (Class::State, _) if self.settings.state.attempts == 0 => return Decision::Deliver,
            (Class::Quota, _) if self.settings.quota.attempts == 0 => return Decision::Deliver,
            // Refused, and nothing done: that it may be sent again is what the lane was opened for.
            (Class::State | Class::Quota | Class::ReadLag, _) if at.origin == Origin::Repeat => return Decision::Deliver,
            (Class::State | Class::Quota | Class::ReadLag, _) => true,
            (Class::NotSent, _) | (Class::Throttled | Class::Transient, Idempotency::Idempotent | Idempotency::Safe) => true,
            (Class::Throttled, Idempotency::NonIdempotent) => hint.is_some(),
            (Class::Transient, Idempotency::NonIdempotent) => false,
        };
        if !harmless {
            return Decision::Stop(StopReason::Operation);
        }
        if at.body == Replayable::Streamed {
            return Decision::Stop(StopReason::Body);
        }
        if matches!(outcome, Outcome::Failed { failure: Failure::StaleConnection, .. }) {
            // The service never saw it and did nothing wrong: take another connection at once.
            return Decision::Replay { after: Duration::ZERO, cause: WaitCause::Backoff };
        }
        if at.origin == Origin::Repeat {
            return Decision::Stop(StopReason::Repeat);
        }
        self.decide_wait(class, at, outcome, hint)
    }

    /// What to do with an answer that an earlier send may have brought about.
    fn echo(&self, at: &Situation, outcome: &Outcome<'_>) -> Option<Resolution> {
        let Outcome::Responded { status, fault, .. } = *outcome else { return None };
        if at.earlier != Earlier::MayHaveLanded {
            return None;
        }
        self.settings.echo.resolution(&at.subject, status, fault)
    }

    fn decide_wait(&self, class: Class, at: &Situation, outcome: &Outcome<'_>, hint: Option<Duration>) -> Decision {
        let most = match outcome {
            // A name that does not exist will not exist in two seconds; the second try covers a resolver's hiccup.
            Outcome::Failed { failure: Failure::DnsNotFound, .. } => self.settings.max_attempts.get().min(2),
            Outcome::Failed { .. } | Outcome::Responded { .. } => self.settings.max_attempts.get(),
        };
        let lane = match class {
            Class::State => Some((self.settings.state, at.lane_replays.state)),
            Class::Quota => Some((self.settings.quota, at.lane_replays.quota)),
            _ => None,
        };
        if at.attempts >= most || lane.is_some_and(|(lane, replays)| replays >= lane.attempts) {
            return Decision::Stop(StopReason::Attempts);
        }
        let wait = match (lane, class, at.lags_until) {
            (Some((lane, _)), _, _) => self.wait(at, Some(hint.unwrap_or_default().max(lane.wait))),
            // The last read is made when reads are taken to have caught up.
            (None, Class::ReadLag, Some(until)) => {
                self.wait(at, hint).map(|wait| wait.min(until.saturating_duration_since(at.now)))
            }
            (None, _, _) => self.wait(at, hint),
        };
        let Some(after) = wait else { return Decision::Stop(StopReason::Deadline) };
        let ends = at.now + after;
        if at.drain_by.is_some_and(|gone| ends >= gone) {
            return Decision::Stop(StopReason::Shutdown);
        }
        if at.fresh_until.is_some_and(|(until, _)| ends >= until) {
            return Decision::Stop(at.stale_credential());
        }
        let hinted = hint.is_some_and(|hint| hint >= self.settings.backoff.base(at.attempts));
        Decision::Replay { after, cause: if hinted { WaitCause::RetryAfter } else { WaitCause::Backoff } }
    }

    fn answer_room(&self) -> Duration {
        ANSWER_ROOM.min(self.settings.backoff.initial())
    }

    /// The wait before the next attempt, or `None` where the deadline leaves no room for it and an answer.
    fn wait(&self, at: &Situation, hint: Option<Duration>) -> Option<Duration> {
        let backoff = &self.settings.backoff;
        let demanded = hint.unwrap_or_default().max(at.subject.min_interval());
        let wished = demanded.max(backoff.base(at.attempts)) + backoff.jitter(at.attempts, at.entropy);
        let room = at.deadline.saturating_duration_since(at.now).checked_sub(self.answer_room())?;
        if wished <= room {
            return Some(wished);
        }
        // Less jitter and less backoff are ours to give; what the service asked for is not.
        (demanded.max(backoff.initial()) <= room).then_some(room)
    }
}

/// Whether the service refused the credential. Met by a replay only, it says that the credential grew old on the way.
fn is_credential_refusal(outcome: &Outcome<'_>) -> bool {
    matches!(outcome, Outcome::Responded { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. })
}

/// The time limit a request names for the service in its `timeout` or `timeOut` parameter. The service takes at most 30 s, whatever is named
/// (Azure/azure-sdk-for-python#34453).
pub fn server_timeout(query: &str) -> Option<Duration> {
    let seconds = query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.eq_ignore_ascii_case("timeout").then(|| value.parse::<u64>().ok()).flatten()
    })?;
    (seconds > 0).then(|| Duration::from_secs(seconds).min(SERVER_TIMEOUT_MAX))
}

/// The service's own limit for a request.
const SERVER_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// Added to the service's limit before an attempt is cut: its answer must have time to travel.
const SERVER_TIMEOUT_MARGIN: Duration = Duration::from_secs(5);

/// What a wait leaves of the deadline for the attempt after it (at most the first backoff, where deadlines are tiny).
const ANSWER_ROOM: Duration = Duration::from_secs(1);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests need some instant to begin with")]
mod tests;
