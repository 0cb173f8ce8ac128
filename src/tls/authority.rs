//! The local certificate authority: a root that clients are told to trust and an intermediate that signs leaves.
//!
//! Both may vouch only for the intercepted hosts, by critical name constraints. Not every verifier applies those of a
//! trusted root (Java does not), which is what the intermediate is for. The root's key signs the intermediate and is forgotten, so that whoever
//! gets hold of what is left can vouch for no other host. Keeping leaves and renewing them is the task of [`super::leaf`], writing what clients
//! need that of [`super::trust`].

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{Issuer, KeyPair, SanType, string::Ia5String};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};
use x509_parser::parse_x509_certificate;

use super::CaSettings;
use crate::batch::endpoint::HostSet;

mod error;
mod key;
mod profile;
mod scope;
mod store;

pub use error::{AuthorityError, IssueError};
use key::SecretKey;
pub use profile::SignError;
use profile::{Tier, Validity};
use scope::NameScope;
use store::{Kept, Store};

/// Signs certificates for the intercepted hosts.
pub struct CertificateAuthority {
    root: Certificate,
    root_pem: String,
    intermediate: Intermediate,
    scope: NameScope,
    leaf_lifetime: Duration,
    held: Held,
}

/// Which key is there to be stolen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// That of an intermediate, which no verifier believes outside the intercepted hosts.
    Intermediate,
    /// The root's own, in `ca.directory` since a version that kept it.
    Root,
}

/// A certificate for one host, with its key.
pub struct Leaf {
    /// The leaf and the intermediate that signed it; clients have the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's own key.
    pub key: PrivateKeyDer<'static>,
    /// The first second it is valid.
    pub not_before: SystemTime,
    /// The last second it is valid.
    pub not_after: SystemTime,
}

/// A certificate and how long it is valid.
#[derive(Clone)]
struct Certificate {
    der: CertificateDer<'static>,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// A root with its key.
struct Root {
    certificate: Certificate,
    issuer: Issuer<'static, SecretKey>,
}

/// What signs leaves, with its key.
struct Intermediate {
    certificate: Certificate,
    issuer: Issuer<'static, SecretKey>,
}

// === impl CertificateAuthority ===

impl CertificateAuthority {
    /// The authority for `hosts`: made new in memory, or, with `ca.directory`, the one kept there, which is made when the
    /// directory has none. It is proven to work: a leaf for an example of each host pattern is verified as a client would.
    ///
    /// # Errors
    /// [`AuthorityError`] where the kept files cannot be used as they are, or a client would not accept a leaf.
    pub fn open(hosts: &HostSet, settings: &CaSettings, now: SystemTime) -> Result<Self, AuthorityError> {
        let scope = NameScope::of(hosts);
        let Some(directory) = &settings.directory else {
            let authority = Self::generate(scope, settings, now)?;
            authority.prove(hosts, now, |host, source| AuthorityError::Unproven { host, source })?;
            return Ok(authority);
        };
        let store = Store::new(directory);
        if let Some(kept) = store.load()? {
            let authority = match kept {
                Kept::Intermediate(root, intermediate) => {
                    root.check_dates(&store, settings.leaf_lifetime, now)?;
                    intermediate.certificate.check_dates(&store, settings.leaf_lifetime, now)?;
                    Self::with(root, intermediate, scope, settings)
                }
                Kept::Root(root) => {
                    root.certificate.check_dates(&store, settings.leaf_lifetime, now)?;
                    let intermediate = Intermediate::under(&root, &scope, now)?;
                    Self { held: Held::Root, ..Self::with(root.certificate, intermediate, scope, settings) }
                }
            };
            let (certificate, key) = (store.certificate, store.key);
            let unusable = |host, source: Box<rustls::Error>| match *source {
                rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                    AuthorityError::KeyMismatch { certificate, key }
                }
                _ => AuthorityError::Narrow { host, certificate, key, source },
            };
            authority.prove(hosts, now, unusable)?;
            return Ok(authority);
        }
        if settings.lifetime <= settings.leaf_lifetime {
            return Err(AuthorityError::Lifetime);
        }
        let authority = Self::generate(scope, settings, now)?;
        authority.prove(hosts, now, |host, source| AuthorityError::Unproven { host, source })?;
        store.save(&authority.root, &authority.intermediate)?;
        Ok(authority)
    }

