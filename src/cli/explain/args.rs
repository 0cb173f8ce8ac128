//! What `explain` is asked, read from its arguments.

use std::str::FromStr;

use clap::Args;
use http::{Method, Uri};

use crate::retry::outcome::Failure;

/// Arguments of `explain`.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct ExplainArgs {
    /// The HTTP method, such as POST
    #[arg(required_unless_present = "all", value_parser = method)]
    pub(super) method: Option<Method>,
    /// A path, a path with its query, or an https URL
    #[arg(required_unless_present = "all", value_parser = Target::from_str)]
    pub(super) target: Option<Target>,
    /// Print the table of all operations and outcomes as Markdown
    #[arg(long, conflicts_with_all = ["method", "target", "status", "failure", "api_version", "user_agent"])]
    pub(super) all: bool,
    /// Explain this answer only, step by step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(200..=599))]
    pub(super) status: Option<u16>,
    /// The code in the body of that answer, such as ServerBusy
    #[arg(long, value_name = "CODE", requires = "status")]
    pub(super) code: Option<String>,
    /// The Retry-After of that answer
    #[arg(long, value_name = "VALUE", requires = "status", allow_hyphen_values = true)]
    pub(super) retry_after: Option<String>,
    /// Explain this failure to get an answer only, step by step
    #[arg(long, value_name = "NAME", conflicts_with = "status", value_parser = failure)]
    pub(super) failure: Option<Failure>,
    /// The API version of the request, if its query does not tell
    #[arg(long, value_name = "VERSION", value_parser = api_version)]
    pub(super) api_version: Option<String>,
    /// The User-Agent of the client, which may have a deadline of its own (retry.deadline_for)
    #[arg(long, value_name = "TEXT")]
    pub(super) user_agent: Option<String>,
}

/// Where the request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The host of a URL, without port and brackets.
    pub(super) host: Option<String>,
    /// The raw path.
    pub(super) path: String,
    /// The raw query, without its question mark.
    pub(super) query: String,
}

// === impl Target ===

impl Target {
    /// The value of `api-version`.
    pub(super) fn api_version(&self) -> Option<&str> {
        self.query.split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            (name.eq_ignore_ascii_case("api-version") && api_version(value).is_ok()).then_some(value)
        })
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hint = "write it as /jobs/j1, /jobs?api-version=2025-06-01 or https://account.region.batch.azure.com/jobs";
        let uri: Uri = text.parse().map_err(|error| format!("{error}; {hint}"))?;
        let host = match (uri.scheme_str(), uri.host()) {
            (None, None) => None,
            (Some("https"), Some(host)) => Some(host.trim_matches(['[', ']']).to_ascii_lowercase()),
            (Some("http"), _) => return Err("plain http is never opened nor replayed; Batch is reached by https".to_owned()),
            _ => return Err(hint.to_owned()),
        };
        if !uri.path().starts_with('/') {
            return Err(hint.to_owned());
        }
        Ok(Self { host, path: uri.path().to_owned(), query: uri.query().unwrap_or_default().to_owned() })
    }
}

fn method(text: &str) -> Result<Method, String> {
    // Methods are case-sensitive, but no one who types one in small letters means another.
    text.to_ascii_uppercase().parse().map_err(|_| "not an HTTP method".to_owned())
}

fn failure(text: &str) -> Result<Failure, String> {
    let known = || Failure::ALL.iter().copied();
    known().find(|failure| failure.as_str() == text).ok_or_else(|| {
        let names: Vec<&str> = known().map(Failure::as_str).collect();
        format!("there is no such failure; the names are {}", names.join(", "))
    })
}

fn api_version(text: &str) -> Result<String, String> {
    let shape = "dddd-dd-dd";
    let fits = |(byte, want): (u8, u8)| if want == b'd' { byte.is_ascii_digit() } else { byte == want };
    let dated = text.len() >= shape.len() && text.bytes().zip(shape.bytes()).all(fits);
    if dated { Ok(text.to_owned()) } else { Err("it begins with a date, as 2025-06-01 or 2024-07-01.20.0 do".to_owned()) }
}
