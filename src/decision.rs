//! The decision: a pure function of policy, facts, findings and now.
//!
//! In scope: the verdict, the guarantees that each accepted revision carries,
//! canonical bytes, replay. Out of scope: reading facts, storing, telling.

use crate::check;
use crate::config::Policy;
use crate::facts::{Fact, Facts, UpdateFact};
use crate::finding::{Cause, Code, Finding, Place};
use crate::forge::guard::{LandedChange, Landing};
use crate::guarantee::{Control, Guarantee};
use crate::push::{Oid, RefUpdate, Timestamp, UpdateKind};
use crate::waiver::{self, Standing, Waiver};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// The file name under which policy lines are cited.
pub const POLICY_FILE: &str = "policy.toml";

/// Allow or deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Verdict {
    Allow,
    Deny,
}

/// An accepted revision of a protected ref, with what may be relied on later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The update.
    pub update: RefUpdate,
    /// The commit, tags peeled; `None` for a deletion.
    pub commit: Option<Oid>,
    /// Its tree.
    pub tree: Option<Oid>,
    /// What holds, in the order of [`Control::ALL`].
    pub guarantees: Vec<Guarantee>,
    /// The waivers that it needed to enter; what they loosened is none of the guarantees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivers: Vec<Waived>,
}

/// A waiver that an accepted revision needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Waived {
    /// Its id.
    pub id: String,
    /// The code that it waived.
    pub code: Code,
    /// Whether it was a break-glass waiver.
    pub break_glass: bool,
    /// SHA-256 of each of its signed records, hex.
    pub records: Vec<String>,
}

/// What was decided about one push, with each reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The push's id.
    pub push: String,
    /// Allow or deny.
    pub verdict: Verdict,
    /// Whether it was denied only because something of ours failed.
    pub outage: bool,
    /// When: the receive time.
    pub decided_at: Timestamp,
    /// SHA-256 of the policy's text, hex.
    pub policy: String,
    /// SHA-256 of the facts' canonical JSON, hex.
    pub facts: String,
    /// All findings, sorted, advice included.
    pub findings: Vec<Finding>,
    /// The accepted revisions of protected refs; empty for a denial.
    pub accepted: Vec<Accepted>,
}

/// Decides whether one push may enter the repository.
///
/// Pure: equal arguments give an equal [`Decision`], byte for byte, so a logged decision can be replayed.
///
/// * `facts`: the waivers among them loosen what they cover, as far as the policy allows that at `now`.
/// * `findings`: of [`check::all`], sorted.
/// * `now`: the receive time; it becomes the start of controls that begin to hold.
///
/// The push is atomic: one denying finding rejects all. It is an outage only if nothing but outages deny.
///
/// # Errors
/// None. Bad policy is refused earlier, by [`Policy::parse`].
pub fn decide(policy: &Policy, facts: &Facts, findings: Vec<Finding>, now: Timestamp) -> Decision {
    let findings = waived(policy, facts, findings, now);
    let denying = || findings.iter().filter(|finding| finding.denies);
    let denied = denying().next().is_some();
    let outage = denied && denying().all(|finding| finding.cause == Cause::Outage);
    let accepted = if denied {
        Vec::new()
    } else {
        accepted(policy, facts, &findings, now)
    };
    Decision {
        push: facts.push.id.clone(),
        verdict: if denied { Verdict::Deny } else { Verdict::Allow },
        outage,
        decided_at: now,
        policy: policy.digest.clone(),
        facts: digest(facts),
        findings,
        accepted,
    }
}

/// Runs every check and decides.
pub fn judge(policy: &Policy, facts: &Facts) -> Decision {
    decide(policy, facts, check::all(policy, facts), facts.push.received_at)
}

