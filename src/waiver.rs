//! Waivers: signed, expiring, bounded permissions that loosen one rule for one commit or one found value.
//!
//! In scope: what the records say ([`Event`]), what they add up to ([`Waiver`]),
//! who may approve what for how long ([`Waiver::standing`]), which finding a
//! waiver covers, and which codes can be waived at all ([`WAIVABLE`]). Out of
//! scope: signing and storing records (`worker::waive`), applying them
//! (`decision`). Pure: time and policy are arguments.
//!
//! Rules are held twice: when a record is made, so that a person hears why not,
//! and at each decision, by the policy as it is then. What a tightened policy
//! would not allow any more has no effect, whoever signed it.

mod order;
mod rules;

pub use order::{Done, Order, Step, plan};
pub use rules::{APPROVER_HERE, REASON_HERE, Refusal, WAIVABLE, controls, may_ask};

use crate::config::WaiverPolicy;
use crate::facts::{CommitFact, Facts};
use crate::finding::{Cause, Code, Finding};
use crate::push::{Oid, Push, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a waiver is bound to, beside its repository and code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "value")]
pub enum Target {
    /// One commit or tag object; made anew it is another, so a rewrite leaves the waiver behind.
    Commit(Oid),
    /// One found value, by its keyed fingerprint (64 hex digits), wherever it stands.
    Fingerprint(String),
}

impl Target {
    /// `commit` or `fingerprint`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Commit(_) => "commit",
            Self::Fingerprint(_) => "fingerprint",
        }
    }

    /// The commit's id or the fingerprint, hex.
    pub fn value(&self) -> String {
        match self {
            Self::Commit(oid) => oid.to_string(),
            Self::Fingerprint(print) => print.clone(),
        }
    }
}

/// What is asked for. Never changes once it is recorded: an approval names its record's digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// The repository's resource URI.
    pub repository: String,
    /// The finding's code.
    pub code: Code,
    /// What it is bound to.
    pub target: Target,
    /// Why, one line of 1 to 256 characters.
    pub reason: String,
    /// The account that asks.
    pub requester: String,
    /// Who stands behind the work, as far as is known: accounts, names and addresses, lower-case, sorted.
    pub authors: Vec<String>,
    /// Whether two approvers of the break-glass list decide, for hours rather than days.
    pub break_glass: bool,
    /// The change at a forge that it was asked for at, as its lane: it ends when the commit leaves that change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// When it was asked for.
    pub created: Timestamp,
    /// From when on it has no effect, approved or not.
    pub expires: Timestamp,
}

/// What one record does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Act {
    /// Asks.
    Request(Box<Ask>),
    /// Approves what was asked.
    Approve {
        /// The approver's account.
        by: String,
        /// SHA-256 of the request's record, hex: exactly this is approved.
        request: String,
    },
    /// Ends it for good.
    Revoke {
        /// Who; `lychgate` for a commit that was rewritten.
        by: String,
        /// Why, one line.
        reason: String,
    },
}

/// One signed record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its own id, unique.
    pub event: String,
    /// The waiver's id: that of its request.
    pub waiver: String,
    /// By which way it came, such as `shell root` or `hub acme/pay#7 comment 55`: whom to ask about it.
    pub via: String,
    /// When it was recorded.
    pub at: Timestamp,
    /// What it does.
    pub act: Act,
}

/// An approval as it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The approver's account.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A waiver as its records add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// Its id.
    pub id: String,
    /// What was asked.
    pub ask: Ask,
    /// Who approved, in the log's order.
    pub approvals: Vec<Approval>,
    /// Who ended it and why, once it is revoked.
    pub revoked: Option<(String, String)>,
    /// SHA-256 of each of its records, hex, in the log's order.
    pub records: Vec<String>,
}

/// Where a waiver stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for this many approvals.
    Asked(usize),
    /// It has effect.
    Active,
    /// Its time is over.
    Expired,
    /// It was ended.
    Revoked,
    /// The policy as it is now does not allow it.
    Refused(Refusal),
}

impl Standing {
    /// One word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Asked(_) => "requested",
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Refused(_) => "not-allowed",
        }
    }
}

/// Adds records up.
///
/// * `records`: each with its SHA-256, hex, in the log's order. One that follows on nothing, or approves another
///   request than the one that is there, has no effect.
pub fn fold(records: &[(Event, String)]) -> Vec<Waiver> {
    let mut all: Vec<Waiver> = Vec::new();
    for (event, digest) in records {
        let known = all.iter_mut().find(|waiver| waiver.id == event.waiver);
        match (&event.act, known) {
            (Act::Request(ask), None) => all.push(Waiver {
                id: event.waiver.clone(),
                ask: (**ask).clone(),
                approvals: Vec::new(),
                revoked: None,
                records: vec![digest.clone()],
            }),
            (Act::Approve { by, request }, Some(waiver)) if waiver.records.first() == Some(request) => {
                let by = by.clone();
                waiver.approvals.push(Approval { by, at: event.at });
                waiver.records.push(digest.clone());
            }
            (Act::Revoke { by, reason }, Some(waiver)) => {
                waiver.revoked.get_or_insert((by.clone(), reason.clone()));
                waiver.records.push(digest.clone());
            }
            _ => {}
        }
    }
    all
}

