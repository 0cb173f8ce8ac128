//! The replay loop: send, judge, wait, and again until the answer is worth delivering or another try would be wrong. An answer that breaks
//! off while it is delivered is continued by [`download`].

pub(super) mod download;

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info};
use uuid::Uuid;

use super::BodySettings;
use super::answer::{Answer, CutShort, ReadLimits};
use super::creations::Creations;
use super::error::Trouble;
use super::exchange::{Attempt, Exchange};
use super::headers::strip_hop_by_hop;
use super::held::{ClientBody, Holding};
use super::memory::{ConnectionShare, Memory};
use super::record::Record;
use super::repeats::Repeats;
use super::route::Target;
use super::stream::AnswerBody;
use super::template::Template;
use super::throttle::{Refused, Throttle};
use crate::batch::fault;
use crate::batch::operation::Idempotency;
use crate::metrics::labels::{Fate, Side};
use crate::metrics::{Account, Metrics};
use crate::retry::classify::Class;
use crate::retry::echo;
use crate::retry::outcome::{Failure, Outcome, Transmission};
use crate::retry::policy::{Decision, Replayable, RetryPolicy, StopReason, WaitCause, server_timeout};
use crate::retry::retry_after;
use crate::retry::subject::Subject;
use crate::shutdown::Drain;
use crate::upstream::{RequestBody, Upstream};

/// Sends the requests of opened connections on.
#[derive(Clone, Debug)]
pub(super) struct Forwarder {
    pub(super) upstream: Upstream,
    pub(super) policy: RetryPolicy,
    pub(super) bodies: BodySettings,
    pub(super) body_idle_timeout: Duration,
    pub(super) holding: Holding,
    repeats: Repeats,
    creations: Creations,
    pub(super) metrics: Metrics,
    pub(super) drain: Drain,
}

/// Where the requests of a connection go.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// The host and port of the CONNECT.
    pub(super) target: Target,
    /// What the account is called in metrics.
    pub(super) account: Account,
    /// What all requests to the account share.
    pub(super) throttle: Arc<Throttle>,
    /// Whose connection it is.
    pub(super) client: IpAddr,
}

// === impl Forwarder ===

impl Forwarder {
    pub(super) fn new(
        upstream: Upstream,
        policy: RetryPolicy,
        bodies: BodySettings,
        body_idle_timeout: Duration,
        client_idle_timeout: Duration,
        metrics: Metrics,
        drain: Drain,
    ) -> Self {
        let memory = Memory::new(bodies.memory_limit, metrics.clone());
        let holding = Holding { memory, limit: bodies.request_limit, idle: client_idle_timeout };
        let repeats = Repeats::new(policy.repeat_memory());
        let creations = Creations::new(policy.read_after_create());
        Self { upstream, policy, bodies, body_idle_timeout, holding, repeats, creations, metrics, drain }
    }

    /// Counts a connection among those whose buffers are set off against the memory for bodies.
    pub(super) fn connection(&self) -> ConnectionShare {
        self.holding.memory.connection()
    }

    /// Gets `request` answered. Dropping the future, as hyper does when the client hangs up, ends waits and sends nothing more.
    pub(super) async fn forward(&self, request: Request<Incoming>, endpoint: &Endpoint) -> Response<AnswerBody> {
        let version = request.version();
        let mut response = self.answer(request, endpoint).await;
        *response.version_mut() = version;
        strip_hop_by_hop(response.headers_mut());
        response
    }

    async fn answer(&self, request: Request<Incoming>, endpoint: &Endpoint) -> Response<AnswerBody> {
        let (parts, body) = request.into_parts();
        let subject = Subject::of(&parts.method, parts.uri.path());
        let record = Record::begin(self.metrics.clone(), endpoint.account.clone(), &subject);
        let template = match Template::new(parts, &endpoint.target) {
            Ok(template) => template,
            Err(invalid) => return refuse(invalid.into(), Fate::Permanent, &endpoint.target, record),
        };
        let reading = ClientBody::read(body, template.is_chunked(), &self.holding);
        let Ok(body) = reading.await else {
            return refuse(
                Trouble::of(Failure::RequestBody, Transmission::NotSent),
                Fate::ClientGone,
                &endpoint.target,
                record,
            );
        };
        let deadline = Instant::now() + self.policy.deadline_for(template.user_agent());
        let mut exchange = Exchange::begin(template, subject, body, endpoint, deadline, record);
        if let Some(left) = self.repeats.recall(&exchange.template, || exchange.body.whole()) {
            exchange.repeats(left);
        }
        exchange.lags(self.creations.lags_until(&endpoint.target, exchange.template.path()));
        self.replay(exchange, &endpoint.target).await
    }

