//! The work after a push: second opinions and notes.

use crate::facts::{Fact, Facts, SignatureFact, SignatureState};
use crate::object::{self, SignatureFormat, SignatureParts};
use crate::port::{EntryRecord, EntryState, Keyring, Notes, Outage, Repository, Signed, Signer, Store, Task};
use crate::push::{Oid, Timestamp};
use crate::worker::{Gate, Reopen, bundle, reopen};

/// Most tasks of one round, so that memory stays bounded; rounds repeat until none is left.
const ROUND: u32 = 256;

/// The ports that the work after a push needs.
pub struct After<'a, S, G, K, R, N> {
    /// The ledger.
    pub store: &'a S,
    /// The attestation key.
    pub signer: &'a G,
    /// The keys that may sign.
    pub keyring: &'a K,
    /// The repository.
    pub repository: &'a R,
    /// Where bundles go for interchange.
    pub notes: &'a N,
    /// What statements say about this gate.
    pub gate: &'a Gate,
}

impl<S: Store, G: Signer, K: Keyring, R: Repository, N: Notes> After<'_, S, G, K, R, N> {
    /// Does every outstanding task and gives their number. A task is removed only after it is done, so a crash
    /// repeats it, and each is idempotent.
    ///
    /// # Errors
    /// The first outage; the tasks that it hinders stay.
    pub async fn settle(&self, now: Timestamp) -> Result<u64, Outage> {
        let mut done = 0;
        loop {
            let tasks = self.store.tasks(ROUND).await?;
            if tasks.is_empty() {
                return Ok(done);
            }
            done += tasks.len() as u64;
            self.round(tasks, now).await?;
        }
    }

    async fn round(&self, tasks: Vec<(i64, Task)>, now: Timestamp) -> Result<(), Outage> {
        let mut lines: Vec<(Oid, String)> = Vec::new();
        let mut rows = Vec::new();
        for (row, task) in tasks {
            match task {
                Task::Note { entry } => {
                    lines.extend(self.line(&entry).await?);
                    rows.push(row);
                }
                Task::SecondOpinion { entry, objects } => {
                    self.second_opinion(&entry, &objects, now).await?;
                    self.store.task_done(row).await?;
                }
            }
        }
        self.notes.append(&lines, now)?;
        for row in rows {
            self.store.task_done(row).await?;
        }
        Ok(())
    }

    /// The note line of an entry: its bundle, compact; none for a deletion.
    async fn line(&self, id: &str) -> Result<Option<(Oid, String)>, Outage> {
        let entry = self.published(id).await?;
        Ok(entry.and_then(|entry| Some((entry.commit?, bundle(&entry)?))))
    }

    async fn published(&self, id: &str) -> Result<Option<EntryRecord>, Outage> {
        Ok(self.store.entry(id).await?.filter(|entry| entry.state == EntryState::Published))
    }

    /// Asks gpgme about what entered on the native verifier's word; a disagreement re-opens the entry.
    async fn second_opinion(&self, id: &str, objects: &[Oid], now: Timestamp) -> Result<(), Outage> {
        let Some(entry) = self.published(id).await? else { return Ok(()) };
        for oid in objects {
            let data = self.repository.object(*oid)?.data;
            let Some((parts, claimed_at)) = signature(&data) else { continue };
            let signed = Signed { payload: &parts.payload, signature: &parts.signature, format: parts.format, claimed_at };
            if self.keyring.second_opinion(signed)? {
                continue;
            }
            let event = Reopen::disagreement(&entry, *oid, now);
            reopen(self.store, self.signer, self.gate, event).await?;
            return Ok(());
        }
        Ok(())
    }
}

/// The OpenPGP signature of a commit or tag, as the strict reader separates it.
fn signature(data: &[u8]) -> Option<(SignatureParts, Timestamp)> {
    let (parts, at) = match object::commit(data) {
        Ok(commit) => (commit.signature, commit.committer.time),
        Err(_) => {
            let tag = object::tag(data).ok()?;
            (tag.signature, tag.tagger.map_or(Timestamp::from_unix(0), |tagger| tagger.time))
        }
    };
    Some((parts.filter(|parts| parts.format == SignatureFormat::Openpgp)?, at))
}

/// The objects of one update whose good OpenPGP signatures still want a second opinion.
pub fn unconfirmed(facts: &Facts, at: usize) -> Vec<Oid> {
    let Some(update) = facts.updates.get(at) else { return Vec::new() };
    let Fact::Known(indices) = &update.commits else { return Vec::new() };
    let commits = indices.iter().filter_map(|&i| facts.commits.get(i as usize));
    let commits = commits.filter(|commit| wants(&commit.signature)).map(|commit| commit.oid);
    let tag = update.tag.iter().filter(|tag| wants(&tag.signature)).map(|tag| tag.oid);
    commits.chain(tag).collect()
}

fn wants(signature: &Fact<SignatureFact>) -> bool {
    // SSH fingerprints start with SHA256: and have no second verifier.
    matches!(signature, Fact::Known(fact) if fact.state == SignatureState::Good && !fact.first_use
        && fact.key.as_ref().is_some_and(|key| !key.starts_with("SHA256:")))
}
