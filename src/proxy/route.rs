//! What becomes of a request that arrives on the proxy's port, by its method and target alone.

use std::fmt;

use http::{Method, Uri};

use super::RouteSettings;
use crate::batch::endpoint::HostPattern;
use crate::upstream::Origin;

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// A plain-http request in absolute form: sent on once.
    Forward(Origin),
    /// A CONNECT to a host that is opened.
    Intercept(Target),
    /// Nothing is done.
    Reject(Rejection),
    /// A CONNECT to any other host.
    Tunnel(Target),
}

/// A host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    host: Box<str>,
    port: u16,
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// A CONNECT whose target is not `host:port`.
    ConnectTarget,
    /// `forward.allow` does not name the host.
    ForwardHost,
    /// A request to the port itself, as to a web server.
    NotAProxyRequest,
    /// An absolute target with another scheme than http.
    Scheme,
    /// `tunnel.allow` does not name the host, or `tunnel.deny` does.
    TunnelHost,
    /// `tunnel.ports` does not name the port.
    TunnelPort,
}

/// Where the proxy can be reached from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// From this machine only.
    Loopback,
    /// From a network.
    Network,
}

// === impl Route ===

impl Route {
    /// Decides by method and target.
    pub(super) fn of(method: &Method, uri: &Uri, reach: Reach, settings: &RouteSettings) -> Self {
        if method == Method::CONNECT {
            let Some(target) = Target::of_connect(uri) else { return Self::Reject(Rejection::ConnectTarget) };
            if settings.intercept.contains(target.host()) {
                return Self::Intercept(target);
            }
            return Self::tunnel(target, reach, settings);
        }
        if uri.authority().is_none() {
            return Self::Reject(Rejection::NotAProxyRequest);
        }
        match Origin::of(uri).filter(|origin| !origin.is_secure()) {
            None => Self::Reject(Rejection::Scheme),
            Some(origin) if named(&settings.forward_allow, origin.host()) => Self::Forward(origin),
            Some(_) => Self::Reject(Rejection::ForwardHost),
        }
    }

    /// A tunnel to `target`, if the settings allow one.
    pub(super) fn tunnel(target: Target, reach: Reach, settings: &RouteSettings) -> Self {
        let port_allowed = match (settings.tunnel_ports.as_slice(), reach) {
            ([], Reach::Loopback) => true,
            ([], Reach::Network) => target.port == 443,
            (ports, _) => ports.contains(&target.port),
        };
        if !port_allowed {
            return Self::Reject(Rejection::TunnelPort);
        }
        let denied = settings.tunnel_deny.iter().any(|pattern| pattern.matches(target.host()));
        if denied || !named(&settings.tunnel_allow, target.host()) {
            return Self::Reject(Rejection::TunnelHost);
        }
        Self::Tunnel(target)
    }
}

/// Whether the list names the host; an empty list names all.
fn named(patterns: &[HostPattern], host: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(host))
}

// === impl Target ===

impl Target {
    pub(super) fn new(host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Self { host: bare.to_ascii_lowercase().into(), port }
    }

    fn of_connect(uri: &Uri) -> Option<Self> {
        let authority = uri.authority()?;
        let userinfo = authority.as_str().contains('@');
        let port = authority.port_u16().filter(|port| *port != 0)?;
        (!userinfo && !authority.host().is_empty()).then(|| Self::new(authority.host(), port))
    }

    /// Where TLS connections to it lead; `None` where it can be written in no URL.
    pub(super) fn origin(&self) -> Option<Origin> {
        self.to_string().parse().ok().map(Origin::https)
    }

    /// The host in lower case, an IPv6 address without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether a `Host` field or `:authority` names this target. A port of 443 may be left out.
    pub(super) fn is_named_by(&self, authority: &str) -> bool {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority, Some(443)),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        host.eq_ignore_ascii_case(&self.host) && port == Some(self.port)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::batch::endpoint::HostSet;

    fn patterns(texts: &[&str]) -> Vec<HostPattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn plain(target: &str) -> Origin {
        Origin::of(&target.parse().unwrap()).unwrap()
    }

    fn settings() -> RouteSettings {
        RouteSettings {
            intercept: HostSet::new(patterns(&["*.*.batch.azure.com"]), patterns(&["*.service.batch.azure.com"])),
            tunnel_ports: vec![],
            tunnel_allow: vec![],
            tunnel_deny: patterns(&["denied.example"]),
            tunnel_idle_timeout: Duration::from_secs(1),
            forward_allow: vec![],
        }
    }

