//! The certificates of a run: one authority, one leaf for all names, and the TLS settings of both ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::Result;
use crate::request::DOMAIN;

/// Files in PEM that origin, relay and peers are given.
#[derive(Clone, Debug)]
pub(crate) struct Pki {
    /// Where they all are.
    pub(crate) folder: PathBuf,
    /// The authority's certificate, and its key for those that make leaves.
    pub(crate) ca: PathBuf,
    pub(crate) ca_key: PathBuf,
    /// A leaf for every name of a run, and its key.
    pub(crate) leaf: PathBuf,
    pub(crate) leaf_key: PathBuf,
}

// === impl Pki ===

impl Pki {
    /// What was made in `folder`.
    pub(crate) fn of(folder: &Path) -> Self {
        let file = |name: &str| folder.join(name);
        Self {
            folder: folder.to_owned(),
            ca: file("ca.pem"),
            ca_key: file("ca.key"),
            leaf: file("leaf.pem"),
            leaf_key: file("leaf.key"),
        }
    }

    /// Makes all of it anew, in `folder`.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let pki = Self::of(folder);
        let key = KeyPair::generate()?;
        fs::write(&pki.ca_key, key.serialize_pem())?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "bench authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        fs::write(&pki.ca, params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);

        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([format!("*.{DOMAIN}")])?;
        params.use_authority_key_identifier_extension = true;
        fs::write(&pki.leaf, params.signed_by(&key, &issuer)?.pem())?;
        fs::write(&pki.leaf_key, key.serialize_pem())?;
        Ok(pki)
    }

    /// A server with the leaf for all names.
    pub(crate) fn server(&self) -> Result<Arc<ServerConfig>> {
        let chain = vec![CertificateDer::from_pem_file(&self.leaf)?];
        let key = PrivateKeyDer::from_pem_file(&self.leaf_key)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(one_cipher()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.enable_secret_extraction = true;
        Ok(Arc::new(config))
    }
}

/// A client that trusts what is in the file `trusted`. It resumes nothing: a new process of Node has no session to resume.
pub(crate) fn client(trusted: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(trusted)? {
        roots.add(certificate?)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(one_cipher()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_secret_extraction = true;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Both ends know one cipher suite only, so that every proxy uses the same between them.
fn one_cipher() -> CryptoProvider {
    CryptoProvider { cipher_suites: vec![ring::cipher_suite::TLS13_AES_256_GCM_SHA384], ..ring::default_provider() }
}
