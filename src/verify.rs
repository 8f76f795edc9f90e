//! Judges an entry's attestation: every check by name, each passed, failed or missing.
//!
//! In scope: signature, subject, predicate type, verifier, resource, ref,
//! level, result, inclusion in the log, status. Out of scope: where the
//! evidence comes from (`cmd`). Pure. What a statement says cannot be used
//! before its signature fits: the checks take a [`VerifiedPayload`].
//! <https://slsa.dev/spec/v1.2/verifying-source>

mod checks;

use crate::attest::{Bundle, PublicKey};
use crate::push::{Oid, RefName, Timestamp};
use crate::status::Status;
use serde::Serialize;

#[cfg(doc)]
use crate::attest::VerifiedPayload;

/// A key that is trusted to speak for one verifier, up to a level.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// The `verifier.id` that it may use; `None`: the caller believes the key under any.
    pub verifier_id: Option<String>,
    /// The highest SLSA source level that it is believed.
    pub max_level: u8,
}

/// What the caller demands. A demand that is `None` is waived: its check says what was found instead.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The repository's resource URI, such as `git+https://git.example.com/acme/pay`.
    pub resource_uri: Option<String>,
    /// The commit.
    pub commit: Option<Oid>,
    /// The ref that it must stand on.
    pub ref_name: Option<RefName>,
    /// The least SLSA source level, 1 to 4.
    pub min_level: u8,
    /// The log's name, if it is known.
    pub origin: Option<String>,
}

/// What there is to judge.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// A Sigstore bundle or a DSSE envelope, JSON.
    pub bundle: &'a [u8],
    /// The proof text (C2SP tlog-proof) with its checkpoint.
    pub proof: Option<&'a str>,
    /// The signed status list.
    pub status: Option<&'a str>,
    /// The largest log size that the caller has seen before; 0 if none.
    pub largest_log_size: u64,
    /// The most seconds that the status list may be old; `None`: its own end counts.
    pub max_status_age: Option<i64>,
    /// What is known of the events that re-opened it, for the reason of a refusal.
    pub events: &'a [String],
    /// The caller accepts that there is no proof and no status list. One that is there is judged all the same.
    pub without_log: bool,
}

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// The evidence for it is not there: counts as a failure.
    Missing,
    /// The caller did not ask for it, or said that the evidence need not be there.
    Waived,
    /// It could not be judged since an earlier check failed: counts as a failure.
    Unjudged,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, kebab-case and stable, such as `resource-uri`.
    pub name: &'static str,
    /// How it ended.
    pub state: State,
    /// Why, one sentence without a final full stop.
    pub reason: String,
    /// What to do about it; empty if it passed.
    pub hint: String,
}

/// What was found out. Anything but [`Report::verified`] is a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every check, always all ten, always in this order.
    pub checks: Vec<Check>,
    /// What the attestation says, known once its signature fits.
    pub claim: Option<Claim>,
}

/// What a verified statement claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// The commit.
    pub commit: Option<String>,
    /// The refs that it stands on.
    pub refs: Vec<String>,
    /// Its levels, the SLSA source level first.
    pub levels: Vec<String>,
    /// When it entered.
    pub time_verified: Timestamp,
    /// The log index of the attestation, if a proof was given.
    pub log_index: Option<u64>,
    /// Its status, if a list was given.
    pub status: Option<Status>,
}

impl Report {
    /// The report where there is no attestation to judge.
    pub fn absent(reason: &str, hint: &str) -> Self {
        Self {
            checks: with_unjudged(vec![Check::missing("signature", reason, hint, false)]),
            claim: None,
        }
    }

    /// Whether every check passed, or was waived by the caller.
    pub fn verified(&self) -> bool {
        let good = |check: &Check| matches!(check.state, State::Pass | State::Waived);
        self.checks.len() == NAMES.len() && self.checks.iter().all(good)
    }

    /// The checks that did not pass.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks
            .iter()
            .filter(|check| !matches!(check.state, State::Pass | State::Waived))
    }
}

/// The names of all checks in their order.
pub const NAMES: [&str; 10] = [
    "signature",
    "predicate-type",
    "subject",
    "verifier",
    "resource-uri",
    "ref",
    "level",
    "result",
    "inclusion",
    "status",
];

/// Judges the evidence.
///
/// * `trusted`: the keys, each for one verifier and up to a level.
/// * `now`: for the status list's times only.
///
/// # Errors
/// None: what cannot be read is a failed check.
pub fn verify(evidence: Evidence<'_>, trusted: &[TrustedKey], expected: &Expectation, now: Timestamp) -> Report {
    let keys: Vec<&PublicKey> = trusted.iter().map(|t| &t.key).collect();
    let opened = match Bundle::parse(evidence.bundle) {
        Ok(bundle) => bundle.envelope.open(&keys).map(|payload| (bundle.envelope, payload)).ok_or_else(|| {
            let hint = "Give the public key of the gate that issued it; if it is the right one, the attestation was changed.";
            Check::fail("signature", "no trusted key made the signature", hint)
        }),
        Err(e) => Err(Check::fail("signature", &e.to_string(), "Export the bundle anew: lychgate log export REV --out DIR")),
    };
    match opened {
        Ok((envelope, payload)) => checks::judge(evidence, &envelope, &payload, trusted, expected, now),
        Err(check) => Report {
            checks: with_unjudged(vec![check]),
            claim: None,
        },
    }
}

/// Adds the checks that are not there as unjudged, and puts all in their order.
fn with_unjudged(mut checks: Vec<Check>) -> Vec<Check> {
    let first_failure = checks.iter().find(|c| c.state != State::Pass).map_or("", |c| c.name);
    let unjudged: Vec<Check> = NAMES
        .iter()
        .filter(|name| checks.iter().all(|c| c.name != **name))
        .map(|name| Check {
            name,
            state: State::Unjudged,
            reason: format!("not judged, since {first_failure} failed"),
            hint: String::new(),
        })
        .collect();
    checks.extend(unjudged);
    checks.sort_by_key(|c| NAMES.iter().position(|name| *name == c.name));
    checks
}

impl Check {
    fn pass(name: &'static str, reason: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Pass,
            reason: reason.into(),
            hint: String::new(),
        }
    }

    fn fail(name: &'static str, reason: &str, hint: &str) -> Self {
        Self {
            name,
            state: State::Fail,
            reason: printable(reason),
            hint: hint.to_owned(),
        }
    }

    fn waived(name: &'static str, reason: &str) -> Self {
        Self {
            state: State::Waived,
            ..Self::fail(name, reason, "")
        }
    }

    fn missing(name: &'static str, reason: &str, hint: &str, waived: bool) -> Self {
        Self {
            state: if waived { State::Waived } else { State::Missing },
            hint: if waived { String::new() } else { hint.to_owned() },
            ..Self::fail(name, reason, hint)
        }
    }
}

/// A foreign text for a message: at most 240 characters, none of them a control character.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(240).collect()
}
