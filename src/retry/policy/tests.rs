use std::num::NonZeroU32;

use http::Method;
use proptest::prelude::*;

use super::super::backoff::ExponentialBackoff;
use super::super::echo::{Creates, EchoSettings, Others};
use super::super::outcome::Transmission;
use super::super::subject::Subject;
use super::*;
use crate::batch::credential::Credential;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> RetrySettings {
    RetrySettings {
        max_attempts: NonZeroU32::new(20).unwrap(),
        deadline: 50 * SECOND,
        deadline_for: vec![
            PatientClient { user_agent: "azsdk-python-batch".into(), deadline: 240 * SECOND },
            PatientClient { user_agent: "azsdk-python".into(), deadline: 100 * SECOND },
        ],
        statuses: [408, 429, 500, 502, 503, 504].map(|code| StatusCode::from_u16(code).unwrap()).to_vec(),
        backoff: ExponentialBackoff::new(2 * SECOND, 2.0, 10 * SECOND, 0.5).unwrap(),
        response_timeout: 35 * SECOND,
        echo: EchoSettings { creates: Creates::Verify, others: Others::Resolve },
        state: Lane { attempts: 0, wait: 10 * SECOND },
        quota: Lane { attempts: 0, wait: 120 * SECOND },
        read_after_create: Duration::ZERO,
        repeat_memory: 300 * SECOND,
    }
}

fn policy() -> RetryPolicy {
    RetryPolicy::new(settings())
}

fn subject(method: Method, path: &str) -> Subject {
    Subject::of(&method, path)
}

fn safe() -> Subject {
    subject(Method::GET, "/jobs/j")
}

fn idempotent() -> Subject {
    subject(Method::POST, "/jobs")
}

fn non_idempotent() -> Subject {
    subject(Method::POST, "/pools/p/nodes/n/reboot")
}

/// A first attempt that just ended, with all the time in the world.
fn first(subject: Subject) -> Situation {
    let now = Instant::now();
    Situation {
        subject,
        body: Replayable::Held,
        attempts: 1,
        origin: Origin::Program,
        earlier: Earlier::Nothing,
        lane_replays: LaneReplays::default(),
        lags_until: None,
        now,
        deadline: now + 50 * SECOND,
        drain_by: None,
        fresh_until: None,
        entropy: 0.0,
    }
}

fn failed(failure: Failure, transmission: Transmission) -> Outcome<'static> {
    Outcome::Failed { failure, transmission }
}

fn responded(status: u16, hint: Option<Duration>) -> Outcome<'static> {
    Outcome::Responded { status: StatusCode::from_u16(status).unwrap(), hint, fault: None }
}

fn own(after: Duration) -> Decision {
    Decision::Replay { after, cause: WaitCause::Backoff }
}

fn told(after: Duration) -> Decision {
    Decision::Replay { after, cause: WaitCause::RetryAfter }
}

/// The matrix of the module's documentation, every cell.
#[test]
fn whether_a_replay_is_harmless_depends_on_operation_and_class() {
    let not_sent = failed(Failure::ConnectRefused, Transmission::NotSent);
    let throttled = responded(429, None);
    let throttled_with_hint = responded(429, Some(3 * SECOND));
    let busy_with_hint = responded(503, Some(3 * SECOND));
    let transient = responded(500, None);
    let lost = failed(Failure::ConnectionLost, Transmission::Unknown);
    let stop = Decision::Stop(StopReason::Operation);
    let unlisted = |method| subject(method, "/something/new");
    for (subject, outcome, want) in [
        (safe(), not_sent, own(2 * SECOND)),
        (safe(), throttled, own(2 * SECOND)),
        (safe(), throttled_with_hint, told(3 * SECOND)),
        (safe(), transient, own(2 * SECOND)),
        (safe(), lost, own(2 * SECOND)),
        (idempotent(), not_sent, own(2 * SECOND)),
        (idempotent(), throttled, own(2 * SECOND)),
        (idempotent(), throttled_with_hint, told(3 * SECOND)),
        (idempotent(), transient, own(2 * SECOND)),
        (idempotent(), lost, own(2 * SECOND)),
        (non_idempotent(), not_sent, own(2 * SECOND)),
        (non_idempotent(), throttled, stop),
        (non_idempotent(), throttled_with_hint, told(3 * SECOND)),
        (non_idempotent(), busy_with_hint, told(3 * SECOND)),
        (non_idempotent(), transient, stop),
        (non_idempotent(), lost, stop),
        (unlisted(Method::GET), lost, own(2 * SECOND)),
        (unlisted(Method::PUT), lost, own(2 * SECOND)),
        (unlisted(Method::DELETE), lost, own(2 * SECOND)),
        (unlisted(Method::POST), lost, stop),
        (unlisted(Method::PATCH), lost, stop),
        (unlisted(Method::POST), not_sent, own(2 * SECOND)),
        (unlisted("PURGE".parse().unwrap()), lost, stop),
    ] {
        assert_eq!(policy().decide(&first(subject), &outcome).decision, want, "{} {outcome:?}", subject.name());
    }
}

