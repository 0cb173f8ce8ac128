//! The proof that a resource was made by our own request: it has the id that was asked for, and was made since our first send.
//!
//! Both ends are read on the service's own clock, from the `Date` fields of its answers. A `Date` says a second, cut and not rounded, and
//! is written before the answer travels, so the time that it gives for our first send is never too late and at most a second, and the way
//! back, too early. Within this second another client's resource of the same id could be taken for ours; a later one cannot be, and an
//! earlier one neither.

use std::time::{Duration, SystemTime};

use http::Method;
use serde_json::Value;

use super::super::subject::Subject;

/// When, by the service's clock, our own create can have been carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// No later than our first send.
    since: Option<SystemTime>,
    /// No earlier than the last answer.
    until: Option<SystemTime>,
}

/// A read that tells whether what exists is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The target of a GET: path and query.
    pub target: String,
    /// What is looked for.
    id: String,
}

// === impl Window ===

impl Window {
    /// Takes in an answer's `Date` that was received `after_first` later than the first send began.
    pub fn observe(&mut self, date: SystemTime, after_first: Duration) {
        let since = date.checked_sub(after_first);
        self.since = self.since.max(since);
        self.until = self.until.max(date.checked_add(DATE_STEP));
    }

    /// Whether something made at `time` by the service's clock was made since our first send. Without any `Date` nothing is.
    pub fn contains(&self, time: SystemTime) -> bool {
        self.since.is_some_and(|since| since <= time) && self.until.is_some_and(|until| time <= until)
    }
}

// === impl Lookup ===

impl Lookup {
    /// The read that tells of what `subject`, a create with this target and body, was to make. `None` where there is none: users of
    /// nodes cannot be read and certificates have no time of creation; or where the body or an id is not what the service would take.
    pub fn of(subject: &Subject, path: &str, query: &str, body: &[u8]) -> Option<Self> {
        let (resource, id) = created(subject, path, body)?;
        Some(Self { target: format!("{resource}?{}", selection(query)?), id })
    }

    /// Whether `body`, the answer to the read, is what was looked for, made within `window`.
    pub fn proves(&self, body: &[u8], window: &Window) -> bool {
        let Ok(resource) = serde_json::from_slice::<Value>(body) else { return false };
        made(&resource).is_some_and(|(id, time)| id.eq_ignore_ascii_case(&self.id) && window.contains(time))
    }
}

/// The path and the id of the resource that a create makes, where it can be read.
pub(super) fn created(subject: &Subject, path: &str, body: &[u8]) -> Option<(String, String)> {
    if !subject.creates() {
        return None;
    }
    let body: Value = serde_json::from_slice(body).ok()?;
    let id = body.get("id")?.as_str().filter(|id| is_plain_id(id))?.to_owned();
    let resource = format!("{path}/{id}");
    // The table knows what can be read: a certificate's path and a user's look different.
    Subject::of(&Method::GET, &resource).operation()?;
    Some((resource, id))
}

/// The id and the creation time of a resource.
pub(super) fn made(resource: &Value) -> Option<(&str, SystemTime)> {
    let time = resource.get("creationTime")?.as_str()?;
    Some((resource.get("id")?.as_str()?, humantime::parse_rfc3339(time).ok()?))
}

/// The query of a read that asks for no more than the proof, in the version of the API that the request has.
pub(super) fn selection(query: &str) -> Option<String> {
    let named = |pair: &&str| pair.split_once('=').is_some_and(|(name, _)| name.eq_ignore_ascii_case("api-version"));
    let version = query.split('&').find(named)?;
    Some(format!("{version}&$select=id,creationTime"))
}