    /// The loop. The account's gate is passed before every send.
    async fn replay(&self, mut exchange: Exchange, target: &Target) -> Response<AnswerBody> {
        if let Err(refused) = self.pass_gate(&mut exchange).await {
            return self.refuse_unsent(exchange, &refused, target).await;
        }
        loop {
            let attempt = self.attempt(&mut exchange).await;
            let verdict = self.policy.decide(&exchange.situation(&self.drain), &attempt.outcome());
            self.count(&exchange, &attempt, verdict.class);
            attempt.tell(&exchange.throttle, exchange.caller, verdict.class);
            let stop = match verdict.decision {
                Decision::Deliver => {
                    self.hold_back(&mut exchange, &attempt.outcome()).await;
                    return self.deliver(exchange, attempt, verdict.class, target);
                }
                Decision::Echo(resolution) => {
                    return self.settle(exchange, attempt, resolution, verdict.class, target).await;
                }
                Decision::Stop(reason) => Some(reason),
                Decision::Replay { after, cause } => {
                    exchange.log_replay(&attempt, verdict.class, after);
                    self.wait_to_replay(&mut exchange, after, cause, verdict.class).await.break_value()
                }
            };
            if let Some(reason) = stop {
                return self.give_up(exchange, attempt, reason, verdict.class, target).await;
            }
            if let Some(reason) = attempt.retry_reason(verdict.class) {
                self.metrics.retry(exchange.record.account(), exchange.record.operation(), reason);
            }
            exchange.remember(attempt, verdict.class);
        }
    }

    /// Sends once and reads what comes back.
    async fn attempt(&self, exchange: &mut Exchange) -> Attempt {
        let limit = self.policy.attempt_limit(&exchange.situation(&self.drain), server_timeout(exchange.template.query()));
        let held = exchange.body.replayable();
        let request = exchange.template.request(exchange.body.next());
        exchange.sending();
        let attempt = match self.send(&exchange.throttle, request, held, limit).await {
            Ok(response) => self.read(exchange, response).await,
            Err(failed) => failed,
        };
        if !attempt.met_stale_connection() {
            exchange.record.attempted();
        }
        attempt
    }

    /// Sends a request that has passed its account's gate. A connection may take its time, and the account may close meanwhile: then what can be
    /// sent again is taken back.
    pub(super) async fn send(
        &self,
        throttle: &Throttle,
        request: Request<RequestBody>,
        body: Replayable,
        limit: Option<Duration>,
    ) -> Result<Response<Incoming>, Attempt> {
        let closing = async {
            match body {
                Replayable::Held => throttle.closing().await,
                // It is gone once it is given away.
                Replayable::Streamed => std::future::pending().await,
            }
        };
        match self.upstream.send_unless(request, limit, closing).await {
            Ok(Some(response)) => Ok(response),
            // Nothing was sent and nobody is at fault, as where the connection was stale: the gate is next.
            Ok(None) => Err(Attempt::Failed { failure: Failure::StaleConnection, transmission: Transmission::NotSent }),
            Err(error) => {
                debug!(%error, "attempt failed");
                Err(Attempt::Failed { failure: error.failure, transmission: error.transmission })
            }
        }
    }

