//! The root on disk: `ca.pem` and `ca-key.pem` in `ca.directory`.
//!
//! Only the root is kept. The intermediate is made anew at each start and its key never leaves memory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

use super::{AuthorityError, Root, to_pem};
use crate::tls::file;

/// Where a root is kept.
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

    /// The root that is kept, `None` where there is none yet.
    pub(super) fn load(&self) -> Result<Option<Root>, AuthorityError> {
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
        let key = read(key, &self.key)?;
        let key = KeyPair::from_pem(&key).map_err(|error| self.malformed(&self.key, error.to_string()))?;
        self.assemble(&certificate, key).map(Some)
    }

    fn assemble(&self, pem: &str, key: KeyPair) -> Result<Root, AuthorityError> {
        let malformed = |reason| self.malformed(&self.certificate, reason);
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| malformed(error.to_string()))?;
        let (_, parsed) = parse_x509_certificate(&der).map_err(|error| malformed(error.to_string()))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(AuthorityError::KeyMismatch { certificate: self.certificate.clone(), key: self.key.clone() });
        }
        if !may_sign_an_intermediate(&parsed) {
            return Err(malformed("it is not a certificate authority that may sign an intermediate".to_owned()));
        }
        let (not_before, not_after) =
            (parsed.validity().not_before.to_datetime(), parsed.validity().not_after.to_datetime());
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| malformed(error.to_string()))?;
        Ok(Root { issuer, not_before: not_before.into(), not_after: not_after.into(), der })
    }

    /// Keeps a root that is not yet kept. Where another process was faster, its files stay as they are.
    pub(super) fn save(&self, root: &Root) -> Result<(), AuthorityError> {
        let write = |path: &Path| {
            let path = path.to_owned();
            move |source| AuthorityError::Write { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(write(&self.directory))?;
        // Both are on disk before either gets its name, so that half a pair is left behind only by a crash between two renames.
        let key =
            file::stage(&self.directory, root.issuer.key().serialize_pem().as_bytes(), 0o600).map_err(write(&self.key))?;
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

fn may_sign_an_intermediate(certificate: &X509Certificate<'_>) -> bool {
    let is_authority = matches!(
        certificate.basic_constraints(),
        Ok(Some(basic)) if basic.value.ca && basic.value.path_len_constraint != Some(0)
    );
    is_authority && certificate.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
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
