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

/// What is written of `target` to its origin: path and query (RFC 9112, 3.2.1).
pub fn origin_form(target: Uri) -> Uri {
    target.into_parts().path_and_query.map_or_else(Uri::default, Uri::from)
}
