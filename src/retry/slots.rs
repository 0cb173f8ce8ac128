//! A ring of time slots: what was counted lately, in pieces that are forgotten one by one.
//!
//! Slots are numbered from some beginning on. How long one lasts, and which number a moment has, is the owner's.

use std::ops::RangeInclusive;

/// The newest `N` slots, each with a `T` counted in it.
#[derive(Debug)]
pub(super) struct Slots<T, const N: usize> {
    newest: u64,
    counts: [T; N],
}

// === impl Slots ===

impl<T: Copy + Default, const N: usize> Slots<T, N> {
    /// Moves on to slot `to`, forgetting what is too old for it, and says which one is the newest: `to`, or a later one where time went back.
    pub(super) fn advance(&mut self, to: u64) -> u64 {
        for fresh in (self.newest + 1..=to).take(N) {
            *self.at_mut(fresh) = T::default();
        }
        self.newest = self.newest.max(to);
        self.newest
    }

    /// Which slots are remembered, the oldest first.
    pub(super) fn held(&self) -> RangeInclusive<u64> {
        (self.newest + 1).saturating_sub(N as u64)..=self.newest
    }

    /// What was counted in `slot`, one of those [`held`](Self::held).
    pub(super) fn at(&self, slot: u64) -> T {
        self.counts[Self::index(slot)]
    }

    /// Where to count in `slot`, one of those [`held`](Self::held).
    pub(super) fn at_mut(&mut self, slot: u64) -> &mut T {
        &mut self.counts[Self::index(slot)]
    }

    fn index(slot: u64) -> usize {
        (slot % N as u64) as usize
    }
}

impl<T: Copy + Default, const N: usize> Default for Slots<T, N> {
    fn default() -> Self {
        Self { newest: 0, counts: [T::default(); N] }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted<const N: usize>(slots: &Slots<u32, N>) -> Vec<(u64, u32)> {
        slots.held().map(|slot| (slot, slots.at(slot))).filter(|(_, count)| *count > 0).collect()
    }

    fn count<const N: usize>(slots: &mut Slots<u32, N>, at: u64) {
        let slot = slots.advance(at);
        *slots.at_mut(slot) += 1;
    }

    #[test]
    fn as_many_slots_are_remembered_as_there_are_and_no_more() {
        let mut slots = Slots::<u32, 3>::default();
        assert_eq!(slots.held(), 0..=0);
        for slot in 0..3 {
            count(&mut slots, slot);
        }
        assert_eq!(counted(&slots), [(0, 1), (1, 1), (2, 1)]);
        count(&mut slots, 3);
        assert_eq!(counted(&slots), [(1, 1), (2, 1), (3, 1)]);
    }

    #[test]
    fn slots_that_were_skipped_are_empty() {
        let mut slots = Slots::<u32, 3>::default();
        for slot in 0..3 {
            count(&mut slots, slot);
        }
        assert_eq!(slots.advance(4), 4);
        assert_eq!(counted(&slots), [(2, 1)]);
    }

    #[test]
    fn a_long_silence_empties_all_at_once() {
        let mut slots = Slots::<u32, 3>::default();
        count(&mut slots, 1);
        assert_eq!(slots.advance(u64::MAX / 2), u64::MAX / 2);
        assert_eq!(counted(&slots), []);
    }

    #[test]
    fn time_that_goes_back_counts_in_the_newest() {
        let mut slots = Slots::<u32, 3>::default();
        count(&mut slots, 5);
        count(&mut slots, 2);
        assert_eq!(counted(&slots), [(5, 2)]);
    }

    proptest! {
        #[test]
        fn what_is_remembered_is_what_was_counted_in_the_newest(at in prop::collection::vec(0..40u64, 1..100)) {
            let (mut slots, mut all) = (Slots::<u32, 7>::default(), [0; 40]);
            let mut newest = 0;
            for at in at {
                count(&mut slots, at);
                newest = newest.max(at);
                all[newest as usize] += 1;
                let want: Vec<_> = (newest.saturating_sub(6)..=newest).map(|slot| (slot, all[slot as usize])).collect();
                prop_assert_eq!(slots.held().map(|slot| (slot, slots.at(slot))).collect::<Vec<_>>(), want);
            }
        }
    }
}
