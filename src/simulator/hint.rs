//! How a refusal says when to come back. Pure. The proxy reads these headers with code of its own: this side must not share its mistakes.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

/// The form in which a wait is named. None of them names less than the wait.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HintForm {
    /// `Retry-After` as an HTTP date: the end of the wait by the account's clock, which is the answer's `Date`, in the next whole second.
    Date,
    /// `x-ms-retry-after-ms`.
    Milliseconds,
    /// Nothing is said.
    None,
    /// `Retry-After` in whole seconds, rounded up.
    #[default]
    Seconds,
}

/// A header that names a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) name: &'static str,
    pub(super) value: String,
}

// === impl HintForm ===

impl HintForm {
    /// The header that tells at `now` to wait this long.
    pub(super) fn tell(self, wait: Duration, now: SystemTime) -> Option<Hint> {
        let (name, value) = match self {
            Self::Date => ("retry-after", httpdate::fmt_http_date(self.ends(wait, now))),
            Self::Milliseconds => ("x-ms-retry-after-ms", wait.as_nanos().div_ceil(1_000_000).to_string()),
            Self::None => return None,
            Self::Seconds => ("retry-after", whole_seconds(wait).to_string()),
        };
        Some(Hint { name, value })
    }

    /// When a wait is over that was told at `now`: what the form cannot say is rounded up.
    pub(super) fn ends(self, wait: Duration, now: SystemTime) -> SystemTime {
        match self {
            Self::Date => {
                let end = (now + wait).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                SystemTime::UNIX_EPOCH + Duration::from_secs(whole_seconds(end))
            }
            Self::Milliseconds | Self::None => now + wait,
            Self::Seconds => now + Duration::from_secs(whole_seconds(wait)),
        }
    }
}

/// Rounded up: who waits as long is not early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_000 + millis)
    }

    #[test]
    fn a_wait_is_told_in_the_form_asked_for() {
        for (form, wait, want) in [
            (HintForm::Seconds, 1000, Some(("retry-after", "1"))),
            (HintForm::Seconds, 1001, Some(("retry-after", "2"))),
            (HintForm::Milliseconds, 1001, Some(("x-ms-retry-after-ms", "1001"))),
            (HintForm::Date, 1000, Some(("retry-after", "Fri, 15 Jan 2027 08:00:02 GMT"))),
            (HintForm::Date, 750, Some(("retry-after", "Fri, 15 Jan 2027 08:00:01 GMT"))),
            (HintForm::None, 1000, None),
        ] {
            let hint = form.tell(Duration::from_millis(wait), at(250));
            let told = hint.as_ref().map(|hint| (hint.name, hint.value.as_str()));
            assert_eq!(told, want, "{form:?} {wait}");
        }
    }

    proptest::proptest! {
        /// A date is the later the sooner the answer's own `Date` is, which has whole seconds as well.
        #[test]
        fn who_obeys_a_hint_comes_when_the_wait_is_over_or_later(wait in 1..5_000_000_u64, now in 0..5000_u64) {
            let (wait, now) = (Duration::from_micros(wait), at(now));
            for form in [HintForm::Date, HintForm::Milliseconds, HintForm::Seconds] {
                let value = form.tell(wait, now).unwrap().value;
                let told = match form {
                    HintForm::Date => {
                        let answered = httpdate::parse_http_date(&httpdate::fmt_http_date(now)).unwrap();
                        httpdate::parse_http_date(&value).unwrap().duration_since(answered).unwrap()
                    }
                    HintForm::Milliseconds => Duration::from_millis(value.parse().unwrap()),
                    _ => Duration::from_secs(value.parse().unwrap()),
                };
                proptest::prop_assert!(form.ends(wait, now) >= now + wait, "{form:?}");
                proptest::prop_assert!(now + told >= form.ends(wait, now), "{form:?}");
            }
        }
    }
}
