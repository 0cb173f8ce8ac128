//! The admin server: metrics, probes and status.

use std::net::SocketAddr;

/// The admin side.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// Where it listens (`admin.address`).
    pub address: SocketAddr,
    /// Whether `POST /shutdown` from loopback is obeyed (`admin.allow_shutdown`).
    pub allow_shutdown: bool,
}
