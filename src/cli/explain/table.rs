//! The page of all operations and outcomes, as Markdown.

use http::Method;

use super::{Asking, words};
use crate::batch::echo::{self, Echo};
use crate::batch::operation::{Era, Idempotency, Kind, Operation, OperationTable, Verb};
use crate::retry::explain::{Case, Enquiry, Schedule};
use crate::retry::policy::Decision;
use crate::retry::subject::Subject;

/// The whole page.
pub(super) fn page(asking: &Asking<'_>) -> String {
    [INTRODUCTION.to_owned(), operations(asking), outcomes(asking), echoes(), waits(asking)].concat()
}

/// A row for each operation, and for requests that are none.
fn operations(asking: &Asking<'_>) -> String {
    let cases = outcomes_by_class(asking);
    let eras = [Era::Current, Era::Retired, Era::LegacyPath].map(words::era).join("; ");
    let mut text =
        format!("\n## Operations\n\nEras of the API: {eras}.\n\n") + "| operation | request | era | idempotency |";
    for (heading, _) in &cases {
        text += &format!(" {heading} |");
    }
    text += &format!("\n|{}\n", "---|".repeat(4 + cases.len()));
    let mut row = |name: &str, request: String, era: &str, subject: Subject| {
        let idempotency = words::idempotency(subject.idempotency());
        text += &format!("| {name} | {request} | {era} | {idempotency} |");
        for (_, case) in &cases {
            text += &format!(" {} |", verb_of(asking.about(subject).first(&case.outcome).decision));
        }
        text.push('\n');
    };
    for operation in OperationTable::all() {
        let request = format!("`{} {}`", operation.method.as_str(), operation.path);
        row(operation.name, request, words::era_name(operation.era), Subject::of_operation(operation));
    }
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::PATCH, Method::POST] {
        row("unlisted", format!("`{method}` on any other path"), "", Subject::of(&method, UNLISTED_PATH));
    }
    text
}

