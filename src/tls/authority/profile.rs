//! What the certificates look like: names, extensions, serial numbers and dates (RFC 5280).
//!
//! All keys are ECDSA on P-256: made in microseconds and accepted by every client.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
    SerialNumber,
};
use rustls::crypto::ring;
use thiserror::Error;
use time::OffsetDateTime;

use super::scope::NameScope;

/// From when to when a certificate is valid, in whole seconds.
#[derive(Clone, Copy)]
pub(super) struct Validity {
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

/// The two certificates above a leaf.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tier {
    /// Signs leaves.
    Intermediate,
    /// What clients trust; signs the intermediate.
    Root,
}

/// Why a certificate could not be made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SignError {
    /// A date no certificate can carry.
    #[error("its dates lie outside the years 1970 to 9999")]
    Dates,
    /// The system's source of randomness failed.
    #[error("the system gives no random numbers")]
    Random,
    /// Making the key or the signature failed.
    #[error("{0}")]
    Signature(#[from] rcgen::Error),
}

// === impl Validity ===

impl Validity {
    /// From a little before `now`, for clients whose clock is slow, until `not_after`.
    pub(super) fn new(now: SystemTime, not_after: SystemTime) -> Result<Self, SignError> {
        let from = now.checked_sub(BACK_DATED).ok_or(SignError::Dates)?;
        Ok(Self { not_before: date(from)?, not_after: date(not_after)? })
    }

    /// The first second.
    pub(super) fn not_before(self) -> SystemTime {
        self.not_before.into()
    }

    /// The last second.
    pub(super) fn not_after(self) -> SystemTime {
        self.not_after.into()
    }
}

// === impl Tier ===

impl Tier {
    /// The certificate of this tier. Both tiers carry the constraints, because some verifiers ignore those of a trusted
    /// root.
    pub(super) fn params(self, scope: &NameScope, validity: Validity) -> Result<CertificateParams, SignError> {
        let mut params = params(validity)?;
        let (name, path_length) = match self {
            Self::Intermediate => ("intermediate CA", 0),
            Self::Root => ("CA", 1),
        };
        // A store that holds several of our authorities, and a client that remembers intermediates, look them up by name.
        let distinction = u32::from_be_bytes(random()?);
        params.distinguished_name.push(DnType::CommonName, format!("{ORGANIZATION} {name} {distinction:08x}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(scope.constraints());
        params.use_authority_key_identifier_extension = self == Self::Intermediate;
        Ok(params)
    }
}

/// A server's certificate for one name. It has no common name: clients read the alternative name only, and a common name
/// holds no more than 64 characters.
pub(super) fn leaf(name: SanType, validity: Validity) -> Result<CertificateParams, SignError> {
    let mut params = params(validity)?;
    params.subject_alt_names = vec![name];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn params(validity: Validity) -> Result<CertificateParams, SignError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
    params.serial_number = Some(serial()?);
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    Ok(params)
}

/// 128 bits of which 126 are random; the first two make it positive and always 16 octets long (at most 20 are allowed).
fn serial() -> Result<SerialNumber, SignError> {
    let mut octets: [u8; 16] = random()?;
    octets[0] = octets[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&octets))
}

fn random<const N: usize>() -> Result<[u8; N], SignError> {
    let mut octets = [0; N];
    ring::default_provider().secure_random.fill(&mut octets).map_err(|_| SignError::Random)?;
    Ok(octets)
}

fn date(time: SystemTime) -> Result<OffsetDateTime, SignError> {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| SignError::Dates)?.as_secs();
    let seconds = i64::try_from(seconds).map_err(|_| SignError::Dates)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| SignError::Dates)
}

/// What every certificate of ours names as its owner.
const ORGANIZATION: &str = "batch-retry-proxy";

/// How far a client's clock may be behind ours.
const BACK_DATED: Duration = Duration::from_secs(5 * 60);
