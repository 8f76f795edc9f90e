//! What was read about a push: plain data, complete enough to decide and to replay.
//!
//! A fact that could not be read is [`Fact::Unavailable`], never absent.
//! Produced by `pipeline` from the ports; consumed by `check` and `decision`.

use crate::finding::{Confidence, Place, Severity};
use crate::forge::guard::Landing;
use crate::guarantee::Guarantee;
use crate::push::{Oid, Push, RefUpdate, Timestamp};
use crate::waiver::Waiver;
use serde::{Deserialize, Serialize};

/// A fact that is known, or the reason why it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact<T> {
    /// It was read.
    Known(T),
    /// It could not be read: counts as a denial, never as a pass.
    Unavailable {
        /// The kebab-case code of the outage, such as `keyring-unreadable`.
        code: String,
        /// What happened, for an operator; no secret, no pushed text.
        why: String,
    },
}

/// A person line of a commit or tag: `name <email> seconds zone`. Claimed by the pusher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The name, lossily as UTF-8.
    pub name: String,
    /// The e-mail address, lossily as UTF-8.
    pub email: String,
    /// The claimed time.
    pub time: Timestamp,
}

/// What a signature is worth under receive-time rules; separate states, so that each has its remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureState {
    /// No rule of the policy asks for it, so it was not judged.
    NotAsked,
    /// There is none.
    Unsigned,
    /// By a known key that was valid for signing at receive time, over exactly these bytes.
    Good,
    /// It does not fit the bytes.
    Bad,
    /// By a key that had expired at receive time.
    Expired,
    /// By a key that is revoked (in its own certificate or by our keyring).
    Revoked,
    /// By a key that the keyring does not hold.
    UnknownKey,
    /// A digest or key that the policy of the verifier refuses (SHA-1, MD5, RSA below 2,048 bits, DSA).
    WeakAlgorithm,
    /// The key may not sign commits (no signing flag; SSH namespace other than `git`).
    WrongUsage,
    /// The key is known but not trusted for this use (SSH certificate of an unknown authority or principal).
    Untrusted,
    /// The signature, or the object that carries it, is not well-formed.
    Malformed,
    /// It claims a time too far from the receive time.
    OutsideTime,
    /// The two verifiers disagree: denied and logged.
    Disagreement,
}

/// A signature as the keyring judged it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureFact {
    /// The verdict.
    pub state: SignatureState,
    /// The key: OpenPGP primary fingerprint (upper-case hex) or `SHA256:…` of an SSH key.
    pub key: Option<String>,
    /// The account that the keyring binds the key to.
    pub principal: Option<String>,
    /// The e-mail addresses that the keyring binds the key to, lower-case.
    pub emails: Vec<String>,
    /// One sentence of detail for the developer or operator.
    pub detail: String,
    /// Whether this was the key's first use, so that gpgme was asked in the push (OpenPGP only).
    pub first_use: bool,
}

/// One commit that the push makes newly reachable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitFact {
    /// Its id.
    pub oid: Oid,
    /// The tree; zero when the object is malformed.
    pub tree: Oid,
    /// The parents in their order.
    pub parents: Vec<Oid>,
    /// The author as claimed; `None` when malformed.
    pub author: Option<Identity>,
    /// The committer as claimed; `None` when malformed.
    pub committer: Option<Identity>,
    /// `Some(why)` when the strict reader refuses the object.
    pub malformed: Option<String>,
    /// What its signature is worth.
    pub signature: Fact<SignatureFact>,
    /// Whether the push brought it (in quarantine), or it was in the store before.
    pub in_quarantine: bool,
}

/// One annotated tag object that a ref update points at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagFact {
    /// Its id.
    pub oid: Oid,
    /// The object that it names, peeled one step.
    pub target: Oid,
    /// The name in the tag object.
    pub name: String,
    /// The tagger as claimed.
    pub tagger: Option<Identity>,
    /// `Some(why)` when the strict reader refuses the object.
    pub malformed: Option<String>,
    /// What its signature is worth.
    pub signature: Fact<SignatureFact>,
}

/// How a ref's new place relates to its old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ancestry {
    /// The old commit is an ancestor of the new one.
    FastForward,
    /// It is not: history would be lost.
    Diverged,
    /// The ref is created or deleted, or is no commit.
    None,
}

/// What was read about one ref update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateFact {
    /// The update.
    pub update: RefUpdate,
    /// How new relates to old.
    pub ancestry: Fact<Ancestry>,
    /// Indices into [`Facts::commits`]: newly reachable from this ref, and from no protected ref before.
    pub commits: Fact<Vec<u32>>,
    /// The tag object that the ref would point at, if it is one.
    pub tag: Option<TagFact>,
    /// The commit that the ref would point at, tags peeled; `None` for a deletion or a non-commit.
    pub commit: Option<Oid>,
    /// The tree of that commit.
    pub tree: Option<Oid>,
    /// The guarantees of the ref's latest published entry, if its revision is `update.old`.
    pub previous: Fact<Option<Vec<Guarantee>>>,
}

/// One place where a detection rule matched. Never the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFact {
    /// The rule's id.
    pub rule: String,
    /// What it found, such as `GitHub personal access token (classic)`.
    pub title: String,
    /// How bad.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// Where; at least the object or the ref name is known.
    pub place: Place,
    /// The surroundings with the secret replaced.
    pub excerpt: String,
    /// The keyed fingerprint, hex.
    pub fingerprint: String,
    /// Where to revoke it, if the rule tells.
    pub revoke: Option<String>,
    /// Every path at which the push's commits bring the object. Looked up only where the policy judges by path;
    /// `None`: not looked up, or more than could be. Stored facts without it read as they did before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
}

/// What the scan of every new object said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanFact {
    /// SHA-256 of the rule set, hex.
    pub rule_set: String,
    /// Objects scanned.
    pub objects: u64,
    /// Bytes scanned, inflated.
    pub bytes: u64,
    /// Matches, sorted by place and rule.
    pub secrets: Vec<SecretFact>,
    /// Bounds that were hit: kebab-case code and place; each is a finding.
    pub bounds: Vec<(String, Place)>,
}

/// All that was read about one push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The push itself.
    pub push: Push,
    /// Every newly reachable commit of the push once, parents before children.
    pub commits: Vec<CommitFact>,
    /// One per ref update, in the push's order.
    pub updates: Vec<UpdateFact>,
    /// The scan of every new object.
    pub scan: Fact<ScanFact>,
    /// What a forge says about how it landed there; `None`: the server that ran our hook enforces by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landing: Option<Landing>,
    /// The waivers that are about findings of this push, whether or not they have effect. Looked up only where
    /// something denies, so that no other push pays for it.
    #[serde(default = "no_waivers", skip_serializing_if = "is_no_waivers")]
    pub waivers: Fact<Vec<Waiver>>,
}

/// No waiver, known. Stored facts without any read as they did before there were waivers.
pub fn no_waivers() -> Fact<Vec<Waiver>> {
    Fact::Known(Vec::new())
}

fn is_no_waivers(waivers: &Fact<Vec<Waiver>>) -> bool {
    matches!(waivers, Fact::Known(all) if all.is_empty())
}
