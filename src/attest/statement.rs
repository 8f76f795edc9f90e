//! in-toto statements: source provenance, Source VSA, re-open event.
//!
//! In scope: building their compact JSON and reading it back after a signature
//! was checked. Out of scope: envelopes (`dsse`), judging (`verify`).
//! <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>,
//! <https://slsa.dev/spec/v1.2/verification_summary>

use super::{Malformed, VerifiedPayload};
use crate::decision::Waived;
use crate::forge::guard::Landing;
use crate::guarantee::{Guarantee, source_level};
use crate::push::{Actor, Oid, Push, RefName, RefUpdate, Timestamp};
use crate::waiver::{Event, Target};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The `_type` of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// Predicate type of the detailed account of a push.
pub const PROVENANCE_TYPE: &str = "https://lychgate.dev/source-provenance/v1";
/// Predicate type of the summary that consumers verify.
pub const VSA_TYPE: &str = "https://slsa.dev/verification_summary/v1";
/// Predicate type of an event that suspends, ends or closes the suspension of entries.
pub const REOPEN_TYPE: &str = "https://lychgate.dev/entry-reopen/v1";
/// Predicate type of a record that asks for, approves or ends a waiver.
pub const WAIVER_TYPE: &str = "https://lychgate.dev/waiver/v1";
/// The algorithm name of keyed fingerprints in digest sets: HMAC-SHA-256 under the gate's fingerprint key.
const FINGERPRINT: &str = "lychgateFingerprint";
/// The prefix of SLSA's source levels.
pub const LEVEL_PREFIX: &str = "SLSA_SOURCE_LEVEL_";

/// A digest set: algorithm → hex.
pub type DigestSet = BTreeMap<String, String>;

/// An in-toto statement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Statement<P> {
    /// Always [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// What the predicate is.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What is said.
    pub predicate: P,
}

/// One subject of a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name: the repository's resource URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// What it is.
    #[serde(default)]
    pub digest: DigestSet,
    /// On which refs it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
}

/// The refs that a revision stands on. Both spellings are read by consumers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations {
    /// Full ref names, as SLSA 1.2 spells it.
    #[serde(default, rename = "sourceRefs")]
    pub source_refs: Vec<String>,
    /// The same, as the reference implementation spells it.
    #[serde(default, rename = "source_refs")]
    pub source_refs_older: Vec<String>,
}

/// A URI with digests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its digests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: DigestSet,
}

/// The predicate of a source provenance: how the revision came in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// The push's id.
    pub push_id: String,
    /// When the gate received it.
    pub received_at: Timestamp,
    /// Who pushed, and which server authenticated them.
    pub actor: Actor,
    /// What moved.
    pub update: Moved,
    /// What held, by which evidence, since when.
    pub controls: Vec<Guarantee>,
    /// Who signed what came in.
    pub signers: Vec<SignerKey>,
    /// What the forge said: changes, reviewers, checks, its own protection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landing: Option<Landing>,
    /// The detection rules that the scan used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_set: Option<Resource>,
    /// The policy in force.
    pub policy: Resource,
    /// The stored decision.
    pub decision: Resource,
    /// The waivers that it needed; what they loosened is none of the controls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivers: Vec<Waived>,
}

/// A ref's move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The ref.
    #[serde(rename = "ref")]
    pub name: RefName,
    /// From where; zero: it was created.
    pub old: Oid,
    /// To where; zero: it was deleted.
    pub new: Oid,
}

/// A key that signed commits or the tag of a push.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SignerKey {
    /// OpenPGP fingerprint or `SHA256:…`.
    pub key: String,
    /// The account that the keyring binds it to.
    pub principal: Option<String>,
    /// How many of the push's objects it signed.
    pub objects: u64,
}

