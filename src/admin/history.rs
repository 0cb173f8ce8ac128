//! Requests by fate over the last 15 minutes, in slots of 15 seconds.
//!
//! The counters that Prometheus reads are looked at when a slot ends, so that a request pays nothing for it, and what the slots add up to is what
//! the counters grew by.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::metrics::FateCounts;
use crate::metrics::labels::Fate;

/// The slots up to now.
#[derive(Debug)]
pub(super) struct History(Mutex<Slots>);

#[derive(Debug)]
struct Slots {
    begun: Instant,
    /// Counts from 0 at `begun`.
    current: u64,
    /// What was counted before the current slot.
    before: FateCounts,
    /// Those that are over.
    over: VecDeque<FateCounts>,
}

/// The history as it is told.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Recent {
    /// How long a slot is.
    slot_seconds: u64,
    /// For each fate that occurred, requests in each slot, the oldest slot first. The last is not over yet.
    fates: BTreeMap<&'static str, Vec<u64>>,
}

// === impl History ===

impl History {
    /// How long a slot is.
    pub(super) const SLOT: Duration = Duration::from_secs(15);
    /// Slots in 15 minutes.
    const SLOTS: usize = 60;

    /// Begins with nothing counted.
    pub(super) fn begin(now: Instant) -> Self {
        Self(Mutex::new(Slots { begun: now, current: 0, before: FateCounts::default(), over: VecDeque::new() }))
    }

    /// What was counted until `now` is `counts`: ends the slots that are over. One that ends late is given what came in between.
    pub(super) fn turn(&self, now: Instant, counts: FateCounts) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).turn(now, counts);
    }

    /// What was counted until `now` is `counts`.
    pub(super) fn recent(&self, now: Instant, counts: FateCounts) -> Recent {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.turn(now, counts);
        let current = counts.since(&slots.before);
        let mut fates = BTreeMap::new();
        for (index, fate) in Fate::ALL.iter().enumerate() {
            let missing = std::iter::repeat_n(0, Self::SLOTS - 1 - slots.over.len());
            let known = slots.over.iter().chain([&current]).map(|counts| counts.0[index]);
            let row: Vec<u64> = missing.chain(known).collect();
            if row.iter().any(|count| *count > 0) {
                fates.insert(fate.as_str(), row);
            }
        }
        Recent { slot_seconds: Self::SLOT.as_secs(), fates }
    }
}

// === impl Slots ===

impl Slots {
    fn turn(&mut self, now: Instant, counts: FateCounts) {
        let at = now.saturating_duration_since(self.begun).as_secs() / History::SLOT.as_secs();
        let ended = at.saturating_sub(self.current);
        if ended == 0 {
            return;
        }
        self.over.push_back(counts.since(&self.before));
        // Longer than the window makes no difference.
        for _ in 1..ended.min(History::SLOTS as u64) {
            self.over.push_back(FateCounts::default());
        }
        let surplus = self.over.len().saturating_sub(History::SLOTS - 1);
        self.over.drain(..surplus);
        self.current = at;
        self.before = counts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(first_try: u64, exhausted: u64) -> FateCounts {
        let mut counts = FateCounts::default();
        for (index, fate) in Fate::ALL.iter().enumerate() {
            counts.0[index] = match fate {
                Fate::FirstTry => first_try,
                Fate::Exhausted => exhausted,
                _ => 0,
            };
        }
        counts
    }

    fn ends_in(recent: &Recent, fate: &str, want: &[u64]) {
        let row = &recent.fates[fate];
        assert_eq!(row.len(), 60);
        assert_eq!(row[60 - want.len()..], *want);
        assert_eq!(row.iter().sum::<u64>(), want.iter().sum::<u64>());
    }

    #[test]
    fn each_slot_has_what_came_in_its_time_and_the_last_is_under_way() {
        let begun = Instant::now();
        let history = History::begin(begun);
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert!(history.recent(at(1), counts(0, 0)).fates.is_empty());
        ends_in(&history.recent(at(14), counts(3, 0)), "first_try", &[3]);
        history.turn(at(15), counts(4, 0));
        let recent = history.recent(at(20), counts(4, 2));
        ends_in(&recent, "first_try", &[4, 0]);
        ends_in(&recent, "exhausted", &[0, 2]);
        assert_eq!(recent.fates.len(), 2);
    }

    #[test]
    fn a_look_that_comes_late_ends_the_slots_in_between() {
        let begun = Instant::now();
        let history = History::begin(begun);
        let at = |seconds| begun + Duration::from_secs(seconds);
        ends_in(&history.recent(at(50), counts(5, 0)), "first_try", &[5, 0, 0, 0]);
        ends_in(&history.recent(at(65), counts(6, 0)), "first_try", &[5, 0, 0, 1, 0]);
    }

    #[test]
    fn what_is_older_than_fifteen_minutes_is_forgotten() {
        let begun = Instant::now();
        let history = History::begin(begun);
        let at = |seconds| begun + Duration::from_secs(seconds);
        history.turn(at(15), counts(7, 0));
        ends_in(&history.recent(at(15 * 59), counts(9, 0)), "first_try", &[&[7, 2][..], &[0; 58]].concat());
        ends_in(&history.recent(at(15 * 60), counts(9, 0)), "first_try", &[&[2][..], &[0; 59]].concat());
        assert!(history.recent(at(15 * 61), counts(9, 0)).fates.is_empty());
        assert!(history.recent(at(1 << 40), counts(10, 0)).fates.is_empty());
        ends_in(&history.recent(at((1 << 40) + 1), counts(11, 0)), "first_try", &[1]);
    }
}
