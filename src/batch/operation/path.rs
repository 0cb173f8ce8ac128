//! Paths and the shapes they are compared with: both cut into segments, neither decoded.
//!
//! Shapes are derived from the templates of the table when the program is compiled.

use super::Era;

/// The most segments any template has.
const DEPTH: usize = 6;

/// The path of a request, cut at its slashes.
pub(super) struct Path<'p> {
    /// The first segments; those past the end of a short path are empty.
    segments: [&'p str; DEPTH],
    /// How many segments the path has, which may be more than are kept.
    count: usize,
}

/// What a path must look like to belong to a row.
#[derive(Debug)]
pub(super) struct Shape {
    segments: [Segment; DEPTH],
    count: usize,
    tail: Tail,
}

#[derive(Clone, Copy, Debug)]
enum Segment {
    Certificate,
    Id,
    Literal(&'static str),
}

/// What may follow the last segment of a shape.
#[derive(Clone, Copy, Debug)]
enum Tail {
    /// One segment or more.
    More,
    Nothing,
}

// === impl Path ===

impl<'p> Path<'p> {
    /// `None` for a path that does not begin with a slash or that has an empty segment, as after a trailing slash.
    pub(super) fn of(path: &'p str) -> Option<Self> {
        let mut segments = [""; DEPTH];
        let mut count = 0;
        for segment in path.strip_prefix('/')?.split('/') {
            if segment.is_empty() {
                return None;
            }
            if let Some(slot) = segments.get_mut(count) {
                *slot = segment;
            }
            count += 1;
        }
        Some(Self { segments, count })
    }

    /// The segment that names the collection, such as `jobs`.
    pub(super) fn collection(&self) -> &'p str {
        self.segments[0]
    }

    /// The segment that names the collection inside the first one, such as `tasks`; empty where there is none.
    pub(super) fn subcollection(&self) -> &'p str {
        self.segments[2]
    }
}

// === impl Shape ===

impl Shape {
    pub(super) const fn of(template: &'static str, era: Era) -> Self {
        let bytes = template.as_bytes();
        let mut segments = [Segment::Literal(""); DEPTH];
        let (mut count, mut start, mut end) = (0, 1, 1);
        while end <= bytes.len() {
            if end == bytes.len() || bytes[end] == b'/' {
                segments[count] = Segment::of(template.split_at(end).0.split_at(start).1);
                count += 1;
                start = end + 1;
            }
            end += 1;
        }
        let tail = if matches!(era, Era::LegacyPath) { Tail::More } else { Tail::Nothing };
        Self { segments, count, tail }
    }

    pub(super) fn matches(&self, path: &Path<'_>) -> bool {
        let length_fits = match self.tail {
            Tail::More => path.count > self.count,
            Tail::Nothing => path.count == self.count,
        };
        // From the end, where the rows of one resource differ.
        length_fits && self.segments.iter().zip(path.segments).rev().all(|(want, segment)| want.matches(segment))
    }
}

// === impl Segment ===

impl Segment {
    const fn of(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        if bytes[0] == b'{' {
            return Self::Id;
        }
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] == b'(' {
                return Self::Certificate;
            }
            at += 1;
        }
        Self::Literal(text)
    }

    fn matches(self, segment: &str) -> bool {
        match self {
            Self::Certificate => is_certificate(segment).is_some(),
            // Segments of a path are never empty, and the lengths were compared before.
            Self::Id => true,
            Self::Literal(text) => text == segment,
        }
    }
}

/// Whether a segment reads `certificates(thumbprintAlgorithm=...,thumbprint=...)`, each punctuation mark possibly encoded:
/// RFC 3986 reserves them as sub-delimiters, and clients differ in whether they encode those.
fn is_certificate(segment: &str) -> Option<()> {
    let rest = mark(segment.strip_prefix("certificates")?, "(", "28")?;
    let rest = value(mark(rest.strip_prefix("thumbprintAlgorithm")?, "=", "3D")?)?;
    let rest = mark(rest, ",", "2C")?;
    let rest = value(mark(rest.strip_prefix("thumbprint")?, "=", "3D")?)?;
    let rest = mark(rest, ")", "29")?;
    rest.is_empty().then_some(())
}

/// What follows a punctuation mark, plain or as `%` and two hexadecimal digits.
fn mark<'s>(text: &'s str, plain: &str, hex: &str) -> Option<&'s str> {
    if let Some(rest) = text.strip_prefix(plain) {
        return Some(rest);
    }
    let (digits, rest) = text.strip_prefix('%')?.split_at_checked(2)?;
    digits.eq_ignore_ascii_case(hex).then_some(rest)
}

/// What follows a value: the name of a hash or its hexadecimal digits.
fn value(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    (rest.len() < text.len()).then_some(rest)
}
