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

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::backoff::ExponentialBackoff;
use super::classify::{Class, Reading, classify};
use super::echo::{EchoSettings, Resolution};
use super::outcome::{Failure, Outcome};
use super::subject::Subject;
use crate::batch::credential::Credential;
use crate::batch::operation::Idempotency;

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

/// The rules, with their settings.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    settings: RetrySettings,
}

/// Where a request stands when an attempt has ended.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// What the request is.
    pub subject: Subject,
    /// Whether its body can be sent again.
    pub body: Replayable,
    /// Sends made so far; those that met a stale pooled connection do not count.
    pub attempts: u32,
    /// Whose request it is.
    pub origin: Origin,
    /// What the sends before this one may have done.
    pub earlier: Earlier,
    /// Replays that a lane allowed so far.
    pub lane_replays: LaneReplays,
    /// Until when a 404 may be a read that has not caught up with a create, where there was one.
    pub lags_until: Option<Instant>,
    /// The monotonic clock.
    pub now: Instant,
    /// When the whole request must have its last answer.
    pub deadline: Instant,
    /// When the process will be gone, if it is draining.
    pub drain_by: Option<Instant>,
    /// Until when the request's credential may be presented again.
    pub fresh_until: Option<(Instant, Credential)>,
    /// Chance, from 0 up to 1.
    pub entropy: f64,
}

/// What sends that are over may have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Earlier {
    /// There were none, or nothing of them left.
    Nothing,
    /// They reached the service, which refused them without doing anything.
    Refused,
    /// They may have been carried out. A throttled one counts: a create answered 429 has been seen to land.
    MayHaveLanded,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program's.
    Program,
    /// The client's own repeat of one that was given up.
    Repeat,
}

/// How many replays the lanes have allowed for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneReplays {
    /// After `State` refusals.
    pub state: u32,
    /// After `Quota` refusals.
    pub quota: u32,
}

/// Whether a request's body can be sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayable {
    /// It is held whole.
    Held,
    /// It streams and is gone once sent.
    Streamed,
}

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

// === impl Situation ===

impl Situation {
    /// Whether what is read may have been made too short a time ago to be seen.
    fn reading(&self) -> Reading {
        if self.lags_until.is_some_and(|until| self.now < until) { Reading::MayLag } else { Reading::Current }
    }

    fn stale_credential(&self) -> StopReason {
        match self.fresh_until {
            Some((_, Credential::SharedKeySignature)) => StopReason::Signature,
            Some((_, Credential::BearerToken)) | None => StopReason::Token,
        }
    }
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
