//! The outbox: second opinions and notes, done after the push and outside it.

use super::Gate;
use super::ledger::note_lines;
use super::reopen::{Event, reopen};
use crate::attest::statement::Signal;
use crate::attest::{Action, Reason, SelectorKind, sha256_hex};
use crate::object::{self, ObjectKind};
use crate::port::{EntryRecord, Keyring, Notes, Outage, Repository, Signed, Signer, Store, Task};
use crate::push::{Oid, Timestamp};
use std::collections::BTreeMap;

/// Most tasks of one call; what is left waits for the next.
const AT_ONCE: u32 = 1000;

/// Does the tasks that wait, oldest first; returns how many were done.
///
/// A signature that the second verifier does not find good re-opens the entry's commit. A task is removed once
/// it is done, so one may be done twice after a crash: all of them bear that. An entry that is gone leaves
/// nothing to do.
///
/// # Errors
/// The first outage of a task; that task stays, and the others are done nonetheless. The store's.
pub async fn settle<S, G, K, R, N>(
    store: &S,
    signer: &G,
    keyring: &K,
    repository: &R,
    notes: &N,
    gate: &Gate,
    now: Timestamp,
) -> Result<u32, Outage>
where
    S: Store,
    G: Signer,
    K: Keyring,
    R: Repository,
    N: Notes,
{
    let (mut done, mut failed) = (0, None);
    let mut noted = Noted::default();
    for (row, task) in store.tasks(AT_ONCE).await? {
        let (Task::SecondOpinion { entry: id, .. } | Task::Note { entry: id }) = &task;
        let entry = store.entry(id).await?;
        let result = match (task, entry) {
            (Task::SecondOpinion { objects, .. }, Some(entry)) => match disagreement(keyring, repository, &objects) {
                Ok(Some(object)) => reopen(store, signer, gate, event(entry, object, now)).await.map(|_| ()),
                other => other.map(|_| ()),
            },
            (Task::Note { .. }, Some(entry)) => {
                noted.add(row, &entry)?;
                continue;
            }
            (_, None) => Ok(()),
        };
        match result {
            Ok(()) => {
                store.task_done(row).await?;
                done += 1;
            }
            Err(outage) => failed = failed.or(Some(outage)),
        }
    }
    match notes.append(&noted.lines, now) {
        Ok(()) => {
            for row in noted.rows {
                store.task_done(row).await?;
                done += 1;
            }
        }
        Err(outage) => failed = failed.or(Some(outage)),
    }
    failed.map_or(Ok(done), Err)
}

/// Notes that wait to be written by one call.
#[derive(Default)]
struct Noted {
    rows: Vec<i64>,
    lines: Vec<(Oid, String)>,
}

impl Noted {
    fn add(&mut self, row: i64, entry: &EntryRecord) -> Result<(), Outage> {
        self.rows.push(row);
        if let Some(commit) = entry.commit {
            let lines = note_lines(entry)?.into_iter();
            self.lines.extend(lines.map(|line| (commit, line)));
        }
        Ok(())
    }
}

/// The first object whose signature the second verifier does not find good.
fn disagreement(keyring: &impl Keyring, repository: &impl Repository, objects: &[Oid]) -> Result<Option<Oid>, Outage> {
    for oid in objects {
        if !agrees(keyring, repository, *oid)? {
            return Ok(Some(*oid));
        }
    }
    Ok(None)
}

/// Whether the second verifier finds the object's signature good. What the strict reader refuses is not.
fn agrees(keyring: &impl Keyring, repository: &impl Repository, oid: Oid) -> Result<bool, Outage> {
    let object = repository.object(oid)?;
    let signed = match object.kind {
        ObjectKind::Commit => object::commit(&object.data)
            .ok()
            .map(|c| (c.signature, Some(c.committer))),
        ObjectKind::Tag => object::tag(&object.data).ok().map(|t| (t.signature, t.tagger)),
        ObjectKind::Tree | ObjectKind::Blob => None,
    };
    let Some((Some(parts), Some(person))) = signed else {
        return Ok(false);
    };
    keyring.second_opinion(Signed {
        payload: &parts.payload,
        signature: &parts.signature,
        format: parts.format,
        claimed_at: person.time,
    })
}

/// The event of a disagreement. Its id follows from what disagrees, so that a task done twice gives one event.
fn event(entry: EntryRecord, object: Oid, now: Timestamp) -> Event {
    let digest = sha256_hex(format!("{} {object}", entry.id).as_bytes());
    let random = u128::from_str_radix(&digest[..20], 16).unwrap_or(0);
    let milliseconds = now.unix().unsigned_abs().saturating_mul(1000);
    let commit = entry.commit.unwrap_or(object);
    Event {
        id: ulid::Ulid::from_parts(milliseconds, random).to_string(),
        action: Action::Reopen,
        reason: Reason::Anomaly,
        authority: "authoritative",
        kind: SelectorKind::Commit,
        value: commit.to_string(),
        signals: vec![Signal {
            source: "second-opinion".to_owned(),
            id: object.to_string(),
            digest: BTreeMap::new(),
        }],
        entries: vec![entry],
        now,
        owner: String::new(),
    }
}
