//! The report as GitHub's workflow commands: one annotation a finding.

use super::{Item, Report};
use crate::finding::Severity;

pub(super) fn github(report: &Report) -> String {
    let mut out: String = report.findings.iter().map(command).collect();
    for note in &report.unread {
        let file = property(&note.path);
        out.push_str(&format!(
            "::error file={file},title={}::not scanned: {}\n",
            note.code,
            data(&note.why)
        ));
    }
    out
}

fn command(item: &Item) -> String {
    let level = match item.severity {
        Severity::Info | Severity::Low => "notice",
        Severity::Medium => "warning",
        Severity::High | Severity::Critical => "error",
    };
    let mut text = item.headline();
    if let Some(commit) = item.commit() {
        text.push_str(&format!(", in commit {commit}"));
    }
    if let Some(revoke) = &item.revoke {
        text.push_str(&format!("; revoke it: {revoke}"));
    }
    let (file, rule) = (property(&item.path), property(&item.rule));
    format!(
        "::{level} file={file},line={},endLine={},col={},title={rule}::{}\n",
        item.start_line,
        item.end_line,
        item.start_column,
        data(&text)
    )
}

/// The message of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
