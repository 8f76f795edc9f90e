//! Where an installation keeps its things: `REPO.git/lychgate/`.

use super::error::CommandError;
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

    /// The home of the installed repository that a folder belongs to.
    ///
    /// * `start`: a Git directory (bare or not), a work tree or a folder in one; a caller that
    ///   honours `GIT_DIR` passes it here. `None`: the current folder.
    ///
    /// Walks up as Git does; a linked work tree leads to the repository that it belongs to.
    ///
    /// # Errors
    /// Usage: `no-repository` if no folder above is a repository; `not-installed` if it has no `lychgate/` folder.
    pub fn find(start: Option<&Path>) -> Result<Self, CommandError> {
        let given = start.unwrap_or(Path::new("."));
        let absolute = std::fs::canonicalize(given).map_err(|e| {
            let what = format!("cannot open {}: {e}", given.display());
            CommandError::usage("no-repository", what, NAME_IT)
        })?;
        let git_dir = absolute.ancestors().find_map(git_dir_at).ok_or_else(|| {
            let what = format!("{} is not in a Git repository", absolute.display());
            CommandError::usage("no-repository", what, NAME_IT)
        })?;
        let home = Self::of(&git_dir);
        if home.dir.is_dir() {
            return Ok(home);
        }
        Err(CommandError::usage(
            "not-installed",
            format!("{} has no lychgate folder", git_dir.display()),
            format!("install it: lychgate init {}", git_dir.display()),
        ))
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

    /// What objects were found to be, for later pushes and scans.
    pub fn verdicts(&self) -> PathBuf {
        self.dir.join("verdicts")
    }

    /// Which repository of which forge this is the gate of: `FORGE NUMBER`, written by the bot.
    #[cfg(feature = "bot")]
    pub fn forge_repository(&self) -> PathBuf {
        self.dir.join("forge-repository")
    }

    /// The signed records of waivers, as they are published.
    pub fn waivers(&self) -> PathBuf {
        self.dir.join("waivers.json")
    }

    /// The keyring's folder.
    pub fn keyring(&self) -> PathBuf {
        self.dir.join("keyring")
    }
}

const NAME_IT: &str = "name the repository: --repo DIR";

/// The Git directory that a folder is or holds.
fn git_dir_at(folder: &Path) -> Option<PathBuf> {
    if is_git_dir(folder) {
        return Some(common_dir(folder));
    }
    let inner = folder.join(".git");
    if is_git_dir(&inner) {
        return Some(inner);
    }
    // A linked work tree or a submodule has a file that says where its Git directory is.
    let text = std::fs::read_to_string(&inner).ok()?;
    let linked = folder.join(text.strip_prefix("gitdir: ")?.trim_end());
    linked.join("HEAD").is_file().then(|| common_dir(&linked))
}

fn is_git_dir(folder: &Path) -> bool {
    folder.join("HEAD").is_file() && (folder.join("objects").is_dir() || folder.join("commondir").is_file())
}

/// The Git directory that a linked work tree's own one shares.
fn common_dir(git_dir: &Path) -> PathBuf {
    let shared = std::fs::read_to_string(git_dir.join("commondir")).map(|text| git_dir.join(text.trim_end()));
    let shared = shared.and_then(std::fs::canonicalize);
    shared.unwrap_or_else(|_| git_dir.to_owned())
}
