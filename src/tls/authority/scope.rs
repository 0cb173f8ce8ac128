//! Which names an authority may vouch for, as X.509 name constraints (RFC 5280, 4.2.1.10).
//!
//! A key that leaks is worth nothing outside the intercepted hosts, because verifiers apply the constraints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};

use crate::batch::endpoint::HostSet;

/// The domains and addresses of the intercepted hosts.
pub(super) struct NameScope {
    domains: Vec<String>,
    addresses: Vec<IpAddr>,
}

// === impl NameScope ===

impl NameScope {
    /// What covers every pattern of `hosts`. Exceptions are not cut out: they are a choice of routing, not of trust.
    pub(super) fn of(hosts: &HostSet) -> Self {
        let mut scope = Self { domains: Vec::new(), addresses: Vec::new() };
        for pattern in hosts.hosts() {
            match pattern.ip() {
                Some(address) => push_new(&mut scope.addresses, address),
                None => push_new(&mut scope.domains, pattern.suffix().to_owned()),
            }
        }
        scope
    }

    /// Whether the domain name `host`, in lower case, lies inside.
    pub(super) fn permits_name(&self, host: &str) -> bool {
        self.domains
            .iter()
            .any(|domain| host.strip_suffix(domain.as_str()).is_some_and(|left| left.is_empty() || left.ends_with('.')))
    }

    /// Whether `address` lies inside.
    pub(super) fn permits_address(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// The extension that says the same to verifiers.
    ///
    /// A kind of name without a constraint is unlimited, so DNS names and addresses always get one. Domains stand without a
    /// leading dot: with it, verifiers disagree on what is meant.
    pub(super) fn constraints(&self) -> NameConstraints {
        let mut permitted: Vec<_> = self.domains.iter().cloned().map(GeneralSubtree::DnsName).collect();
        if permitted.is_empty() {
            permitted.push(GeneralSubtree::DnsName(NO_DOMAIN.to_owned()));
        }
        let bits = |address: &IpAddr| if address.is_ipv4() { 32 } else { 128 };
        permitted.extend(self.addresses.iter().map(|address| subnet(*address, bits(address))));
        // IPv4 and IPv6 are one kind of name: an address that is permitted rules out all others, of both. To exclude the other
        // family as well would change nothing, except that Java cannot compare an IPv4 address with ::/0 and refuses it.
        let excluded = if self.addresses.is_empty() {
            vec![subnet(Ipv4Addr::UNSPECIFIED.into(), 0), subnet(Ipv6Addr::UNSPECIFIED.into(), 0)]
        } else {
            Vec::new()
        };
        NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded }
    }
}

fn subnet(address: IpAddr, prefix: u8) -> GeneralSubtree {
    GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, prefix))
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// The one permitted domain where no domain is intercepted. Its names never exist (RFC 6761, 6.4), so permitting it forbids
/// all others; excluding the empty name instead is read differently by different verifiers.
const NO_DOMAIN: &str = "invalid";