#[test]
fn what_no_replay_can_mend_is_delivered() {
    for (status, class) in [(200, Class::Success), (404, Class::Permanent), (403, Class::Permanent), (501, Class::Permanent)]
    {
        let verdict = policy().decide(&first(safe()), &responded(status, Some(SECOND)));
        assert_eq!(verdict, Verdict { class, decision: Decision::Deliver });
    }
    for fault in ["PoolBeingResized", "ActiveJobAndScheduleQuotaReached"] {
        let outcome = Outcome::Responded { status: StatusCode::CONFLICT, hint: None, fault: Some(fault) };
        assert_eq!(policy().decide(&first(idempotent()), &outcome).decision, Decision::Deliver, "{fault}");
    }
    let certificate = failed(Failure::CertificateInvalid, Transmission::NotSent);
    assert_eq!(policy().decide(&first(safe()), &certificate).decision, Decision::Deliver);
}

/// Each check in its place: an earlier one names the reason.
#[test]
fn the_first_check_that_fails_names_the_reason() {
    let all_bad = |subject| Situation {
        body: Replayable::Streamed,
        attempts: 20,
        deadline: Instant::now(),
        drain_by: Some(Instant::now()),
        fresh_until: Some((Instant::now(), Credential::SharedKeySignature)),
        ..first(subject)
    };
    let outcome = responded(500, None);
    let mut at = all_bad(non_idempotent());
    let reason = |at: &Situation| policy().decide(at, &outcome).decision;
    assert_eq!(reason(&at), Decision::Stop(StopReason::Operation));
    at.subject = safe();
    assert_eq!(reason(&at), Decision::Stop(StopReason::Body));
    at.body = Replayable::Held;
    assert_eq!(reason(&at), Decision::Stop(StopReason::Attempts));
    at.attempts = 19;
    assert_eq!(reason(&at), Decision::Stop(StopReason::Deadline));
    at.deadline = at.now + 50 * SECOND;
    assert_eq!(reason(&at), Decision::Stop(StopReason::Shutdown));
    at.drain_by = None;
    assert_eq!(reason(&at), Decision::Stop(StopReason::Signature));
    at.fresh_until = Some((at.now, Credential::BearerToken));
    assert_eq!(reason(&at), Decision::Stop(StopReason::Token));
    at.fresh_until = None;
    assert_eq!(reason(&at), own(10 * SECOND));
}

#[test]
fn a_credential_must_be_fresh_when_the_wait_ends() {
    let mut at = first(safe());
    at.fresh_until = Some((at.now + 2 * SECOND, Credential::SharedKeySignature));
    assert_eq!(policy().decide(&at, &responded(500, None)).decision, Decision::Stop(StopReason::Signature));
    at.fresh_until = Some((at.now + 3 * SECOND, Credential::SharedKeySignature));
    assert_eq!(policy().decide(&at, &responded(500, None)).decision, own(2 * SECOND));
}

#[test]
fn a_credential_refused_only_on_a_replay_is_not_delivered() {
    let mut at = first(safe());
    at.fresh_until = Some((at.now + 60 * SECOND, Credential::SharedKeySignature));
    for status in [401, 403] {
        // The first send, or the first after connections that could not be made: the client's own fault.
        at.earlier = Earlier::Nothing;
        assert_eq!(policy().decide(&at, &responded(status, None)).decision, Decision::Deliver);
        at.earlier = Earlier::Refused;
        assert_eq!(policy().decide(&at, &responded(status, None)).decision, Decision::Stop(StopReason::Signature));
    }
}

#[test]
fn a_hint_that_does_not_fit_ends_the_replaying_at_once() {
    let mut at = first(safe());
    assert_eq!(policy().decide(&at, &responded(429, Some(49 * SECOND))).decision, told(49 * SECOND));
    assert_eq!(policy().decide(&at, &responded(429, Some(50 * SECOND))).decision, Decision::Stop(StopReason::Deadline));
    at.entropy = 0.9;
    assert_eq!(policy().decide(&at, &responded(429, Some(49 * SECOND))).decision, told(49 * SECOND), "jitter gives way");
}