    /// A new root, whose key is forgotten, and a new intermediate.
    fn generate(scope: NameScope, settings: &CaSettings, now: SystemTime) -> Result<Self, SignError> {
        let root = Root::generate(&scope, settings.lifetime, now)?;
        let intermediate = Intermediate::under(&root, &scope, now)?;
        Ok(Self::with(root.certificate, intermediate, scope, settings))
    }

    fn with(root: Certificate, intermediate: Intermediate, scope: NameScope, settings: &CaSettings) -> Self {
        let (root_pem, leaf_lifetime) = (to_pem(&root.der), settings.leaf_lifetime);
        Self { root, root_pem, intermediate, scope, leaf_lifetime, held: Held::Intermediate }
    }

    /// Issues a leaf for an example of each pattern and verifies it as a client does that trusts the root.
    fn prove(
        &self,
        hosts: &HostSet,
        now: SystemTime,
        refused: impl FnOnce(String, Box<rustls::Error>) -> AuthorityError,
    ) -> Result<(), AuthorityError> {
        for pattern in hosts.hosts() {
            let host = pattern.example(EXAMPLE_LABEL);
            let leaf = self.issue(&host, now)?;
            if let Err(error) = self.verify(&host, &leaf.chain, now) {
                return Err(refused(host, Box::new(error)));
            }
        }
        Ok(())
    }

    /// Whether a client that trusts the root accepts `chain` as `host`.
    fn verify(&self, host: &str, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der.clone())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let name = ServerName::try_from(host).map_err(|error| rustls::Error::General(error.to_string()))?;
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| rustls::Error::FailedToGetCurrentTime)?;
        let [leaf, intermediates @ ..] = chain else { return Err(rustls::Error::NoCertificatesPresented) };
        verifier.verify_server_cert(leaf, intermediates, &name, &[], UnixTime::since_unix_epoch(since_epoch))?;
        Ok(())
    }

    /// Whether leaves can be issued for every host that `hosts` lets in.
    pub fn covers(&self, hosts: &HostSet) -> bool {
        hosts.hosts().iter().all(|pattern| match pattern.ip() {
            Some(address) => self.scope.permits_address(address),
            None => self.scope.permits_name(pattern.suffix()),
        })
    }

    /// A new leaf for `host`, a DNS name or an IP address (IPv6 without brackets), valid from a little before `now` for
    /// `ca.leaf_lifetime` or as long as the authority, whichever is shorter.
    ///
    /// # Errors
    /// [`IssueError`] for what is no host, for a host outside the intercepted ones, and after the authority's end.
    pub fn issue(&self, host: &str, now: SystemTime) -> Result<Leaf, IssueError> {
        let name = alternative_name(host)?;
        let permitted = match &name {
            SanType::IpAddress(address) => self.scope.permits_address(*address),
            SanType::DnsName(name) => self.scope.permits_name(name.as_str()),
            _ => false,
        };
        if !permitted {
            return Err(IssueError::NotPermitted { host: host.to_owned() });
        }
        self.sign(host, name, now)
    }

    /// Signs without asking whether anyone would accept it.
    fn sign(&self, host: &str, name: SanType, now: SystemTime) -> Result<Leaf, IssueError> {
        let failed = |reason| IssueError::Sign { host: host.to_owned(), reason };
        let end = self.intermediate.certificate.not_after;
        let wanted = now.checked_add(self.leaf_lifetime).unwrap_or(end);
        let validity = Validity::new(now, wanted.min(end)).map_err(failed)?;
        if validity.not_after() <= now {
            return Err(IssueError::Expired { host: host.to_owned() });
        }
        let key = KeyPair::generate().map_err(|error| failed(error.into()))?;
        let params = profile::leaf(name, validity).map_err(failed)?;
        let leaf = params.signed_by(&key, &self.intermediate.issuer).map_err(|error| failed(error.into()))?;
        Ok(Leaf {
            chain: vec![leaf.der().clone(), self.intermediate.certificate.der.clone()],
            key: key.into(),
            not_before: validity.not_before(),
            not_after: validity.not_after(),
        })
    }

    /// The root, which clients must trust, as one PEM certificate.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The root in DER.
    pub fn root_der(&self) -> &CertificateDer<'static> {
        &self.root.der
    }

    /// Which key it keeps.
    pub fn held(&self) -> Held {
        self.held
    }

    /// The SHA-256 digest of the root, as in `AB:CD:..`.
    pub fn fingerprint_sha256(&self) -> String {
        let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().expect("the suite is one of TLS 1.3");
        let digest = suite.common.hash_provider.hash(&self.root.der);
        digest.as_ref().iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":")
    }

    /// The last second the root is valid.
    pub fn not_after(&self) -> SystemTime {
        self.root.not_after
    }

    /// The root's name, such as `O=batch-retry-proxy, CN=batch-retry-proxy CA 0a1b2c3d`.
    pub fn subject(&self) -> String {
        subject(&self.root.der)
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").field("subject", &self.subject()).finish_non_exhaustive()
    }
}

