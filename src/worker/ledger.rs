//! What can be read out of the ledger: bundles, notes, proofs, and whether all of it fits together.

use super::corrupt;
use crate::attest::statement::WAIVER_TYPE;
use crate::attest::{Bundle, Envelope, PublicKey, Statement};
use crate::port::{EntryRecord, Outage, Store};
use crate::push::Timestamp;
use crate::tlog::{self, Checkpoint, Hash, Head, Node, Proof};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// The Sigstore bundle of an entry's VSA, one line of JSON. `None` if the entry has none.
///
/// # Errors
/// `store-corrupt` if the stored envelope is none.
pub fn bundle(entry: &EntryRecord) -> Result<Option<String>, Outage> {
    line(entry, entry.vsa.as_deref())
}

fn line(entry: &EntryRecord, text: Option<&str>) -> Result<Option<String>, Outage> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let envelope = Envelope::parse(text.as_bytes());
    let envelope = envelope.map_err(|e| corrupt(format!("entry {}", entry.id), e.to_string()))?;
    Ok(Some(Bundle { envelope }.to_json()))
}

/// The lines of a commit's note: the bundle of the provenance, then that of the VSA, which readers look for on the
/// last line. Empty if the entry has no VSA.
///
/// # Errors
/// `store-corrupt` if a stored envelope is none.
pub(super) fn note_lines(entry: &EntryRecord) -> Result<Vec<String>, Outage> {
    let Some(vsa) = bundle(entry)? else {
        return Ok(Vec::new());
    };
    let provenance = line(entry, entry.provenance.as_deref())?;
    Ok(provenance.into_iter().chain([vsa]).collect())
}

/// The proof that the leaf at `index` is in the log as of `head`.
///
/// # Errors
/// The store's; `store-corrupt` if the log has no such leaf.
pub async fn prove<S: Store>(store: &S, head: &Head, index: u64) -> Result<Proof, Outage> {
    let beyond = || corrupt("the log", format!("leaf {index} is beyond its size {}", head.size));
    let wanted = tlog::inclusion_nodes(index, head.size).ok_or_else(beyond)?;
    let hashes = tlog::inclusion_proof(index, head.size, &store.nodes(&wanted).await?);
    Ok(Proof {
        index,
        hashes: hashes.ok_or_else(beyond)?,
        checkpoint: head.checkpoint.clone(),
    })
}

/// What a check of the whole ledger found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Leaves that were hashed.
    pub leaves: u64,
    /// Published entries that were compared.
    pub entries: u64,
    /// Re-open events that were compared.
    pub reopens: u64,
    /// Records of waivers that were compared.
    pub waivers: u64,
    /// What does not fit, a sentence each; empty: all fits.
    pub problems: Vec<String>,
}

/// Recomputes the whole tree from its leaves and compares it with the head, the stored hashes, the checkpoint, and
/// each entry and event with its leaf, signature and proof.
///
/// # Errors
/// The store's, but `store-corrupt`, which is a problem found.
pub async fn check<S: Store>(store: &S, key: &PublicKey, origin: &str) -> Result<Checked, Outage> {
    let head = store.head().await?;
    let mut checked = Checked::default();
    check_head(&head, key, origin, &mut checked);
    let tree = rebuild(store, head.size, &mut checked).await?;
    check_nodes(store, &tree, &mut checked).await?;
    let edge: Vec<Hash> = tlog::right_edge(head.size)
        .iter()
        .filter_map(|n| tree.get(n).copied())
        .collect();
    if head.size > 0 && tlog::root(&edge) != head.root {
        checked
            .problems
            .push("the head's root is not that of the leaves".to_owned());
    }
    for entry in store.entries(u32::MAX).await? {
        let proof = Judge {
            store,
            head: &head,
            key,
            tree: &tree,
        };
        proof.entry(&entry, &mut checked).await?;
    }
    for event in store.reopens().await? {
        let proof = Judge {
            store,
            head: &head,
            key,
            tree: &tree,
        };
        let what = format!("event {}", event.event);
        proof
            .leaf(&what, event.log_index, &event.envelope, &mut checked)
            .await?;
        checked.reopens += 1;
    }
    check_waivers(store, &head, key, &tree, &mut checked).await?;
    Ok(checked)
}

/// Compares the records of waivers with their leaves, and the leaves with the records: one that is taken out of the
/// list, such as a revocation, would otherwise be missed by nobody.
async fn check_waivers<S: Store>(
    store: &S,
    head: &Head,
    key: &PublicKey,
    tree: &HashMap<Node, Hash>,
    checked: &mut Checked,
) -> Result<(), Outage> {
    let records = store.waivers(Timestamp::from_unix(0)).await?;
    let judge = Judge { store, head, key, tree };
    for record in &records {
        let what = format!("waiver record {}", record.event);
        judge.leaf(&what, record.log_index, &record.envelope, checked).await?;
        checked.waivers += 1;
    }
    let listed: HashSet<u64> = records.iter().map(|record| record.log_index).collect();
    for index in (0..head.size).filter(|index| !listed.contains(index)) {
        let leaf = store.leaf(index).await?.unwrap_or_default();
        if is_waiver(&leaf, key) {
            let problem = format!("leaf {index} is a record of a waiver that the list of waivers lacks");
            checked.problems.push(problem);
        }
    }
    Ok(())
}

