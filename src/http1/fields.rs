//! Header fields in the order and spelling they came in.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::batch::fields::Fields;

/// The field lines of a head (RFC 9110, 5). Those that came share the memory they came in; what is added stands after them.
#[derive(Clone, Default)]
pub struct FieldLines {
    came: Bytes,
    added: Vec<u8>,
    lines: Vec<Line>,
}

/// Where a field stands.
#[derive(Clone, Copy)]
struct Line {
    name: u32,
    name_len: u32,
    value: u32,
    value_len: u32,
    added: bool,
}

// === impl FieldLines ===

impl FieldLines {
    /// The fields that `parsed` found in `head`, of which `came` is a copy.
    pub(super) fn new(head: &[u8], came: Bytes, parsed: &[httparse::Header<'_>]) -> Self {
        // One more is nearly always added.
        let mut lines = Vec::with_capacity(parsed.len() + 1);
        // No field of a head that is kept starts after the 4 GiB that this counts.
        let offset = |part: &[u8]| (part.as_ptr() as usize - head.as_ptr() as usize) as u32;
        lines.extend(parsed.iter().map(|field| Line {
            name: offset(field.name.as_bytes()),
            name_len: field.name.len() as u32,
            // Nothing has no place.
            value: if field.value.is_empty() { 0 } else { offset(field.value) },
            value_len: field.value.len() as u32,
            added: false,
        }));
        Self { came, added: Vec::new(), lines }
    }

    /// Names and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| (self.name_of(line), self.value_of(line)))
    }

    /// Whether there is a field of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.lines.iter().any(|line| self.is_named(line, name))
    }

    /// Adds a field after all others. A value that could not be written as one line is left out.
    pub fn append(&mut self, name: &str, value: &[u8]) {
        debug_assert!(HeaderName::from_bytes(name.as_bytes()).is_ok(), "{name}");
        if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            debug_assert!(false, "the value of {name}");
            return;
        }
        let start = self.added.len();
        self.added.extend_from_slice(name.as_bytes());
        self.added.extend_from_slice(value);
        let (name_len, value_len) = (name.len() as u32, value.len() as u32);
        self.lines.push(Line { name: start as u32, name_len, value: start as u32 + name_len, value_len, added: true });
    }

    /// Removes the fields of these names.
    pub fn remove(&mut self, names: &[&str]) {
        self.retain(|name, _| !names.iter().any(|removed| name.eq_ignore_ascii_case(removed.as_bytes())));
    }

    /// Keeps the fields that `keep` wants.
    pub fn retain(&mut self, keep: impl Fn(&[u8], &[u8]) -> bool) {
        let Self { came, added, lines } = self;
        lines.retain(|line| keep(line.name(came, added), line.value(came, added)));
    }

    /// Writes them, each as one line: name, colon, blank, value. What came like this and stands together is copied as a whole.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut run = 0..0;
        for line in &self.lines {
            match self.came_as_written(line) {
                Some(place) if place.start == run.end => run.end = place.end,
                place => {
                    out.extend_from_slice(&self.came[run]);
                    run = place.clone().unwrap_or(0..0);
                    if place.is_none() {
                        self.write_line(line, out);
                    }
                }
            }
        }
        out.extend_from_slice(&self.came[run]);
    }

    /// Where a line stands that came as it is written.
    fn came_as_written(&self, line: &Line) -> Option<Range<usize>> {
        let (name_end, value) = ((line.name + line.name_len) as usize, line.value as usize);
        let end = value + line.value_len as usize;
        let exact = !line.added
            && value == name_end + 2
            && self.came.get(name_end..value) == Some(b": ")
            && self.came.get(end..end + 2) == Some(b"\r\n");
        exact.then_some(line.name as usize..end + 2)
    }

    fn write_line(&self, line: &Line, out: &mut Vec<u8>) {
        let value = self.value_of(line);
        out.extend_from_slice(self.name_of(line));
        // No blank before nothing.
        out.extend_from_slice(if value.is_empty() { b":" } else { b": " });
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }

    /// The room that writing them takes.
    pub fn written_len(&self) -> usize {
        self.lines.iter().map(|line| (line.name_len + line.value_len) as usize + 4).sum()
    }

    /// The same for HTTP/2, which has no spelling of names.
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.lines.len());
        for (name, value) in self.iter() {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        }
        map
    }

    fn name_of(&self, line: &Line) -> &[u8] {
        line.name(&self.came, &self.added)
    }

    fn value_of(&self, line: &Line) -> &[u8] {
        line.value(&self.came, &self.added)
    }

    fn is_named(&self, line: &Line, name: &str) -> bool {
        line.name_len as usize == name.len() && self.name_of(line).eq_ignore_ascii_case(name.as_bytes())
    }
}

impl Fields for FieldLines {
    fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().map(|line| self.name_of(line))
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.lines.iter().filter(move |line| self.is_named(line, name)).map(|line| self.value_of(line))
    }
}

impl From<&HeaderMap> for FieldLines {
    fn from(map: &HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in map {
            fields.append(name.as_str(), value.as_bytes());
        }
        fields
    }
}

/// Names only: values may be secret.
impl fmt::Debug for FieldLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

// === impl Line ===

impl Line {
    fn name<'a>(&self, came: &'a [u8], added: &'a [u8]) -> &'a [u8] {
        self.part(came, added, self.name, self.name_len)
    }

    fn value<'a>(&self, came: &'a [u8], added: &'a [u8]) -> &'a [u8] {
        self.part(came, added, self.value, self.value_len)
    }

    fn part<'a>(&self, came: &'a [u8], added: &'a [u8], start: u32, len: u32) -> &'a [u8] {
        let range: Range<usize> = start as usize..(start + len) as usize;
        if self.added { &added[range] } else { &came[range] }
    }
}
