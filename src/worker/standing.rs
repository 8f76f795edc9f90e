//! Who has which status: a function of the entries and the re-open events, and the signed list of it.

use super::{ATTEMPTS, Gate, busy};
use crate::attest::key::{der_to_fixed, key_id};
use crate::attest::{Action, SelectorKind};
use crate::port::{EntryRecord, Outage, ReopenRecord, Signer, Store};
use crate::push::{Oid, Timestamp};
use crate::status::{Claims, LogClaim, Status, pack, token};
use crate::tlog;
use std::collections::{BTreeMap, BTreeSet};

/// Seconds for which a list counts; then a fresh one must be had.
const LIST_LIFE: i64 = 24 * 3600;

/// Seconds for which a consumer may keep a copy before it asks again.
const LIST_TTL: i64 = 300;

/// The status of one entry, and the events that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The status.
    pub status: Status,
    /// The events, as indices into the list that was given to [`standings`], in log order.
    pub events: Vec<usize>,
}

/// The standing of each published entry, by entry id.
///
/// An event hits an entry that it lists, an entry of the commit that it
/// selects, and an entry of a commit of which it hits another entry. From a
/// commit it is inherited along each ref's history. It does not hit what was
/// published after it was closed; what it hit stays hit, for a status never
/// goes back to valid. A revocation cannot be closed.
///
/// * `entries`: published ones, in any order.
/// * `reopens`: all events, in log order.
pub fn standings(entries: &[EntryRecord], reopens: &[ReopenRecord]) -> BTreeMap<String, Standing> {
    let mut ordered: Vec<(u64, &EntryRecord)> = entries.iter().filter_map(|e| Some((e.log_index?, e))).collect();
    ordered.sort_by_key(|(index, _)| *index);
    let hits = commit_hits(entries, reopens);
    let mut inherited = Inherited::new();
    // One pass is enough unless an entry was published before the one that it builds on.
    loop {
        let before = inherited.clone();
        let result = ordered
            .iter()
            .map(|(index, entry)| {
                (
                    entry.id.clone(),
                    standing(*index, entry, reopens, &hits, &mut inherited),
                )
            })
            .collect();
        if inherited == before {
            return result;
        }
    }
}

/// By tip: the events that what builds on it inherits.
type Inherited = BTreeMap<Oid, BTreeSet<usize>>;

fn standing(
    index: u64,
    entry: &EntryRecord,
    reopens: &[ReopenRecord],
    hits: &BTreeMap<Oid, BTreeSet<usize>>,
    inherited: &mut Inherited,
) -> Standing {
    let direct = direct_events(index, entry, reopens, hits);
    let from_before = inherited.get(&entry.update.old).into_iter().flatten();
    let still_open = from_before.copied().filter(|at| is_open(reopens, *at, index));
    let events: BTreeSet<usize> = still_open.chain(direct.iter().copied()).collect();
    let effects = events
        .iter()
        .map(|at| effect(&reopens[*at], entry, direct.contains(at)));
    let status = effects.max().unwrap_or(Status::Valid);
    let passed_on: BTreeSet<usize> = events.iter().copied().filter(|at| cascades(&reopens[*at])).collect();
    // A deletion leads to no tip.
    if !passed_on.is_empty() && !entry.update.new.is_zero() {
        inherited.entry(entry.update.new).or_default().extend(passed_on);
    }
    Standing {
        status,
        events: events.into_iter().collect(),
    }
}

/// The events that list an entry of a commit, by commit.
fn commit_hits(entries: &[EntryRecord], reopens: &[ReopenRecord]) -> BTreeMap<Oid, BTreeSet<usize>> {
    let commits: BTreeMap<&str, Oid> = entries
        .iter()
        .filter_map(|e| Some((e.id.as_str(), e.commit?)))
        .collect();
    let mut hits: BTreeMap<Oid, BTreeSet<usize>> = BTreeMap::new();
    for (at, event) in reopens.iter().enumerate().filter(|(_, event)| suspends(event)) {
        for commit in event.entries.iter().filter_map(|id| commits.get(id.as_str())) {
            hits.entry(*commit).or_default().insert(at);
        }
    }
    hits
}

fn direct_events(
    index: u64,
    entry: &EntryRecord,
    reopens: &[ReopenRecord],
    hits: &BTreeMap<Oid, BTreeSet<usize>>,
) -> BTreeSet<usize> {
    let same_commit = entry.commit.and_then(|commit| hits.get(&commit));
    let hit = |at: usize, event: &ReopenRecord| {
        event.entries.contains(&entry.id)
            || (is_open(reopens, at, index)
                && (names_commit(event, entry) || same_commit.is_some_and(|events| events.contains(&at))))
    };
    let suspending = reopens.iter().enumerate().filter(|(_, event)| suspends(event));
    suspending
        .filter(|(at, event)| hit(*at, event))
        .map(|(at, _)| at)
        .collect()
}