/// Decides again from a stored policy text and stored facts; the bytes must equal the stored decision's.
///
/// # Errors
/// One sentence if the policy or the facts can no longer be read.
pub fn replay(policy_text: &str, facts_json: &[u8]) -> Result<Vec<u8>, String> {
    let policy = Policy::parse(POLICY_FILE, policy_text).map_err(|errors| {
        let first = errors.first().map(|e| e.message.clone()).unwrap_or_default();
        format!("the stored policy can no longer be read: {first}")
    })?;
    let facts: Facts =
        serde_json::from_slice(facts_json).map_err(|e| format!("the stored facts cannot be read: {e}"))?;
    Ok(canonical(&judge(&policy, &facts)))
}

/// Canonical JSON of our own types: compact, fields in declaration order, no maps.
///
/// An empty result stands for a value that JSON cannot hold; our types have none.
pub fn canonical<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// SHA-256 of a value's canonical JSON, hex; the JSON of a large push is never held for it.
fn digest<T: Serialize>(value: &T) -> String {
    struct Hashing(Sha256);
    impl std::io::Write for Hashing {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut hashing = Hashing(Sha256::new());
    // Our types have nothing that JSON cannot hold, and hashing cannot fail.
    let _ = serde_json::to_writer(std::io::BufWriter::new(&mut hashing), value);
    hex(&hashing.0.finalize())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Takes the denial from each finding that an active waiver covers; the finding stays, with the waiver's id.
///
/// Waivers that could not be read deny as an outage, where they might have mattered.
fn waived(policy: &Policy, facts: &Facts, mut findings: Vec<Finding>, now: Timestamp) -> Vec<Finding> {
    let waivers = match &facts.waivers {
        Fact::Known(waivers) => waivers,
        Fact::Unavailable { code, why } => {
            let mattered = findings.iter().any(|finding| finding.denies);
            findings.extend(mattered.then(|| Finding::outage(code.clone(), Place::default(), why.clone())));
            return findings;
        }
    };
    for finding in findings.iter_mut().filter(|finding| finding.denies) {
        let authors = waiver::authors(facts, finding);
        let by_an_author = |it: &Waiver| it.approvals.iter().any(|a| authors.contains(&a.by.to_lowercase()));
        let fits = |it: &&Waiver| {
            it.covers(&facts.push, finding)
                && it.standing(&policy.waivers, now) == Standing::Active
                && !by_an_author(it)
        };
        let Some(found) = waivers.iter().find(fits) else {
            continue;
        };
        let kind = if found.ask.break_glass {
            "under break-glass "
        } else {
            ""
        };
        finding.denies = false;
        finding.waiver = Some(found.id.clone());
        finding.message = format!(
            "{}, waived {kind}until {} by {}: {}",
            finding.message,
            found.ask.expires,
            found.approvers(),
            found.ask.reason
        );
    }
    findings
}

fn accepted(policy: &Policy, facts: &Facts, findings: &[Finding], now: Timestamp) -> Vec<Accepted> {
    let protected = facts.updates.iter().filter(|fact| policy.protects(&fact.update.name));
    protected
        .map(|fact| {
            let waivers = needed(facts, findings, fact);
            Accepted {
                update: fact.update.clone(),
                commit: fact.commit,
                tree: fact.tree,
                guarantees: guarantees(policy, facts, fact, &waivers, now),
                waivers,
            }
        })
        .collect()
}

/// The waivers that an update needed; what is about no ref, such as an object's content, all updates needed.
fn needed(facts: &Facts, findings: &[Finding], fact: &UpdateFact) -> Vec<Waived> {
    let Fact::Known(waivers) = &facts.waivers else {
        return Vec::new();
    };
    let here = |finding: &&Finding| {
        finding
            .place
            .ref_name
            .as_ref()
            .is_none_or(|name| *name == fact.update.name)
    };
    let ids = findings
        .iter()
        .filter(here)
        .filter_map(|finding| finding.waiver.as_ref());
    let used: BTreeSet<Waived> = ids
        .filter_map(|id| waivers.iter().find(|waiver| waiver.id == *id))
        .map(|waiver| Waived {
            id: waiver.id.clone(),
            code: waiver.ask.code.clone(),
            break_glass: waiver.ask.break_glass,
            records: waiver.records.clone(),
        })
        .collect();
    used.into_iter().collect()
}

fn guarantees(policy: &Policy, facts: &Facts, fact: &UpdateFact, waivers: &[Waived], now: Timestamp) -> Vec<Guarantee> {
    if fact.update.kind() == UpdateKind::Delete {
        return Vec::new();
    }
    let loosened = |control: &Control| waivers.iter().any(|it| waiver::controls(&it.code).contains(control));
    let held = |control| evidence(policy, facts, fact, control).map(|evidence| carry(fact, control, evidence, now));
    let whole = Control::ALL.into_iter().filter(|control| !loosened(control));
    whole.filter_map(held).collect()
}

/// The sentence by which a control is established for this revision; `None` if it does not hold.
fn evidence(policy: &Policy, facts: &Facts, fact: &UpdateFact, control: Control) -> Option<String> {
    let rules: Vec<_> = policy.rules_for(&fact.update.name).collect();
    let landing = facts.landing.as_ref();
    match control {
        Control::HistoryKept => {
            let keeps = rules.iter().any(|r| !r.non_fast_forward.value) && rules.iter().any(|r| !r.delete.value);
            let kept = |l: &Landing| l.protection.deletion_blocked && l.protection.force_push_blocked;
            let by = landing.map_or("rule", |_| "rule, ours or the forge's,");
            (keeps && landing.is_none_or(kept)).then(|| format!("no {by} lets the ref lose history or be deleted"))
        }
        Control::RefProtected => {
            let actor = &facts.push.actor;
            let guarded = |l: &Landing| l.by.is_some() && l.by_the_rules();
            (!rules.is_empty() && landing.is_none_or(guarded))
                .then(|| format!("moved by {}, whom the server authenticated", actor.name))
        }
        Control::Reviewed => landing.and_then(reviewed),
        Control::ChecksPassed => landing.and_then(checks_passed),
        Control::Signed => rules.iter().any(|r| r.require_signed.value).then(|| {
            let count = check::commits(facts, fact).len();
            format!("{count} new commits, each with a good signature at receive time")
        }),
        Control::SecretsScanned => match &facts.scan {
            Fact::Known(scan) if check::secret::covers(policy, &fact.update.name) => Some(format!(
                "{} objects scanned under rule set {}",
                scan.objects, scan.rule_set
            )),
            _ => None,
        },
    }
}

/// Only what the forge demands is a control: an approval that nobody had to give may be missing next time.
fn reviewed(landing: &Landing) -> Option<String> {
    let demanded = landing.protection.approvals > 0 && landing.each(|change| !change.approved_by.is_empty());
    let one = |change: &LandedChange| {
        format!(
            "change {} by {}, approved by {}",
            change.number,
            change.author,
            change.approved_by.join(" and ")
        )
    };
    demanded.then(|| landing.changes.iter().map(one).collect::<Vec<_>>().join("; "))
}

fn checks_passed(landing: &Landing) -> Option<String> {
    let names: Vec<&str> = landing
        .protection
        .checks
        .iter()
        .map(|check| check.name.as_str())
        .collect();
    let all = |change: &LandedChange| {
        names
            .iter()
            .all(|name| change.passed.iter().any(|passed| passed == name))
    };
    (!names.is_empty() && landing.each(all)).then(|| format!("{} had passed on each change", names.join(", ")))
}

/// Continues a control from the previous revision of the ref, or starts it here.
fn carry(fact: &UpdateFact, control: Control, evidence: String, now: Timestamp) -> Guarantee {
    let before = match &fact.previous {
        Fact::Known(Some(previous)) => previous.iter().find(|g| g.control == control),
        _ => None,
    };
    match before {
        Some(g) => Guarantee { evidence, ..g.clone() },
        None => Guarantee {
            control,
            since: fact.update.new,
            since_time: now,
            evidence,
        },
    }
}
