//! The meaning of the policy's keys: tables in, a [`Policy`] out, errors noted.

use super::reader::{Reader, Section, Text, nearest, quoted};
use super::waivers::waivers;
use super::{Allowed, Bounds, Lined, Pattern, Policy, PolicyError, RefRule, SecretPolicy};
use crate::finding::{Confidence, Severity};
use crate::glob::PathGlob;
use crate::push::Timestamp;
use crate::rule::{MAX_PATH_SEVERITIES, PathSeverity};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use toml_span::Span;

const TOP: [&str; 6] = ["version", "ref", "secrets", "signatures", "bounds", "waivers"];
const REF: [&str; 10] = [
    "pattern",
    "who",
    "create",
    "update",
    "delete",
    "non_fast_forward",
    "require_signed",
    "committer_is_signer",
    "pusher_is_signer",
    "approvals",
];
const SECRETS: [&str; 5] = ["refs", "deny_confidence", "deny_severity", "severity", "allow"];
const SEVERITY: [&str; 3] = ["paths", "rules", "severity"];
const ALLOW: [&str; 3] = ["fingerprint", "reason", "expires"];
const SIGNATURES: [&str; 1] = ["skew_seconds"];
const BOUNDS: [&str; 5] = ["objects", "object_bytes", "commits", "seconds", "threads"];

/// Most characters of a reason or an account: both are printed in one line.
const LONGEST_TEXT: usize = 256;
/// A clock may be wrong by minutes, a time zone by hours; a day is a mistake or a lie.
const MOST_SKEW: i64 = 86_400;
/// Most approvals that GitHub takes.
const MOST_APPROVALS: i64 = 10;

/// Reads and validates a policy text.
pub(super) fn parse(file: &str, text: &str) -> Result<Policy, Vec<PolicyError>> {
    let mut blanked = String::new();
    let mut reader = Reader::new(file, text);
    let policy = reader.value(&mut blanked).and_then(|value| {
        let mut top = reader.section(value, "the policy", &TOP)?;
        Some(policy(&mut reader, &mut top, text))
    });
    match policy {
        Some(policy) if !reader.failed() => Ok(policy),
        _ => Err(reader.into_errors()),
    }
}

fn policy(reader: &mut Reader<'_>, top: &mut Section<'_>, text: &str) -> Policy {
    version(reader, top);
    let sections = reader.sections(top, "ref", "[[ref]]", &REF);
    let mut seen = HashSet::new();
    let refs = sections
        .into_iter()
        .filter_map(|section| ref_rule(reader, section, &mut seen))
        .collect();
    Policy {
        digest: hex(&Sha256::digest(text.as_bytes())),
        refs,
        secrets: secrets(reader, top),
        skew_seconds: skew(reader, top),
        bounds: bounds(reader, top),
        waivers: waivers(reader, top),
    }
}

fn version(reader: &mut Reader<'_>, top: &mut Section<'_>) {
    if !top.has("version") {
        reader.error(
            "missing-key",
            Span::new(0, 0),
            "the policy has no version; start it with version = 1",
        );
        return;
    }
    let (version, span) = reader.integer(top, "version", i64::MIN..=i64::MAX, 1);
    if version != 1 {
        reader.error(
            "unknown-version",
            span,
            format!("this program reads policies of version 1, not {version}"),
        );
    }
}

