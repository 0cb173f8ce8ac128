//! One layer of text becomes assignments of known keys; everything in it that is no key becomes a problem.
//!
//! Merging the layers is the `config` library's work: each assignment is one of its sources, and each value carries its
//! origin. Whether a value suits its key is judged after merging, in `reader` and `sections`.

use std::borrow::Cow;

use ::config::{Map, Source, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Flag;
use super::effective::{resolve_key, shown};
use super::error::{ConfigError, Problem};
use super::keys::{self, Name, RESOLVE};

/// What one layer says.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) assignments: Vec<Assignment>,
    pub(super) problems: Vec<Problem>,
}

/// A value for a known key. Tables are merged into what earlier layers said, all else replaces it.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    key: &'static str,
    value: Value,
}

/// Names the place of a byte offset.
type Place<'a> = &'a dyn Fn(usize) -> String;

// === impl Assignment ===

impl Source for Assignment {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        // The library reads the name as a path. Known keys are plain; the hosts in `upstream.resolve`, which are not, lie
        // inside the value, where names are taken as they are.
        Ok(Map::from([(self.key.to_owned(), self.value.clone())]))
    }
}

// === impl Layer ===

impl Layer {
    /// A file's text; `file` is what errors call it.
    pub(super) fn document(text: &str, file: &str) -> Result<Self, ConfigError> {
        Self::parse(text, file, &|offset| format!("{file} line {}", line_at(text.as_bytes(), offset)))
    }

    /// The built-in defaults, whose origin has no line: nobody can edit it.
    pub(super) fn defaults(text: &str) -> Result<Self, ConfigError> {
        Self::parse(text, "default", &|_| "default".to_owned())
    }

    /// Variables such as `BATCH_RETRY_PROXY__RETRY__BACKOFF__INITIAL`. Others, also those Kubernetes makes for a service called
    /// `batch-retry-proxy`, have no double underscore after the name and are passed over.
    pub(super) fn environment(variables: &[(String, String)]) -> Self {
        let mut layer = Self::default();
        for (name, text) in variables {
            let Some(path) = name.strip_prefix(ENV_PREFIX) else { continue };
            let path: Vec<String> = path.split("__").map(str::to_lowercase).collect();
            layer.add_table("", &nest(&path, value_of(text)), &|_| name.clone());
        }
        layer
    }

    /// The arguments of `--set`.
    pub(super) fn set(arguments: &[String]) -> Self {
        let mut layer = Self::default();
        let place: Place<'_> = &|_| "--set".to_owned();
        for argument in arguments {
            let (key, text) = argument.split_once('=').unwrap_or((argument, ""));
            let path = key_path(key.trim()).unwrap_or_else(|| vec![key.to_owned()]);
            layer.add_table("", &nest(&path, value_of(text.trim())), place);
        }
        layer
    }

    /// Flags, whose values are plain text.
    pub(super) fn flags(flags: &[Flag]) -> Self {
        let mut layer = Self::default();
        for flag in flags {
            let path: Vec<String> = flag.key.split('.').map(str::to_owned).collect();
            layer.add_table("", &nest(&path, DeValue::String(Cow::Borrowed(&flag.value))), &|_| flag.name.to_owned());
        }
        layer
    }

    fn parse(text: &str, file: &str, place: Place<'_>) -> Result<Self, ConfigError> {
        let document = DeTable::parse(text).map_err(|err| ConfigError::Syntax {
            file: file.to_owned(),
            line: line_at(text.as_bytes(), err.span().map_or(0, |span| span.start)),
            message: err.message().trim().replace('\n', ", "),
        })?;
        let mut layer = Self::default();
        layer.add_table("", document.get_ref(), place);
        Ok(layer)
    }

