//! Are the new objects what they seem to be?

use super::{at_commit, at_ref, base, commits};
use crate::config::Policy;
use crate::facts::Facts;
use crate::feedback::remedy;
use crate::finding::{Finding, Place, Severity};

/// Checks that commits and tags on protected refs are well-formed by the strict reader.
///
/// Codes: `malformed-commit`, `malformed-tag`. What Git displays of such an object may differ from what was
/// signed, so it does not enter a protected ref even where no signature is required.
pub fn check(policy: &Policy, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for update in &facts.updates {
        let Some(rule) = policy.rules_for(&update.update.name).next() else {
            continue;
        };
        for commit in commits(facts, update) {
            let Some(why) = &commit.malformed else { continue };
            let message = format!("commit {} is malformed: {why}", commit.oid.short());
            let mut finding = Finding::new("malformed-commit", Severity::High, at_commit(update, commit), message);
            finding.required_by = Some(rule.pattern.line.clone());
            finding.remedy = remedy::malformed_commit(&update.update.name, base(update));
            findings.push(finding);
        }
        let Some((tag, why)) = update.tag.as_ref().and_then(|tag| Some((tag, tag.malformed.as_ref()?))) else {
            continue;
        };
        let place = Place {
            commit: Some(tag.oid),
            ..at_ref(update)
        };
        let mut finding = Finding::new(
            "malformed-tag",
            Severity::High,
            place,
            format!("the tag is malformed: {why}"),
        );
        finding.required_by = Some(rule.pattern.line.clone());
        finding.remedy = remedy::unsigned_tag(&update.update.name);
        findings.push(finding);
    }
    findings
}