/// The predicate of a verification summary. Only members that are checked or shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vsa {
    /// Who says so.
    pub verifier: Verifier,
    /// When it was found.
    pub time_verified: Timestamp,
    /// Which repository.
    pub resource_uri: String,
    /// Under which policy.
    pub policy: Resource,
    /// On what it rests.
    #[serde(default)]
    pub input_attestations: Vec<Resource>,
    /// `PASSED`.
    pub verification_result: String,
    /// The SLSA source level first, then what the organisation adds.
    pub verified_levels: Vec<String>,
    /// `1.2`.
    #[serde(default)]
    pub slsa_version: Option<String>,
    /// Where its status can be learned.
    #[serde(
        default,
        rename = "https://lychgate.dev/status/v1",
        skip_serializing_if = "Option::is_none"
    )]
    pub status: Option<StatusPointer>,
}

/// Who verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    /// The gate's URI.
    pub id: String,
    /// Its software.
    #[serde(default)]
    pub version: BTreeMap<String, String>,
}

/// A place in a status list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusPointer {
    /// The list.
    pub uri: String,
    /// The place, from 0.
    pub idx: u64,
}

/// The predicate of a re-open event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reopen {
    /// The event's ULID.
    pub event: String,
    /// `reopen`, `revoke` or `close`.
    pub action: String,
    /// Why, such as `leaked_secret_in_use`.
    pub reason: String,
    /// `authoritative`, `corroborated` or `approved`.
    pub authority: String,
    /// What was observed.
    pub signals: Vec<Signal>,
    /// What it selects.
    pub selector: Selector,
    /// From when it counts.
    pub effective_from: Timestamp,
    /// How much it selects.
    pub affected: Affected,
    /// Who approved.
    pub approvals: Vec<String>,
    /// The event that it follows on, for `close` and `revoke`.
    pub supersedes: Option<String>,
}

/// An observation that led to an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Who observed.
    pub source: String,
    /// Their id of it.
    pub id: String,
    /// SHA-256 of their account.
    #[serde(default)]
    pub digest: DigestSet,
}

/// What an event selects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// `commit`, `blob`, `key`, `rule` or `actor`.
    pub kind: String,
    /// Its id, fingerprint or name.
    pub value: String,
    /// The lowest log index of what is selected.
    pub from_log_index: Option<u64>,
    /// The highest.
    pub to_log_index: Option<u64>,
}

/// How much an event selects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affected {
    /// Entries.
    pub entries: u64,
}

/// All that the statements of one entry are made of.
#[derive(Debug, Clone)]
pub struct Entered<'a> {
    /// The entry's id.
    pub id: &'a str,
    /// The push.
    pub push: &'a Push,
    /// The ref update.
    pub update: &'a RefUpdate,
    /// The commit that the ref stands on, tags peeled; `None` for a deletion or a non-commit.
    pub commit: Option<Oid>,
    /// Its tree.
    pub tree: Option<Oid>,
    /// Receive time: the only trusted one.
    pub received_at: Timestamp,
    /// What held.
    pub guarantees: &'a [Guarantee],
    /// Who signed.
    pub signers: Vec<SignerKey>,
    /// What the forge said, if it came by one.
    pub landing: Option<&'a Landing>,
    /// SHA-256 of the detection rules, hex, if the push was scanned.
    pub rule_set: Option<&'a str>,
    /// SHA-256 of the policy's text, hex.
    pub policy_digest: &'a str,
    /// SHA-256 of the stored decision, hex.
    pub decision_digest: &'a str,
    /// The waivers that it needed.
    pub waivers: &'a [Waived],
}

/// What a VSA says about the gate that makes it.
#[derive(Debug, Clone, Copy)]
pub struct Issuer<'a> {
    /// The repository's resource URI.
    pub resource: &'a str,
    /// The gate's URI.
    pub verifier_id: &'a str,
    /// Lychgate's version.
    pub version: &'a str,
    /// Where the policy can be read.
    pub policy_uri: &'a str,
    /// Where the status list can be read.
    pub status_uri: &'a str,
    /// The highest level that the installation may claim.
    pub max_level: u8,
}

