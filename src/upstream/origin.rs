//! Where connections lead to.

use std::hash::{Hash, Hasher};

use http::Uri;
use http::uri::{Authority, Scheme};

/// The scheme, host and port of a server (RFC 6454). Cheap to clone.
#[derive(Clone, Debug, Eq)]
pub struct Origin {
    secure: bool,
    authority: Authority,
}

// === impl Origin ===

impl Origin {
    /// The origin of a target in absolute form; `None` for one that names none, or another scheme than `http` and `https`.
    pub fn of(target: &Uri) -> Option<Self> {
        let secure = *target.scheme()? == Scheme::HTTPS;
        let authority = target.authority()?.clone();
        (secure || *target.scheme()? == Scheme::HTTP).then_some(Self { secure, authority })
    }

    /// The origin of TLS connections to `authority`.
    pub fn https(authority: Authority) -> Self {
        Self { secure: true, authority }
    }

    /// Whether TLS is spoken there.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        let host = self.authority.host();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port, where none is named the usual one of the scheme.
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or_else(|| self.usual_port())
    }

    /// Host and port as they were given.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The value of a `Host` field for it, which leaves the usual port out.
    pub fn host_field(&self) -> String {
        match self.authority.port_u16().filter(|port| *port != self.usual_port()) {
            Some(port) => format!("{}:{port}", self.authority.host()),
            None => self.authority.host().to_owned(),
        }
    }

    /// Whether a `Host` field or `:authority` names it. The usual port may be left out.
    pub fn is_named_by(&self, authority: &str) -> bool {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port_of(port)),
            _ => (authority, Some(self.usual_port())),
        };
        // In brackets stands an IPv6 address, and such an address stands in brackets.
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let same = bracketed.unwrap_or(host).eq_ignore_ascii_case(self.host());
        same && bracketed.is_some() == self.host().contains(':') && port == Some(self.port())
    }

    fn usual_port(&self) -> u16 {
        if self.secure { 443 } else { 80 }
    }
}

/// By their spelling: `Authority` compares without regard to case, one byte at a time, and this is asked for with every request.
impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        self.secure == other.secure && self.authority.as_str() == other.authority.as_str()
    }
}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.secure.hash(state);
        self.authority.as_str().hash(state);
    }
}

/// A port as everybody spells it: digits, without zeros before them.
pub fn port_of(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_field_names_an_origin_with_or_without_the_default_port() {
        let origin = |authority| Origin::https(Authority::from_static(authority));
        let target = origin("Acct.example:443");
        for (authority, want) in [
            ("acct.example", true),
            ("ACCT.EXAMPLE:443", true),
            ("acct.example:444", false),
            ("acct.example:", false),
            ("other.example", false),
            ("acct.example:+443", false),
            ("[acct.example]", false),
            ("", false),
        ] {
            assert_eq!(target.is_named_by(authority), want, "{authority}");
        }
        assert!(origin("[::1]:443").is_named_by("[::1]"));
        assert!(origin("[::1]:8443").is_named_by("[::1]:8443"));
        assert!(!origin("[::1]:8443").is_named_by("[::1]"));
    }
}
