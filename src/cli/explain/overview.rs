//! What is told of a request as a whole: what it is, and what each outcome would lead to.

use http::Method;

use super::args::Target;
use super::words;
use crate::config::Settings;
use crate::retry::explain::{Case, Enquiry, Schedule, Shape};
use crate::retry::policy::{Decision, StopReason};

/// What the request is, as lines of name and value.
pub(super) fn head(
    settings: &Settings,
    enquiry: &Enquiry<'_>,
    method: &Method,
    target: &Target,
    api_version: Option<&str>,
) -> String {
    let subject = &enquiry.subject;
    let mut text = format!("{method} {}\n\n", target.path);
    if let Some(host) = &target.host {
        let fate = if settings.route.intercept.contains(host) {
            "is opened (intercept.hosts)"
        } else {
            "would not be opened (intercept.hosts, intercept.except), so never replayed; if it were:"
        };
        text += &format!("host         {host} {fate}\n");
    }
    match subject.operation() {
        Some(row) => {
            let (name, verb, path) = (row.name, row.method.as_str(), row.path);
            text += &format!("operation    {name} ({verb} {path})\nera          {}\n", words::era(row.era));
            if let Some(version) = api_version {
                text += &format!("api-version  {version} {}\n", words::presence(row.era.presence_in(version)));
            }
            if !row.min_interval.is_zero() {
                text += &format!("interval     Batch wants {} between two of these\n", words::duration(row.min_interval));
            }
        }
        None => text += "operation    unlisted: no row of the table has this method and path\n",
    }
    let idempotency = words::idempotency(subject.idempotency());
    text += &format!("idempotency  {idempotency}: {}\n", words::why_idempotency(subject));
    let (deadline, most) = (words::duration(enquiry.deadline), settings.retry.max_attempts);
    text + &format!("limits       {deadline} from the end of the body (retry.deadline), {most} sends (retry.max_attempts)\n")
}

/// The decision for each outcome, and the waits.
pub(super) fn outcomes(enquiry: &Enquiry<'_>) -> String {
    let cases = Case::all();
    let mut rows = vec![["OUTCOME", "CLASS", "DECISION", "SENDS", "WHY"].map(str::to_owned).to_vec()];
    rows.extend(cases.iter().map(|case| row(enquiry, case)));
    let mut text = format!("\n{}", aligned(&rows));
    let replayed = |case: &&Case<'_>| matches!(enquiry.first(&case.outcome).decision, Decision::Replay { after, .. } if !after.is_zero());
    let hinted = |case: &&Case<'_>| words::is_hinted(&case.outcome);
    // The failures that the rules treat apart come first among the cases; the usual waits are seen from the end.
    let own = cases.iter().rev().filter(replayed).find(|case| !hinted(case) && case.shape == Shape::Alone);
    let told = cases.iter().filter(replayed).find(hinted);
    for case in own.into_iter().chain(told) {
        text += &waits(&enquiry.schedule(&case.outcome), &words::outcome(case));
    }
    text
}

/// The sends of a schedule, a line for each.
pub(super) fn waits(schedule: &Schedule, every: &str) -> String {
    let mut text = format!("\nIf every send ended with {every}, and chance adds jitter:\n\n");
    let mut rows = vec![["SEND", "WAIT BEFORE IT", "BEGINS AT"].map(str::to_owned).to_vec()];
    let last = schedule.sends.len();
    for (index, send) in schedule.sends.iter().enumerate() {
        if index >= SHOWN && index + 1 < last {
            continue;
        }
        let number = (index + 1).to_string();
        let maybe = if index >= schedule.count.least { " if there is time" } else { "" };
        let wait = words::range(send.wait, words::duration);
        rows.push(vec![number, wait, words::range(send.at, words::duration) + maybe]);
    }
    text += &aligned(&rows);
    let ends: Vec<&str> = schedule
        .ends
        .iter()
        .filter_map(|end| match end {
            StopReason::Attempts => Some("all sends are used up"),
            StopReason::Deadline => Some("the deadline leaves no room, which the last waits are shortened to fill"),
            _ => None,
        })
        .collect();
    if ends.is_empty() {
        return text;
    }
    format!("{text}\nAfter the last, {}; the program gets what there is.\n", ends.join(", or "))
}

fn row(enquiry: &Enquiry<'_>, case: &Case<'_>) -> Vec<String> {
    let verdict = enquiry.first(&case.outcome);
    let schedule = enquiry.schedule(&case.outcome);
    let waits = schedule.sends.get(1).map(|send| send.wait);
    vec![
        words::outcome(case),
        verdict.class.as_str().to_owned(),
        words::decision(verdict.decision, waits),
        words::sends(&schedule),
        words::why(&enquiry.subject, &case.outcome, verdict).to_owned(),
    ]
}

/// Rows with columns as wide as their widest cell.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or_default();
    let line = |row: &Vec<String>| {
        let cells: String = row.iter().enumerate().map(|(column, cell)| format!("{cell:w$}  ", w = width(column))).collect();
        cells.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// How many sends are shown before the last.
const SHOWN: usize = 20;
