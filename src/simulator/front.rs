//! The front of the account: who may come in, what goes wrong, and the headers every answer has. Pure, as what it stands on.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use fastrand::Rng;

use super::LOCAL_HOST;
use super::account::{Account, Call};
use super::answer::{Answer, Refusal};
use super::auth::Gatekeeper;
use super::faults::{Dealer, Effect};
use super::hint::Hint;
use super::ledger::Ledger;
use super::request::Request;
use super::store::timestamp;
use crate::batch::operation::{Operation, OperationTable};

/// The account and all that stands before it.
pub(super) struct Front {
    gatekeeper: Gatekeeper,
    dealer: Dealer,
    account: Account,
    ledger: Ledger,
    /// The calls that changed something, by client-request-id, method and path.
    executed: HashSet<[String; 3]>,
    ids: Rng,
    host: String,
    /// When the first request came.
    begun: Option<SystemTime>,
}

/// What the connection shall do.
#[derive(Debug)]
pub(super) enum Reaction {
    /// Answer.
    Answer(Answer),
    /// Begin to answer and go away in the middle.
    Cut(Answer),
    /// Go away without a word.
    Reset,
    /// Answer after this long.
    Late(Answer, Duration),
    /// Say nothing for this long, then go away.
    Stall(Duration),
}

// === impl Front ===

impl Front {
    pub(super) fn new(gatekeeper: Gatekeeper, dealer: Dealer, account: Account, host: &str, seed: u64) -> Self {
        Self {
            gatekeeper,
            dealer,
            account,
            ledger: Ledger::default(),
            executed: HashSet::new(),
            ids: Rng::with_seed(seed),
            host: host.to_owned(),
            begun: None,
        }
    }

    /// Takes a request that came at `now`.
    pub(super) fn receive(&mut self, request: &Request, now: SystemTime) -> Reaction {
        let operation = OperationTable::find(&request.method, &request.path);
        self.ledger.requests += 1;
        let begun = *self.begun.get_or_insert(now);
        let name = operation.map_or("unknown", |operation| operation.name);
        *self.ledger.operations.entry(name.to_owned()).or_default() += 1;
        // The port, where the client names one, belongs to the URLs it is given back.
        let own = |host: &&str| {
            host.split(':')
                .next()
                .is_some_and(|name| [self.host.as_str(), LOCAL_HOST].iter().any(|own| name.eq_ignore_ascii_case(own)))
        };
        let base = format!("https://{}", request.header("host").filter(own).unwrap_or(&self.host));
        if let Err(refusal) = self.gatekeeper.admit(request, now) {
            self.ledger.unauthenticated += 1;
            return Reaction::Answer(self.finish(Err(refusal), request, &base, now));
        }
        let operation = match check(request, operation) {
            Ok(operation) => operation,
            Err(refusal) => return Reaction::Answer(self.finish(Err(refusal), request, &base, now)),
        };
        if call_of(request).is_some_and(|call| self.executed.contains(&call)) {
            *self.ledger.asked_again.entry(operation.name.to_owned()).or_default() += 1;
        }
        let fault = self.dealer.deal(operation, now);
        match &fault {
            Some(fault) => {
                *self.ledger.faults.entry(fault.name.to_owned()).or_default() += 1;
                self.ledger.early += u64::from(fault.early);
            }
            None => {
                let second = now.duration_since(begun).unwrap_or_default().as_secs();
                *self.ledger.let_in.entry(second).or_default() += 1;
            }
        }
        match fault.map(|fault| fault.effect) {
            None => Reaction::Answer(self.work(operation, request, &base, now)),
            Some(Effect::Refuse(refusal, hint)) => self.refuse(refusal, hint, request, &base, now),
            Some(Effect::RefuseAfterWork(refusal, hint)) => {
                self.lose(operation, request, &base, now);
                self.refuse(refusal, hint, request, &base, now)
            }
            Some(Effect::ResetAfterWork) => {
                self.lose(operation, request, &base, now);
                Reaction::Reset
            }
            Some(Effect::ResetBeforeWork) => Reaction::Reset,
            Some(Effect::Slow(hold)) => Reaction::Late(self.work(operation, request, &base, now), hold),
            Some(Effect::Stall(hold)) => Reaction::Stall(hold),
            Some(Effect::Truncate) => Reaction::Cut(self.lose(operation, request, &base, now)),
        }
    }

