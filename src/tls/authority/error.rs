//! Why there is no authority, or no certificate from it.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use humantime::format_rfc3339_seconds;
use thiserror::Error;

use super::SignError;

/// Why there is no certificate for a host.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum IssueError {
    /// The authority's own life is over.
    #[error("no certificate for `{host}`: the certificate authority has expired, start again to have a new one")]
    Expired {
        /// The host asked for.
        host: String,
    },
    /// Neither a DNS name in ASCII nor an IP address.
    #[error("no certificate for {host:?}: it is neither a DNS name nor an IP address")]
    InvalidHost {
        /// The host asked for.
        host: String,
    },
    /// No client would accept it.
    #[error("no certificate for `{host}`: the certificate authority may not vouch for it")]
    NotPermitted {
        /// The host asked for.
        host: String,
    },
    /// The certificate could not be made.
    #[error("no certificate for `{host}`: {reason}")]
    Sign {
        /// The host asked for.
        host: String,
        /// What failed.
        reason: SignError,
    },
    /// The TLS library refuses what was made.
    #[error("no certificate for `{host}`: {reason}")]
    Tls {
        /// The host asked for.
        host: String,
        /// What it says.
        reason: rustls::Error,
    },
}

/// Why there is no authority.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// One of the two files is there without the other.
    #[error(
        "`ca.directory` has {} but not {}; put the missing file back, or remove the other to have a new authority made",
        .present.display(), .missing.display()
    )]
    Incomplete {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },
    /// A host that is to be intercepted cannot be given a certificate.
    #[error("an example of `intercept.hosts` cannot be given a certificate")]
    Issue(#[from] IssueError),
    /// The certificate belongs to another key.
    #[error("`ca.directory`: the key in {} does not belong to the certificate in {}", .key.display(), .certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Others than the owner may read the key.
    #[error("`ca.directory`: others than the owner may use {} (mode {mode:04o}); change it to mode 0600", .path.display())]
    KeyMode {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// An authority that is kept must outlive the leaves it signs.
    #[error("`ca.lifetime` must be longer than `ca.leaf_lifetime` for an authority kept in `ca.directory`")]
    Lifetime,
    /// A file does not hold what it should.
    #[error("`ca.directory`: {} cannot be used: {reason}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The kept root cannot vouch for what is now intercepted.
    #[error(
        "`ca.directory`: the authority in {} does not vouch for `{host}`, which `intercept.hosts` names; remove {} and {} to have a \
         new one made, and distribute the new ca.pem",
        .certificate.display(), .certificate.display(), .key.display()
    )]
    Narrow {
        /// An example of the hosts it does not cover.
        host: String,
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What a client's verifier says.
        source: Box<rustls::Error>,
    },
    /// The kept root is from the future.
    #[error("`ca.directory`: {} is valid only from {}; check this machine's clock", .path.display(), format_rfc3339_seconds(*.not_before))]
    NotYetValid {
        /// The certificate's file.
        path: PathBuf,
        /// The first second it is valid.
        not_before: SystemTime,
    },
    /// A file could not be read.
    #[error("`ca.directory`: cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The authority's certificates could not be made.
    #[error("cannot make a certificate authority (`ca.lifetime`)")]
    Sign(#[from] SignError),
    /// The kept root has ended its life or ends it before a leaf made now would.
    #[error(
        "`ca.directory`: {} is valid until {}, which is too short for a leaf (`ca.leaf_lifetime`); remove it and {} to have a new \
         authority made, and distribute the new ca.pem",
        .certificate.display(), format_rfc3339_seconds(*.not_after), .key.display()
    )]
    Spent {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The last second it is valid.
        not_after: SystemTime,
    },
    /// A client would not accept a leaf of this new authority.
    #[error("a certificate for `{host}` would not be accepted by clients")]
    Unproven {
        /// An example of the intercepted hosts.
        host: String,
        /// What a client's verifier says.
        source: Box<rustls::Error>,
    },
    /// A file or the directory could not be written.
    #[error("`ca.directory`: cannot write {}", .path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}
