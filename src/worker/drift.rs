//! Drift of a forge's protection: suspends what the ref's newest entry says about continuity, until it is restored.
//!
//! In scope: one event a lapse, and its close, which issues the entry anew with
//! continuity begun again. Out of scope: reading the forge, and what lands
//! meanwhile: that never gets the control.

use super::reopen::{Event, reopen};
use super::standing::is_closed;
use super::{Gate, corrupt};
use crate::attest::statement::Signal;
use crate::attest::{Action, Reason, SelectorKind, sha256_hex};
use crate::forge::guard::Drift;
use crate::guarantee::{Control, Guarantee};
use crate::port::{EntryRecord, Outage, ReopenRecord, Signer, Store};
use crate::push::{RefName, Timestamp};
use std::collections::BTreeMap;

/// What the ledger says about a ref's protection at its forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    /// No lapse was ever recorded.
    Clear,
    /// A lapse is open: the event's id.
    Open(String),
    /// The last lapse is closed: the id of the event that closed it.
    Closed(String),
}

/// Controls that hold only while the forge enforces them.
pub const BY_THE_FORGE: [Control; 4] = [
    Control::HistoryKept,
    Control::RefProtected,
    Control::Reviewed,
    Control::ChecksPassed,
];

/// Brings the ledger to what was seen of the forge's protection of a ref, and tells how it stands.
///
/// Idempotent: one lapse is one event, however often it is seen. A ref whose newest entry rests on nothing of the
/// forge has nothing to suspend.
///
/// * `drift`: where the forge enforces less than the policy wants; empty: nowhere.
/// * `seen`: SHA-256 of what the forge said, hex: the evidence.
/// * `owner`: the present process, as [`EntryRecord::owner`].
///
/// # Errors
/// The store's and the signer's.
pub async fn watch<S: Store, G: Signer>(
    store: &S,
    signer: &G,
    gate: &Gate,
    name: &RefName,
    drift: &[Drift],
    seen: &str,
    (now, owner): (Timestamp, &str),
) -> Result<Watch, Outage> {
    let before = standing(store, name).await?;
    let entries = match (&before, drift) {
        (Watch::Open(_), []) => Vec::new(),
        (Watch::Clear | Watch::Closed(_), [_, ..]) => match suspendable(store, name).await? {
            Some(entry) => vec![entry],
            None => return Ok(before),
        },
        _ => return Ok(before),
    };
    let action = if drift.is_empty() {
        Action::Close
    } else {
        Action::Reopen
    };
    reopen(
        store,
        signer,
        gate,
        event(name, action, entries, drift, seen, now, owner),
    )
    .await?;
    standing(store, name).await
}

/// How the ledger says that a ref stands.
///
/// # Errors
/// The store's.
pub async fn standing<S: Store>(store: &S, name: &RefName) -> Result<Watch, Outage> {
    let reopens = store.reopens().await?;
    let here = |record: &ReopenRecord| {
        record.selector_kind == SelectorKind::Ref.as_str() && record.selector_value == name.as_str()
    };
    let last = reopens.iter().enumerate().rfind(|(_, record)| here(record));
    Ok(match last {
        None => Watch::Clear,
        Some((_, record)) if record.action == Action::Close.as_str() => Watch::Closed(record.event.clone()),
        Some((at, record)) if is_closed(&reopens, at) => Watch::Closed(record.event.clone()),
        Some((_, record)) => Watch::Open(record.event.clone()),
    })
}

/// The newest entry of a ref, if it says anything that rests on the forge.
async fn suspendable<S: Store>(store: &S, name: &RefName) -> Result<Option<EntryRecord>, Outage> {
    let Some(entry) = store.latest(name).await? else {
        return Ok(None);
    };
    let guarantees = guarantees(&entry)?;
    let rests = guarantees.iter().any(|held| BY_THE_FORGE.contains(&held.control));
    Ok(Some(entry).filter(|_| rests))
}

fn guarantees(entry: &EntryRecord) -> Result<Vec<Guarantee>, Outage> {
    serde_json::from_str(&entry.guarantees).map_err(|e| corrupt(format!("entry {}", entry.id), e.to_string()))
}

/// The guarantees of an entry that is issued anew after a lapse: what rests on the forge begins again, here.
pub(super) fn begun_again(entry: &EntryRecord, now: Timestamp) -> Result<String, Outage> {
    let mut guarantees = guarantees(entry)?;
    for held in guarantees
        .iter_mut()
        .filter(|held| BY_THE_FORGE.contains(&held.control))
    {
        held.since = entry.update.new;
        held.since_time = now;
    }
    let text = crate::decision::canonical(&guarantees);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn event(
    name: &RefName,
    action: Action,
    entries: Vec<EntryRecord>,
    drift: &[Drift],
    seen: &str,
    now: Timestamp,
    owner: &str,
) -> Event {
    let codes: Vec<&str> = drift.iter().map(|one| one.code()).collect();
    let told = if codes.is_empty() {
        "restored".to_owned()
    } else {
        codes.join(", ")
    };
    let about = entries.first().map_or("", |entry| entry.id.as_str());
    let digest = sha256_hex(format!("{name} {action} {told} {about} {}", now.unix()).as_bytes());
    let random = u128::from_str_radix(&digest[..20], 16).unwrap_or(0);
    let milliseconds = now.unix().unsigned_abs().saturating_mul(1000);
    Event {
        id: ulid::Ulid::from_parts(milliseconds, random).to_string(),
        action,
        reason: Reason::ProtectionDrift,
        authority: "authoritative",
        kind: SelectorKind::Ref,
        value: name.to_string(),
        signals: vec![Signal {
            source: "forge-protection".to_owned(),
            id: told,
            digest: BTreeMap::from([("sha256".to_owned(), seen.to_owned())]),
        }],
        entries,
        now,
        owner: owner.to_owned(),
    }
}
