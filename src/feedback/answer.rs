//! The answers to commands in a change's comments, and what each code means. Markdown; pure.
//!
//! In scope: the words. Out of scope: what is done (`pipeline::chat`), the comment around them (`change`). What
//! people wrote stands in code spans, where no Markdown, mention or HTML works.

use super::change::{adapted, code, count, place};
use crate::chat::Command;
use crate::config::WaiverPolicy;
use crate::finding::Finding;
use crate::forge::{Answer, Permission};
use crate::push::{Oid, Timestamp};
use crate::waiver::{Done, Refusal, Standing, Target, Waiver};
use std::fmt::Write;

/// Most places that an explanation names.
const MOST_PLACES: usize = 10;

/// What each code means, as README says it.
pub const MEANINGS: [(&str, &str); 30] = [
    ("secret-found", "an object of the push matches a detection rule"),
    ("unsigned-commit", "a new commit of a protected ref has no signature"),
    ("unsigned-tag", "a protected tag is not annotated, or not signed"),
    ("bad-signature", "the signature does not fit the bytes"),
    ("malformed-signature", "the signature is not one well-formed block"),
    (
        "malformed-commit",
        "the strict parser refuses the object, though Git may not",
    ),
    (
        "malformed-tag",
        "the strict parser refuses the object, though Git may not",
    ),
    ("unknown-key", "the keyring does not hold the key"),
    (
        "untrusted-key",
        "an SSH certificate of an unknown authority or principal",
    ),
    ("key-expired", "the key had expired when the push arrived"),
    ("key-revoked", "the key is revoked"),
    ("weak-signature", "SHA-1, MD5, DSA, or RSA below 2,048 bits"),
    ("wrong-key-usage", "the key may not sign, or not for Git"),
    ("signature-time", "it claims a time in the future"),
    ("verifiers-disagree", "the two OpenPGP verifiers do not agree"),
    (
        "committer-not-signer",
        "the committer's address is not bound to the signing key",
    ),
    (
        "pusher-not-signer",
        "the signing key belongs to another account than the one that pushes",
    ),
    ("not-allowed-to-push", "the account may not move this ref"),
    ("ref-creation-denied", "the ref must not be created, moved, deleted"),
    ("ref-update-denied", "the ref must not be created, moved, deleted"),
    ("ref-deletion-denied", "the ref must not be created, moved, deleted"),
    ("tag-moved", "a published tag must not move"),
    ("non-fast-forward", "the ref would lose history"),
    (
        "not-a-commit",
        "a protected branch would name something that is no commit",
    ),
    ("reserved-ref", "nobody may push there, for instance to `refs/replace/`"),
    ("object-too-large", "a bound of the policy was reached"),
    ("too-many-objects", "a bound of the policy was reached"),
    ("too-many-commits", "a bound of the policy was reached"),
    (
        "waiver-unverified",
        "a record of a waiver is not signed by the attestation key",
    ),
    (
        "outage",
        "something of ours could not be read or reached; no verdict about the work",
    ),
];

/// The answers, as a section of the comment, the newest last.
pub(super) fn section(answers: &[Answer]) -> String {
    let mut text = String::new();
    for answer in answers {
        let _ = write!(
            text,
            "---\n\n{}: {}\n\n{}\n\n",
            code(&answer.by),
            code(&answer.asked),
            answer.text.trim_end()
        );
    }
    text
}

fn meaning(code: &str) -> Option<&'static str> {
    MEANINGS
        .iter()
        .find(|(known, _)| *known == code)
        .map(|(_, meaning)| *meaning)
}

/// What was asked, as the answer repeats it: only words that are ours, for people paste what they have in their
/// clipboard.
pub fn asked(command: &Command) -> String {
    let known = |code: &str| meaning(code).map_or("…".to_owned(), |_| code.to_owned());
    match command {
        Command::Recheck => "/lychgate recheck".to_owned(),
        Command::Explain(code) => format!("/lychgate explain {}", known(code)),
        Command::Waive { code, break_glass, .. } => {
            let word = if *break_glass { "break-glass" } else { "waive" };
            format!("/lychgate {word} {} …", known(code.as_deref().unwrap_or_default()))
        }
        Command::Approve(id) if ulid::Ulid::from_string(id).is_ok() => format!("/lychgate approve {id}"),
        Command::Approve(_) => "/lychgate approve …".to_owned(),
        Command::Unknown => "/lychgate …".to_owned(),
    }
}

/// To a command that we do not know.
pub fn unknown() -> &'static str {
    "Lychgate knows these commands:\n\n\
     - `/lychgate recheck` judges the newest commit again\n\
     - `/lychgate explain CODE` says what a code means, where it was found and what mends it\n\
     - `/lychgate waive CODE reason…` asks for a waiver; `/lychgate break-glass CODE reason…` for one that two approve\n\
     - `/lychgate approve ID` approves one"
}

/// To `recheck`.
pub fn rechecked() -> &'static str {
    "Judged again; the verdict above is of now."
}

