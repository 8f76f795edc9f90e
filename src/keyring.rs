//! Adapter: keys and signatures: sequoia-openpgp, ssh-key, gpgme.
//!
//! In scope: the folder that binds keys to accounts ([`FolderKeyring`]), and
//! what a signature is worth at the receive time. Out of scope: which
//! signatures a ref needs (`check`), and cutting a signature out of an object
//! (`object`). In the push only the keys that it meets are opened, and gpgme
//! sleeps until a second opinion is asked for.

mod change;
mod folder;
mod gnupg;
pub mod openpgp;
mod ssh;
pub mod sshsig;
mod verdict;

pub use change::{Added, Binding, ChangeError, KeyInfo, KeyKind};
pub use folder::{MAX_KEY_BYTES, OpenpgpRecord, Reason, Revocation, SshRecord};

use crate::facts::SignatureFact;
use crate::object::SignatureFormat;
use crate::port::{Keyring, Outage, Signed};
use crate::push::Timestamp;
use folder::Folder;
use openpgp::Held;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A keyring in a folder, one file a key. `Sync`: one serves all threads.
///
/// Parsed certificates are kept, and read again when their files change, so
/// that a long-lived instance sees a revocation at once.
pub struct FolderKeyring {
    folder: Folder,
    held: Mutex<HashMap<String, Arc<Held>>>,
}

impl FolderKeyring {
    /// The keyring in this folder. Touches nothing, so it cannot fail; reading may.
    pub fn open(dir: &Path) -> Self {
        Self {
            folder: Folder::new(dir),
            held: Mutex::default(),
        }
    }

    /// Makes the keyring's folders where they are missing (mode 0700); what is there stays.
    ///
    /// # Errors
    /// `keyring-unwritable`.
    pub fn create(dir: &Path) -> Result<Self, Outage> {
        let keyring = Self::open(dir);
        keyring.folder.create()?;
        Ok(keyring)
    }

    /// A certificate that an index entry names.
    fn certificate(&self, fingerprint: &str) -> Result<Arc<Held>, Outage> {
        let known = self.held().get(fingerprint).cloned();
        if let Some(held) = known
            && held.is_current(self, fingerprint)?
        {
            return Ok(held);
        }
        let held = Arc::new(Held::read(self, fingerprint)?);
        self.held().insert(fingerprint.to_owned(), Arc::clone(&held));
        Ok(held)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keyring for FolderKeyring {
    fn verify(&self, signed: Signed<'_>, received_at: Timestamp, skew: i64) -> Result<SignatureFact, Outage> {
        match signed.format {
            SignatureFormat::Openpgp => openpgp::verify(self, signed, received_at, skew),
            SignatureFormat::Ssh => ssh::verify(self, signed, received_at, skew),
        }
    }

    /// For SSH there is no second verifier: `true`.
    fn second_opinion(&self, signed: Signed<'_>) -> Result<bool, Outage> {
        if signed.format == SignatureFormat::Ssh {
            return Ok(true);
        }
        match openpgp::signer(self, signed)? {
            None => Ok(false),
            Some(fingerprint) => gnupg::agrees(&self.folder.gnupg(), signed, &fingerprint),
        }
    }
}
