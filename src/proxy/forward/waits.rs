//! What a request waits for before it is sent or answered: its turn at the account's gate, a backoff, a token.

use std::future::ready;
use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Forwarder;
use crate::proxy::exchange::Exchange;
use crate::proxy::throttle::Refused;
use crate::retry::classify::Class;
use crate::retry::outcome::Outcome;
use crate::retry::policy::{RetryPolicy, StopReason, WaitCause};

// === impl Forwarder ===

impl Forwarder {
    /// Waits before the next attempt: for the time that was decided, then for a token, then at the gate. Breaks where that cannot be.
    pub(super) async fn wait_to_replay(
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
    pub(in crate::proxy) async fn pass_gate(&self, exchange: &mut Exchange) -> Result<(), Refused> {
        let throttle = exchange.throttle.clone();
        let by = |exchange: &Exchange| Instant::from_std(self.policy.send_by(&exchange.situation(&self.drain)));
        let (begun, passed) = {
            let mut passing = pin!(throttle.pass(exchange.caller, by(exchange)));
            tokio::select! {
                biased;
                // What is decided at once was no wait, however long a busy machine takes for it.
                passed = &mut passing => return passed,
                () = ready(()) => {}
            }
            let begun = Instant::now();
            let passed = tokio::select! {
                passed = passing => Some(passed),
                () = self.drain.started() => None,
            };
            (begun, passed)
        };
        let passed = match passed {
            Some(passed) => passed,
            // When the process ends is known now. The place in the queue was given up.
            None => throttle.pass(exchange.caller, by(exchange)).await,
        };
        exchange.record.waited(WaitCause::Gate, begun.elapsed());
        self.metrics.wait(WaitCause::Gate, begun.elapsed());
        passed
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
        exchange.record.waited(cause, begun.elapsed());
        self.metrics.wait(cause, begun.elapsed());
        if cut_off { ControlFlow::Break(StopReason::Shutdown) } else { ControlFlow::Continue(()) }
    }

    /// Keeps back an answer that its client would not wait after.
    pub(super) async fn hold_back(&self, exchange: &mut Exchange, outcome: &Outcome<'_>) {
        if let Some(hold) = self.policy.hold(&exchange.situation(&self.drain), outcome) {
            // Cut short or not, what is handed over stays the same.
            let _ = self.wait(exchange, hold, WaitCause::Backoff).await;
        }
    }
}
