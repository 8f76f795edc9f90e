//! The report for people. In scope: its text; colours are the terminal's own business.

use super::{Item, Report, severity};

/// The report for people: a block for each finding, then a summary line.
pub(super) fn text(report: &Report) -> String {
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
    let mut out = format!("{}[{}]: {}\n", severity(item.severity), item.rule, item.headline());
    out.push_str(&format!("  --> {}\n", item.place()));
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
    if let Some(commit) = item.commit() {
        let author = item.author().map_or_else(String::new, |name| format!(" by {name}"));
        out.push_str(&format!("  = commit: {commit}{author}\n"));
    }
    match item.in_tip() {
        Some(true) => out.push_str("  = still in the tip of a branch\n"),
        Some(false) => out.push_str("  = in the tip of no branch, but in the history\n"),
        None => {}
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
    if report.accepted > 0 {
        out.push_str(&format!("; {} accepted by the baseline", report.accepted));
    }
    if report.known > 0 {
        out.push_str(&format!("; {} in the last commit already", report.known));
    }
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
