//! What may be waived, by whom, for how long.

use super::Ask;
use crate::config::WaiverPolicy;
use crate::finding::Code;
use crate::guarantee::Control;

const SCANNED: &[Control] = &[Control::SecretsScanned];
const SIGNED: &[Control] = &[Control::Signed];
const MOVED: &[Control] = &[Control::RefProtected];
const KEPT: &[Control] = &[Control::HistoryKept];

/// The codes that can be waived, each with what is then not vouched for.
///
/// A code that is not here can be waived by nobody: an outage of ours, a bound after which nobody knows what was
/// left unread, and what lies in reserved namespaces.
pub const WAIVABLE: [(&str, &[Control]); 24] = [
    ("bad-signature", SIGNED),
    ("committer-not-signer", SIGNED),
    ("key-expired", SIGNED),
    ("key-revoked", SIGNED),
    ("malformed-commit", SIGNED),
    ("malformed-signature", SIGNED),
    ("malformed-tag", SIGNED),
    ("non-fast-forward", KEPT),
    ("not-a-commit", &Control::ALL),
    ("not-allowed-to-push", MOVED),
    ("object-too-large", SCANNED),
    ("pusher-not-signer", SIGNED),
    ("ref-creation-denied", MOVED),
    ("ref-deletion-denied", KEPT),
    ("ref-update-denied", MOVED),
    ("secret-found", SCANNED),
    ("signature-time", SIGNED),
    ("tag-moved", KEPT),
    ("unknown-key", SIGNED),
    ("unsigned-commit", SIGNED),
    ("unsigned-tag", SIGNED),
    ("untrusted-key", SIGNED),
    ("weak-signature", SIGNED),
    ("wrong-key-usage", SIGNED),
];

/// What is not vouched for where a finding of this code was waived: all, for a code that we do not know.
pub fn controls(code: &str) -> &'static [Control] {
    let known = WAIVABLE.iter().find(|(name, _)| *name == code);
    known.map_or(&Control::ALL, |(_, controls)| controls)
}

/// Why a waiver cannot be asked for, approved or ended. Each says what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The code is none that can be waived.
    #[error("{0} cannot be waived by anybody")]
    NotWaivable(Code),
    /// The policy says never.
    #[error("the policy never waives {0} ([waivers] never)")]
    Never(Code),
    /// The policy names nobody.
    #[error("the policy lets nobody approve this ([waivers] {0})")]
    NobodyApproves(&'static str),
    /// It would last longer than the policy allows.
    #[error("it would last longer than the policy allows: at most {0}")]
    TooLong(String),
    /// The approver is not in the list.
    #[error("{0} is not in the policy's list of those who may approve this ([waivers])")]
    NotApprover(String),
    /// The approver asked for it.
    #[error("{0} asked for it; somebody else must approve")]
    OwnRequest(String),
    /// The approver stands behind the work.
    #[error("{0} is an author of this work; somebody else must approve")]
    OwnWork(String),
    /// The approver approved before.
    #[error("{0} has approved it; the second approver must be another")]
    Twice(String),
    /// The reason is missing or unfit.
    #[error("a reason is one line of 1 to 256 characters")]
    Reason,
    /// The reason would publish what it shall not.
    #[error("the reason holds what looks like a secret; say why without it")]
    SecretInReason,
    /// No such waiver. Not repeated: people paste what they have in their clipboard.
    #[error("there is no such waiver")]
    Unknown,
    /// It is over.
    #[error("the waiver {0} is {1} already")]
    Over(String, &'static str),
}

impl Refusal {
    /// Its stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotWaivable(_) | Self::Never(_) => "never-waived",
            Self::NobodyApproves(_) | Self::NotApprover(_) => "not-an-approver",
            Self::TooLong(_) => "waiver-too-long",
            Self::OwnRequest(_) | Self::OwnWork(_) => "approver-is-author",
            Self::Twice(_) => "approved-already",
            Self::Reason => "invalid-reason",
            Self::SecretInReason => "secret-in-reason",
            Self::Unknown => "unknown-waiver",
            Self::Over(..) => "waiver-over",
        }
    }
}

/// What stands for a reason and an approver in the commands that we give to copy: neither is one.
pub const REASON_HERE: &str = "WHY";
/// See [`REASON_HERE`].
pub const APPROVER_HERE: &str = "NAME";
/// Most characters of a reason: it is printed in one line.
const LONGEST_REASON: usize = 256;

/// Whether the policy lets this be asked for at all.
///
/// # Errors
/// `NotWaivable`, `Never`, `NobodyApproves`, `TooLong`, `Reason`.
pub fn may_ask(policy: &WaiverPolicy, ask: &Ask) -> Result<(), Refusal> {
    if !WAIVABLE.iter().any(|(code, _)| *code == ask.code) {
        return Err(Refusal::NotWaivable(ask.code.clone()));
    }
    if policy.never.iter().any(|code| *code == ask.code) {
        return Err(Refusal::Never(ask.code.clone()));
    }
    let length = ask.reason.chars().count();
    let said = !matches!(ask.reason.trim(), "" | REASON_HERE);
    if !said || length > LONGEST_REASON || ask.reason.chars().any(char::is_control) {
        return Err(Refusal::Reason);
    }
    if policy.list(ask.break_glass).is_empty() {
        let key = if ask.break_glass { "break_glass" } else { "approvers" };
        return Err(Refusal::NobodyApproves(key));
    }
    if ask.expires.unix() - ask.created.unix() > policy.longest(ask.break_glass) {
        return Err(Refusal::TooLong(policy.longest_in_words(ask.break_glass)));
    }
    Ok(())
}

/// Whether one more account may approve.
///
/// * `earlier`: the accounts whose approvals count.
pub(super) fn may_approve(policy: &WaiverPolicy, ask: &Ask, earlier: &[&str], by: &str) -> Result<(), Refusal> {
    let list = policy.list(ask.break_glass);
    let named = || by.to_owned();
    if matches!(by, "" | APPROVER_HERE) || !list.iter().any(|name| name == "*" || name == by) {
        return Err(Refusal::NotApprover(named()));
    }
    // Some servers' accounts differ by case only, or do not differ by it: nobody gains by writing a name otherwise.
    let lower = by.to_lowercase();
    if ask.requester.to_lowercase() == lower {
        return Err(Refusal::OwnRequest(named()));
    }
    if ask.authors.contains(&lower) {
        return Err(Refusal::OwnWork(named()));
    }
    if earlier.iter().any(|name| name.to_lowercase() == lower) {
        return Err(Refusal::Twice(named()));
    }
    Ok(())
}

/// How many different approvers it takes.
pub(super) fn needed(ask: &Ask) -> usize {
    if ask.break_glass { 2 } else { 1 }
}
