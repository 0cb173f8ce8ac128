//! A download that breaks off under way is continued: the same signed request is sent again, and what the client already has is skipped.
//!
//! What is skipped is hashed and dropped piece by piece, and compared with a running hash of what was delivered, so that memory stays flat
//! however large the file is. Where another content comes, or none in time, the client's connection is broken off: never a splice that is
//! wrong, never an end that looks right. Which answer may go on is decided in [`crate::retry::resume`], whether to send again in
//! [`crate::retry::policy`]; [`super::super::stream`] carries the bytes.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};
use twox_hash::XxHash3_128;

use super::super::answer::CutShort;
use super::super::exchange::{Attempt, Exchange};
use super::super::held::ClientBody;
use super::Forwarder;
use crate::http1::{Response, ResponseHead};
use crate::metrics::labels::{Fate, RepairResult};
use crate::retry::classify::Class;
use crate::retry::outcome::{Failure, Transmission};
use crate::retry::policy::{Decision, Replayable, Situation, Verdict, server_timeout};
use crate::retry::resume::{Content, Tries};
use crate::upstream::ResponseBody;

/// An answer on its way to the client, and what it takes to continue it.
pub(in crate::proxy) struct Download {
    exchange: Box<Exchange>,
    fate: Fate,
    idle: Duration,
    source: Option<Source>,
}

/// Where the rest can be had.
struct Source {
    forwarder: Forwarder,
    /// What the client was told in the answer's head.
    content: Content,
    /// What the client has.
    delivered: u64,
    hash: XxHash3_128,
    tries: Tries,
}

/// The continuing of a download. Dropped, as it is when the client hangs up, it sends nothing more.
pub(in crate::proxy) type Repair = Pin<Box<dyn Future<Output = Result<Continued, CutShort>> + Send>>;

/// A download that goes on.
pub(in crate::proxy) struct Continued {
    pub(in crate::proxy) download: Box<Download>,
    /// The first of the new bytes.
    pub(in crate::proxy) piece: Bytes,
    pub(in crate::proxy) rest: ResponseBody,
}

/// What sending again brought.
#[expect(clippy::large_enum_variant, reason = "a repair has one at a time")]
enum Again {
    Attempt(Attempt),
    Continues { piece: Bytes, rest: ResponseBody },
    Other,
}

// === impl Download ===

impl Download {
    /// The answer to `exchange` with this head is about to be delivered.
    pub(in crate::proxy) fn begin(
        forwarder: &Forwarder,
        mut exchange: Box<Exchange>,
        head: &ResponseHead,
        fate: Fate,
    ) -> Self {
        let content = Content::of(head.status, &head.fields);
        let resumable = content.is_resumable(exchange.template.method(), &exchange.subject, exchange.body.replayable());
        let source = resumable.then(|| Source {
            forwarder: forwarder.clone(),
            content,
            delivered: 0,
            hash: XxHash3_128::new(),
            tries: Tries::begun(exchange.record.attempts()),
        });
        // Nothing of these is needed any more, and a download may last.
        exchange.answered = None;
        if source.is_none() {
            exchange.body = ClientBody::Spent;
        }
        Self { exchange, fate, idle: forwarder.body_idle_timeout, source }
    }

    /// The longest pause.
    pub(in crate::proxy) fn idle(&self) -> Duration {
        self.idle
    }

    /// Notes what the client is given.
    pub(in crate::proxy) fn deliver(&mut self, piece: &[u8]) {
        if let Some(source) = &mut self.source {
            source.delivered += piece.len() as u64;
            source.hash.write(piece);
        }
    }

    /// All of it was delivered.
    pub(in crate::proxy) fn finish(self) {
        self.exchange.record.finish(self.fate);
    }

    /// It broke off, or fell silent.
    pub(in crate::proxy) fn repair(self: Box<Self>) -> Repair {
        Box::pin(self.mend())
    }

    /// The answer ended in order before the client had what it was promised.
    pub(in crate::proxy) fn ended_early(mut self) {
        match self.source.take() {
            Some(source) => self.give_up(&source, RepairResult::Changed, "content", "the answer is shorter"),
            None => self.exchange.record.finish(Fate::Broken),
        }
    }

    async fn mend(mut self: Box<Self>) -> Result<Continued, CutShort> {
        let Some(mut source) = self.source.take() else {
            self.exchange.record.finish(Fate::Broken);
            return Err(CutShort);
        };
        source.broke(&mut self.exchange);
        let mut attempt = cut_short();
        let mut verdict = source.judge(&self.exchange, &attempt);
        let Exchange { record, template, .. } = &mut *self.exchange;
        record.breaks_off(template, verdict.class, &attempt.to_string());
        loop {
            if let Err(reason) = self.wait(&source, &attempt, verdict).await {
                self.give_up(&source, RepairResult::Abandoned, reason, &attempt);
                return Err(CutShort);
            }
            attempt = match source.send(&mut self.exchange).await {
                Again::Attempt(attempt) => attempt,
                Again::Continues { piece, rest } => {
                    source.forwarder.metrics.repair(RepairResult::Repaired);
                    self.exchange.record.tells(&self.exchange.template, Class::Success, "continued", None);
                    self.fate = Fate::Replayed;
                    self.source = Some(source);
                    return Ok(Continued { download: self, piece, rest });
                }
                Again::Other => {
                    self.exchange.record.tells(&self.exchange.template, Class::Success, "another content", None);
                    self.give_up(&source, RepairResult::Changed, "content", "another content came");
                    return Err(CutShort);
                }
            };
            verdict = source.judge(&self.exchange, &attempt);
            source.forwarder.count(&self.exchange, &attempt, verdict.class);
            self.exchange.leaves_trail(&attempt, verdict);
            attempt.tell(&self.exchange.throttle, self.exchange.caller, verdict.class);
        }
    }

