//! `explain`: what the proxy would decide about a request, and why.
//!
//! The decisions are asked of [`crate::retry::explain`], under the settings in force. Here arguments become an enquiry and its answers
//! become text: `words` has the sentences, `overview` and `steps` what is told of one request, `table` the page of all operations.

use std::time::{Duration, Instant, SystemTime};

use http::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};

use super::{Failure, print};
use crate::config::Settings;
use crate::retry::explain::{Case, Enquiry};
use crate::retry::policy::{RetryPolicy, server_timeout};
use crate::retry::retry_after;
use crate::retry::subject::Subject;

mod args;
mod overview;
mod steps;
mod table;
mod words;

pub(super) use args::ExplainArgs;
use args::Target;

/// Prints what is asked.
pub(super) fn run(settings: &Settings, args: &ExplainArgs) -> Result<(), Failure> {
    let policy = RetryPolicy::new(settings.retry.clone());
    let text = match (&args.method, &args.target) {
        (Some(method), Some(target)) => request(settings, &policy, args, method, target),
        // The parser lets only `--all` do without them.
        _ => table::page(&Asking { settings, policy: &policy }),
    };
    print(text.as_bytes())
}

/// Whom to ask: the rules, and the settings they do not tell.
#[derive(Clone, Copy)]
struct Asking<'s> {
    settings: &'s Settings,
    policy: &'s RetryPolicy,
}

// === impl Asking ===

impl<'s> Asking<'s> {
    /// An enquiry about a request of a client that is not known to be patient.
    fn about(&self, subject: Subject) -> Enquiry<'s> {
        Enquiry {
            policy: self.policy,
            subject,
            deadline: self.settings.retry.deadline,
            connect_timeout: self.settings.upstream.connect_timeout,
            server_timeout: None,
            now: Instant::now(),
        }
    }
}

fn request(settings: &Settings, policy: &RetryPolicy, args: &ExplainArgs, method: &Method, target: &Target) -> String {
    let subject = Subject::of(method, &target.path);
    let user_agent = args.user_agent.as_deref().unwrap_or_default();
    let enquiry = Enquiry {
        deadline: policy.deadline_for(user_agent),
        server_timeout: server_timeout(&target.query),
        ..Asking { settings, policy }.about(subject)
    };
    let api_version = args.api_version.as_deref().or_else(|| target.api_version());
    let mut text = overview::head(settings, &enquiry, method, target, api_version);
    let hint = args.retry_after.as_deref().map(|value| (value, hint(value)));
    if let Some((value, None)) = hint {
        text += &format!(
            "Retry-After  `{value}` names no wait (neither seconds above 0 nor a date to come), so it counts as absent\n"
        );
    }
    let answered = |status| Case::answered(status, hint.and_then(|(_, hint)| hint), args.code.as_deref());
    let status = args.status.and_then(|status| StatusCode::from_u16(status).ok());
    match args.failure.map(Case::failed).or_else(|| status.map(answered)) {
        Some(case) => text += &steps::explain(settings, &enquiry, &case),
        None => text += &overview::outcomes(&enquiry),
    }
    text
}

/// The wait that a `Retry-After` of this value names, as the proxy reads it.
fn hint(value: &str) -> Option<Duration> {
    let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(value).ok()?)]);
    retry_after::hint(&headers, SystemTime::now())
}

#[cfg(test)]
mod tests;