/// To `explain`: what the code means, where it was found in this change, what mends it.
///
/// * `merge_base`: the last commit that stays when the change is made anew.
pub fn explained(wanted: &str, findings: &[Finding], merge_base: Option<Oid>) -> String {
    let Some(meaning) = meaning(wanted) else {
        let mut known: Vec<String> = findings.iter().map(|finding| code(&finding.code)).collect();
        known.dedup();
        let here = if known.is_empty() {
            "nothing".to_owned()
        } else {
            known.join(", ")
        };
        return format!("There is no such code. Found in this change: {here}.");
    };
    let mut text = format!("**{wanted}**: {meaning}.\n\n");
    let found: Vec<&Finding> = findings.iter().filter(|finding| finding.code == wanted).collect();
    let Some(first) = found.first() else {
        text.push_str("This change has none.");
        return text;
    };
    let _ = writeln!(text, "In this change ({}):\n", count(found.len(), "place"));
    for finding in found.iter().take(MOST_PLACES) {
        let _ = writeln!(text, "- {} {}", code(&finding.message), place(finding));
    }
    if found.len() > MOST_PLACES {
        let _ = writeln!(text, "- … and {} more", found.len() - MOST_PLACES);
    }
    if let Some(line) = &first.required_by {
        let _ = writeln!(text, "\nRequired by {}.", code(&format!("{}:{}", line.file, line.line)));
    }
    let lines = adapted(first, merge_base);
    if !lines.is_empty() {
        let _ = writeln!(text, "\n````sh\n{}\n````", lines.join("\n"));
    }
    text
}

/// To a request that finds nothing.
pub fn nothing_to_waive() -> &'static str {
    "Nothing of that denies in this change, so there is nothing to waive."
}

/// Where nothing can be recorded.
pub fn no_ledger() -> &'static str {
    "This repository has no ledger here, so no waiver can be recorded. \
     An administrator gives it one: `gate = \"/path/to/repository.git\"` in its `[[repository]]` of `bot.toml`."
}

/// Where the forge does not let the account do enough.
pub fn permission_too_low(needed: Permission) -> String {
    let name = match needed {
        Permission::Admin => "admin",
        Permission::Maintain => "maintain",
        _ => "write",
    };
    format!("To approve takes the permission `{name}` in this repository, and you do not have it.")
}

/// To the author of a change who approves.
pub fn own_change() -> &'static str {
    "This change is your own; somebody else must approve."
}

/// To an order about waivers.
pub fn of_order(done: &Done, policy: &WaiverPolicy, now: Timestamp) -> String {
    let (waivers, first) = match done {
        Done::Refused(refusal) => return refused(refusal),
        Done::Recorded(waivers) => (waivers, ""),
        Done::Already(waivers) => (waivers, "It was so already: "),
    };
    let line = |waiver: &Waiver| match waiver.standing(policy, now) {
        // What waits is listed above, with the next step.
        Standing::Asked(missing) => format!(
            "{first}{} waits for {}, see above.",
            named(waiver),
            count(missing, "approver")
        ),
        _ => format!("{first}{}", standing(waiver, policy, "", now)),
    };
    waivers.iter().map(line).collect::<Vec<_>>().join("\n\n")
}

fn refused(refusal: &Refusal) -> String {
    let why = code(&refusal.to_string());
    match refusal {
        Refusal::Reason => "It needs a reason: `/lychgate waive CODE reason…`, at most 256 characters.".to_owned(),
        _ => format!("Not done (**{}**): {why}.", refusal.code()),
    }
}

fn named(waiver: &Waiver) -> String {
    let ask = &waiver.ask;
    let kind = if ask.break_glass {
        "Break-glass waiver"
    } else {
        "Waiver"
    };
    let bound = match &ask.target {
        Target::Commit(oid) => format!("commit {}", oid.short()),
        Target::Fingerprint(print) => format!("fingerprint {}", code(&print.chars().take(12).collect::<String>())),
    };
    format!("{kind} `{}` of **{}** ({bound})", waiver.id, ask.code)
}

/// A sentence about a waiver, with the next step.
///
/// * `author`: of the change, who cannot approve.
pub(super) fn standing(waiver: &Waiver, policy: &WaiverPolicy, author: &str, now: Timestamp) -> String {
    let ask = &waiver.ask;
    let until = format!("until {}", ask.expires);
    let tail = match waiver.standing(policy, now) {
        Standing::Active => format!("has effect {until}, approved by {}", code(&waiver.approvers())),
        Standing::Asked(missing) => format!(
            "waits for {}: {} may comment `/lychgate approve {}`. Asked for by {}, {until}: {}",
            count(missing, "approver"),
            names(policy, ask.break_glass, &[author, &ask.requester]),
            waiver.id,
            code(&ask.requester),
            code(&ask.reason)
        ),
        Standing::Expired => "is over".to_owned(),
        Standing::Revoked => "was ended".to_owned(),
        Standing::Refused(refusal) => format!("has no effect: {}", code(&refusal.to_string())),
    };
    format!("{} {tail}.", named(waiver))
}

/// Most approvers that are named.
const MOST_NAMES: usize = 5;

/// Who may approve, for people; not who is known to be unable to.
pub(super) fn names(policy: &WaiverPolicy, break_glass: bool, but: &[&str]) -> String {
    let able = |name: &&String| !but.iter().any(|other| other.eq_ignore_ascii_case(name));
    let list: Vec<&String> = policy.list(break_glass).iter().filter(able).collect();
    let mut shown: Vec<String> = list.iter().take(MOST_NAMES).map(|name| code(name)).collect();
    match (list.as_slice(), shown.pop()) {
        ([only], _) if *only == "*" => "somebody who did not write it".to_owned(),
        (_, None) => "another account".to_owned(),
        (all, Some(last)) if all.len() > MOST_NAMES => format!("{}, {last} or another approver", shown.join(", ")),
        (_, Some(last)) if shown.is_empty() => last,
        (_, Some(last)) => format!("{} or {last}", shown.join(", ")),
    }
}