    /// Waits as the verdict on the attempt says, or tells why no other may follow.
    async fn wait(&mut self, source: &Source, attempt: &Attempt, verdict: Verdict) -> Result<(), &'static str> {
        let stop = match verdict.decision {
            // A final answer, and not one that brings the file.
            Decision::Deliver | Decision::Echo(_) => return Err("answer"),
            Decision::Stop(reason) => Some(reason),
            Decision::Replay { after, cause } => {
                self.log_repair(source, attempt, after);
                self.exchange.counts_replay(verdict.class);
                source.forwarder.wait_to_replay(&mut self.exchange, after, cause, verdict.class).await.break_value()
            }
        };
        let Exchange { record, template, .. } = &mut *self.exchange;
        if let Some(reason) = stop {
            record.stops(template, reason);
            return Err(reason.as_str());
        }
        if let Some(reason) = attempt.retry_reason(verdict.class) {
            record.replays(reason);
        }
        Ok(())
    }

    fn log_repair(&self, source: &Source, cause: &Attempt, after: Duration) {
        info!(
            operation = self.exchange.record.operation(),
            account = %self.exchange.record.account(),
            attempt = self.exchange.record.attempts(),
            %cause,
            delivered_bytes = source.delivered,
            wait_seconds = after.as_secs_f64(),
            client_request_id = self.exchange.client_request_id(),
            "continuing a download"
        );
    }

    fn give_up(self, source: &Source, result: RepairResult, reason: &str, cause: impl fmt::Display) {
        warn!(
            operation = self.exchange.record.operation(),
            account = %self.exchange.record.account(),
            attempts = self.exchange.record.attempts(),
            reason,
            %cause,
            delivered_bytes = source.delivered,
            client_request_id = self.exchange.client_request_id(),
            "a download could not be continued and is broken off"
        );
        source.forwarder.metrics.repair(result);
        self.exchange.record.finish(Fate::Broken);
    }
}

// === impl Source ===

impl Source {
    fn broke(&mut self, exchange: &mut Exchange) {
        self.forwarder.metrics.upstream_error(Failure::Truncated);
        let patience = self.forwarder.policy.deadline_for(exchange.template.user_agent());
        exchange.breaks_off(self.tries.broke(self.delivered).then(|| Instant::now() + patience));
    }

    fn judge(&self, exchange: &Exchange, attempt: &Attempt) -> Verdict {
        self.forwarder.policy.decide(&self.situation(exchange), &attempt.outcome())
    }

    fn situation(&self, exchange: &Exchange) -> Situation {
        Situation { attempts: self.tries.count(), ..exchange.situation(&self.forwarder.drain) }
    }

    /// Sends once, and skips what the client has.
    async fn send(&mut self, exchange: &mut Exchange) -> Again {
        let at = self.situation(exchange);
        let limit = self.forwarder.policy.attempt_limit(&at, server_timeout(exchange.template.query()));
        // The last attempt has an end too: a client in the middle of a download may have no patience that ever does.
        let limit = limit.unwrap_or(self.forwarder.body_idle_timeout);
        let Exchange { template, body, throttle, .. } = &mut *exchange;
        let request = || template.request(body.next());
        let again = match self.forwarder.send(throttle, template.origin(), request, Replayable::Held, Some(limit)).await {
            Ok(response) if response.status() == StatusCode::OK => {
                self.forwarder.metrics.upstream_response(exchange.record.account(), response.status());
                self.skip(response).await
            }
            Ok(response) => Again::Attempt(self.forwarder.read(exchange, response).await),
            Err(failed) => Again::Attempt(failed),
        };
        match &again {
            Again::Attempt(attempt) if attempt.met_stale_connection() => return again,
            // Counted when it is judged.
            Again::Attempt(_) => {}
            Again::Continues { .. } | Again::Other => {
                self.forwarder.metrics.attempt(exchange.record.operation(), Class::Success);
                exchange.throttle.accepted();
            }
        }
        exchange.record.attempted();
        self.tries.sent();
        again
    }

    /// Reads what the client has and holds none of it.
    async fn skip(&self, response: Response<ResponseBody>) -> Again {
        let Response { head, body: mut rest } = response;
        if !self.content.may_go_on_in(&Content::of(head.status, &head.fields), self.delivered) {
            return Again::Other;
        }
        let (mut piece, mut missing, mut hash) = (Bytes::new(), self.delivered, XxHash3_128::new());
        while missing > 0 {
            match timeout(self.forwarder.body_idle_timeout, rest.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    piece = data;
                    let known = piece.split_to(piece.len().min(usize::try_from(missing).unwrap_or(usize::MAX)));
                    hash.write(&known);
                    missing -= known.len() as u64;
                }
                Ok(None) => return Again::Other,
                Ok(Some(Err(_))) | Err(_) => return Again::Attempt(cut_short()),
            }
        }
        // Also where the service vouches for it: this costs little, and a client cannot notice a wrong splice.
        if hash.finish_128() == self.hash.finish_128() { Again::Continues { piece, rest } } else { Again::Other }
    }
}

fn cut_short() -> Attempt {
    Attempt::Failed { failure: Failure::Truncated, transmission: Transmission::Sent }
}
