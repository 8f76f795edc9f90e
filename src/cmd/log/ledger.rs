//! An installation opened for a command that reads or extends the ledger.

use crate::attest::PublicKey;
use crate::cmd::error::CommandError;
use crate::cmd::home::Home;
use crate::cmd::output::Output;
use crate::cmd::{git, open, settle};
use crate::port::{EntryRecord, Outage, Store};
use crate::push::{Oid, RefName, Timestamp};
use crate::signer::FileSigner;
use crate::store::SqliteStore;
use crate::worker::Gate;
use std::path::Path;

/// An open installation.
pub struct Ledger {
    /// Where it is.
    pub home: Home,
    /// The store.
    pub store: SqliteStore,
    /// By which names it speaks.
    pub gate: Gate,
    /// The public half of its attestation key.
    pub key: PublicKey,
    runtime: tokio::runtime::Runtime,
}

impl Ledger {
    /// Opens the installation of a repository and finishes what a crash left, as far as this account may.
    ///
    /// # Errors
    /// `not-installed`, `no-repository`; outages of the settings, the public key and the store.
    pub fn open(repo: Option<&Path>, now: Timestamp, out: &mut Output) -> Result<Self, CommandError> {
        let home = Home::find(repo)?;
        let gate = settle::gate(&home)?;
        let key = open::public_key(&home)?;
        let runtime = open::runtime()?;
        let store = runtime.block_on(open::store(&home))?;
        let recovered = open::repository(&home, None)
            .and_then(|repository| runtime.block_on(settle::recover(&home, &store, &repository, now)));
        if let Err(outage) = recovered {
            // Who may only read the ledger may still read what is published.
            out.note(format!(
                "warning[{}]: entries that a crash left are not published: {}",
                outage.code, outage.why
            ));
        }
        Ok(Self {
            home,
            store,
            gate,
            key,
            runtime,
        })
    }

    /// Waits for a call of the store.
    ///
    /// # Errors
    /// The call's.
    pub fn wait<T>(&self, call: impl Future<Output = Result<T, Outage>>) -> Result<T, Outage> {
        self.runtime.block_on(call)
    }

    /// The attestation key.
    ///
    /// # Errors
    /// `signer-unavailable`.
    pub fn signer(&self) -> Result<FileSigner, Outage> {
        open::signer(&self.home)
    }

    /// The commit that a revision names, by git's own rules.
    ///
    /// # Errors
    /// `unknown-revision`, `git-missing`.
    pub fn resolve(&self, rev: &str) -> Result<Oid, CommandError> {
        let peeled = format!("{rev}^{{commit}}");
        let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &peeled];
        let found = git::ask(&self.home.git_dir, &args)?.and_then(|text| text.parse().ok());
        found.ok_or_else(|| {
            let what = format!("{rev} is no commit, branch or tag of {}", self.home.git_dir.display());
            CommandError::usage(
                "unknown-revision",
                what,
                "give a commit id, or list what entered: lychgate log",
            )
        })
    }

    /// The published entries of a revision, newest first.
    ///
    /// # Errors
    /// The store's.
    pub fn entries(&self, commit: Oid, wanted: &Wanted) -> Result<Vec<EntryRecord>, Outage> {
        let mut entries = self.wait(self.store.entries_of(commit))?;
        entries.retain(|entry| wanted.ref_name.as_ref().is_none_or(|name| entry.update.name == *name));
        entries.reverse();
        Ok(entries)
    }
}

/// A revision, perhaps on one ref.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// As the user wrote it.
    pub rev: String,
    /// The ref on which it entered.
    pub ref_name: Option<RefName>,
}

impl Wanted {
    /// Reads the arguments. A ref may be given without `refs/heads/`.
    ///
    /// # Errors
    /// `bad-ref`.
    pub fn new(rev: &str, ref_name: Option<&str>) -> Result<Self, CommandError> {
        let ref_name = ref_name.map(full_ref).transpose()?;
        Ok(Self {
            rev: rev.to_owned(),
            ref_name,
        })
    }
}

/// A full ref name, or a branch.
///
/// # Errors
/// `bad-ref`.
pub fn full_ref(text: &str) -> Result<RefName, CommandError> {
    let full = if text.starts_with("refs/") {
        text.to_owned()
    } else {
        format!("refs/heads/{text}")
    };
    full.parse().map_err(|e| {
        CommandError::usage(
            "bad-ref",
            format!("--ref {text}: {e}"),
            "write it in full: refs/heads/main",
        )
    })
}
