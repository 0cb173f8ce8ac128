//! The certificates that the parent's own variables name: the command trusted them before, so it must behind the proxy.
//!
//! Read with patience, unlike `upstream.ca_files`: a file may hold what only its reader understands, and that is no reason not to start.

use std::fs;
use std::io;
use std::path::Path;

use pem::{EncodeConfig, LineEnding, Pem};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The usable certificates of a PEM file, or of all files in a directory, as PEM.
///
/// # Errors
/// Where the file or directory cannot be read.
pub(in crate::cli) fn read(path: &Path) -> io::Result<String> {
    if !path.is_dir() {
        return Ok(usable(&fs::read(path)?));
    }
    let mut text = String::new();
    for entry in fs::read_dir(path)? {
        // A directory made by `c_rehash` has links to files that are gone.
        if let Ok(contents) = fs::read(entry?.path()) {
            text.push_str(&usable(&contents));
        }
    }
    Ok(text)
}

fn usable(contents: &[u8]) -> String {
    let certificates = CertificateDer::pem_slice_iter(contents).flatten();
    let accepted = certificates.filter(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok());
    let encode = EncodeConfig::new().set_line_ending(LineEnding::LF);
    accepted.map(|certificate| pem::encode_config(&Pem::new("CERTIFICATE", certificate.to_vec()), encode)).collect()
}

/// Where systems keep their roots in one file. Asked for when the parent's `SSL_CERT_FILE` takes their place, because some clients, such
/// as Python's requests, never read that variable and had public roots until now.
pub(in crate::cli) const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
