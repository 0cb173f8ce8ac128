//! The replay loop: send, judge, wait, and again until the answer is worth delivering or another try would be wrong. An answer that breaks
//! off while it is delivered is continued by [`download`].

pub(super) mod download;
mod ends;
mod waits;

use std::error::Error as StdError;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Version};
use http_body::Body;
use tokio::time::Instant;
use tracing::debug;

use self::ends::{refuse, reject};
use super::BodySettings;
use super::answer::{Answer, CutShort, ReadLimits};
use super::creations::Creations;
use super::error::Trouble;
use super::exchange::{Attempt, Exchange};
use super::held::{ClientBody, Holding};
use super::memory::{ConnectionShare, Memory};
use super::record::Record;
use super::repeats::Repeats;
use super::route::Target;
use super::stream::AnswerBody;
use super::template::Template;
use super::terms::Terms;
use super::throttle::Throttle;
use crate::batch::fault;
use crate::http1::{MalformedHead, RequestHead, Response};
use crate::metrics::labels::{Fate, Side};
use crate::metrics::{Account, Metrics};
use crate::retry::classify::Class;
use crate::retry::outcome::{Failure, Transmission};
use crate::retry::policy::{Decision, Replayable, RetryPolicy, server_timeout};
use crate::retry::retry_after;
use crate::retry::subject::Subject;
use crate::shutdown::Drain;
use crate::upstream::{Origin, Outgoing, ResponseBody, Upstream};

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
    /// The same, as connections are known by.
    pub(super) origin: Origin,
    /// What the account is called in metrics.
    pub(super) account: Account,
    /// What all requests to the account share.
    pub(super) throttle: Arc<Throttle>,
    /// Whose connection it is.
    pub(super) client: IpAddr,
}

// === impl Forwarder ===

impl Forwarder {
    pub(super) fn new(terms: &Terms, metrics: Metrics, drain: Drain) -> Self {
        let memory = Memory::new(terms.bodies.memory_limit, metrics.clone());
        Self::with(terms, memory, &Repeats::default(), &Creations::default(), metrics, drain)
    }

    /// The same under other terms: the memory for bodies, which is one for all, and what is remembered of requests go on.
    pub(super) fn under(&self, terms: &Terms) -> Self {
        let memory = self.holding.memory.clone();
        memory.limit_to(terms.bodies.memory_limit);
        Self::with(terms, memory, &self.repeats, &self.creations, self.metrics.clone(), self.drain.clone())
    }

    fn with(
        terms: &Terms,
        memory: Memory,
        repeats: &Repeats,
        creations: &Creations,
        metrics: Metrics,
        drain: Drain,
    ) -> Self {
        Self {
            upstream: terms.upstream.clone(),
            policy: terms.policy.clone(),
            bodies: terms.bodies.clone(),
            body_idle_timeout: terms.body_idle_timeout,
            holding: Holding { memory, limit: terms.bodies.request_limit, idle: terms.listen.idle_timeout },
            repeats: repeats.lasting(terms.policy.repeat_memory()),
            creations: creations.lagging(terms.policy.read_after_create()),
            metrics,
            drain,
        }
    }

    /// Counts a connection among those whose buffers are set off against the memory for bodies.
    pub(super) fn connection(&self) -> ConnectionShare {
        self.holding.memory.connection()
    }

