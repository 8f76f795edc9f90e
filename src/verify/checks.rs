//! The checks on a statement whose signature fits.

use super::{Check, Claim, Evidence, Expectation, Report, TrustedKey, printable, with_unjudged};
use crate::attest::statement::{LEVEL_PREFIX, Subject, VSA_TYPE};
use crate::attest::{Envelope, PublicKey, Statement, VerifiedPayload, Vsa};
use crate::push::Timestamp;
use crate::status::{Demand, Status, VerifiedList};
use crate::tlog::{self, Checkpoint, Proof, note::VerifiedCheckpoint};
use serde_json::value::RawValue;

/// Judges all but the signature, which fits.
pub(super) fn judge(
    evidence: Evidence<'_>,
    envelope: &Envelope,
    payload: &VerifiedPayload,
    trusted: &[TrustedKey],
    expected: &Expectation,
    now: Timestamp,
) -> Report {
    // `open` gives an index into the very list that it was given.
    let key = &trusted[payload.key()].key;
    let mut checks = vec![Check::pass(
        "signature",
        format!("made by the trusted key {}", key.key_id()),
    )];
    let (statement, vsa) = match read(payload) {
        Ok(read) => read,
        Err(check) => {
            checks.push(check);
            return Report {
                checks: with_unjudged(checks),
                claim: None,
            };
        }
    };
    checks.push(Check::pass("predicate-type", "it is a SLSA verification summary"));
    let subject = subject(&statement, expected);
    let mut claim = claim(&statement, &vsa, subject.as_ref().ok().copied());
    checks.push(match &subject {
        Ok(subject) if expected.commit.is_none() => Check::waived(
            "subject",
            &format!("no commit was asked for; it is about {}", commit_of(subject)),
        ),
        Ok(subject) => Check::pass("subject", format!("it is about {}", commit_of(subject))),
        Err(check) => check.clone(),
    });
    let believed = believed(trusted, key, &vsa);
    checks.push(verifier(&vsa, believed));
    checks.push(resource(&vsa, expected));
    checks.extend(subject.ok().map(|subject| refs(subject, expected)));
    checks.push(level(&vsa, believed, expected));
    checks.push(result(&vsa));
    let (inclusion, proven) = inclusion(evidence, envelope, key, expected);
    claim.log_index = proven.as_ref().map(|p| p.index);
    checks.push(inclusion);
    let (status_check, value) = status(evidence, &vsa, key, proven.as_ref(), expected, now);
    claim.status = value;
    checks.push(status_check);
    Report {
        checks: with_unjudged(checks),
        claim: Some(claim),
    }
}

fn read(payload: &VerifiedPayload) -> Result<(Statement<Box<RawValue>>, Vsa), Check> {
    let hint = "Give the bundle of an entry's VSA: lychgate log export REV --out DIR";
    let fail = |why: &str| Check::fail("predicate-type", why, hint);
    let statement = Statement::read(payload).map_err(|e| fail(&e.to_string()))?;
    if statement.predicate_type != VSA_TYPE {
        let why = format!("it is {}, not {VSA_TYPE}", statement.predicate_type);
        return Err(fail(&why));
    }
    let vsa = statement.predicate().map_err(|e| fail(&e.to_string()))?;
    Ok((statement, vsa))
}

fn commit_of(subject: &Subject) -> &str {
    subject.digest.get("gitCommit").map_or("no commit", String::as_str)
}

fn claim(statement: &Statement<Box<RawValue>>, vsa: &Vsa, subject: Option<&Subject>) -> Claim {
    let shown = subject.or(statement.subject.first());
    let mut refs: Vec<String> = shown.iter().flat_map(|s| s.refs()).map(str::to_owned).collect();
    refs.sort();
    refs.dedup();
    Claim {
        commit: shown.and_then(|s| s.digest.get("gitCommit").cloned()),
        refs,
        levels: vsa.verified_levels.clone(),
        time_verified: vsa.time_verified,
        log_index: None,
        status: None,
    }
}

fn subject<'a>(statement: &'a Statement<Box<RawValue>>, expected: &Expectation) -> Result<&'a Subject, Check> {
    let wanted = expected.commit.map(|oid| oid.to_string());
    let matches = |subject: &&Subject| match (subject.digest.get("gitCommit"), &wanted) {
        (Some(found), Some(wanted)) => found == wanted,
        (found, None) => found.is_some(),
        (None, Some(_)) => false,
    };
    statement.subject.iter().find(matches).ok_or_else(|| {
        let found = statement.subject.first().map_or("nothing", commit_of);
        let why = format!("it is about {found}, not {}", wanted.as_deref().unwrap_or("a commit"));
        Check::fail("subject", &why, "Give the attestation of this very commit.")
    })
}

