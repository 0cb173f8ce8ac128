//! The checks as a table for people or one object for machines. Nothing secret of the environment is in either.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::check::{Advice, Check, Section, Status};

/// All that was looked at.
#[derive(Clone, Debug)]
pub(super) struct Report {
    sections: Vec<Section>,
}

/// Values of the environment that are never shown.
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<String>);

/// Whether words have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Coloured,
    Plain,
}

// === impl Report ===

impl Report {
    /// The report on these, with `secrets` taken out, and with `program` as the name of this program in lines to paste.
    pub(super) fn new(mut sections: Vec<Section>, secrets: &Secrets, program: &str) -> Self {
        for check in sections.iter_mut().flat_map(|section| &mut section.checks) {
            for line in check.advice.iter_mut().flat_map(|advice| &mut advice.lines) {
                if let Some(rest) = line.strip_prefix("batch-retry-proxy") {
                    *line = format!("{program}{rest}");
                }
            }
            let advice =
                check.advice.iter_mut().flat_map(|advice| std::iter::once(&mut advice.text).chain(&mut advice.lines));
            for text in [&mut check.name, &mut check.finding].into_iter().chain(advice) {
                *text = secrets.hide(text);
            }
        }
        Self { sections }
    }

    /// Whether nothing failed.
    pub(super) fn passed(&self) -> bool {
        self.count(Status::Fail) == 0
    }

    /// One object for machines.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "passed": self.passed(),
            "failed": self.count(Status::Fail),
            "warnings": self.count(Status::Warn),
            "sections": self.sections,
        })
    }

    /// The table, what to do, and the verdict.
    pub(super) fn to_text(&self, paint: Paint) -> String {
        let width = self.checks().map(|check| check.name.chars().count()).max().unwrap_or_default();
        let mut text = String::new();
        for section in &self.sections {
            let _ = writeln!(text, "{}", paint.bold(section.title));
            for Check { name, status, finding, .. } in &section.checks {
                let _ = writeln!(text, "  {}  {name:width$}  {finding}", paint.status(*status));
            }
            text.push('\n');
        }
        let advice = self.advice();
        if !advice.is_empty() {
            let _ = writeln!(text, "{}", paint.bold("What to do"));
            for (number, (name, advice)) in advice.iter().enumerate() {
                let _ = writeln!(text, "  {}. {name}: {}", number + 1, advice.text);
                for line in &advice.lines {
                    let _ = writeln!(text, "       {line}");
                }
            }
            text.push('\n');
        }
        let count = |count: usize, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
        let warnings = count(self.count(Status::Warn), "warning", "warnings");
        let _ = match self.count(Status::Fail) {
            0 => writeln!(text, "Nothing failed, {warnings}."),
            failed => writeln!(text, "{} failed, {warnings}.", count(failed, "check", "checks")),
        };
        text
    }

    fn checks(&self) -> impl Iterator<Item = &Check> {
        self.sections.iter().flat_map(|section| &section.checks)
    }

    fn count(&self, status: Status) -> usize {
        self.checks().filter(|check| check.status == status).count()
    }

    /// With the checks they belong to: failures first, and the same said once.
    fn advice(&self) -> Vec<(String, &Advice)> {
        let mut all: Vec<(String, &Advice)> = Vec::new();
        let mut checks: Vec<&Check> = self.checks().collect();
        checks.sort_by_key(|check| check.status != Status::Fail);
        for check in checks {
            let Some(advice) = &check.advice else { continue };
            match all.iter_mut().find(|(_, known)| *known == advice) {
                Some((names, _)) => {
                    let _ = write!(names, "; {}", check.name);
                }
                None => all.push((check.name.clone(), advice)),
            }
        }
        all
    }
}

// === impl Secrets ===

