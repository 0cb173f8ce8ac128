//! How long to wait before the next replay when the service did not say.
//!
//! Microsoft's advice for Batch is to wait several seconds between tries, so the first wait is 2 s; it doubles up to 10 s,
//! because a client's patience (50 s by default) should hold several tries.

use std::time::Duration;

use thiserror::Error;

/// Waits that grow by a factor up to a cap, plus up to a share of themselves by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExponentialBackoff {
    initial: Duration,
    factor: f64,
    max: Duration,
    jitter: f64,
}

/// Why four numbers are not a backoff.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidBackoff {
    /// A factor that shrinks waits, or is no number.
    #[error("factor must be between 1 and 10")]
    Factor,
    /// A first wait of nothing is a busy loop.
    #[error("initial must be longer than 0s")]
    Initial,
    /// Jitter is a share of the wait.
    #[error("jitter must be between 0 and 1")]
    Jitter,
    /// The cap lies below the first wait.
    #[error("max must not be shorter than initial")]
    Max,
}

// === impl ExponentialBackoff ===

impl ExponentialBackoff {
    /// Wait n is `initial * factor^(n-1)`, at most `max`, plus up to `jitter` of itself.
    ///
    /// # Errors
    /// [`InvalidBackoff`] names the number that makes no sense.
    pub fn new(initial: Duration, factor: f64, max: Duration, jitter: f64) -> Result<Self, InvalidBackoff> {
        if initial.is_zero() {
            return Err(InvalidBackoff::Initial);
        }
        if !(1.0..=10.0).contains(&factor) {
            return Err(InvalidBackoff::Factor);
        }
        if max < initial {
            return Err(InvalidBackoff::Max);
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(InvalidBackoff::Jitter);
        }
        Ok(Self { initial, factor, max, jitter })
    }

    /// The wait before replay `n` (the first is 1), without jitter.
    pub fn base(&self, n: u32) -> Duration {
        let grown = self.initial.as_secs_f64() * self.factor.powi(n.saturating_sub(1).min(1_000) as i32);
        // A product past the cap, infinity included, is the cap: `try_from_secs_f64` refuses what a Duration cannot hold.
        Duration::try_from_secs_f64(grown).map_or(self.max, |wait| wait.min(self.max))
    }

    /// What is added to the wait before replay `n`: `entropy` (from 0 up to 1) of the largest jitter.
    pub fn jitter(&self, n: u32, entropy: f64) -> Duration {
        self.base(n).mul_f64(self.jitter * entropy.clamp(0.0, 1.0))
    }

    /// The first wait; no wait of ours is made shorter than this.
    pub fn initial(&self) -> Duration {
        self.initial
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_cap() {
        let backoff = ExponentialBackoff::new(2 * SECOND, 2.0, 10 * SECOND, 0.5).unwrap();
        let waits: Vec<_> = (1..=5).map(|n| backoff.base(n).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 10, 10]);
        assert_eq!(backoff.base(u32::MAX), 10 * SECOND);
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let new = |initial, factor, max, jitter| {
            ExponentialBackoff::new(Duration::from_secs(initial), factor, Duration::from_secs(max), jitter).err()
        };
        for (got, want) in [
            (new(0, 2.0, 10, 0.5), Some(InvalidBackoff::Initial)),
            (new(2, 0.5, 10, 0.5), Some(InvalidBackoff::Factor)),
            (new(2, f64::NAN, 10, 0.5), Some(InvalidBackoff::Factor)),
            (new(2, f64::INFINITY, 10, 0.5), Some(InvalidBackoff::Factor)),
            (new(2, 2.0, 1, 0.5), Some(InvalidBackoff::Max)),
            (new(2, 2.0, 10, 1.5), Some(InvalidBackoff::Jitter)),
            (new(2, 2.0, 10, -0.1), Some(InvalidBackoff::Jitter)),
            (new(2, 2.0, 10, f64::NAN), Some(InvalidBackoff::Jitter)),
            (new(2, 1.0, 2, 0.0), None),
        ] {
            assert_eq!(got, want);
        }
    }

    proptest! {
        #[test]
        fn jitter_only_adds_and_never_more_than_its_share(n in 1u32..100, jitter in 0.0f64..=1.0, entropy in 0.0f64..1.0) {
            let backoff = ExponentialBackoff::new(SECOND, 3.0, 60 * SECOND, jitter).unwrap();
            let base = backoff.base(n);
            prop_assert!(base >= SECOND && base <= 60 * SECOND);
            prop_assert!(backoff.jitter(n, entropy) <= base.mul_f64(jitter));
        }
    }
}
