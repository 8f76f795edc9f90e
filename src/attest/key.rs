//! P-256 public keys: reading, naming, verifying.
//!
//! In scope: SubjectPublicKeyInfo in DER and PEM, key ids, ECDSA over SHA-256.
//! Out of scope: private keys (the `signer` adapter) and trust (`verify`).

use super::Malformed;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{DerSignature, Signature, VerifyingKey};
use p256::pkcs8::{DecodePublicKey, Document, EncodePublicKey, LineEnding};
use sha2::{Digest, Sha256};

/// The most bytes of a PEM or DER key that are read; a P-256 key has fewer than 200.
const LONGEST_KEY: usize = 4096;

/// A P-256 public key that verifies attestations, checkpoints and status lists.
///
/// Two keys are equal if their SubjectPublicKeyInfo is.
#[derive(Clone)]
pub struct PublicKey {
    spki: Vec<u8>,
    key: VerifyingKey,
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// [`Malformed`] if it is anything but one P-256 key in its canonical form.
    pub fn from_der(der: &[u8]) -> Result<Self, Malformed> {
        if der.len() > LONGEST_KEY {
            return Err(Malformed::new("public key", "it is longer than 4,096 bytes"));
        }
        let key = VerifyingKey::from_public_key_der(der)
            .map_err(|e| Malformed::new("public key", format!("no P-256 SubjectPublicKeyInfo: {e}")))?;
        Self::of(key)
    }

    /// Reads a `PUBLIC KEY` block in PEM.
    ///
    /// # Errors
    /// [`Malformed`] if it is anything but one P-256 key.
    pub fn from_pem(pem: &str) -> Result<Self, Malformed> {
        if pem.len() > LONGEST_KEY {
            return Err(Malformed::new("public key", "it is longer than 4,096 bytes"));
        }
        let key = VerifyingKey::from_public_key_pem(pem.trim())
            .map_err(|e| Malformed::new("public key", format!("no P-256 key in PEM: {e}")))?;
        Self::of(key)
    }

    /// Encodes anew, so that the key's name does not depend on how it was written.
    fn of(key: VerifyingKey) -> Result<Self, Malformed> {
        let spki = key
            .to_public_key_der()
            .map_err(|e| Malformed::new("public key", format!("it cannot be encoded: {e}")))?;
        Ok(Self {
            spki: spki.into_vec(),
            key,
        })
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The SubjectPublicKeyInfo in PEM.
    pub fn to_pem(&self) -> String {
        Document::try_from(self.spki.as_slice())
            .and_then(|d| d.to_pem("PUBLIC KEY", LineEnding::LF))
            .unwrap_or_default()
    }

    /// The key id of envelopes and bundles: `base64(SHA-256(SPKI DER))`.
    pub fn key_id(&self) -> String {
        key_id(&self.spki)
    }

    /// Whether `signature` (ECDSA, DER) fits `message` hashed with SHA-256.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        DerSignature::try_from(signature).is_ok_and(|sig| self.key.verify(message, &sig).is_ok())
    }

    /// Whether `signature` (ECDSA, `r || s`, 64 bytes, as JWS has it) fits `message`.
    pub fn verifies_fixed(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|sig| self.key.verify(message, &sig).is_ok())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.key_id())
    }
}

/// `base64(SHA-256(SPKI DER))`: the name of a key in envelopes and bundles.
pub fn key_id(spki: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(spki))
}

/// Rewrites an ECDSA P-256 signature from DER to `r || s`, 64 bytes, as JWS wants it (RFC 7518, 3.4).
///
/// # Errors
/// [`Malformed`] if it is no DER signature of P-256.
pub fn der_to_fixed(signature: &[u8]) -> Result<Vec<u8>, Malformed> {
    Signature::from_der(signature)
        .map(|sig| sig.to_bytes().to_vec())
        .map_err(|e| Malformed::new("signature", format!("no DER signature of P-256: {e}")))
}
