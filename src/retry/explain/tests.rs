use std::num::NonZeroU32;

use http::{Method, StatusCode};

use super::*;
use crate::retry::backoff::ExponentialBackoff;
use crate::retry::echo::{Creates, EchoSettings, Others};
use crate::retry::policy::{Lane, RetrySettings};

const SECOND: Duration = Duration::from_secs(1);

fn policy(max_attempts: u32, jitter: f64) -> RetryPolicy {
    RetryPolicy::new(RetrySettings {
        max_attempts: NonZeroU32::new(max_attempts).unwrap(),
        deadline: 50 * SECOND,
        deadline_for: Vec::new(),
        statuses: [408, 429, 500, 502, 503, 504].map(|code| StatusCode::from_u16(code).unwrap()).to_vec(),
        backoff: ExponentialBackoff::new(2 * SECOND, 2.0, 10 * SECOND, jitter).unwrap(),
        response_timeout: 35 * SECOND,
        echo: EchoSettings { creates: Creates::Verify, others: Others::Resolve },
        state: Lane { attempts: 0, wait: 10 * SECOND },
        quota: Lane { attempts: 0, wait: 120 * SECOND },
        read_after_create: Duration::ZERO,
        repeat_memory: 300 * SECOND,
    })
}

fn enquiry<'p>(policy: &'p RetryPolicy, method: &Method, path: &str) -> Enquiry<'p> {
    Enquiry {
        policy,
        subject: Subject::of(method, path),
        deadline: 50 * SECOND,
        connect_timeout: 10 * SECOND,
        server_timeout: None,
        now: Instant::now(),
    }
}

fn answered(status: u16, hint: Option<u64>) -> Outcome<'static> {
    Case::answered(StatusCode::from_u16(status).unwrap(), hint.map(Duration::from_secs), None).outcome
}

#[test]
fn without_jitter_the_schedule_is_the_backoff_until_the_deadline() {
    let policy = policy(20, 0.0);
    let schedule = enquiry(&policy, &Method::GET, "/jobs").schedule(&answered(500, None));
    let waits: Vec<u64> = schedule.sends.iter().map(|send| send.wait.least.as_secs()).collect();
    assert_eq!(waits, [0, 2, 4, 8, 10, 10, 10, 5]);
    assert!(schedule.sends.iter().all(|send| send.wait.least == send.wait.most && send.at.least == send.at.most));
    assert_eq!((&*schedule.ends, schedule.count), (&[StopReason::Deadline][..], Range::one(8)));
    assert_eq!(schedule.sends[7].at.least, 49 * SECOND);
}

#[test]
fn jitter_makes_ranges_and_may_cost_a_send() {
    let policy = policy(20, 0.5);
    let schedule = enquiry(&policy, &Method::GET, "/jobs").schedule(&answered(500, None));
    assert_eq!(schedule.sends[1].wait, Range { least: 2 * SECOND, most: 3 * SECOND });
    assert_eq!(schedule.sends[2].at, Range { least: 6 * SECOND, most: 9 * SECOND });
    assert_eq!(schedule.count, Range { least: 6, most: 8 });
}

#[test]
fn a_schedule_names_both_ends_that_chance_may_bring() {
    let policy = policy(7, 0.5);
    let schedule = enquiry(&policy, &Method::GET, "/jobs").schedule(&answered(500, None));
    assert_eq!(schedule.ends, [StopReason::Attempts, StopReason::Deadline]);
}

#[test]
fn a_schedule_ends_for_the_reason_the_rules_give() {
    for (max_attempts, outcome, sends, ends) in [
        (3, answered(500, None), 3, &[StopReason::Attempts][..]),
        (1, answered(500, None), 1, &[StopReason::Attempts]),
        (20, answered(429, Some(20)), 3, &[StopReason::Deadline]),
        (20, answered(429, Some(60)), 1, &[StopReason::Deadline]),
        (20, answered(404, None), 1, &[]),
        (20, Case::failed(Failure::DnsNotFound).outcome, 2, &[StopReason::Attempts]),
        (20, Case::failed(Failure::ResponseTimeout).outcome, 2, &[StopReason::Deadline]),
        (20, Case::failed(Failure::StaleConnection).outcome, 2, &[]),
    ] {
        let policy = policy(max_attempts, 0.0);
        let schedule = enquiry(&policy, &Method::GET, "/jobs").schedule(&outcome);
        assert_eq!((schedule.sends.len(), &*schedule.ends), (sends, ends), "{max_attempts} {outcome:?}");
    }
}

#[test]
fn each_circumstance_ends_a_harmless_replay_for_its_own_reason() {
    let policy = policy(20, 0.0);
    let enquiry = enquiry(&policy, &Method::POST, "/jobs");
    for (circumstance, want) in [
        (Circumstance::BodyStreamed, StopReason::Body),
        (Circumstance::SignatureOld, StopReason::Signature),
        (Circumstance::Stopping, StopReason::Shutdown),
        (Circumstance::TokenOld, StopReason::Token),
    ] {
        assert_eq!(enquiry.under(circumstance, &answered(500, None)), Decision::Stop(want), "{circumstance:?}");
    }
    assert_eq!(enquiry.under(Circumstance::Reached, &answered(403, None)), Decision::Stop(StopReason::Token));
    assert_eq!(enquiry.under(Circumstance::Reached, &answered(404, None)), Decision::Deliver);
}

#[test]
fn the_most_attempts_are_found_however_many() {
    for max_attempts in [1, 2, 20, u32::MAX] {
        let policy = policy(max_attempts, 0.0);
        let enquiry = enquiry(&policy, &Method::GET, "/jobs");
        assert_eq!(enquiry.most_attempts(&answered(500, None)), Some(max_attempts));
        assert_eq!(enquiry.most_attempts(&Case::failed(Failure::DnsNotFound).outcome), Some(max_attempts.min(2)));
        assert_eq!(enquiry.most_attempts(&answered(404, None)), None);
    }
}

#[test]
fn the_cases_hold_every_failure_and_no_case_twice() {
    let cases = Case::all();
    for failure in Failure::ALL {
        assert!(cases.contains(&Case::failed(*failure)), "{failure:?}");
    }
    assert!(cases.iter().enumerate().all(|(index, case)| !cases[..index].contains(case)));
}
