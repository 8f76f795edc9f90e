//! The traits through which core and pipeline see the world, in the core's own types.
//!
//! In scope: what a repository, a keyring, a signer and a store must do, and
//! how they fail. Out of scope: any vendor (adapters live in `git`, `keyring`,
//! `signer`, `store`). Only `cmd` constructs adapters.

mod bot;
mod repository;

pub use bot::{DeadLetter, Delivery, Depth, FetchSource, Forge, ForgeError, Leased, LetterBox, OpenChange, Queue};
pub use repository::{
    Inspected, InspectedUpdate, Introduced, Looked, NewCommit, Object, ObjectVisitor, Part, Repository, Verdicts,
};

use crate::facts::SignatureFact;
use crate::object::SignatureFormat;
use crate::push::{Oid, RefName, RefUpdate, Timestamp};
use crate::tlog::{self, Head};
use serde::{Deserialize, Serialize};
use std::io::Write;

/// A failure of ours or of the system below us: an outage, never a verdict.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Outage {
    /// Stable kebab-case code, such as `store-unreadable`.
    pub code: &'static str,
    /// What could not be done, where: names the file or service.
    pub what: String,
    /// Why, from the layer below; no secret.
    pub why: String,
    /// The operator's next step, one sentence or a command.
    pub next: String,
}

/// The signed bytes and the signature, as the strict reader separated them.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Exactly what was signed.
    pub payload: &'a [u8],
    /// The armored signature.
    pub signature: &'a [u8],
    /// Its format.
    pub format: SignatureFormat,
    /// The time that the committer or tagger line claims.
    pub claimed_at: Timestamp,
}

/// The keys that may sign, with the accounts that they are bound to.
pub trait Keyring: Sync {
    /// Judges one signature at `received_at`, the only trusted time.
    ///
    /// * `skew`: seconds by which the signature's and the committer's time may differ from `received_at`
    ///   into the future; the past is unbounded only by the key's own validity at `received_at`.
    ///
    /// # Errors
    /// `keyring-unreadable`. A bad signature is no error: it is a state.
    fn verify(&self, signed: Signed<'_>, received_at: Timestamp, skew: i64) -> Result<SignatureFact, Outage>;

    /// Asks the second verifier (gpgme) about an OpenPGP signature: `true` if it too finds it good.
    ///
    /// # Errors
    /// `keyring-unreadable`, `second-opinion-unavailable`.
    fn second_opinion(&self, signed: Signed<'_>) -> Result<bool, Outage>;
}

/// Where bundles are written for readers that know no ledger.
pub trait Notes {
    /// Appends a line to the note of each commit, after what is there; a line that is there already stays alone.
    ///
    /// # Errors
    /// `notes-not-written`: then none of them is.
    fn append(&self, notes: &[(Oid, String)], now: Timestamp) -> Result<(), Outage>;
}

/// The attestation key. May live in a file, behind a socket, in a token or a KMS.
pub trait Signer {
    /// Signs a message with ECDSA P-256 over SHA-256; DER-encoded signature.
    ///
    /// # Errors
    /// `signer-unavailable`.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Outage>;

    /// The public key as SubjectPublicKeyInfo DER.
    fn public_key(&self) -> &[u8];
}

/// A document that is stored: writes itself, so that nobody need hold it whole.
pub trait Document {
    /// Writes all of it.
    ///
    /// # Errors
    /// Those of the writer.
    fn write_to(&self, out: &mut dyn Write) -> std::io::Result<()>;
}

impl Document for Vec<u8> {
    fn write_to(&self, out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(self)
    }
}

impl Document for &dyn Document {
    fn write_to(&self, out: &mut dyn Write) -> std::io::Result<()> {
        (**self).write_to(out)
    }
}

/// A value of ours as the document of its [canonical JSON](crate::decision::canonical).
pub struct Canonical<'a, T>(pub &'a T);

impl<T: Serialize> Document for Canonical<'_, T> {
    fn write_to(&self, out: &mut dyn Write) -> std::io::Result<()> {
        serde_json::to_writer(out, self.0).map_err(std::io::Error::from)
    }
}

/// A decision as stored: enough to replay it byte for byte. Read back, its documents are held whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRecord<D = Vec<u8>> {
    /// The push's id (ULID).
    pub push_id: String,
    /// Receive time.
    pub received_at: Timestamp,
    /// `true` if the push may enter.
    pub allowed: bool,
    /// Text of the policy in force.
    pub policy: String,
    /// The facts as canonical JSON.
    pub facts: D,
    /// The decision as canonical JSON.
    pub decision: D,
}

