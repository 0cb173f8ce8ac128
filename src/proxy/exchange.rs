//! A request on its way: what all its attempts share, how each ended, and what they leave to fall back on.

use std::fmt;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::time::Instant;
use tracing::{info, warn};

use super::answer::Answer;
use super::held::ClientBody;
use super::record::Record;
use super::template::Template;
use crate::batch::credential::{self, Credential};
use crate::metrics::labels::RetryReason;
use crate::retry::classify::Class;
use crate::retry::outcome::{Failure, Outcome, Transmission};
use crate::retry::policy::{Situation, StopReason};
use crate::retry::subject::Subject;
use crate::shutdown::Drain;

/// A request on its way.
pub(super) struct Exchange {
    pub(super) template: Template,
    pub(super) subject: Subject,
    pub(super) body: ClientBody,
    deadline: Instant,
    fresh_until: Option<(Instant, Credential)>,
    pub(super) record: Record,
    /// Whether a send that is over may have reached the service.
    pub(super) reached: bool,
    /// Why the attempt before this one got no answer, if it got none.
    failed: Option<Failure>,
    /// The last real answer that led to a replay.
    pub(super) answered: Option<Answer>,
}

/// How an attempt ended.
#[expect(clippy::large_enum_variant, reason = "a request has one at a time, and most hold an answer")]
pub(super) enum Attempt {
    Answered { answer: Answer, hint: Option<Duration>, fault: Option<String> },
    Failed { failure: Failure, transmission: Transmission },
}

// === impl Exchange ===

impl Exchange {
    /// A request whose body is read and whose last answer is due at `deadline`.
    pub(super) fn begin(template: Template, subject: Subject, body: ClientBody, deadline: Instant, record: Record) -> Self {
        let fresh_until = fresh_until(&template);
        Self { template, subject, body, deadline, fresh_until, record, reached: false, failed: None, answered: None }
    }

    pub(super) fn situation(&self, drain: &Drain) -> Situation {
        Situation {
            subject: self.subject,
            body: self.body.replayable(),
            attempts: self.record.attempts(),
            reached: self.reached,
            now: Instant::now().into_std(),
            deadline: self.deadline.into_std(),
            drain_by: drain.gone_at().map(Instant::into_std),
            fresh_until: self.fresh_until.map(|(until, credential)| (until.into_std(), credential)),
            entropy: fastrand::f64(),
        }
    }

    /// When an answer that is being read is handed over as far as it is there: a file, which may be of any size and come from a slow node,
    /// soon; anything else when the client's patience is taken to end.
    pub(super) fn streams_at(&self) -> Instant {
        if self.subject.reads_file() { self.deadline.min(Instant::now() + FILE_STREAMS_AFTER) } else { self.deadline }
    }

    /// Keeps what a later attempt may have to fall back on. A stale connection says nothing that was not true before.
    pub(super) fn remember(&mut self, attempt: Attempt) {
        if attempt.met_stale_connection() {
            return;
        }
        self.reached |= !matches!(attempt, Attempt::Failed { transmission: Transmission::NotSent, .. });
        match attempt {
            Attempt::Answered { answer, .. } => {
                self.failed = None;
                self.answered = Some(answer);
            }
            Attempt::Failed { failure, .. } => self.failed = Some(failure),
        }
    }

    /// The attempt before this one.
    pub(super) fn recall(&mut self) -> Attempt {
        match (self.failed, self.answered.take()) {
            (None, Some(answer)) => Attempt::Answered { answer, hint: None, fault: None },
            (failed, answered) => {
                self.answered = answered;
                Attempt::Failed { failure: failed.unwrap_or(Failure::ConnectionLost), transmission: Transmission::Unknown }
            }
        }
    }

    pub(super) fn log_replay(&self, attempt: &Attempt, class: Class, after: Duration) {
        info!(
            operation = self.record.operation(),
            account = %self.record.account(),
            attempt = self.record.attempts(),
            class = class.as_str(),
            cause = %attempt,
            wait_seconds = after.as_secs_f64(),
            request_id = attempt.request_id(),
            client_request_id = self.client_request_id(),
            "replaying"
        );
    }

    pub(super) fn log_give_up(&self, attempt: &Attempt, reason: StopReason) {
        warn!(
            operation = self.record.operation(),
            account = %self.record.account(),
            attempts = self.record.attempts(),
            reason = reason.as_str(),
            cause = %attempt,
            request_id = attempt.request_id(),
            client_request_id = self.client_request_id(),
            "not replayed"
        );
    }

    fn client_request_id(&self) -> Option<&str> {
        let headers = self.template.headers();
        let id = headers.get("client-request-id").or_else(|| headers.get("x-ms-client-request-id"))?;
        id.to_str().ok()
    }
}

// === impl Attempt ===

impl Attempt {
    /// Why it leads to a replay. A stale connection is replaced and not counted: Batch never saw the request.
    pub(super) fn retry_reason(&self, class: Class) -> Option<RetryReason> {
        Some(match (class, self) {
            (_, attempt) if attempt.met_stale_connection() => return None,
            (_, Self::Failed { failure: Failure::Truncated, .. }) => RetryReason::Truncated,
            (Class::NotSent, _) => RetryReason::NotSent,
            (Class::Throttled, _) => RetryReason::Throttled,
            _ => RetryReason::Transient,
        })
    }

    pub(super) fn outcome(&self) -> Outcome<'_> {
        match self {
            Self::Answered { answer, hint, fault } => {
                Outcome::Responded { status: answer.head().status, hint: *hint, fault: fault.as_deref() }
            }
            Self::Failed { failure, transmission } => Outcome::Failed { failure: *failure, transmission: *transmission },
        }
    }

    pub(super) fn met_stale_connection(&self) -> bool {
        matches!(self, Self::Failed { failure: Failure::StaleConnection, .. })
    }

    pub(super) fn is_credential_refusal(&self) -> bool {
        let Self::Answered { answer, .. } = self else { return false };
        [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&answer.head().status)
    }

    /// Batch's id for the answer, for support tickets.
    fn request_id(&self) -> Option<&str> {
        let Self::Answered { answer, .. } = self else { return None };
        answer.head().headers.get("request-id").and_then(|value| value.to_str().ok())
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { answer, fault: Some(code), .. } => write!(f, "{} {code}", answer.head().status.as_u16()),
            Self::Answered { answer, .. } => write!(f, "{}", answer.head().status.as_u16()),
            Self::Failed { failure, .. } => f.write_str(failure.as_str()),
        }
    }
}

/// Until when the request may be presented again, on the monotonic clock.
fn fresh_until(template: &Template) -> Option<(Instant, Credential)> {
    let expiry = credential::expiry(template.headers())?;
    let left = expiry.at.duration_since(SystemTime::now()).unwrap_or_default();
    // A token that outlives any clock needs no limit.
    Instant::now().checked_add(left).map(|until| (until, expiry.credential))
}

/// For files that come slowly.
const FILE_STREAMS_AFTER: Duration = Duration::from_secs(2);
