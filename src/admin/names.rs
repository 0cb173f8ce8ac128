//! By which names the admin server may be asked for what a stranger's web page should not read.
//!
//! A page from elsewhere can have its own name resolve to this machine, and its browser then takes this server for that page's own. The name in
//! `Host` gives it away: a name that nobody can point here, an IP address or `localhost`, is not one of a page from elsewhere.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, header};

/// Whether the request names this server by an address or as `localhost`. A request that names none is no browser's.
pub(super) fn are_own(headers: &HeaderMap) -> bool {
    headers.get_all(header::HOST).iter().all(|value| value.to_str().is_ok_and(is_own))
}

fn is_own(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return host.is_empty() };
    let name = authority.host();
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    // Browsers resolve what ends in `.localhost` by themselves, to loopback.
    address.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn addresses_and_localhost_are_own_names_and_all_others_are_foreign() {
        let own = [
            "127.0.0.1",
            "127.0.0.1:9464",
            "[::1]:9464",
            "[fd00::1]",
            "localhost",
            "LocalHost:80",
            "a.localhost:1",
            "localhost.",
            "",
        ];
        let foreign = [
            "evil.example",
            "evil.example:9464",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[evil]",
            "notlocalhost",
            "1.2.3",
        ];
        for (hosts, want) in [(&own[..], true), (&foreign[..], false)] {
            for host in hosts {
                let headers = [(header::HOST, HeaderValue::from_static(host))].into_iter().collect();
                assert_eq!(are_own(&headers), want, "{host:?}");
            }
        }
        assert!(are_own(&HeaderMap::new()));
        let two = [
            (header::HOST, HeaderValue::from_static("localhost")),
            (header::HOST, HeaderValue::from_static("evil.example")),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in two {
            headers.append(name, value);
        }
        assert!(!are_own(&headers));
    }
}
