//! Re-open events: suspending, ending and re-establishing what entries vouch for.

use super::drift::begun_again;
use super::publish::{Lead, Source, envelope, publish_with};
use super::standing::is_closed;
use super::{Gate, corrupt, standings};
use crate::attest::statement::{self, Affected, Selector, Signal};
use crate::attest::{Action, Envelope, Reason, SelectorKind};
use crate::port::{DecisionRecord, EntryRecord, EntryState, Outage, ReopenRecord, Signer, Store};
use crate::push::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// An event to append.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id, a fresh ULID.
    pub id: String,
    /// What it does.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// `authoritative`, `corroborated` or `approved`.
    pub authority: &'static str,
    /// By what it selects.
    pub kind: SelectorKind,
    /// The commit id, blob id, key fingerprint, rule id or account.
    pub value: String,
    /// What was observed; for a `close`, the new evidence.
    pub signals: Vec<Signal>,
    /// The published entries that it selects, as [`select`] finds them. A `close` finds its own.
    pub entries: Vec<EntryRecord>,
    /// Our clock: from when it counts.
    pub now: Timestamp,
    /// The present process, as [`EntryRecord::owner`] has it: owns the entries that a `close` issues anew.
    pub owner: String,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reopened {
    /// It is in the log.
    Appended(Box<ReopenRecord>),
    /// An open event of this reason and selector covers all its entries; nothing was appended.
    Already(Box<ReopenRecord>),
    /// It selects no entry; nothing was appended.
    NothingSelected,
    /// There is nothing to close: no such event is open (a revocation never closes).
    NothingOpen,
}

/// Appends a signed event, once.
///
/// `reopen` and `revoke` are idempotent by action, reason and selector until
/// they are closed. `close` ends the open suspensions of its selector and
/// issues a new attestation, with a new place in the status list, for each
/// revision that no other event suspends; the old ones stay suspended. Event
/// and attestations are one append.
///
/// # Errors
/// The store's and the signer's; nothing was appended then.
pub async fn reopen<S: Store, G: Signer>(store: &S, signer: &G, gate: &Gate, event: Event) -> Result<Reopened, Outage> {
    if event.action == Action::Close {
        return close(store, signer, gate, event).await;
    }
    if event.entries.is_empty() {
        return Ok(Reopened::NothingSelected);
    }
    let lead = async |size| {
        let reopens = store.reopens().await?;
        match covering(&reopens, &event) {
            Some(_) => Ok(Lead::Stop),
            None => lead_of(signer, gate, &event, &event.entries, None, size),
        }
    };
    publish_with(store, signer, gate, Vec::new(), lead).await?;
    let reopens = store.reopens().await?;
    let own = reopens.iter().find(|r| r.event == event.id).cloned();
    if let Some(record) = own {
        return Ok(Reopened::Appended(Box::new(record)));
    }
    let other = covering(&reopens, &event).cloned();
    let other = other.ok_or_else(|| corrupt("the re-open events", "an event that was there is gone"))?;
    Ok(Reopened::Already(Box::new(other)))
}

/// An open event that does what `event` would do, to all the entries that it selects.
fn covering<'a>(reopens: &'a [ReopenRecord], event: &Event) -> Option<&'a ReopenRecord> {
    let as_grave = |r: &ReopenRecord| r.action == event.action.as_str() || r.action == Action::Revoke.as_str();
    let same = |r: &ReopenRecord| {
        as_grave(r) && r.reason == event.reason.as_str() && selects_same(r, event.kind, &event.value)
    };
    let covers = |r: &ReopenRecord| event.entries.iter().all(|e| r.entries.contains(&e.id));
    let all = reopens.iter().enumerate();
    let open = all.filter(|(at, r)| r.action != Action::Close.as_str() && !is_closed(reopens, *at));
    open.map(|(_, r)| r).find(|r| same(r) && covers(r))
}

fn selects_same(record: &ReopenRecord, kind: SelectorKind, value: &str) -> bool {
    record.selector_kind == kind.as_str() && record.selector_value == value
}

