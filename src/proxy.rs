//! Accept, route, tunnel, intercept, forward: everything between a client's socket and the upstream client.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::batch::endpoint::{HostPattern, HostSet};

/// The listening side.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// Where the proxy listens (`listen.address`).
    pub address: SocketAddr,
    /// Connections served at a time; past it new ones wait in the backlog (`listen.max_connections`).
    pub max_connections: usize,
    /// From a connection's or request's first byte to the end of the request head (`listen.header_timeout`).
    pub header_timeout: Duration,
    /// How long a connection may stay without a request (`listen.idle_timeout`).
    pub idle_timeout: Duration,
    /// Client networks; empty allows loopback only (`listen.allow`).
    pub allow: Vec<IpNet>,
}

/// What becomes of a request by its host and port.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// Hosts that are opened (`intercept.hosts`, `intercept.except`).
    pub intercept: HostSet,
    /// Ports a tunnel may lead to; empty means all on loopback and 443 when bound wider (`tunnel.ports`).
    pub tunnel_ports: Vec<u16>,
    /// Hosts a tunnel may lead to; empty means all (`tunnel.allow`).
    pub tunnel_allow: Vec<HostPattern>,
    /// Hosts no tunnel leads to (`tunnel.deny`).
    pub tunnel_deny: Vec<HostPattern>,
    /// How long a tunnel may stay without a byte (`tunnel.idle_timeout`).
    pub tunnel_idle_timeout: Duration,
    /// Hosts of plain-http requests; empty means all (`forward.allow`).
    pub forward_allow: Vec<HostPattern>,
}

/// How much of requests and answers is held.
#[derive(Clone, Debug)]
pub struct BodySettings {
    /// Largest request body held for a replay, in bytes (`retry.body_limit`).
    pub request_limit: u64,
    /// Largest answer read whole before it is handed over, in bytes (`retry.response_buffer`).
    pub response_buffer: u64,
    /// All held bodies together, in bytes (`retry.memory_limit`).
    pub memory_limit: u64,
}
