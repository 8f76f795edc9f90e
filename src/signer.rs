//! The attestation key in a file: ECDSA P-256, PKCS#8 PEM, mode 0600.
//!
//! In scope: making, opening and using the key of one installation. Out of
//! scope: what is signed. A socket, a token or a KMS would be another type that
//! serves [`port::Signer`](crate::port::Signer).

use crate::attest::PublicKey;
use crate::port::{Outage, Signer};
use p256::ecdsa::{SigningKey, VerifyingKey};
use p256::elliptic_curve::Generate;
use p256::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding, SecretDocument};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// The most bytes of a key file that are read; a P-256 key in PEM has about 240.
const LONGEST_FILE: u64 = 4096;

/// A key from a file. ring signs: it is ready in microseconds, which each push waits for, where p256 first makes
/// its tables.
pub struct FileSigner {
    key: EcdsaKeyPair,
    public: PublicKey,
}

impl FileSigner {
    /// Opens a key file.
    ///
    /// # Errors
    /// `signer-unavailable` if the file cannot be read, if anyone but its owner may read or write it, or if
    /// it holds no P-256 key in PKCS#8 PEM.
    pub fn open(path: &Path) -> Result<Self, Outage> {
        let pem = read_guarded(path)?;
        // The parsers' messages are dropped: they may describe key bytes.
        let no_key = || outage(path, "it holds no P-256 key in PKCS#8 PEM".to_owned(), RESTORE);
        let (_, der) = SecretDocument::from_pem(&pem).map_err(|_| no_key())?;
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.as_bytes(), &random);
        Self::of(key.map_err(|_| no_key())?, path)
    }

    /// Makes a key and writes it to two new files: the private one (mode 0600), durable before the public one.
    ///
    /// # Errors
    /// `signer-unavailable` if either file exists or cannot be written.
    pub fn create(path: &Path, public_path: &Path) -> Result<Self, Outage> {
        let key =
            SigningKey::try_generate().map_err(|e| outage(path, e.to_string(), "Check the system's random device."))?;
        let pem = key
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|e| outage(path, e.to_string(), RESTORE))?;
        write_new(path, 0o600, pem.as_bytes())?;
        let signer = Self::open(path)?;
        write_new(public_path, 0o644, signer.public.to_pem().as_bytes())?;
        Ok(signer)
    }

    fn of(key: EcdsaKeyPair, path: &Path) -> Result<Self, Outage> {
        let bad = |why: String| outage(path, why, RESTORE);
        let point = VerifyingKey::from_sec1_bytes(key.public_key().as_ref()).map_err(|e| bad(e.to_string()))?;
        let spki = point.to_public_key_der().map_err(|e| bad(e.to_string()))?;
        let public = PublicKey::from_der(spki.as_bytes()).map_err(|e| bad(e.to_string()))?;
        Ok(Self { key, public })
    }

    /// The public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl Signer for FileSigner {
    /// With a random nonce that ring draws: equal messages give unequal signatures.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Outage> {
        let signature = self.key.sign(&SystemRandom::new(), message).map_err(|_| Outage {
            code: "signer-unavailable",
            what: "the attestation key could not sign".to_owned(),
            why: "the system gave no random bytes".to_owned(),
            next: "Check the system's random device.".to_owned(),
        })?;
        Ok(signature.as_ref().to_vec())
    }

    fn public_key(&self) -> &[u8] {
        self.public.spki()
    }
}

const RESTORE: &str = "Restore the key from a backup; `lychgate init --check` tells what is wrong.";

/// Reads a file that only its owner may read. The mode is that of the opened file, so no exchange in between counts.
fn read_guarded(path: &Path) -> Result<Zeroizing<String>, Outage> {
    let file = File::open(path).map_err(|e| outage(path, e.to_string(), RESTORE))?;
    let meta = file.metadata().map_err(|e| outage(path, e.to_string(), RESTORE))?;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let next = format!("Run: chmod 600 {}", path.display());
        return Err(outage(
            path,
            format!("its mode is {mode:o}: others may read or write it"),
            &next,
        ));
    }
    if meta.len() > LONGEST_FILE {
        return Err(outage(path, "it is longer than 4,096 bytes".to_owned(), RESTORE));
    }
    // Room for all of it at once: growing would leave copies behind that are not zeroed.
    let mut text = Zeroizing::new(String::with_capacity(LONGEST_FILE as usize));
    file.take(LONGEST_FILE)
        .read_to_string(&mut text)
        .map_err(|e| outage(path, e.to_string(), RESTORE))?;
    Ok(text)
}

fn write_new(path: &Path, mode: u32, data: &[u8]) -> Result<(), Outage> {
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(data)?;
        file.sync_all()?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(|e: std::io::Error| outage(path, e.to_string(), "Check the folder's permissions and free space."))
}

fn outage(path: &Path, why: String, next: &str) -> Outage {
    Outage {
        code: "signer-unavailable",
        what: format!("the attestation key file {} cannot be used", path.display()),
        why,
        next: next.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (tempfile::TempDir, FileSigner) {
        let dir = tempfile::tempdir().unwrap();
        let signer = FileSigner::create(&dir.path().join("a.key"), &dir.path().join("a.pub")).unwrap();
        (dir, signer)
    }

    #[test]
    fn a_made_key_opens_and_signs() {
        let (dir, signer) = made();
        let again = FileSigner::open(&dir.path().join("a.key")).unwrap();
        let signature = signer.sign(b"message").unwrap();
        assert!(again.public().verifies(b"message", &signature));
        let pem = std::fs::read_to_string(dir.path().join("a.pub")).unwrap();
        let public = PublicKey::from_pem(&pem).unwrap();
        assert_eq!(public.spki(), again.public_key());
        assert!(public.verifies(b"message", &signature));
        assert!(!public.verifies(b"massage", &signature));
    }

    #[test]
    fn a_loose_or_broken_key_is_refused() {
        let (dir, _) = made();
        let path = dir.path().join("a.key");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let refused = FileSigner::open(&path).err().unwrap();
        assert_eq!(refused.code, "signer-unavailable");
        assert!(
            refused.why.contains("640") && refused.next.contains("chmod 600"),
            "{refused:?}"
        );
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(FileSigner::open(&path).is_err());
        assert!(FileSigner::open(&dir.path().join("none")).is_err());
    }

    #[test]
    fn an_existing_key_is_never_overwritten() {
        let (dir, signer) = made();
        assert!(FileSigner::create(&dir.path().join("a.key"), &dir.path().join("b.pub")).is_err());
        let again = FileSigner::open(&dir.path().join("a.key")).unwrap();
        assert_eq!(again.public(), signer.public());
    }
}