    /// The counts so far, and the account as it will be at `now` if nothing more comes.
    pub(super) fn ledger(&self, now: SystemTime) -> Ledger {
        let (jobs, tasks, lives) = (self.account.jobs(now), self.account.tasks(), self.account.lives(now));
        Ledger { jobs, tasks, lives, ..self.ledger.clone() }
    }

    /// Does the work, with an answer that will not arrive as it is.
    fn lose(&mut self, operation: &Operation, request: &Request, base: &str, now: SystemTime) -> Answer {
        let answer = self.work(operation, request, base, now);
        if answer.changed {
            *self.ledger.lost.entry(operation.name.to_owned()).or_default() += 1;
        }
        answer
    }

    /// Answers with an error that a scenario deals, and the wait it names.
    fn refuse(&mut self, refusal: Refusal, hint: Option<Hint>, request: &Request, base: &str, now: SystemTime) -> Reaction {
        let answer = self.finish(Err(refusal), request, base, now);
        Reaction::Answer(match hint {
            Some(Hint { name, value }) => answer.with(name, &value),
            None => answer,
        })
    }

    fn work(&mut self, operation: &Operation, request: &Request, base: &str, now: SystemTime) -> Answer {
        let outcome = self.account.perform(operation.name, &Call::new(request, base, now));
        let changed = outcome.as_ref().is_ok_and(|answer| answer.changed);
        if let Some(call) = call_of(request).filter(|_| changed)
            && !self.executed.insert(call)
        {
            *self.ledger.executed_twice.entry(operation.name.to_owned()).or_default() += 1;
        }
        self.finish(outcome, request, base, now)
    }

    /// The answer for an outcome, with the headers that all have.
    fn finish(&mut self, outcome: Result<Answer, Refusal>, request: &Request, base: &str, now: SystemTime) -> Answer {
        let id = uuid::Builder::from_random_bytes(self.ids.u128(..).to_be_bytes()).into_uuid().to_string();
        let answer = outcome.unwrap_or_else(|refusal| Answer::refused(&refusal, base, &id, &timestamp(now)));
        let answer = answer
            .with("request-id", &id)
            .with("date", &httpdate::fmt_http_date(now))
            .with("server", "Microsoft-HTTPAPI/2.0")
            .with("strict-transport-security", "max-age=31536000; includeSubDomains")
            .with("x-content-type-options", "nosniff")
            .with("dataserviceversion", "3.0");
        let wanted = request.header("return-client-request-id").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        match request.header("client-request-id").filter(|_| wanted) {
            Some(id) => answer.with("client-request-id", id),
            None => answer,
        }
    }
}

/// By what a call is known when it comes again.
fn call_of(request: &Request) -> Option<[String; 3]> {
    let id = request.header("client-request-id")?;
    Some([id.to_owned(), request.method.to_string(), request.path.clone()])
}

/// What every request must have.
fn check<'o>(request: &Request, operation: Option<&'o Operation>) -> Result<&'o Operation, Refusal> {
    if request.parameter("api-version").is_none_or(str::is_empty) {
        return Err(Refusal::MISSING_PARAMETER.telling("QueryParameterName", "api-version"));
    }
    if request.headers.contains_key("transfer-encoding") {
        return Err(Refusal::new(411, "MissingContentLengthHeader", "The Content-Length header was not specified."));
    }
    operation.ok_or(Refusal::new(404, "ResourceNotFound", "The specified resource does not exist."))
}

#[cfg(test)]
mod tests;
