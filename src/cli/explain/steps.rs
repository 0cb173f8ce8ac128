//! One outcome explained in the order in which the rules are asked.
//!
//! Each step shows what [`Enquiry`] answered about that rule alone; the first that ends the replaying ends the list.

use super::{overview, words};
use crate::config::Settings;
use crate::retry::explain::{Case, Circumstance, Enquiry};
use crate::retry::outcome::Outcome;
use crate::retry::policy::{Decision, StopReason};

/// The class, the rules one by one, the decision, and the waits if there are any.
pub(super) fn explain(settings: &Settings, enquiry: &Enquiry<'_>, case: &Case<'_>) -> String {
    let outcome = &case.outcome;
    let verdict = enquiry.first(outcome);
    let what = match outcome {
        Outcome::Failed { failure, .. } => format!(": {}", words::failure(*failure)),
        Outcome::Responded { .. } => String::new(),
    };
    let (name, class) = (verdict.class.as_str(), words::class(verdict.class));
    let mut text = format!("\noutcome      {}{what}\nclass        {name}: {class}\n\n", words::outcome(case));
    for (index, (rule, answer)) in steps(settings, enquiry, case).iter().enumerate() {
        text += &format!("{} {rule:<10} {answer}\n", index + 1);
    }
    let schedule = enquiry.schedule(outcome);
    let waits = schedule.sends.get(1).map(|send| send.wait);
    let (decision, why) = (words::decision(verdict.decision, waits), words::why(&enquiry.subject, outcome, verdict));
    text += &format!("\ndecision     {decision}: {why}\n");
    let after_a_send = enquiry.under(Circumstance::Reached, outcome);
    match after_a_send {
        Decision::Echo(resolution) => {
            text += &format!(
                "later        met by a replay, an earlier send may have brought it about: {}\n",
                words::echo(resolution)
            );
        }
        Decision::Stop(_) if verdict.decision == Decision::Deliver => {
            text += "later        met by a replay only, it says that the credential grew old: the program gets the answer before it\n";
        }
        _ => {}
    }
    if matches!(verdict.decision, Decision::Replay { after, .. } if !after.is_zero()) {
        text += &overview::waits(&schedule, "it");
    }
    text
}

/// The rules that are asked, up to the one that ends the replaying.
fn steps(settings: &Settings, enquiry: &Enquiry<'_>, case: &Case<'_>) -> Vec<(&'static str, String)> {
    let outcome = &case.outcome;
    let with_time = enquiry.with_time(outcome).decision;
    let idempotency = words::idempotency(enquiry.subject.idempotency());
    let mut steps = Vec::new();
    match with_time {
        Decision::Deliver | Decision::Echo(_) => {
            steps.push(("operation", "not asked: nothing of this class is replayed".to_owned()));
            return steps;
        }
        Decision::Stop(StopReason::Operation) => {
            steps.push(("operation", format!("{idempotency}: ends here")));
            return steps;
        }
        Decision::Replay { .. } | Decision::Stop(_) => {
            steps.push(("operation", format!("{idempotency}: a replay after this outcome is harmless")));
        }
    }
    let limit = words::size(settings.bodies.request_limit);
    let streamed = words::decision(enquiry.under(Circumstance::BodyStreamed, outcome), None);
    steps.push(("body", format!("held up to {limit} (retry.body_limit); one that streams: {streamed}")));
    let attempts = match enquiry.most_attempts(outcome) {
        Some(most) => format!("this was the first of at most {most}"),
        None => "not counted: nothing was written to that connection".to_owned(),
    };
    steps.push(("attempts", attempts));
    let goes_on = matches!(with_time, Decision::Replay { after, .. } if !after.is_zero());
    if !goes_on {
        return steps;
    }
    let deadline = words::duration(enquiry.deadline);
    if enquiry.first(outcome).decision == Decision::Stop(StopReason::Deadline) {
        steps.push(("deadline", format!("{deadline} leave no room for the wait and an answer: ends here")));
        return steps;
    }
    steps.push(("deadline", format!("{deadline} leave room for the wait and an answer")));
    let stopping = words::decision(enquiry.under(Circumstance::Stopping, outcome), None);
    steps.push(("shutdown", format!("if the proxy is told to end before: {stopping}")));
    let old =
        [Circumstance::SignatureOld, Circumstance::TokenOld].map(|old| words::decision(enquiry.under(old, outcome), None));
    let [signature, token] = old;
    let credential = format!("must still be fresh after the wait; else a signature: {signature}, a token: {token}");
    steps.push(("signature", credential));
    steps
}
