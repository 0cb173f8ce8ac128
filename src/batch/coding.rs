//! Content codings (RFC 9110, 8.4.1), as far as the proxy must read what is packed.

/// A coding that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, or its old name `x-gzip`.
    Gzip,
    /// None.
    Identity,
}

// === impl Coding ===

impl Coding {
    /// That of a `Content-Encoding` field, or of none; `None` for any other and for several.
    pub fn of(content_encoding: Option<&str>) -> Option<Self> {
        let name = content_encoding.unwrap_or_default().trim();
        let is_one_of = |names: [&str; 2]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        if is_one_of(["", "identity"]) {
            Some(Self::Identity)
        } else if is_one_of(["gzip", "x-gzip"]) {
            Some(Self::Gzip)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_codings_are_understood_under_all_their_names() {
        for (field, want) in [
            (None, Some(Coding::Identity)),
            (Some(""), Some(Coding::Identity)),
            (Some("Identity"), Some(Coding::Identity)),
            (Some(" gzip "), Some(Coding::Gzip)),
            (Some("X-GZIP"), Some(Coding::Gzip)),
            (Some("br"), None),
            (Some("gzip, gzip"), None),
        ] {
            assert_eq!(Coding::of(field), want, "{field:?}");
        }
    }
}
