//! One of the forges, chosen by the configuration.
//!
//! In scope: handing each call on. Out of scope: all else.

use super::{Forgejo, GitHub, Gitlab};
use crate::forge::guard::{GuardedTags, Landing, Protection, Wanted};
use crate::forge::{Change, Display, ForgeRepo, Leak, Permission};
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

/// The port's calls, each made to whichever forge it is.
macro_rules! hand_on {
    ($($call:ident($($argument:ident: $type:ty),*) -> $given:ty;)*) => {
        impl Forge for AnyForge {
            $(async fn $call(&self, $($argument: $type),*) -> Result<$given, ForgeError> {
                match self {
                    Self::GitHub(forge) => forge.$call($($argument),*).await,
                    Self::Forgejo(forge) => forge.$call($($argument),*).await,
                    Self::Gitlab(forge) => forge.$call($($argument),*).await,
                }
            })*
        }
    };
}

hand_on! {
    change(repo: &ForgeRepo, number: u64) -> Change;
    open_changes(repo: &ForgeRepo) -> Vec<u64>;
    open_heads(repo: &ForgeRepo) -> Vec<OpenChange>;
    repositories() -> Vec<ForgeRepo>;
    permission(repo: &ForgeRepo, account: &str) -> Permission;
    fetch_source(repo: &ForgeRepo, number: Option<u64>) -> FetchSource;
    show(display: &Display) -> bool;
    whereabouts(repo: &ForgeRepo) -> ForgeRepo;
    reply(repo: &ForgeRepo, number: u64, marker: &str, text: &str) -> ();
    redeliver(since: Timestamp) -> u32;
    protection(repo: &ForgeRepo, name: &RefName) -> Protection;
    landing(repo: &ForgeRepo, name: &RefName, steps: &[Oid]) -> Landing;
    protect(repo: &ForgeRepo, name: &RefName, wanted: Wanted, dry_run: bool) -> Vec<String>;
    tag_protection(repo: &ForgeRepo, names: &[RefName]) -> Vec<Protection>;
    protect_tags(repo: &ForgeRepo, tags: &GuardedTags, dry_run: bool) -> Vec<String>;
    missing(repo: &ForgeRepo) -> Vec<String>;
    leak(repo: &ForgeRepo, alert: u64) -> Option<Leak>;
    upload(repo: &ForgeRepo, name: &str, head: Oid, sarif: &str) -> bool;
}
