//! The files by which clients trust the authority (`ca.publish`).
//!
//! `ca.pem` is the root alone, for what *adds* to a client's own roots (`NODE_EXTRA_CA_CERTS`). `bundle.pem` also has the
//! roots we trust ourselves, for what *replaces* them (`REQUESTS_CA_BUNDLE`, `SSL_CERT_FILE`): with the root alone there, a
//! client could no longer reach anything that is not intercepted.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use thiserror::Error;

use super::authority::{self, CertificateAuthority};
use super::file;
use super::roots::Roots;

/// Why the files could not be written.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The directory is missing and cannot be made.
    #[error("`ca.publish`: cannot create {}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("`ca.publish`: cannot write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Writes `ca.pem` and `bundle.pem` into `directory`, which is made if missing. Who reads them meanwhile sees the old files
/// or the new ones, never part of one.
///
/// # Errors
/// [`PublishError`] names the file or directory.
pub fn publish(directory: &Path, authority: &CertificateAuthority, roots: &Roots) -> Result<(), PublishError> {
    std::fs::create_dir_all(directory).map_err(|source| PublishError::Directory { path: directory.to_owned(), source })?;
    for (name, contents) in [("ca.pem", ca_pem(authority)), ("bundle.pem", bundle_pem(authority, roots))] {
        // Clients run as other users than the proxy.
        file::replace(directory, name, &contents, 0o644)
            .map_err(|source| PublishError::Write { path: directory.join(name), source })?;
    }
    Ok(())
}

/// All of `roots`, then the authority's root, each below a comment with its subject.
pub fn bundle_pem(authority: &CertificateAuthority, roots: &Roots) -> String {
    let mut text: String = roots.certificates().iter().map(commented).collect();
    text.push_str(&commented(authority.root_der()));
    text
}

fn ca_pem(authority: &CertificateAuthority) -> String {
    commented(authority.root_der())
}

/// A certificate below its subject. Only ASCII comes out: Python refuses anything else in certificates given to it as text.
fn commented(certificate: &CertificateDer<'_>) -> String {
    let mut subject = String::new();
    for character in authority::subject(certificate).chars() {
        match character {
            ' '..='~' => subject.push(character),
            other => subject.extend(other.escape_default()),
        }
    }
    format!("# {subject}\n{}", authority::to_pem(certificate))
}

#[cfg(test)]
mod tests;
