//! What is throttled more narrowly than the account.
//!
//! enableautoscale may be called once in 30 s for each pool. A refusal of it is no news about the account, so it closes only its own scope. While a
//! scope is remembered, one request passes and the next waits for the interval: releasing five at once would have four refused.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::queue::Ticket;

/// A narrower limit that a request falls under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// A number for what is limited: a hash of operation and resource. Two that share one wait longer, nothing worse.
    pub key: u64,
    /// The least time between two requests.
    pub interval: Duration,
}

/// The scopes that were throttled not long ago, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    closed: Vec<(u64, Instant)>,
    waiting: BTreeMap<(Instant, u64), Ticket>,
}

// === impl Scopes ===

impl Scopes {
    /// Until when `scope` is closed, if it is.
    pub(super) fn closed_until(&self, scope: Scope, now: Instant) -> Option<Instant> {
        self.closed.iter().find(|(key, until)| *key == scope.key && *until > now).map(|(_, until)| *until)
    }

    /// The service refused a request in `scope` and named `hint`.
    pub(super) fn close(&mut self, scope: Scope, now: Instant, hint: Duration) {
        let until = now + hint.max(scope.interval);
        if let Some((_, closed)) = self.closed.iter_mut().find(|(key, _)| *key == scope.key) {
            *closed = until.max(*closed);
            return;
        }
        self.closed.retain(|(_, closed)| *closed > now);
        if self.closed.len() >= MOST {
            // The one that opens first is the one whose loss costs least.
            let first = self.closed.iter().enumerate().min_by_key(|(_, (_, closed))| *closed).map(|(index, _)| index);
            first.map(|index| self.closed.swap_remove(index));
        }
        self.closed.push((scope.key, until));
    }

    /// A request passed: if its scope is remembered, the next one waits for the interval.
    pub(super) fn sent(&mut self, ticket: &Ticket, now: Instant) {
        let Some(scope) = ticket.scope else { return };
        if let Some((_, until)) = self.closed.iter_mut().find(|(key, _)| *key == scope.key) {
            *until = now + scope.interval;
        }
    }

    pub(super) fn hold(&mut self, until: Instant, ticket: Ticket) {
        self.waiting.insert((until, ticket.order), ticket);
    }

    /// One whose wait for its scope is over.
    pub(super) fn due(&mut self, now: Instant) -> Option<Ticket> {
        let first = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(first.remove())
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((until, _), _)| *until)
    }

    pub(super) fn remove(&mut self, ticket: &Ticket) -> bool {
        if ticket.scope.is_none() {
            return false;
        }
        let before = self.waiting.len();
        self.waiting.retain(|(_, order), _| *order != ticket.order);
        self.waiting.len() < before
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.closed.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// How many scopes are remembered.
const MOST: usize = 256;