/// The trust entry under which the key speaks as this verifier.
fn believed<'a>(trusted: &'a [TrustedKey], key: &PublicKey, vsa: &Vsa) -> Option<&'a TrustedKey> {
    trusted
        .iter()
        .find(|t| t.key == *key && t.verifier_id.as_ref().is_none_or(|id| *id == vsa.verifier.id))
}

fn verifier(vsa: &Vsa, believed: Option<&TrustedKey>) -> Check {
    match believed.map(|trust| &trust.verifier_id) {
        Some(Some(id)) => Check::pass("verifier", format!("the key may speak for {}", printable(id))),
        Some(None) => {
            let why = format!("no verifier id was asked for; it is {}", vsa.verifier.id);
            Check::waived("verifier", &why)
        }
        None => Check::fail(
            "verifier",
            &format!("the key is not trusted to speak for {}", vsa.verifier.id),
            "Trust the pair of key and verifier id (--verifier-id), or use that verifier's own key.",
        ),
    }
}

fn resource(vsa: &Vsa, expected: &Expectation) -> Check {
    let Some(wanted) = &expected.resource_uri else {
        let why = format!("no resource was asked for; it is about {}", vsa.resource_uri);
        return Check::waived("resource-uri", &why);
    };
    if vsa.resource_uri == *wanted {
        return Check::pass("resource-uri", format!("it is about {}", printable(wanted)));
    }
    let why = format!("it is about {}, not {wanted}", vsa.resource_uri);
    Check::fail("resource-uri", &why, "Give the attestation of this very repository.")
}

fn refs(subject: &Subject, expected: &Expectation) -> Check {
    let stated: Vec<&str> = subject.refs().collect();
    match &expected.ref_name {
        None => {
            let why = format!(
                "no ref was asked for; it entered on {}",
                stated.first().unwrap_or(&"none")
            );
            Check::waived("ref", &why)
        }
        Some(name) if stated.contains(&name.as_str()) => Check::pass("ref", format!("it entered on {name}")),
        Some(name) => {
            let why = format!("it entered on {}, not on {name}", stated.first().unwrap_or(&"none"));
            Check::fail("ref", &why, "Give the attestation of its entry on this ref.")
        }
    }
}

fn level(vsa: &Vsa, believed: Option<&TrustedKey>, expected: &Expectation) -> Check {
    let fail = |why: &str, hint: &str| Check::fail("level", why, hint);
    let found: Vec<u8> = vsa.verified_levels.iter().filter_map(|l| source_level(l)).collect();
    let [level] = found[..] else {
        return fail(
            "it does not state exactly one SLSA source level",
            "The issuer is at fault: ask the gate's operator.",
        );
    };
    if level < expected.min_level {
        let why = format!("it states level {level}, less than the {} demanded", expected.min_level);
        return fail(&why, "See which controls are missing: lychgate log show ID");
    }
    match believed {
        None => fail(
            "no key is trusted for any level under this verifier id",
            "See the check `verifier`.",
        ),
        Some(trust) if level > trust.max_level => {
            let why = format!(
                "it states level {level}, its key is believed up to {} only",
                trust.max_level
            );
            fail(&why, "Raise the level that this key is trusted for, if that is meant.")
        }
        Some(_) => Check::pass("level", format!("it states SLSA source level {level}")),
    }
}

fn source_level(text: &str) -> Option<u8> {
    let digits = text.strip_prefix(LEVEL_PREFIX)?;
    // Anything that is no plain digit counts as a level that is never reached nor believed.
    Some(digits.parse().ok().filter(|_| digits.len() == 1).unwrap_or(0))
}

fn result(vsa: &Vsa) -> Check {
    if vsa.verification_result == "PASSED" {
        return Check::pass("result", "PASSED");
    }
    let why = format!("the result is {}, not PASSED", vsa.verification_result);
    Check::fail("result", &why, "The gate refused this revision: do not use it.")
}

/// What a good proof established.
struct Proven {
    index: u64,
    checkpoint: VerifiedCheckpoint,
}

fn inclusion(
    evidence: Evidence<'_>,
    envelope: &Envelope,
    key: &PublicKey,
    expected: &Expectation,
) -> (Check, Option<Proven>) {
    let Some(text) = evidence.proof else {
        let hint = "Give --proof FILE (lychgate log export writes it beside the bundle), or say --without-log.";
        let why = "there is no proof that it is in the log";
        return (Check::missing("inclusion", why, hint, evidence.without_log), None);
    };
    match prove(text, envelope, key, expected) {
        Ok(proven) => {
            let log = &proven.checkpoint.origin;
            let why = format!("it is leaf {} of {} in {log}", proven.index, proven.checkpoint.size);
            (Check::pass("inclusion", printable(&why)), Some(proven))
        }
        Err(why) => (
            Check::fail(
                "inclusion",
                &why,
                "Export the proof anew: lychgate log export REV --out DIR",
            ),
            None,
        ),
    }
}

