//! How long an answer asks to wait, read from its headers.
//!
//! `Retry-After` in seconds or as an HTTP date, `retry-after-ms` and `x-ms-retry-after-ms` (which the Azure SDKs read too). Where several
//! are given the longest counts: waiting too long is polite, too short is not. What is zero, negative or unreadable is no hint at all,
//! because obeying a zero would spend every attempt at once.

use std::time::{Duration, SystemTime};

use crate::batch::fields::{Fields, visible};

/// The longest of the answer's hints; `now` is our clock, used only for a date in an answer that has no `Date` of its own.
pub fn hint(headers: &impl Fields, now: SystemTime) -> Option<Duration> {
    let seconds = headers.values("retry-after").filter_map(|value| {
        let text = text(value)?;
        decimal(text, 1.0).or_else(|| until(text, headers, now))
    });
    let millis = ["retry-after-ms", "x-ms-retry-after-ms"]
        .into_iter()
        .flat_map(|name| headers.values(name))
        .filter_map(|value| decimal(text(value)?, 1e-3));
    seconds.chain(millis).max().filter(|wait| !wait.is_zero())
}

fn text(value: &[u8]) -> Option<&str> {
    visible(value).map(str::trim)
}

/// A non-negative decimal number of units of `unit` seconds, rounded up to the millisecond and cut to [`LONGEST`].
fn decimal(text: &str, unit: f64) -> Option<Duration> {
    if !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let seconds = text.parse::<f64>().ok()? * unit;
    let millis = (seconds * 1e3).ceil().min(LONGEST.as_secs_f64() * 1e3);
    Some(Duration::from_millis(millis as u64))
}

/// The time from the answer's own `Date`, or `now`, to the date in `text`. Dates have whole seconds, cut and not rounded, so a wait counted
/// from the receipt of the answer cannot end early.
fn until(text: &str, headers: &impl Fields, now: SystemTime) -> Option<Duration> {
    let at = httpdate::parse_http_date(text).ok()?;
    let answered = headers.value("date").and_then(self::text).and_then(|date| httpdate::parse_http_date(date).ok());
    at.duration_since(answered.unwrap_or(now)).ok().map(|wait| wait.min(LONGEST))
}

/// No hint is taken to be longer: a year, so that adding it to any clock is safe.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::{HeaderValue, RETRY_AFTER};

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    /// Every form a service or a gateway is known to use, and what is no hint.
    #[test]
    fn a_hint_is_read_in_all_its_forms() {
        let secs = |s: f64| Some(Duration::from_secs_f64(s));
        for (fields, want) in [
            (&[("retry-after", "7")][..], secs(7.0)),
            (&[("Retry-After", " 7 ")], secs(7.0)),
            (&[("retry-after", "1.5")], secs(1.5)),
            (&[("retry-after", "0")], None),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "")], None),
            (&[("retry-after", "1e3")], None),
            (&[("retry-after", "inf")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "99999999999999999999999999")], Some(LONGEST)),
            (&[("retry-after-ms", "250")], secs(0.25)),
            (&[("x-ms-retry-after-ms", "1250")], secs(1.25)),
            (&[("retry-after", "1"), ("retry-after-ms", "2500")], secs(2.5)),
            (&[("retry-after", "3"), ("x-ms-retry-after-ms", "100")], secs(3.0)),
            (&[("retry-after", "2"), ("retry-after", "5")], secs(5.0)),
            (&[("retry-after", "soon"), ("retry-after-ms", "10")], secs(0.01)),
            (&[("retry-after", "Thu, 01 Jan 1970 00:00:09 GMT")], secs(9.0)),
            (&[("retry-after", "Thursday, 01-Jan-70 00:00:09 GMT")], secs(9.0)),
            (&[("retry-after", "Thu Jan  1 00:00:09 1970")], secs(9.0)),
            (&[("retry-after", "Thu, 01 Jan 1970 00:00:09 GMT"), ("date", "Thu, 01 Jan 1970 00:00:04 GMT")], secs(5.0)),
            (&[("retry-after", "Thu, 01 Jan 1970 00:00:09 GMT"), ("date", "nonsense")], secs(9.0)),
            (&[("retry-after", "Thu, 01 Jan 1970 00:00:09 GMT"), ("date", "Thu, 01 Jan 1970 00:00:30 GMT")], None),
            (&[("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")], None),
            (&[], None),
        ] {
            assert_eq!(hint(&headers(fields), NOW), want, "{fields:?}");
        }
    }

    #[test]
    fn a_date_is_measured_by_our_clock_only_where_the_answer_has_none() {
        let fields = headers(&[("retry-after", "Thu, 01 Jan 1970 00:01:00 GMT")]);
        let now = NOW + Duration::from_millis(30_500);
        assert_eq!(hint(&fields, now), Some(Duration::from_millis(29_500)));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_or_gives_an_endless_wait(text in "\\PC*") {
            let mut map = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_str(&text) {
                map.insert(RETRY_AFTER, value);
            }
            let wait = hint(&map, NOW);
            proptest::prop_assert!(wait.is_none_or(|wait| wait <= LONGEST && !wait.is_zero()));
        }
    }
}
