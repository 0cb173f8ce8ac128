//! The end: what the workers know against what the account has in its register.

use batch_retry_proxy::batch::operation::{Idempotency, Kind, OperationTable};
use batch_retry_proxy::simulator::{Ledger, Life};

use super::model::Expected;
use super::plan::Planner;
use super::worker::Finding;

/// What differs between a worker's knowledge and the register, by path.
pub(super) fn worker(ledger: &Ledger, planner: &Planner) -> Vec<(String, String)> {
    let (states, model, none) = (planner.model.states(), &planner.model, Life::default());
    let mut differences = Vec::new();
    let known = model.lives.iter().filter_map(|(path, expected)| {
        let life = ledger.lives.get(path).unwrap_or(&none);
        difference(life, expected, states.get(path).copied()).map(|difference| (path.clone(), difference))
    });
    differences.extend(known);
    let own = |path: &str| path.split('/').nth(2).is_some_and(|id| id.starts_with(planner.prefix()));
    let unasked = ledger.lives.iter().filter(|(path, _)| own(path) && !model.lives.contains_key(*path));
    differences.extend(unasked.map(|(path, life)| (path.clone(), format!("nobody asked for {life:?}"))));
    differences
}

/// What no worker may have caused.
pub(super) fn account(ledger: &Ledger, workers: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |path: &str, message: String| {
        findings.push(Finding { path: path.to_owned(), message, journal: Vec::new() });
    };
    if ledger.unauthenticated > 0 {
        found("the account", format!("{} requests with a wrong signature", ledger.unauthenticated));
    }
    for (operation, times) in ledger.executed_twice.iter().filter(|(operation, _)| !may_be_done_again(operation)) {
        found("the account", format!("{operation} was executed again {times} times"));
    }
    for (operation, times) in ledger.asked_again.iter().filter(|(operation, _)| is_harmful_twice(operation)) {
        found("the account", format!("{operation} was done and asked again {times} times"));
    }
    let own = |path: &str| {
        (0..workers).any(|number| path.split('/').nth(2).is_some_and(|id| id.starts_with(&format!("w{number}-"))))
    };
    for (path, life) in ledger.lives.iter().filter(|(path, _)| !own(path)) {
        found(path, format!("belongs to no worker: {life:?}"));
    }
    findings
}

fn difference(life: &Life, expected: &Expected, state: Option<&str>) -> Option<String> {
    if life.made != expected.made {
        return Some(format!("made {} times, asked for {}", life.made, expected.made));
    }
    if life.deleted_by != expected.deleted_by {
        return Some(format!("deleted by {:?}, asked for by {:?}", life.deleted_by, expected.deleted_by));
    }
    let ended = life.state.as_deref();
    (ended != state).then(|| format!("ended as {ended:?}, not as {state:?}"))
}

/// Whether a second execution is the same as one: an update, or a transition that the account takes again.
fn may_be_done_again(operation: &str) -> bool {
    let row = OperationTable::all().find(|row| row.name == operation);
    row.is_some_and(|row| row.idempotency == Idempotency::Idempotent && row.kind == Kind::Other)
}

fn is_harmful_twice(operation: &str) -> bool {
    let row = OperationTable::all().find(|row| row.name == operation);
    row.is_some_and(|row| row.idempotency == Idempotency::NonIdempotent)
}
