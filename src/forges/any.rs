//! One of the forges, chosen by the configuration.
//!
//! In scope: handing each call on. Out of scope: all else.

use super::{Forgejo, GitHub, Gitlab};
use crate::forge::guard::{Landing, Protection, Wanted};
use crate::forge::{Change, Display, ForgeRepo, Permission};
use crate::port::{FetchSource, Forge, ForgeError, OpenChange};
use crate::push::{Oid, RefName, Timestamp};

/// A forge of any kind: the port's futures are of the adapters' own types, so there is no `dyn Forge`.
#[derive(Debug)]
pub enum AnyForge {
    /// GitHub or GitHub Enterprise Server.
    GitHub(GitHub),
    /// Forgejo or Gitea.
    Forgejo(Forgejo),
    /// GitLab.
    Gitlab(Gitlab),
}

/// The same call to whichever forge it is.
macro_rules! each {
    ($any:expr, $forge:ident => $call:expr) => {
        match $any {
            AnyForge::GitHub($forge) => $call.await,
            AnyForge::Forgejo($forge) => $call.await,
            AnyForge::Gitlab($forge) => $call.await,
        }
    };
}

impl Forge for AnyForge {
    async fn change(&self, repo: &ForgeRepo, number: u64) -> Result<Change, ForgeError> {
        each!(self, forge => forge.change(repo, number))
    }

    async fn open_changes(&self, repo: &ForgeRepo) -> Result<Vec<u64>, ForgeError> {
        each!(self, forge => forge.open_changes(repo))
    }

    async fn open_heads(&self, repo: &ForgeRepo) -> Result<Vec<OpenChange>, ForgeError> {
        each!(self, forge => forge.open_heads(repo))
    }

    async fn repositories(&self) -> Result<Vec<ForgeRepo>, ForgeError> {
        each!(self, forge => forge.repositories())
    }

    async fn permission(&self, repo: &ForgeRepo, account: &str) -> Result<Permission, ForgeError> {
        each!(self, forge => forge.permission(repo, account))
    }

    async fn fetch_source(&self, repo: &ForgeRepo, number: Option<u64>) -> Result<FetchSource, ForgeError> {
        each!(self, forge => forge.fetch_source(repo, number))
    }

    async fn show(&self, display: &Display) -> Result<bool, ForgeError> {
        each!(self, forge => forge.show(display))
    }

    async fn whereabouts(&self, repo: &ForgeRepo) -> Result<ForgeRepo, ForgeError> {
        each!(self, forge => forge.whereabouts(repo))
    }

    async fn reply(&self, repo: &ForgeRepo, number: u64, marker: &str, text: &str) -> Result<(), ForgeError> {
        each!(self, forge => forge.reply(repo, number, marker, text))
    }

    async fn redeliver(&self, since: Timestamp) -> Result<u32, ForgeError> {
        each!(self, forge => forge.redeliver(since))
    }

    async fn protection(&self, repo: &ForgeRepo, name: &RefName) -> Result<Protection, ForgeError> {
        each!(self, forge => forge.protection(repo, name))
    }

    async fn landing(&self, repo: &ForgeRepo, name: &RefName, steps: &[Oid]) -> Result<Landing, ForgeError> {
        each!(self, forge => forge.landing(repo, name, steps))
    }

    async fn protect(
        &self,
        repo: &ForgeRepo,
        name: &RefName,
        wanted: Wanted,
        dry_run: bool,
    ) -> Result<Vec<String>, ForgeError> {
        each!(self, forge => forge.protect(repo, name, wanted, dry_run))
    }

    async fn missing(&self, repo: &ForgeRepo) -> Result<Vec<String>, ForgeError> {
        each!(self, forge => forge.missing(repo))
    }

    async fn upload(&self, repo: &ForgeRepo, name: &str, head: Oid, sarif: &str) -> Result<bool, ForgeError> {
        each!(self, forge => forge.upload(repo, name, head, sarif))
    }
}