/// What a stored entry's life has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryState {
    /// Decided and durable; the ref has not moved yet, as far as we know.
    Pending,
    /// The ref moved, the attestation is in the log.
    Published,
    /// The ref did not move.
    Void,
}

/// An accepted revision on a ref.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRecord {
    /// Unique: a ULID.
    pub id: String,
    /// The push that brought it.
    pub push_id: String,
    /// The ref update.
    pub update: RefUpdate,
    /// The commit (tags peeled); `None` for a deletion.
    pub commit: Option<Oid>,
    /// Its tree.
    pub tree: Option<Oid>,
    /// Receive time of the push.
    pub received_at: Timestamp,
    /// The guarantees as JSON (`Vec<Guarantee>`).
    pub guarantees: String,
    /// Its life.
    pub state: EntryState,
    /// Which process chain decided it: `boot-id pid start-time` of receive-pack, to tell a crash from a push under way.
    pub owner: String,
    /// Index in the log of the VSA's leaf, once published.
    pub log_index: Option<u64>,
    /// Index in the status list, once published.
    pub status_index: Option<u64>,
    /// The DSSE envelope of the source provenance, once published.
    pub provenance: Option<String>,
    /// The DSSE envelope of the VSA, once published.
    pub vsa: Option<String>,
}

/// A published re-open event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReopenRecord {
    /// Event ULID.
    pub event: String,
    /// `reopen`, `revoke` or `close`.
    pub action: String,
    /// Reason code, such as `leaked_secret_in_use`.
    pub reason: String,
    /// `commit`, `blob`, `key`, `rule` or `actor`.
    pub selector_kind: String,
    /// The commit id, blob id, key fingerprint, rule id or account.
    pub selector_value: String,
    /// When it took effect (our clock at append).
    pub effective_from: Timestamp,
    /// Index of its leaf in the log.
    pub log_index: u64,
    /// Ids of the entries that it selects.
    pub entries: Vec<String>,
    /// The DSSE envelope of the event.
    pub envelope: String,
}

/// A published record of a waiver. What it means stands in the envelope, and counts only if its signature fits;
/// the other members are for finding it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiverRecord {
    /// Its id.
    pub event: String,
    /// The waiver's id.
    pub waiver: String,
    /// From when on the waiver has no effect.
    pub expires: Timestamp,
    /// What led to it, unique, so that a command that comes twice is recorded once; `None` for the shell.
    pub source: Option<String>,
    /// Index of its leaf in the log.
    pub log_index: u64,
    /// The DSSE envelope.
    pub envelope: String,
}

/// Work to be done after the push, outside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Task {
    /// Ask gpgme about the signatures of these commits or tags, which entered by `entry`.
    SecondOpinion {
        /// The entry.
        entry: String,
        /// Commit and tag ids.
        objects: Vec<Oid>,
    },
    /// Write the entry's bundle as a note.
    Note {
        /// The entry.
        entry: String,
    },
}

/// One append to the log: new leaves, the head they lead to, and what is published with them, atomically.
#[derive(Debug, Clone, Default)]
pub struct Append {
    /// Leaf data in log order; the first gets index `expected.size`.
    pub leaves: Vec<Vec<u8>>,
    /// New complete subtree hashes: (level, index, hash); level 0 = leaf hashes.
    pub nodes: Vec<(u8, u64, [u8; 32])>,
    /// The new head, with its signed checkpoint.
    pub head: Option<Head>,
    /// Entries to mark published: (id, log index, status index, provenance, vsa).
    pub published: Vec<PublishedEntry>,
    /// A re-open event that this append records.
    pub reopen: Option<ReopenRecord>,
    /// Records of waivers.
    pub waivers: Vec<WaiverRecord>,
    /// Tasks to enqueue.
    pub tasks: Vec<Task>,
}

/// Where the log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// The log's head.
    pub head: Head,
    /// The hashes of [`tlog::right_edge`], in its order.
    pub edge: Vec<[u8; 32]>,
    /// The next free status list index.
    pub next_status_index: u64,
}

