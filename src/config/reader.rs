//! Reads typed values out of the merged tree and remembers every problem on the way.
//!
//! What range a certain key takes is said in `sections`.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ::config::{Value, ValueKind};

use super::effective::{shown, to_toml};
use super::error::{ConfigError, Problem};
use super::unit;

/// The merged tree and what was found wrong in it so far.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    merged: &'a Value,
    problems: Vec<Problem>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(merged: &'a Value) -> Self {
        Self { merged, problems: Vec::new() }
    }

    /// The value of `key` as `parse` reads it; `None` once its fault is noted.
    pub(super) fn read<T>(&mut self, key: &str, parse: impl FnOnce(&ValueKind) -> Result<T, String>) -> Option<T> {
        self.judge(key, self.value(key), parse)
    }

    /// The list at `key`, each element as `parse` reads it.
    pub(super) fn list<T>(&mut self, key: &str, parse: impl Fn(&ValueKind) -> Result<T, String>) -> Option<Vec<T>> {
        let items = self.items(key)?;
        let parsed: Vec<_> =
            items.iter().enumerate().map(|(n, item)| self.judge(&format!("{key}[{n}]"), item, &parse)).collect();
        parsed.into_iter().collect()
    }

    /// The elements of the list at `key`.
    pub(super) fn items(&mut self, key: &str) -> Option<&'a [Value]> {
        let value = self.value(key);
        match &value.kind {
            ValueKind::Array(items) => Some(items),
            ValueKind::String(text) if text.starts_with('[') => {
                self.wrong(key, value, "not a TOML list, write it as [\"one\", \"two\"]".to_owned());
                None
            }
            _ => {
                self.wrong(key, value, format!("not a list, write it as [{}]", to_toml(value)));
                None
            }
        }
    }

    /// `value` as `parse` reads it, noted as the value of `key` when it is wrong.
    pub(super) fn judge<T>(
        &mut self,
        key: &str,
        value: &Value,
        parse: impl FnOnce(&ValueKind) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&value.kind) {
            Ok(parsed) => Some(parsed),
            Err(reason) => {
                self.wrong(key, value, reason);
                None
            }
        }
    }

    /// Notes that `value`, found at `key`, is wrong.
    pub(super) fn wrong(&mut self, key: &str, value: &Value, reason: String) {
        let problem = Problem::WrongValue { key: key.to_owned(), found: shown(key, value), place: place_of(value), reason };
        self.problems.push(problem);
    }

    /// Notes any other problem.
    pub(super) fn note(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The raw value of `key`.
    pub(super) fn value(&self, key: &str) -> &'a Value {
        lookup(self.merged, key)
    }

    /// What was read, or all that is wrong with it.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, ConfigError> {
        match read {
            Some(read) if self.problems.is_empty() => Ok(read),
            _ => Err(ConfigError::Invalid(self.problems)),
        }
    }
}

/// The value of a known key in the merged tree.
pub(super) fn lookup<'a>(merged: &'a Value, key: &str) -> &'a Value {
    key.split('.').fold(merged, |value, name| match &value.kind {
        ValueKind::Table(table) => table.get(name).expect("default.toml sets every known key"),
        _ => unreachable!("`layer` refuses values in the place of a section"),
    })
}

/// Where a value was given. A table loses its own origin in merging, so that of one of its entries stands for it.
pub(super) fn place_of(value: &Value) -> String {
    let inner = match &value.kind {
        ValueKind::Table(table) => table.values().find_map(Value::origin),
        _ => None,
    };
    value.origin().or(inner).unwrap_or("default").to_owned()
}

pub(super) fn text(kind: &ValueKind) -> Result<&str, String> {
    match kind {
        ValueKind::String(text) => Ok(text),
        _ => Err("not a text, put it in quotes".to_owned()),
    }
}

/// A text that is not empty.
pub(super) fn full_text(kind: &ValueKind) -> Result<&str, String> {
    text(kind).and_then(|text| if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text) })
}

/// A text that a type reads itself; `expected` is said where it cannot.
pub(super) fn parsed<T: FromStr>(kind: &ValueKind, expected: &str) -> Result<T, String> {
    text(kind).ok().and_then(|text| text.parse().ok()).ok_or_else(|| expected.to_owned())
}

pub(super) fn flag(kind: &ValueKind) -> Result<bool, String> {
    match kind {
        ValueKind::Boolean(flag) => Ok(*flag),
        _ => Err("must be true or false".to_owned()),
    }
}

/// A whole number within `range`.
pub(super) fn whole<T>(kind: &ValueKind, range: RangeInclusive<T>) -> Result<T, String>
where
    T: Copy + fmt::Display + PartialOrd + TryFrom<i64>,
{
    let number = if let ValueKind::I64(number) = kind { T::try_from(*number).ok() } else { None };
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
}

/// A number, whole or not.
pub(super) fn number(kind: &ValueKind) -> Result<f64, String> {
    match kind {
        ValueKind::Float(number) => Ok(*number),
        // Every number a key takes is small; a huge one is out of range whether rounded or not.
        ValueKind::I64(number) => Ok(*number as f64),
        _ => Err("not a number".to_owned()),
    }
}

/// A duration within `range`.
pub(super) fn duration(kind: &ValueKind, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = match kind {
        ValueKind::String(text) => unit::parse_duration(text)?,
        ValueKind::Float(_) | ValueKind::I64(_) => unit::parse_duration(&kind.to_string())?,
        _ => return Err(unit::NOT_A_DURATION.to_owned()),
    };
    if duration > *range.end() {
        return Err(format!("must be at most {}d", range.end().as_secs() / DAY.as_secs()));
    }
    if duration < *range.start() {
        return Err(format!("must be at least {}", humantime::format_duration(*range.start())));
    }
    Ok(duration)
}

/// A size in bytes.
pub(super) fn size(kind: &ValueKind) -> Result<u64, String> {
    match kind {
        ValueKind::String(text) => unit::parse_size(text),
        ValueKind::Float(_) | ValueKind::I64(_) => unit::parse_size(&kind.to_string()),
        _ => Err(unit::NOT_A_SIZE.to_owned()),
    }
}

/// A path; empty means none.
pub(super) fn optional_path(kind: &ValueKind) -> Result<Option<PathBuf>, String> {
    text(kind).map(|text| if text.is_empty() { None } else { Some(PathBuf::from(text)) })
}

/// One of a few words.
pub(super) fn word<T: Copy>(kind: &ValueKind, words: &[(&str, T)]) -> Result<T, String> {
    let found = text(kind).ok().and_then(|text| words.iter().find(|(word, _)| *word == text));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("must be one of {}", words.join(", "))
    })
}

/// For people days are the largest unit that is always as long.
pub(super) const DAY: Duration = Duration::from_secs(86_400);
