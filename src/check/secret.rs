//! Did the scan of every new object find a secret that denies?

use crate::config::{Allowed, Policy};
use crate::facts::{Fact, Facts, ScanFact, SecretFact};
use crate::feedback::remedy;
use crate::finding::{Finding, Place, Severity};
use crate::push::RefName;

/// Turns what the scan found into findings: at or above the policy's confidence and severity they deny,
/// below they advise.
///
/// Code: `secret-found`; bounds that were hit keep their own code; an unavailable scan is an outage. All new
/// objects are the push's, so a match denies if any updated ref is one that the policy scans.
pub fn check(policy: &Policy, facts: &Facts) -> Vec<Finding> {
    let scanned = facts.updates.iter().map(|fact| &fact.update.name).find(|name| covers(policy, name));
    match (&facts.scan, scanned) {
        (_, None) => Vec::new(),
        (Fact::Unavailable { code, why }, Some(_)) => {
            vec![Finding::outage(code.clone(), Place::default(), why.clone())]
        }
        (Fact::Known(scan), Some(name)) => findings(policy, facts, scan, name),
    }
}

/// Whether the policy scans pushes to the ref.
pub fn covers(policy: &Policy, name: &RefName) -> bool {
    policy.secrets.refs.value.iter().any(|pattern| pattern.matches(name))
}

fn findings(policy: &Policy, facts: &Facts, scan: &ScanFact, name: &RefName) -> Vec<Finding> {
    let secrets = scan.secrets.iter().map(|secret| found(policy, facts, secret, name));
    let bounds = scan.bounds.iter().map(|(code, place)| bound(policy, code, place));
    secrets.chain(bounds).collect()
}

fn found(policy: &Policy, facts: &Facts, secret: &SecretFact, name: &RefName) -> Finding {
    let message = format!("this push contains a {}", secret.title);
    let mut finding = Finding::new("secret-found", secret.severity, secret.place.clone(), message);
    finding.excerpt = Some(secret.excerpt.clone());
    finding.fingerprint = Some(secret.fingerprint.clone());
    finding.rule = Some(secret.rule.clone());
    finding.confidence = Some(secret.confidence);
    finding.required_by = Some(policy.secrets.deny_confidence.line.clone());
    let strong = secret.confidence >= policy.secrets.deny_confidence.value
        && secret.severity >= policy.secrets.deny_severity.value;
    finding.denies = strong;
    if let Some(allowed) = allowed(policy, facts, secret) {
        finding.denies = false;
        finding.message = format!("{}, allowed until {}: {}", finding.message, allowed.expires, allowed.reason);
    }
    finding.remedy = remedy::secret(secret.revoke.as_deref(), &secret.place, name);
    finding
}

/// The server's own permission for this value, unless it has expired at receive time.
fn allowed<'a>(policy: &'a Policy, facts: &Facts, secret: &SecretFact) -> Option<&'a Allowed> {
    let now = facts.push.received_at;
    let mut all = policy.secrets.allow.iter().map(|lined| &lined.value);
    all.find(|allowed| allowed.fingerprint == secret.fingerprint && allowed.expires > now)
}

fn bound(policy: &Policy, code: &str, place: &Place) -> Finding {
    let message = match code {
        "object-too-large" => format!("an object is larger than {} bytes, so it was not scanned", policy.bounds.object_bytes),
        "too-many-objects" => format!("the push brings more than {} objects", policy.bounds.objects),
        "too-many-commits" => format!("the push makes more than {} commits reachable", policy.bounds.commits),
        other => format!("a bound was hit: {other}"),
    };
    let mut finding = Finding::new(code.to_owned(), Severity::High, place.clone(), message);
    finding.remedy = remedy::bound(code);
    finding
}
