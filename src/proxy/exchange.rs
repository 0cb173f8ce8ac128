//! A request on its way: what all its attempts share, how each ended, and what they leave to fall back on.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::time::Instant;
use tracing::{info, warn};

use super::answer::Answer;
use super::forward::Endpoint;
use super::held::ClientBody;
use super::record::Record;
use super::repeats::{GivenUp, RepeatKey};
use super::template::Template;
use super::throttle::{Caller, Throttle};
use crate::batch::credential::{self, Credential};
use crate::batch::fields::{Fields, visible};
use crate::http1::{FieldLines, ResponseHead};
use crate::metrics::labels::{EchoResolution, RetryReason};
use crate::retry::classify::Class;
use crate::retry::echo::Window;
use crate::retry::outcome::{Failure, Outcome, Transmission};
use crate::retry::policy::{Decision, Earlier, LaneReplays, Origin, Situation, StopReason, Verdict};
use crate::retry::subject::Subject;
use crate::shutdown::Drain;

/// A request on its way.
pub(super) struct Exchange {
    pub(super) template: Template,
    pub(super) subject: Subject,
    pub(super) body: ClientBody,
    /// What it shares with all requests to its account.
    pub(super) throttle: Arc<Throttle>,
    pub(super) caller: Caller,
    deadline: Instant,
    fresh_until: Option<(Instant, Credential)>,
    pub(super) record: Record,
    origin: Origin,
    repeat_key: OnceLock<Option<RepeatKey>>,
    /// What the sends that are over may have done, those of a request that this one repeats included.
    earlier: Earlier,
    /// When the first send that may have been carried out began.
    first_sent: Instant,
    /// When that was by the service's clock.
    window: Window,
    lane_replays: LaneReplays,
    lags_until: Option<Instant>,
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
    /// A request whose body is read and whose last answer is due at `deadline`. Apart, because it is handed on from one to the next.
    pub(super) fn begin(
        template: Template,
        subject: Subject,
        body: ClientBody,
        endpoint: &Endpoint,
        deadline: Instant,
        record: Record,
    ) -> Box<Self> {
        let fresh_until = fresh_until(&template);
        let throttle = endpoint.throttle.clone();
        let caller = throttle.arrive(&subject, template.path(), endpoint.client);
        Box::new(Self {
            template,
            subject,
            body,
            throttle,
            caller,
            deadline,
            fresh_until,
            record,
            origin: Origin::Program,
            repeat_key: OnceLock::new(),
            earlier: Earlier::Nothing,
            first_sent: Instant::now(),
            window: Window::default(),
            lane_replays: LaneReplays::default(),
            lags_until: None,
            failed: None,
            answered: None,
        })
    }

    /// It is the client's own repeat of one that was given up and left this.
    pub(super) fn repeats(&mut self, left: GivenUp) {
        self.origin = Origin::Repeat;
        self.earlier = left.earlier;
        self.first_sent = left.first_sent;
        self.window = left.window;
    }

    /// What its repeat is known by. Hashed when first asked for.
    pub(super) fn repeat_key(&self) -> Option<RepeatKey> {
        *self.repeat_key.get_or_init(|| RepeatKey::of(&self.template, self.body.pieces()))
    }

    /// Whether it is the client's own repeat of one that was given up.
    pub(super) fn is_repeat(&self) -> bool {
        self.origin == Origin::Repeat
    }

    /// It reads what was created so short a time ago that it may not be seen until `until`.
    pub(super) fn lags(&mut self, until: Option<Instant>) {
        self.lags_until = until;
    }

