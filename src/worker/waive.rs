//! Waivers in the ledger: what somebody orders becomes signed records, and records become waivers again.
//!
//! In scope: verifying, signing, appending once. Out of scope: what an order
//! means and who may give it (`waiver`), who said it (`cmd`, `pipeline::chat`).

use super::publish::{Lead, envelope, publish_with};
use super::{Gate, corrupt};
use crate::attest::{Envelope, PublicKey, Statement, sha256_hex, statement};
use crate::config::WaiverPolicy;
use crate::port::{Outage, Signer, Store, WaiverRecord};
use crate::push::Timestamp;
pub use crate::waiver::Done;
use crate::waiver::{Act, Ask, Event, Order, Refusal, Step, Waiver, fold, plan};
use sha2::{Digest, Sha256};
use std::cell::RefCell;

/// Seconds for which a waiver that is over is still known by its id, so that who names it hears that it is over.
const REMEMBERED: i64 = 90 * 86_400;

/// The ledger and the key that signs for it.
pub struct Desk<'a, S, G> {
    /// The ledger.
    pub store: &'a S,
    /// The attestation key.
    pub signer: &'a G,
    /// By which names it speaks.
    pub gate: &'a Gate,
    /// The public half of the attestation key.
    pub key: &'a PublicKey,
    /// The policy in force.
    pub policy: &'a WaiverPolicy,
}

/// An order, by whom and when.
#[derive(Debug, Clone)]
pub struct Ordered<'a> {
    /// A fresh ULID; the ids of the records follow from it.
    pub id: String,
    /// The order.
    pub order: &'a Order,
    /// By which way it came, for the record.
    pub via: &'a str,
    /// What makes the order known again; `None`: it comes only once.
    pub source: Option<&'a str>,
    /// Our clock.
    pub now: Timestamp,
}

/// Reads the waivers that end after a time. Each record's signature is checked: the store is not believed.
///
/// # Errors
/// The store's; `waiver-unverified` if a record is not signed by this key or cannot be read: then nobody knows what
/// else is wrong, and no waiver has effect.
pub async fn read<S: Store>(store: &S, key: &PublicKey, end_after: Timestamp) -> Result<Vec<Waiver>, Outage> {
    let records = store.waivers(end_after).await?;
    verified(records.iter().map(|record| record.envelope.as_str()), key)
}

/// What signed records, in the log's order, add up to.
///
/// * `envelopes`: of each waiver all records or none.
///
/// # Errors
/// `waiver-unverified`, as for [`read`].
pub fn verified<'a>(envelopes: impl IntoIterator<Item = &'a str>, key: &PublicKey) -> Result<Vec<Waiver>, Outage> {
    let read: Result<Vec<_>, Outage> = envelopes
        .into_iter()
        .enumerate()
        .map(|(at, envelope)| open(at, envelope, key))
        .collect();
    Ok(fold(&read?))
}

fn open(at: usize, record: &str, key: &PublicKey) -> Result<(Event, String), Outage> {
    let unverified = |why: &str| Outage {
        code: "waiver-unverified",
        what: format!("record {} of the waivers cannot be believed", at + 1),
        why: why.to_owned(),
        next: "run on the server: lychgate log check".to_owned(),
    };
    let envelope = Envelope::parse(record.as_bytes()).map_err(|e| unverified(&e.to_string()))?;
    let payload = envelope
        .open(&[key])
        .ok_or_else(|| unverified("it is not signed by the attestation key"))?;
    let statement = Statement::read(&payload).map_err(|e| unverified(&e.to_string()))?;
    if statement.predicate_type != statement::WAIVER_TYPE {
        return Err(unverified("it is no record of a waiver"));
    }
    let event: Event = statement.predicate().map_err(|e| unverified(&e.to_string()))?;
    Ok((event, sha256_hex(record.as_bytes())))
}

/// Records what somebody orders, once.
///
/// The order is judged against the waivers as they are when it is appended, so that of two approvals that come at
/// once the second sees the first.
///
/// # Errors
/// The store's and the signer's; nothing was recorded then.
pub async fn order<S: Store, G: Signer>(desk: &Desk<'_, S, G>, ordered: &Ordered<'_>) -> Result<Done, Outage> {
    let outcome = RefCell::new(Planned::Already(Vec::new()));
    let lead = async |size| {
        let (lead, planned) = prepare(desk, ordered, size).await?;
        outcome.replace(planned);
        Ok(lead)
    };
    publish_with(desk.store, desk.signer, desk.gate, Vec::new(), lead).await?;
    let (ids, appended) = match outcome.into_inner() {
        Planned::Refused(refusal) => return Ok(Done::Refused(refusal)),
        Planned::Append(ids) => (ids, true),
        Planned::Already(ids) => (ids, false),
    };
    let mut all = read(desk.store, desk.key, looked_back(ordered.now)).await?;
    all.retain(|waiver| ids.contains(&waiver.id));
    Ok(if appended {
        Done::Recorded(all)
    } else {
        Done::Already(all)
    })
}

/// What one try of an append would do, with the ids of the waivers concerned.
enum Planned {
    Append(Vec<String>),
    Already(Vec<String>),
    Refused(Refusal),
}

