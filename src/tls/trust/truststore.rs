//! `truststore.p12`: the bundle's certificates in the one form that every Java reads.
//!
//! Java passes over a certificate in a PKCS#12 file unless it carries Oracle's `trustedKeyUsage` attribute
//! (2.16.840.1.113894.746875.1.1), so that a file made by OpenSSL 3.1 or older looks empty to it. Encryption and MAC are those that
//! Java 17 itself writes by default; they hide nothing, because the password is known to all.

use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use thiserror::Error;

use crate::tls::authority::CertificateAuthority;
use crate::tls::roots::Roots;

/// Why the truststore could not be made.
#[derive(Debug, Error)]
#[error("cannot make the truststore for java: {0}")]
pub struct TruststoreError(#[from] p12_keystore::error::Error);

/// All of `roots` and the authority's root, the latter called `batch-retry-proxy`, under [`TRUSTSTORE_PASSWORD`].
///
/// A root of the system that the writer cannot read is left out: Java would not get to use it either.
///
/// # Errors
/// Where the authority's own root cannot be put in.
pub fn truststore_p12(authority: &CertificateAuthority, roots: &Roots) -> Result<Vec<u8>, TruststoreError> {
    let mut store = KeyStore::new();
    let readable = roots.certificates().iter().filter_map(|root| Certificate::from_der(root).ok());
    for (index, root) in readable.enumerate() {
        // Numbered, because subjects repeat, and a second entry of the same name would replace the first.
        store.add_entry(&format!("root-{index:03}"), KeyStoreEntry::Certificate(root));
    }
    let own = Certificate::from_der(authority.root_der())?;
    store.add_entry("batch-retry-proxy", KeyStoreEntry::Certificate(own));
    Ok(store.writer(TRUSTSTORE_PASSWORD).encryption_iterations(ITERATIONS).mac_iterations(ITERATIONS).write()?)
}

/// Whether a truststore in PKCS#12 has `certificate` among those that it trusts. One that cannot be read has none.
pub fn truststore_holds(contents: &[u8], password: &str, certificate: &[u8]) -> bool {
    let Ok(store) = KeyStore::from_pkcs12(contents, password, Pkcs12ImportPolicy::Relaxed) else { return false };
    store.entries().any(|(_, entry)| match entry {
        KeyStoreEntry::Certificate(held) => held.as_der() == certificate,
        _ => false,
    })
}

/// The password of `truststore.p12`, the one that Java's own `cacerts` has.
pub const TRUSTSTORE_PASSWORD: &str = "changeit";

/// Few, because a known password needs no slow key.
const ITERATIONS: u32 = 1000;

#[cfg(test)]
mod tests;