fn is_waiver(leaf: &[u8], key: &PublicKey) -> bool {
    let envelope = Envelope::parse(leaf).ok();
    let payload = envelope.and_then(|envelope| envelope.open(&[key]));
    let statement = payload.and_then(|payload| Statement::read(&payload).ok());
    statement.is_some_and(|statement| statement.predicate_type == WAIVER_TYPE)
}

fn check_head(head: &Head, key: &PublicKey, origin: &str, checked: &mut Checked) {
    if head.size == 0 {
        return;
    }
    match Checkpoint::open(&head.checkpoint, key) {
        Ok(c) if c.size == head.size && c.root == head.root && c.origin == origin => {}
        Ok(_) => checked
            .problems
            .push("the checkpoint is not of the head or has another origin".to_owned()),
        Err(e) => checked.problems.push(format!("the checkpoint: {e}")),
    }
}

async fn rebuild<S: Store>(store: &S, size: u64, checked: &mut Checked) -> Result<HashMap<Node, Hash>, Outage> {
    let mut tree = HashMap::new();
    for index in 0..size {
        let Some(data) = store.leaf(index).await? else {
            checked.problems.push(format!("leaf {index} is not there"));
            return Ok(tree);
        };
        let edge: Vec<Hash> = tlog::right_edge(index).iter().map(|node| tree[node]).collect();
        let grown = tlog::append(index, &edge, &[data]).ok_or_else(|| corrupt("the log", "it is too large"))?;
        tree.extend(grown.nodes.into_iter().map(|(level, at, hash)| ((level, at), hash)));
        checked.leaves += 1;
    }
    Ok(tree)
}

async fn check_nodes<S: Store>(store: &S, tree: &HashMap<Node, Hash>, checked: &mut Checked) -> Result<(), Outage> {
    let mut names: Vec<Node> = tree.keys().copied().collect();
    names.sort_unstable();
    for some in names.chunks(1000) {
        match store.nodes(some).await {
            Ok(hashes) => {
                let wrong = some.iter().zip(&hashes).filter(|(node, hash)| tree[*node] != **hash);
                let sentence =
                    |((level, index), _): (&Node, _)| format!("the hash at level {level}, index {index} is wrong");
                checked.problems.extend(wrong.map(sentence));
            }
            Err(outage) if outage.code == "store-corrupt" => checked.problems.push(outage.to_string()),
            Err(outage) => return Err(outage),
        }
    }
    Ok(())
}

/// Compares what is stored beside the log with its leaves.
struct Judge<'a, S> {
    store: &'a S,
    head: &'a Head,
    key: &'a PublicKey,
    tree: &'a HashMap<Node, Hash>,
}

impl<S: Store> Judge<'_, S> {
    async fn entry(&self, entry: &EntryRecord, checked: &mut Checked) -> Result<(), Outage> {
        let what = format!("entry {}", entry.id);
        checked.entries += 1;
        let (Some(index), Some(provenance), Some(vsa)) = (entry.log_index, &entry.provenance, &entry.vsa) else {
            checked.problems.push(format!("{what} is published without its parts"));
            return Ok(());
        };
        if vsa.is_empty() {
            return self.leaf(&what, index, provenance, checked).await;
        }
        self.leaf(&what, index, vsa, checked).await?;
        match index.checked_sub(1) {
            Some(before) => self.leaf(&what, before, provenance, checked).await,
            None => {
                checked.problems.push(format!("{what} has no room for its provenance"));
                Ok(())
            }
        }
    }

    async fn leaf(&self, what: &str, index: u64, envelope: &str, checked: &mut Checked) -> Result<(), Outage> {
        if self.store.leaf(index).await?.as_deref() != Some(envelope.as_bytes()) {
            checked.problems.push(format!("{what} is not what leaf {index} holds"));
            return Ok(());
        }
        if !Envelope::parse(envelope.as_bytes()).is_ok_and(|e| e.open(&[self.key]).is_some()) {
            checked
                .problems
                .push(format!("{what}: leaf {index} is not signed by the attestation key"));
        }
        let wanted = tlog::inclusion_nodes(index, self.head.size).unwrap_or_default();
        let hashes: Vec<Hash> = wanted.iter().filter_map(|node| self.tree.get(node).copied()).collect();
        let proof = tlog::inclusion_proof(index, self.head.size, &hashes).unwrap_or_default();
        let leaf = tlog::leaf_hash(envelope.as_bytes());
        if !tlog::verify_inclusion(leaf, index, self.head.size, &proof, &self.head.root) {
            checked
                .problems
                .push(format!("{what}: no proof leads from leaf {index} to the head"));
        }
        Ok(())
    }
}
