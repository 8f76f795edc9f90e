//! The traits through which core and pipeline see the world, in the core's own types.
//!
//! In scope: what a repository, a keyring, a signer and a store must do, and
//! how they fail. Out of scope: any vendor (adapters live in `git`, `keyring`,
//! `signer`, `store`). Only `cmd` constructs adapters.

mod bot;

pub use bot::{DeadLetter, Delivery, Depth, FetchSource, Forge, ForgeError, Leased, LetterBox, OpenChange, Queue};

use crate::config::Bounds;
use crate::facts::{Ancestry, Fact, SignatureFact};
use crate::finding::Place;
use crate::object::{ObjectKind, SignatureFormat};
use crate::push::{Oid, RefName, RefUpdate, Timestamp};
use crate::tlog::Head;
use serde::{Deserialize, Serialize};

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

/// An object's kind and its inflated content, without the `commit 123\0` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its content.
    pub data: Vec<u8>,
}

/// What a look at a whole object gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked<H> {
    /// What is in it: matches that want a place (path and commit).
    pub hits: Vec<H>,
    /// Whether there is nothing in it that reaches far: then of an object that is made from it only the changed
    /// parts need a look ([`ObjectVisitor::clean_part`], [`ObjectVisitor::clean_name`]).
    pub plain: bool,
}

/// Part of a text: whole lines, or the text's first or last bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Whether it begins where the text does.
    pub first: bool,
    /// Whether it ends where the text does.
    pub last: bool,
}

/// Sees each new object once, from several threads, while the store is traversed.
///
/// Most objects of a push are older ones with a few lines changed. If what an object is made from was plain, the
/// visitor is asked about the changed parts first, and sees the whole object only if it does not call all of
/// them clean.
pub trait ObjectVisitor: Sync {
    /// What a visited object yields.
    type Hit: Send;

    /// Looks at one object's whole content; cheap when nothing is in it.
    fn visit(&self, oid: Oid, kind: ObjectKind, data: &[u8]) -> Looked<Self::Hit>;

    /// Bytes round a change that its look needs, before they are extended to whole lines.
    fn margin(&self) -> usize {
        0
    }

    /// Whether a changed part of a blob, with [`ObjectVisitor::margin`] bytes on either side, has nothing in it.
    fn clean_part(&self, _part: Part<'_>) -> bool {
        false
    }

    /// Whether there is nothing in a name that a changed tree gives to an entry.
    fn clean_name(&self, _name: &[u8]) -> bool {
        false
    }

    /// Says that an object of so many bytes was found clean by its parts.
    fn passed(&self, _bytes: u64) {}
}

/// One commit that becomes newly reachable, as raw bytes for the strict reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommit {
    /// Its id.
    pub oid: Oid,
    /// Its content.
    pub data: Vec<u8>,
    /// Whether the push brought it.
    pub in_quarantine: bool,
}

/// What an inspection learned about one ref update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedUpdate {
    /// How new relates to old.
    pub ancestry: Fact<Ancestry>,
    /// Indices into [`Inspected::commits`], newly reachable from this ref.
    pub commits: Fact<Vec<u32>>,
    /// The tag object (id, content) that the new id names, if it names one.
    pub tag: Option<(Oid, Vec<u8>)>,
    /// The commit that the new id names, tags peeled.
    pub commit: Option<Oid>,
    /// Its tree.
    pub tree: Option<Oid>,
}

/// What an inspection of one push learned.
#[derive(Debug)]
pub struct Inspected<H> {
    /// Newly reachable commits, each once, parents before children (ties by id).
    pub commits: Vec<NewCommit>,
    /// One per ref update.
    pub updates: Vec<InspectedUpdate>,
    /// What the visitor found, each with its place; sorted by place.
    pub hits: Vec<(Place, H)>,
    /// Objects visited.
    pub objects: u64,
    /// Bytes visited.
    pub bytes: u64,
    /// Bounds that were hit: kebab-case code and place.
    pub bounds: Vec<(String, Place)>,
}

/// What a visit of introduced objects found.
#[derive(Debug)]
pub struct Introduced<H> {
    /// What the visitor found, each with its place; sorted by place.
    pub hits: Vec<(Place, H)>,
    /// Objects visited.
    pub objects: u64,
    /// Bytes visited.
    pub bytes: u64,
    /// Bounds that were hit: kebab-case code and place.
    pub bounds: Vec<(String, Place)>,
}

/// A Git repository, quarantine included. Ignores replace refs, grafts, shallow and commit-graph files.
pub trait Repository {
    /// Reads an object from the quarantine or the main store.
    ///
    /// # Errors
    /// `object-missing`, `object-unreadable`, `object-too-large` as an [`Outage`].
    fn object(&self, oid: Oid) -> Result<Object, Outage>;

    /// Where a ref stands, symbolic refs followed; `None` if it does not exist.
    ///
    /// # Errors
    /// `ref-unreadable`.
    fn ref_target(&self, name: &RefName) -> Result<Option<Oid>, Outage>;

    /// Refs below a prefix, such as `refs/heads/`, with the ids where they stand. Names that are no [`RefName`]
    /// are left out: the policy cannot name them.
    ///
    /// # Errors
    /// `ref-unreadable`.
    fn refs(&self, prefix: &str) -> Result<Vec<(RefName, Oid)>, Outage>;

    /// Traverses all that the push brought, and walks all that becomes newly reachable.
    ///
    /// * `updates`: the ref updates.
    /// * `known`: for each update, commits whose history entered before under requirements at least as strict.
    ///   A commit reachable from these or from the update's `old` is not newly reachable.
    /// * `visitor`: sees every object of the quarantine once, reachable or not.
    ///
    /// # Errors
    /// `pack-unreadable`, `object-missing`, `deadline-passed`: nothing is known then. Bounds that are hit are
    /// in [`Inspected::bounds`].
    fn inspect<V: ObjectVisitor>(
        &self,
        updates: &[RefUpdate],
        known: &[Vec<Oid>],
        bounds: &Bounds,
        visitor: &V,
    ) -> Result<Inspected<V::Hit>, Outage>;

    /// Visits what commits of the main store introduce: the commit, and each tree and blob that its tree has
    /// and its parents' trees do not have. For history that is newly reachable without being new.
    ///
    /// # Errors
    /// As for [`Repository::inspect`]. Bounds that are hit are in [`Introduced::bounds`].
    fn introduced<V: ObjectVisitor>(
        &self,
        commits: &[Oid],
        bounds: &Bounds,
        visitor: &V,
    ) -> Result<Introduced<V::Hit>, Outage>;
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

/// A decision as stored: enough to replay it byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRecord {
    /// The push's id (ULID).
    pub push_id: String,
    /// Receive time.
    pub received_at: Timestamp,
    /// `true` if the push may enter.
    pub allowed: bool,
    /// Text of the policy in force.
    pub policy: String,
    /// The facts as canonical JSON.
    pub facts: Vec<u8>,
    /// The decision as canonical JSON.
    pub decision: Vec<u8>,
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
    async fn record(
        &self,
        decision: &DecisionRecord,
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