impl Secrets {
    /// The values of variables whose names tell that they are secret, and passwords in addresses.
    pub(super) fn of(environment: impl Iterator<Item = (String, String)>) -> Self {
        let mut secrets = Vec::new();
        for (name, value) in environment {
            let name = name.to_ascii_uppercase();
            // What is short would be taken out of everything, and protects nothing.
            if value.len() >= SHORTEST && SECRET.iter().any(|word| name.contains(word)) {
                secrets.push(value.clone());
            }
            // With the scheme, such as `http://user:password@host`, and without.
            let parts = value.split("//").map(|part| part.split(['/', '?', '#', ' ', '"', '\'']).next().unwrap_or_default());
            for (user, _) in parts.filter_map(|authority| authority.rsplit_once('@')) {
                let password = user.split_once(':').map(|(_, password)| password.to_owned());
                secrets.extend(password.filter(|password| password.len() >= SHORTEST));
                secrets.push(format!("{user}@"));
            }
        }
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(secrets)
    }

    /// `text` without them, and without anything that moves a terminal's cursor.
    fn hide(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for secret in &self.0 {
            let mask = if secret.ends_with('@') { "***@" } else { "***" };
            shown = shown.replace(secret, mask);
        }
        shown.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

// === impl Paint ===

impl Paint {
    /// Colours are for terminals whose user has not refused them (`NO_COLOR`).
    pub(super) fn of_terminal(terminal: bool, refused: bool) -> Self {
        if terminal && !refused { Self::Coloured } else { Self::Plain }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// The word, as wide as the widest.
    fn status(self, status: Status) -> String {
        let colour = match status {
            Status::Fail => "31",
            Status::Ok => "32",
            Status::Skip => "2",
            Status::Warn => "33",
        };
        self.with(colour, &format!("{:4}", status.as_str()))
    }

    fn with(self, code: &str, text: &str) -> String {
        match self {
            Self::Coloured => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// Words in the names of variables that hold secrets.
const SECRET: [&str; 8] = ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "CONNECTION_STRING", "SAS"];

/// In bytes.
const SHORTEST: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn report(checks: Vec<Check>, secrets: &Secrets) -> Report {
        Report::new(vec![Section { title: "Things", checks }], secrets, "/opt/brp")
    }

    #[test]
    fn the_table_is_aligned_and_says_the_same_advice_once() {
        let set = |check: Check| check.advise("do this", ["batch-retry-proxy --publish p"]);
        let report = report(
            vec![
                set(Check::warn("short", "is so so")),
                Check::ok("a longer name", "is fine"),
                set(Check::fail("third", "is broken")),
            ],
            &Secrets::default(),
        );
        assert_eq!(
            report.to_text(Paint::Plain),
            "Things\n  warn  short          is so so\n  ok    a longer name  is fine\n  fail  third          is broken\n\n\
             What to do\n  1. third; short: do this\n       /opt/brp --publish p\n\n1 check failed, 1 warning.\n"
        );
        assert!(!report.passed());
        assert!(report.to_text(Paint::Coloured).contains("\u{1b}[31mfail\u{1b}[0m"));
    }

    #[test]
    fn secrets_of_the_environment_and_control_characters_are_not_shown() {
        let environment = [
            ("HTTPS_PROXY", "http://user:pass%40word@corp:8080/"),
            ("AZURE_BATCH_ACCESS_KEY", "c2VjcmV0"),
            ("PLAIN", "shown"),
            ("A_TOKEN", "1"),
        ];
        let secrets = Secrets::of(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let check = Check::ok("x", "http://user:pass%40word@corp:8080 c2VjcmV0 pass%40word shown 1\u{1b}[2J")
            .advise("y c2VjcmV0", ["z c2VjcmV0"]);
        let text = report(vec![check], &secrets).to_text(Paint::Plain);
        assert!(text.contains("http://***@corp:8080 *** *** shown 1 [2J"), "{text}");
        assert!(text.contains("y ***") && text.contains("z ***"), "{text}");
        assert_eq!(format!("{secrets:?}"), "3 secrets");
    }
}