fn ref_rule(reader: &mut Reader<'_>, mut section: Section<'_>, seen: &mut HashSet<String>) -> Option<RefRule> {
    let pattern = ref_pattern(reader, &mut section, seen);
    let who = who(reader, &mut section);
    let flag = |reader: &mut Reader<'_>, section: &mut Section<'_>, key: &str, default| {
        let (value, span) = reader.boolean(section, key, default);
        reader.lined(value, span)
    };
    let create = flag(reader, &mut section, "create", true);
    let update = flag(reader, &mut section, "update", true);
    let delete = flag(reader, &mut section, "delete", false);
    let non_fast_forward = flag(reader, &mut section, "non_fast_forward", false);
    let require_signed = flag(reader, &mut section, "require_signed", true);
    contradictions(reader, &section, require_signed.value);
    // Where no signature is required there is no signer to compare with, so the default follows.
    let committer_is_signer = flag(reader, &mut section, "committer_is_signer", require_signed.value);
    let pusher_is_signer = flag(reader, &mut section, "pusher_is_signer", false);
    let (approvals, span) = reader.integer(&mut section, "approvals", 0..=MOST_APPROVALS, 0);
    let approvals = reader.lined(u32::try_from(approvals).unwrap_or(0), span);
    Some(RefRule {
        pattern: pattern?,
        who,
        create,
        update,
        delete,
        non_fast_forward,
        require_signed,
        committer_is_signer,
        pusher_is_signer,
        approvals,
    })
}

/// Refuses a rule that asks who signed where nothing need be signed: it would promise what it does not keep.
fn contradictions(reader: &mut Reader<'_>, section: &Section<'_>, require_signed: bool) {
    if require_signed {
        return;
    }
    for key in ["committer_is_signer", "pusher_is_signer"] {
        if let Some(span) = section.true_at(key) {
            reader.error(
                "contradiction",
                span,
                format!("{key} = true asks who signed, but require_signed = false lets unsigned commits in"),
            );
        }
    }
}

fn ref_pattern(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    seen: &mut HashSet<String>,
) -> Option<Lined<Pattern>> {
    let text = reader.required(section, "pattern", "[[ref]]")?;
    let pattern = pattern(reader, &text)?;
    if !seen.insert(pattern.as_str().to_owned()) {
        reader.error(
            "duplicate-pattern",
            text.span,
            format!("an earlier [[ref]] has the pattern {pattern} too; put both rules into one"),
        );
    }
    Some(reader.lined(pattern, text.span))
}

fn pattern(reader: &mut Reader<'_>, text: &Text<'_>) -> Option<Pattern> {
    match Pattern::parse(&text.value) {
        Ok(pattern) => Some(pattern),
        Err(why) => {
            reader.error(
                "invalid-pattern",
                text.span,
                format!("{} is no ref pattern: {why}", quoted(&text.value)),
            );
            None
        }
    }
}

fn who(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Lined<Vec<String>> {
    let Some((texts, span)) = reader.texts(section, "who") else {
        return reader.lined(vec!["*".to_owned()], section.span());
    };
    if texts.is_empty() {
        reader.error(
            "empty-list",
            span,
            "who names nobody; for a frozen ref write create = false and update = false",
        );
    }
    accounts(reader, &texts, "who");
    reader.lined(texts.iter().map(|text| text.value.to_string()).collect(), span)
}

/// Notes what is no account in a list of them.
pub(super) fn accounts(reader: &mut Reader<'_>, texts: &[Text<'_>], key: &str) {
    let mut seen = HashSet::new();
    for text in texts {
        account(reader, text, texts.len() == 1);
        if !seen.insert(text.value.as_ref()) {
            let why = format!("{key} names this account twice");
            reader.error("duplicate-account", text.span, why);
        }
    }
}

fn account(reader: &mut Reader<'_>, text: &Text<'_>, alone: bool) {
    let why = match text.value.as_ref() {
        "" => "an account's name cannot be empty",
        "*" if !alone => "* means any account; it must be the only one in the list",
        "*" => return,
        name if name.contains('*') => "an account's name has no pattern; write whole names, or * alone for any account",
        name if !one_line(name) => "an account's name is one line of at most 256 characters",
        _ => return,
    };
    reader.error("invalid-account", text.span, why);
}

