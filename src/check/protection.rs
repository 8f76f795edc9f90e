//! May this account create, move, delete or rewind this ref?

use super::{at_ref, ruled};
use crate::config::{Policy, RefRule};
use crate::facts::{Ancestry, Fact, Facts, UpdateFact};
use crate::feedback::remedy;
use crate::finding::{Finding, PolicyLine, Severity};
use crate::push::UpdateKind;

/// Checks every update of a protected ref against every rule that protects it.
///
/// Codes: `reserved-ref`, `not-allowed-to-push`, `ref-creation-denied`, `ref-update-denied`, `ref-deletion-denied`,
/// `non-fast-forward`, `tag-moved`, `not-a-commit`, and the outage's own code for what could not be read.
pub fn check(policy: &Policy, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for update in &facts.updates {
        findings.extend(reserved(update));
        findings.extend(unread(policy, update));
    }
    for (update, rule) in ruled(policy, facts) {
        findings.extend(account(facts, update, rule));
        findings.extend(kind(update, rule));
        findings.extend(history(update, rule));
        findings.extend(target(update, rule));
    }
    findings
}

/// Namespaces that nobody pushes to: the gate's own, and replacements, by which Git shows other objects than
/// those that were judged. <https://git-scm.com/docs/git-replace>
const RESERVED: [&str; 2] = ["refs/lychgate/", "refs/replace/"];

fn reserved(fact: &UpdateFact) -> Option<Finding> {
    let name = &fact.update.name;
    let space = RESERVED.into_iter().find(|space| name.as_str().starts_with(space))?;
    let message = format!("{name} cannot be pushed: {space} is reserved");
    Some(Finding::new("reserved-ref", Severity::High, at_ref(fact), message))
}

fn account(facts: &Facts, fact: &UpdateFact, rule: &RefRule) -> Option<Finding> {
    let actor = &facts.push.actor.name;
    if rule.who.value.iter().any(|name| name == "*" || name == actor) {
        return None;
    }
    let message = format!("{actor} may not move {}", fact.update.name);
    Some(denied(
        "not-allowed-to-push",
        fact,
        message,
        &rule.who.line,
        remedy::not_allowed_actor(&fact.update.name),
    ))
}

fn kind(fact: &UpdateFact, rule: &RefRule) -> Option<Finding> {
    let name = &fact.update.name;
    let (permission, code, verb, remedy) = match fact.update.kind() {
        UpdateKind::Create => (
            &rule.create,
            "ref-creation-denied",
            "created",
            remedy::creation_denied(name),
        ),
        UpdateKind::Update => (&rule.update, "ref-update-denied", "moved", remedy::update_denied(name)),
        UpdateKind::Delete => (
            &rule.delete,
            "ref-deletion-denied",
            "deleted",
            remedy::protected_deletion(name),
        ),
    };
    if permission.value {
        return None;
    }
    Some(denied(
        code,
        fact,
        format!("{name} must not be {verb}"),
        &permission.line,
        remedy,
    ))
}

fn history(fact: &UpdateFact, rule: &RefRule) -> Option<Finding> {
    let name = &fact.update.name;
    if rule.non_fast_forward.value || fact.update.kind() != UpdateKind::Update {
        return None;
    }
    if name.is_tag() {
        let message = format!("the tag {} must not move once it is published", name.short());
        return Some(denied(
            "tag-moved",
            fact,
            message,
            &rule.non_fast_forward.line,
            remedy::update_denied(name),
        ));
    }
    if fact.ancestry != Fact::Known(Ancestry::Diverged) {
        return None;
    }
    let message = format!(
        "{name} would lose commits that it has now ({})",
        fact.update.old.short()
    );
    Some(denied(
        "non-fast-forward",
        fact,
        message,
        &rule.non_fast_forward.line,
        remedy::non_fast_forward(name),
    ))
}

/// A protected branch names commits; a tree or blob there has no history to judge.
fn target(fact: &UpdateFact, rule: &RefRule) -> Option<Finding> {
    let unreadable = matches!(fact.commits, Fact::Unavailable { .. });
    if fact.update.kind() == UpdateKind::Delete || fact.commit.is_some() || unreadable {
        return None;
    }
    let message = format!("{} would name an object that is no commit", fact.update.name);
    Some(denied("not-a-commit", fact, message, &rule.pattern.line, Vec::new()))
}

/// What could not be read denies, on every ref: nobody knows what it would have said.
fn unread(policy: &Policy, fact: &UpdateFact) -> Vec<Finding> {
    let commits = unavailable(&fact.commits);
    let ancestry = unavailable(&fact.ancestry);
    let previous = unavailable(&fact.previous).filter(|_| policy.protects(&fact.update.name));
    let mut parts: Vec<_> = [commits, ancestry, previous].into_iter().flatten().collect();
    parts.dedup();
    parts
        .into_iter()
        .map(|(code, why)| Finding::outage(code.to_owned(), at_ref(fact), why))
        .collect()
}

fn unavailable<T>(fact: &Fact<T>) -> Option<(&str, &str)> {
    match fact {
        Fact::Known(_) => None,
        Fact::Unavailable { code, why } => Some((code, why)),
    }
}

fn denied(code: &'static str, fact: &UpdateFact, message: String, line: &PolicyLine, remedy: Vec<String>) -> Finding {
    let mut finding = Finding::new(code, Severity::High, at_ref(fact), message);
    finding.required_by = Some(line.clone());
    finding.remedy = remedy;
    finding
}
