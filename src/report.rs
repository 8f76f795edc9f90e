//! What `lychgate scan` found, and its forms: for people, for programs, for other services.
//!
//! In scope: the form, one file each for the larger ones. Out of scope:
//! finding, reading files, writing. Never holds a secret: it is made of
//! matches, which hold none. Columns count bytes in every form.

mod csv;
mod github;
mod gitlab;
mod html;
mod junit;
mod sarif;
mod text;

use crate::finding::{Confidence, Severity, Span};
use crate::push::{Oid, Timestamp};
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
    /// Where in the history, for what was read from Git.
    #[serde(flatten)]
    pub history: Option<History>,
}

/// Where in a repository's history a finding is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct History {
    /// The commit that brought it, the first one in the history; none for objects that no commit holds.
    pub commit: Option<Oid>,
    /// The author that the commit names, safe to print; whoever wrote the commit chose it.
    pub author: Option<String>,
    /// The object that holds it.
    pub object: Option<Oid>,
    /// Whether the same secret is still in a file at the tip of a branch.
    pub in_tip: Option<bool>,
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
            history: None,
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
            history: None,
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
    /// Files, links and names' targets that were read; of a repository, objects.
    pub files: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Findings that are not listed because they are less sure than was asked for.
    pub less_sure: u64,
    /// Findings that are not listed because a baseline accepts them.
    pub accepted: u64,
    /// Findings in what is staged that are not listed because the last commit has the value in the same file.
    pub known: u64,
    /// When the scan began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The findings, by file in the order of the walk, then by place.
    pub findings: Vec<Item>,
    /// What could not be read.
    pub unread: Vec<Note>,
}

/// The forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// JSON Lines: one object a finding.
    Jsonl,
    /// SARIF 2.1.0: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.
    Sarif,
    /// GitLab's secret-detection report, version 15:
    /// <https://docs.gitlab.com/development/integrations/secure/#report>.
    Gitlab,
    /// JUnit XML: one failed test case a finding.
    Junit,
    /// Comma-separated values with a header: <https://www.rfc-editor.org/rfc/rfc4180>.
    Csv,
    /// GitHub's workflow commands:
    /// <https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>.
    Github,
    /// One HTML page that needs nothing from elsewhere.
    Html,
}

/// The report in a form, with a final newline unless it is empty.
///
/// # Errors
/// None in practice: every value has a JSON form.
pub fn render(report: &Report, form: Form) -> Result<String, serde_json::Error> {
    Ok(match form {
        Form::Text => text::text(report),
        Form::Json => json(report)? + "\n",
        Form::Jsonl => jsonl(report)?,
        Form::Sarif => sarif::sarif(report)? + "\n",
        Form::Gitlab => gitlab::gitlab(report)? + "\n",
        Form::Junit => junit::junit(report),
        Form::Csv => csv::csv(report),
        Form::Github => github::github(report),
        Form::Html => html::html(report),
    })
}

impl Item {
    /// What and how sure, in one line.
    fn headline(&self) -> String {
        format!("{}, confidence {}", self.title, confidence(self.confidence))
    }

    fn commit(&self) -> Option<&Oid> {
        self.history.as_ref()?.commit.as_ref()
    }

    fn author(&self) -> Option<&str> {
        self.history.as_ref()?.author.as_deref()
    }

    fn in_tip(&self) -> Option<bool> {
        self.history.as_ref()?.in_tip
    }

    /// `path:line:column`, or that it is in the name.
    fn place(&self) -> String {
        if self.in_name {
            format!("the name of {}", self.path)
        } else {
            format!("{}:{}:{}", self.path, self.start_line, self.start_column)
        }
    }
}

/// Text in XML or HTML: what would be markup escaped, and characters that neither allows replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if c < ' ' || c == '\u{fffe}' || c == '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
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
fn json(report: &Report) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(report)
}

/// The findings as JSON Lines: one object a finding, a final newline after each.
fn jsonl(report: &Report) -> Result<String, serde_json::Error> {
    let mut out = String::new();
    for item in &report.findings {
        out.push_str(&serde_json::to_string(item)?);
        out.push('\n');
    }
    Ok(out)
}
