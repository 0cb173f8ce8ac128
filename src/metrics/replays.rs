//! The last requests that were replayed or given up, each with its sends: what a person asks for when a program was slow or failed.
//!
//! A request that succeeds at once leaves nothing here. Memory is bounded whatever clients and the service write: texts are cut, of many sends the
//! first and the last are kept, and with every field at its longest all of it takes about 1 MiB. Targets are kept without their query.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::labels::{EchoResolution, Fate};
use crate::retry::classify::Class;
use crate::retry::policy::{StopReason, WaitCause};

/// A request that was replayed or given up, or whose client left while it waited for a replay, once it has ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replay {
    /// Counts from 1; a gap to the next one seen means that older ones were forgotten in between.
    pub number: u64,
    /// When it ended, in UTC.
    #[serde(serialize_with = "rfc3339")]
    pub ended: SystemTime,
    /// From the end of its head to the end of its answer, in seconds.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub duration: Duration,
    /// The `account` label.
    pub account: String,
    /// The `operation` label.
    pub operation: &'static str,
    /// How it ended for the program.
    pub fate: Fate,
    /// Sends that count as attempts.
    pub attempts: u32,
    /// All its waits added up, in seconds.
    #[serde(rename = "waited_seconds", serialize_with = "seconds")]
    pub waited: Duration,
    /// What was made of an answer that may have come of an earlier send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub echo: Option<EchoResolution>,
    /// What led there.
    #[serde(flatten)]
    pub trail: Trail,
}

/// What a request that does not succeed at once leaves behind on its way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trail {
    method: Box<str>,
    path: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_request_id: Option<Box<str>>,
    /// How often it was sent again, as `retries_total` counts.
    replays: u32,
    /// Why no further replay followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<&'static str>,
    /// In their order.
    sends: Vec<Send>,
    /// Sends after the first half of `sends` that are not kept.
    #[serde(skip_serializing_if = "is_zero")]
    sends_left_out: u32,
    /// Seconds after the last send, by cause.
    #[serde(skip_serializing_if = "Waits::is_none")]
    last_waits: Waits,
}

/// One send and its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Send {
    /// Seconds before it, by cause.
    #[serde(skip_serializing_if = "Waits::is_none")]
    waits: Waits,
    class: &'static str,
    outcome: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Box<str>>,
}

/// How long was waited, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Waits([Duration; WaitCause::ALL.len()]);

/// The last ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Replays(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    last: VecDeque<Arc<Replay>>,
    count: u64,
}

// === impl Trail ===

impl Trail {
    /// The most sends of one request that are kept; the default number of attempts.
    pub const SENDS: usize = 20;

    /// The trail of a request to `path`, which has no query.
    pub fn new(method: &str, path: &str, client_request_id: Option<&str>) -> Self {
        Self {
            method: cut(method, METHOD),
            path: cut(path.split('?').next().unwrap_or_default(), PATH),
            client_request_id: client_request_id.map(|id| cut(id, ID)),
            replays: 0,
            stop: None,
            sends: Vec::new(),
            sends_left_out: 0,
            last_waits: Waits::default(),
        }
    }

    /// A send ended after these `waits`. `outcome` is a status with the service's code, or a failure; `request_id` is the service's.
    pub fn sent(&mut self, waits: Waits, class: Class, outcome: &str, request_id: Option<&str>) {
        if self.sends.len() >= Self::SENDS {
            self.sends.remove(Self::SENDS / 2);
            self.sends_left_out += 1;
        }
        self.sends.push(Send {
            waits,
            class: class.as_str(),
            outcome: cut(outcome, OUTCOME),
            request_id: request_id.map(|id| cut(id, ID)),
        });
    }

    /// The answer to the last send broke off while it was delivered. The first one is told only now, if that one did not follow on a failure.
    pub fn broke_off(&mut self, waits: Waits, class: Class, outcome: &str) {
        match self.sends.last_mut().filter(|send| send.class == Class::Success.as_str()) {
            Some(send) => {
                send.class = class.as_str();
                send.outcome = cut(&format!("{}, then {outcome}", send.outcome), OUTCOME);
            }
            None => self.sent(waits, class, outcome, None),
        }
    }

    /// It is sent again.
    pub fn replayed(&mut self) {
        self.replays += 1;
    }

    /// No replay follows, for this reason.
    pub fn stopped(&mut self, reason: StopReason) {
        self.stop = Some(reason.as_str());
    }

    /// It ends after these waits.
    pub fn end(&mut self, waits: Waits) {
        self.last_waits = waits;
    }
}

// === impl Waits ===

impl Waits {
    /// Another wait.
    pub fn add(&mut self, cause: WaitCause, time: Duration) {
        self.0[cause as usize] += time;
    }

    fn is_none(&self) -> bool {
        self.0.iter().all(Duration::is_zero)
    }
}

impl Serialize for Waits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let waits = WaitCause::ALL.iter().map(|cause| (cause.as_str(), self.0[*cause as usize]));
        serializer.collect_map(waits.filter(|(_, time)| !time.is_zero()).map(|(cause, time)| (cause, rounded(time))))
    }
}

// === impl Replays ===

impl Replays {
    /// How many are kept.
    pub(super) const LIMIT: usize = 200;

