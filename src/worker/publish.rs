//! Publication: pending entries whose ref moved get their statements, leaves and a new checkpoint.

use super::{ATTEMPTS, Gate, busy, corrupt};
use crate::attest::statement::{self, Entered, SignerKey};
use crate::attest::{Envelope, PAYLOAD_TYPE, SelectorKind, key::key_id, pae, sha256_hex};
use crate::decision::{Accepted, Waived};
use crate::facts::{Fact, Facts, SignatureFact, SignatureState, UpdateFact};
use crate::guarantee::Guarantee;
use crate::port::{
    Append, EntryRecord, EntryState, Outage, PublishedEntry, ReopenRecord, Signer, Store, Task, Tip, WaiverRecord,
};
use crate::push::Oid;
use crate::tlog::{self, Checkpoint, Head};
use std::collections::BTreeMap;

/// Publishes pending entries whose ref has moved, in the order given: provenance leaf, then VSA leaf, for each.
///
/// All in one append, with their tasks. Idempotent: entries that are no longer
/// pending, before or while this runs, are left out. A deletion, or a ref that
/// names no commit, has a provenance only; its VSA is the empty text and its
/// log index that of the provenance. Give entries in the order in which they were recorded: times are whole
/// seconds, so they cannot tell which of two pushes came first.
///
/// Returns what this call published, in log order.
///
/// # Errors
/// The store's and the signer's, `store-corrupt` if a decision cannot be read, `store-busy`. Nothing is
/// published then, and the entries stay pending.
pub async fn publish<S: Store, G: Signer>(
    store: &S,
    signer: &G,
    gate: &Gate,
    entries: Vec<EntryRecord>,
) -> Result<Vec<PublishedEntry>, Outage> {
    publish_with(store, signer, gate, entries, async |_| Ok(Lead::None)).await
}

/// What comes before the entries in an append, found anew for each try.
pub(super) enum Lead {
    /// Nothing.
    None,
    /// An event: its leaf and its record.
    Event(String, Box<ReopenRecord>),
    /// Records of waivers; their leaves are their envelopes, in order.
    Waivers(Vec<WaiverRecord>),
    /// Append nothing at all: what was to be done is done.
    Stop,
}

/// As [`publish`]; `lead` is given the log's size, which is the index of an event's leaf.
pub(super) async fn publish_with<S: Store, G: Signer>(
    store: &S,
    signer: &G,
    gate: &Gate,
    entries: Vec<EntryRecord>,
    lead: impl AsyncFn(u64) -> Result<Lead, Outage>,
) -> Result<Vec<PublishedEntry>, Outage> {
    let mut todo = entries;
    todo.retain(|entry| entry.state == EntryState::Pending);
    for _ in 0..ATTEMPTS {
        let tip = store.tip().await?;
        let head = &tip.head;
        let mut append = Append::default();
        match lead(head.size).await? {
            Lead::Event(leaf, record) => {
                append.leaves.push(leaf.into_bytes());
                append.reopen = Some(*record);
            }
            Lead::Waivers(records) => {
                append.leaves = records.iter().map(|r| r.envelope.clone().into_bytes()).collect();
                append.waivers = records;
            }
            Lead::None if !todo.is_empty() => {}
            Lead::None | Lead::Stop => return Ok(Vec::new()),
        }
        add_entries(store, signer, gate, &tip, &todo, &mut append).await?;
        extend(signer, gate, &tip, &mut append)?;
        if store.append(head.size, &append).await? {
            return Ok(append.published);
        }
        todo = still_pending(store, todo).await?;
    }
    Err(busy("the log could not be appended to"))
}

/// Another process may have settled some of them.
async fn still_pending<S: Store>(store: &S, todo: Vec<EntryRecord>) -> Result<Vec<EntryRecord>, Outage> {
    let mut left = Vec::new();
    for entry in todo {
        let present = store.entry(&entry.id).await?;
        left.extend(present.filter(|e| e.state == EntryState::Pending));
    }
    Ok(left)
}

