//! Sets of rules ready to match: the shipped one as constants, others made at run time.
//!
//! Expressions are compiled when a keyword of theirs is first met, each once
//! per process: the hook starts many times a day and meets few keywords.

mod compiled;

use super::evidence::Check;
use super::expression::Expression;
use super::outline::Outline;
use super::shape::{self, Reach};
use super::source::{self, Parsed, RuleError};
use super::table::{self, Table};
use crate::finding::{Confidence, Severity};
use crate::glob::PathGlob;
use crate::rule::{GENERIC, PathSeverity, Rule, severity_at};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
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
    /// Whether its expression is searched for in all of a text.
    pub(crate) slow: bool,
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
            slow: rule.slow,
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

/// The numbers of the slow rules without keywords, the first rule being number `first`.
fn slow(first: usize, rules: &[Rule]) -> Vec<u16> {
    let numbered = (first..).zip(rules);
    let slow = numbered.filter(|(_, rule)| rule.slow && rule.keywords.is_empty());
    slow.filter_map(|(number, _)| u16::try_from(number).ok()).collect()
}

/// `provider kind`.
fn title(rule: &Rule) -> String {
    format!("{} {}", rule.provider, rule.kind)
}

/// The rules in force, ready to match.
pub struct RuleSet {
    entries: Entries,
    /// Numbers of the slow rules that are for every text.
    slow: Cow<'static, [u16]>,
    /// Severities in some files, in place of the rules' own.
    severities: Cow<'static, [PathSeverity]>,
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
    slow: Cow::Borrowed(fixed::SLOW),
    severities: Cow::Borrowed(&[]),
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
        if let Some(set) = own.and_then(Self::added) {
            return Ok(set);
        }
        let Parsed { rules, severities } = source::parse_beside(files, &|_| None)?;
        let keywords: Vec<&[String]> = rules.iter().map(|rule| rule.keywords.as_slice()).collect();
        let ids: Vec<String> = rules.iter().map(|rule| rule.id.clone()).collect();
        Ok(Self {
            table: Cow::Owned(table::build(&keywords)),
            digest: Cow::Owned(source::digest(files)),
            severities: Cow::Owned(severities),
            slow: Cow::Owned(slow(0, &rules)),
            entries: Entries::Made(made(rules, &ids)),
        })
    }

    /// The shipped rules and more; `None` where these have a fault, which is told best by reading all of them.
    ///
    /// * `own`: the files besides the shipped ones.
    fn added(own: &[(&str, &str)]) -> Option<Self> {
        let shipped = Self::builtin();
        let alone: HashMap<&str, bool> = shipped
            .entries()
            .iter()
            .map(|entry| (entry.id.as_ref(), entry.near.is_empty()))
            .collect();
        let Parsed { rules, severities } = source::parse_beside(own, &|id| alone.get(id).copied()).ok()?;
        let known: HashSet<&str> = shipped.ids().collect();
        let count = known.len() + rules.len();
        if count > source::MAX_RULES || rules.iter().any(|rule| known.contains(rule.id.as_str())) {
            return None;
        }
        let keywords: Vec<&[String]> = rules.iter().map(|rule| rule.keywords.as_slice()).collect();
        let table = table::extend(shipped.table(), u16::try_from(known.len()).ok()?, &keywords);
        let ids = rules.iter().map(|rule| rule.id.clone());
        let ids: Vec<String> = shipped.ids().map(str::to_owned).chain(ids).collect();
        let entries = shipped.entries().iter().map(Entry::again);
        Some(Self {
            table: Cow::Owned(table),
            digest: Cow::Owned(Self::digest_beside(own)),
            severities: Cow::Owned(severities),
            slow: Cow::Owned([&shipped.slow[..], &slow(known.len(), &rules)].concat()),
            entries: Entries::Made(entries.chain(made(rules, &ids)).collect()),
        })
    }

    /// [`RuleSet::digest`] of the shipped rules and other files, which need not be valid.
    pub fn digest_beside(own: &[(&str, &str)]) -> String {
        match own {
            [] => fixed::DIGEST.to_owned(),
            own => source::digest(&[&[("shipped rules", fixed::DIGEST)], own].concat()),
        }
    }

    /// SHA-256 over the rules' text and the core's version, hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// How bad a rule's finding is in the file at a path, where the rule says `given`: [`severity_at`].
    ///
    /// * `path`: from the repository's top, or as it was named; a leading `./` does not count.
    pub fn severity(&self, rule: &str, path: &str, given: Severity) -> Severity {
        let path = path.strip_prefix("./").unwrap_or(path);
        severity_at(&*self.severities, rule, path, given)
    }

    /// In which files a rule's findings have another severity: the patterns, and how bad it is there.
    pub fn severities<'a>(&'a self, rule: &'a str) -> impl Iterator<Item = (String, Severity)> + 'a {
        let about = self.severities.iter();
        let about = about.filter(move |one| one.rules.is_empty() || one.rules.iter().any(|id| id == rule));
        about.map(|one| {
            let globs: Vec<&str> = one.paths.iter().map(PathGlob::as_str).collect();
            (globs.join(" or "), one.severity)
        })
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

    /// Numbers of the slow rules that are for every text.
    pub(crate) fn slow(&self) -> &[u16] {
        &self.slow
    }

    /// What every match of a rule has round its keyword.
    pub(crate) fn outline(&self, rule: u16) -> &Outline {
        let entry = &self.entries()[usize::from(rule)];
        let made = || {
            if entry.slow {
                return Outline::open();
            }
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
            severities: Cow::Borrowed(&[]),
            slow: Cow::Borrowed(&[]),
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

    /// Rules of every kind: plain, with what is optional, slow, composite, with a shipped rule's keyword.
    fn many() -> String {
        let plain: String = (0..60).map(|i| OWN.replace("acme", &format!("acme{i:02}x"))).collect();
        let named = |name: &str, from: &str, to: &str| {
            let rule = OWN.replace("acme", name);
            assert!(rule.contains(from), "{from}");
            rule.replacen(from, to, 1)
        };
        let words = "keywords = [\"odd_\", \"zq~\", \"glpat-\"]";
        let full = "revoke = \"https://acme.example\"\nentropy = 1.5\nchecksum = \"random\"\nregex";
        [
            plain,
            named("odd", "keywords = [\"odd_\"]", words),
            named("full", "regex", full),
            named("slow", "keywords = [\"slow_\"]", "slow = true"),
            named("some", "keywords", "slow = true\nkeywords"),
            named("near", "regex", "near = [\"odd-token\"]\nwithin_lines = 3\nregex"),
            "[[severity]]\npaths = ['a/**', 'b']\nrules = ['odd-token']\nseverity = 'low'\n".to_owned(),
        ]
        .concat()
    }

    #[test]
    fn what_was_compiled_is_what_was_read() {
        let many = many();
        let own = [("own.toml", many.as_str())];
        let read = with(&many).unwrap();
        let bytes = read.compiled().unwrap();
        let kept = RuleSet::from_compiled(&RuleSet::digest_beside(&own), &bytes).unwrap();
        assert_eq!((kept.digest(), &kept.slow), (read.digest(), &read.slow));
        assert!(kept.table == read.table && kept.severities == read.severities);
        let told = |e: &Entry| {
            let texts = (&e.id, &e.title, &e.regex, &e.revoke, &e.near);
            let levels = (e.severity, e.confidence, e.generic, e.check, e.entropy);
            format!("{texts:?} {levels:?} {:?} {} {}", e.reach, e.within, e.slow)
        };
        let all = |set: &RuleSet| set.entries().iter().map(told).collect::<Vec<_>>();
        assert_eq!(all(&kept), all(&read));
        for number in 0..read.entries().len() as u16 {
            assert_eq!(kept.outline(number), read.outline(number));
        }
        assert_eq!(kept.compiled().unwrap(), bytes);
        assert!(RuleSet::builtin().compiled().is_none());
        assert!(RuleSet::parse(&[("own.toml", OWN)]).unwrap().compiled().is_none());
    }

    #[test]
    fn bytes_that_are_not_exactly_those_are_no_rules() {
        let many = many();
        let own = [("own.toml", many.as_str())];
        let bytes = with(&many).unwrap().compiled().unwrap();
        assert!(RuleSet::from_compiled(&RuleSet::digest_beside(&own), &bytes).is_some());
        for other in [&[("other.toml", many.as_str())][..], &[("own.toml", OWN)], &[]] {
            assert!(RuleSet::from_compiled(&RuleSet::digest_beside(other), &bytes).is_none());
        }
        for at in (0..bytes.len())
            .step_by(97)
            .chain([16, 47, 48, 79, 80, bytes.len() - 1])
        {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(
                RuleSet::from_compiled(&RuleSet::digest_beside(&own), &damaged).is_none(),
                "{at}"
            );
            assert!(
                RuleSet::from_compiled(&RuleSet::digest_beside(&own), &bytes[..at]).is_none(),
                "{at}"
            );
        }
        assert!(RuleSet::from_compiled(&RuleSet::digest_beside(&own), &[&bytes[..], b"x"].concat()).is_none());
    }

    /// Even with a digest that is right, what is inside must make sense.
    #[test]
    fn bytes_of_ones_own_making_do_not_switch_a_keyword_off() {
        use sha2::Digest;
        let own = [("own.toml", OWN)];
        let bytes = with(OWN).unwrap().compiled().unwrap();
        let resealed = |change: &dyn Fn(&mut [u8])| {
            let mut bytes = bytes.clone();
            change(&mut bytes[80..]);
            let sum = sha2::Sha256::digest(&bytes[80..]);
            bytes[48..80].copy_from_slice(&sum);
            RuleSet::from_compiled(&RuleSet::digest_beside(&own), &bytes)
        };
        assert!(resealed(&|_| ()).is_some());
        // No masks: nothing would be found. Another keyword: the window is not its own.
        let without_masks = |body: &mut [u8]| {
            let at = body.len() - 512;
            body[at..].fill(0);
        };
        assert!(resealed(&without_masks).is_none());
        let other_word = |body: &mut [u8]| {
            let at = body.windows(9).rposition(|w| w == b"\x05\0\0\0acme_").unwrap();
            body[at + 4..at + 9].copy_from_slice(b"zzzzz");
        };
        assert!(resealed(&other_word).is_none());
        let mut state = 1u32;
        for at in 0..bytes.len() - 80 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // It may be another set, never one that breaks the scan.
            if let Some(set) = resealed(&|body| body[at] ^= (state >> 24) as u8 | 1) {
                let key = crate::scan::FingerprintKey::new(Box::new([7; 32]));
                crate::scan::Scanner::new(&set, &key).scan(b"acme_012345678 and more");
            }
        }
    }

    #[test]
    fn an_id_that_is_shipped_is_told_with_both_places() {
        let errors = with(&OWN.replace("acme-token", "gitlab-pat")).err().unwrap();
        assert_eq!((errors.len(), errors[0].code), (1, "rule-duplicate-id"));
        assert!(errors[0].to_string().starts_with("own.toml:3:"), "{}", errors[0]);
        assert!(errors[0].message.contains("gitlab.toml:"), "{}", errors[0]);
    }
}