/// The ids the service takes: letters, digits, `-` and `_`, at most 64. Nothing in them needs encoding, and nothing leads elsewhere.
pub(super) fn is_plain_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// A `Date` is cut to the second.
const DATE_STEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_000 + millis)
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Our first send left at 5.7 s of the service's clock; the answers were written at 5.9 and 9.3, and their dates say 5 and 9.
    #[test]
    fn what_was_made_before_the_first_send_or_after_the_last_answer_is_not_ours() {
        let mut window = Window::default();
        assert!(!window.contains(at(5_800)));
        window.observe(at(9_000), millis(3_700));
        assert!(window.contains(at(5_300)), "the date of one answer leaves a second open");
        window.observe(at(5_000), millis(250));
        for (time, want) in [(5_299, false), (5_300, true), (5_750, true), (9_999, true), (10_001, false)] {
            assert_eq!(window.contains(at(time)), want, "{time}");
        }
    }

    #[test]
    fn a_create_names_the_resource_to_look_up() {
        for (method, path, query, body, want) in [
            (
                "POST",
                "/jobs",
                "api-version=1",
                r#"{"id":"J-1_x"}"#,
                Some("/jobs/J-1_x?api-version=1&$select=id,creationTime"),
            ),
            (
                "POST",
                "/pools",
                "timeOut=30&Api-Version=2",
                r#"{"id":"p"}"#,
                Some("/pools/p?Api-Version=2&$select=id,creationTime"),
            ),
            (
                "POST",
                "/jobschedules",
                "api-version=1",
                r#"{"id":"s"}"#,
                Some("/jobschedules/s?api-version=1&$select=id,creationTime"),
            ),
            (
                "POST",
                "/jobs/j/tasks",
                "api-version=1",
                r#"{"id":"t"}"#,
                Some("/jobs/j/tasks/t?api-version=1&$select=id,creationTime"),
            ),
            ("POST", "/jobs", "", r#"{"id":"j"}"#, None),
            ("POST", "/jobs", "api-version=1", r#"{"id":"../pools"}"#, None),
            ("POST", "/jobs", "api-version=1", r#"{"id":""}"#, None),
            ("POST", "/jobs", "api-version=1", r#"{"id":7}"#, None),
            ("POST", "/jobs", "api-version=1", r#"{"name":"j"}"#, None),
            ("POST", "/jobs", "api-version=1", "not json", None),
            ("POST", "/pools/p/nodes/n/users", "api-version=1", r#"{"name":"u","id":"u"}"#, None),
            ("POST", "/certificates", "api-version=1", r#"{"id":"c"}"#, None),
            ("POST", "/jobs/j/terminate", "api-version=1", r#"{"id":"j"}"#, None),
        ] {
            let subject = Subject::of(&method.parse().unwrap(), path);
            let lookup = Lookup::of(&subject, path, query, body.as_bytes());
            assert_eq!(lookup.as_ref().map(|lookup| lookup.target.as_str()), want, "{path} {body}");
        }
    }

    #[test]
    fn a_resource_proves_itself_by_id_and_time() {
        let subject = Subject::of(&Method::POST, "/jobs");
        let lookup = Lookup::of(&subject, "/jobs", "api-version=1", br#"{"id":"Job"}"#).unwrap();
        let mut window = Window::default();
        window.observe(at(0), millis(0));
        let inside = humantime::format_rfc3339_nanos(at(500));
        let outside = humantime::format_rfc3339_nanos(at(5_000));
        for (body, want) in [
            (format!(r#"{{"id":"Job","creationTime":"{inside}"}}"#), true),
            (format!(r#"{{"id":"job","creationTime":"{inside}"}}"#), true),
            (format!(r#"{{"id":"other","creationTime":"{inside}"}}"#), false),
            (format!(r#"{{"id":"Job","creationTime":"{outside}"}}"#), false),
            (format!(r#"{{"creationTime":"{inside}"}}"#), false),
            (r#"{"id":"Job"}"#.to_owned(), false),
            (r#"{"id":"Job","creationTime":"yesterday"}"#.to_owned(), false),
            ("[]".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(lookup.proves(body.as_bytes(), &window), want, "{body}");
        }
    }

    /// As the service writes it, with seven digits.
    #[test]
    fn the_services_own_form_of_time_is_read() {
        let resource = serde_json::json!({ "id": "j", "creationTime": "2026-11-23T03:41:33.1234567Z" });
        let (_, time) = made(&resource).unwrap();
        assert_eq!(humantime::format_rfc3339_nanos(time).to_string(), "2026-11-23T03:41:33.123456700Z");
    }
}
