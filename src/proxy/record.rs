//! What happens to one request, for metrics and logs. Each ends in exactly one fate: a record dropped unfinished means the client went away.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::template::Template;
use crate::batch::fields::visible;
use crate::metrics::labels::{EchoResolution, Fate, RetryReason};
use crate::metrics::{Account, Metrics, Replay, Trail, Waits};
use crate::retry::classify::Class;
use crate::retry::policy::{StopReason, WaitCause};
use crate::retry::subject::Subject;
use crate::telemetry::target_for_log;

/// One request's account of itself.
#[derive(Debug)]
pub(super) struct Record {
    metrics: Metrics,
    account: Account,
    operation: &'static str,
    started: Instant,
    attempts: u32,
    waited: Duration,
    /// Since the last send.
    waits: Waits,
    /// Only where something failed.
    trail: Option<Box<Trail>>,
    echo: Option<EchoResolution>,
    finished: bool,
}

// === impl Record ===

impl Record {
    /// A request that just arrived.
    pub(super) fn begin(metrics: Metrics, account: Account, subject: &Subject) -> Self {
        let operation = subject.name();
        Self {
            metrics,
            account,
            operation,
            started: Instant::now(),
            attempts: 0,
            waited: Duration::ZERO,
            waits: Waits::default(),
            trail: None,
            echo: None,
            finished: false,
        }
    }

    /// Another send.
    pub(super) fn attempted(&mut self) {
        self.attempts += 1;
    }

    /// A wait that ended, by whatever cause.
    pub(super) fn waited(&mut self, cause: WaitCause, time: Duration) {
        self.waited += time;
        self.waits.add(cause, time);
    }

    /// Whether something failed on the way.
    pub(super) fn has_trail(&self) -> bool {
        self.trail.is_some()
    }

    /// A send ended like this, and is told afterwards.
    pub(super) fn tells(&mut self, template: &Template, class: Class, outcome: &str, request_id: Option<&str>) {
        let waits = std::mem::take(&mut self.waits);
        self.trail(template).sent(waits, class, outcome, request_id);
    }

    /// Its answer broke off while it was delivered.
    pub(super) fn breaks_off(&mut self, template: &Template, class: Class, outcome: &str) {
        let waits = std::mem::take(&mut self.waits);
        self.trail(template).broke_off(waits, class, outcome);
    }

    /// It is sent again.
    pub(super) fn replays(&mut self, reason: RetryReason) {
        self.metrics.retry(&self.account, self.operation, reason);
        if let Some(trail) = &mut self.trail {
            trail.replayed();
        }
    }

    /// No replay follows, for this reason.
    pub(super) fn stops(&mut self, template: &Template, reason: StopReason) {
        self.metrics.stop(self.operation, reason);
        self.trail(template).stopped(reason);
    }

    fn trail(&mut self, template: &Template) -> &mut Trail {
        self.trail.get_or_insert_with(|| {
            let id = template.request_id().and_then(visible);
            Box::new(Trail::new(template.method().as_str(), &target_for_log(template.path()), id))
        })
    }

    /// Sends so far.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What was made of an answer that may have come of an earlier send.
    pub(super) fn echoed(&mut self, echo: EchoResolution) {
        self.metrics.echo(self.operation, echo);
        self.echo = Some(echo);
    }

    /// The value of `Proxy-Status` (RFC 9209); `error` is one of its types, where the proxy itself answers.
    pub(super) fn proxy_status(&self, fate: Fate, error: Option<&str>) -> Cow<'static, str> {
        if fate == Fate::FirstTry && error.is_none() && self.attempts == 1 && self.waited.is_zero() && self.echo.is_none() {
            return USUAL_STATUS.into();
        }
        let error = error.map(|error| format!("; error={error}")).unwrap_or_default();
        let echo = self.echo.map(|echo| format!("; echo={}", echo.as_str())).unwrap_or_default();
        let (attempts, fate, waited) = (self.attempts, fate.as_str(), self.waited.as_secs_f64());
        format!("batch-retry-proxy{error}; attempts={attempts}; fate={fate}; waited={waited:.1}{echo}").into()
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    pub(super) fn operation(&self) -> &'static str {
        self.operation
    }

    /// The request ends in this fate.
    pub(super) fn finish(mut self, fate: Fate) {
        self.end(fate);
    }

    fn end(&mut self, fate: Fate) {
        if !self.finished {
            self.finished = true;
            let duration = self.started.elapsed();
            if let Some(trail) = self.trail.take() {
                self.tell(*trail, fate, duration);
            }
            self.metrics.request(&self.account, self.operation, fate, duration);
        }
    }

    fn tell(&self, mut trail: Trail, fate: Fate, duration: Duration) {
        trail.end(self.waits);
        self.metrics.replay_ended(Replay {
            number: 0,
            ended: SystemTime::now(),
            duration,
            account: self.account.to_string(),
            operation: self.operation,
            fate,
            attempts: self.attempts,
            waited: self.waited,
            echo: self.echo,
            trail,
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end(Fate::ClientGone);
    }
}

/// What nearly every answer says: not put together each time.
const USUAL_STATUS: &str = "batch-retry-proxy; attempts=1; fate=first_try; waited=0.0";

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::metrics::BuildInfo;

    #[test]
    fn the_usual_status_reads_as_one_that_was_put_together() {
        let metrics = Metrics::new(BuildInfo { version: "0", revision: "0" });
        let subject = Subject::of(&Method::GET, "/jobs");
        let mut record = Record::begin(metrics.clone(), metrics.account("acct.x.batch.azure.com"), &subject);
        record.attempted();
        assert_eq!(record.proxy_status(Fate::FirstTry, None), USUAL_STATUS);
        // Nobody sees a wait this short.
        record.waited(WaitCause::Gate, Duration::from_nanos(1));
        assert_eq!(record.proxy_status(Fate::FirstTry, None), USUAL_STATUS);
        record.attempted();
        let want = "batch-retry-proxy; error=x; attempts=2; fate=exhausted; waited=0.0";
        assert_eq!(record.proxy_status(Fate::Exhausted, Some("x")), want);
    }
}
