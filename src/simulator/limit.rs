//! How many requests an account takes: a bucket of tokens that fills at a rate. Pure.
//!
//! It is no window: tokens come one by one, and who comes too soon is refused alone. The account has it in common for all its clients, as
//! Batch has.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::hint::{Hint, HintForm};

/// The numbers of the bucket.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    /// Tokens that come in a second.
    per_second: f64,
    /// Tokens that are there at first, and at most.
    burst: u32,
    /// How a refusal names the time until the next token.
    #[serde(default)]
    hint: HintForm,
}

/// The tokens there are.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: Limit,
    tokens: f64,
    /// When they were counted last.
    counted: Option<SystemTime>,
}

/// No token was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PastLimit {
    /// What the request is told.
    pub(super) hint: Option<Hint>,
}

// === impl Limit ===

impl Limit {
    /// As many at once as in a second, and a hint in seconds.
    pub(super) fn of(per_second: f64) -> Self {
        // A number that is none is refused by the check.
        Self { per_second, burst: per_second.ceil() as u32, hint: HintForm::default() }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if !(self.per_second > 0.0 && self.per_second <= MOST) {
            return Err(format!("per_second is above 0 and up to {MOST}"));
        }
        if self.burst == 0 {
            return Err("burst begins at 1".to_owned());
        }
        Ok(())
    }
}

// === impl Bucket ===

impl Bucket {
    /// A full one.
    pub(super) fn new(limit: Limit) -> Self {
        Self { limit, tokens: f64::from(limit.burst), counted: None }
    }

    /// Takes a token for a request that comes at `now`. A request that gets none costs none.
    pub(super) fn take(&mut self, now: SystemTime) -> Result<(), PastLimit> {
        let passed = self.counted.and_then(|counted| now.duration_since(counted).ok()).unwrap_or_default();
        self.counted = Some(now);
        self.tokens = self.limit.per_second.mul_add(passed.as_secs_f64(), self.tokens).min(f64::from(self.limit.burst));
        if self.tokens >= WHOLE {
            self.tokens -= 1.0;
            return Ok(());
        }
        let wait = Duration::from_secs_f64((1.0 - self.tokens) / self.limit.per_second);
        Err(PastLimit { hint: self.limit.hint.tell(wait, now) })
    }
}

/// Faster than anything here could be.
const MOST: f64 = 100_000.0;

/// A token, less what adding up small parts of it may lose: who waits exactly as long as told shall get it.
const WHOLE: f64 = 1.0 - 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_000 + millis)
    }

    fn bucket(per_second: f64, burst: u32, hint: HintForm) -> Bucket {
        Bucket::new(Limit { per_second, burst, hint })
    }

    /// The hint, or nothing, for a request that is refused.
    fn refused(bucket: &mut Bucket, millis: u64) -> Option<String> {
        let hint = |past: PastLimit| past.hint.map_or_else(|| "none".to_owned(), |hint| hint.value);
        bucket.take(at(millis)).err().map(hint)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut bucket = bucket(10.0, 3, HintForm::Milliseconds);
        let times = [0, 0, 0, 0, 50, 100, 110, 199, 200, 5000, 5000, 5000, 5000];
        let told = times.map(|millis| refused(&mut bucket, millis));
        let passed = || None;
        let wait = |text: &str| Some(text.to_owned());
        let want = [
            passed(),
            passed(),
            passed(),
            wait("100"),
            wait("50"),
            passed(),
            wait("90"),
            wait("1"),
            passed(),
            passed(),
            passed(),
            passed(),
            wait("100"),
        ];
        assert_eq!(told, want);
    }

    /// However many ask: what is let in is the burst and what the rate gives.
    #[test]
    fn no_more_pass_than_the_limit_says() {
        for ask_every in [1, 3, 7] {
            let mut bucket = bucket(40.0, 20, HintForm::None);
            let passed = (0..10_000).step_by(ask_every).filter(|millis| bucket.take(at(*millis)).is_ok()).count();
            assert!((415..=420).contains(&passed), "{passed} of 20 and 40 a second in 10 s, asked every {ask_every} ms");
        }
    }

    #[test]
    fn the_time_until_a_token_is_told_in_the_form_asked_for() {
        for (form, want) in [
            (HintForm::Seconds, "1"),
            (HintForm::Milliseconds, "400"),
            (HintForm::Date, "Fri, 15 Jan 2027 08:00:01 GMT"),
            (HintForm::None, "none"),
        ] {
            let mut bucket = bucket(2.5, 1, form);
            assert_eq!([refused(&mut bucket, 0), refused(&mut bucket, 0)], [None, Some(want.to_owned())], "{form:?}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_gives_no_tokens() {
        let mut bucket = bucket(10.0, 1, HintForm::None);
        assert_eq!([refused(&mut bucket, 5000), refused(&mut bucket, 0)].map(|refused| refused.is_some()), [false, true]);
        assert_eq!(refused(&mut bucket, 100), None);
    }

    proptest::proptest! {
        /// Alone: another client may take the token first. With such rates most waits are whole milliseconds, to which rounding adds nothing.
        #[test]
        fn who_waits_as_long_as_told_gets_a_token(rate in 0..5_usize, gaps in proptest::collection::vec(0..50_u64, 1..60)) {
            let mut bucket = bucket([0.5, 10.0, 40.0, 125.0, 200.0][rate], 2, HintForm::Milliseconds);
            let mut now = 0;
            for gap in gaps {
                now += gap;
                if let Some(wait) = refused(&mut bucket, now) {
                    now += wait.parse::<u64>().unwrap();
                    proptest::prop_assert_eq!(refused(&mut bucket, now), None);
                }
            }
        }
    }
}