    fn add_table(&mut self, front: &str, table: &DeTable<'_>, place: Place<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        // Problems are reported in the order in which a reader of the file meets them.
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let dotted = if front.is_empty() { name.get_ref().to_string() } else { format!("{front}.{}", name.get_ref()) };
            self.add(&dotted, name.span().start, value, place);
        }
    }

    fn add(&mut self, dotted: &str, offset: usize, value: &Spanned<DeValue<'_>>, place: Place<'_>) {
        match (Name::of(dotted), value.get_ref()) {
            (Name::Key(key), DeValue::Table(_)) if key != RESOLVE => {
                self.wrong(dotted, value, place(offset), "it takes one value, not a table");
            }
            (Name::Key(key), _) => {
                let value = if key == RESOLVE { self.lower_names(value, place) } else { convert(value, place) };
                self.assignments.push(Assignment { key, value });
            }
            (Name::Section, DeValue::Table(table)) => self.add_table(dotted, table, place),
            (Name::Section, _) => self.wrong(dotted, value, place(offset), "it is a section, name the key inside it"),
            (Name::Unknown, DeValue::Table(table)) if !table.is_empty() => self.add_table(dotted, table, place),
            (Name::Unknown, _) => self.problems.push(Problem::UnknownKey {
                key: dotted.to_owned(),
                place: place(offset),
                nearest: keys::nearest(dotted),
            }),
        }
    }

    /// The value of `upstream.resolve` with its hosts in lower case, so that an entry replaces the same host of earlier layers.
    fn lower_names(&mut self, value: &Spanned<DeValue<'_>>, place: Place<'_>) -> Value {
        let DeValue::Table(table) = value.get_ref() else { return convert(value, place) };
        let mut entries = Map::new();
        for (name, address) in table {
            let host = name.get_ref().to_ascii_lowercase();
            if entries.insert(host.clone(), convert(address, place)).is_some() {
                let dotted = resolve_key(&host);
                self.wrong(&dotted, address, place(name.span().start), "given twice, upper and lower case are the same");
            }
        }
        Value::new(None, entries)
    }

    fn wrong(&mut self, key: &str, value: &Spanned<DeValue<'_>>, place: String, reason: &str) {
        let found = shown(key, &convert(value, &|_| String::new()));
        self.problems.push(Problem::WrongValue { key: key.to_owned(), found, place, reason: reason.to_owned() });
    }
}

/// The line of a byte offset, from 1.
pub(super) fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// TOML where the text is TOML, the text itself otherwise: `[1, 2]`, `5` and `"40s"` as well as `40s`.
fn value_of(text: &str) -> DeValue<'_> {
    DeValue::parse(text).map_or(DeValue::String(Cow::Borrowed(text)), Spanned::into_inner)
}

/// The parts of a TOML key such as `upstream.resolve."host:443"`; `None` where the text is no key.
fn key_path(text: &str) -> Option<Vec<String>> {
    if text.contains('\n') {
        return None;
    }
    let line = format!("{text} = 0");
    let document = DeTable::parse(&line).ok()?;
    let mut path = Vec::new();
    let mut table = document.get_ref();
    loop {
        let (name, value) = table.iter().next()?;
        path.push(name.get_ref().to_string());
        let DeValue::Table(inner) = value.get_ref() else { return Some(path) };
        table = inner;
    }
}

/// The document in which only the key at `path` is set.
fn nest<'a>(path: &'a [String], value: DeValue<'a>) -> DeTable<'a> {
    let (last, front) = path.split_last().expect("a split text has at least one part");
    let wrap = |name: &'a String, value| {
        let mut table = DeTable::new();
        table.insert(Spanned::new(0..0, Cow::Borrowed(name.as_str())), Spanned::new(0..0, value));
        table
    };
    front.iter().rev().fold(wrap(last, value), |inner, name| wrap(name, DeValue::Table(inner)))
}

fn convert(value: &Spanned<DeValue<'_>>, place: Place<'_>) -> Value {
    let kind = match value.get_ref() {
        DeValue::Array(items) => ValueKind::Array(items.iter().map(|item| convert(item, place)).collect()),
        DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
        DeValue::Datetime(date) => ValueKind::String(date.to_string()),
        DeValue::Float(number) => number.as_str().parse().map_or_else(|_| text(number), ValueKind::Float),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or_else(|_| text(number), ValueKind::I64)
        }
        DeValue::String(text) => ValueKind::String(text.to_string()),
        DeValue::Table(table) => {
            ValueKind::Table(table.iter().map(|(name, item)| (name.get_ref().to_string(), convert(item, place))).collect())
        }
    };
    Value::new(Some(&place(value.span().start)), kind)
}

/// A number that does not fit is kept as text, which no numeric key takes.
fn text(number: &impl ToString) -> ValueKind {
    ValueKind::String(number.to_string())
}

/// The front of every variable that sets a key.
pub const ENV_PREFIX: &str = "BATCH_RETRY_PROXY__";
