//! What was found, one check at a time, and what to do about it.

use serde::Serialize;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// A program behind the proxy will not work as it should.
    Fail,
    /// As it should be.
    Ok,
    /// Not looked at; the finding says why.
    Skip,
    /// Works, or works for some.
    Warn,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) status: Status,
    pub(super) finding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<Advice>,
}

/// What to do, and the lines to paste for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Advice {
    pub(super) text: String,
    pub(super) lines: Vec<String>,
}

/// Checks that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) checks: Vec<Check>,
}

// === impl Status ===

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Ok => "ok",
            Self::Skip => "skip",
            Self::Warn => "warn",
        }
    }
}

// === impl Check ===

impl Check {
    pub(super) fn fail(name: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(name, Status::Fail, finding)
    }

    pub(super) fn ok(name: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, finding)
    }

    pub(super) fn skip(name: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(name, Status::Skip, finding)
    }

    pub(super) fn warn(name: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(name, Status::Warn, finding)
    }

    pub(super) fn new(name: impl Into<String>, status: Status, finding: impl Into<String>) -> Self {
        Self { name: name.into(), status, finding: finding.into(), advice: None }
    }

    /// The same with what to do about it. Each of `lines` can be pasted as it is.
    pub(super) fn advise<L: Into<String>>(mut self, text: impl Into<String>, lines: impl IntoIterator<Item = L>) -> Self {
        self.advice = Some(Advice { text: text.into(), lines: lines.into_iter().map(Into::into).collect() });
        self
    }
}