/// The source provenance of an entry, as compact JSON.
pub fn provenance(entered: &Entered<'_>, issuer: Issuer<'_>) -> Vec<u8> {
    let predicate = Provenance {
        push_id: entered.push.id.clone(),
        received_at: entered.received_at,
        actor: entered.push.actor.clone(),
        update: Moved {
            name: entered.update.name.clone(),
            old: entered.update.old,
            new: entered.update.new,
        },
        controls: entered.guarantees.to_vec(),
        signers: entered.signers.clone(),
        landing: entered.landing.cloned(),
        rule_set: entered.rule_set.map(|digest| Resource {
            uri: None,
            digest: sha256_set(digest),
        }),
        policy: Resource {
            uri: Some(issuer.policy_uri.to_owned()),
            digest: sha256_set(entered.policy_digest),
        },
        decision: Resource {
            uri: None,
            digest: sha256_set(entered.decision_digest),
        },
        waivers: entered.waivers.to_vec(),
    };
    let mut subject = subject_of(entered, issuer);
    if entered.commit.is_some_and(|commit| commit != entered.update.new) {
        subject
            .digest
            .insert("gitTag".to_owned(), entered.update.new.to_string());
    }
    compact(&statement(PROVENANCE_TYPE, vec![subject], predicate))
}

/// The Source VSA of an entry, as compact JSON. Only revisions (commits) have one.
///
/// * `provenance`: the provenance's envelope as it is in the log; named by its SHA-256.
/// * `status_index`: the entry's place in the status list.
pub fn vsa(entered: &Entered<'_>, issuer: Issuer<'_>, provenance: &str, status_index: u64) -> Vec<u8> {
    let predicate = Vsa {
        verifier: Verifier {
            id: issuer.verifier_id.to_owned(),
            version: BTreeMap::from([("lychgate".to_owned(), issuer.version.to_owned())]),
        },
        time_verified: entered.received_at,
        resource_uri: issuer.resource.to_owned(),
        policy: Resource {
            uri: Some(issuer.policy_uri.to_owned()),
            digest: sha256_set(entered.policy_digest),
        },
        input_attestations: inputs(entered, issuer, provenance),
        verification_result: "PASSED".to_owned(),
        verified_levels: levels(entered.guarantees, issuer.max_level),
        slsa_version: Some("1.2".to_owned()),
        status: Some(StatusPointer {
            uri: issuer.status_uri.to_owned(),
            idx: status_index,
        }),
    };
    compact(&statement(VSA_TYPE, vec![subject_of(entered, issuer)], predicate))
}

/// All that the VSA rests on: the provenance, then each signed record of the waivers.
fn inputs(entered: &Entered<'_>, issuer: Issuer<'_>, provenance: &str) -> Vec<Resource> {
    let own = Resource {
        uri: Some(format!("{}/entry/{}", issuer.verifier_id, entered.id)),
        digest: sha256_set(&super::sha256_hex(provenance.as_bytes())),
    };
    let records = entered.waivers.iter().flat_map(|waived| {
        let uri = format!("{}/waiver/{}", issuer.verifier_id, waived.id);
        waived.records.iter().map(move |digest| Resource {
            uri: Some(uri.clone()),
            digest: sha256_set(digest),
        })
    });
    std::iter::once(own).chain(records).collect()
}

/// A record of a waiver, as compact JSON; its subject is what the waiver is bound to.
pub fn waiver(event: &Event, repository: &str, target: &Target) -> Vec<u8> {
    let algorithm = match target {
        Target::Commit(_) => "gitCommit",
        Target::Fingerprint(_) => FINGERPRINT,
    };
    let subject = Subject {
        name: Some(repository.to_owned()),
        digest: DigestSet::from([(algorithm.to_owned(), target.value())]),
        ..Subject::default()
    };
    compact(&statement(WAIVER_TYPE, vec![subject], event))
}

