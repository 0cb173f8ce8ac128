//! How a request ends: with Batch's answer, or with the proxy's own.

use std::time::SystemTime;

use tracing::info;
use uuid::Uuid;

use super::Forwarder;
use crate::batch::operation::Idempotency;
use crate::http1::Response;
use crate::metrics::labels::Fate;
use crate::proxy::answer::Answer;
use crate::proxy::error::Trouble;
use crate::proxy::exchange::{Attempt, Exchange};
use crate::proxy::headers::strip_hop_by_hop;
use crate::proxy::record::Record;
use crate::proxy::route::Target;
use crate::proxy::stream::AnswerBody;
use crate::proxy::throttle::Refused;
use crate::retry::classify::Class;
use crate::retry::echo;
use crate::retry::outcome::{Failure, Outcome};
use crate::retry::policy::StopReason;

// === impl Forwarder ===

impl Forwarder {
    /// The answer to a request that could not wait until its account opens: in the service's own words, with the time left.
    pub(super) async fn refuse_unsent(
        &self,
        mut exchange: Box<Exchange>,
        refused: &Refused,
        target: &Target,
    ) -> Response<AnswerBody> {
        exchange.record.stops(&exchange.template, StopReason::Gate);
        let outcome = Outcome::Responded { status: refused.refusal.status, hint: None, fault: None };
        self.hold_back(&mut exchange, &outcome).await;
        refuse(Trouble::throttled(refused), Fate::Exhausted, target, exchange.record)
    }

    /// Hands the attempt's answer over.
    pub(in crate::proxy) fn deliver(
        &self,
        exchange: Box<Exchange>,
        attempt: Attempt,
        class: Class,
        target: &Target,
    ) -> Response<AnswerBody> {
        self.end(&exchange, class, target);
        let fate = match (class, &attempt) {
            (Class::Success, _) if exchange.record.attempts() > 1 => Fate::Replayed,
            (Class::Success, _) => Fate::FirstTry,
            (_, Attempt::Failed { failure: Failure::RequestBody, .. }) => Fate::ClientGone,
            _ => Fate::Permanent,
        };
        match attempt {
            Attempt::Answered { answer, .. } => self.hand_over(answer, fate, exchange),
            Attempt::Failed { failure, transmission } => {
                refuse(Trouble::of(failure, transmission), fate, target, exchange.record)
            }
        }
    }

    /// Hands over what there is: the last answer, or the proxy's own. An older refusal would hide a write that may have landed, so it is
    /// given for safe operations only.
    pub(super) async fn give_up(
        &self,
        mut exchange: Box<Exchange>,
        attempt: Attempt,
        reason: StopReason,
        class: Class,
        target: &Target,
    ) -> Response<AnswerBody> {
        // Stale connections and what was taken back from the gate are no attempts.
        let never_left = exchange.record.attempts() == 0;
        if never_left && [StopReason::Gate, StopReason::Shutdown].contains(&reason) {
            let refused = exchange.throttle.refused(exchange.caller);
            return self.refuse_unsent(exchange, &refused, target).await;
        }
        let fate = match reason {
            StopReason::Attempts | StopReason::Deadline | StopReason::Gate | StopReason::Shutdown => Fate::Exhausted,
            StopReason::Budget => Fate::Budget,
            StopReason::Body | StopReason::Operation | StopReason::Signature | StopReason::Token => Fate::NotReplayable,
            StopReason::Repeat => Fate::Repeat,
        };
        exchange.log_give_up(&attempt, reason);
        exchange.record.stops(&exchange.template, reason);
        self.hold_back(&mut exchange, &attempt.outcome()).await;
        // Only now: a client that hung up is not remembered.
        if reason != StopReason::Shutdown {
            let left = exchange.leaves(&attempt, class);
            self.repeats.remember(|| exchange.repeat_key(), left);
        }
        // A refusal that only a replay met says that the credential grew old on the way: the client never saw a reason for it. What did not leave
        // says nothing that the attempt before it did not.
        let refused = attempt.is_credential_refusal() && exchange.has_reached() && !exchange.is_repeat();
        let passed_over = refused || attempt.met_stale_connection() && !never_left;
        match if passed_over { exchange.recall() } else { attempt } {
            Attempt::Answered { answer, .. } => self.hand_over(answer, fate, exchange),
            Attempt::Failed { failure, transmission } => match exchange.answered.take() {
                Some(answer) if exchange.subject.idempotency() == Idempotency::Safe => {
                    self.hand_over(answer, fate, exchange)
                }
                _ => refuse(Trouble::of(failure, transmission), fate, target, exchange.record),
            },
        }
    }

    /// What is remembered of a request that got its answer.
    pub(in crate::proxy) fn end(&self, exchange: &Exchange, class: Class, target: &Target) {
        if exchange.is_repeat()
            && let Some(key) = exchange.repeat_key()
        {
            self.repeats.forget(key);
        }
        if class == Class::Success && self.creations.are_kept() {
            let body = exchange.body.whole().unwrap_or_default();
            for path in echo::created(&exchange.subject, exchange.template.path(), &body) {
                self.creations.remember(target, &path);
            }
        }
    }

    pub(in crate::proxy) fn hand_over(&self, answer: Answer, fate: Fate, exchange: Box<Exchange>) -> Response<AnswerBody> {
        let status = exchange.record.proxy_status(fate, None);
        let mut response = answer.into_response(self, exchange, fate);
        strip_hop_by_hop(&mut response.head.fields);
        response.head.fields.append(PROXY_STATUS, status.as_bytes());
        response
    }
}

/// The answer to what must not be sent on, after which the connection ends: whoever sent it may have meant more by what follows.
pub(super) fn reject(trouble: Trouble, target: &Target, record: Record) -> Response<AnswerBody> {
    let mut response = refuse(trouble, Fate::Permanent, target, record);
    response.head.fields.append("connection", b"close");
    response
}

/// The proxy's own answer.
pub(super) fn refuse(trouble: Trouble, fate: Fate, target: &Target, record: Record) -> Response<AnswerBody> {
    let status = record.proxy_status(fate, Some(trouble.error));
    let (id, now) = (Uuid::new_v4().to_string(), humantime::format_rfc3339_micros(SystemTime::now()).to_string());
    info!(
        operation = record.operation(),
        account = %record.account(),
        status = trouble.status.as_u16(),
        error = trouble.error,
        request_id = id,
        "answered by the proxy itself"
    );
    let mut response = Response::from(trouble.batch_answer(target.host(), &id, &now)).map(AnswerBody::whole);
    response.head.fields.append(PROXY_STATUS, status.as_bytes());
    record.finish(fate);
    response
}

const PROXY_STATUS: &str = "proxy-status";
