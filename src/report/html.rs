//! The report as one HTML page: everything in it, nothing from elsewhere; works without its script.

use super::{Item, Report, confidence, escaped, severity};

/// Style of the page: the reader's light or dark, no colour as the only sign.
const STYLE: &str = include_str!("page.css");
/// Sorts by a column and filters by words.
const SCRIPT: &str = include_str!("page.js");

pub(super) fn html(report: &Report) -> String {
    let rows: String = report.findings.iter().map(row).collect();
    let unread: String = report
        .unread
        .iter()
        .map(|note| {
            let (code, path, why) = (note.code, escaped(&note.path), escaped(&note.why));
            format!("<li><code>{code}</code> {path}: {why}</li>\n")
        })
        .collect();
    let unread = if unread.is_empty() {
        unread
    } else {
        format!("<h2>Not read</h2>\n<ul>\n{unread}</ul>\n")
    };
    let when = report.ended.map(|at| format!(" on {at}")).unwrap_or_default();
    let table = if rows.is_empty() {
        "<p class=\"none\">No secret found.</p>\n".to_owned()
    } else {
        format!("{HEAD}{rows}</tbody>\n</table>\n")
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>Lychgate scan</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Lychgate scan</h1>\n\
         <p>{} findings in {} files ({} bytes){when}; rules {}.</p>\n{unread}{table}<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        report.findings.len(),
        report.files,
        report.bytes,
        report.rule_set.get(..12).unwrap_or(&report.rule_set),
    )
}

const HEAD: &str = "<p><label>Show rows with <input id=\"filter\" type=\"search\" placeholder=\"words\"></label> <span id=\"shown\"></span></p>\n\
    <table>\n<thead><tr><th>Severity</th><th>Confidence</th><th>What</th><th>Where</th><th>History</th></tr></thead>\n<tbody>\n";

fn row(item: &Item) -> String {
    let level = severity(item.severity);
    let mut what = format!(
        "<b>{}</b><br><code>{}</code>",
        escaped(&item.title),
        escaped(&item.rule)
    );
    if let Some(excerpt) = item.excerpt.as_ref().filter(|text| !text.is_empty()) {
        what.push_str(&format!("<pre>{}</pre>", escaped(excerpt)));
    }
    if let Some(revoke) = &item.revoke {
        what.push_str(&format!("<div>Revoke: {}</div>", link(revoke)));
    }
    let mut place = escaped(&item.place());
    if let Some(fingerprint) = &item.fingerprint {
        place.push_str(&format!("<br><small>{fingerprint}</small>"));
    }
    format!(
        "<tr><td data-key=\"{}\"><span class=\"{level}\">{level}</span></td><td data-key=\"{}\">{}</td><td>{what}</td><td>{place}</td><td>{}</td></tr>\n",
        item.severity as u8,
        item.confidence as u8,
        confidence(item.confidence),
        history(item),
    )
}

fn link(target: &str) -> String {
    let text = escaped(target);
    if target.starts_with("https://") {
        format!("<a rel=\"noreferrer\" href=\"{text}\">{text}</a>")
    } else {
        text
    }
}

fn history(item: &Item) -> String {
    let mut parts = Vec::new();
    parts.extend(item.commit().map(|commit| format!("<code>{}</code>", commit.short())));
    parts.extend(item.author().map(escaped));
    parts.extend(
        item.in_tip()
            .map(|tip| if tip { "in a tip" } else { "history only" }.to_owned()),
    );
    parts.join("<br>")
}
