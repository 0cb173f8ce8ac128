//! Header fields, however they are kept.

use http::HeaderMap;

/// What can be asked of a message's fields. Names are given in lower case.
pub trait Fields {
    /// The names of all fields, however they are spelled.
    fn names(&self) -> impl Iterator<Item = &[u8]>;

    /// The values of all fields of this name, in their order.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;

    /// The first value of this name.
    fn value<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// The first value of this name, where it is visible ASCII.
    fn text<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.value(name).and_then(visible)
    }
}

impl Fields for HeaderMap {
    fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.keys().map(|name| name.as_str().as_bytes())
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).into_iter().map(|value| value.as_bytes())
    }
}

/// The text of a value in which all is visible ASCII, blank or tab.
pub fn visible(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')).then_some(text)
}
