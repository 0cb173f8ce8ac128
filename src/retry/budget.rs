//! Limits replays to a share of the traffic plus a floor, so that an outage is not multiplied.
//!
//! The rule is Finagle's and linkerd's: over any window that ends with a replay, replays are at most `ratio` of the requests in it plus `min_per_second` for each of
//! its seconds. 0.2, 10 and 10 s are their numbers: a fifth more load at most, and a quiet client can still replay. They refuse what exceeds the
//! budget; here it is put off until the window has moved on, and only the deadline ends it.
//!
//! It is asked for replays that the gate does not pace already, those of lost connections and server errors. How often *one* request is tried is
//! [`super::policy`]'s.

use std::time::{Duration, Instant};

use thiserror::Error;

use super::slots::Slots;

/// The rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetSettings {
    ratio: f64,
    min_per_second: u32,
    window: Duration,
}

/// Why three numbers are not a budget.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidBudget {
    /// Without a floor a quiet client could never replay.
    #[error("min_per_second must be between 1 and 1000000")]
    MinPerSecond,
    /// The share is of the traffic.
    #[error("ratio must be between 0 and 10")]
    Ratio,
    /// Shorter forgets too soon to count, longer remembers outages that are over.
    #[error("window must be between 1s and 60s")]
    Window,
}

/// What one account's replays may spend.
#[derive(Debug)]
pub struct Budget {
    settings: BudgetSettings,
    /// When the first slot began.
    begun: Instant,
    slots: Slots<Slot, HELD>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    requests: u64,
    replays: u64,
}

/// What a replay is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Withdrawal {
    /// A token was taken: send.
    Granted,
    /// None is left; asking before this is of no use unless more requests come.
    NotBefore(Instant),
}

// === impl BudgetSettings ===

impl BudgetSettings {
    /// Replays in a `window` are at most `ratio` of its requests plus `min_per_second` for each second.
    ///
    /// # Errors
    /// [`InvalidBudget`] names the number that makes no sense.
    pub fn new(ratio: f64, min_per_second: u32, window: Duration) -> Result<Self, InvalidBudget> {
        if !(0.0..=10.0).contains(&ratio) {
            return Err(InvalidBudget::Ratio);
        }
        if !(1..=1_000_000).contains(&min_per_second) {
            return Err(InvalidBudget::MinPerSecond);
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&window) {
            return Err(InvalidBudget::Window);
        }
        Ok(Self { ratio, min_per_second, window })
    }
}

// === impl Budget ===

impl Budget {
    /// A budget with the floor to spend.
    pub fn new(settings: BudgetSettings, now: Instant) -> Self {
        Self { settings, begun: now, slots: Slots::default() }
    }

    /// Another rule from now on. What was counted stays counted, as far as it was remembered; where the window changes, requests as of the
    /// beginning of their slot and replays as of its end, so that no replay is granted that the rule would not allow.
    pub fn reconfigure(&mut self, settings: BudgetSettings, now: Instant) {
        if settings.window == self.settings.window {
            self.settings = settings;
            return;
        }
        let former = std::mem::replace(self, Self { settings, begun: self.begun, slots: Slots::default() });
        let latest = self.advance(now);
        for slot in former.slots.held() {
            let (begins, ends) = (self.slot_of(former.begin_of(slot)), self.slot_of(former.begin_of(slot + 1)));
            let Slot { requests, replays } = former.slots.at(slot);
            if self.slots.held().contains(&begins) {
                self.slots.at_mut(begins).requests += requests;
            }
            if self.slots.held().contains(&ends.min(latest)) {
                self.slots.at_mut(ends.min(latest)).replays += replays;
            }
        }
    }

    /// A request came. Its replays do not count.
    pub fn deposit(&mut self, now: Instant) {
        let slot = self.advance(now);
        self.slots.at_mut(slot).requests += 1;
    }

    /// Takes a token for a replay if there is one.
    pub fn withdraw(&mut self, now: Instant) -> Withdrawal {
        let slot = self.advance(now);
        if self.left(slot) >= 1.0 {
            self.slots.at_mut(slot).replays += 1;
            return Withdrawal::Granted;
        }
        let last = slot + HELD as u64;
        // As the window moves on both sides shrink, so each coming slot is asked; in the last of them only the floor is left, which is at least 1.
        let later = (slot + 1..=last).find(|later| self.left(*later) >= 1.0).unwrap_or(last);
        Withdrawal::NotBefore(self.begun + self.begin_of(later))
    }

    /// How many replays would be granted at `now`.
    pub fn balance(&mut self, now: Instant) -> f64 {
        let slot = self.advance(now);
        self.left(slot).max(0.0)
    }

    /// What is left in slot `at`, which may lie ahead. Requests are counted over a little less than the window and replays over a little
    /// more: whole slots could otherwise grant more than the rule over some window that begins inside one.
    fn left(&self, at: u64) -> f64 {
        let sum = |reach: usize, of: fn(Slot) -> u64| -> u64 {
            let seen = (at + 1).saturating_sub(reach as u64)..=at;
            self.slots.held().filter(|slot| seen.contains(slot)).map(|slot| of(self.slots.at(slot))).sum()
        };
        let requests = sum(SLOTS, |slot| slot.requests) as f64;
        let replays = sum(HELD, |slot| slot.replays) as f64;
        let floor = f64::from(self.settings.min_per_second) * self.settings.window.as_secs_f64();
        self.settings.ratio.mul_add(requests, floor) - replays
    }

    /// Moves on to the slot of `now`, forgetting what is too old.
    fn advance(&mut self, now: Instant) -> u64 {
        let slot = self.slot_of(now.saturating_duration_since(self.begun));
        self.slots.advance(slot)
    }

    /// The slot in which so much time had passed since the first began.
    fn slot_of(&self, passed: Duration) -> u64 {
        (passed.as_nanos() * SLOTS as u128 / self.settings.window.as_nanos()) as u64
    }

    /// When a slot begins, counted from the first.
    fn begin_of(&self, slot: u64) -> Duration {
        let nanos = (u128::from(slot) * self.settings.window.as_nanos()).div_ceil(SLOTS as u128);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The window is counted in this many slots, as linkerd's is.
const SLOTS: usize = 10;

/// One slot more is kept: a window that begins inside a slot touches eleven.
const HELD: usize = SLOTS + 1;

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests need some instant to begin with")]
mod tests;
