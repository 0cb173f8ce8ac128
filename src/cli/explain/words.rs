//! The words of explanations: what a value of the core means to people. Which value applies is never decided here.

use std::time::Duration;

use http::StatusCode;

use crate::batch::operation::{Era, FIRST_VERSION, Idempotency, Kind, NEWEST_VERSION, Presence};
use crate::retry::classify::Class;
use crate::retry::echo::{Creates, Resolution};
use crate::retry::explain::{Case, Range, Schedule, Shape};
use crate::retry::outcome::{Failure, Outcome};
use crate::retry::policy::{Decision, StopReason, Verdict};
use crate::retry::subject::Subject;

/// The name of an outcome: that of a failure, or the answer's status with what else it says.
pub(super) fn outcome(case: &Case<'_>) -> String {
    match case.outcome {
        Outcome::Failed { failure, .. } => failure.as_str().to_owned(),
        Outcome::Responded { status, hint, fault } => {
            let code = match case.shape {
                Shape::Alone => fault.map(|code| format!(" {code}")).unwrap_or_default(),
                Shape::AnyExists => " ...Exists".to_owned(),
                Shape::AnyOther5xx => return "any other 5xx".to_owned(),
            };
            let hint = hint.map(|hint| format!(", Retry-After {}", duration(hint))).unwrap_or_default();
            format!("{}{code}{hint}", status.as_u16())
        }
    }
}

/// Whether an outcome names a wait.
pub(super) fn is_hinted(outcome: &Outcome<'_>) -> bool {
    matches!(outcome, Outcome::Responded { hint: Some(_), .. })
}

/// What a failure is.
pub(super) fn failure(failure: Failure) -> &'static str {
    match failure {
        Failure::AddressProhibited => "only the proxy's own machine may reach the host's addresses",
        Failure::CertificateInvalid => "the service's certificate does not verify",
        Failure::ConnectFailed => "no connection could be made",
        Failure::ConnectRefused => "the port is closed",
        Failure::ConnectTimeout => "no connection in time, TLS included",
        Failure::ConnectionLost => "reset or closed before an answer came",
        Failure::DnsFailed => "the name could not be looked up now",
        Failure::DnsNotFound => "the name does not exist",
        Failure::ProtocolError => "what came is not HTTP",
        Failure::RequestBody => "the client's own body broke off",
        Failure::ResponseTimeout => "no answer in time",
        Failure::StaleConnection => "an idle connection was found closed",
        Failure::TlsFailed => "the TLS handshake failed, not for the certificate",
        Failure::Truncated => "the answer was cut short",
    }
}

/// What a class means.
pub(super) fn class(class: Class) -> &'static str {
    match class {
        Class::NotSent => "certainly not carried out",
        Class::Permanent => "final: another try would not mend it",
        Class::Quota => "a quota is used up; it clears in minutes or hours",
        Class::ReadLag => "what was just created may not be seen yet",
        Class::State => "a passing state of the resource refuses the request",
        Class::Success => "it succeeded",
        Class::Throttled => "the service asks for time",
        Class::Transient => "may have been carried out, or not",
    }
}

/// The decision in a few words; `waits` are those before the second send.
pub(super) fn decision(decision: Decision, waits: Option<Range<Duration>>) -> String {
    match decision {
        Decision::Deliver => "deliver".to_owned(),
        Decision::Echo(resolution) => echo(resolution),
        Decision::Replay { after, .. } if after.is_zero() => "replay at once".to_owned(),
        Decision::Replay { after, .. } => {
            format!("replay after {}", waits.map_or_else(|| duration(after), |waits| range(waits, duration)))
        }
        Decision::Stop(reason) => format!("stop ({})", reason.as_str()),
    }
}

/// What is made of an answer that an earlier send may have brought about.
pub(super) fn echo(resolution: Resolution) -> String {
    match resolution {
        Resolution::Collection(Creates::Pass) => "tasks that exist stay refused".to_owned(),
        Resolution::Collection(Creates::Trust) => "tasks of the request that exist become successes".to_owned(),
        Resolution::Collection(Creates::Verify) => {
            "tasks of the request that a bearer client's GET shows to be made since become successes".to_owned()
        }
        Resolution::Pass => "passed on and marked".to_owned(),
        Resolution::Resolve(status) => format!("a success, {}", status.as_u16()),
        Resolution::Trust(status) => format!("a success, {}, as retry.echo.creates trusts it", status.as_u16()),
        Resolution::Verify(status) => {
            format!(
                "a success, {}, if a bearer client's GET shows that it was made since; else passed on and marked",
                status.as_u16()
            )
        }
    }
}

