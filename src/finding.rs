//! Vocabulary of what a check says: code, severity, place, remedy.

use crate::push::{Oid, RefName};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A finding's stable kebab-case code, such as `unsigned-commit`.
///
/// Waivers, metrics and documentation key on it, so a code is never renamed.
pub type Code = Cow<'static, str>;

/// How bad a finding is. Ordered: `Info < Critical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// All, the least first, each with the name that it has in files.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("info", Self::Info),
        ("low", Self::Low),
        ("medium", Self::Medium),
        ("high", Self::High),
        ("critical", Self::Critical),
    ];
}

/// How sure a finding is. Ordered: `Low < High`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// The form alone; often a false alarm.
    Low,
    /// The form and its surroundings agree.
    Medium,
    /// Hardly anything else has this form.
    High,
}

impl Confidence {
    /// All, the least first, each with the name that it has in files.
    pub const NAMED: [(&'static str, Self); 3] = [("low", Self::Low), ("medium", Self::Medium), ("high", Self::High)];
}

/// Whether a finding is about the developer's work or about us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Something in the push breaks the policy.
    Work,
    /// Something could not be read or reached: a denial that is no verdict about the work.
    Outage,
}

/// Where a finding is. Every part that is known is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The ref whose update is concerned.
    pub ref_name: Option<RefName>,
    /// The commit (or tag object).
    pub commit: Option<Oid>,
    /// The object whose bytes are concerned.
    pub object: Option<Oid>,
    /// The path in the commit's tree; `/`-separated, control characters and
    /// bytes that are not UTF-8 escaped as `\xNN`, so that it is safe to print.
    pub path: Option<String>,
    /// The place inside the object.
    pub span: Option<Span>,
}

/// A place inside an object: half-open byte range, and lines and columns from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// Line of the first byte, from 1.
    pub start_line: u32,
    /// Line of the last byte, from 1.
    pub end_line: u32,
    /// Column of the first byte in its line, in bytes, from 1.
    pub start_column: u32,
}

/// A line of the policy that requires something: what the developer is told as "why".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolicyLine {
    /// The file's name without folders, `policy.toml`.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// One thing that a check found. Never holds a secret's bytes.
///
/// Ordered by severity is not implied: sort with [`Finding::sort`], which is
/// the order of decisions and reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// Whether it denies the push. Advice does not.
    pub denies: bool,
    /// The developer's work, or an outage of ours.
    pub cause: Cause,
    /// Where.
    pub place: Place,
    /// What, in one sentence without a final full stop, for a developer.
    pub message: String,
    /// The place's text with the secret replaced, at most 120 characters.
    pub excerpt: Option<String>,
    /// HMAC-SHA-256 of the secret under the server's key, hex: equal secrets, equal fingerprints.
    pub fingerprint: Option<String>,
    /// The detection rule, where one matched.
    pub rule: Option<String>,
    /// How sure the detection is, where a rule matched.
    pub confidence: Option<Confidence>,
    /// The policy line that requires it.
    pub required_by: Option<PolicyLine>,
    /// What mends it: commands to copy, or one sentence a line (starting with `#`).
    pub remedy: Vec<String>,
    /// The id of the waiver by which it does not deny.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<String>,
}

impl Finding {
    /// A denying finding about the work with only the required parts set.
    pub fn new(code: impl Into<Code>, severity: Severity, place: Place, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            severity,
            denies: true,
            cause: Cause::Work,
            place,
            message: message.into(),
            excerpt: None,
            fingerprint: None,
            rule: None,
            confidence: None,
            required_by: None,
            remedy: Vec::new(),
            waiver: None,
        }
    }

    /// A denying finding that says we could not read or reach something.
    pub fn outage(code: impl Into<Code>, place: Place, message: impl Into<String>) -> Self {
        Self {
            cause: Cause::Outage,
            ..Self::new(code, Severity::High, place, message)
        }
    }

    /// Sorts findings by (ref, code, commit, path, span, message): the order of every decision.
    pub fn sort(findings: &mut [Finding]) {
        findings.sort_by(|a, b| {
            let key = |f: &Finding| {
                (
                    f.place.ref_name.clone(),
                    f.code.clone(),
                    f.place.clone(),
                    f.message.clone(),
                )
            };
            key(a).cmp(&key(b))
        });
    }
}

/// Writes a name of a path so that it is safe to print: control characters and
/// bytes that are not UTF-8 become `\xNN`.
pub fn push_printable(path: &mut String, name: &[u8]) {
    use std::fmt::Write;
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                let mut buf = [0; 4];
                for b in c.encode_utf8(&mut buf).bytes() {
                    let _ = write!(path, "\\x{b:02x}");
                }
            } else {
                path.push(c);
            }
        }
        for b in chunk.invalid() {
            let _ = write!(path, "\\x{b:02x}");
        }
    }
}
