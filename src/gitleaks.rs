//! Reads the public configuration format of Gitleaks, so that who has one can bring it along.
//!
//! In scope: rules, allowlists and `extend` of a `.gitleaks.toml`, and the
//! lines of a `.gitleaksignore`, as their documentation describes them
//! (<https://github.com/gitleaks/gitleaks#configuration>). What cannot be
//! honoured is said in [`Config::not_honoured`], never dropped in silence. Out
//! of scope: files, and Gitleaks' own rules: `useDefault` means ours.

mod allow;
mod ignore;
mod read;
mod sample;

pub use allow::{Allow, Mark, Place};
pub use ignore::Ignored;
pub use read::parse;

use crate::rule::Rule;
use crate::scan::source;
use std::collections::HashMap;

/// Longest file, in bytes.
pub const MAX_FILE: usize = 4 << 20;

/// What a configuration asks for.
#[derive(Debug, Default)]
pub struct Config {
    /// The rules that could be taken over, in our form.
    pub rules: Vec<Rule>,
    /// Rules to leave out, by id.
    pub disabled: Vec<String>,
    /// Whether the default rules count beside these: ours stand in for theirs.
    pub use_default: bool,
    /// A further file that it builds on, relative to it.
    pub extends: Option<String>,
    /// What is allowed.
    pub allow: Allow,
    /// `file:line: what could not be honoured, and why`, in the order of the file.
    pub not_honoured: Vec<String>,
}

impl Config {
    /// Settles, once all files are read, which slow rules there is room for, and what composite rules need: rules of
    /// this configuration that count alone.
    ///
    /// What a rule needs and is not there, or needs another itself, is said, and the rule counts by itself.
    pub fn settle(&mut self) {
        let mut slow = 0;
        self.rules.retain(|rule| {
            slow += usize::from(rule.slow);
            let fits = !rule.slow || slow <= source::MAX_SLOW;
            if !fits {
                let note = format!(
                    "rule {} is left out: {} slow rules are there already",
                    rule.id,
                    source::MAX_SLOW
                );
                self.not_honoured.push(note);
            }
            fits
        });
        let alone: HashMap<String, bool> = self.rules.iter().map(|r| (r.id.clone(), r.near.is_empty())).collect();
        for rule in &mut self.rules {
            let id = &rule.id;
            rule.near.retain(|other| {
                let why = match alone.get(other) {
                    Some(true) => return true,
                    Some(false) => "needs another rule itself",
                    None => "is no rule of this configuration that could be taken over",
                };
                let note = format!("rule {id}: required: {other} {why}; it does not count");
                self.not_honoured.push(note);
                false
            });
            if rule.near.is_empty() {
                rule.within_lines = 0;
            }
        }
    }

    /// Lets a rule have another id, and all that is about it.
    pub fn rename(&mut self, from: &str, to: &str) {
        let ids = self
            .rules
            .iter_mut()
            .flat_map(|rule| rule.near.iter_mut().chain([&mut rule.id]));
        ids.filter(|id| *id == from).for_each(|id| to.clone_into(id));
        self.allow.rename(from, to);
    }
}

/// Rules as a file of ours, which [`crate::scan::RuleSet::parse`] reads.
pub fn render(rules: &[Rule]) -> String {
    let mut out = String::new();
    for rule in rules {
        let level = |value: Result<String, serde_json::Error>| value.unwrap_or_default();
        let texts = |texts: &[String]| texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
        // Cut in the middle, so that no scanner takes the example for a secret.
        let cut = |texts: &[String]| texts.iter().map(|text| cut(text)).collect::<Vec<_>>();
        out.push_str("[[rule]]\n");
        let mut key = |key: &str, value: String| out.push_str(&format!("{key} = {value}\n"));
        key("id", quoted(&rule.id));
        key("provider", quoted(&rule.provider));
        key("kind", quoted(&rule.kind));
        key("severity", level(serde_json::to_string(&rule.severity)));
        key("confidence", level(serde_json::to_string(&rule.confidence)));
        key("documentation", quoted(&rule.documentation));
        if let Some(revoke) = &rule.revoke {
            key("revoke", quoted(revoke));
        }
        key("regex", quoted(&rule.regex));
        if rule.slow {
            key("slow", "true".to_owned());
        }
        if !rule.keywords.is_empty() {
            key("keywords", format!("[{}]", texts(&rule.keywords)));
        }
        if let Some(checksum) = &rule.checksum {
            key("checksum", quoted(checksum));
        }
        if !rule.near.is_empty() {
            key("near", format!("[{}]", texts(&rule.near)));
            key("within_lines", rule.within_lines.to_string());
        }
        if rule.entropy > 0.0 {
            key("entropy", format!("{:?}", rule.entropy));
        }
        key("examples", format!("[{}]", texts(&cut(&rule.examples))));
        if !rule.counterexamples.is_empty() {
            key("counterexamples", format!("[{}]", texts(&cut(&rule.counterexamples))));
        }
        out.push('\n');
    }
    out
}

fn cut(text: &str) -> String {
    let at = text.char_indices().nth(4).map_or(text.len(), |(at, _)| at);
    format!("{}<>{}", &text[..at], &text[at..])
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
