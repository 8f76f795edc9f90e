//! The report as comma-separated values (RFC 4180), one row a finding under a header.

use super::{Report, confidence, severity};

const HEADER: &str =
    "path,line,end_line,column,in_name,rule,severity,confidence,title,fingerprint,commit,author,in_tip";

pub(super) fn csv(report: &Report) -> String {
    let mut out = format!("{HEADER}\r\n");
    for item in &report.findings {
        let row = [
            cell(&item.path),
            item.start_line.to_string(),
            item.end_line.to_string(),
            item.start_column.to_string(),
            item.in_name.to_string(),
            cell(&item.rule),
            severity(item.severity).to_owned(),
            confidence(item.confidence).to_owned(),
            cell(&item.title),
            cell(item.fingerprint.as_deref().unwrap_or_default()),
            item.commit().map(ToString::to_string).unwrap_or_default(),
            cell(item.author().unwrap_or_default()),
            item.in_tip().map(|tip| tip.to_string()).unwrap_or_default(),
        ];
        out.push_str(&row.join(","));
        out.push_str("\r\n");
    }
    out
}

/// A quoted cell. One that a spreadsheet would take for a formula begins with an apostrophe.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    format!("\"{}{}\"", if formula { "'" } else { "" }, text.replace('"', "\"\""))
}