/// A re-open event, as compact JSON.
///
/// * `subjects`: commit id and payload digest of the VSA of each entry that it selects.
pub fn reopen(event: Reopen, resource: &str, subjects: &[(Option<Oid>, String)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (commit, payload) in subjects {
        if let Some(oid) = commit {
            list.push(Subject {
                name: Some(resource.to_owned()),
                digest: DigestSet::from([("gitCommit".to_owned(), oid.to_string())]),
                ..Subject::default()
            });
        }
        list.push(Subject {
            name: Some("attestation".to_owned()),
            digest: sha256_set(payload),
            ..Subject::default()
        });
    }
    compact(&statement(REOPEN_TYPE, list, event))
}

/// The `verifiedLevels` of a VSA: the SLSA level first (one known consumer reads only that), then the controls.
pub fn levels(guarantees: &[Guarantee], max_level: u8) -> Vec<String> {
    let level = source_level(guarantees).min(max_level).max(1);
    let mut controls: Vec<_> = guarantees.iter().map(|g| g.control).collect();
    controls.sort();
    controls.dedup();
    std::iter::once(format!("{LEVEL_PREFIX}{level}"))
        .chain(controls.into_iter().map(|c| c.level_name().to_owned()))
        .collect()
}

impl Statement<Box<RawValue>> {
    /// Reads a statement whose signature was checked, its predicate still unread.
    ///
    /// # Errors
    /// [`Malformed`] if it is no in-toto v1 statement with at least one subject.
    pub fn read(payload: &VerifiedPayload) -> Result<Self, Malformed> {
        let bad = |why: &str| Malformed::new("in-toto statement", why);
        let read: Self = serde_json::from_slice(payload.bytes())
            .map_err(|e| bad(&format!("its JSON has not the required form, column {}", e.column())))?;
        if read.kind != STATEMENT_TYPE {
            return Err(bad("its _type is not that of a v1 statement"));
        }
        if read.subject.is_empty() {
            return Err(bad("it has no subject"));
        }
        Ok(read)
    }

    /// Reads the predicate.
    ///
    /// # Errors
    /// [`Malformed`] if it lacks what `P` requires.
    pub fn predicate<P: for<'de> Deserialize<'de>>(&self) -> Result<P, Malformed> {
        serde_json::from_str(self.predicate.get())
            .map_err(|e| Malformed::new("predicate", e.to_string().chars().take(160).collect::<String>()))
    }
}

impl Subject {
    /// The refs of its annotations, under either spelling.
    pub fn refs(&self) -> impl Iterator<Item = &str> {
        let both = self.annotations.iter();
        both.flat_map(|a| a.source_refs.iter().chain(&a.source_refs_older))
            .map(String::as_str)
    }
}

fn subject_of(entered: &Entered<'_>, issuer: Issuer<'_>) -> Subject {
    let web = issuer.resource.strip_prefix("git+").unwrap_or(issuer.resource);
    let mut digest = DigestSet::new();
    let oid = match entered.commit {
        Some(commit) => {
            digest.insert("gitCommit".to_owned(), commit.to_string());
            commit
        }
        None => {
            digest.insert("gitObject".to_owned(), entered.update.new.to_string());
            entered.update.new
        }
    };
    if let Some(tree) = entered.tree {
        digest.insert("gitTree".to_owned(), tree.to_string());
    }
    let refs = vec![entered.update.name.to_string()];
    Subject {
        name: Some(issuer.resource.to_owned()),
        uri: entered.commit.map(|_| format!("{web}/commit/{oid}")),
        digest,
        annotations: Some(Annotations {
            source_refs: refs.clone(),
            source_refs_older: refs,
        }),
    }
}

fn statement<P>(predicate_type: &str, subject: Vec<Subject>, predicate: P) -> Statement<P> {
    Statement {
        kind: STATEMENT_TYPE.to_owned(),
        subject,
        predicate_type: predicate_type.to_owned(),
        predicate,
    }
}

fn compact<P: Serialize>(statement: &Statement<P>) -> Vec<u8> {
    // Structs of strings, numbers and string-keyed maps always serialise.
    serde_json::to_vec(statement).unwrap_or_default()
}

fn sha256_set(digest: &str) -> DigestSet {
    DigestSet::from([("sha256".to_owned(), digest.to_owned())])
}
