//! Did the scan of every new object find a secret that denies?

use super::hidden::in_name;
use super::{base, commits};
use crate::config::{Allowed, Policy};
use crate::facts::{Fact, Facts, ScanFact, SecretFact, UpdateFact};
use crate::feedback::remedy;
use crate::finding::{Finding, Place, PolicyLine, Severity};
use crate::push::RefName;

/// Turns what the scan found into findings: at or above the policy's confidence and severity they deny,
/// below they advise.
///
/// Code: `secret-found`; bounds that were hit keep their own code; an unavailable scan is an outage. All new
/// objects are the push's, so a match denies if any updated ref is one that the policy scans.
pub fn check(policy: &Policy, facts: &Facts) -> Vec<Finding> {
    let scanned = facts.updates.iter().find(|fact| covers(policy, &fact.update.name));
    match (&facts.scan, scanned) {
        (_, None) => Vec::new(),
        (Fact::Unavailable { code, why }, Some(_)) => {
            vec![Finding::outage(code.clone(), Place::default(), why.clone())]
        }
        (Fact::Known(scan), Some(update)) => findings(policy, facts, scan, update),
    }
}

/// Whether the policy scans pushes to the ref.
pub fn covers(policy: &Policy, name: &RefName) -> bool {
    policy.secrets.refs.value.iter().any(|pattern| pattern.matches(name))
}

fn findings(policy: &Policy, facts: &Facts, scan: &ScanFact, first: &UpdateFact) -> Vec<Finding> {
    let secrets = scan.secrets.iter().map(|secret| found(policy, facts, secret, first));
    let bounds = scan
        .bounds
        .iter()
        .map(|(code, place)| bound(policy, code, place, &first.update.name));
    secrets.chain(bounds).collect()
}

fn found(policy: &Policy, facts: &Facts, secret: &SecretFact, first: &UpdateFact) -> Finding {
    let message = match in_name(&secret.place) {
        Some(name) => format!("the name {name} contains a {}", secret.title),
        None => format!("this push contains a {}", secret.title),
    };
    let (severity, set_by) = severity(policy, secret);
    let mut finding = Finding::new("secret-found", severity, secret.place.clone(), message);
    finding.excerpt = Some(secret.excerpt.clone());
    finding.fingerprint = Some(secret.fingerprint.clone());
    finding.rule = Some(secret.rule.clone());
    finding.confidence = Some(secret.confidence);
    finding.required_by = Some(set_by.unwrap_or(&policy.secrets.deny_confidence.line).clone());
    let strong =
        secret.confidence >= policy.secrets.deny_confidence.value && severity >= policy.secrets.deny_severity.value;
    finding.denies = strong;
    if let Some(allowed) = allowed(policy, facts, secret) {
        finding.denies = false;
        finding.message = format!(
            "{}, allowed until {}: {}",
            finding.message, allowed.expires, allowed.reason
        );
    }
    finding.remedy = mend(policy, facts, secret, first);
    finding
}

/// How bad a match is where it stands, and the line of the policy that says so; `None`: its rule says it.
///
/// The worst of all paths at which the push brings the object. Where those are not all known, it is no less than
/// what the rule says: who pushes must not lower it by bringing the object in a second file.
fn severity<'p>(policy: &'p Policy, secret: &SecretFact) -> (Severity, Option<&'p PolicyLine>) {
    let all = &policy.secrets.severity;
    let shown = secret.place.path.as_ref().map(std::slice::from_ref);
    let known = secret.paths.as_deref();
    let at = |path: &String| {
        let about = all.iter().filter(|one| one.value.concerns(&secret.rule, path));
        let worst = about.max_by_key(|one| one.value.severity);
        worst.map_or((secret.severity, None), |one| (one.value.severity, Some(&one.line)))
    };
    let each = known.or(shown).unwrap_or_default().iter().map(at);
    let unknown = known
        .is_none_or(<[String]>::is_empty)
        .then_some((secret.severity, None));
    let worst = each.chain(unknown).max_by_key(|(severity, _)| *severity);
    worst.unwrap_or((secret.severity, None))
}

/// The commands for the update that brings the secret's commit; for a dangling object, the first scanned one.
fn mend(policy: &Policy, facts: &Facts, secret: &SecretFact, first: &UpdateFact) -> Vec<String> {
    if let Some(name) = in_name(&secret.place) {
        return remedy::secret_in_name(secret.revoke.as_deref(), name);
    }
    let commit = secret.place.commit;
    let brings = |update: &&UpdateFact| commits(facts, update).iter().any(|c| Some(c.oid) == commit);
    let update = facts.updates.iter().find(brings).unwrap_or(first);
    let place = remedy::SecretPlace {
        branch: &update.update.name,
        base: base(update),
        commit,
        tip: commit.is_some() && update.commit == commit,
        path: secret.place.path.as_deref(),
        sign: policy
            .rules_for(&update.update.name)
            .any(|rule| rule.require_signed.value),
    };
    remedy::secret(secret.revoke.as_deref(), place)
}

/// The server's own permission for this value, unless it has expired at receive time.
fn allowed<'a>(policy: &'a Policy, facts: &Facts, secret: &SecretFact) -> Option<&'a Allowed> {
    let now = facts.push.received_at;
    let mut all = policy.secrets.allow.iter().map(|lined| &lined.value);
    all.find(|allowed| allowed.fingerprint == secret.fingerprint && allowed.expires > now)
}

fn bound(policy: &Policy, code: &str, place: &Place, name: &RefName) -> Finding {
    let message = match code {
        "object-too-large" => format!(
            "an object is larger than {} bytes, so it was not scanned",
            policy.bounds.object_bytes
        ),
        "too-many-objects" => format!("the push brings more than {} objects", policy.bounds.objects),
        "too-many-commits" => format!("the push makes more than {} commits reachable", policy.bounds.commits),
        other => format!("a bound was hit: {other}"),
    };
    let mut finding = Finding::new(code.to_owned(), Severity::High, place.clone(), message);
    finding.remedy = remedy::bound(&finding.code, name);
    finding
}
