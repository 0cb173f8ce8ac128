//! What is presented to clients whose connection is opened: one TLS server configuration per host, kept and renewed.
//!
//! All configurations share what sessions are resumed with. Node opens a connection for each request, and a resumed
//! handshake costs it half of a full one; it goes on resuming when a leaf is renewed. Making leaves is
//! [`super::authority`]'s task.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use moka::ops::compute::{CompResult, Op};
use moka::sync::Cache;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::ResolvesServerCertUsingSni;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::authority::{CertificateAuthority, IssueError};

/// The server configurations of the intercepted hosts.
pub struct ServerConfigs {
    authority: Arc<CertificateAuthority>,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
    provider: Arc<CryptoProvider>,
    base: ServerConfig,
    cache: Cache<String, Entry>,
}

/// Where a configuration came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issued {
    /// Made before, perhaps a moment ago by another connection.
    Cached,
    /// Its leaf was made for this call.
    New,
}

#[derive(Clone)]
struct Entry {
    config: Arc<ServerConfig>,
    usable: Range<SystemTime>,
}

// === impl ServerConfigs ===

impl ServerConfigs {
    /// Configurations with leaves of `authority`. `clock` says what time it is; leaves are made and renewed by it.
    ///
    /// # Errors
    /// Where the system has no randomness for the session ticket keys.
    pub fn new(
        authority: Arc<CertificateAuthority>,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        // A resolver that knows no name: each host's configuration has its own.
        let mut base = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        // The first that the client offers counts: HTTP/2 only where it is all there is, since Batch itself is sent
        // HTTP/1.1.
        base.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
        base.ticketer = ring::Ticketer::new()?;
        Ok(Self { authority, clock: Box::new(clock), provider, base, cache: Cache::new(MAX_HOSTS) })
    }

    /// The configuration for connections to `host`, whatever server name the client asks for, if any. Its leaf is in the
    /// first half of its life. At the same time, at most one leaf is made for a host.
    ///
    /// # Errors
    /// [`IssueError`] where no leaf can be had; nothing is remembered then.
    pub fn for_host(&self, host: &str) -> Result<(Arc<ServerConfig>, Issued), IssueError> {
        let host = host.to_ascii_lowercase();
        let now = (self.clock)();
        if let Some(entry) = self.cache.get(&host)
            && entry.usable.contains(&now)
        {
            return Ok((entry.config, Issued::Cached));
        }
        let outcome = self.cache.entry_by_ref(&host).and_try_compute_with(|existing| match existing {
            Some(entry) if entry.value().usable.contains(&now) => Ok(Op::Nop),
            _ => self.make(&host, now).map(Op::Put),
        })?;
        let issued = if matches!(outcome, CompResult::Unchanged(_)) { Issued::Cached } else { Issued::New };
        let entry = outcome.into_entry().expect("the closure above leaves an entry or fails");
        Ok((entry.into_value().config, issued))
    }

    fn make(&self, host: &str, now: SystemTime) -> Result<Entry, IssueError> {
        let leaf = self.authority.issue(host, now)?;
        let certified = CertifiedKey::from_der(leaf.chain, leaf.key, &self.provider)
            .map_err(|reason| IssueError::Tls { host: host.to_owned(), reason })?;
        let mut config = self.base.clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        let left = leaf.not_after.duration_since(now).unwrap_or_default();
        Ok(Entry { config: Arc::new(config), usable: leaf.not_before..now + left / 2 })
    }
}

impl fmt::Debug for ServerConfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfigs").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// Hosts kept at a time, far more accounts than one machine works with; the least used ones make room.
const MAX_HOSTS: u64 = 1024;

#[cfg(test)]
mod tests;