fn secrets(reader: &mut Reader<'_>, top: &mut Section<'_>) -> SecretPolicy {
    let mut section = match reader.subsection(top, "secrets", "[secrets]", &SECRETS) {
        Some(section) => section,
        None => Section::absent(),
    };
    let refs = secret_refs(reader, &mut section);
    let deny_confidence = named(
        reader,
        &mut section,
        "deny_confidence",
        &Confidence::NAMED,
        Confidence::High,
    );
    let deny_severity = named(reader, &mut section, "deny_severity", &Severity::NAMED, Severity::Low);
    let severity = severities(reader, &mut section);
    let sections = reader.sections(&mut section, "allow", "[[secrets.allow]]", &ALLOW);
    let mut seen = HashSet::new();
    let allow = sections
        .into_iter()
        .filter_map(|section| allowed(reader, section, &mut seen))
        .collect();
    SecretPolicy {
        refs,
        deny_confidence,
        deny_severity,
        severity,
        allow,
    }
}

/// The severities in some files.
fn severities(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Vec<Lined<PathSeverity>> {
    let sections = reader.sections(section, "severity", "[[secrets.severity]]", &SEVERITY);
    if let Some(more) = sections.get(MAX_PATH_SEVERITIES) {
        let why = format!("at most {MAX_PATH_SEVERITIES} [[secrets.severity]]; one may hold several paths");
        reader.error("too-many-entries", more.span(), why);
    }
    sections
        .into_iter()
        .filter_map(|section| path_severity(reader, section))
        .collect()
}

fn path_severity(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Lined<PathSeverity>> {
    let what = "[[secrets.severity]]";
    let paths = path_globs(reader, &mut section);
    let rules = rule_ids(reader, &mut section);
    if !section.has("severity") {
        reader.error("missing-key", section.span(), format!("{what} has no severity"));
    }
    let severity = named(reader, &mut section, "severity", &Severity::NAMED, Severity::Critical).value;
    let one = PathSeverity { paths, rules, severity };
    (!one.paths.is_empty()).then(|| reader.lined(one, section.span()))
}

fn path_globs(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Vec<PathGlob> {
    let missing = !section.has("paths");
    let (texts, span) = reader.texts(section, "paths").unwrap_or((Vec::new(), section.span()));
    if missing {
        reader.error("missing-key", span, "[[secrets.severity]] has no paths");
    } else if texts.is_empty() {
        reader.error(
            "empty-list",
            span,
            "paths names no files; for all of them write paths = [\"**\"]",
        );
    }
    let mut globs = Vec::new();
    for text in texts {
        match PathGlob::parse(&text.value) {
            Ok(glob) => globs.push(glob),
            Err(why) => {
                let why = format!("{} is no pattern of paths: {why}", quoted(&text.value));
                reader.error("invalid-pattern", text.span, why);
            }
        }
    }
    globs
}

fn rule_ids(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Vec<String> {
    let Some((texts, span)) = reader.texts(section, "rules") else {
        return Vec::new();
    };
    if texts.is_empty() {
        reader.error("empty-list", span, "rules names no rule; leave it out for all of them");
    }
    for text in &texts {
        let kebab = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if text.value.is_empty() || !text.value.bytes().all(kebab) {
            let why = format!("{} is no rule's id; see lychgate rules list", quoted(&text.value));
            reader.error("invalid-rule", text.span, why);
        }
    }
    texts.into_iter().map(|text| text.value.into_owned()).collect()
}

fn secret_refs(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Lined<Vec<Pattern>> {
    let Some((texts, span)) = reader.texts(section, "refs") else {
        let all = Pattern::parse("refs/**").into_iter().collect();
        return reader.lined(all, section.span());
    };
    let patterns = texts.iter().filter_map(|text| pattern(reader, text)).collect();
    reader.lined(patterns, span)
}

/// One of a few names.
pub(super) fn named<T: Copy>(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    key: &str,
    names: &[(&str, T)],
    default: T,
) -> Lined<T> {
    let Some(text) = reader.text(section, key) else {
        return reader.lined(default, section.span());
    };
    if let Some((_, value)) = names.iter().find(|(name, _)| *name == text.value) {
        return reader.lined(*value, text.span);
    }
    let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    let guess = nearest(&text.value, &all).map_or(String::new(), |near| format!("; did you mean {near}?"));
    let (given, all) = (quoted(&text.value), all.join(", "));
    reader.error(
        "unknown-value",
        text.span,
        format!("{key} is one of {all}, not {given}{guess}"),
    );
    reader.lined(default, text.span)
}

fn allowed(reader: &mut Reader<'_>, mut section: Section<'_>, seen: &mut HashSet<String>) -> Option<Lined<Allowed>> {
    let what = "[[secrets.allow]]";
    let fingerprint = reader.required(&mut section, "fingerprint", what);
    let fingerprint = fingerprint.and_then(|text| self::fingerprint(reader, &text, seen));
    let reason = reader.required(&mut section, "reason", what);
    let reason = reason.and_then(|text| reason_text(reader, &text));
    let expires = reader.required(&mut section, "expires", what);
    let expires = expires.and_then(|text| moment(reader, &text));
    let allowed = Allowed {
        fingerprint: fingerprint?,
        reason: reason?,
        expires: expires?,
    };
    Some(reader.lined(allowed, section.span()))
}

fn fingerprint(reader: &mut Reader<'_>, text: &Text<'_>, seen: &mut HashSet<String>) -> Option<String> {
    let hex = text.value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !hex || text.value.len() != 64 {
        reader.error(
            "invalid-fingerprint",
            text.span,
            "a fingerprint is 64 hex digits, 0-9 and a-f, as the finding shows it; never the secret itself",
        );
        return None;
    }
    if !seen.insert(text.value.to_string()) {
        reader.error(
            "duplicate-fingerprint",
            text.span,
            "an earlier entry allows this fingerprint",
        );
    }
    Some(text.value.to_string())
}

fn reason_text(reader: &mut Reader<'_>, text: &Text<'_>) -> Option<String> {
    let reason = text.value.trim();
    if reason.is_empty() || !one_line(reason) {
        reader.error(
            "invalid-reason",
            text.span,
            "a reason is one line of 1 to 256 characters",
        );
        return None;
    }
    Some(reason.to_owned())
}

fn moment(reader: &mut Reader<'_>, text: &Text<'_>) -> Option<Timestamp> {
    match text.value.parse() {
        Ok(moment) => Some(moment),
        Err(_) => {
            reader.error(
                "invalid-time",
                text.span,
                "a time is written as RFC 3339 in quotes, such as \"2027-01-31T00:00:00Z\"",
            );
            None
        }
    }
}

fn skew(reader: &mut Reader<'_>, top: &mut Section<'_>) -> Lined<i64> {
    let mut section = match reader.subsection(top, "signatures", "[signatures]", &SIGNATURES) {
        Some(section) => section,
        None => Section::absent(),
    };
    let (seconds, span) = reader.integer(&mut section, "skew_seconds", 0..=MOST_SKEW, 300);
    reader.lined(seconds, span)
}

fn bounds(reader: &mut Reader<'_>, top: &mut Section<'_>) -> Bounds {
    let default = Bounds::default();
    let Some(mut section) = reader.subsection(top, "bounds", "[bounds]", &BOUNDS) else {
        return default;
    };
    let mut bound = |key: &str, most: i64, default: u64| {
        let default = i64::try_from(default).unwrap_or(most);
        reader.integer(&mut section, key, 1..=most, default).0.unsigned_abs()
    };
    let objects = bound("objects", 100_000_000, default.objects);
    let object_bytes = bound("object_bytes", 4 << 30, default.object_bytes);
    let commits = bound("commits", 10_000_000, default.commits);
    let seconds = bound("seconds", 3_600, default.seconds);
    let threads = reader.integer(&mut section, "threads", 0..=256, 0).0;
    Bounds {
        objects,
        object_bytes,
        commits,
        seconds,
        threads: usize::try_from(threads).unwrap_or(default.threads),
    }
}

fn one_line(text: &str) -> bool {
    text.chars().count() <= LONGEST_TEXT && !text.chars().any(char::is_control)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
