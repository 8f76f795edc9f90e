//! Is every new commit, and every protected tag, signed by a key that may?

use super::{at_commit, at_ref, base, commits, ruled};
use crate::config::{Policy, RefRule};
use crate::facts::{Fact, Facts, SignatureFact, SignatureState, UpdateFact};
use crate::feedback::remedy;
use crate::finding::{Finding, Place, Severity};
use crate::push::{Oid, RefName, UpdateKind};

/// Stands for the number of commits where the tag object itself is judged.
const TAG: usize = 0;

/// Checks the commits of every update (and its tag object) whose rule requires signatures.
///
/// Codes: one a [`SignatureState`], see [`code`]; `unsigned-tag` for a tag that is not annotated or not signed.
pub fn check(policy: &Policy, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (update, rule) in ruled(policy, facts) {
        if !rule.require_signed.value || update.update.kind() == UpdateKind::Delete {
            continue;
        }
        let new = commits(facts, update);
        let count = new.len();
        for commit in new {
            let what = format!("commit {}", commit.oid.short());
            findings.extend(judge(
                &commit.signature,
                at_commit(update, commit),
                &what,
                update,
                rule,
                count,
            ));
        }
        findings.extend(tag(update, rule));
    }
    findings
}

fn tag(update: &UpdateFact, rule: &RefRule) -> Option<Finding> {
    let name = &update.update.name;
    if !name.is_tag() {
        return None;
    }
    let Some(tag) = &update.tag else {
        let message = format!("{} is no annotated tag, so nobody signed it", name.short());
        return Some(finding(
            "unsigned-tag",
            at_ref(update),
            message,
            rule,
            remedy::unsigned_tag(name),
        ));
    };
    let place = Place {
        commit: Some(tag.oid),
        ..at_ref(update)
    };
    judge(
        &tag.signature,
        place,
        &format!("tag {}", name.short()),
        update,
        rule,
        TAG,
    )
}

fn judge(
    signature: &Fact<SignatureFact>,
    place: Place,
    what: &str,
    update: &UpdateFact,
    rule: &RefRule,
    count: usize,
) -> Option<Finding> {
    let name = &update.update.name;
    let fact = match signature {
        Fact::Known(fact) if fact.state == SignatureState::Good => return None,
        Fact::Known(fact) => fact,
        Fact::Unavailable { code, why } => return Some(Finding::outage(code.clone(), place, why.clone())),
    };
    let (code, problem) = code(fact.state);
    let code = if code == "unsigned-commit" && name.is_tag() && update.tag.is_some() {
        "unsigned-tag"
    } else {
        code
    };
    let detail = if fact.detail.is_empty() {
        String::new()
    } else {
        format!(": {}", fact.detail)
    };
    let message = format!("{what} on {name} {problem}{detail}");
    Some(finding(
        code,
        place,
        message,
        rule,
        mend(fact, name, base(update), count),
    ))
}

/// The stable code and the words for each state of a signature.
pub fn code(state: SignatureState) -> (&'static str, &'static str) {
    match state {
        SignatureState::Good => ("good-signature", "is well signed"),
        SignatureState::NotAsked => ("signature-not-judged", "has a signature that was not judged"),
        SignatureState::Unsigned => ("unsigned-commit", "has no signature"),
        SignatureState::Bad => ("bad-signature", "has a signature that does not fit its bytes"),
        SignatureState::Expired => ("key-expired", "is signed by a key that has expired"),
        SignatureState::Revoked => ("key-revoked", "is signed by a key that is revoked"),
        SignatureState::UnknownKey => ("unknown-key", "is signed by a key that this server does not know"),
        SignatureState::WeakAlgorithm => ("weak-signature", "is signed with an algorithm or key that is too weak"),
        SignatureState::WrongUsage => ("wrong-key-usage", "is signed by a key that may not sign commits"),
        SignatureState::Untrusted => ("untrusted-key", "is signed by a key that is not trusted here"),
        SignatureState::Malformed => ("malformed-signature", "carries a signature that is not well-formed"),
        SignatureState::OutsideTime => ("signature-time", "claims a time that lies in the future"),
        SignatureState::Disagreement => ("verifiers-disagree", "has a signature on which two verifiers disagree"),
    }
}

/// The commands that mend this state on this branch.
fn mend(fact: &SignatureFact, name: &RefName, base: Option<Oid>, count: usize) -> Vec<String> {
    let key = fact.key.as_deref();
    match fact.state {
        _ if name.is_tag() && count == TAG => remedy::unsigned_tag(name),
        SignatureState::Good | SignatureState::NotAsked => Vec::new(),
        SignatureState::Unsigned => remedy::unsigned(name, base, count),
        SignatureState::Bad | SignatureState::Malformed => remedy::bad_signature(name, base),
        SignatureState::Expired => remedy::expired_key(name, base, key),
        SignatureState::Revoked => remedy::revoked_key(name, base),
        SignatureState::UnknownKey => remedy::unknown_key(name, key),
        SignatureState::WeakAlgorithm => remedy::weak_algorithm(name, base),
        SignatureState::WrongUsage | SignatureState::Untrusted => remedy::unfit_key(name, base),
        SignatureState::OutsideTime => remedy::outside_time(name, base),
        SignatureState::Disagreement => remedy::unfit_key(name, base),
    }
}

fn finding(code: &'static str, place: Place, message: String, rule: &RefRule, remedy: Vec<String>) -> Finding {
    let mut finding = Finding::new(code, Severity::High, place, message);
    finding.required_by = Some(rule.require_signed.line.clone());
    finding.remedy = remedy;
    finding
}