    pub(super) fn situation(&self, drain: &Drain) -> Situation {
        Situation {
            subject: self.subject,
            body: self.body.replayable(),
            attempts: self.record.attempts(),
            origin: self.origin,
            earlier: self.earlier,
            lane_replays: self.lane_replays,
            lags_until: self.lags_until.map(Instant::into_std),
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

    /// Its answer broke off while it was delivered. What led up to that answer is over; the next one is due at `deadline`, where that is new.
    pub(super) fn breaks_off(&mut self, deadline: Option<Instant>) {
        self.origin = Origin::Program;
        self.earlier = Earlier::MayHaveLanded;
        self.lags_until = None;
        self.lane_replays = LaneReplays::default();
        self.deadline = deadline.unwrap_or(self.deadline);
    }

    /// A send begins.
    pub(super) fn sending(&mut self) {
        if self.earlier < Earlier::MayHaveLanded {
            self.first_sent = Instant::now();
            self.window = Window::default();
        }
    }

    /// An answer with this head came. When that was by the service's clock is asked of creates only.
    pub(super) fn observe(&mut self, fields: &FieldLines) {
        if !self.subject.creates() && !self.subject.creates_collection() {
            return;
        }
        let date = fields.text("date").and_then(|date| httpdate::parse_http_date(date).ok());
        if let Some(date) = date {
            self.window.observe(date, self.first_sent.elapsed());
        }
    }

    /// An answer's head says whether the account asks for time. It holds from now on, whether or not the rest of the answer comes.
    pub(super) fn hear(&self, status: StatusCode, hint: Option<Duration>) {
        if asks_for_time(status, hint) {
            self.throttle.throttled(self.caller, hint, status, None);
        }
    }

    /// When, by the service's clock, what this request creates can have been created.
    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    /// What is left to the client's own repeat, once the request is given up after `attempt`.
    pub(super) fn leaves(&self, attempt: &Attempt, class: Class) -> GivenUp {
        let earlier = self.earlier.max(attempt.may_have_done(class));
        GivenUp { earlier, first_sent: self.first_sent, window: self.window }
    }

    /// Keeps how a send ended, for those who look back. One that succeeds at once leaves no trail, nor does a stale connection.
    pub(super) fn leaves_trail(&mut self, attempt: &Attempt, verdict: Verdict) {
        let fails = matches!(verdict.decision, Decision::Replay { .. } | Decision::Stop(_));
        if (fails || self.record.has_trail()) && !attempt.met_stale_connection() {
            self.record.tells(&self.template, verdict.class, &attempt.to_string(), attempt.request_id());
        }
    }

    /// Keeps what a later attempt may have to fall back on. A stale connection says nothing that was not true before.
    pub(super) fn remember(&mut self, attempt: Attempt, class: Class) {
        if attempt.met_stale_connection() {
            return;
        }
        self.earlier = self.earlier.max(attempt.may_have_done(class));
        self.counts_replay(class);
        match attempt {
            Attempt::Answered { answer, .. } => {
                self.failed = None;
                self.answered = Some(answer);
            }
            Attempt::Failed { failure, .. } => self.failed = Some(failure),
        }
    }

    /// A replay follows on an outcome of this class.
    pub(super) fn counts_replay(&mut self, class: Class) {
        self.lane_replays.state += u32::from(class == Class::State);
        self.lane_replays.quota += u32::from(class == Class::Quota);
    }

    /// Whether a send that is over reached the service.
    pub(super) fn has_reached(&self) -> bool {
        self.earlier > Earlier::Nothing
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

    pub(super) fn log_echo(&self, resolution: EchoResolution, head: &ResponseHead) {
        info!(
            operation = self.record.operation(),
            account = %self.record.account(),
            attempts = self.record.attempts(),
            resolution = resolution.as_str(),
            request_id = head.fields.text("request-id"),
            client_request_id = self.client_request_id(),
            "an answer that an earlier send may have brought about"
        );
    }

    pub(super) fn client_request_id(&self) -> Option<&str> {
        self.template.request_id().and_then(visible)
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
            (Class::Quota, _) => RetryReason::Quota,
            (Class::ReadLag, _) => RetryReason::ReadLag,
            (Class::State, _) => RetryReason::State,
            (Class::Throttled, _) => RetryReason::Throttled,
            _ => RetryReason::Transient,
        })
    }

    /// What the send may have done, now that it ended like this.
    fn may_have_done(&self, class: Class) -> Earlier {
        match (self, class) {
            (Self::Failed { transmission: Transmission::NotSent, .. }, _) => Earlier::Nothing,
            // These say what stood in the way.
            (_, Class::Permanent | Class::Quota | Class::ReadLag | Class::State) => Earlier::Refused,
            _ => Earlier::MayHaveLanded,
        }
    }

    /// Tells the account's gate what the service said, but for what was heard when the head came.
    pub(super) fn tell(&self, throttle: &Throttle, caller: Caller, class: Class) {
        let Self::Answered { answer, hint, fault } = self else { return };
        let status = answer.head().status;
        if asks_for_time(status, *hint) {
            throttle.named(caller, fault.as_deref());
        } else if class == Class::Throttled {
            throttle.throttled(caller, *hint, status, fault.as_deref());
        } else {
            throttle.accepted();
        }
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
        answer.head().fields.text("request-id")
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

/// Whether an answer's head alone says that the account wants less.
fn asks_for_time(status: StatusCode, hint: Option<Duration>) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE && hint.is_some()
}

/// Until when the request may be presented again, on the monotonic clock.
fn fresh_until(template: &Template) -> Option<(Instant, Credential)> {
    let expiry = credential::expiry(template.fields())?;
    let left = expiry.at.duration_since(SystemTime::now()).unwrap_or_default();
    // A token that outlives any clock needs no limit.
    Instant::now().checked_add(left).map(|until| (until, expiry.credential))
}

/// For files that come slowly.
const FILE_STREAMS_AFTER: Duration = Duration::from_secs(2);
