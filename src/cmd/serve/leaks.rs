//! Suspending what holds a secret that a forge says is in use.
//!
//! In scope: the entries of one gate that hold a blob, and the event. Out of scope: whether it is in use
//! (`pipeline::leak`); vouching for them again, which takes a person: `lychgate reopen --action close`.

use super::custody::Custody;
use crate::attest::statement::Signal;
use crate::attest::{Action, Reason, SelectorKind};
use crate::cmd::error::CommandError;
use crate::cmd::{git, open, process, reopen, settle};
use crate::forge::ForgeRepo;
use crate::pipeline::leak::Suspended;
use crate::port::{EntryRecord, Outage, Store};
use crate::push::{Oid, RefName, Timestamp};
use crate::store::SqliteStore;
use crate::worker::{self, Event, Reopened};
use std::collections::BTreeSet;

impl Custody<'_> {
    pub(super) async fn leaked(
        &self,
        repo: &ForgeRepo,
        blob: Oid,
        alert: u64,
        now: Timestamp,
    ) -> Result<Option<Suspended>, Outage> {
        let store = self.store(now).await?;
        let suspended = self.suspended(&store, repo, blob, alert, now).await;
        store.close().await?;
        suspended
    }

    async fn suspended(
        &self,
        store: &SqliteStore,
        repo: &ForgeRepo,
        blob: Oid,
        alert: u64,
        now: Timestamp,
    ) -> Result<Option<Suspended>, Outage> {
        let entries = self.holding(store, blob).await?;
        let tips = tips(store, &entries).await?;
        let (signer, gate) = (open::signer(&self.home)?, settle::gate(&self.home)?);
        let event = Event {
            id: process::fresh_id(now)?,
            action: Action::Reopen,
            reason: Reason::LeakedSecretInUse,
            authority: "authoritative",
            kind: SelectorKind::Blob,
            value: blob.to_string(),
            signals: vec![Signal {
                source: "forge-secret-alert".to_owned(),
                id: format!("{}/{}/{alert}", repo.forge, repo.id),
                digest: Default::default(),
            }],
            entries: entries.clone(),
            now,
            owner: process::itself(),
        };
        Ok(match worker::reopen(store, &signer, &gate, event).await? {
            Reopened::Appended(record) | Reopened::Already(record) => Some(Suspended {
                event: record.event,
                entries: entries.len(),
                tips,
            }),
            Reopened::NothingSelected | Reopened::NothingOpen => None,
        })
    }

    /// The entries whose new commits or tree hold the blob.
    async fn holding(&self, store: &SqliteStore, blob: Oid) -> Result<Vec<EntryRecord>, Outage> {
        let (git_dir, blob) = (&self.home.git_dir, blob.to_string());
        let there = git::ask(git_dir, &["cat-file", "-e", &blob]).map_err(outage)?;
        if there.is_none() {
            return Ok(Vec::new());
        }
        let all = store.entries(u32::MAX).await?;
        let ids = reopen::of_blob(git_dir, &blob, &all).map_err(outage)?;
        let held = |entry: &EntryRecord| Ok(ids.contains(&entry.id));
        worker::select(store, SelectorKind::Blob, &blob, held).await
    }
}

/// The refs whose newest entry is one of these.
async fn tips(store: &SqliteStore, entries: &[EntryRecord]) -> Result<Vec<(RefName, Oid)>, Outage> {
    let names: BTreeSet<&RefName> = entries.iter().map(|entry| &entry.update.name).collect();
    let mut tips = Vec::new();
    for name in names {
        let latest = store.latest(name).await?;
        let held = latest.filter(|latest| entries.iter().any(|entry| entry.id == latest.id));
        tips.extend(held.and_then(|entry| entry.commit).map(|commit| (name.clone(), commit)));
    }
    Ok(tips)
}

fn outage(error: CommandError) -> Outage {
    match error {
        CommandError::Outage(outage) => outage,
        other => Outage {
            code: "lineage-unreadable",
            what: "cannot tell which entries hold a blob".to_owned(),
            why: other.to_string(),
            next: "look at the gate's repository with git fsck".to_owned(),
        },
    }
}
