//! The settings in force, as text with their origin: what `config show` prints.

use std::fmt;

use ::config::{Value, ValueKind};
use serde_json::{Value as Json, json};

use super::keys::{KEYS, RESOLVE, SECRETS};
use super::reader;

/// The value and origin of each key, in the order of `config/default.toml`. Its text is TOML that gives the same settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// One entry for each key; `upstream.resolve` has one for each host.
    pub entries: Vec<EffectiveEntry>,
}

/// One setting in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveEntry {
    /// Dotted, as TOML.
    pub key: String,
    /// As TOML, in one line; secrets hidden.
    pub value: String,
    /// `default`, file and line, variable, or flag.
    pub origin: String,
}

/// Whether a value may be read by whoever reads the output.
#[derive(Clone, Copy, Debug)]
enum Shown {
    Hidden,
    Plain,
}

// === impl Shown ===

impl Shown {
    fn of(key: &str) -> Self {
        if SECRETS.contains(&key) { Self::Hidden } else { Self::Plain }
    }
}

// === impl Effective ===

impl Effective {
    /// Lists the merged layers.
    pub(super) fn of(merged: &Value) -> Self {
        let mut entries = Vec::new();
        for key in KEYS {
            let value = reader::lookup(merged, key);
            match &value.kind {
                ValueKind::Table(table) if key == RESOLVE && !table.is_empty() => {
                    let mut hosts: Vec<_> = table.iter().collect();
                    hosts.sort_by_key(|(host, _)| *host);
                    entries.extend(
                        hosts
                            .into_iter()
                            .map(|(host, address)| EffectiveEntry::new(resolve_key(host), address, Shown::Plain)),
                    );
                }
                _ => {
                    entries.push(EffectiveEntry::new(key.to_owned(), value, Shown::of(key)));
                }
            }
        }
        Self { entries }
    }

    /// Whether nothing but the built-in defaults gives `key` its value.
    pub fn is_default(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key && entry.origin == "default")
    }

    /// One JSON object: each key with its value, as TOML text, and its origin.
    pub fn to_json(&self) -> String {
        let entry = |entry: &EffectiveEntry| (entry.key.clone(), json!({ "value": entry.value, "origin": entry.origin }));
        Json::Object(self.entries.iter().map(entry).collect()).to_string()
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

// === impl EffectiveEntry ===

impl EffectiveEntry {
    fn new(key: String, value: &Value, shown: Shown) -> Self {
        let text = match shown {
            // That there is none is no secret.
            Shown::Hidden if to_toml(value) != quoted("") => quoted("(hidden)"),
            Shown::Hidden | Shown::Plain => to_toml(value),
        };
        Self { key, value: text, origin: value.origin().unwrap_or("default").to_owned() }
    }
}

impl fmt::Display for EffectiveEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}   # {}", self.key, self.value, self.origin)
    }
}

/// The key of one entry of `upstream.resolve`, as TOML: the host stands in quotes.
pub(super) fn resolve_key(host: &str) -> String {
    format!("{RESOLVE}.{}", quoted(host))
}

/// A value of `key` as an error shows it.
pub(super) fn shown(key: &str, value: &Value) -> String {
    match Shown::of(key) {
        Shown::Hidden => "(hidden)".to_owned(),
        Shown::Plain => to_toml(value),
    }
}

/// A value as TOML, in one line: the `toml` library would spread a text with line breaks over several.
pub(super) fn to_toml(value: &Value) -> String {
    match &value.kind {
        ValueKind::Array(items) => format!("[{}]", items.iter().map(to_toml).collect::<Vec<_>>().join(", ")),
        ValueKind::Boolean(flag) => flag.to_string(),
        ValueKind::Float(number) => toml::Value::from(*number).to_string(),
        ValueKind::I64(number) => number.to_string(),
        ValueKind::Table(table) if table.is_empty() => "{}".to_owned(),
        ValueKind::Table(table) => {
            let mut entries: Vec<_> =
                table.iter().map(|(name, item)| format!("{} = {}", bare(name), to_toml(item))).collect();
            entries.sort();
            format!("{{ {} }}", entries.join(", "))
        }
        // `layer` makes no other kinds.
        other => quoted(&other.to_string()),
    }
}

fn bare(name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if is_bare { name.to_owned() } else { quoted(name) }
}

/// A basic string: quotes, backslashes and control characters are escaped.
fn quoted(text: &str) -> String {
    let mut toml = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => toml.extend(['\\', c]),
            '\n' => toml.push_str("\\n"),
            '\t' => toml.push_str("\\t"),
            c if c.is_control() => toml.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => toml.push(c),
        }
    }
    toml.push('"');
    toml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_line_of_toml_whatever_it_holds() {
        for text in ["plain", "a\nb", "a\"b", "a\\b", "a'b", "\u{1b}[31m", "'''\"\"\"\n", ""] {
            let toml = to_toml(&Value::from(text));
            assert_eq!(toml.lines().count(), 1, "{toml}");
            assert!(!toml.contains('\u{1b}'), "{toml:?}");
            let read: toml::Table = format!("x = {toml}").parse().unwrap();
            assert_eq!(read["x"].as_str(), Some(text));
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let origin = "--set".to_owned();
        let entry = EffectiveEntry::new("key".to_owned(), &Value::new(Some(&origin), "hunter2"), Shown::Hidden);
        assert_eq!(entry.to_string(), "key = \"(hidden)\"   # --set");
    }
}