/// What publication adds to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedEntry {
    /// The entry's id.
    pub id: String,
    /// Log index of its VSA.
    pub log_index: u64,
    /// Status list index.
    pub status_index: u64,
    /// DSSE envelope of the provenance.
    pub provenance: String,
    /// DSSE envelope of the VSA.
    pub vsa: String,
}

/// The ledger: decisions, entries, the log, re-opens, tasks, verdict cache.
///
/// Every method that changes something is one transaction, durable when it
/// returns. `async` because the same trait is served by a network database.
#[expect(
    async_fn_in_trait,
    reason = "used with static dispatch only; the server spawns per-lane local tasks"
)]
pub trait Store {
    /// Records a decision with its pending entries and the commits that were scanned clean: one durable transaction.
    async fn record<D: Document>(
        &self,
        decision: &DecisionRecord<D>,
        pending: &[EntryRecord],
        scanned: &[Oid],
        rule_set: &str,
    ) -> Result<(), Outage>;

    /// A decision by push id.
    async fn decision(&self, push_id: &str) -> Result<Option<DecisionRecord>, Outage>;

    /// Push ids of decisions, newest first, at most `limit`.
    async fn decisions(&self, limit: u32) -> Result<Vec<DecisionRecord>, Outage>;

    /// Which of these commits were scanned clean under `rule_set`.
    async fn scanned(&self, commits: &[Oid], rule_set: &str) -> Result<Vec<Oid>, Outage>;

    /// Notes commits as scanned clean under `rule_set`.
    async fn mark_scanned(&self, commits: &[Oid], rule_set: &str) -> Result<(), Outage>;

    /// Entries in state `pending`.
    async fn pending(&self) -> Result<Vec<EntryRecord>, Outage>;

    /// Marks pending entries void; ignores those that are no longer pending.
    async fn void(&self, ids: &[String]) -> Result<(), Outage>;

    /// An entry by id.
    async fn entry(&self, id: &str) -> Result<Option<EntryRecord>, Outage>;

    /// The latest published entry of a ref.
    async fn latest(&self, name: &RefName) -> Result<Option<EntryRecord>, Outage>;

    /// Published entries of a commit, on any ref, oldest first.
    async fn entries_of(&self, commit: Oid) -> Result<Vec<EntryRecord>, Outage>;

    /// Published entries, newest first, at most `limit`.
    async fn entries(&self, limit: u32) -> Result<Vec<EntryRecord>, Outage>;

    /// The log's head; an empty log has size 0.
    async fn head(&self) -> Result<Head, Outage>;

    /// Complete subtree hashes by (level, index); a missing one is `store-corrupt`.
    async fn nodes(&self, wanted: &[(u8, u64)]) -> Result<Vec<[u8; 32]>, Outage>;

    /// Leaf data by index.
    async fn leaf(&self, index: u64) -> Result<Option<Vec<u8>>, Outage>;

    /// The next free status list index.
    async fn next_status_index(&self) -> Result<u64, Outage>;

    /// What an append starts from.
    ///
    /// A store that can read all of it at once does so; read one after another, the parts may be of different
    /// moments, and [`Store::append`] then refuses what was made of them.
    async fn tip(&self) -> Result<Tip, Outage> {
        let head = self.head().await?;
        Ok(Tip {
            edge: self.nodes(&tlog::right_edge(head.size)).await?,
            next_status_index: self.next_status_index().await?,
            head,
        })
    }

    /// Appends if the head still has `expected_size` and every entry to publish is still pending: `true`.
    /// Otherwise changes nothing: `false`, and the caller starts again from the new head.
    async fn append(&self, expected_size: u64, append: &Append) -> Result<bool, Outage>;

    /// All re-open events in log order.
    async fn reopens(&self) -> Result<Vec<ReopenRecord>, Outage>;

    /// Records of the waivers that end after this time, in log order.
    async fn waivers(&self, end_after: Timestamp) -> Result<Vec<WaiverRecord>, Outage>;

    /// Tasks that are not done, oldest first, with their row ids.
    async fn tasks(&self, limit: u32) -> Result<Vec<(i64, Task)>, Outage>;

    /// Removes a done task.
    async fn task_done(&self, row: i64) -> Result<(), Outage>;

    /// Notes that an OpenPGP key has had its second opinion.
    async fn mark_used(&self, key: &str) -> Result<(), Outage>;

    /// Keys that have had their second opinion.
    async fn used_keys(&self) -> Result<Vec<String>, Outage>;
}