async fn add_entries<S: Store, G: Signer>(
    store: &S,
    signer: &G,
    gate: &Gate,
    tip: &Tip,
    entries: &[EntryRecord],
    append: &mut Append,
) -> Result<(), Outage> {
    let mut sources = BTreeMap::new();
    for (entry, status_index) in entries.iter().zip(tip.next_status_index..) {
        if !sources.contains_key(&entry.push_id) {
            sources.insert(&entry.push_id, Source::load(store, &entry.push_id).await?);
        }
        let source = &sources[&entry.push_id];
        let signed = source.sign(signer, gate, entry, status_index)?;
        append.leaves.push(signed.provenance.clone().into_bytes());
        if !signed.vsa.is_empty() {
            append.leaves.push(signed.vsa.clone().into_bytes());
            append.tasks.extend(source.tasks(entry));
        }
        append.published.push(PublishedEntry {
            id: entry.id.clone(),
            log_index: tip.head.size + append.leaves.len() as u64 - 1,
            status_index,
            provenance: signed.provenance,
            vsa: signed.vsa,
        });
    }
    Ok(())
}

/// Works out the new nodes and the new head of an append from its leaves, and signs the checkpoint.
fn extend<G: Signer>(signer: &G, gate: &Gate, tip: &Tip, append: &mut Append) -> Result<(), Outage> {
    let Tip { head, edge, .. } = tip;
    if head.size > 0 && tlog::root(edge) != head.root {
        return Err(corrupt(
            "the log's head",
            "its root does not follow from the stored hashes",
        ));
    }
    let grown = tlog::append(head.size, edge, &append.leaves).ok_or_else(|| {
        corrupt(
            "the log's right edge",
            "it has not the number of hashes that its size needs",
        )
    })?;
    let checkpoint = Checkpoint {
        origin: gate.origin.clone(),
        size: grown.size,
        root: grown.root,
    };
    let signature = signer.sign(checkpoint.body().as_bytes())?;
    append.nodes = grown.nodes;
    append.head = Some(Head {
        size: grown.size,
        root: grown.root,
        checkpoint: checkpoint.signed(signer.public_key(), &signature),
    });
    Ok(())
}

/// Signs a statement and puts it into its envelope's JSON: a leaf of the log.
pub(super) fn envelope<G: Signer>(signer: &G, payload: Vec<u8>) -> Result<String, Outage> {
    let signature = signer.sign(&pae(PAYLOAD_TYPE, &payload))?;
    Ok(Envelope::new(payload, key_id(signer.public_key()), signature).to_json())
}

/// The stored decision that entries come from.
pub(super) struct Source {
    /// The facts that were decided on.
    pub(super) facts: Facts,
    accepted: Vec<Accepted>,
    policy_digest: String,
    decision_digest: String,
}

/// What publication needs of a stored decision.
#[derive(serde::Deserialize)]
struct Stored {
    accepted: Vec<Accepted>,
}

/// The two envelopes of an entry; an entry without a commit has an empty VSA.
struct Signed {
    provenance: String,
    vsa: String,
}

impl Source {
    pub(super) async fn load<S: Store>(store: &S, push_id: &str) -> Result<Self, Outage> {
        let what = || format!("the decision on push {push_id}");
        let record = store.decision(push_id).await?;
        let record = record.ok_or_else(|| corrupt(what(), "an entry names it, the ledger lacks it"))?;
        let facts = serde_json::from_slice(&record.facts).map_err(|e| corrupt(what(), format!("its facts: {e}")))?;
        let decision: Stored =
            serde_json::from_slice(&record.decision).map_err(|e| corrupt(what(), format!("its decision: {e}")))?;
        Ok(Self {
            facts,
            accepted: decision.accepted,
            policy_digest: sha256_hex(record.policy.as_bytes()),
            decision_digest: sha256_hex(&record.decision),
        })
    }

