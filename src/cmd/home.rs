//! Where an installation keeps its things: `REPO.git/lychgate/`.

use std::path::{Path, PathBuf};

/// The folder of one installation.
#[derive(Debug, Clone)]
pub struct Home {
    /// The repository's Git directory.
    pub git_dir: PathBuf,
    /// `<git_dir>/lychgate`.
    pub dir: PathBuf,
}

impl Home {
    /// The home of a repository; touches nothing.
    pub fn of(git_dir: &Path) -> Self {
        Self {
            git_dir: git_dir.to_owned(),
            dir: git_dir.join("lychgate"),
        }
    }

    /// Installation settings: `resource`, `verifier_id`, `level`.
    pub fn settings(&self) -> PathBuf {
        self.dir.join("gate.toml")
    }

    /// The policy.
    pub fn policy(&self) -> PathBuf {
        self.dir.join("policy.toml")
    }

    /// The embedded store.
    pub fn ledger(&self) -> PathBuf {
        self.dir.join("ledger.db")
    }

    /// The attestation key, PKCS#8 PEM, mode 0600.
    pub fn attestation_key(&self) -> PathBuf {
        self.dir.join("attestation.key")
    }

    /// The attestation public key, SPKI PEM.
    pub fn attestation_public_key(&self) -> PathBuf {
        self.dir.join("attestation.pub")
    }

    /// The key of fingerprints, 64 hex digits, mode 0600.
    pub fn fingerprint_key(&self) -> PathBuf {
        self.dir.join("fingerprint.key")
    }

    /// The keyring's folder.
    pub fn keyring(&self) -> PathBuf {
        self.dir.join("keyring")
    }
}