#[test]
fn a_wait_of_our_own_is_shortened_to_fit_once_more_but_not_below_the_first() {
    let mut at = first(safe());
    at.attempts = 6;
    at.deadline = at.now + 6 * SECOND;
    assert_eq!(policy().decide(&at, &responded(500, None)).decision, own(5 * SECOND));
    at.deadline = at.now + 3 * SECOND;
    assert_eq!(policy().decide(&at, &responded(500, None)).decision, own(2 * SECOND));
    at.deadline = at.now + 3 * SECOND - Duration::from_millis(1);
    assert_eq!(policy().decide(&at, &responded(500, None)).decision, Decision::Stop(StopReason::Deadline));
}

#[test]
fn an_operation_with_a_minimum_interval_waits_for_it() {
    let at = first(subject(Method::POST, "/pools/p/enableautoscale"));
    assert_eq!(policy().decide(&at, &responded(503, Some(SECOND))).decision, own(30 * SECOND));
}

#[test]
fn a_name_that_does_not_exist_is_tried_twice() {
    let mut at = first(safe());
    let missing = failed(Failure::DnsNotFound, Transmission::NotSent);
    assert_eq!(policy().decide(&at, &missing).decision, own(2 * SECOND));
    at.attempts = 2;
    assert_eq!(policy().decide(&at, &missing).decision, Decision::Stop(StopReason::Attempts));
    assert_eq!(policy().decide(&at, &failed(Failure::DnsFailed, Transmission::NotSent)).decision, own(4 * SECOND));
}

#[test]
fn a_stale_connection_is_replaced_at_once_even_for_what_may_not_be_sent_twice() {
    let stale = failed(Failure::StaleConnection, Transmission::NotSent);
    let mut at = first(non_idempotent());
    at.attempts = 0;
    assert_eq!(policy().decide(&at, &stale).decision, own(Duration::ZERO));
}

#[test]
fn one_attempt_switches_replaying_off() {
    let policy = RetryPolicy::new(RetrySettings { max_attempts: NonZeroU32::MIN, ..settings() });
    assert_eq!(policy.decide(&first(safe()), &responded(500, None)).decision, Decision::Stop(StopReason::Attempts));
    let at = Situation { attempts: 0, ..first(safe()) };
    assert_eq!(policy.attempt_limit(&at, None), None);
}

#[test]
fn an_attempt_is_cut_only_where_a_replay_may_follow() {
    let before_first = |subject| Situation { attempts: 0, ..first(subject) };
    for (at, server_timeout, want) in [
        (before_first(safe()), None, Some(35 * SECOND)),
        (before_first(idempotent()), None, Some(35 * SECOND)),
        (before_first(safe()), Some(10 * SECOND), Some(15 * SECOND)),
        (before_first(non_idempotent()), None, None),
        (Situation { body: Replayable::Streamed, ..before_first(safe()) }, None, None),
        (Situation { attempts: 19, ..before_first(safe()) }, None, None),
    ] {
        assert_eq!(policy().attempt_limit(&at, server_timeout), want, "{at:?}");
    }
    let mut late = before_first(safe());
    late.deadline = late.now + 7 * SECOND;
    assert_eq!(policy().attempt_limit(&late, None), Some(7 * SECOND));
}

#[test]
fn the_first_patient_client_that_matches_counts() {
    for (user_agent, want) in
        [("azsdk-python-batch/15.1.0 Python/3.11.7", 240), ("azsdk-python-identity/1", 100), ("curl/8", 50), ("", 50)]
    {
        assert_eq!(policy().deadline_for(user_agent), want * SECOND, "{user_agent}");
    }
}

#[test]
fn the_services_own_limit_is_read_from_the_query() {
    for (query, want) in [
        ("api-version=2024-02-01.19.0&timeout=10", Some(10)),
        ("timeOut=10&api-version=2025-06-01", Some(10)),
        ("timeout=90", Some(30)),
        ("timeout=0", None),
        ("timeout=-1", None),
        ("timeout=soon", None),
        ("xtimeout=5", None),
        ("timeout", None),
        ("", None),
    ] {
        assert_eq!(server_timeout(query), want.map(Duration::from_secs), "{query}");
    }
}

