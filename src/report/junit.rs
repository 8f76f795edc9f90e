//! The report as JUnit XML: each finding a failed test case, each unread file an error, none at all one passed case.

use super::{Report, escaped};

pub(super) fn junit(report: &Report) -> String {
    let (failures, errors) = (report.findings.len(), report.unread.len());
    let tests = (failures + errors).max(1);
    let counts = format!("name=\"lychgate scan\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\"");
    let mut out =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n  <testsuite {counts}>\n");
    for item in &report.findings {
        let mut detail = item.place();
        for more in [&item.excerpt, &item.fingerprint, &item.revoke].into_iter().flatten() {
            detail.push('\n');
            detail.push_str(more);
        }
        out.push_str(&case(&item.place(), &item.rule, "failure", &item.headline(), &detail));
    }
    for note in &report.unread {
        out.push_str(&case(&note.path, note.code, "error", "not scanned", &note.why));
    }
    if report.findings.is_empty() && report.unread.is_empty() {
        out.push_str("    <testcase name=\"no secret found\" classname=\"lychgate\"/>\n");
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

fn case(name: &str, class: &str, element: &str, message: &str, detail: &str) -> String {
    format!(
        "    <testcase name=\"{}\" classname=\"{class}\">\n      <{element} type=\"{class}\" message=\"{}\">{}</{element}>\n    </testcase>\n",
        escaped(name),
        escaped(message),
        escaped(detail),
        class = escaped(class),
    )
}
