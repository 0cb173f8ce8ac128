//! The admin server's paths and the methods each takes.

use http::Method;

/// A path that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    BundlePem,
    CaPem,
    Config,
    Events,
    Index,
    Livez,
    LogLevel,
    Metrics,
    ProxyEnv,
    Readyz,
    Shutdown,
    Status,
    Truststore,
}

// === impl Endpoint ===

impl Endpoint {
    /// In the order of the index.
    pub(super) const ALL: [Self; 13] = [
        Self::Index,
        Self::Metrics,
        Self::Livez,
        Self::Readyz,
        Self::Status,
        Self::Events,
        Self::CaPem,
        Self::BundlePem,
        Self::Truststore,
        Self::ProxyEnv,
        Self::Config,
        Self::LogLevel,
        Self::Shutdown,
    ];

    /// The endpoint with exactly this path.
    pub(super) fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    /// Where it is.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::BundlePem => "/bundle.pem",
            Self::CaPem => "/ca.pem",
            Self::Config => "/config",
            Self::Events => "/events",
            Self::Index => "/",
            Self::Livez => "/livez",
            Self::LogLevel => "/log-level",
            Self::Metrics => "/metrics",
            Self::ProxyEnv => "/proxy.env",
            Self::Readyz => "/readyz",
            Self::Shutdown => "/shutdown",
            Self::Status => "/status",
            Self::Truststore => "/truststore.p12",
        }
    }

    /// What the index says of it.
    pub(super) const fn purpose(self) -> &'static str {
        match self {
            Self::BundlePem => "the system's roots and this proxy's, for programs that take one file",
            Self::CaPem => "this proxy's root certificate",
            Self::Config => "the settings in force",
            Self::Events => "the same whenever it changes, as server-sent events",
            Self::Index => "where things stand, for a browser; for other programs this list",
            Self::Livez => "200 while the process runs",
            Self::LogLevel => "the log level; PUT off, error, warn, info, debug or trace changes it (loopback only)",
            Self::Metrics => "Prometheus metrics",
            Self::ProxyEnv => "lines for a shell that make its programs use and trust this proxy",
            Self::Readyz => "200 when the proxy may be used, 503 and the reason otherwise",
            Self::Shutdown => "POST drains and stops the proxy (loopback only)",
            Self::Status => "where things stand, as JSON",
            Self::Truststore => "the same as bundle.pem for Java, password changeit",
        }
    }

    /// The value of `Allow`.
    pub(super) const fn allow(self) -> &'static str {
        match self {
            Self::LogLevel => "GET, HEAD, PUT",
            Self::Shutdown => "POST",
            _ => "GET, HEAD",
        }
    }

    /// Whether it takes this method.
    pub(super) fn takes(self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_found_by_its_path_alone() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::at(endpoint.path()), Some(endpoint));
        }
        for path in ["", "/metrics/", "/Metrics", "metrics", "*"] {
            assert_eq!(Endpoint::at(path), None, "{path}");
        }
    }

    #[test]
    fn what_changes_something_is_not_taken_by_a_get() {
        assert!(!Endpoint::Shutdown.takes(&Method::GET) && Endpoint::Shutdown.takes(&Method::POST));
        assert!(Endpoint::LogLevel.takes(&Method::PUT) && !Endpoint::LogLevel.takes(&Method::POST));
        assert!(Endpoint::Metrics.takes(&Method::HEAD) && !Endpoint::Metrics.takes(&Method::PUT));
    }
}
