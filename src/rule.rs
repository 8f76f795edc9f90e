//! Vocabulary of detection: a rule as data. Loading and matching live in `scan`.

use crate::finding::{Confidence, Severity};
use crate::glob::PathGlob;
use serde::{Deserialize, Serialize};

/// The structure checks that a rule may name in [`Rule::checksum`].
///
/// * `github-crc32`: the last 6 characters are the base-62 CRC-32 of those between the prefix's `_` and them
///   (<https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/>).
/// * `jwt`: the first part is base64url JSON with an `alg` (<https://www.rfc-editor.org/rfc/rfc7515>).
/// * `aws-access-key`: base-32 after the prefix, and an account number that is possible.
/// * `private-key`: the block's body is the base64 of a DER sequence or of an OpenSSH key.
/// * `random`: the value is unlike words, identifiers, paths, short numbers and references; such a one is no finding.
/// * `aws-secret-key`: base64 of 30 bytes; `okta-token`: `00` and 40 more. Neither can be confirmed.
pub const CHECKSUMS: [&str; 7] = [
    "github-crc32",
    "jwt",
    "aws-access-key",
    "private-key",
    "random",
    "aws-secret-key",
    "okta-token",
];

/// The provider that marks rules for any secret: placeholders are then dropped rather than doubted.
pub const GENERIC: &str = "Generic";

/// One detection rule, as written under `rules/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Unique kebab-case id, such as `github-pat-classic`.
    pub id: String,
    /// Who issues the credential.
    pub provider: String,
    /// What it is, such as `personal access token (classic)`.
    pub kind: String,
    /// How bad a leak is.
    pub severity: Severity,
    /// How sure a match is, before evidence moves it.
    pub confidence: Confidence,
    /// The provider's documentation of the format.
    pub documentation: String,
    /// Where or how to revoke it.
    pub revoke: Option<String>,
    /// The expression; the group named `secret` is the secret, else group 1, else the whole match.
    pub regex: String,
    /// Texts of at least 3 bytes, one of which every match contains (compared without case); of a slow rule, one of
    /// which stands somewhere in each text that it is for, or none.
    pub keywords: Vec<String>,
    /// Whether its expression is searched for in all of a text, since no rare text stands in every match.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub slow: bool,
    /// A structure check by name, such as `github-crc32`; a failed one lowers the confidence to low.
    #[serde(default)]
    pub checksum: Option<String>,
    /// Least Shannon entropy of the secret, bits per character; 0 = not asked.
    #[serde(default)]
    pub entropy: f64,
    /// Ids of rules, one of which must match near by for this one to count; empty = it counts alone.
    #[serde(default)]
    pub near: Vec<String>,
    /// Most line feeds between the two secrets' starts, at most 100; they are also at most 64 KiB apart.
    #[serde(default)]
    pub within_lines: u32,
    /// Texts that it must find. `<>` is dropped before use, so that no scanner finds them here.
    pub examples: Vec<String>,
    /// Texts that it must not find, under the same writing.
    #[serde(default)]
    pub counterexamples: Vec<String>,
}

/// The severity of findings in some files, in place of the one that their rules give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathSeverity {
    /// Which files; at least one.
    pub paths: Vec<PathGlob>,
    /// Ids of the rules that it is about; empty: all.
    pub rules: Vec<String>,
    /// How bad they are there.
    pub severity: Severity,
}

impl PathSeverity {
    /// Whether it is about a rule's findings in the file at a path.
    pub fn concerns(&self, rule: &str, path: &str) -> bool {
        (self.rules.is_empty() || self.rules.iter().any(|id| id == rule))
            && self.paths.iter().any(|glob| glob.matches(path))
    }
}

/// Most of them in one configuration: each is compared with the path of each finding.
pub const MAX_PATH_SEVERITIES: usize = 256;

/// How bad a finding is in the file at a path: the highest of those that are about it, whatever their order, so that
/// a file which two are about is no less severe than either says; else what the rule gives.
pub fn severity_at<'a>(
    all: impl IntoIterator<Item = &'a PathSeverity>,
    rule: &str,
    path: &str,
    given: Severity,
) -> Severity {
    let about = all.into_iter().filter(|one| one.concerns(rule, path));
    about.map(|one| one.severity).max().unwrap_or(given)
}
