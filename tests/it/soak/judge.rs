//! Which answers are right.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::call::{Answer, Credential};
use super::plan::{Ask, Others, Want};

/// What the proxy does about an echo of a create: `retry.echo.creates`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Creates {
    Trust,
    Verify,
}

/// How far an answer tells what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// All of it.
    Known,
    /// What must not be done twice was done once or not at all.
    Unknown,
    /// It exists, and the proxy's own look at it was lost, so that it could not say whose it is.
    Unverified,
}

/// Who asked, of which proxy.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) creates: Creates,
    pub(super) credential: Credential,
}

// === impl Creates ===

impl Creates {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Verify => "verify",
        }
    }

    /// What must become of echoes, each at least once.
    pub(super) fn resolutions(self) -> &'static [&'static str] {
        match self {
            Self::Trust => &["resolved", "trusted"],
            Self::Verify => &["resolved", "verified", "passed"],
        }
    }
}

// === impl Terms ===

impl Terms {
    /// Whether the answer is one that may come. The error says what is wrong with it.
    pub(super) fn judge(self, ask: &Ask, answer: &Answer) -> Result<Told, String> {
        if !answer.response.complete {
            return Err("the answer was cut short".to_owned());
        }
        let succeeded = answer.response.status == ask.success;
        if succeeded && answer.echo.as_deref().is_some_and(|echo| echo != "passed") {
            check_resolved(ask, answer)?;
        }
        let replayed = answer.attempts > 1;
        let right = match &ask.want {
            Want::Conditional => succeeded || replayed && answer.is(412, "ConditionNotMet") && answer.is_passed(),
            Want::Collection { new, old } => {
                return if succeeded { self.check_collection(answer, new, old) } else { Err("no results".to_owned()) };
            }
            Want::Done => succeeded,
            Want::DoneOr { refusals } => succeeded || answer.is_one_of(refusals),
            Want::File { name, task } => succeeded && is_content(&answer.response.text(), name, task),
            Want::Gone => answer.response.status == 404 || succeeded && answer.body["state"] == "deleting",
            Want::Lists { .. } => succeeded,
            Want::Made { code, verifiable } => {
                if answer.is(409, code) && self.passes(answer) {
                    return Ok(self.passed(*verifiable));
                }
                succeeded
            }
            // An echo that was made when this call was under way looks like its own.
            Want::MadeBefore { code, since } => {
                let may_be_own = self.creates == Creates::Trust || since.elapsed() < RECENT;
                answer.is(409, code) || succeeded && replayed && may_be_own
            }
            Want::Once { refusals } => {
                if answer.is_failure() {
                    return Ok(Told::Unknown);
                }
                succeeded || answer.is_one_of(refusals)
            }
            Want::Refused { refusals, echoes } => answer.is_one_of(refusals) || *echoes && replayed && succeeded,
            Want::Shows(shown) => {
                if let Some((pointer, _)) = shown.iter().find(|(pointer, values)| !has(&answer.body, pointer, values)) {
                    return Err(format!("{pointer} is {:?}", answer.body.pointer(pointer)));
                }
                succeeded
            }
        };
        if right { Ok(Told::Known) } else { Err("wrong answer".to_owned()) }
    }

    /// Whether this may be an echo of a create that is handed over as it is.
    fn passes(self, answer: &Answer) -> bool {
        self.creates == Creates::Verify && answer.is_passed()
    }

    /// What an echo that was handed over as it is tells.
    fn passed(self, verifiable: bool) -> Told {
        if verifiable && self.credential == Credential::Bearer { Told::Unverified } else { Told::Known }
    }

    fn check_collection(self, answer: &Answer, new: &[String], old: &[String]) -> Result<Told, String> {
        let items = answer.body["value"].as_array().ok_or("no results")?;
        let results: BTreeMap<&str, &Value> =
            items.iter().filter_map(|item| item["taskId"].as_str().map(|id| (id, item))).collect();
        if items.len() != new.len() + old.len() {
            return Err(format!("{} results", items.len()));
        }
        let mut told = Told::Known;
        for (ids, may_succeed, may_exist) in [(new, true, self.passes(answer)), (old, answer.attempts > 1, true)] {
            for id in ids {
                let item = results.get(id.as_str()).ok_or_else(|| format!("no result for {id}"))?;
                let right = match item["status"].as_str() {
                    Some("success") => may_succeed,
                    Some("clienterror") => may_exist && item["error"]["code"] == "TaskExists",
                    _ => false,
                };
                if !right {
                    return Err(format!("{id} has {item}"));
                }
                if item["status"] != "success" && new.contains(id) {
                    told = self.passed(true);
                }
            }
        }
        Ok(told)
    }
}

/// All ids of a list, whose pages were put together.
pub(super) fn check_list(listed: &[String], prefix: &str, ids: &[String], others: Others) -> Result<(), String> {
    let own: Vec<&String> = listed.iter().filter(|id| id.starts_with(prefix)).collect();
    if let Some(missing) = ids.iter().find(|id| !own.contains(id)) {
        return Err(format!("{missing} is not in the list"));
    }
    if let Some(extra) = own.iter().find(|id| others == Others::No && !ids.contains(id)) {
        return Err(format!("{extra} is in the list"));
    }
    if own.len() != ids.len() && others == Others::No { Err("listed twice".to_owned()) } else { Ok(()) }
}

/// A success that the proxy read from an echo has no content and says so.
fn check_resolved(ask: &Ask, answer: &Answer) -> Result<(), String> {
    if matches!(ask.want, Want::Collection { .. }) {
        return Ok(());
    }
    let length = answer.response.header("content-length");
    let wanted = if ask.success == 204 { None } else { Some("0") };
    if length == wanted && answer.response.body.is_empty() && answer.attempts > 1 {
        Ok(())
    } else {
        Err(format!("a resolved echo with Content-Length {length:?}"))
    }
}

fn is_content(text: &str, name: &str, task: &str) -> bool {
    let line = |number: u32| format!("{name} of task {task}: line {number} of 100\n");
    text == (1..=100).map(line).collect::<String>()
}

fn has(body: &Value, pointer: &str, values: &[Value]) -> bool {
    body.pointer(pointer).is_some_and(|found| values.contains(found))
}

// === impl Answer ===

impl Answer {
    fn is(&self, status: u16, code: &str) -> bool {
        self.response.status == status && self.code() == code
    }

    fn is_one_of(&self, refusals: &[(u16, &str)]) -> bool {
        refusals.iter().any(|(status, code)| self.is(*status, code))
    }

    /// Whether the proxy says that an earlier send may be what it speaks of.
    fn is_passed(&self) -> bool {
        self.echo.as_deref() == Some("passed")
    }

    /// Whether the work was perhaps done, perhaps not.
    fn is_failure(&self) -> bool {
        matches!(self.response.status, 429 | 500 | 502 | 503 | 504)
    }
}

/// What was made this long before a call cannot be taken for the call's own work: more than the call may take, and the seconds to which
/// `Date` is rounded.
const RECENT: Duration = Duration::from_secs(20);
