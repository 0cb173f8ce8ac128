//! What a connection or request meets: the settings, and what is made of them.
//!
//! A reload replaces them as a whole. A connection takes from them what concerns it when it begins, each request the rest when its head is
//! there, and what was taken stays theirs to the end. Nothing that lasts longer than a request may hold [`Live`] itself: with it lives the pool
//! of connections to Batch.

use std::net::IpAddr;
use std::time::Duration;

use super::forward::Forwarder;
use super::{BodySettings, ListenSettings, RouteSettings, ThrottleSettings};
use crate::metrics::Metrics;
use crate::retry::policy::RetryPolicy;
use crate::shutdown::Drain;
use crate::upstream::{Dialer, Upstream};

/// The part of a proxy that can be replaced while it runs.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The listening side; its address and number of connections are those of the start.
    pub listen: ListenSettings,
    /// What becomes of a request.
    pub route: RouteSettings,
    /// How much is held.
    pub bodies: BodySettings,
    /// Longest pause in an answer's body (`upstream.body_idle_timeout`).
    pub body_idle_timeout: Duration,
    /// The replay rules.
    pub policy: RetryPolicy,
    /// The gates and budgets of accounts.
    pub throttle: ThrottleSettings,
    /// Opens TCP connections.
    pub dialer: Dialer,
    /// The pooled client.
    pub upstream: Upstream,
}

/// The terms in force.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) listen: ListenSettings,
    pub(super) route: RouteSettings,
    pub(super) dialer: Dialer,
    pub(super) forwarder: Forwarder,
}

// === impl Live ===

impl Live {
    pub(super) fn new(terms: Terms, metrics: Metrics, drain: Drain) -> Self {
        let forwarder = Forwarder::new(&terms, metrics, drain);
        Self { listen: terms.listen, route: terms.route, dialer: terms.dialer, forwarder }
    }

    /// The same under other terms. What is held, and what is remembered of requests, goes on.
    pub(super) fn under(&self, terms: Terms) -> Self {
        let forwarder = self.forwarder.under(&terms);
        Self { listen: terms.listen, route: terms.route, dialer: terms.dialer, forwarder }
    }

    /// Whether a client at this address may connect.
    pub(super) fn allows(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        if self.listen.allow.is_empty() {
            client.is_loopback() || self.listen.credentials.is_some()
        } else {
            self.listen.allow.iter().any(|net| net.contains(&client))
        }
    }
}
