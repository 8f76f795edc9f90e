//! Checks: pure functions of facts and policy that return findings.
//!
//! One module a check; a new check is a new file and one line in [`all`].
//! Out of scope: reading facts (`pipeline`), deciding (`decision`), wording of
//! remedies (`feedback`).

pub mod hidden;
pub mod hygiene;
pub mod identity;
pub mod protection;
pub mod secret;
pub mod signature;

use crate::config::{Policy, RefRule};
use crate::facts::{CommitFact, Fact, Facts, UpdateFact};
use crate::finding::{Finding, Place};
use crate::push::Oid;

/// Runs every check, in a fixed order, and sorts what they found. No finding repeats a secret in a ref's name.
pub fn all(policy: &Policy, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(protection::check(policy, facts));
    findings.extend(signature::check(policy, facts));
    findings.extend(identity::check(policy, facts));
    findings.extend(secret::check(policy, facts));
    findings.extend(hygiene::check(policy, facts));
    let hidden = hidden::Hidden::of(facts);
    findings.iter_mut().for_each(|finding| hidden.apply(finding));
    Finding::sort(&mut findings);
    findings.dedup();
    findings
}

/// Pairs each update with each rule that protects its ref.
pub(crate) fn ruled<'a>(policy: &'a Policy, facts: &'a Facts) -> impl Iterator<Item = (&'a UpdateFact, &'a RefRule)> {
    facts
        .updates
        .iter()
        .flat_map(|fact| policy.rules_for(&fact.update.name).map(move |rule| (fact, rule)))
}

/// The commits that an update makes newly reachable; none if that could not be read
/// (then [`protection`] has denied the update with the outage).
pub(crate) fn commits<'a>(facts: &'a Facts, update: &UpdateFact) -> Vec<&'a CommitFact> {
    match &update.commits {
        Fact::Known(indices) => indices
            .iter()
            .filter_map(|&at| facts.commits.get(at as usize))
            .collect(),
        Fact::Unavailable { .. } => Vec::new(),
    }
}

/// The place of an update's ref.
pub(crate) fn at_ref(update: &UpdateFact) -> Place {
    Place {
        ref_name: Some(update.update.name.clone()),
        ..Place::default()
    }
}

/// The place of a commit on an update's ref.
pub(crate) fn at_commit(update: &UpdateFact, commit: &CommitFact) -> Place {
    Place {
        commit: Some(commit.oid),
        ..at_ref(update)
    }
}

/// The last commit that stays as it is when an update's commits are made anew.
pub(crate) fn base(update: &UpdateFact) -> Option<Oid> {
    (!update.update.old.is_zero()).then_some(update.update.old)
}