// === impl Leaf ===

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

// === impl Root ===

impl Root {
    fn generate(scope: &NameScope, lifetime: Duration, now: SystemTime) -> Result<Self, SignError> {
        let validity = Validity::new(now, now.checked_add(lifetime).ok_or(SignError::Dates)?)?;
        let key = SecretKey::generate()?;
        let params = Tier::Root.params(scope, validity)?;
        let certificate = Certificate::new(params.self_signed(&key)?.der(), validity);
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }
}

// === impl Intermediate ===

impl Intermediate {
    /// A new one, which lives as long as `root`.
    fn under(root: &Root, scope: &NameScope, now: SystemTime) -> Result<Self, SignError> {
        let validity = Validity::new(now, root.certificate.not_after)?;
        let key = SecretKey::generate()?;
        let params = Tier::Intermediate.params(scope, validity)?;
        let certificate = Certificate::new(params.signed_by(&key, &root.issuer)?.der(), validity);
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }
}

// === impl Certificate ===

impl Certificate {
    fn new(der: &CertificateDer<'static>, validity: Validity) -> Self {
        Self { der: der.clone(), not_before: validity.not_before(), not_after: validity.not_after() }
    }

    /// Verifiers take a root's dates on trust, or not at all: they are checked here.
    fn check_dates(&self, store: &Store, leaf_lifetime: Duration, now: SystemTime) -> Result<(), AuthorityError> {
        if now < self.not_before {
            return Err(AuthorityError::NotYetValid { path: store.certificate.clone(), not_before: self.not_before });
        }
        if now.checked_add(leaf_lifetime).is_none_or(|needed| needed > self.not_after) {
            let (certificate, key) = (store.certificate.clone(), store.key.clone());
            return Err(AuthorityError::Spent { certificate, key, not_after: self.not_after });
        }
        Ok(())
    }
}

/// A certificate in PEM with a line feed at each end of line.
pub(super) fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new("CERTIFICATE", certificate.to_vec()), config)
}

/// The name of a certificate's owner, empty where it cannot be read.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> String {
    parse_x509_certificate(certificate).map_or_else(|_| String::new(), |(_, parsed)| parsed.subject().to_string())
}

/// What a leaf for `host` vouches for, a DNS name in lower case.
fn alternative_name(host: &str) -> Result<SanType, IssueError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let invalid = || IssueError::InvalidHost { host: host.to_owned() };
    // The final dot of an absolute name must not appear in a certificate (RFC 5280, 4.2.1.6).
    if DnsName::try_from(host).is_err() || host.ends_with('.') {
        return Err(invalid());
    }
    Ia5String::try_from(host.to_ascii_lowercase()).map(SanType::DnsName).map_err(|_| invalid())
}

/// Stands for each `*` of a pattern in the names that are tried at the start.
const EXAMPLE_LABEL: &str = "probe";

#[cfg(test)]
mod tests;
