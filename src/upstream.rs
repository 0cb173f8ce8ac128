//! The pooled client towards Batch, and errors that know whether anything was sent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How Batch is reached.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Roots besides the system's (`upstream.ca_files`).
    pub ca_files: Vec<PathBuf>,
    /// `host:port`, in lower case, to the address that is dialled instead of asking DNS (`upstream.resolve`).
    pub resolve: HashMap<String, SocketAddr>,
    /// Until a connection stands, TLS included (`upstream.connect_timeout`).
    pub connect_timeout: Duration,
    /// Longest pause in an answer's body (`upstream.body_idle_timeout`).
    pub body_idle_timeout: Duration,
    /// How long an idle connection is kept (`upstream.pool_idle_timeout`).
    pub pool_idle_timeout: Duration,
}