/// The first case of each class that may be replayed, told apart by whether a wait is named.
fn outcomes_by_class(asking: &Asking<'_>) -> Vec<(String, Case<'static>)> {
    let read = asking.about(Subject::of(&Method::GET, "/jobs"));
    let mut found: Vec<(String, Case<'static>)> = Vec::new();
    for case in Case::all() {
        let verdict = read.first(&case.outcome);
        let hinted = words::is_hinted(&case.outcome);
        let heading = format!("{}{}", verdict.class.as_str(), if hinted { ", wait named" } else { "" });
        let at_once = matches!(verdict.decision, Decision::Replay { after, .. } if after.is_zero());
        let replayed = matches!(verdict.decision, Decision::Replay { .. }) && !at_once;
        if replayed && found.iter().all(|(known, _)| *known != heading) {
            found.push((heading, case));
        }
    }
    found
}

/// A row for each outcome, a column for each sort of operation.
fn outcomes(asking: &Asking<'_>) -> String {
    let sorts = sorts();
    let mut text = "\n## Outcomes\n\n| outcome |".to_owned();
    for (heading, _) in &sorts {
        text += &format!(" {heading} |");
    }
    text += &format!("\n|{}\n", "---|".repeat(1 + sorts.len()));
    for case in Case::all() {
        text += &format!("| {} |", words::outcome(&case));
        for (_, operation) in &sorts {
            let verdict = asking.about(Subject::of_operation(operation)).first(&case.outcome);
            text += &format!(" {}: {} |", verdict.class.as_str(), verb_of(verdict.decision));
        }
        text.push('\n');
    }
    text
}

/// A row for each operation that can meet an echo.
fn echoes() -> String {
    let mut text = ECHOES.to_owned();
    for operation in OperationTable::all() {
        let codes = |wanted| {
            let codes = Echo::all(operation).filter(|(_, echo)| *echo == wanted).map(|(code, _)| code);
            codes.collect::<Vec<_>>().join(", ")
        };
        let [reached, exists, ambiguous] = [Echo::Reached, Echo::Exists, Echo::Ambiguous].map(codes);
        if let Some(success) = echo::success(operation) {
            let success = if reached.is_empty() && exists.is_empty() { String::new() } else { success.as_u16().to_string() };
            text += &format!("| {} | {success} | {reached} | {exists} | {ambiguous} |\n", operation.name);
        }
    }
    text
}

/// An operation of each sort that the rules tell apart.
fn sorts() -> Vec<(String, &'static Operation)> {
    let first = |heading: &str, wanted: fn(&Operation) -> bool| {
        OperationTable::all().find(|operation| wanted(operation)).map(|operation| (heading.to_owned(), operation))
    };
    let creates = |operation: &Operation| operation.kind == Kind::Create;
    let sorts = [
        first("safe", |operation| operation.idempotency == Idempotency::Safe),
        first("idempotent", |operation| operation.idempotency == Idempotency::Idempotent && operation.method == Verb::Put),
        first("idempotent create", creates),
        first("not idempotent", |operation| operation.idempotency == Idempotency::NonIdempotent),
    ];
    sorts.into_iter().flatten().collect()
}

/// The waits of a read, by what every send ends with.
fn waits(asking: &Asking<'_>) -> String {
    let read: Enquiry<'_> = asking.about(Subject::of(&Method::GET, "/jobs"));
    let mut text = format!(
        "\n## Waits of a read inside {}\n\n| every send ends with | sends | waits | then |\n|---|---|---|---|\n",
        words::duration(read.deadline)
    );
    let mut groups: Vec<(Schedule, Vec<String>)> = Vec::new();
    for case in Case::all() {
        let (schedule, name) = (read.schedule(&case.outcome), words::outcome(&case));
        match groups.iter_mut().find(|(known, _)| *known == schedule) {
            Some((_, names)) => names.push(name),
            None if schedule.sends.len() > 1 && !schedule.is_uncounted() => groups.push((schedule, vec![name])),
            None => {}
        }
    }
    for (schedule, names) in &groups {
        let waits = schedule.sends.iter().skip(1).map(|send| words::range(send.wait, words::duration));
        let waits: Vec<String> = waits.collect();
        let ends: Vec<&str> = schedule.ends.iter().map(|end| end.as_str()).collect();
        let (names, count) = (names.join("; "), words::sends(schedule));
        text += &format!("| {names} | {count} | {} | {} |\n", waits.join(", "), ends.join(" or "));
    }
    text
}

/// The decision without its wait.
fn verb_of(decision: Decision) -> String {
    match decision {
        Decision::Replay { after, .. } if !after.is_zero() => "replay".to_owned(),
        other => words::decision(other, None),
    }
}

const ECHOES: &str = "
## Echoes

What an answer to a replay means after an earlier send that may have landed; a first answer is never rewritten. An answer of the third column
is handed over as a success with the status of the second (`retry.echo.others`), one of the fourth where it is proved or trusted
(`retry.echo.creates`). All others here, and a `412 ConditionNotMet` to any write, are passed on and marked in `Proxy-Status`. In the answer to
addtaskcollection each task of the request that is refused with `TaskExists` is judged like a create.

| operation | success | the wanted end is reached | it exists | only marked |
|---|---|---|---|---|
";

/// No operation has it.
const UNLISTED_PATH: &str = "/";

const INTRODUCTION: &str = "\
# Decisions

What the proxy decides about the first send of a request whose body is held and whose credential is fresh. `replay`: it is sent again, after
a wait. `deliver`: the program gets the answer. `stop (reason)`: another send would be worth it but must not be; the program gets what there
is. Later sends also end with `attempts`, `deadline`, `signature`, `token`, `shutdown`, `budget` or `gate`, and a client's own repeat of what was
given up with `repeat`. At the `gate` of a closed account a first send may end too. What later answers may be echoes of is below.

`batch-retry-proxy explain METHOD TARGET` says why, for one request and the settings in force. This page is what
`batch-retry-proxy explain --all` prints with the default settings.
";
