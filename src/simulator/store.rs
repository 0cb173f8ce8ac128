//! Resources by id: kept under their ids in lower case, changing state by the clock they are given, listed page by page.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value};

/// Something that has an id and states: a pool, a job, a schedule, a task or a node.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    /// The id as it was first written.
    pub(super) id: String,
    /// What the client gave, and what the account adds to it.
    pub(super) fields: Map<String, Value>,
    /// Grows with each change; the ETag is made of it.
    pub(super) version: u64,
    pub(super) created: SystemTime,
    pub(super) modified: SystemTime,
    /// The states it enters and when, the earliest first.
    course: Vec<(SystemTime, State)>,
}

/// Where a resource is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Deleted at last.
    Gone,
    /// The state of this name.
    Named(&'static str),
}

/// Resources of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    entries: BTreeMap<String, Resource>,
}

/// Some of a shelf's resources.
pub(super) struct Page<'a> {
    pub(super) resources: Vec<&'a Resource>,
    /// After which the next page begins, where there is one.
    pub(super) next: Option<String>,
}

// === impl Resource ===

impl Resource {
    pub(super) fn new(id: &str, fields: Map<String, Value>, version: u64, state: &'static str, now: SystemTime) -> Self {
        let course = vec![(now, State::Named(state))];
        Self { id: id.to_owned(), fields, version, created: now, modified: now, course }
    }

    /// Enters one state now and others later, whatever was planned before.
    pub(super) fn enter(&mut self, now: SystemTime, state: &'static str, later: &[(SystemTime, State)]) {
        self.course = vec![(now, State::Named(state))];
        self.course.extend_from_slice(later);
    }

    /// The state it is in, by name; the empty one where it is gone.
    pub(super) fn state(&self, now: SystemTime) -> &'static str {
        match self.step(now).1 {
            State::Gone => "",
            State::Named(name) => name,
        }
    }

    fn step(&self, now: SystemTime) -> (SystemTime, State) {
        let entered = self.course.iter().rev().find(|(at, _)| *at <= now);
        entered.or_else(|| self.course.first()).copied().unwrap_or((self.created, State::Gone))
    }

    /// Takes over fields and counts the change.
    pub(super) fn change(&mut self, fields: Map<String, Value>, version: u64, now: SystemTime) {
        self.fields.extend(fields.into_iter().filter(|(name, _)| name != "id"));
        self.version = version;
        self.modified = now;
    }

    pub(super) fn etag(&self) -> String {
        // The service's own look like this: a tick count of the same length.
        format!("0x{:X}", 0x8DD_0000_0000_0000_u64 + self.version)
    }

    /// The JSON of a GET; `url` is its own.
    pub(super) fn render(&self, url: &str, now: SystemTime) -> Value {
        let mut rendered = self.fields.clone();
        let (since, _) = self.step(now);
        for (name, value) in [
            ("id", self.id.clone()),
            ("url", url.to_owned()),
            ("eTag", self.etag()),
            ("lastModified", timestamp(self.modified)),
            ("creationTime", timestamp(self.created)),
            ("state", self.state(now).to_owned()),
            ("stateTransitionTime", timestamp(since)),
        ] {
            rendered.insert(name.to_owned(), Value::String(value));
        }
        Value::Object(rendered)
    }
}

// === impl Shelf ===

impl Shelf {
    pub(super) fn get(&self, id: &str, now: SystemTime) -> Option<&Resource> {
        self.entries.get(&key(id)).filter(|resource| resource.step(now).1 != State::Gone)
    }

    pub(super) fn get_mut(&mut self, id: &str, now: SystemTime) -> Option<&mut Resource> {
        self.entries.get_mut(&key(id)).filter(|resource| resource.step(now).1 != State::Gone)
    }

    /// Puts it there, in the place of one that is gone.
    pub(super) fn insert(&mut self, resource: Resource) {
        self.entries.insert(key(&resource.id), resource);
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.entries.remove(&key(id));
    }

    /// All that are not gone, by id.
    pub(super) fn iter(&self, now: SystemTime) -> impl Iterator<Item = &Resource> {
        self.entries.values().filter(move |resource| resource.step(now).1 != State::Gone)
    }

    /// Up to `max` resources whose ids come after `after`, so that a page begins at the same place whatever was added before it.
    pub(super) fn page(&self, after: Option<&str>, max: usize, now: SystemTime) -> Page<'_> {
        let rest = self.iter(now).filter(|resource| after.is_none_or(|after| key(&resource.id).as_str() > after));
        let mut resources: Vec<&Resource> = rest.take(max + 1).collect();
        let more = resources.len() > max;
        resources.truncate(max);
        let next = if more { resources.last().map(|last| key(&last.id)) } else { None };
        Page { resources, next }
    }
}

/// An id as it is compared: its case does not count.
pub(super) fn key(id: &str) -> String {
    id.to_ascii_lowercase()
}

/// A time as JSON bodies have it.
pub(super) fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(time).to_string()
}
