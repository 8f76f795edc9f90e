//! The outbox: second opinions and notes, done after the push and outside it.

use super::Gate;
use super::reopen::{Event, reopen};
use crate::attest::statement::Signal;
use crate::attest::{Action, Reason, SelectorKind};
use crate::port::{EntryRecord, Outage, Signer, Store, Task};
use crate::push::{Oid, Timestamp};

/// What the second verifier says about an entry's signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opinion {
    /// It finds all of them good.
    Agrees,
    /// It does not find this commit's or tag's signature good.
    Disagrees(Oid),
}

/// Does at most `limit` tasks, oldest first; returns how many. A task is removed once it is done, so it may be done twice.
///
/// A second opinion that disagrees re-opens the entry's commit.
///
/// * `second_opinion`: asks the second verifier about the objects.
/// * `write_note`: writes the entry's bundle as a note of its commit ([`note`](super::note) makes the text).
/// * `fresh_id`: makes ULIDs.
///
/// # Errors
/// The first outage of a task, the store or the signer. That task and those after it stay.
pub async fn work<S: Store, G: Signer>(
    store: &S,
    signer: &G,
    gate: &Gate,
    limit: u32,
    second_opinion: impl Fn(&EntryRecord, &[Oid]) -> Result<Opinion, Outage>,
    write_note: impl Fn(&EntryRecord) -> Result<(), Outage>,
    fresh_id: &dyn Fn() -> String,
    now: Timestamp,
) -> Result<u32, Outage> {
    let mut done = 0;
    for (row, task) in store.tasks(limit).await? {
        let (Task::SecondOpinion { entry, .. } | Task::Note { entry }) = &task;
        // An entry that is gone leaves nothing to do.
        if let Some(entry) = store.entry(entry).await? {
            match &task {
                Task::Note { .. } => write_note(&entry)?,
                Task::SecondOpinion { objects, .. } => {
                    if let Opinion::Disagrees(object) = second_opinion(&entry, objects)? {
                        let event = disagreement(entry, object, fresh_id(), now);
                        reopen(store, signer, gate, event, fresh_id).await?;
                    }
                }
            }
        }
        store.task_done(row).await?;
        done += 1;
    }
    Ok(done)
}

fn disagreement(entry: EntryRecord, object: Oid, id: String, now: Timestamp) -> Event {
    let commit = entry.commit.unwrap_or(object);
    Event {
        id,
        action: Action::Reopen,
        reason: Reason::Anomaly,
        authority: "authoritative",
        kind: SelectorKind::Commit,
        value: commit.to_string(),
        signals: vec![Signal {
            source: "second-opinion".to_owned(),
            id: object.to_string(),
            digest: Default::default(),
        }],
        entries: vec![entry],
        now,
        owner: String::new(),
    }
}