    fn sign<G: Signer>(
        &self,
        signer: &G,
        gate: &Gate,
        entry: &EntryRecord,
        status_index: u64,
    ) -> Result<Signed, Outage> {
        let guarantees: Vec<Guarantee> = serde_json::from_str(&entry.guarantees)
            .map_err(|e| corrupt(format!("entry {}", entry.id), format!("its guarantees: {e}")))?;
        let entered = Entered {
            id: &entry.id,
            push: &self.facts.push,
            update: &entry.update,
            commit: entry.commit,
            tree: entry.tree,
            received_at: entry.received_at,
            guarantees: &guarantees,
            signers: self.signers(entry),
            landing: self.facts.landing.as_ref(),
            rule_set: match &self.facts.scan {
                Fact::Known(scan) => Some(&scan.rule_set),
                Fact::Unavailable { .. } => None,
            },
            policy_digest: &self.policy_digest,
            decision_digest: &self.decision_digest,
            waivers: self.waivers(entry),
        };
        let provenance = envelope(signer, statement::provenance(&entered, gate.issuer()))?;
        let vsa = match entry.commit {
            Some(_) => envelope(
                signer,
                statement::vsa(&entered, gate.issuer(), &provenance, status_index),
            )?,
            None => String::new(),
        };
        Ok(Signed { provenance, vsa })
    }

    /// The keys that made good signatures on what the entry brought, with how many each.
    pub(super) fn signers(&self, entry: &EntryRecord) -> Vec<SignerKey> {
        let mut keys: BTreeMap<(String, Option<String>), u64> = BTreeMap::new();
        for (_, signature) in self.good_signatures(entry) {
            if let Some(key) = &signature.key {
                *keys.entry((key.clone(), signature.principal.clone())).or_default() += 1;
            }
        }
        let signer = |((key, principal), objects)| SignerKey {
            key,
            principal,
            objects,
        };
        keys.into_iter().map(signer).collect()
    }

    /// Whether a selector by key, actor or rule selects an entry of this decision.
    pub(super) fn matches(&self, entry: &EntryRecord, kind: SelectorKind, value: &str) -> bool {
        match (kind, &self.facts.scan) {
            (SelectorKind::Key, _) => self.signers(entry).iter().any(|s| s.key == value),
            (SelectorKind::Actor, _) => self.facts.push.actor.name == value,
            (SelectorKind::Ref, _) => entry.update.name.as_str() == value,
            (SelectorKind::Rule, Fact::Known(scan)) => scan.secrets.iter().any(|s| s.rule == value),
            _ => false,
        }
    }

    fn good_signatures<'a>(&'a self, entry: &EntryRecord) -> Vec<(Oid, &'a SignatureFact)> {
        let Some(update) = self.update(entry) else {
            return Vec::new();
        };
        let indices: &[u32] = match &update.commits {
            Fact::Known(indices) => indices,
            Fact::Unavailable { .. } => &[],
        };
        let commits = indices.iter().filter_map(|at| self.facts.commits.get(*at as usize));
        let commits = commits.map(|commit| (commit.oid, &commit.signature));
        let tag = update.tag.iter().map(|tag| (tag.oid, &tag.signature));
        let good = |(oid, fact): (Oid, &'a Fact<SignatureFact>)| match fact {
            Fact::Known(signature) if signature.state == SignatureState::Good => Some((oid, signature)),
            _ => None,
        };
        commits.chain(tag).filter_map(good).collect()
    }

    /// The waivers that an entry needed.
    fn waivers(&self, entry: &EntryRecord) -> &[Waived] {
        let own = self.accepted.iter().find(|accepted| accepted.update == entry.update);
        own.map_or(&[], |accepted| &accepted.waivers)
    }

    fn update(&self, entry: &EntryRecord) -> Option<&UpdateFact> {
        self.facts.updates.iter().find(|u| u.update == entry.update)
    }

    /// The work that an entry leaves to be done: OpenPGP signatures that gpgme has not seen in the push, and the note.
    fn tasks(&self, entry: &EntryRecord) -> Vec<Task> {
        let unseen = |s: &SignatureFact| !s.first_use && s.key.as_ref().is_some_and(|key| !key.starts_with("SHA256:"));
        let signatures = self.good_signatures(entry).into_iter();
        let objects: Vec<Oid> = signatures.filter(|(_, s)| unseen(s)).map(|(oid, _)| oid).collect();
        let note = Task::Note {
            entry: entry.id.clone(),
        };
        if objects.is_empty() {
            return vec![note];
        }
        let opinion = Task::SecondOpinion {
            entry: entry.id.clone(),
            objects,
        };
        vec![opinion, note]
    }
}