async fn close<S: Store, G: Signer>(store: &S, signer: &G, gate: &Gate, event: Event) -> Result<Reopened, Outage> {
    let (affected, again) = freed_by(store, event.kind, &event.value).await?;
    if affected.is_empty() {
        return Ok(Reopened::NothingOpen);
    }
    let fresh = record_again(store, &event, again).await?;
    let lead = async |size| {
        let reopens = store.reopens().await?;
        match open_of(&reopens, event.kind, &event.value).last() {
            Some(at) => lead_of(signer, gate, &event, &affected, Some(reopens[*at].event.clone()), size),
            None => Ok(Lead::Stop),
        }
    };
    publish_with(store, signer, gate, fresh.clone(), lead).await?;
    let reopens = store.reopens().await?;
    match reopens.iter().find(|r| r.event == event.id) {
        Some(record) => Ok(Reopened::Appended(Box::new(record.clone()))),
        None => {
            // Another process closed it meanwhile and issued its own.
            let ids: Vec<String> = fresh.into_iter().map(|e| e.id).collect();
            store.void(&ids).await?;
            Ok(Reopened::NothingOpen)
        }
    }
}

/// Indices of the suspensions that a `close` ends.
fn open_of(reopens: &[ReopenRecord], kind: SelectorKind, value: &str) -> Vec<usize> {
    let open = |at: &usize| {
        let r = &reopens[*at];
        r.action == Action::Reopen.as_str() && selects_same(r, kind, value) && !is_closed(reopens, *at)
    };
    (0..reopens.len()).filter(open).collect()
}

/// The entries that the open suspensions of a selector hit: what a `close` affects.
///
/// # Errors
/// The store's.
pub async fn closable<S: Store>(store: &S, kind: SelectorKind, value: &str) -> Result<Vec<EntryRecord>, Outage> {
    Ok(freed_by(store, kind, value).await?.0)
}

/// What a `close` affects, and of that what it issues anew, oldest first.
async fn freed_by<S: Store>(
    store: &S,
    kind: SelectorKind,
    value: &str,
) -> Result<(Vec<EntryRecord>, Vec<EntryRecord>), Outage> {
    let reopens = store.reopens().await?;
    let ends = open_of(&reopens, kind, value);
    if ends.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut entries = store.entries(u32::MAX).await?;
    entries.sort_by_key(|e| e.log_index);
    let standings = standings(&entries, &reopens);
    let events = |e: &EntryRecord| standings.get(&e.id).map_or(Vec::new(), |s| s.events.clone());
    let affected: Vec<EntryRecord> = entries
        .into_iter()
        .filter(|e| events(e).iter().any(|at| ends.contains(at)))
        .collect();
    let freed = |e: &&EntryRecord| {
        let over = |at: &usize| ends.contains(at) || is_closed(&reopens, *at);
        e.commit.is_some() && events(e).iter().all(over)
    };
    // One new attestation for a revision on a ref, however many old ones it has.
    let mut seen = BTreeSet::new();
    let mut again: Vec<EntryRecord> = affected.iter().rev().filter(freed).cloned().collect();
    again.retain(|e| seen.insert((e.update.name.clone(), e.update.new)));
    again.reverse();
    Ok((affected, again))
}

/// Records pending copies of entries, with copies of the decisions that they rest on.
async fn record_again<S: Store>(
    store: &S,
    event: &Event,
    entries: Vec<EntryRecord>,
) -> Result<Vec<EntryRecord>, Outage> {
    let mut by_push: BTreeMap<String, Vec<EntryRecord>> = BTreeMap::new();
    let mut all = Vec::new();
    let mut ids = (0u16..).map(|count| derived_id(event, count));
    let mut fresh_id = || ids.next().unwrap_or_default();
    for old in entries {
        let copy = EntryRecord {
            id: fresh_id(),
            received_at: event.now,
            state: EntryState::Pending,
            owner: event.owner.clone(),
            guarantees: match event.kind {
                SelectorKind::Ref => begun_again(&old, event.now)?,
                _ => old.guarantees.clone(),
            },
            log_index: None,
            status_index: None,
            provenance: None,
            vsa: None,
            ..old
        };
        by_push.entry(copy.push_id.clone()).or_default().push(copy);
    }
    for (push_id, mut copies) in by_push {
        let decision = store.decision(&push_id).await?;
        let decision = decision.ok_or_else(|| corrupt(format!("push {push_id}"), "the ledger lacks its decision"))?;
        let decision = DecisionRecord {
            push_id: fresh_id(),
            received_at: event.now,
            ..decision
        };
        copies
            .iter_mut()
            .for_each(|copy| copy.push_id.clone_from(&decision.push_id));
        store.record(&decision, &copies, &[], "").await?;
        all.extend(copies);
    }
    Ok(all)
}

