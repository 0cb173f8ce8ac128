//! Scenarios: which faults the account deals, read from TOML.
//!
//! The built-in ones are the files of `config/scenarios/`; `docs/scenarios.md` explains the format. Sorts of operation are in `class`,
//! dealing is [`super::faults`]' task.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use self::class::Class;
use super::hint::HintForm;
use super::limit::Limit;
use super::traits::Traits;
use crate::batch::operation::{Idempotency, Operation, OperationTable};

mod class;

/// What goes wrong, how often and where.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// One sentence for the user.
    pub description: String,
    /// How many requests the account takes.
    pub(super) limit: Option<Limit>,
    /// What the account is like besides.
    #[serde(default)]
    pub(super) account: Traits,
    /// The settings, as `--set` takes them, with which the proxy gets a program through it; `demo` uses them.
    #[serde(default)]
    pub settings: Vec<String>,
    #[serde(default, rename = "fault")]
    pub(super) rules: Vec<Rule>,
}

/// One sort of fault.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) kind: FaultKind,
    /// Operation names and classes.
    pub(super) on: Vec<String>,
    /// Every how many matching requests it begins.
    pub(super) every: Option<u32>,
    /// The chance that it begins with a matching request.
    pub(super) probability: Option<f64>,
    /// How many matching requests in a row it strikes.
    #[serde(default = "once")]
    pub(super) burst: u32,
    /// How long a throttle window stays closed.
    #[serde(default, rename = "for", with = "duration")]
    pub(super) window: Option<Duration>,
    /// How the refusals of a throttle window name the wait.
    pub(super) hint: Option<HintForm>,
    /// How long after a window's first refusal nobody is taken to know of it.
    #[serde(default, with = "duration")]
    pub(super) allowance: Option<Duration>,
    /// How long a stalled or slow connection says nothing.
    #[serde(default, with = "duration")]
    pub(super) hold: Option<Duration>,
    /// The status of a refusal.
    pub(super) status: Option<u16>,
    /// What a refusal names as wait; a throttle window names its own rest.
    #[serde(default, with = "duration")]
    pub(super) retry_after: Option<Duration>,
}

/// The sorts of fault.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FaultKind {
    Refuse,
    RefuseAfterWork,
    ResetAfterWork,
    ResetBeforeWork,
    Slow,
    Stall,
    Throttle,
    Truncate,
}

/// Why a scenario cannot be used.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// A fault of the file that its syntax allows.
    #[error("scenario {name}: fault {number}: {reason}")]
    Fault {
        /// The scenario's name.
        name: String,
        /// Which of its faults, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Numbers that are no limit.
    #[error("scenario {name}: limit: {reason}")]
    Limit {
        /// The scenario's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is no scenario in TOML.
    #[error("scenario {origin}: {source}")]
    Parse {
        /// The file or the built-in name.
        origin: String,
        /// What the parser says.
        source: Box<toml::de::Error>,
    },
    /// The file cannot be read.
    #[error("scenario file {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// No built-in scenario has this name, and it is no file.
    #[error("scenario {name} is neither a file nor one of {}", NAMES.join(", "))]
    Unknown {
        /// The name as given.
        name: String,
    },
}

// === impl Scenario ===

impl Scenario {
    /// The built-in scenario of this name, or the one in the file of this path.
    ///
    /// # Errors
    /// [`ScenarioError`] where there is none or it cannot be used.
    pub fn load(name_or_path: &str) -> Result<Self, ScenarioError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(name, text);
        }
        if !Path::new(name_or_path).exists() {
            return Err(ScenarioError::Unknown { name: name_or_path.to_owned() });
        }
        let text = std::fs::read_to_string(name_or_path)
            .map_err(|source| ScenarioError::Read { path: name_or_path.to_owned(), source })?;
        Self::parse(name_or_path, &text)
    }

    /// A scenario from its text; `origin` is what errors call it.
    ///
    /// # Errors
    /// [`ScenarioError`] where the text is no scenario.
    pub fn parse(origin: &str, text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)
            .map_err(|source| ScenarioError::Parse { origin: origin.to_owned(), source: Box::new(source) })?;
        let scenario = scenario.with_limit_checked()?;
        for (index, rule) in scenario.rules.iter().enumerate() {
            rule.check().map_err(|reason| ScenarioError::Fault {
                name: scenario.name.clone(),
                number: index + 1,
                reason,
            })?;
        }
        Ok(scenario)
    }

    /// The account in good health.
    pub fn calm() -> Self {
        Self { name: "calm".to_owned(), description: "Nothing goes wrong.".to_owned(), ..Self::default() }
    }

    /// The same for an account that takes this many requests a second, whatever its limit was.
    ///
    /// # Errors
    /// [`ScenarioError`] where the number is no limit.
    pub fn limited_to(self, per_second: f64) -> Result<Self, ScenarioError> {
        Self { limit: Some(Limit::of(per_second)), ..self }.with_limit_checked()
    }

    fn with_limit_checked(self) -> Result<Self, ScenarioError> {
        match self.limit.map(|limit| limit.check()) {
            Some(Err(reason)) => Err(ScenarioError::Limit { name: self.name, reason }),
            Some(Ok(())) | None => Ok(self),
        }
    }

    /// The names of the built-in scenarios.
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }
}

// === impl Rule ===

