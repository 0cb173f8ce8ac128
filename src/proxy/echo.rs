//! Answers that an earlier send may have brought about: found out, and handed over as what they come to.
//!
//! What may be an echo and what the settings want made of it is decided in [`crate::retry::echo`]. Here the service is asked, where proof is
//! wanted, and the answer is written: Batch's own head with the status of the operation's success, or the answer as it was, marked.

use std::io::Read;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::time::Instant;

use super::answer::{Answer, ReadLimits};
use super::exchange::{Attempt, Exchange};
use super::forward::Forwarder;
use super::route::Target;
use super::stream::AnswerBody;
use crate::http1::{Response, ResponseHead};
use crate::metrics::labels::{EchoResolution, Fate};
use crate::retry::classify::Class;
use crate::retry::echo::collection::Existing;
use crate::retry::echo::{Creates, Lookup, Resolution, is_bearer};
use crate::retry::outcome::{Failure, Outcome, Transmission};
use crate::retry::policy::{Replayable, Situation};
use crate::retry::subject::Subject;

// === impl Forwarder ===

impl Forwarder {
    /// Ends a request whose answer may be an echo.
    pub(super) async fn settle(
        &self,
        mut exchange: Box<Exchange>,
        attempt: Attempt,
        resolution: Resolution,
        class: Class,
        target: &Target,
    ) -> Response<AnswerBody> {
        let (status, made_of) = match resolution {
            Resolution::Collection(creates) => {
                return self.settle_collection(exchange, attempt, creates, class, target).await;
            }
            Resolution::Pass => return self.pass(exchange, attempt, class, target),
            Resolution::Resolve(status) => (status, EchoResolution::Resolved),
            Resolution::Trust(status) => (status, EchoResolution::Trusted),
            Resolution::Verify(status) if self.verifies(&mut exchange).await => (status, EchoResolution::Verified),
            Resolution::Verify(_) => return self.pass(exchange, attempt, class, target),
        };
        let Attempt::Answered { answer, .. } = attempt else { return self.deliver(exchange, attempt, class, target) };
        let answer = Answer::whole(success(answer.into_head(), status), Bytes::new());
        self.hand_over_echo(exchange, answer, made_of, target)
    }

    /// Hands over what is an echo for sure.
    fn hand_over_echo(
        &self,
        mut exchange: Box<Exchange>,
        answer: Answer,
        made_of: EchoResolution,
        target: &Target,
    ) -> Response<AnswerBody> {
        exchange.log_echo(made_of, answer.head());
        self.end(&exchange, Class::Success, target);
        exchange.record.echoed(made_of);
        self.hand_over(answer, Fate::Echo, exchange)
    }

    /// Hands the answer over as it is, marked.
    fn pass(&self, mut exchange: Box<Exchange>, attempt: Attempt, class: Class, target: &Target) -> Response<AnswerBody> {
        if let Attempt::Answered { answer, .. } = &attempt {
            exchange.log_echo(EchoResolution::Passed, answer.head());
        }
        exchange.record.echoed(EchoResolution::Passed);
        self.deliver(exchange, attempt, class, target)
    }

    /// Judges the results of addtaskcollection, where tasks of the request may have been made by an earlier send.
    async fn settle_collection(
        &self,
        mut exchange: Box<Exchange>,
        attempt: Attempt,
        creates: Creates,
        class: Class,
        target: &Target,
    ) -> Response<AnswerBody> {
        let text = match &attempt {
            Attempt::Answered { answer, .. } => plain_text(answer),
            Attempt::Failed { .. } => None,
        };
        let existing = text.as_deref().and_then(|text| Existing::of(&exchange.body.whole()?, text));
        let Some(existing) = existing else { return self.deliver(exchange, attempt, class, target) };
        let (ours, made_of) = match creates {
            Creates::Pass => return self.pass(exchange, attempt, class, target),
            Creates::Trust => (existing, EchoResolution::Trusted),
            Creates::Verify => (self.verifies_tasks(&mut exchange, &existing).await, EchoResolution::Verified),
        };
        let rewritten = (ours.count() > 0).then(|| ours.as_successes());
        match (rewritten, attempt) {
            (Some(rewritten), Attempt::Answered { answer, .. }) => {
                let answer = Answer::whole(rewritten_head(answer.into_head(), rewritten.len()), Bytes::from(rewritten));
                self.hand_over_echo(exchange, answer, made_of, target)
            }
            (_, attempt) => self.pass(exchange, attempt, class, target),
        }
    }

