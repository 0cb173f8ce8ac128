//! Host names: which belong to Batch accounts, and what an account is called in metrics.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A host name in which a `*` stands for exactly one label, such as `*.*.batch.azure.com`.
///
/// Compared without regard to ASCII case. An IP address is a pattern without `*` (IPv6 without brackets).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    text: Box<str>,
}

/// Why a text is not a [`HostPattern`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{text}` is not a host pattern: {reason}")]
pub struct InvalidHostPattern {
    text: String,
    reason: &'static str,
}

/// The hosts that are opened: any of `hosts` and none of `except`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSet {
    hosts: Vec<HostPattern>,
    except: Vec<HostPattern>,
}

// === impl HostPattern ===

impl HostPattern {
    /// Whether `host` (no port, no brackets) matches.
    pub fn matches(&self, host: &str) -> bool {
        if self.is_ip() {
            return self.text.eq_ignore_ascii_case(host);
        }
        let mut labels = host.split('.');
        for want in self.text.split('.') {
            let Some(label) = labels.next() else { return false };
            let same = if want == "*" { !label.is_empty() } else { want.eq_ignore_ascii_case(label) };
            if !same {
                return false;
            }
        }
        labels.next().is_none()
    }

    /// Whether the pattern is an IP address.
    pub fn is_ip(&self) -> bool {
        self.ip().is_some()
    }

    /// The address, where the pattern is one.
    pub fn ip(&self) -> Option<std::net::IpAddr> {
        self.text.parse().ok()
    }

    /// The part to the right of the last `*`, without its leading dot: the DNS subtree every match lies in.
    pub fn suffix(&self) -> &str {
        self.text.rsplit_once("*.").map_or(&*self.text, |(_, suffix)| suffix)
    }

    /// A host that matches, with `name` in the place of each `*`.
    pub fn example(&self, name: &str) -> String {
        self.text.replace('*', name)
    }
}

impl FromStr for HostPattern {
    type Err = InvalidHostPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| InvalidHostPattern { text: text.to_owned(), reason };
        let pattern = Self { text: text.to_ascii_lowercase().into() };
        if pattern.is_ip() {
            return Ok(pattern);
        }
        if text.is_empty() || text.len() > 253 {
            return Err(invalid("it must have 1 to 253 characters"));
        }
        if text.contains(':') {
            return Err(invalid("it names hosts only, leave out scheme and port"));
        }
        let mut wild = true;
        for label in text.split('.') {
            if label == "*" {
                if !wild {
                    return Err(invalid("a `*` stands for whole labels on the left only"));
                }
                continue;
            }
            wild = false;
            if label.is_empty() {
                return Err(invalid("a label is empty"));
            }
            if label.contains('*') {
                return Err(invalid("a `*` stands for a whole label"));
            }
            if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                return Err(invalid("labels hold letters, digits, `-` and `_`"));
            }
        }
        if wild {
            return Err(invalid("at least one label must be given"));
        }
        Ok(pattern)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl HostSet ===

impl HostSet {
    /// The hosts that match any of `hosts` and none of `except`.
    pub fn new(hosts: Vec<HostPattern>, except: Vec<HostPattern>) -> Self {
        Self { hosts, except }
    }

    /// Whether `host` is in the set.
    pub fn contains(&self, host: &str) -> bool {
        self.hosts.iter().any(|p| p.matches(host)) && !self.except.iter().any(|p| p.matches(host))
    }

    /// The patterns that let hosts in.
    pub fn hosts(&self) -> &[HostPattern] {
        &self.hosts
    }
}

/// What an account is called in metrics and logs: `name.region` of `name.region.batch.azure.com`, the whole host where it
/// has no such form.
pub fn account(host: &str) -> &str {
    let Some((first_dot, _)) = host.match_indices('.').nth(1) else { return host };
    if host[first_dot..].get(..7).is_some_and(|s| s.eq_ignore_ascii_case(".batch.")) { &host[..first_dot] } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().expect("the test names a valid pattern")
    }

    #[test]
    fn a_star_stands_for_exactly_one_label() {
        let batch = pattern("*.*.batch.azure.com");
        for (host, want) in [
            ("acct.westeurope.batch.azure.com", true),
            ("ACCT.WestEurope.Batch.Azure.Com", true),
            ("westeurope.batch.azure.com", false),
            ("a.b.c.batch.azure.com", false),
            (".westeurope.batch.azure.com", false),
            ("acct.westeurope.batch.azure.com.evil.example", false),
            ("acct.westeurope.batch.azure.community", false),
        ] {
            assert_eq!(batch.matches(host), want, "{host}");
        }
    }

    #[test]
    fn patterns_that_would_match_everything_or_nothing_are_refused() {
        for text in ["", "*", "*.*", "a..b", "a*.b", "a.*.b", "https://x", "x:443", "a b"] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_ip_address_is_a_pattern() {
        assert!(pattern("127.0.0.1").matches("127.0.0.1"));
        assert!(pattern("::1").matches("::1"));
        assert!(!pattern("127.0.0.1").matches("127.0.0.2"));
    }

    #[test]
    fn the_suffix_is_the_subtree_of_every_match() {
        assert_eq!(pattern("*.*.batch.azure.com").suffix(), "batch.azure.com");
        assert_eq!(pattern("localhost").suffix(), "localhost");
    }

    #[test]
    fn except_wins_over_hosts() {
        let set = HostSet::new(vec![pattern("*.*.batch.azure.com")], vec![pattern("*.service.batch.azure.com")]);
        assert!(set.contains("acct.westeurope.batch.azure.com"));
        assert!(!set.contains("westeurope.service.batch.azure.com"));
    }

    #[test]
    fn an_account_is_name_and_region() {
        for (host, want) in [
            ("acct.westeurope.batch.azure.com", "acct.westeurope"),
            ("acct.china.batch.chinacloudapi.cn", "acct.china"),
            ("localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("a.b.c", "a.b.c"),
        ] {
            assert_eq!(account(host), want);
        }
    }
}