proptest! {
    /// Never early: not before the hint, the operation's interval or, while there is time, the backoff. Never above the cap plus jitter.
    #[test]
    fn a_wait_is_never_early_never_late_and_ends_before_the_deadline(
        attempts in 1u32..40,
        hint_ms in proptest::option::of(1u64..400_000),
        left_ms in 0u64..400_000,
        entropy in 0.0f64..1.0,
        interval in any::<bool>(),
    ) {
        let policy = RetryPolicy::new(RetrySettings { max_attempts: NonZeroU32::new(100).unwrap(), ..settings() });
        let path = if interval { "/pools/p/enableautoscale" } else { "/pools/p/resize" };
        let mut at = first(subject(Method::POST, path));
        at.attempts = attempts;
        at.entropy = entropy;
        at.deadline = at.now + Duration::from_millis(left_ms);
        let hint = hint_ms.map(Duration::from_millis);
        let demanded = hint.unwrap_or_default().max(at.subject.min_interval());
        let cap = demanded.max(10 * SECOND) + 5 * SECOND;
        match policy.decide(&at, &responded(429, hint)).decision {
            Decision::Replay { after, .. } => {
                prop_assert!(after >= demanded, "{after:?} is before {demanded:?}");
                prop_assert!(after >= 2 * SECOND);
                prop_assert!(after <= cap, "{after:?} is past {cap:?}");
                prop_assert!(at.now + after < at.deadline);
                let backoff = ExponentialBackoff::new(2 * SECOND, 2.0, 10 * SECOND, 0.5).unwrap();
                let fits = Duration::from_millis(left_ms) >= cap + SECOND;
                prop_assert!(!fits || after >= backoff.base(attempts));
            }
            decision => {
                prop_assert_eq!(decision, Decision::Stop(StopReason::Deadline));
                prop_assert!(demanded.max(2 * SECOND) + SECOND > Duration::from_millis(left_ms));
            }
        }
    }
}

