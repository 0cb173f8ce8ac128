//! What can be wrong with a configuration, in one line per fault.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why there are no settings.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Unknown keys and wrong values, all that were found; the text has one line for each.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
    /// The file is not text.
    #[error("{} line {line}: not UTF-8 text", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first line that is not UTF-8, from 1.
        line: usize,
    },
    /// The file is not TOML.
    #[error("{file} line {line}: {message}")]
    Syntax {
        /// The file as it was named.
        file: String,
        /// Where it stops being TOML, from 1.
        line: usize,
        /// What the parser missed or met.
        message: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A variable of ours whose value is not UTF-8.
    #[error("{variable}: not UTF-8 text")]
    VariableNotUtf8 {
        /// The variable's name.
        variable: String,
    },
}

/// One fault in one value or key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A key that means nothing.
    UnknownKey {
        /// The key as given, dotted.
        key: String,
        /// File and line, variable, or flag.
        place: String,
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// A value its key cannot take.
    WrongValue {
        /// The key, dotted; an element of a list has its index from 0.
        key: String,
        /// What was found, as TOML.
        found: String,
        /// File and line, variable, or flag.
        place: String,
        /// What is wrong and what is expected.
        reason: String,
    },
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key, place, nearest: Some(nearest) } => {
                write!(f, "unknown key `{}` ({place}), did you mean `{nearest}`?", key.escape_debug())
            }
            Self::UnknownKey { key, place, nearest: None } => {
                write!(f, "unknown key `{}` ({place}), `config show` lists all", key.escape_debug())
            }
            Self::WrongValue { key, found, place, reason } => {
                write!(f, "`{}` = {found} ({place}): {reason}", key)
            }
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