fn looked_back(now: Timestamp) -> Timestamp {
    Timestamp::from_unix(now.unix() - REMEMBERED)
}

async fn prepare<S: Store, G: Signer>(
    desk: &Desk<'_, S, G>,
    ordered: &Ordered<'_>,
    size: u64,
) -> Result<(Lead, Planned), Outage> {
    let since = looked_back(ordered.now);
    if let Some(source) = ordered.source {
        let known = desk.store.waivers(since).await?.into_iter();
        let ours = known.filter(|record| record.source.as_deref().is_some_and(|it| is_of(it, source)));
        let ids: Vec<String> = ours.map(|record| record.waiver).collect();
        if !ids.is_empty() {
            return Ok((Lead::Stop, Planned::Already(ids)));
        }
    }
    let existing = read(desk.store, desk.key, since).await?;
    let steps = match plan(desk.policy, &existing, ordered.order, ordered.now) {
        Ok(steps) => steps,
        Err(refusal) => return Ok((Lead::Stop, Planned::Refused(refusal))),
    };
    if steps.is_empty() {
        return Ok((Lead::Stop, Planned::Already(meant(&existing, ordered.order))));
    }
    let mut clerk = Clerk {
        desk,
        ordered,
        existing: &existing,
        records: Vec::new(),
        ask: None,
    };
    for step in &steps {
        clerk.write(step, size)?;
    }
    let ids = clerk.records.iter().map(|record| record.waiver.clone()).collect();
    Ok((Lead::Waivers(clerk.records), Planned::Append(ids)))
}

/// Whether a record's source is this command: several records of one are numbered.
fn is_of(record: &str, command: &str) -> bool {
    record.rsplit_once('#').is_some_and(|(whole, _)| whole == command)
}

/// The waivers that an order found done.
fn meant(existing: &[Waiver], order: &Order) -> Vec<String> {
    let Order::Ask { asks, .. } = order else {
        return Vec::new();
    };
    let same = |known: &Ask, ask: &Ask| {
        (&known.repository, &known.code, &known.target) == (&ask.repository, &ask.code, &ask.target)
    };
    let found = asks
        .iter()
        .filter_map(|ask| existing.iter().rev().find(|waiver| same(&waiver.ask, ask)));
    found.map(|waiver| waiver.id.clone()).collect()
}

/// Turns steps into signed records.
struct Clerk<'a, S, G> {
    desk: &'a Desk<'a, S, G>,
    ordered: &'a Ordered<'a>,
    existing: &'a [Waiver],
    records: Vec<WaiverRecord>,
    /// The request that the records after it follow on: the waiver's id, what it asks, its record's digest.
    ask: Option<(String, Ask, String)>,
}

impl<S: Store, G: Signer> Clerk<'_, S, G> {
    fn write(&mut self, step: &Step, size: u64) -> Result<(), Outage> {
        let at = self.records.len() as u64;
        let id = derived_id(&self.ordered.id, self.ordered.now, self.records.len());
        let (waiver, ask, act) = self.completed(step, &id)?;
        let event = Event {
            event: id.clone(),
            waiver: waiver.clone(),
            via: self.ordered.via.to_owned(),
            at: self.ordered.now,
            act,
        };
        let payload = statement::waiver(&event, &ask.repository, &ask.target);
        let signed = envelope(self.desk.signer, payload)?;
        if matches!(event.act, Act::Request(_)) {
            self.ask = Some((waiver.clone(), ask.clone(), sha256_hex(signed.as_bytes())));
        }
        self.records.push(WaiverRecord {
            event: id,
            waiver,
            expires: ask.expires,
            source: self.ordered.source.map(|source| format!("{source}#{at}")),
            log_index: size + at,
            envelope: signed,
        });
        Ok(())
    }

    /// The waiver that a step belongs to, what that asks, and the act with its digest.
    fn completed(&self, step: &Step, id: &str) -> Result<(String, Ask, Act), Outage> {
        let lost = || corrupt("the waivers", "a record follows on a request that is not there");
        match (&step.act, &step.waiver) {
            (Act::Request(ask), _) => Ok((id.to_owned(), (**ask).clone(), step.act.clone())),
            (act, Some(waiver)) => {
                let known = self.existing.iter().find(|it| it.id == *waiver).ok_or_else(lost)?;
                Ok((waiver.clone(), known.ask.clone(), act.clone()))
            }
            (Act::Approve { by, .. }, None) => {
                let (waiver, ask, request) = self.ask.clone().ok_or_else(lost)?;
                let by = by.clone();
                Ok((waiver, ask, Act::Approve { by, request }))
            }
            (Act::Revoke { .. }, None) => Err(lost()),
        }
    }
}

/// A ULID that follows from the order's id; a greater `count` gives a greater one.
fn derived_id(order: &str, now: Timestamp, count: usize) -> String {
    let digest = Sha256::digest(order.as_bytes());
    let low = digest
        .iter()
        .take(8)
        .fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
    let milliseconds = now.unix().unsigned_abs().saturating_mul(1000);
    ulid::Ulid::from_parts(milliseconds, (count as u128 & 0xffff) << 64 | low).to_string()
}