    pub(super) fn add(&self, mut replay: Replay) {
        let mut kept = self.lock();
        kept.count += 1;
        replay.number = kept.count;
        if kept.last.len() >= Self::LIMIT {
            kept.last.pop_front();
        }
        kept.last.push_back(Arc::new(replay));
    }

    pub(super) fn after(&self, number: u64) -> Vec<Arc<Replay>> {
        let kept = self.lock();
        let newer = kept.last.iter().rev().take_while(|replay| replay.number > number);
        let mut newer: Vec<_> = newer.cloned().collect();
        newer.reverse();
        newer
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text, or its beginning and an ellipsis: `limit` bytes and three more at most.
fn cut(text: &str, limit: usize) -> Box<str> {
    if text.len() <= limit { text.into() } else { format!("{}…", &text[..text.floor_char_boundary(limit)]).into() }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// To the millisecond: further digits would only be read.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded(*time))
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

// In bytes.
const METHOD: usize = 16;
const PATH: usize = 240;
const ID: usize = 80;
const OUTCOME: usize = 80;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replay(trail: Trail) -> Replay {
        Replay {
            number: 0,
            ended: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
            duration: Duration::from_millis(2500),
            account: "acct.westeurope".to_owned(),
            operation: "Jobs_GetJob",
            fate: Fate::Replayed,
            attempts: 2,
            waited: Duration::from_millis(2100),
            echo: None,
            trail,
        }
    }

    #[test]
    fn a_replay_is_told_with_its_sends_and_the_waits_before_each() {
        let mut trail = Trail::new("GET", "/jobs/j?sig=SECRET", Some("mine"));
        trail.sent(Waits::default(), Class::Throttled, "503 ServerBusy", Some("theirs"));
        trail.replayed();
        let mut waits = Waits::default();
        waits.add(WaitCause::RetryAfter, Duration::from_secs(2));
        waits.add(WaitCause::Gate, Duration::from_micros(100_400));
        trail.sent(waits, Class::Success, "200", None);
        assert_eq!(
            serde_json::to_value(replay(trail)).unwrap(),
            json!({
                "number": 0,
                "ended": "2023-11-14T22:13:20.250Z",
                "seconds": 2.5,
                "account": "acct.westeurope",
                "operation": "Jobs_GetJob",
                "fate": "replayed",
                "attempts": 2,
                "waited_seconds": 2.1,
                "method": "GET",
                "path": "/jobs/j",
                "client_request_id": "mine",
                "replays": 1,
                "sends": [
                    {"class": "throttled", "outcome": "503 ServerBusy", "request_id": "theirs"},
                    {"waits": {"retry_after": 2.0, "gate": 0.1}, "class": "success", "outcome": "200"},
                ],
            })
        );
        let mut trail = Trail::new("POST", "/jobs", None);
        trail.stopped(StopReason::Deadline);
        trail.end(waits);
        let given_up = Replay { echo: Some(EchoResolution::Passed), fate: Fate::Exhausted, ..replay(trail) };
        let json = serde_json::to_value(given_up).unwrap();
        assert_eq!(
            (&json["stop"], &json["echo"], &json["fate"]),
            (&json!("deadline"), &json!("passed"), &json!("exhausted"))
        );
        assert_eq!(json["last_waits"], json!({"retry_after": 2.0, "gate": 0.1}));
    }

    #[test]
    fn the_last_two_hundred_are_kept_and_those_after_a_number_are_told() {
        let replays = Replays::default();
        assert!(replays.after(0).is_empty());
        for _ in 0..Replays::LIMIT + 3 {
            replays.add(replay(Trail::new("GET", "/", None)));
        }
        let numbers = |after| replays.after(after).iter().map(|replay| replay.number).collect::<Vec<_>>();
        assert_eq!(numbers(0), (4..=203).collect::<Vec<_>>());
        assert_eq!(numbers(201), [202, 203]);
        assert!(numbers(203).is_empty() && numbers(999).is_empty());
    }

    #[test]
    fn memory_is_bounded_whatever_clients_and_the_service_send() {
        let long = "ä".repeat(100_000);
        let mut trail = Trail::new(&long, &long, Some(&long));
        for _ in 0..1000 {
            trail.sent(Waits::default(), Class::Transient, &long, Some(&long));
        }
        assert_eq!((trail.sends.len(), trail.sends_left_out), (Trail::SENDS, 980));
        let text: usize = trail.sends.iter().map(|send| send.outcome.len() + send.request_id.as_ref().unwrap().len()).sum();
        let whole = size_of::<Replay>() + text + trail.path.len() + Trail::SENDS * size_of::<Send>() + 200;
        assert!(whole * Replays::LIMIT < 2 << 20, "{whole}");
        assert_eq!((trail.method.len(), trail.path.len()), (METHOD + 3, PATH + 3));
        assert!(trail.path.ends_with('…') && trail.path.starts_with('ä'));
    }

    #[test]
    fn of_many_sends_the_first_and_the_last_are_kept() {
        let mut trail = Trail::new("GET", "/", None);
        for number in 0..50 {
            trail.sent(Waits::default(), Class::Transient, &number.to_string(), None);
        }
        let kept: Vec<u32> = trail.sends.iter().map(|send| send.outcome.parse().unwrap()).collect();
        assert_eq!(kept, (0..10).chain(40..50).collect::<Vec<_>>());
    }
}
