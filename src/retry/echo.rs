//! What is made of an echo: an answer to a replay that may speak of an earlier send of the same request.
//!
//! Which answers may be echoes stands in [`crate::batch::echo`]. Here the settings say what becomes of them, and [`policy`](super::policy)
//! asks only after an earlier send that may have landed: a first answer is never rewritten.
//!
//! A delete or a transition whose echo proves the wanted end is answered as the operation's success. A create whose resource exists may
//! have been someone else's, so it needs proof: [`Window`] compares the resource's creation time with the time since our first send. For
//! addtaskcollection, whose echoes stand in a 200, [`collection`] does the same for each task.

use http::StatusCode;

use super::subject::Subject;
use crate::batch::echo::{self, Echo};
use crate::batch::fields::Fields;
use crate::batch::operation::Idempotency;

pub mod collection;
mod proof;

pub use self::proof::{Lookup, Window};

/// What becomes of echoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoSettings {
    /// Of creates (`retry.echo.creates`).
    pub creates: Creates,
    /// Of deletes and transitions (`retry.echo.others`).
    pub others: Others,
}

/// When a create that is refused as existing counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creates {
    /// Never: the refusal is passed on and marked.
    Pass,
    /// Always: whoever says so knows that nobody else makes what is called like this.
    Trust,
    /// Where the resource was made since the first send, which a bearer client's own token may ask.
    Verify,
}

/// When a delete or transition that is refused because it is done counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Never: the refusal is passed on and marked.
    Pass,
    /// Always.
    Resolve,
}

/// What to do with an answer that may be an echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Judge the result of each task; where none is an echo it is a success like any other.
    Collection(Creates),
    /// Pass it on and mark it.
    Pass,
    /// Answer with this status: the wanted end is reached.
    Resolve(StatusCode),
    /// Answer with this status: the user trusts that nobody else made it.
    Trust(StatusCode),
    /// Ask whether it was made since the first send, and if so answer with this status; else pass it on and mark it.
    Verify(StatusCode),
}

// === impl EchoSettings ===

impl EchoSettings {
    /// What to do with an answer to a replay of `subject`; `None` where it is no echo.
    pub fn resolution(self, subject: &Subject, status: StatusCode, fault: Option<&str>) -> Option<Resolution> {
        let operation = subject.operation().filter(|operation| operation.idempotency != Idempotency::Safe)?;
        if subject.creates_collection() && status == StatusCode::OK {
            return Some(Resolution::Collection(self.creates));
        }
        // The conditional headers named a version that an own earlier write may have replaced, or someone else's.
        if status == StatusCode::PRECONDITION_FAILED {
            return Some(Resolution::Pass);
        }
        let (echo, success) = (Echo::of(operation, status, fault?)?, echo::success(operation)?);
        Some(match (echo, self.creates, self.others) {
            (Echo::Exists, Creates::Trust, _) => Resolution::Trust(success),
            (Echo::Exists, Creates::Verify, _) => Resolution::Verify(success),
            (Echo::Reached, _, Others::Resolve) => Resolution::Resolve(success),
            (Echo::Ambiguous, _, _) | (Echo::Exists, Creates::Pass, _) | (Echo::Reached, _, Others::Pass) => {
                Resolution::Pass
            }
        })
    }
}

/// The paths of the resources that a create or addtaskcollection with this body makes, where they can be read.
pub fn created(subject: &Subject, path: &str, body: &[u8]) -> Vec<String> {
    if subject.creates_collection() {
        return collection::created(path, body);
    }
    proof::created(subject, path, body).into_iter().map(|(resource, _)| resource).collect()
}

/// Whether a token, which is no signature over the request, came with it: only then can another request be made in the client's name.
pub fn is_bearer(headers: &impl Fields) -> bool {
    let scheme = headers.value("authorization").and_then(|value| value.split(|&b| b == b' ').next());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Bearer"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    #[test]
    fn settings_decide_what_becomes_of_an_echo() {
        let status = |code| StatusCode::from_u16(code).unwrap();
        let subject = |method, path| Subject::of(&method, path);
        let create = subject(Method::POST, "/jobs");
        let delete = subject(Method::DELETE, "/jobs/j");
        let resize = subject(Method::POST, "/pools/p/resize");
        let patch = subject(Method::PATCH, "/jobs/j");
        let collection = subject(Method::POST, "/jobs/j/addtaskcollection");
        for (creates, others, subject, code, fault, want) in [
            (Creates::Verify, Others::Resolve, create, 409, Some("JobExists"), Some(Resolution::Verify(status(201)))),
            (Creates::Trust, Others::Pass, create, 409, Some("JobExists"), Some(Resolution::Trust(status(201)))),
            (Creates::Pass, Others::Resolve, create, 409, Some("JobExists"), Some(Resolution::Pass)),
            (Creates::Trust, Others::Resolve, create, 409, Some("PoolExists"), None),
            (Creates::Trust, Others::Resolve, create, 409, None, None),
            (Creates::Pass, Others::Resolve, delete, 404, Some("JobNotFound"), Some(Resolution::Resolve(status(202)))),
            (Creates::Trust, Others::Pass, delete, 404, Some("JobNotFound"), Some(Resolution::Pass)),
            (Creates::Trust, Others::Resolve, resize, 409, Some("PoolBeingResized"), Some(Resolution::Pass)),
            (Creates::Trust, Others::Resolve, patch, 412, Some("ConditionNotMet"), Some(Resolution::Pass)),
            (Creates::Pass, Others::Pass, collection, 200, None, Some(Resolution::Collection(Creates::Pass))),
            (Creates::Trust, Others::Pass, collection, 409, Some("JobCompleted"), Some(Resolution::Pass)),
            (Creates::Trust, Others::Resolve, subject(Method::GET, "/jobs/j"), 412, Some("ConditionNotMet"), None),
            (Creates::Trust, Others::Resolve, collection, 413, Some("RequestBodyTooLarge"), None),
            (Creates::Trust, Others::Resolve, subject(Method::DELETE, "/new"), 404, Some("JobNotFound"), None),
        ] {
            let settings = EchoSettings { creates, others };
            assert_eq!(settings.resolution(&subject, status(code), fault), want, "{} {code} {fault:?}", subject.name());
        }
    }

    #[test]
    fn only_a_bearer_token_can_ask_something_else() {
        for (value, want) in
            [("Bearer x", true), ("bearer x", true), ("SharedKey a:b", false), ("BearerX y", false), ("", false)]
        {
            let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(is_bearer(&headers), want, "{value}");
        }
        assert!(!is_bearer(&HeaderMap::new()));
    }
}