    /// Whether what a create was refused for was made since our first send.
    async fn verifies(&self, exchange: &mut Exchange) -> bool {
        let template = &exchange.template;
        if !is_bearer(template.fields()) {
            return false;
        }
        let body = exchange.body.whole().unwrap_or_default();
        let Some(lookup) = Lookup::of(&exchange.subject, template.path(), template.query(), &body) else { return false };
        let Some(found) = self.look_up(exchange, &lookup.target).await else { return false };
        lookup.proves(&found, exchange.window())
    }

    /// Those of the tasks that were made since our first send.
    async fn verifies_tasks<'a>(&self, exchange: &mut Exchange, existing: &Existing<'a>) -> Existing<'a> {
        let template = &exchange.template;
        let target = existing.lookup(template.path(), template.query()).filter(|_| is_bearer(template.fields()));
        let list = match target {
            Some(target) => self.look_up(exchange, &target).await,
            None => None,
        };
        existing.proved_by(&list.unwrap_or_default(), exchange.window())
    }

    /// Reads something in the client's name, once.
    async fn look_up(&self, exchange: &mut Exchange, target: &str) -> Option<Bytes> {
        let subject = Subject::of(&Method::GET, target.split('?').next()?);
        let mut stale = false;
        let (response, situation, deadline) = loop {
            self.pass_gate(exchange).await.ok()?;
            let situation = Situation { subject, ..exchange.situation(&self.drain) };
            let limit = self.policy.lookup_limit(&situation);
            let deadline = Instant::now() + limit;
            let request = exchange.template.read(target);
            match self.send(&exchange.throttle, exchange.template.origin(), || request, Replayable::Held, Some(limit)).await
            {
                Ok(response) => break (response, situation, deadline),
                // Nothing left: this is not the one look that there is.
                Err(failed) if failed.met_stale_connection() && !stale => stale = true,
                Err(failed) => {
                    if let Outcome::Failed { failure, .. } = failed.outcome() {
                        self.metrics.upstream_error(failure);
                    }
                    return None;
                }
            }
        };
        let status = response.status();
        self.note_head(exchange, &response);
        let limits = ReadLimits { buffer: self.bodies.response_buffer, idle: self.body_idle_timeout, stream_at: deadline };
        let read = Answer::read(response, limits, &self.holding.memory).await;
        let outcome = match &read {
            Ok(_) => Outcome::Responded { status, hint: None, fault: None },
            Err(_) => Outcome::Failed { failure: Failure::Truncated, transmission: Transmission::Sent },
        };
        let class = self.policy.decide(&situation, &outcome).class;
        self.metrics.attempt(subject.name(), class);
        if class == Class::Success {
            exchange.throttle.accepted();
        }
        read.ok().filter(|_| status == StatusCode::OK)?.data()
    }
}

/// The head of a success without a body, made of a refusal's: what tells of the request stays, what tells of the refusal goes.
fn success(mut head: ResponseHead, status: StatusCode) -> ResponseHead {
    head.status = status;
    head.reason = None;
    head.fields.remove(&["content-type", "retry-after"]);
    let length = if status == StatusCode::NO_CONTENT { None } else { Some(0) };
    reframe(&mut head, length);
    head
}

/// The head of an answer whose body was exchanged for one of `length` bytes.
fn rewritten_head(mut head: ResponseHead, length: usize) -> ResponseHead {
    reframe(&mut head, Some(length));
    head
}

/// Exchanges what is said of the body.
fn reframe(head: &mut ResponseHead, length: Option<usize>) {
    head.fields.remove(&["content-length", "content-encoding", "trailer", "transfer-encoding"]);
    if let Some(length) = length {
        head.fields.append("content-length", length.to_string().as_bytes());
    }
}

/// The text of an answer read whole, unpacked where it came packed.
fn plain_text(answer: &Answer) -> Option<String> {
    let mut text = String::new();
    answer.plain()?.take(UNPACKED_LIMIT).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The answer to a hundred tasks has under 100 KiB.
const UNPACKED_LIMIT: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_made_of_a_refusal_keeps_what_tells_of_the_request() {
        let refusal = b"HTTP/1.1 409 Gone Before\r\nServer: Batch\r\nContent-Length: 77\r\nrequest-id: 1\r\nContent-Type: application/json\r\n\
                        retry-after: 9\r\nDate: today\r\n\r\n";
        let (head, _) = ResponseHead::parse(refusal).unwrap().unwrap();
        let written = |head: ResponseHead| String::from_utf8(head.written()).unwrap();
        let want = "HTTP/1.1 202 Accepted\r\nServer: Batch\r\nrequest-id: 1\r\nDate: today\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(written(success(head.clone(), StatusCode::ACCEPTED)), want);
        assert!(!success(head, StatusCode::NO_CONTENT).fields.contains("content-length"));
    }
}
