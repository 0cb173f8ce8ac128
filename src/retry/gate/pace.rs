//! How many requests a second pass while the gate is in force: cut when the service refuses, grown while it accepts.
//!
//! The shape is that of TCP CUBIC and of the AWS SDKs' adaptive mode: after a cut the pace climbs fast at first, slows down near the pace that was
//! refused, because the limit is likely there still, and only when that is accepted too climbs ever faster to find the new one. Everything is
//! relative to the refused pace, so that one proxy with a hundred requests a second and a hundred proxies with one each are treated alike: a proxy
//! cannot know how many share the account. It is fair all the same: who sends more is refused more often.

use std::time::{Duration, Instant};

use super::GateSettings;
use crate::retry::slots::Slots;

/// A rate with its memory of where it was refused.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    /// The pace at the last refusal.
    refused_at: f64,
    /// The share of it from which the climb began.
    start: f64,
    /// How steep the climb is: the cubic coefficient, per second cubed.
    steepness: f64,
    /// How long the service has accepted since, while the pace was used up.
    climbed: Duration,
    /// Until when `climbed` has been counted.
    counted: Instant,
    /// Whether the account refused before it had accepted anything to learn from: then each accepted answer adds one a second, as in TCP's slow
    /// start, until it refuses again. A client that begins in somebody else's throttle must not stay at a guess.
    guessed: bool,
    last_cut: Option<Instant>,
}

/// Counts accepted answers over the last seconds.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// When the first slot began.
    begun: Option<Instant>,
    counts: Slots<u32, SLOTS>,
}

// === impl Pace ===

impl Pace {
    /// The pace after the first refusal, where `accepted` a second had been accepted. It waits for [`refused`](Self::refused) to be cut.
    pub(super) fn after_refusal(accepted: f64, now: Instant) -> Self {
        let per_second = accepted.max(FIRST);
        Self {
            per_second,
            refused_at: per_second,
            start: 1.0,
            steepness: 0.0,
            climbed: Duration::ZERO,
            counted: now,
            guessed: accepted < FIRST,
            last_cut: None,
        }
    }

    /// The service refused a request sent at this pace, or at `known` if that is less, and named `closed` as the wait.
    pub(super) fn refused(&mut self, settings: &GateSettings, known: f64, closed: Duration, now: Instant) {
        let start = match self.last_cut {
            // What was sent before the last cut says nothing about the pace after it.
            Some(last) if now.saturating_duration_since(last) < CUT_INTERVAL => return,
            Some(_) => {
                self.guessed = false;
                settings.cut
            }
            None => settings.initial_share,
        };
        self.last_cut = Some(now);
        self.start = start;
        self.refused_at = self.per_second.min(known).max(FLOOR);
        // The way back from a cut takes as long as it would in a straight line of this growth; longer where finding the limit again costs more.
        let way = 1.0 - settings.cut;
        let price = (closed * CLOSED_IN).min(LONGEST_WAY).as_secs_f64();
        self.steepness = way / (way / settings.growth_per_second).max(price).powi(3);
        self.climbed = Duration::ZERO;
        self.counted = now;
        self.per_second = self.climb();
    }

    /// The service accepted a request; `proven` if others waited for the pace meanwhile.
    pub(super) fn accepted(&mut self, now: Instant, proven: bool) {
        if proven && self.guessed {
            self.refused_at = (self.per_second + FIRST).min(CEILING);
            self.per_second = self.refused_at;
        } else if proven {
            self.climbed += now.saturating_duration_since(self.counted).min(LONGEST_STEP);
            self.per_second = self.climb();
        }
        self.counted = self.counted.max(now);
    }

    /// No climbing before `opens`.
    pub(super) fn rests_until(&mut self, opens: Instant) {
        self.counted = self.counted.max(opens);
    }

    /// Whether nothing is known of the account yet.
    pub(super) fn is_guess(&self) -> bool {
        self.guessed
    }

    pub(super) fn per_second(&self) -> f64 {
        self.per_second
    }

    /// The time between two requests.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.per_second)
    }

    /// `refused_at * (1 + steepness * (t - plateau)^3)`, which is `start` of it at 0 and all of it at the plateau.
    fn climb(&self) -> f64 {
        let plateau = ((1.0 - self.start) / self.steepness).cbrt();
        let share = self.steepness.mul_add((self.climbed.as_secs_f64() - plateau).powi(3), 1.0);
        (self.refused_at * share).clamp(FLOOR, CEILING)
    }
}

// === impl Meter ===

impl Meter {
    pub(super) fn count(&mut self, now: Instant) {
        let slot = self.advance(now);
        *self.counts.at_mut(slot) += 1;
    }

    /// What was accepted in a second. A burst shorter than a second counts as one of a second, not as a rate of its own.
    pub(super) fn rate(&mut self, now: Instant) -> f64 {
        self.advance(now);
        let Some(oldest) = self.counts.held().find(|slot| self.counts.at(*slot) > 0) else { return 0.0 };
        let begun = self.begun.unwrap_or(now);
        let span = now.saturating_duration_since(begun).saturating_sub(SLOT * u32::try_from(oldest).unwrap_or(u32::MAX));
        let total: u32 = self.counts.held().map(|slot| self.counts.at(slot)).sum();
        f64::from(total) / span.max(SHORTEST_SPAN).as_secs_f64()
    }

    /// Moves on to the slot of `now`, forgetting what is too old.
    fn advance(&mut self, now: Instant) -> u64 {
        let begun = *self.begun.get_or_insert(now);
        let slot = (now.saturating_duration_since(begun).as_millis() / SLOT.as_millis()) as u64;
        self.counts.advance(slot)
    }
}

/// The least pace: slower, and the service's recovery would be noticed too late. A fifth of that of the AWS adaptive mode, which is one client's; of a
/// hundred clients that share an account each must be able to take less.
const FLOOR: f64 = 0.1;

/// What is taken for the accepted rate where nothing was accepted before the first refusal.
const FIRST: f64 = 1.0;

/// A pace that no account has; it keeps the interval a number.
const CEILING: f64 = 100_000.0;

/// The pace is cut at most once in this time.
const CUT_INTERVAL: Duration = Duration::from_secs(1);

/// The way back takes at least this many times as long as the gate was closed, so that looking for the limit costs at most a fifth of the time.
const CLOSED_IN: u32 = 5;

/// But no longer than this: the limit may have moved.
const LONGEST_WAY: Duration = Duration::from_secs(60);

/// The most that one accepted answer proves: at the least pace the next one comes this much later.
const LONGEST_STEP: Duration = Duration::from_secs(10);

/// The meter looks back over this many slots.
const SLOTS: usize = 10;

/// The AWS adaptive mode measures in slots of this length too.
const SLOT: Duration = Duration::from_millis(500);

/// Less time than this makes no rate.
const SHORTEST_SPAN: Duration = Duration::from_secs(1);
