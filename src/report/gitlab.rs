//! The report as GitLab's secret-detection report, version 15
//! (<https://docs.gitlab.com/development/integrations/secure/#report>).

use super::{Item, Report};
use crate::finding::Severity;
use crate::push::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The version of the format.
const VERSION: &str = "15.0.0";
/// What GitLab's own analyzer writes where no commit is known.
const NO_COMMIT: &str = "0000000";

pub(super) fn gitlab(report: &Report) -> Result<String, serde_json::Error> {
    let tool = json!({
        "id": "lychgate",
        "name": "Lychgate",
        "version": env!("CARGO_PKG_VERSION"),
        "vendor": {"name": "Lychgate"},
    });
    let messages: Vec<Value> = report
        .unread
        .iter()
        .map(|note| json!({"level": "fatal", "value": format!("not scanned: {}: {}", note.path, note.why)}))
        .collect();
    let status = if report.unread.is_empty() { "success" } else { "failure" };
    let findings: Vec<Value> = report.findings.iter().map(vulnerability).collect();
    let document = json!({
        "version": VERSION,
        "scan": {
            "analyzer": tool,
            "scanner": tool,
            "type": "secret_detection",
            "start_time": time(report.started),
            "end_time": time(report.ended),
            "status": status,
            "messages": messages,
        },
        "vulnerabilities": findings,
    });
    serde_json::to_string_pretty(&document)
}

/// `2024-03-01T12:00:00`: the format wants no zone.
fn time(at: Option<Timestamp>) -> String {
    let at = at.unwrap_or(Timestamp::from_unix(0)).to_string();
    at.trim_end_matches('Z').to_owned()
}

fn vulnerability(item: &Item) -> Value {
    let commit = item.commit().map_or_else(|| NO_COMMIT.to_owned(), ToString::to_string);
    let mut commit = json!({"sha": commit});
    if let Some(author) = item.author() {
        commit["author"] = json!(author);
    }
    let mut found = json!({
        "id": id(item),
        "category": "secret_detection",
        "name": item.title,
        "description": format!("{}, at {}", item.headline(), item.place()),
        "severity": level(item.severity),
        "location": {
            "file": item.path,
            "commit": commit,
            "start_line": item.start_line,
            "end_line": item.end_line,
        },
        "identifiers": [{"type": "lychgate_rule_id", "name": format!("Lychgate rule {}", item.rule), "value": item.rule}],
    });
    if let Some(revoke) = &item.revoke {
        found["solution"] = json!(format!("Revoke it: {revoke}"));
    }
    if let Some(excerpt) = item.excerpt.as_ref().filter(|text| !text.is_empty()) {
        found["raw_source_code_extract"] = json!(excerpt);
    }
    found
}

/// The same finding at the same place has the same id in every report under one key.
fn id(item: &Item) -> String {
    let text = format!(
        "{}\0{}\0{}\0{}\0{}\0{}",
        item.rule,
        item.path,
        item.start_line,
        item.start_column,
        item.fingerprint.as_deref().unwrap_or_default(),
        item.commit().map(ToString::to_string).unwrap_or_default(),
    );
    Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect()
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "Info",
        Severity::Low => "Low",
        Severity::Medium => "Medium",
        Severity::High => "High",
        Severity::Critical => "Critical",
    }
}
