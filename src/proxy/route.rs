//! What becomes of a request that arrives on the proxy's port, by its method and target alone.

use std::fmt;
use std::net::Ipv6Addr;

use http::uri::Authority;
use http::{Method, Uri};

use super::RouteSettings;
use super::template::path_and_query;
use crate::batch::endpoint::HostPattern;
use crate::batch::fields::Fields;
use crate::http1::{FieldLines, RequestHead};
use crate::upstream::{Origin, port_of};

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// A plain-http request in absolute form: sent on once, with this path and query.
    Forward(Origin, Box<str>),
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
    /// The target of a plain-http request has a user, no host, or a port that is none.
    Authority,
    /// A CONNECT with several hosts, or a body.
    ConnectFields,
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
    /// Decides by the request's head.
    pub(super) fn of(head: &RequestHead, reach: Reach, settings: &RouteSettings) -> Self {
        let uri = head.target.parse::<Uri>();
        if head.method == Method::CONNECT {
            let target = uri.ok().as_ref().and_then(Target::of_connect);
            let Some(target) = target else { return Self::Reject(Rejection::ConnectTarget) };
            if !is_plain_connect(&head.fields) {
                return Self::Reject(Rejection::ConnectFields);
            }
            if settings.intercept.contains(target.host()) {
                return Self::Intercept(target);
            }
            return Self::tunnel(target, reach, settings);
        }
        let Some(uri) = uri.ok().filter(|uri| uri.scheme().is_some()) else {
            return Self::Reject(Rejection::NotAProxyRequest);
        };
        match Origin::of(&uri).filter(|origin| !origin.is_secure()) {
            None => Self::Reject(Rejection::Scheme),
            Some(origin) if !is_plain(origin.authority()) => Self::Reject(Rejection::Authority),
            Some(origin) if named(&settings.forward_allow, origin.host()) => Self::Forward(origin, path_and_query(&uri)),
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

/// Whether it names a host, no user, and as a port, if any, a number.
fn is_plain(authority: &Authority) -> bool {
    let text = authority.as_str();
    let port = text.strip_prefix(authority.host()).unwrap_or(":");
    let plain_port = port.is_empty() || port.strip_prefix(':').and_then(port_of).is_some();
    is_host(authority.host()) && !text.contains('@') && plain_port
}

/// Whether it is a name or an address, and nothing that somebody could take for two.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    }
}

/// Whether a CONNECT is one and nothing else: what stands behind a body would be read as the tunnel's by some. Whom its `Host` names means
/// nothing, and may be the proxy, as Node writes it unless it is told otherwise.
fn is_plain_connect(fields: &FieldLines) -> bool {
    let bodiless = fields.value("content-length").is_none_or(|length| length == b"0");
    bodiless && !fields.contains("transfer-encoding") && fields.values("host").nth(1).is_none()
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
        let port = authority.port_u16().filter(|port| *port != 0)?;
        let alone = uri.scheme().is_none() && uri.path().is_empty();
        (alone && is_plain(authority)).then(|| Self::new(authority.host(), port))
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

    fn route_with(method: &str, target: &str, fields: &str, reach: Reach, settings: &RouteSettings) -> Route {
        let head = format!("{method} {target} HTTP/1.1\r\n{fields}\r\n");
        Route::of(&RequestHead::parse(head.as_bytes()).unwrap().unwrap().0, reach, settings)
    }

    fn route(method: &str, target: &str, reach: Reach, settings: &RouteSettings) -> Route {
        route_with(method, target, "", reach, settings)
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
            ("GET", "http://169.254.169.254/metadata", Route::Forward(plain("http://169.254.169.254"), "/metadata".into())),
            ("GET", "http://host.example:8080/", Route::Forward(plain("http://host.example:8080"), "/".into())),
            ("GET", "http://host.example?a=1", Route::Forward(plain("http://host.example"), "/?a=1".into())),
            ("GET", "http://user@host.example/", Route::Reject(Rejection::Authority)),
            ("GET", "http://host.example:65536/", Route::Reject(Rejection::Authority)),
            ("CONNECT", "[login.example]:443", Route::Reject(Rejection::ConnectTarget)),
            ("CONNECT", "https://login.example:443", Route::Reject(Rejection::ConnectTarget)),
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
            ("GET", "http://169.254.169.254/", Route::Forward(plain("http://169.254.169.254"), "/".into())),
            ("GET", "http://other.example/", Route::Reject(Rejection::ForwardHost)),
        ] {
            assert_eq!(route(method, target, Reach::Loopback, &settings), want, "{method} {target}");
        }
    }

    #[test]
    fn a_connect_with_a_body_or_two_hosts_is_refused() {
        for (fields, refused) in [
            ("Host: the.proxy:3128\r\nContent-Length: 0\r\n", false),
            ("Content-Length: 5\r\n", true),
            ("Transfer-Encoding: chunked\r\n", true),
            ("Host: login.example:443\r\nHost: login.example:443\r\n", true),
        ] {
            let route = route_with("CONNECT", "login.example:443", fields, Reach::Loopback, &settings());
            assert_eq!(route == Route::Reject(Rejection::ConnectFields), refused, "{fields}");
        }
    }
}
