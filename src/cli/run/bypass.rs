//! Which entries of `NO_PROXY` keep Batch hosts away from the proxy, and in which programs. No two clients read the list alike.

use crate::batch::endpoint::HostSet;

/// Who takes an entry for a Batch host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Bypass {
    /// Everyone: a host, or a domain with a leading dot.
    All,
    /// A bare domain, or `*`: the Batch clients for Node pass over those.
    AllButNode,
    /// A domain behind `*.`: Python, curl and the Batch clients for Node pass over it.
    JavaAndGo,
}

// === impl Bypass ===

impl Bypass {
    /// What `entry` does to the hosts that are opened, if anything.
    pub(in crate::cli) fn of(entry: &str, hosts: &HostSet) -> Option<Self> {
        if entry == "*" {
            return Some(Self::AllButNode);
        }
        // Some clients take a port behind the host.
        let name = entry.rsplit_once(':').map_or(entry, |(name, port)| if port == "443" { name } else { entry });
        let name = name.to_ascii_lowercase();
        let (form, domain) = match (name.strip_prefix("*."), name.strip_prefix('.')) {
            (Some(domain), _) => (Self::JavaAndGo, domain),
            (None, Some(domain)) => (Self::All, domain),
            (None, None) if hosts.contains(&name) => (Self::All, &*name),
            (None, None) => (Self::AllButNode, &*name),
        };
        let covers = hosts.hosts().iter().any(|pattern| {
            let (example, suffix) = (pattern.example("x"), pattern.suffix());
            is_within(&example, domain) || (is_within(domain, suffix) && is_domain_of_some(&example, domain, hosts))
        });
        (covers && !domain.is_empty()).then_some(form)
    }

    /// For a sentence.
    pub(in crate::cli) fn who(self) -> &'static str {
        match self {
            Self::All => "all programs",
            Self::AllButNode => "most programs (Python, curl, Go, Java)",
            Self::JavaAndGo => "some programs (Go, Java)",
        }
    }
}

/// Whether `host` is `domain` or lies below it.
fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether an opened host is `domain` or lies below it, as many labels deep as `example`.
fn is_domain_of_some(example: &str, domain: &str, hosts: &HostSet) -> bool {
    let depth = |name: &str| name.split('.').count();
    let missing = depth(example).checked_sub(depth(domain));
    missing.is_some_and(|missing| hosts.contains(&format!("{}{domain}", "x.".repeat(missing))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_covers_a_batch_host_is_found_with_the_programs_that_obey_it() {
        let parse = |patterns: &[&str]| patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        let hosts = HostSet::new(parse(&["*.*.batch.azure.com"]), parse(&["*.service.batch.azure.com"]));
        for (entry, want) in [
            ("*", Some(Bypass::AllButNode)),
            ("com", Some(Bypass::AllButNode)),
            ("azure.com", Some(Bypass::AllButNode)),
            ("Batch.Azure.com", Some(Bypass::AllButNode)),
            ("westeurope.batch.azure.com", Some(Bypass::AllButNode)),
            (".azure.com", Some(Bypass::All)),
            (".westeurope.batch.azure.com", Some(Bypass::All)),
            ("acct.westeurope.batch.azure.com", Some(Bypass::All)),
            ("acct.westeurope.batch.azure.com:443", Some(Bypass::All)),
            ("*.batch.azure.com", Some(Bypass::JavaAndGo)),
            ("", None),
            (".", None),
            ("zure.com", None),
            (".blob.core.windows.net", None),
            ("management.azure.com", None),
            ("service.batch.azure.com", None),
            ("a.acct.westeurope.batch.azure.com", None),
            ("169.254.169.254", None),
            ("10.0.0.0/8", None),
            ("localhost", None),
        ] {
            assert_eq!(Bypass::of(entry, &hosts), want, "{entry}");
        }
    }
}
