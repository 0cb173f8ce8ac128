//! The authority on disk: `ca.pem` and `ca-key.pem` in `ca.directory`.
//!
//! The first is the root, the second the intermediate and its key. The root's key is kept nowhere: Java would believe a certificate for any host
//! that was made with it. Versions before this one kept it alone in `ca-key.pem`; that still serves.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::{Issuer, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use super::key::SecretKey;
use super::{AuthorityError, Certificate, Intermediate, Root, to_pem};
use crate::tls::file;

/// What is kept.
pub(super) enum Kept {
    /// A root, and an intermediate with its key.
    Intermediate(Certificate, Intermediate),
    /// A root with its own key.
    Root(Root),
}

/// Where it is kept.
pub(super) struct Store {
    directory: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

// === impl Store ===

impl Store {
    /// The store in `directory`, which need not exist.
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), certificate: directory.join("ca.pem"), key: directory.join("ca-key.pem") }
    }

    /// What is kept, `None` where nothing is yet.
    pub(super) fn load(&self) -> Result<Option<Kept>, AuthorityError> {
        let incomplete = |present: &Path, missing: &Path| AuthorityError::Incomplete {
            present: present.to_owned(),
            missing: missing.to_owned(),
        };
        let (certificate, key) = match (open(&self.certificate)?, open(&self.key)?) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(incomplete(&self.certificate, &self.key)),
            (None, Some(_)) => return Err(incomplete(&self.key, &self.certificate)),
            (Some(certificate), Some(key)) => (certificate, key),
        };
        // The mode of the file that is open, not of whatever has its name a moment later.
        let mode =
            key.metadata().map_err(|source| AuthorityError::Read { path: self.key.clone(), source })?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(AuthorityError::KeyMode { path: self.key.clone(), mode: mode & 0o7777 });
        }
        let certificate = read(certificate, &self.certificate)?;
        let secret = Zeroizing::new(read(key, &self.key)?);
        let malformed = |reason| self.malformed(&self.key, reason);
        let key = SecretKey::from_pem(&secret).map_err(malformed)?;
        let root = self.certificate(&self.certificate, &certificate, may_sign_an_intermediate)?;
        let has_certificate = CertificateDer::pem_slice_iter(secret.as_bytes()).next().is_some();
        let certificate =
            if has_certificate { self.certificate(&self.key, &secret, may_sign_leaves)? } else { root.clone() };
        let (_, parsed) = parse_x509_certificate(&certificate.der).map_err(|error| malformed(error.to_string()))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(AuthorityError::KeyMismatch { certificate: self.certificate.clone(), key: self.key.clone() });
        }
        let issuer = Issuer::from_ca_cert_der(&certificate.der, key).map_err(|error| malformed(error.to_string()))?;
        Ok(Some(if has_certificate {
            Kept::Intermediate(root, Intermediate { certificate, issuer })
        } else {
            Kept::Root(Root { certificate, issuer })
        }))
    }

    /// The certificate in the text of a file, which must be what `may` says.
    fn certificate(
        &self,
        path: &Path,
        pem: &str,
        may: fn(&X509Certificate<'_>) -> Result<(), &'static str>,
    ) -> Result<Certificate, AuthorityError> {
        let malformed = |reason| self.malformed(path, reason);
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| malformed(error.to_string()))?;
        let (_, parsed) = parse_x509_certificate(&der).map_err(|error| malformed(error.to_string()))?;
        may(&parsed).map_err(|reason| malformed(reason.to_owned()))?;
        let (not_before, not_after) =
            (parsed.validity().not_before.to_datetime(), parsed.validity().not_after.to_datetime());
        Ok(Certificate { not_before: not_before.into(), not_after: not_after.into(), der })
    }

    /// Keeps an authority that is not yet kept. Where another process was faster, its files stay as they are.
    pub(super) fn save(&self, root: &Certificate, intermediate: &Intermediate) -> Result<(), AuthorityError> {
        let write = |path: &Path| {
            let path = path.to_owned();
            move |source| AuthorityError::Write { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(write(&self.directory))?;
        // Both are on disk before either gets its name, so that half a pair is left behind only by a crash between two renames.
        let mut secret = Zeroizing::new(to_pem(&intermediate.certificate.der));
        let key = intermediate.issuer.key().to_pem();
        // In one piece, so that no shorter one with a part of the key is left behind in memory.
        secret.reserve_exact(key.len());
        secret.push_str(&key);
        let key = file::stage(&self.directory, secret.as_bytes(), 0o600).map_err(write(&self.key))?;
        let certificate =
            file::stage(&self.directory, to_pem(&root.der).as_bytes(), 0o644).map_err(write(&self.certificate))?;
        key.persist_noclobber(&self.key).map_err(|error| write(&self.key)(error.error))?;
        if let Err(error) = certificate.persist_noclobber(&self.certificate) {
            // The error that matters is the one above; a key that stays is named by the next start.
            let _ = fs::remove_file(&self.key);
            return Err(write(&self.certificate)(error.error));
        }
        Ok(())
    }

    fn malformed(&self, path: &Path, reason: String) -> AuthorityError {
        AuthorityError::Malformed { path: path.to_owned(), reason }
    }
}

fn may_sign_an_intermediate(certificate: &X509Certificate<'_>) -> Result<(), &'static str> {
    let ends_here = matches!(certificate.basic_constraints(), Ok(Some(basic)) if basic.value.path_len_constraint == Some(0));
    if ends_here || !may_sign(certificate) {
        return Err("it is not a certificate authority that may sign an intermediate");
    }
    Ok(())
}

/// Not without constraints of its own: not every verifier applies those of the root.
fn may_sign_leaves(certificate: &X509Certificate<'_>) -> Result<(), &'static str> {
    if !may_sign(certificate) {
        return Err("its certificate is not that of a certificate authority");
    }
    match certificate.name_constraints() {
        Ok(Some(constraints)) if constraints.critical => Ok(()),
        _ => Err("its certificate has no critical name constraints"),
    }
}

fn may_sign(certificate: &X509Certificate<'_>) -> bool {
    matches!(certificate.basic_constraints(), Ok(Some(basic)) if basic.value.ca)
        && certificate.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

fn open(path: &Path) -> Result<Option<File>, AuthorityError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuthorityError::Read { path: path.to_owned(), source }),
    }
}

fn read(mut file: File, path: &Path) -> Result<String, AuthorityError> {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(source) => Err(AuthorityError::Read { path: path.to_owned(), source }),
    }
}