    async fn read(&self, exchange: &mut Exchange, response: Response<Incoming>) -> Attempt {
        self.metrics.upstream_response(exchange.record.account(), response.status());
        exchange.observe(response.headers());
        exchange.hear(response.status(), response.headers());
        let limits = ReadLimits {
            buffer: self.bodies.response_buffer,
            idle: self.body_idle_timeout,
            stream_at: exchange.streams_at(),
        };
        match Answer::read(response, exchange.template.method(), limits, &self.holding.memory).await {
            Ok(answer) => {
                let hint = retry_after::hint(&answer.head().headers, SystemTime::now());
                let fault = answer.fault();
                Attempt::Answered { answer, hint, fault }
            }
            Err(CutShort) => Attempt::Failed { failure: Failure::Truncated, transmission: Transmission::Sent },
        }
    }

    /// Waits before the next attempt: for the time that was decided, then for a token, then at the gate. Breaks where that cannot be.
    async fn wait_to_replay(
        &self,
        exchange: &mut Exchange,
        after: Duration,
        cause: WaitCause,
        class: Class,
    ) -> ControlFlow<StopReason> {
        if after.is_zero() {
            // Nothing was written: the place that the gate gave is still unused, unless the account has closed since.
            if !exchange.throttle.is_closed() {
                return ControlFlow::Continue(());
            }
        } else {
            self.wait(exchange, after, cause).await?;
            if !RetryPolicy::is_paced(class) {
                self.withdraw(exchange).await?;
            }
        }
        match self.pass_gate(exchange).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) if self.drain.has_started() => ControlFlow::Break(StopReason::Shutdown),
            Err(_) => ControlFlow::Break(StopReason::Gate),
        }
    }

    /// Takes a token from the account's budget, as soon as there is one.
    async fn withdraw(&self, exchange: &mut Exchange) -> ControlFlow<StopReason> {
        while let Err(not_before) = exchange.throttle.withdraw() {
            let by = self.policy.send_by(&exchange.situation(&self.drain));
            if not_before.into_std() > by {
                return ControlFlow::Break(StopReason::Budget);
            }
            self.wait(exchange, not_before.saturating_duration_since(Instant::now()), WaitCause::Backoff).await?;
        }
        ControlFlow::Continue(())
    }

    /// Waits at the account's gate until a send is welcome.
    pub(super) async fn pass_gate(&self, exchange: &mut Exchange) -> Result<(), Refused> {
        let by = Instant::from_std(self.policy.send_by(&exchange.situation(&self.drain)));
        let passing = exchange.throttle.pass(exchange.caller, by);
        let passed = tokio::select! {
            passed = passing => passed?,
            // Waits that would end after the process ends now.
            () = self.drain.started() => match self.drain.gone_at() {
                Some(gone) => exchange.throttle.pass(exchange.caller, gone.min(by)).await?,
                None => Duration::ZERO,
            },
        };
        if !passed.is_zero() {
            exchange.record.waited(passed);
            self.metrics.wait(WaitCause::Gate, passed);
        }
        Ok(())
    }

    /// The answer to a request that could not wait until its account opens: in the service's own words, with the time left.
    async fn refuse_unsent(&self, mut exchange: Exchange, refused: &Refused, target: &Target) -> Response<AnswerBody> {
        self.metrics.stop(exchange.record.operation(), StopReason::Gate);
        let outcome = Outcome::Responded { status: refused.refusal.status, hint: None, fault: None };
        self.hold_back(&mut exchange, &outcome).await;
        refuse(Trouble::throttled(refused), Fate::Exhausted, target, exchange.record)
    }

    /// Waits before the next attempt. Breaks where the process will be gone before the wait ends.
    async fn wait(&self, exchange: &mut Exchange, after: Duration, cause: WaitCause) -> ControlFlow<StopReason> {
        if after.is_zero() {
            return ControlFlow::Continue(());
        }
        let (begun, ends) = (Instant::now(), Instant::now() + after);
        let outlives = |gone: Option<Instant>| gone.is_some_and(|gone| ends >= gone);
        let cut_off = tokio::select! {
            () = sleep_until(ends) => false,
            () = async {
                self.drain.started().await;
                if !outlives(self.drain.gone_at()) {
                    std::future::pending::<()>().await;
                }
            } => true,
        };
        exchange.record.waited(begun.elapsed());
        self.metrics.wait(cause, begun.elapsed());
        if cut_off { ControlFlow::Break(StopReason::Shutdown) } else { ControlFlow::Continue(()) }
    }

    /// Hands the attempt's answer over.
    pub(super) fn deliver(
        &self,
        exchange: Exchange,
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
    async fn give_up(
        &self,
        mut exchange: Exchange,
        attempt: Attempt,
        reason: StopReason,
        class: Class,
        target: &Target,
    ) -> Response<AnswerBody> {
        // It had passed, was taken back before it left, and cannot wait again.
        let unsent = exchange.record.attempts() == 0 && exchange.throttle.is_closed();
        if unsent && [StopReason::Gate, StopReason::Shutdown].contains(&reason) {
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
        self.metrics.stop(exchange.record.operation(), reason);
        self.hold_back(&mut exchange, &attempt.outcome()).await;
        // Only now: a client that hung up is not remembered.
        if reason != StopReason::Shutdown {
            let left = exchange.leaves(&attempt, class);
            self.repeats.remember(&exchange.template, exchange.body.whole().as_ref(), left);
        }
        // A refusal that only a replay met says that the credential grew old on the way: the client never saw a reason for it.
        let refused = attempt.is_credential_refusal() && exchange.has_reached() && !exchange.is_repeat();
        match if refused { exchange.recall() } else { attempt } {
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
    pub(super) fn end(&self, exchange: &Exchange, class: Class, target: &Target) {
        if exchange.is_repeat() {
            self.repeats.forget(&exchange.template, exchange.body.whole().as_ref());
        }
        if class == Class::Success && self.creations.are_kept() {
            let body = exchange.body.whole().unwrap_or_default();
            for path in echo::created(&exchange.subject, exchange.template.path(), &body) {
                self.creations.remember(target, &path);
            }
        }
    }

    pub(super) fn hand_over(&self, answer: Answer, fate: Fate, exchange: Exchange) -> Response<AnswerBody> {
        let status = exchange.record.proxy_status(fate, None);
        let mut response = answer.into_response(self, exchange, fate);
        append_proxy_status(&mut response, &status);
        response
    }

    /// Keeps back an answer that its client would not wait after.
    async fn hold_back(&self, exchange: &mut Exchange, outcome: &Outcome<'_>) {
        if let Some(hold) = self.policy.hold(&exchange.situation(&self.drain), outcome) {
            // Cut short or not, what is handed over stays the same.
            let _ = self.wait(exchange, hold, WaitCause::Backoff).await;
        }
    }

    fn count(&self, exchange: &Exchange, attempt: &Attempt, class: Class) {
        let (account, operation) = (exchange.record.account(), exchange.record.operation());
        if !attempt.met_stale_connection() {
            self.metrics.attempt(operation, class);
        }
        match attempt {
            // Neither is an error of Batch: it closed an idle connection, or the client broke off.
            Attempt::Failed { failure: Failure::RequestBody | Failure::StaleConnection, .. } => {}
            Attempt::Failed { failure, .. } => {
                self.metrics.upstream_error(*failure);
                if [Failure::CertificateInvalid, Failure::TlsFailed].contains(failure) {
                    self.metrics.handshake_failed(Side::Upstream, failure.as_str());
                }
            }
            Attempt::Answered { fault, .. } => {
                let code = fault.as_deref().map_or("none", fault::label);
                match class {
                    Class::Throttled => self.metrics.throttled(account, code),
                    Class::State | Class::Quota => self.metrics.state_refused(operation, code),
                    _ => {}
                }
            }
        }
    }
}

/// The proxy's own answer.
fn refuse(trouble: Trouble, fate: Fate, target: &Target, record: Record) -> Response<AnswerBody> {
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
    let mut response = trouble.batch_answer(target.host(), &id, &now).map(AnswerBody::whole);
    append_proxy_status(&mut response, &status);
    record.finish(fate);
    response
}

fn append_proxy_status(response: &mut Response<AnswerBody>, status: &str) {
    if let Ok(value) = HeaderValue::from_str(status) {
        response.headers_mut().append(PROXY_STATUS, value);
    }
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