    /// Gets the request of `head` and `body` answered. Dropping the future, as is done when the client hangs up, ends waits and sends nothing more.
    pub(super) async fn forward<B>(&self, head: RequestHead, body: B, endpoint: &Endpoint) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes> + Send + Sync + Unpin + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let version = head.version;
        let subject = Subject::of(&head.method, head.path());
        let record = self.record(endpoint, &subject);
        let mut template = match Template::new(head, &endpoint.origin) {
            Ok(template) => template,
            Err(invalid) => return reject(invalid.into(), &endpoint.target, record),
        };
        let Ok(body) = ClientBody::read(body, &self.holding).await else {
            return refuse(
                Trouble::of(Failure::RequestBody, Transmission::NotSent),
                Fate::ClientGone,
                &endpoint.target,
                record,
            );
        };
        if version == Version::HTTP_2 {
            template.frame(&body);
        }
        let deadline = Instant::now() + self.policy.deadline_for(template.user_agent());
        let mut exchange = Exchange::begin(template, subject, body, endpoint, deadline, record);
        if let Some(left) = self.repeats.recall(|| exchange.repeat_key()) {
            exchange.repeats(left);
        }
        exchange.lags(self.creations.lags_until(&endpoint.target, exchange.template.path()));
        self.replay(exchange, &endpoint.target).await
    }

    fn record(&self, endpoint: &Endpoint, subject: &Subject) -> Record {
        Record::begin(self.metrics.clone(), endpoint.account.clone(), subject)
    }

    /// The answer to what is no request.
    pub(super) fn refuse(&self, malformed: MalformedHead, endpoint: &Endpoint) -> Response<AnswerBody> {
        let record = self.record(endpoint, &Subject::of(&Method::GET, ""));
        reject(malformed.into(), &endpoint.target, record)
    }

    /// The loop. The account's gate is passed before every send. What few requests come to is apart, as each would keep room for it.
    async fn replay(&self, mut exchange: Box<Exchange>, target: &Target) -> Response<AnswerBody> {
        if let Err(refused) = self.pass_gate(&mut exchange).await {
            return Box::pin(self.refuse_unsent(exchange, &refused, target)).await;
        }
        loop {
            let attempt = self.attempt(&mut exchange).await;
            let verdict = self.policy.decide(&exchange.situation(&self.drain), &attempt.outcome());
            self.count(&exchange, &attempt, verdict.class);
            exchange.leaves_trail(&attempt, verdict);
            attempt.tell(&exchange.throttle, exchange.caller, verdict.class);
            let stop = match verdict.decision {
                Decision::Deliver => {
                    self.hold_back(&mut exchange, &attempt.outcome()).await;
                    return self.deliver(exchange, attempt, verdict.class, target);
                }
                Decision::Echo(resolution) => {
                    return Box::pin(self.settle(exchange, attempt, resolution, verdict.class, target)).await;
                }
                Decision::Stop(reason) => Some(reason),
                Decision::Replay { after, cause } => {
                    exchange.log_replay(&attempt, verdict.class, after);
                    Box::pin(self.wait_to_replay(&mut exchange, after, cause, verdict.class)).await.break_value()
                }
            };
            if let Some(reason) = stop {
                return Box::pin(self.give_up(exchange, attempt, reason, verdict.class, target)).await;
            }
            if let Some(reason) = attempt.retry_reason(verdict.class) {
                exchange.record.replays(reason);
            }
            exchange.remember(attempt, verdict.class);
        }
    }

    /// Sends once and reads what comes back.
    async fn attempt(&self, exchange: &mut Exchange) -> Attempt {
        let limit = self.policy.attempt_limit(&exchange.situation(&self.drain), server_timeout(exchange.template.query()));
        let held = exchange.body.replayable();
        exchange.sending();
        let Exchange { template, body, throttle, .. } = exchange;
        let sent = self.send(throttle, template.origin(), || template.request(body.next()), held, limit).await;
        let attempt = match sent {
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
        origin: &Origin,
        request: impl FnOnce() -> Outgoing,
        body: Replayable,
        limit: Option<Duration>,
    ) -> Result<Response<ResponseBody>, Attempt> {
        let closing = async {
            match body {
                Replayable::Held => throttle.closing().await,
                // It is gone once it is given away.
                Replayable::Streamed => std::future::pending().await,
            }
        };
        self.upstream.send_unless(origin, request, limit, closing).await.map_err(|error| {
            debug!(%error, "attempt failed");
            Attempt::Failed { failure: error.failure, transmission: error.transmission }
        })
    }

    async fn read(&self, exchange: &mut Exchange, response: Response<ResponseBody>) -> Attempt {
        let hint = self.note_head(exchange, &response);
        let limits = ReadLimits {
            buffer: self.bodies.response_buffer,
            idle: self.body_idle_timeout,
            stream_at: exchange.streams_at(),
        };
        match Answer::read(response, limits, &self.holding.memory).await {
            Ok(answer) => {
                let fault = answer.fault();
                Attempt::Answered { answer, hint, fault }
            }
            Err(CutShort) => Attempt::Failed { failure: Failure::Truncated, transmission: Transmission::Sent },
        }
    }

    /// Takes from an answer's head what is not to wait for its body, and gives back how long the service asks to wait.
    pub(super) fn note_head(&self, exchange: &mut Exchange, response: &Response<ResponseBody>) -> Option<Duration> {
        self.metrics.upstream_response(exchange.record.account(), response.status());
        exchange.observe(&response.head.fields);
        // A success asks for nothing.
        let hint =
            if response.status().is_success() { None } else { retry_after::hint(&response.head.fields, SystemTime::now()) };
        exchange.hear(response.status(), hint);
        hint
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
