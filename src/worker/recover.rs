//! Recovery: settles what a crash, or a push that is over, left pending.

use super::Gate;
use super::publish::publish;
use crate::port::{EntryRecord, Outage, PublishedEntry, Signer, Store};
use crate::push::{Oid, RefName, Timestamp};
use std::collections::BTreeMap;

/// Seconds after which an entry whose owner cannot be judged is given up: no push takes a day.
const GIVEN_UP_AFTER: i64 = 24 * 3600;

/// What a recovery did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Entries that it published.
    pub published: Vec<PublishedEntry>,
    /// Entries that it marked void.
    pub voided: Vec<String>,
    /// Entries that it left, since their push may still be under way.
    pub left: Vec<String>,
}

/// Settles every pending entry.
///
/// An entry is published if its ref has moved: the ref stands at `new`, or a
/// later entry that moved starts from there. Otherwise it is void once its
/// owner is gone, or is unknown for a day; else it is left.
///
/// * `ref_target`: where a ref stands now.
/// * `is_alive`: whether the process named by [`EntryRecord::owner`] still runs; `None` if that cannot be told.
/// * `now`: the present time.
///
/// # Errors
/// The store's, the signer's, and those of `ref_target`. What was not settled stays pending.
pub async fn recover<S: Store, G: Signer>(
    store: &S,
    signer: &G,
    gate: &Gate,
    ref_target: impl Fn(&RefName) -> Result<Option<Oid>, Outage>,
    is_alive: impl Fn(&str) -> Option<bool>,
    now: Timestamp,
) -> Result<Recovered, Outage> {
    let pending = store.pending().await?;
    if pending.is_empty() {
        return Ok(Recovered::default());
    }
    // Owners are looked at before refs: a ref read after its owner was gone moves no more.
    let over: Vec<bool> = pending
        .iter()
        .map(|entry| is_over(entry, is_alive(&entry.owner), now))
        .collect();
    let mut moved = at_new(&pending, ref_target)?;
    while follow(&pending, &mut moved) {}
    if moved.iter().zip(&over).any(|(moved, over)| !moved && *over) {
        follow_published(store, &pending, &mut moved).await?;
        while follow(&pending, &mut moved) {}
    }
    let (mut publishable, mut recovered) = (Vec::new(), Recovered::default());
    for ((entry, moved), over) in pending.into_iter().zip(moved).zip(over) {
        match (moved, over) {
            (true, _) => publishable.push(entry),
            (false, true) => recovered.voided.push(entry.id),
            (false, false) => recovered.left.push(entry.id),
        }
    }
    recovered.published = publish(store, signer, gate, publishable).await?;
    if !recovered.voided.is_empty() {
        store.void(&recovered.voided).await?;
    }
    Ok(recovered)
}

fn is_over(entry: &EntryRecord, alive: Option<bool>, now: Timestamp) -> bool {
    let too_old = now.unix().saturating_sub(entry.received_at.unix()) > GIVEN_UP_AFTER;
    alive.map_or(too_old, |alive| !alive)
}

/// Which entries' refs stand at their `new` (or, for a deletion, are gone).
fn at_new(
    pending: &[EntryRecord],
    ref_target: impl Fn(&RefName) -> Result<Option<Oid>, Outage>,
) -> Result<Vec<bool>, Outage> {
    let mut targets: BTreeMap<&RefName, Option<Oid>> = BTreeMap::new();
    for entry in pending {
        if !targets.contains_key(&entry.update.name) {
            targets.insert(&entry.update.name, ref_target(&entry.update.name)?);
        }
    }
    let stands = |entry: &EntryRecord| {
        targets[&entry.update.name].map_or(entry.update.new.is_zero(), |at| at == entry.update.new)
    };
    Ok(pending.iter().map(stands).collect())
}

/// Marks entries from whose `new` an entry that moved started. `true` if there was one.
fn follow(pending: &[EntryRecord], moved: &mut [bool]) -> bool {
    let found = (0..pending.len()).find(|at| {
        let followed = |(later, moved): (&EntryRecord, &bool)| *moved && follows(later, &pending[*at]);
        !moved[*at] && pending.iter().zip(moved.iter()).any(followed)
    });
    if let Some(at) = found {
        moved[at] = true;
    }
    found.is_some()
}

async fn follow_published<S: Store>(store: &S, pending: &[EntryRecord], moved: &mut [bool]) -> Result<(), Outage> {
    // An entry is settled by the next push to its ref, so what followed on it is among the newest.
    let published = store.entries(1000).await?;
    for (entry, moved) in pending.iter().zip(moved) {
        *moved = *moved || published.iter().any(|later| follows(later, entry));
    }
    Ok(())
}

fn follows(later: &EntryRecord, earlier: &EntryRecord) -> bool {
    later.id != earlier.id
        && later.update.name == earlier.update.name
        && later.update.old == earlier.update.new
        && later.received_at >= earlier.received_at
}