impl Rule {
    fn check(&self) -> Result<(), String> {
        match (self.every, self.probability) {
            (Some(1..), None) => {}
            (None, Some(chance)) if chance > 0.0 && chance <= 1.0 => {}
            _ => return Err("say either every = N, from 1, or probability = P, above 0 and up to 1".to_owned()),
        }
        if self.burst == 0 {
            return Err("burst begins at 1".to_owned());
        }
        if self.on.is_empty() {
            return Err("on names nothing".to_owned());
        }
        let known =
            |name: &str| Class::named(name).is_some() || OperationTable::all().any(|operation| operation.name == name);
        if let Some(name) = self.on.iter().find(|name| !known(name)) {
            return Err(format!("on: {name} is neither an operation nor one of {}", Class::NAMES.join(", ")));
        }
        for (key, given, wanted) in [
            ("for", self.window.is_some(), self.kind == FaultKind::Throttle),
            ("hold", self.hold.is_some(), matches!(self.kind, FaultKind::Slow | FaultKind::Stall)),
            ("status", self.status.is_some(), self.kind.is_refusal()),
        ] {
            match (given, wanted) {
                (true, false) => return Err(format!("{key} does not belong to this kind")),
                (false, true) => return Err(format!("{key} is missing")),
                _ => {}
            }
        }
        if self.retry_after.is_some() && !self.kind.is_refusal() {
            return Err("retry_after does not belong to this kind".to_owned());
        }
        if self.burst > 1 && self.kind == FaultKind::Throttle {
            return Err("burst does not belong to this kind".to_owned());
        }
        for (key, given) in [("hint", self.hint.is_some()), ("allowance", self.allowance.is_some())] {
            if given && self.kind != FaultKind::Throttle {
                return Err(format!("{key} does not belong to this kind"));
            }
        }
        if self.status.is_some_and(|status| !REFUSALS.contains(&status)) {
            return Err("status is one of 429, 500 and 503".to_owned());
        }
        Ok(())
    }

    /// Whether it may strike this operation. What loses work already done spares those that must not be executed twice unless `on` names
    /// them: nobody, a proxy or not, can tell afterwards whether to ask for them again.
    pub(super) fn strikes(&self, operation: &Operation) -> bool {
        let spared = self.kind.loses_work() && operation.idempotency == Idempotency::NonIdempotent;
        self.on.iter().any(|name| match Class::named(name) {
            Some(class) => !spared && class.holds(operation),
            None => name == operation.name,
        })
    }
}

// === impl FaultKind ===

impl FaultKind {
    /// Whether it answers with an error.
    const fn is_refusal(self) -> bool {
        matches!(self, Self::Refuse | Self::RefuseAfterWork)
    }

    /// Whether the work is done and its answer withheld.
    const fn loses_work(self) -> bool {
        matches!(self, Self::RefuseAfterWork | Self::ResetAfterWork | Self::Truncate)
    }

    /// What it is called in scenarios and counts.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::RefuseAfterWork => "refuse-after-work",
            Self::ResetAfterWork => "reset-after-work",
            Self::ResetBeforeWork => "reset-before-work",
            Self::Slow => "slow",
            Self::Stall => "stall",
            Self::Throttle => "throttle",
            Self::Truncate => "truncate",
        }
    }
}

const fn once() -> u32 {
    1
}

/// Durations in words, such as `1s 500ms`.
pub(super) mod duration {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer};

    pub(in crate::simulator) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map(Some).map_err(|error| D::Error::custom(format!("{text}: {error}")))
    }
}

/// The statuses that a refusal may have.
const REFUSALS: [u16; 3] = [429, 500, 503];

const NAMES: [&str; 16] = [
    "brownout",
    "calm",
    "crowded",
    "errors",
    "flaps",
    "lost-creates",
    "lost-writes",
    "mixed",
    "quota",
    "read-lag",
    "refusals",
    "resets",
    "slow-deletes",
    "stalls",
    "throttle",
    "truncated",
];

const BUILT_IN: [(&str, &str); 16] = [
    ("brownout", include_str!("../../config/scenarios/brownout.toml")),
    ("calm", include_str!("../../config/scenarios/calm.toml")),
    ("crowded", include_str!("../../config/scenarios/crowded.toml")),
    ("errors", include_str!("../../config/scenarios/errors.toml")),
    ("flaps", include_str!("../../config/scenarios/flaps.toml")),
    ("lost-creates", include_str!("../../config/scenarios/lost-creates.toml")),
    ("lost-writes", include_str!("../../config/scenarios/lost-writes.toml")),
    ("mixed", include_str!("../../config/scenarios/mixed.toml")),
    ("quota", include_str!("../../config/scenarios/quota.toml")),
    ("read-lag", include_str!("../../config/scenarios/read-lag.toml")),
    ("refusals", include_str!("../../config/scenarios/refusals.toml")),
    ("resets", include_str!("../../config/scenarios/resets.toml")),
    ("slow-deletes", include_str!("../../config/scenarios/slow-deletes.toml")),
    ("stalls", include_str!("../../config/scenarios/stalls.toml")),
    ("throttle", include_str!("../../config/scenarios/throttle.toml")),
    ("truncated", include_str!("../../config/scenarios/truncated.toml")),
];

#[cfg(test)]
mod tests;
