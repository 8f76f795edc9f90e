//! Sets of rules ready to match: the shipped one as constants, others made at run time.
//!
//! Expressions are compiled when a keyword of theirs is first met, each once
//! per process: the hook starts many times a day and meets few keywords.

use super::evidence::Check;
use super::shape::{self, Reach};
use super::source::{self, RuleError};
use super::table::{self, Table};
use crate::finding::{Confidence, Severity};
use crate::rule::{GENERIC, Rule};
use regex_automata::meta;
use std::borrow::Cow;
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
    regex: Cow<'static, str>,
    expression: OnceLock<Option<Expression>>,
}

/// A compiled expression.
pub(crate) struct Expression {
    pub(crate) regex: meta::Regex,
    /// The capture group that holds the secret; 0 = the whole match.
    pub(crate) group: usize,
}

impl Entry {
    fn made(rule: Rule) -> Self {
        Self {
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
            expression: OnceLock::new(),
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

impl Expression {
    fn compile(regex: &str) -> Option<Self> {
        let regex = shape::compile(regex).ok()?;
        let info = regex.group_info();
        let named = info.to_index(regex_automata::PatternID::ZERO, "secret");
        let group = named.unwrap_or(usize::from(info.group_len(regex_automata::PatternID::ZERO) > 1));
        Some(Self { regex, group })
    }
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

    /// Makes a set of rule files; combine with [`RuleSet::builtin_sources`] to add to the shipped rules.
    ///
    /// * `files`: (name, text) pairs, each text at most 4 MiB.
    ///
    /// # Errors
    /// Every error of every file, with its line.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, Vec<RuleError>> {
        let rules = source::parse(files)?;
        let keywords: Vec<&[String]> = rules.iter().map(|rule| rule.keywords.as_slice()).collect();
        Ok(Self {
            table: Cow::Owned(table::build(&keywords)),
            digest: Cow::Owned(source::digest(files)),
            entries: Entries::Made(rules.into_iter().map(Entry::made).collect()),
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
}
