//! Sets of rules ready to match: the shipped one as constants, others made at run time.
//!
//! Expressions are compiled when a keyword of theirs is first met, each once
//! per process: the hook starts many times a day and meets few keywords.

use super::evidence::Check;
use super::expression::Expression;
use super::outline::Outline;
use super::shape::{self, Reach};
use super::source::{self, RuleError};
use super::table::{self, Table};
use crate::finding::{Confidence, Severity};
use crate::rule::{GENERIC, Rule};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

/// One rule in the form that matching needs.
pub(crate) struct Entry {
    pub(crate) id: Cow<'static, str>,
    pub(crate) title: Cow<'static, str>,
    pub(crate) severity: Severity,
    pub(crate) confidence: Confidence,
    /// Whether the rule is for any secret, so that placeholders are dropped.
    pub(crate) generic: bool,
    pub(crate) revoke: Option<Cow<'static, str>>,
    pub(crate) check: Option<Check>,
    pub(crate) entropy: f64,
    pub(crate) reach: Reach,
    /// Numbers of the rules of which one must match near by; empty: it counts alone.
    pub(crate) near: Cow<'static, [u16]>,
    /// Within how many lines.
    pub(crate) within: u32,
    regex: Cow<'static, str>,
    /// What the build made of it.
    ready: Option<&'static Outline>,
    outline: OnceLock<Outline>,
    expression: OnceLock<Option<Expression>>,
}

impl Entry {
    /// * `number`: of the rule of an id.
    fn made(rule: Rule, number: &dyn Fn(&str) -> Option<u16>) -> Self {
        Self {
            near: rule.near.iter().filter_map(|id| number(id)).collect(),
            within: rule.within_lines,
            title: Cow::Owned(title(&rule)),
            id: Cow::Owned(rule.id),
            severity: rule.severity,
            confidence: rule.confidence,
            generic: rule.provider.eq_ignore_ascii_case(GENERIC),
            revoke: rule.revoke.map(Cow::Owned),
            check: rule.checksum.as_deref().and_then(Check::named),
            entropy: rule.entropy,
            reach: shape::reach(&rule.regex, &rule.keywords),
            regex: Cow::Owned(rule.regex),
            ready: None,
            outline: OnceLock::new(),
            expression: OnceLock::new(),
        }
    }

    /// The same rule for another set.
    fn again(&self) -> Self {
        Self {
            id: self.id.clone(),
            title: self.title.clone(),
            revoke: self.revoke.clone(),
            regex: self.regex.clone(),
            near: self.near.clone(),
            outline: OnceLock::new(),
            expression: OnceLock::new(),
            ..*self
        }
    }

    /// Whether the rule knows no form, only names and surroundings.
    pub(crate) fn any_form(&self) -> bool {
        self.generic || self.check == Some(Check::Random)
    }

    /// The compiled expression; `None` if it cannot be compiled, which loading has excluded.
    pub(crate) fn expression(&self) -> Option<&Expression> {
        self.expression
            .get_or_init(|| Expression::compile(&self.regex))
            .as_ref()
    }
}

/// Rules ready to match.
///
/// * `ids`: of all rules of the set, by number.
fn made(rules: Vec<Rule>, ids: &[String]) -> Vec<Entry> {
    let numbers: HashMap<&str, u16> = ids.iter().map(String::as_str).zip(0..).collect();
    let number = |id: &str| numbers.get(id).copied();
    rules.into_iter().map(|rule| Entry::made(rule, &number)).collect()
}

/// `provider kind`.
fn title(rule: &Rule) -> String {
    format!("{} {}", rule.provider, rule.kind)
}

/// The rules in force, ready to match.
pub struct RuleSet {
    entries: Entries,
    table: Cow<'static, Table>,
    digest: Cow<'static, str>,
}

enum Entries {
    Fixed(&'static [Entry]),
    Made(Vec<Entry>),
}

/// What the build script made of `rules/*.toml`.
mod fixed {
    use super::super::outline::{Bytes, Need};
    use super::*;

    include!(concat!(env!("OUT_DIR"), "/builtin_rules.rs"));
}

static BUILTIN: RuleSet = RuleSet {
    entries: Entries::Fixed(&fixed::ENTRIES),
    table: Cow::Borrowed(&fixed::TABLE),
    digest: Cow::Borrowed(fixed::DIGEST),
};

impl RuleSet {
    /// The rules that Lychgate ships, from tables made at build time: nothing is compiled here.
    pub fn builtin() -> &'static RuleSet {
        &BUILTIN
    }