impl Waiver {
    /// Where it stands under this policy at this time.
    pub fn standing(&self, policy: &WaiverPolicy, now: Timestamp) -> Standing {
        if self.revoked.is_some() {
            return Standing::Revoked;
        }
        if self.ask.expires <= now {
            return Standing::Expired;
        }
        if let Err(refusal) = rules::may_ask(policy, &self.ask) {
            return Standing::Refused(refusal);
        }
        let mut counted: Vec<&str> = Vec::new();
        let mut refused = None;
        for approval in &self.approvals {
            match rules::may_approve(policy, &self.ask, &counted, &approval.by) {
                Ok(()) => counted.push(&approval.by),
                Err(refusal) => refused = Some(refusal),
            }
        }
        match (rules::needed(&self.ask).saturating_sub(counted.len()), refused) {
            (0, _) => Standing::Active,
            (_, Some(refusal)) => Standing::Refused(refusal),
            (missing, None) => Standing::Asked(missing),
        }
    }

    /// Whether it is about this finding of this push, whatever its standing.
    pub fn covers(&self, push: &Push, finding: &Finding) -> bool {
        self.ask.repository == push.repository
            && self.ask.code == finding.code
            && targets(push, finding).contains(&self.ask.target)
    }

    /// The approvers, as one text.
    pub fn approvers(&self) -> String {
        let names: Vec<&str> = self.approvals.iter().map(|approval| approval.by.as_str()).collect();
        names.join(" and ")
    }
}

/// What a waiver for this finding can be bound to, the narrowest first. None for an outage: it is nobody's to waive.
pub fn targets(push: &Push, finding: &Finding) -> Vec<Target> {
    if finding.cause == Cause::Outage {
        return Vec::new();
    }
    let print = finding.fingerprint.clone().map(Target::Fingerprint);
    let commit = anchor(push, finding).map(Target::Commit);
    print.into_iter().chain(commit).collect()
}

/// Something that denies and could be waived, if the policy lets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The code.
    pub code: Code,
    /// What a waiver for it can be bound to, the narrowest first; never empty.
    pub targets: Vec<Target>,
    /// Who stands behind the work, sorted.
    pub authors: BTreeSet<String>,
}

/// What denies in a push and could be waived, each once, in the findings' order.
pub fn subjects(facts: &Facts, findings: &[Finding]) -> Vec<Subject> {
    let mut all: Vec<Subject> = Vec::new();
    for finding in findings.iter().filter(|finding| finding.denies) {
        let targets = targets(&facts.push, finding);
        let authors = authors(facts, finding);
        let known = all
            .iter_mut()
            .find(|it| it.code == finding.code && it.targets.first() == targets.first());
        match known {
            // The same value in two commits: the authors of both may not approve.
            Some(known) => known.authors.extend(authors),
            None if targets.is_empty() => {}
            None => all.push(Subject {
                code: finding.code.clone(),
                targets,
                authors,
            }),
        }
    }
    all
}

/// On which terms something is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The repository's resource URI.
    pub repository: String,
    /// Why.
    pub reason: String,
    /// Who asks.
    pub requester: String,
    /// Whether it is a break-glass waiver.
    pub break_glass: bool,
    /// The change's lane.
    pub change: Option<String>,
    /// Now.
    pub created: Timestamp,
    /// The end.
    pub expires: Timestamp,
}

impl Terms {
    /// What is asked for one subject.
    ///
    /// * `target`: one of the subject's.
    pub fn ask(&self, subject: &Subject, target: Target) -> Ask {
        Ask {
            repository: self.repository.clone(),
            code: subject.code.clone(),
            target,
            reason: self.reason.clone(),
            requester: self.requester.clone(),
            authors: subject.authors.iter().cloned().collect(),
            break_glass: self.break_glass,
            change: self.change.clone(),
            created: self.created,
            expires: self.expires,
        }
    }
}

/// The commit or tag that a finding is about: its own, or what its ref would name; for a deletion, what it names now.
fn anchor(push: &Push, finding: &Finding) -> Option<Oid> {
    let place = &finding.place;
    let of_ref = || {
        let update = match (&place.ref_name, push.updates.as_slice()) {
            (Some(name), all) => all.iter().find(|update| update.name == *name)?,
            (None, [only]) => only,
            _ => return None,
        };
        Some(if update.new.is_zero() { update.old } else { update.new })
    };
    place.commit.or_else(of_ref)
}

/// Who stands behind a finding's work: signer, author and committer of its commit, or of all where it has none.
///
/// Claims count here: they can only keep somebody from approving.
pub fn authors(facts: &Facts, finding: &Finding) -> BTreeSet<String> {
    let about = |commit: &&CommitFact| finding.place.commit.is_none_or(|oid| oid == commit.oid);
    let mut names = BTreeSet::new();
    for commit in facts.commits.iter().filter(about) {
        names.extend(people(commit));
    }
    names
}

fn people(commit: &CommitFact) -> Vec<String> {
    let mut names = Vec::new();
    for person in commit.author.iter().chain(&commit.committer) {
        let local = person.email.split('@').next().unwrap_or_default();
        names.extend([person.name.as_str(), person.email.as_str(), local].map(str::to_lowercase));
    }
    if let crate::facts::Fact::Known(signature) = &commit.signature {
        names.extend(signature.principal.iter().map(|name| name.to_lowercase()));
    }
    names.retain(|name| !name.is_empty());
    names
}
