//! To which addresses connections may lead.
//!
//! Whoever reaches a proxy on a network reaches with it what only the proxy's machine should: its loopback, the metadata service that hands out
//! the machine's identity, and the proxy's own admin server, which takes a connection from loopback for the owner's. The addresses are looked at
//! and not the names: a name can be pointed anywhere, and an address written in many ways.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// To which addresses connections may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destinations {
    /// To all: whoever asks can reach them without the proxy too.
    All,
    /// To none that only this machine should reach: loopback, link-local addresses, Azure's 168.63.129.16, and its own.
    Elsewhere,
}

// === impl Destinations ===

impl Destinations {
    /// Those of a proxy that listens at `listen`.
    pub fn of(listen: SocketAddr) -> Self {
        if listen.ip().to_canonical().is_loopback() { Self::All } else { Self::Elsewhere }
    }

    /// Whether a connection may lead to `address`. Asks the system, and sends nothing.
    pub(super) fn include(self, address: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Elsewhere => {
                let address = embedded(address);
                !is_reserved(address) && !is_own(address)
            }
        }
    }
}

/// The IPv4 address within an IPv6 address that leads there, mapped or by the prefix of gateways (RFC 6052).
fn embedded(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(long) => match long.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into(),
            _ => long.into(),
        },
        short => short,
    }
}

/// Whether no route leads to it, or every machine has its own behind it. The unspecified address is another word for loopback on Linux.
fn is_reserved(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    link_local || address.is_loopback() || address.is_unspecified() || address.is_multicast() || address == AZURE_PLATFORM
}

/// Whether `address` is one of this machine's, as they are now. Where that cannot be found out it counts as one.
fn is_own(address: IpAddr) -> bool {
    let foreign = match address {
        IpAddr::V4(_) => FOREIGN_V4,
        IpAddr::V6(_) => FOREIGN_V6,
    };
    // Some machines let a program bind to addresses that are not theirs (net.ipv4.ip_nonlocal_bind). The way there still tells most of them.
    can_bind(address) && (!can_bind(foreign) || leads_home(address))
}

fn can_bind(address: IpAddr) -> bool {
    !UdpSocket::bind((address, 0)).is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

/// Whether the system would speak to `address` from that very address. Connecting a datagram socket sends nothing.
fn leads_home(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, DISCARD))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

/// Azure's platform as each machine sees it: DNS, health probes, and what the machine's agent is told.
const AZURE_PLATFORM: IpAddr = IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16));

/// Addresses for documentation, which no machine has (RFC 5737, RFC 3849).
const FOREIGN_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const FOREIGN_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// A port to name where any does.
const DISCARD: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    /// An address of this machine besides loopback, if it has one: that from which it would speak to the world.
    fn outward() -> Option<IpAddr> {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect((FOREIGN_V4, DISCARD)).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback() && !address.is_unspecified())
    }

    #[test]
    fn a_proxy_on_a_network_leads_to_nothing_that_only_its_machine_should_reach() {
        let prohibited = [
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "169.254.169.254",
            "169.254.0.1",
            "168.63.129.16",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:168.63.129.16",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
        ];
        let permitted =
            ["192.0.2.1", "168.63.129.17", "203.0.113.7", "2001:db8::1", "64:ff9b::c000:201", "::ffff:192.0.2.1"];
        for (addresses, want) in [(&prohibited[..], false), (&permitted[..], true)] {
            for text in addresses {
                let address = text.parse().unwrap();
                assert_eq!(Destinations::Elsewhere.include(address), want, "{text}");
                assert!(Destinations::All.include(address), "{text}");
            }
        }
    }

    #[test]
    fn the_machines_own_addresses_are_known() {
        assert!(is_own("127.0.0.1".parse().unwrap()) && leads_home("127.0.0.1".parse().unwrap()));
        assert!(!is_own(FOREIGN_V4) && !leads_home(FOREIGN_V4));
        let Some(own) = outward() else {
            println!("skipped in part: this machine has no address besides loopback");
            return;
        };
        assert!(is_own(own) && leads_home(own) && !Destinations::Elsewhere.include(own), "{own}");
    }

    #[test]
    fn where_it_listens_decides() {
        for (listen, want) in [
            ("127.0.0.1:1", Destinations::All),
            ("127.0.0.2:1", Destinations::All),
            ("[::1]:1", Destinations::All),
            ("[::ffff:127.0.0.1]:1", Destinations::All),
            ("0.0.0.0:1", Destinations::Elsewhere),
            ("[::]:1", Destinations::Elsewhere),
            ("10.0.0.1:1", Destinations::Elsewhere),
        ] {
            assert_eq!(Destinations::of(listen.parse().unwrap()), want, "{listen}");
        }
    }
}