/// Why the verdict is what it is.
pub(super) fn why(subject: &Subject, outcome: &Outcome<'_>, verdict: Verdict) -> &'static str {
    match (verdict.decision, verdict.class, subject.idempotency()) {
        (Decision::Stop(reason), class, _) => stop(reason, class),
        (Decision::Echo(_), _, _) => "an earlier send may have brought it about",
        (Decision::Replay { .. }, Class::State | Class::Quota, _) => "nothing was done, and the settings open this lane",
        (Decision::Deliver, class, _) => final_answer(class, outcome),
        (Decision::Replay { .. }, Class::NotSent, _) => "nothing was sent, so nothing was carried out",
        (Decision::Replay { .. }, Class::Throttled, Idempotency::NonIdempotent) => "Batch refused it and named the wait",
        (Decision::Replay { .. }, Class::Throttled, _) => "Batch asks for time",
        (Decision::Replay { .. }, _, Idempotency::Safe) => "reading twice is harmless",
        (Decision::Replay { .. }, _, _) => "if it was carried out, twice ends like once",
    }
}

/// Why a request worth replaying is not replayed.
fn stop(reason: StopReason, class: Class) -> &'static str {
    match (reason, class) {
        (StopReason::Attempts, _) => "no attempt is left",
        (StopReason::Body, _) => "the body is not held and cannot be sent again",
        (StopReason::Budget, _) => "the account's budget for replays is used up past the deadline",
        (StopReason::Gate, _) => "the account is closed past the deadline",
        (StopReason::Deadline, _) => "the wait would end past the deadline",
        (StopReason::Operation, Class::Throttled) => {
            "twice could do harm, and without a named wait it may have been carried out"
        }
        (StopReason::Operation, _) => "it may have been carried out, and twice could do harm",
        (StopReason::Repeat, _) => "it is the client's own repeat of what was given up",
        (StopReason::Shutdown, _) => "the proxy will be gone before the wait ends",
        (StopReason::Signature, _) => "the signature would be stale",
        (StopReason::Token, _) => "the token would have expired",
    }
}

fn final_answer(class: Class, outcome: &Outcome<'_>) -> &'static str {
    match (class, *outcome) {
        (Class::Success, _) => "it succeeded",
        (Class::Quota, _) => "a quota clears in minutes or hours, too late for a waiting client",
        (Class::State, _) => "the state clears by itself, when is not known; the program decides",
        (_, Outcome::Failed { failure: Failure::AddressProhibited, .. }) => {
            "the proxy, bound wider than loopback, never goes there"
        }
        (_, Outcome::Failed { failure: Failure::CertificateInvalid, .. }) => "who answers there is not Batch",
        (_, Outcome::Failed { .. }) => "the client's own doing",
        (_, Outcome::Responded { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. }) => {
            "only the program can renew its credential"
        }
        (_, Outcome::Responded { .. }) => "final, the same request would meet it again",
    }
}

/// The name of an idempotency.
pub(super) fn idempotency(idempotency: Idempotency) -> &'static str {
    match idempotency {
        Idempotency::Idempotent => "idempotent",
        Idempotency::NonIdempotent => "not idempotent",
        Idempotency::Safe => "safe",
    }
}

/// Why a subject has its idempotency.
pub(super) fn why_idempotency(subject: &Subject) -> &'static str {
    let Some(operation) = subject.operation() else {
        return match subject.idempotency() {
            Idempotency::Idempotent | Idempotency::Safe => {
                "no row of the table matches, and RFC 9110 promises this of the method"
            }
            Idempotency::NonIdempotent => "no row of the table matches, and nothing is promised of the method",
        };
    };
    match (operation.idempotency, operation.kind) {
        (Idempotency::Safe, _) => "it changes nothing",
        (Idempotency::NonIdempotent, _) => "a second execution does its work once more",
        (_, Kind::Create) => "it names the id of what it makes, so a second one is refused as existing",
        (_, Kind::CreateCollection) => "each task in it has its id, so a second one of it is refused as existing",
        (_, Kind::Delete) => "what is deleted stays deleted",
        (_, Kind::FileRead | Kind::Other) => "it sets values or asks for a state, and a second one finds them so",
    }
}

/// The name of an era.
pub(super) fn era_name(era: Era) -> &'static str {
    match era {
        Era::Current => "current",
        Era::LegacyPath => "legacy",
        Era::Retired => "retired",
    }
}

/// Which versions have an operation of this era.
pub(super) fn era(era: Era) -> String {
    let versions = match era {
        Era::Current => format!("in {NEWEST_VERSION}"),
        Era::LegacyPath => format!("in {FIRST_VERSION} only, file names with raw slashes"),
        Era::Retired => format!("only in versions older than {NEWEST_VERSION}"),
    };
    format!("{}: {versions}", era_name(era))
}

/// Whether a version has an operation.
pub(super) fn presence(presence: Presence) -> &'static str {
    match presence {
        Presence::Absent => "does not have this operation; Batch would refuse it",
        Presence::Present => "has this operation",
        Presence::Unknown => "may have this operation: the table does not say",
    }
}

/// How many sends there are at most.
pub(super) fn sends(schedule: &Schedule) -> String {
    if schedule.is_uncounted() {
        return "not counted".to_owned();
    }
    if schedule.count.most >= Schedule::MOST {
        return format!("{} or more", Schedule::MOST);
    }
    range(schedule.count, |count| count.to_string())
}

/// A range in words; one value where both ends read the same.
pub(super) fn range<T>(range: Range<T>, show: impl Fn(T) -> String) -> String {
    let (least, most) = (show(range.least), show(range.most));
    if least == most { least } else { format!("{least} to {most}") }
}

/// A duration, rounded up to the tenth of a second: `2.5s`, `1m 30s`.
pub(super) fn duration(duration: Duration) -> String {
    let tenths = duration.as_millis().div_ceil(100);
    if tenths < 600 && !tenths.is_multiple_of(10) {
        return format!("{}.{}s", tenths / 10, tenths % 10);
    }
    humantime::format_duration(Duration::from_secs(duration.as_millis().div_ceil(1000) as u64)).to_string()
}

/// A size in bytes, in the largest unit that divides it.
pub(super) fn size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fitting = units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    fitting.map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}