    fn route(method: &str, target: &str, reach: Reach, settings: &RouteSettings) -> Route {
        Route::of(&method.parse().unwrap(), &target.parse().unwrap(), reach, settings)
    }

    #[test]
    fn a_request_is_routed_by_method_and_target() {
        let batch = "acct.westeurope.batch.azure.com";
        for (method, target, want) in [
            ("CONNECT", "acct.westeurope.batch.azure.com:443", Route::Intercept(Target::new(batch, 443))),
            ("CONNECT", "ACCT.westeurope.batch.azure.com:8443", Route::Intercept(Target::new(batch, 8443))),
            (
                "CONNECT",
                "westeurope.service.batch.azure.com:443",
                Route::Tunnel(Target::new("westeurope.service.batch.azure.com", 443)),
            ),
            ("CONNECT", "login.example:22", Route::Tunnel(Target::new("login.example", 22))),
            ("CONNECT", "[::1]:443", Route::Tunnel(Target::new("::1", 443))),
            ("CONNECT", "denied.example:443", Route::Reject(Rejection::TunnelHost)),
            ("CONNECT", "login.example", Route::Reject(Rejection::ConnectTarget)),
            ("CONNECT", "login.example:0", Route::Reject(Rejection::ConnectTarget)),
            ("CONNECT", "user@login.example:443", Route::Reject(Rejection::ConnectTarget)),
            ("GET", "http://169.254.169.254/metadata", Route::Forward(plain("http://169.254.169.254"))),
            ("GET", "http://host.example:8080/", Route::Forward(plain("http://host.example:8080"))),
            ("GET", "https://host.example/", Route::Reject(Rejection::Scheme)),
            ("GET", "/metrics", Route::Reject(Rejection::NotAProxyRequest)),
            ("OPTIONS", "*", Route::Reject(Rejection::NotAProxyRequest)),
        ] {
            assert_eq!(route(method, target, Reach::Loopback, &settings()), want, "{method} {target}");
        }
    }

    #[test]
    fn a_proxy_bound_wider_tunnels_to_443_only_unless_told() {
        let mut settings = settings();
        let at = |settings: &RouteSettings, port| route("CONNECT", &format!("x.example:{port}"), Reach::Network, settings);
        assert_eq!(at(&settings, 443), Route::Tunnel(Target::new("x.example", 443)));
        assert_eq!(at(&settings, 22), Route::Reject(Rejection::TunnelPort));
        settings.tunnel_ports = vec![22];
        assert_eq!(at(&settings, 22), Route::Tunnel(Target::new("x.example", 22)));
        assert_eq!(at(&settings, 443), Route::Reject(Rejection::TunnelPort));
    }

    #[test]
    fn lists_that_allow_hosts_refuse_all_others() {
        let mut settings = settings();
        settings.tunnel_allow = patterns(&["login.example"]);
        settings.forward_allow = patterns(&["169.254.169.254"]);
        for (method, target, want) in [
            ("CONNECT", "login.example:443", Route::Tunnel(Target::new("login.example", 443))),
            ("CONNECT", "other.example:443", Route::Reject(Rejection::TunnelHost)),
            ("GET", "http://169.254.169.254/", Route::Forward(plain("http://169.254.169.254"))),
            ("GET", "http://other.example/", Route::Reject(Rejection::ForwardHost)),
        ] {
            assert_eq!(route(method, target, Reach::Loopback, &settings), want, "{method} {target}");
        }
    }

    #[test]
    fn a_host_field_names_a_target_with_or_without_the_default_port() {
        let target = Target::new("Acct.example", 443);
        for (authority, want) in [
            ("acct.example", true),
            ("ACCT.EXAMPLE:443", true),
            ("acct.example:444", false),
            ("acct.example:", false),
            ("other.example", false),
            ("", false),
        ] {
            assert_eq!(target.is_named_by(authority), want, "{authority}");
        }
        assert!(Target::new("::1", 443).is_named_by("[::1]"));
        assert!(Target::new("::1", 8443).is_named_by("[::1]:8443"));
        assert!(!Target::new("::1", 8443).is_named_by("[::1]"));
    }
}
