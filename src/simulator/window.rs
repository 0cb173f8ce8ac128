//! A time in which an account wants no requests, and who comes all the same. Pure; when a window begins is [`super::faults`]' task.
//!
//! It is the judge of whoever is told to wait: it knows nothing of how a proxy keeps its clients back and sees only what arrives. A window
//! ends when the hint of its first refusal does. What arrives before is refused again with the rest; what arrives when nothing can be on its
//! way any more is early, is counted and keeps the account closed for a whole window more.

use std::time::{Duration, SystemTime};

use super::hint::{Hint, HintForm};

/// Open until it is closed, and open again after a time.
#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    allowance: Duration,
    form: HintForm,
    closed: Option<Closed>,
}

/// A request that came while the window was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intrusion {
    /// What it is told.
    pub(super) hint: Option<Hint>,
    /// Whether its sender could have known.
    pub(super) early: bool,
}

#[derive(Clone, Copy, Debug)]
struct Closed {
    /// When the first refusal was given.
    since: SystemTime,
    until: SystemTime,
}

// === impl Window ===

impl Window {
    /// An open one. For `allowance` after a first refusal nobody is taken to know of it.
    pub(super) fn new(length: Duration, allowance: Duration, form: HintForm) -> Self {
        Self { length, allowance, form, closed: None }
    }

    /// The first refusal: the hint it gives.
    pub(super) fn close(&mut self, now: SystemTime) -> Option<Hint> {
        self.closed = Some(Closed { since: now, until: self.form.ends(self.length, now) });
        self.form.tell(self.length, now)
    }

    /// What becomes of a request that comes at `now`, if the window is closed.
    pub(super) fn intrude(&mut self, now: SystemTime) -> Option<Intrusion> {
        let closed = self.closed.as_mut().filter(|closed| now < closed.until)?;
        // A clock that was set back says nothing of what was on its way.
        let known = now.duration_since(closed.since).is_ok_and(|passed| passed >= self.allowance);
        // Who was told nothing cannot be early.
        let early = known && self.form != HintForm::None;
        if early {
            closed.until = self.form.ends(self.length, now).max(closed.until);
        }
        let rest = closed.until.duration_since(now).unwrap_or_default();
        Some(Intrusion { hint: self.form.tell(rest, now), early })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_000 + millis)
    }

    /// What each request of the list meets: nothing, or what it is told and whether it was early.
    fn met(form: HintForm, closed_at: u64, times: &[u64]) -> Vec<Option<(String, bool)>> {
        let mut window = Window::new(Duration::from_millis(1500), Duration::from_millis(500), form);
        assert_eq!(window.intrude(at(closed_at)), None, "it is open at first");
        let told = |hint: Option<Hint>| hint.map_or_else(String::new, |hint| hint.value);
        let first = Some((told(window.close(at(closed_at))), false));
        let later =
            times.iter().map(|millis| window.intrude(at(*millis)).map(|intrusion| (told(intrusion.hint), intrusion.early)));
        std::iter::once(first).chain(later).collect()
    }

    fn hint(value: &str, early: bool) -> Option<(String, bool)> {
        Some((value.to_owned(), early))
    }

    /// What was on its way is told the rest and does not count; what comes later counts and begins the window anew.
    #[test]
    fn who_comes_early_is_counted_and_finds_the_window_closed_for_longer() {
        let ms = HintForm::Milliseconds;
        let first = hint("1500", false);
        assert_eq!(met(ms, 0, &[400, 499, 1500]), [first.clone(), hint("1100", false), hint("1001", false), None]);
        let early = hint("1500", true);
        assert_eq!(met(ms, 0, &[500, 1999, 3498]), [first.clone(), early.clone(), early.clone(), early.clone()]);
        assert_eq!(met(ms, 0, &[500, 2000]), [first, early, None], "the end of the longer window");
    }

    /// The window ends when the hint of its first refusal does, in the seconds that the hint can name.
    #[test]
    fn a_window_is_as_long_as_its_form_can_say() {
        assert_eq!(met(HintForm::Seconds, 0, &[100, 1999]), [hint("2", false), hint("2", false), hint("2", true)]);
        assert_eq!(met(HintForm::Seconds, 0, &[2000]), [hint("2", false), None]);
        let (third, fourth) = ("Fri, 15 Jan 2027 08:00:03 GMT", "Fri, 15 Jan 2027 08:00:05 GMT");
        assert_eq!(met(HintForm::Date, 900, &[1000, 2999]), [hint(third, false), hint(third, false), hint(fourth, true)]);
        assert_eq!(met(HintForm::Date, 900, &[3000]), [hint(third, false), None]);
    }

    #[test]
    fn who_is_told_nothing_is_not_early() {
        assert_eq!(met(HintForm::None, 0, &[400, 1400, 1500]), [hint("", false), hint("", false), hint("", false), None]);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nobody_early() {
        assert_eq!(met(HintForm::Milliseconds, 5000, &[1000]), [hint("1500", false), hint("5500", false)]);
    }
}