/// A ULID of the event's time that follows from the event's id; a greater `count` gives a greater one.
fn derived_id(event: &Event, count: u16) -> String {
    let digest = Sha256::digest(event.id.as_bytes());
    let low = digest
        .iter()
        .take(8)
        .fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
    let milliseconds = event.now.unix().unsigned_abs().saturating_mul(1000);
    ulid::Ulid::from_parts(milliseconds, u128::from(count) << 64 | low).to_string()
}

/// Makes and signs the event's leaf.
fn lead_of<G: Signer>(
    signer: &G,
    gate: &Gate,
    event: &Event,
    entries: &[EntryRecord],
    supersedes: Option<String>,
    log_index: u64,
) -> Result<Lead, Outage> {
    let predicate = statement::Reopen {
        event: event.id.clone(),
        action: event.action.to_string(),
        reason: event.reason.to_string(),
        authority: event.authority.to_owned(),
        signals: event.signals.clone(),
        selector: Selector {
            kind: event.kind.to_string(),
            value: event.value.clone(),
            from_log_index: entries.iter().filter_map(|e| e.log_index).min(),
            to_log_index: entries.iter().filter_map(|e| e.log_index).max(),
        },
        effective_from: event.now,
        affected: Affected {
            entries: entries.len() as u64,
        },
        approvals: Vec::new(),
        supersedes,
    };
    let subjects: Result<Vec<_>, Outage> = entries.iter().map(|e| Ok((e.commit, attested_digest(e)?))).collect();
    let signed = envelope(signer, statement::reopen(predicate, &gate.resource, &subjects?))?;
    let record = ReopenRecord {
        event: event.id.clone(),
        action: event.action.to_string(),
        reason: event.reason.to_string(),
        selector_kind: event.kind.to_string(),
        selector_value: event.value.clone(),
        effective_from: event.now,
        log_index,
        entries: entries.iter().map(|e| e.id.clone()).collect(),
        envelope: signed.clone(),
    };
    Ok(Lead::Event(signed, Box::new(record)))
}

/// SHA-256 of the payload of an entry's VSA, or of its provenance where it has none.
fn attested_digest(entry: &EntryRecord) -> Result<String, Outage> {
    let what = || format!("entry {}", entry.id);
    let vsa = entry.vsa.as_deref().filter(|vsa| !vsa.is_empty());
    let text = vsa.or(entry.provenance.as_deref());
    let text = text.ok_or_else(|| corrupt(what(), "it is published and has no envelope"))?;
    let envelope = Envelope::parse(text.as_bytes()).map_err(|e| corrupt(what(), e.to_string()))?;
    Ok(envelope.payload_digest())
}

/// The published entries that a selector selects.
///
/// * `reaches`: whether an entry's history (for a commit) or its new objects and tree (for a blob) hold the
///   selected object; asked for those two kinds only.
///
/// # Errors
/// The store's and those of `reaches`.
pub async fn select<S: Store>(
    store: &S,
    kind: SelectorKind,
    value: &str,
    reaches: impl Fn(&EntryRecord) -> Result<bool, Outage>,
) -> Result<Vec<EntryRecord>, Outage> {
    let mut sources: BTreeMap<String, Source> = BTreeMap::new();
    let mut selected = Vec::new();
    for entry in store.entries(u32::MAX).await? {
        let hit = match kind {
            SelectorKind::Commit => entry.commit.is_some_and(|c| c.to_string() == value) || reaches(&entry)?,
            SelectorKind::Blob => reaches(&entry)?,
            SelectorKind::Key | SelectorKind::Actor | SelectorKind::Rule | SelectorKind::Ref => {
                if !sources.contains_key(&entry.push_id) {
                    sources.insert(entry.push_id.clone(), Source::load(store, &entry.push_id).await?);
                }
                sources[&entry.push_id].matches(&entry, kind, value)
            }
        };
        if hit {
            selected.push(entry);
        }
    }
    Ok(selected)
}
