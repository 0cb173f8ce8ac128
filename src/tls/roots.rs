//! Whom we believe when connecting to Batch: the system's roots and those of `upstream.ca_files`.
//!
//! The same certificates go into the bundle that clients are given, see [`super::trust`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::{CertificateResult, load_native_certs};
use thiserror::Error;

/// Trusted certificates, without repetitions, and the client configuration that trusts them.
#[derive(Clone, Debug)]
pub struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    skipped: usize,
    client_config: Arc<ClientConfig>,
}

/// Why there are no roots.
#[derive(Debug, Error)]
pub enum RootsError {
    /// A file holds no certificate.
    #[error("`upstream.ca_files`: {} holds no PEM certificate", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A certificate in a file is none.
    #[error("`upstream.ca_files`: certificate {number} in {} cannot be used", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Its place in the file, from 1.
        number: usize,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// There is nothing to trust.
    #[error(
        "no trusted root certificates: the system has none{detail}; point SSL_CERT_FILE to a PEM file or set `upstream.ca_files`"
    )]
    None {
        /// What the search of the system met, in parentheses, or nothing.
        detail: String,
    },
    /// A file is no PEM.
    #[error("`upstream.ca_files`: {} is not a PEM file", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A file could not be read.
    #[error("`upstream.ca_files`: cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The TLS library refuses its own defaults.
    #[error("cannot set up TLS towards Batch")]
    Tls(#[from] rustls::Error),
}

/// Certificates as they come in.
struct Collection {
    certificates: Vec<CertificateDer<'static>>,
    store: RootCertStore,
    skipped: usize,
}

// === impl Roots ===

impl Roots {
    /// The system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` where set) and those in `ca_files`, each a PEM file of one or
    /// more certificates.
    ///
    /// # Errors
    /// [`RootsError`] for a file that cannot be used as it is, and where there are no roots at all. Single certificates of
    /// the system that cannot be used are only counted, see [`Roots::skipped`].
    pub fn load(ca_files: &[PathBuf]) -> Result<Self, RootsError> {
        Self::from_parts(load_native_certs(), ca_files)
    }

    fn from_parts(system: CertificateResult, ca_files: &[PathBuf]) -> Result<Self, RootsError> {
        let mut roots = Collection { certificates: Vec::new(), store: RootCertStore::empty(), skipped: system.errors.len() };
        for certificate in system.certs {
            if roots.add(certificate).is_err() {
                roots.skipped += 1;
            }
        }
        for path in ca_files {
            roots.add_file(path)?;
        }
        if roots.certificates.is_empty() {
            let detail = system.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(RootsError::None { detail });
        }
        let client_config = Arc::new(client_config(roots.store)?);
        Ok(Self { certificates: roots.certificates, skipped: roots.skipped, client_config })
    }

    /// The trusted certificates: the system's, then those of the files.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// How many of the system's files or certificates could not be used.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The configuration for connections to Batch: trusts the roots, speaks HTTP/1.1, resumes sessions. It is one and the
    /// same at each call, because the sessions live in it.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        self.client_config.clone()
    }
}

// === impl Collection ===

impl Collection {
    fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), rustls::Error> {
        if self.certificates.contains(&certificate) {
            return Ok(());
        }
        self.store.add(certificate.clone())?;
        self.certificates.push(certificate);
        Ok(())
    }

    fn add_file(&mut self, path: &Path) -> Result<(), RootsError> {
        let text = std::fs::read(path).map_err(|source| RootsError::Read { path: path.to_owned(), source })?;
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(&text) {
            count += 1;
            let certificate = certificate.map_err(|source| RootsError::Pem { path: path.to_owned(), source })?;
            self.add(certificate).map_err(|source| RootsError::Malformed {
                path: path.to_owned(),
                number: count,
                source,
            })?;
        }
        if count == 0 { Err(RootsError::Empty { path: path.to_owned() }) } else { Ok(()) }
    }
}

fn client_config(store: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(config)
}

/// Hosts whose sessions are kept for resumption.
const SESSIONS: usize = 256;

#[cfg(test)]
mod tests;