fn coded(status: u16, fault: &'static str) -> Outcome<'static> {
    Outcome::Responded { status: StatusCode::from_u16(status).unwrap(), hint: None, fault: Some(fault) }
}

/// A first answer is never rewritten, nor one after sends that the service refused without doing anything.
#[test]
fn an_echo_is_looked_for_only_after_a_send_that_may_have_landed() {
    let ok = |status| StatusCode::from_u16(status).unwrap();
    let delete = subject(Method::DELETE, "/jobs/j");
    let resize = subject(Method::POST, "/pools/p/resize");
    let collection = subject(Method::POST, "/jobs/j/addtaskcollection");
    for (subject, outcome, want) in [
        (delete, coded(404, "JobNotFound"), Decision::Echo(Resolution::Resolve(ok(202)))),
        (idempotent(), coded(409, "JobExists"), Decision::Echo(Resolution::Verify(ok(201)))),
        (resize, coded(409, "PoolBeingResized"), Decision::Echo(Resolution::Pass)),
        (non_idempotent(), coded(409, "NodeBeingRebooted"), Decision::Echo(Resolution::Pass)),
        (collection, responded(200, None), Decision::Echo(Resolution::Collection(Creates::Verify))),
        (subject(Method::PUT, "/jobs/j"), coded(412, "ConditionNotMet"), Decision::Echo(Resolution::Pass)),
        (safe(), coded(404, "JobNotFound"), Decision::Deliver),
    ] {
        for earlier in [Earlier::Nothing, Earlier::Refused, Earlier::MayHaveLanded] {
            let at = Situation { earlier, attempts: 2, ..first(subject) };
            let want = if earlier == Earlier::MayHaveLanded { want } else { Decision::Deliver };
            assert_eq!(policy().decide(&at, &outcome).decision, want, "{} {earlier:?}", subject.name());
        }
    }
    // What may be an own resize is not waited for, even where the lane is open.
    let open = RetryPolicy::new(RetrySettings { state: Lane { attempts: 3, wait: 10 * SECOND }, ..settings() });
    let at = Situation { earlier: Earlier::MayHaveLanded, attempts: 2, ..first(resize) };
    assert_eq!(open.decide(&at, &coded(409, "PoolBeingResized")).decision, Decision::Echo(Resolution::Pass));
}

/// Closed by default; open, they wait as long as they say, inside the deadline, and as often as they say.
#[test]
fn lanes_replay_what_clears_by_itself_where_the_settings_open_them() {
    let lane = Lane { attempts: 2, wait: 12 * SECOND };
    let open = RetryPolicy::new(RetrySettings { state: lane, quota: lane, ..settings() });
    let patch = subject(Method::PATCH, "/pools/p");
    for (subject, outcome) in [
        (patch, coded(409, "PoolBeingResized")),
        (non_idempotent(), coded(409, "NodeBeingStarted")),
        (idempotent(), coded(409, "JobBeingDeleted")),
        (idempotent(), coded(409, "ActiveJobAndScheduleQuotaReached")),
    ] {
        let used = |replays| LaneReplays { state: replays, quota: replays };
        let at = |replays| Situation {
            lane_replays: used(replays),
            attempts: replays + 1,
            earlier: if replays > 0 { Earlier::Refused } else { Earlier::Nothing },
            ..first(subject)
        };
        assert_eq!(policy().decide(&at(0), &outcome).decision, Decision::Deliver);
        assert_eq!(open.decide(&at(0), &outcome).decision, own(12 * SECOND));
        assert_eq!(open.decide(&at(1), &outcome).decision, own(12 * SECOND));
        assert_eq!(open.decide(&at(2), &outcome).decision, Decision::Stop(StopReason::Attempts));
        let late = Situation { deadline: at(0).now + 12 * SECOND, ..at(0) };
        assert_eq!(open.decide(&late, &outcome).decision, Decision::Stop(StopReason::Deadline));
        let repeat = Situation { origin: Origin::Repeat, ..at(0) };
        assert_eq!(open.decide(&repeat, &outcome).decision, Decision::Deliver);
        let streamed = Situation { body: Replayable::Streamed, ..at(0) };
        assert_eq!(open.decide(&streamed, &outcome).decision, Decision::Stop(StopReason::Body));
    }
}

/// By backoff, the last time at the end of the window, and then the 404 is the client's.
#[test]
fn a_read_that_may_lag_is_replayed_until_it_no_longer_may() {
    let at = first(safe());
    let lagging = |left| Situation { lags_until: Some(at.now + left), ..at };
    for (left, want) in [(5 * SECOND, own(2 * SECOND)), (SECOND, own(SECOND)), (Duration::ZERO, Decision::Deliver)] {
        assert_eq!(policy().decide(&lagging(left), &responded(404, None)).decision, want, "{left:?}");
    }
    let verdict = policy().decide(&lagging(SECOND), &responded(404, None));
    assert_eq!(verdict.class, Class::ReadLag);
}

/// The client replays by itself. A dead pooled connection is no send.
#[test]
fn a_repeat_is_sent_once() {
    for (subject, outcome, want) in [
        (safe(), responded(503, None), Decision::Stop(StopReason::Repeat)),
        (safe(), responded(429, Some(SECOND)), Decision::Stop(StopReason::Repeat)),
        (safe(), failed(Failure::ConnectRefused, Transmission::NotSent), Decision::Stop(StopReason::Repeat)),
        (non_idempotent(), responded(503, None), Decision::Stop(StopReason::Operation)),
        (safe(), responded(200, None), Decision::Deliver),
        (safe(), responded(404, None), Decision::Deliver),
        (safe(), responded(401, None), Decision::Deliver),
        (safe(), failed(Failure::StaleConnection, Transmission::NotSent), own(Duration::ZERO)),
    ] {
        let at = Situation { origin: Origin::Repeat, earlier: Earlier::MayHaveLanded, ..first(subject) };
        assert_eq!(policy().decide(&at, &outcome).decision, want, "{outcome:?}");
    }
    let at = Situation { origin: Origin::Repeat, attempts: 0, ..first(safe()) };
    assert_eq!(policy().attempt_limit(&at, None), None, "no replay follows, so the client's patience decides");
}

/// Only the operation that the bulk helpers loop on, only what they loop on, and only where no wait came before.
#[test]
fn a_failure_of_addtaskcollection_is_held_for_its_backoff() {
    let collection = subject(Method::POST, "/jobs/j/addtaskcollection");
    let lost = failed(Failure::ConnectionLost, Transmission::Unknown);
    for (subject, attempts, outcome, want) in [
        (collection, 1, responded(503, None), Some(3 * SECOND)),
        (collection, 1, responded(503, Some(120 * SECOND)), Some(3 * SECOND)),
        (collection, 1, responded(501, None), Some(3 * SECOND)),
        (collection, 1, lost, Some(3 * SECOND)),
        (collection, 1, failed(Failure::RequestBody, Transmission::Unknown), None),
        (collection, 1, responded(429, None), None),
        (collection, 1, responded(200, None), None),
        (collection, 1, responded(404, None), None),
        (collection, 2, responded(503, None), None),
        (idempotent(), 1, responded(503, None), None),
        (safe(), 1, lost, None),
    ] {
        let at = Situation { attempts, entropy: 1.0, ..first(subject) };
        assert_eq!(policy().hold(&at, &outcome), want, "{} {attempts} {outcome:?}", subject.name());
    }
}