fn prove(text: &str, envelope: &Envelope, key: &PublicKey, expected: &Expectation) -> Result<Proven, String> {
    let proof = Proof::parse(text).map_err(|e| format!("the proof is {e}"))?;
    let checkpoint = Checkpoint::open(&proof.checkpoint, key).map_err(|e| format!("the checkpoint: {e}"))?;
    if let Some(origin) = expected.origin.as_ref().filter(|origin| **origin != checkpoint.origin) {
        return Err(format!(
            "the checkpoint is of the log {}, not {origin}",
            checkpoint.origin
        ));
    }
    let leaf = tlog::leaf_hash(envelope.to_json().as_bytes());
    if !tlog::verify_inclusion(leaf, proof.index, checkpoint.size, &proof.hashes, &checkpoint.root) {
        return Err("the proof does not lead from the attestation to the checkpoint's root".to_owned());
    }
    Ok(Proven {
        index: proof.index,
        checkpoint,
    })
}

fn status(
    evidence: Evidence<'_>,
    vsa: &Vsa,
    key: &PublicKey,
    proven: Option<&Proven>,
    expected: &Expectation,
    now: Timestamp,
) -> (Check, Option<Status>) {
    let Some(jwt) = evidence.status else {
        let hint = "Give --status FILE (lychgate log status prints a fresh one), or say --without-log.";
        let why = "there is no status list: it may have been re-opened since";
        return (Check::missing("status", why, hint, evidence.without_log), None);
    };
    let fresh = "Get a fresh list: lychgate log status";
    match look_up(jwt, evidence, vsa, key, proven, expected, now) {
        Ok(Status::Valid) => (
            Check::pass("status", "valid: nothing has re-opened it"),
            Some(Status::Valid),
        ),
        Ok(value) => (refusal(value, evidence.events), Some(value)),
        Err(why) => (Check::fail("status", &why, fresh), None),
    }
}

fn refusal(value: Status, events: &[String]) -> Check {
    let hint = match value {
        Status::Revoked => "It is void for good. Use another revision.",
        Status::Inherited => {
            "An ancestor was re-opened. Use a revision from before it, or one attested after it was closed."
        }
        Status::Valid | Status::Reopened => "Do not use it. A new attestation is issued when the event is closed.",
    };
    let why = if events.is_empty() {
        String::new()
    } else {
        format!(": {}", events.join("; "))
    };
    Check::fail("status", &format!("it is {value}{why}"), hint)
}

fn look_up(
    jwt: &str,
    evidence: Evidence<'_>,
    vsa: &Vsa,
    key: &PublicKey,
    proven: Option<&Proven>,
    expected: &Expectation,
    now: Timestamp,
) -> Result<Status, String> {
    let pointer = vsa.status.as_ref().ok_or("the attestation points at no status list")?;
    let checkpoint = proven.map(|p| &*p.checkpoint);
    let demand = Demand {
        uri: &pointer.uri,
        now,
        largest_log_size: evidence.largest_log_size.max(checkpoint.map_or(0, |c| c.size)),
        max_age: evidence.max_status_age,
    };
    let list = VerifiedList::open(jwt, key, demand).map_err(|e| format!("the status list: {e}"))?;
    same_log(&list, checkpoint, expected)?;
    list.status(pointer.idx).map_err(|e| format!("the status list: {e}"))
}

/// The list and the checkpoint must be of one log, and of one root where they are of one size.
fn same_log(list: &VerifiedList, checkpoint: Option<&Checkpoint>, expected: &Expectation) -> Result<(), String> {
    let log = &list.claims().log;
    let origin = checkpoint.map(|c| &c.origin).or(expected.origin.as_ref());
    if let Some(origin) = origin.filter(|origin| **origin != log.origin) {
        return Err(format!("the status list is of the log {}, not {origin}", log.origin));
    }
    let claimed = crate::status::LogClaim::new(&log.origin, log.size, &checkpoint.map_or([0; 32], |c| c.root));
    match checkpoint.filter(|c| c.size == log.size) {
        Some(_) if claimed.root != log.root => Err(
            "the status list and the checkpoint have the same log size but another root: the log was forked".to_owned(),
        ),
        _ => Ok(()),
    }
}