    /// The shipped rule files, (name, text), sorted by name.
    pub fn builtin_sources() -> &'static [(&'static str, &'static str)] {
        fixed::SOURCES
    }

    /// Makes a set of rule files; those of [`RuleSet::builtin_sources`] before others add to the shipped rules.
    ///
    /// What the build made of the shipped rules is used again, so that a few rules more cost a few milliseconds.
    ///
    /// * `files`: (name, text) pairs, each text at most 4 MiB.
    ///
    /// # Errors
    /// Every error of every file, with its line.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, Vec<RuleError>> {
        let own = files.strip_prefix(Self::builtin_sources());
        if let Some(set) = own.and_then(|own| Self::added(own, files)) {
            return Ok(set);
        }
        let rules = source::parse(files)?;
        let keywords: Vec<&[String]> = rules.iter().map(|rule| rule.keywords.as_slice()).collect();
        let ids: Vec<String> = rules.iter().map(|rule| rule.id.clone()).collect();
        Ok(Self {
            table: Cow::Owned(table::build(&keywords)),
            digest: Cow::Owned(source::digest(files)),
            entries: Entries::Made(made(rules, &ids)),
        })
    }

    /// The shipped rules and more; `None` where these have a fault, which is told best by reading all of them.
    ///
    /// * `own`: the files besides the shipped ones.
    /// * `files`: all of them.
    fn added(own: &[(&str, &str)], files: &[(&str, &str)]) -> Option<Self> {
        let shipped = Self::builtin();
        let alone: HashMap<&str, bool> = shipped
            .entries()
            .iter()
            .map(|entry| (entry.id.as_ref(), entry.near.is_empty()))
            .collect();
        let rules = source::parse_beside(own, &|id| alone.get(id).copied()).ok()?;
        let known: HashSet<&str> = shipped.ids().collect();
        let count = known.len() + rules.len();
        if count > source::MAX_RULES || rules.iter().any(|rule| known.contains(rule.id.as_str())) {
            return None;
        }
        let keywords: Vec<&[String]> = rules.iter().map(|rule| rule.keywords.as_slice()).collect();
        let table = table::extend(shipped.table(), u16::try_from(known.len()).ok()?, &keywords);
        let own = rules.iter().map(|rule| rule.id.clone());
        let ids: Vec<String> = shipped.ids().map(str::to_owned).chain(own).collect();
        let entries = shipped.entries().iter().map(Entry::again);
        Some(Self {
            table: Cow::Owned(table),
            digest: Cow::Owned(source::digest(files)),
            entries: Entries::Made(entries.chain(made(rules, &ids)).collect()),
        })
    }

    /// SHA-256 over the rules' text and the core's version, hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The rules' ids in their order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.entries().iter().map(|entry| entry.id.as_ref())
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.entries {
            Entries::Fixed(entries) => entries,
            Entries::Made(entries) => entries,
        }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// What every match of a rule has round its keyword.
    pub(crate) fn outline(&self, rule: u16) -> &Outline {
        let entry = &self.entries()[usize::from(rule)];
        let made = || {
            let own = self
                .table
                .keywords
                .iter()
                .filter(|keyword| keyword.rules.contains(&rule));
            let own: Vec<&str> = own.map(|keyword| keyword.text.as_ref()).collect();
            Outline::of(&entry.regex, &own)
        };
        entry.ready.unwrap_or_else(|| entry.outline.get_or_init(made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = r#"
[[rule]]
id = "acme-token"
provider = "Acme"
kind = "token"
severity = "high"
confidence = "high"
documentation = "https://acme.example/docs"
regex = 'acme_[0-9]{9}'
keywords = ["acme_"]
examples = ["acme_012345678"]
"#;

    fn with(own: &str) -> Result<RuleSet, Vec<RuleError>> {
        let files = [RuleSet::builtin_sources(), &[("own.toml", own)]].concat();
        RuleSet::parse(&files)
    }

    #[test]
    fn rules_of_ones_own_come_after_the_shipped_ones() {
        let set = with(OWN).unwrap();
        let shipped = RuleSet::builtin();
        let ids: Vec<&str> = shipped.ids().chain(["acme-token"]).collect();
        assert_eq!(set.ids().collect::<Vec<_>>(), ids);
        assert_ne!(set.digest(), shipped.digest());
        let again = RuleSet::parse(RuleSet::builtin_sources()).unwrap();
        assert_eq!(again.digest(), shipped.digest());
    }

    #[test]
    fn the_build_makes_what_loading_makes() {
        let shipped = RuleSet::builtin();
        let loaded = RuleSet {
            entries: Entries::Made(
                shipped
                    .entries()
                    .iter()
                    .map(|e| Entry {
                        ready: None,
                        ..e.again()
                    })
                    .collect(),
            ),
            table: Cow::Borrowed(shipped.table()),
            digest: Cow::Borrowed(shipped.digest()),
        };
        for (number, id) in (0..).zip(shipped.ids()) {
            assert!(shipped.entries()[usize::from(number)].ready.is_some(), "{id}");
            assert_eq!(shipped.outline(number), loaded.outline(number), "{id}");
        }
    }

    #[test]
    fn a_keyword_without_a_rare_part_is_refused_with_the_reason() {
        for word in ["the", "test", "----------", " the "] {
            let rule = OWN.replace(r#"keywords = ["acme_"]"#, &format!("keywords = [\"acme_\", {word:?}]"));
            let errors = with(&rule).err().unwrap();
            let told = errors[0].to_string();
            assert!(told.starts_with("own.toml:10: error[rule-common-keyword]"), "{told}");
            assert!(told.contains("once in 1000 bytes"), "{told}");
        }
        assert!(with(&OWN.replace(r#"["acme_"]"#, r#"["acme_", "-----begin", "tests"]"#)).is_ok());
    }

    #[test]
    fn an_id_that_is_shipped_is_told_with_both_places() {
        let errors = with(&OWN.replace("acme-token", "gitlab-pat")).err().unwrap();
        assert_eq!((errors.len(), errors[0].code), (1, "rule-duplicate-id"));
        assert!(errors[0].to_string().starts_with("own.toml:3:"), "{}", errors[0]);
        assert!(errors[0].message.contains("gitlab.toml:"), "{}", errors[0]);
    }
}
