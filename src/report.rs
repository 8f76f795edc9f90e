//! What `lychgate scan` found, as text for people, one JSON document, or JSON Lines.
//!
//! In scope: the form. Out of scope: finding, reading files, writing. Never
//! holds a secret: it is made of matches, which hold none.

use crate::finding::{Confidence, Severity, Span};
use crate::scan::Match;
use serde::Serialize;

/// One finding in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The file, safe to print.
    pub path: String,
    /// First line, from 1; 1 for a finding in the file's name.
    pub start_line: u32,
    /// Last line.
    pub end_line: u32,
    /// Column of the first byte, in bytes, from 1.
    pub start_column: u32,
    /// The rule's id, or the code of a bound that was hit.
    pub rule: String,
    /// How bad.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// HMAC-SHA-256 of the secret, hex; none where a bound was hit.
    pub fingerprint: Option<String>,
    /// What it is.
    pub title: String,
    /// Its surroundings, the secret replaced.
    pub excerpt: Option<String>,
    /// Where to revoke it.
    pub revoke: Option<String>,
    /// Whether it is in the file's name rather than its content.
    pub in_name: bool,
}

impl Item {
    /// A match in a file's content.
    pub fn content(path: &str, found: Match) -> Self {
        Self {
            path: path.to_owned(),
            start_line: found.span.start_line,
            end_line: found.span.end_line,
            start_column: found.span.start_column,
            rule: found.rule,
            severity: found.severity,
            confidence: found.confidence,
            fingerprint: Some(found.fingerprint),
            title: found.title,
            excerpt: Some(found.excerpt),
            revoke: found.revoke,
            in_name: false,
        }
    }

    /// A match in a file's name.
    pub fn name(path: &str, found: Match) -> Self {
        Self {
            in_name: true,
            ..Self::content(path, found)
        }
    }

    /// A bound that was hit, so that something was not looked at.
    pub fn bound(path: &str, code: &str, title: String, at: Option<Span>) -> Self {
        let (start_line, end_line, start_column) = at.map_or((1, 1, 1), |s| (s.start_line, s.end_line, s.start_column));
        Self {
            path: path.to_owned(),
            start_line,
            end_line,
            start_column,
            rule: code.to_owned(),
            severity: Severity::High,
            confidence: Confidence::High,
            fingerprint: None,
            title,
            excerpt: None,
            revoke: None,
            in_name: false,
        }
    }
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Stable kebab-case code, such as `file-unreadable`.
    pub code: &'static str,
    /// The file, safe to print.
    pub path: String,
    /// Why.
    pub why: String,
}

/// The result of one scan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// SHA-256 of the rule set, hex.
    pub rule_set: String,
    /// Files, links and names' targets that were read.
    pub files: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Findings that are not listed because they are less sure than was asked for.
    pub less_sure: u64,
    /// The findings, by file in the order of the walk, then by place.
    pub findings: Vec<Item>,
    /// What could not be read.
    pub unread: Vec<Note>,
}

/// The report for people: a block for each finding, then a summary line.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for item in &report.findings {
        out.push_str(&block(item));
        out.push('\n');
    }
    for note in &report.unread {
        out.push_str(&format!("error[{}]: {}: {}\n", note.code, note.path, note.why));
    }
    out.push_str(&summary(report));
    out.push('\n');
    out
}

/// ```text
/// high[github-pat-classic]: GitHub personal access token (classic), confidence high
///   --> src/config.py:3:9
///    |  token = "[secret]"
///   = fingerprint: 5f2c…
///   = revoke: https://…
/// ```
fn block(item: &Item) -> String {
    let mut out = format!(
        "{}[{}]: {}, confidence {}\n",
        severity(item.severity),
        item.rule,
        item.title,
        confidence(item.confidence)
    );
    if item.in_name {
        out.push_str(&format!("  --> the name of {}\n", item.path));
    } else {
        out.push_str(&format!(
            "  --> {}:{}:{}\n",
            item.path, item.start_line, item.start_column
        ));
    }
    let parts = [
        ("   |  ", &item.excerpt),
        ("  = fingerprint: ", &item.fingerprint),
        ("  = revoke: ", &item.revoke),
    ];
    for (label, value) in parts {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            out.push_str(&format!("{label}{value}\n"));
        }
    }
    out
}

fn summary(report: &Report) -> String {
    let count = |n: u64, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let mut out = format!(
        "{} in {} ({} bytes)",
        count(report.findings.len() as u64, "finding", "findings"),
        count(report.files, "file", "files"),
        report.bytes
    );
    if report.less_sure > 0 {
        out.push_str(&format!(
            "; {} less sure, shown with --min-confidence low",
            report.less_sure
        ));
    }
    if !report.unread.is_empty() {
        out.push_str(&format!(
            "; {} NOT READ",
            count(report.unread.len() as u64, "file", "files")
        ));
    }
    out
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Low => "low",
        Confidence::Medium => "medium",
        Confidence::High => "high",
    }
}

/// The whole report as one JSON document, indented.
///
/// # Errors
/// None in practice: every value has a JSON form.
pub fn json(report: &Report) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(report)
}

/// The findings as JSON Lines: one object a finding, a final newline after each.
///
/// # Errors
/// None in practice: every value has a JSON form.
pub fn jsonl(report: &Report) -> Result<String, serde_json::Error> {
    let mut out = String::new();
    for item in &report.findings {
        out.push_str(&serde_json::to_string(item)?);
        out.push('\n');
    }
    Ok(out)
}
