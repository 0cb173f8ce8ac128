//! The key that signs: overwritten in memory when it is dropped.
//!
//! What is kept is the key's PKCS#8 text alone. For the moment of a signature the cryptography library has a copy of its own on the stack, which
//! it does not overwrite.

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use zeroize::{Zeroize, Zeroizing};

use super::SignError;

/// An ECDSA key on P-256.
pub(super) struct SecretKey {
    pkcs8: Zeroizing<Vec<u8>>,
    public: Vec<u8>,
}

// === impl SecretKey ===

impl SecretKey {
    /// A new one.
    pub(super) fn generate() -> Result<Self, SignError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
        let document = document.map_err(|_| SignError::Random)?;
        Ok(Self::from_pkcs8(Zeroizing::new(document.as_ref().to_vec()))?)
    }

    /// The key in a PEM text, which may hold other things besides.
    pub(super) fn from_pem(text: &str) -> Result<Self, String> {
        let mut key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|error| error.to_string())?;
        let pkcs8 = Zeroizing::new(key.secret_pkcs8_der().to_vec());
        key.zeroize();
        Self::from_pkcs8(pkcs8).map_err(|error| error.to_string())
    }

    pub(super) fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, rcgen::Error> {
        let public = pair(&pkcs8)?.public_key().as_ref().to_vec();
        Ok(Self { pkcs8, public })
    }

    /// As PEM.
    pub(super) fn to_pem(&self) -> Zeroizing<String> {
        let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
        let block = Pem::new("PRIVATE KEY", self.pkcs8.to_vec());
        let text = Zeroizing::new(pem::encode_config(&block, config));
        block.into_contents().zeroize();
        text
    }
}

impl PublicKeyData for SecretKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for SecretKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = pair(&self.pkcs8)?.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(signature.as_ref().to_vec())
    }
}

fn pair(pkcs8: &[u8]) -> Result<EcdsaKeyPair, rcgen::Error> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &SystemRandom::new())
        .map_err(|rejected| rcgen::Error::RingKeyRejected(rejected.to_string()))
}

#[cfg(test)]
mod tests;
