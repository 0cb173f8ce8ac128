//! The files by which clients trust the authority (`ca.publish`).
//!
//! `ca.pem` is the root alone, for what *adds* to a client's own roots (`NODE_EXTRA_CA_CERTS`). `bundle.pem` also has the roots
//! we trust ourselves, for what *replaces* them (`REQUESTS_CA_BUNDLE`, `SSL_CERT_FILE`): with the root alone there, a client
//! could no longer reach anything that is not intercepted. `truststore.p12` is the same for Java, and `proxy.env` names them all.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use thiserror::Error;

use super::authority::{self, CertificateAuthority};
use super::file;
use super::roots::Roots;

mod truststore;
mod variables;

pub use truststore::{TRUSTSTORE_PASSWORD, TruststoreError, truststore_holds, truststore_p12};
pub use variables::{ClientFiles, DIRECT};

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
    /// The file for Java cannot be made.
    #[error("`ca.publish`: {0}")]
    Truststore(#[from] TruststoreError),
    /// A file cannot be written.
    #[error("`ca.publish`: cannot write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Writes `ca.pem`, `bundle.pem`, `truststore.p12` and `proxy.env` into `directory`, which is made if missing, for a proxy that listens
/// on `proxy`. Who reads them meanwhile sees the old files or the new ones, never part of one.
///
/// # Errors
/// [`PublishError`] names the file or directory.
pub fn publish(
    directory: &Path,
    authority: &CertificateAuthority,
    roots: &Roots,
    proxy: SocketAddr,
) -> Result<(), PublishError> {
    std::fs::create_dir_all(directory).map_err(|source| PublishError::Directory { path: directory.to_owned(), source })?;
    let files = [
        (CA_PEM, ca_pem(authority).into_bytes()),
        (BUNDLE_PEM, bundle_pem(authority, roots).into_bytes()),
        (TRUSTSTORE_P12, truststore_p12(authority, roots)?),
        // Last, because it names the others.
        (PROXY_ENV, proxy_env(proxy, Some(directory)).into_bytes()),
    ];
    for (name, contents) in files {
        // Clients run as other users than the proxy.
        file::replace(directory, name, &contents, 0o644)
            .map_err(|source| PublishError::Write { path: directory.join(name), source })?;
    }
    Ok(())
}

/// The lines of `proxy.env` for a proxy that listens on `proxy` and publishes in `directory`. Without a directory they name files in the
/// directory where the lines are read, and say how to get them there.
pub fn proxy_env(proxy: SocketAddr, directory: Option<&Path>) -> String {
    // Only a working directory that is gone makes this fail, and then the name as given is as good.
    let folder = directory.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let folder = folder.unwrap_or_default();
    let [bundle, node, truststore] = [BUNDLE_PEM, CA_PEM, TRUSTSTORE_P12].map(|name| folder.join(name));
    let lines = ClientFiles { proxy, bundle: &bundle, node: &node, truststore: &truststore }.shell_lines();
    if directory.is_some() { lines } else { format!("{FETCH}{lines}") }
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

/// The authority's root alone.
pub const CA_PEM: &str = "ca.pem";
/// The roots in use and the authority's.
pub const BUNDLE_PEM: &str = "bundle.pem";
/// The bundle for Java.
pub const TRUSTSTORE_P12: &str = "truststore.p12";
/// What a shell sets so that programs use the proxy and trust it.
pub const PROXY_ENV: &str = "proxy.env";

/// Stands above lines that name files nobody has published.
const FETCH: &str = "\
# The files are looked for in the program's working directory (`ca.publish` gives them a lasting place). To get them:
#   batch-retry-proxy ca export --format pem --out ca.pem
#   batch-retry-proxy ca export --format bundle --out bundle.pem
#   batch-retry-proxy ca export --format p12 --out truststore.p12
";

#[cfg(test)]
mod tests;
