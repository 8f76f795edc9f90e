//! The reference page of rules, made of their data: `rules/REFERENCE.md`.

use crate::rule::Rule;
use serde_json::json;
use std::collections::BTreeMap;

/// A Markdown page: one table, sorted by provider, with a line for each rule.
///
/// The same rules give the same page, byte for byte.
pub(super) fn page(rules: &[Rule]) -> String {
    let mut providers: BTreeMap<String, Vec<&Rule>> = BTreeMap::new();
    for rule in rules {
        providers.entry(rule.provider.to_lowercase()).or_default().push(rule);
    }
    let mut page = format!(
        "# Detection rules\n\nMade by `lychgate rules list --format markdown`; do not edit. {} rules of {} providers.\n\n\
         Severity is how bad a leak is; confidence is where evidence starts from (`lychgate rules explain ID FILE`).\n\n\
         | provider | credential | rule | severity | confidence | structure | revoke |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
        rules.len(),
        providers.len()
    );
    for rule in providers.values().flatten() {
        let level = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        page.push_str(&format!(
            "| [{}]({}) | {} | `{}` | {} | {} | {} | {} |\n",
            cell(&rule.provider),
            rule.documentation,
            cell(&rule.kind),
            rule.id,
            level(json!(rule.severity)),
            level(json!(rule.confidence)),
            rule.checksum.as_deref().unwrap_or(""),
            cell(rule.revoke.as_deref().unwrap_or("")),
        ));
    }
    page
}

/// A text that ends no cell and opens no tag.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}
