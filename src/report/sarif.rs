//! The report as SARIF 2.1.0 (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>), valid under its schema.

use super::{Item, Note, Report, confidence, severity};
use crate::finding::Severity;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) fn sarif(report: &Report) -> Result<String, serde_json::Error> {
    let mut rules: BTreeMap<&str, &Item> = BTreeMap::new();
    for item in &report.findings {
        rules.entry(&item.rule).or_insert(item);
    }
    let ids: Vec<&str> = rules.keys().copied().collect();
    let index = |rule: &str| ids.binary_search(&rule).unwrap_or_default();
    let results: Vec<Value> = report
        .findings
        .iter()
        .map(|item| result(item, index(&item.rule)))
        .collect();
    let rules: Vec<Value> = rules.values().map(|item| rule(item)).collect();
    let notes: Vec<Value> = report.unread.iter().map(notification).collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "Lychgate", "semanticVersion": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "invocations": [{
                "executionSuccessful": report.unread.is_empty(),
                "toolExecutionNotifications": notes,
            }],
            "results": results,
        }],
    });
    serde_json::to_string_pretty(&log)
}

fn rule(item: &Item) -> Value {
    let mut rule = json!({
        "id": item.rule,
        "shortDescription": {"text": item.title},
        "properties": {"security-severity": score(item.severity), "tags": ["security", "secret"]},
    });
    if let Some(revoke) = &item.revoke {
        rule["help"] = json!({"text": format!("Revoke it: {revoke}")});
    }
    rule
}

fn result(item: &Item, index: usize) -> Value {
    let mut place = json!({"artifactLocation": {"uri": uri(&item.path)}});
    if !item.in_name {
        place["region"] = json!({
            "startLine": item.start_line,
            "startColumn": item.start_column,
            "endLine": item.end_line,
        });
        if let Some(excerpt) = &item.excerpt {
            place["region"]["snippet"] = json!({"text": excerpt});
        }
    }
    let mut properties = json!({"severity": severity(item.severity), "confidence": confidence(item.confidence)});
    if let Some(history) = &item.history {
        properties["history"] = json!(history);
    }
    let mut result = json!({
        "ruleId": item.rule,
        "ruleIndex": index,
        "level": level(item.severity),
        "message": {"text": item.headline()},
        "locations": [{"physicalLocation": place}],
        "properties": properties,
    });
    if let Some(fingerprint) = &item.fingerprint {
        result["partialFingerprints"] = json!({"lychgateFingerprint/v1": fingerprint});
    }
    result
}

fn notification(note: &Note) -> Value {
    json!({
        "level": "error",
        "descriptor": {"id": note.code},
        "message": {"text": format!("not scanned: {}: {}", note.path, note.why)},
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Info | Severity::Low => "note",
        Severity::Medium => "warning",
        Severity::High | Severity::Critical => "error",
    }
}

/// GitHub sorts by this number, 0 to 10, as text.
fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "0.0",
        Severity::Low => "3.0",
        Severity::Medium => "5.5",
        Severity::High => "8.0",
        Severity::Critical => "9.5",
    }
}

/// A path as a URI reference: everything percent-encoded that is not allowed in a path (RFC 3986).
fn uri(path: &str) -> String {
    let mut out = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