fn effect(event: &ReopenRecord, entry: &EntryRecord, direct: bool) -> Status {
    if !direct || (cascades(event) && !names_commit(event, entry)) {
        Status::Inherited
    } else if event.action == Action::Revoke.as_str() {
        Status::Revoked
    } else {
        Status::Reopened
    }
}

fn names_commit(event: &ReopenRecord, entry: &EntryRecord) -> bool {
    cascades(event)
        && entry
            .commit
            .is_some_and(|commit| commit.to_string() == event.selector_value)
}

fn cascades(event: &ReopenRecord) -> bool {
    event.selector_kind == SelectorKind::Commit.as_str()
}

/// An action that is not known counts as suspending: a ledger of a later version must not read as valid.
fn suspends(event: &ReopenRecord) -> bool {
    event.action != Action::Close.as_str()
}

/// Whether the event was not yet closed when the leaf `index` was appended.
fn is_open(reopens: &[ReopenRecord], at: usize, index: u64) -> bool {
    let event = &reopens[at];
    let closed_before = |close: &ReopenRecord| close.log_index > event.log_index && close.log_index < index;
    event.action == Action::Revoke.as_str() || !closes_of(event, reopens).any(closed_before)
}

/// Whether the event is closed by now.
pub(super) fn is_closed(reopens: &[ReopenRecord], at: usize) -> bool {
    !is_open(reopens, at, u64::MAX)
}

fn closes_of<'a>(event: &'a ReopenRecord, reopens: &'a [ReopenRecord]) -> impl Iterator<Item = &'a ReopenRecord> {
    reopens.iter().filter(move |close| {
        !suspends(close) && close.selector_kind == event.selector_kind && close.selector_value == event.selector_value
    })
}

/// The standing of one published entry.
///
/// # Errors
/// The store's.
pub async fn status_of<S: Store>(store: &S, entry: &EntryRecord) -> Result<Option<Standing>, Outage> {
    let reopens = store.reopens().await?;
    let entries = if reopens.is_empty() {
        vec![entry.clone()]
    } else {
        store.entries(u32::MAX).await?
    };
    Ok(standings(&entries, &reopens).remove(&entry.id))
}

/// The signed status list of the whole ledger, as of one head of its log.
///
/// # Errors
/// The store's and the signer's; `store-busy` if the log does not stand still.
pub async fn status_list<S: Store, G: Signer>(
    store: &S,
    signer: &G,
    gate: &Gate,
    now: Timestamp,
) -> Result<String, Outage> {
    for _ in 0..ATTEMPTS {
        let head = store.head().await?;
        let length = store.next_status_index().await?;
        let entries = store.entries(u32::MAX).await?;
        let reopens = store.reopens().await?;
        if store.head().await?.size != head.size {
            continue;
        }
        let root = if head.size == 0 { tlog::root(&[]) } else { head.root };
        let claims = Claims {
            sub: gate.status_uri.clone(),
            iat: now.unix(),
            exp: Some(now.unix().saturating_add(LIST_LIFE)),
            ttl: Some(LIST_TTL),
            status_list: pack(&by_index(length, &entries, &reopens)),
            log: LogClaim::new(&gate.origin, head.size, &root),
        };
        return sign_list(signer, &claims);
    }
    Err(busy("the status list could not be made"))
}

fn by_index(length: u64, entries: &[EntryRecord], reopens: &[ReopenRecord]) -> Vec<Status> {
    // A place that no entry has is suspended rather than valid.
    let mut list = vec![Status::Reopened; usize::try_from(length).unwrap_or(0)];
    let standings = standings(entries, reopens);
    for entry in entries {
        let place = entry
            .status_index
            .and_then(|index| list.get_mut(usize::try_from(index).ok()?));
        if let (Some(place), Some(standing)) = (place, standings.get(&entry.id)) {
            *place = standing.status;
        }
    }
    list
}

fn sign_list<G: Signer>(signer: &G, claims: &Claims) -> Result<String, Outage> {
    let input = claims.signing_input(&key_id(signer.public_key()));
    let signature = signer.sign(input.as_bytes())?;
    let fixed = der_to_fixed(&signature).map_err(|e| Outage {
        code: "signer-unavailable",
        what: "the signer's signature of the status list cannot be used".to_owned(),
        why: e.to_string(),
        next: "The signer must use ECDSA P-256 and DER.".to_owned(),
    })?;
    Ok(token(&input, &fixed))
}
