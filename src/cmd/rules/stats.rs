//! How many rules there are of what.

use super::super::output::{Format, Output};
use crate::rule::Rule;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Prints the counts; as text only the numbers of providers and kinds, since each has few rules.
pub(super) fn print(rules: &[Rule], format: Format, out: &mut Output) {
    let counts = counts(rules);
    if format == Format::Json {
        return out.line(json!(counts));
    }
    out.line(format_args!("{} rules", rules.len()));
    for (name, values) in &counts {
        if matches!(*name, "kind" | "provider") {
            out.line(format_args!("{} {name}s", values.len()));
            continue;
        }
        let list: Vec<String> = values.iter().map(|(value, count)| format!("{value} {count}")).collect();
        out.line(format_args!("{name}: {}", list.join(", ")));
    }
}

/// For each property of a rule, how many rules have each value.
fn counts(rules: &[Rule]) -> BTreeMap<&'static str, BTreeMap<String, usize>> {
    let mut counts: BTreeMap<&'static str, BTreeMap<String, usize>> = BTreeMap::new();
    for rule in rules {
        let level = |value: Value| value.as_str().unwrap_or_default().to_owned();
        for (name, value) in [
            ("provider", rule.provider.clone()),
            ("kind", format!("{} {}", rule.provider, rule.kind)),
            ("severity", level(json!(rule.severity))),
            ("confidence", level(json!(rule.confidence))),
            ("checksum", rule.checksum.clone().unwrap_or_else(|| "none".to_owned())),
        ] {
            *counts.entry(name).or_default().entry(value).or_default() += 1;
        }
    }
    counts
}
