//! Is the signer the committer, and the pusher the signer?

use super::{at_commit, base, commits, ruled};
use crate::config::Policy;
use crate::facts::{CommitFact, Fact, Facts, SignatureFact, SignatureState, UpdateFact};
use crate::feedback::remedy;
use crate::finding::{Finding, PolicyLine, Severity};

/// Checks that good signatures belong to the people who are named.
///
/// Codes: `committer-not-signer`, `pusher-not-signer`. Commits without a good signature are
/// [`super::signature`]'s.
pub fn check(policy: &Policy, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (update, rule) in ruled(policy, facts) {
        for commit in commits(facts, update) {
            let Fact::Known(signature) = &commit.signature else {
                continue;
            };
            if signature.state != SignatureState::Good {
                continue;
            }
            if rule.committer_is_signer.value {
                findings.extend(committer(update, commit, signature, &rule.committer_is_signer.line));
            }
            if rule.pusher_is_signer.value {
                findings.extend(pusher(facts, update, commit, signature, &rule.pusher_is_signer.line));
            }
        }
    }
    findings
}

fn committer(
    update: &UpdateFact,
    commit: &CommitFact,
    signature: &SignatureFact,
    line: &PolicyLine,
) -> Option<Finding> {
    let email = commit
        .committer
        .as_ref()
        .map(|c| c.email.to_lowercase())
        .unwrap_or_default();
    if signature.emails.contains(&email) {
        return None;
    }
    let message = format!(
        "commit {} names the committer {email}, whose signing key belongs to {}",
        commit.oid.short(),
        if signature.emails.is_empty() {
            "no address".to_owned()
        } else {
            signature.emails.join(", ")
        }
    );
    let mut finding = Finding::new(
        "committer-not-signer",
        Severity::High,
        at_commit(update, commit),
        message,
    );
    finding.required_by = Some(line.clone());
    finding.remedy = remedy::wrong_committer(&update.update.name, base(update), &signature.emails);
    Some(finding)
}

fn pusher(
    facts: &Facts,
    update: &UpdateFact,
    commit: &CommitFact,
    signature: &SignatureFact,
    line: &PolicyLine,
) -> Option<Finding> {
    let actor = &facts.push.actor.name;
    if signature.principal.as_ref() == Some(actor) {
        return None;
    }
    let signer = signature.principal.as_deref().unwrap_or("no account");
    let message = format!(
        "commit {} is signed by {signer} but pushed by {actor}",
        commit.oid.short()
    );
    let mut finding = Finding::new("pusher-not-signer", Severity::High, at_commit(update, commit), message);
    finding.required_by = Some(line.clone());
    finding.remedy = remedy::wrong_pusher(&update.update.name, base(update));
    Some(finding)
}
