//! What happens to one request, for metrics and logs. Each ends in exactly one fate: a record dropped unfinished means the client went away.

use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::labels::{EchoResolution, Fate};
use crate::metrics::{Account, Metrics};
use crate::retry::subject::Subject;

/// One request's account of itself.
#[derive(Debug)]
pub(super) struct Record {
    metrics: Metrics,
    account: Account,
    operation: &'static str,
    started: Instant,
    attempts: u32,
    waited: Duration,
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
            echo: None,
            finished: false,
        }
    }

    /// Another send.
    pub(super) fn attempted(&mut self) {
        self.attempts += 1;
    }

    /// A wait that ended, by whatever cause.
    pub(super) fn waited(&mut self, time: Duration) {
        self.waited += time;
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
    pub(super) fn proxy_status(&self, fate: Fate, error: Option<&str>) -> String {
        let error = error.map(|error| format!("; error={error}")).unwrap_or_default();
        let echo = self.echo.map(|echo| format!("; echo={}", echo.as_str())).unwrap_or_default();
        let (attempts, fate, waited) = (self.attempts, fate.as_str(), self.waited.as_secs_f64());
        format!("batch-retry-proxy{error}; attempts={attempts}; fate={fate}; waited={waited:.1}{echo}")
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
            self.metrics.request(&self.account, self.operation, fate, self.started.elapsed());
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end(Fate::ClientGone);
    }
}
