//! Reads rules as they are written under `rules/`: TOML in, [`Rule`]s or every error at once out.
//!
//! In scope: the file format and what makes one rule, and a set of rules,
//! valid. Out of scope: reading files (`cmd`, `build.rs`), matching. The build
//! script and the run-time loader both use it, so that a rule which the build
//! accepts is accepted everywhere.

use super::{buckets, shape};
use crate::finding::{Confidence, Severity};
use crate::glob::PathGlob;
use crate::rule::{MAX_PATH_SEVERITIES, PathSeverity, Rule};
use std::collections::BTreeMap;
use toml_span::value::{Table, Value, ValueInner};

/// Longest rule file, in bytes: a foreign `--rules` folder shall not exhaust memory.
pub const MAX_FILE: usize = 4 << 20;
/// Longest expression, in bytes.
const MAX_REGEX: usize = 8 << 10;
/// Most rules in one set: rule numbers are 16 bits, and the bitmap stays sparse.
pub const MAX_RULES: usize = 4096;
/// Most keywords of one rule.
const MAX_KEYWORDS: usize = 64;
/// Most keywords in one set, of which half are the shipped rules' and half those of others: their numbers are 16 bits.
const MAX_SET_KEYWORDS: usize = 32_000;
/// Most slow rules in one set: each costs a search of every text.
pub(crate) const MAX_SLOW: usize = 64;
/// Most rules that a composite one names.
pub(crate) const MAX_NEAR: usize = 16;
/// Farthest that their matches may be from its own, in lines.
pub(crate) const MAX_WITHIN: u32 = 100;
/// Longest keyword, in bytes.
const MAX_KEYWORD: usize = 64;

/// One error in a rule file, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: error[{code}]: {message}")]
pub struct RuleError {
    /// The file's name as it was given.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// Stable kebab-case code, such as `rule-duplicate-id`.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Reads and validates a set of rule files.
///
/// * `files`: (name, text) pairs; the names are only quoted in errors.
///
/// Returns the rules in the order of the files, and of the tables in each.
/// `<>` is dropped from examples and counterexamples.
///
/// # Errors
/// Every error of every file, in order: broken TOML, unknown or missing keys,
/// values out of bounds, an id that is used twice.
pub fn parse(files: &[(&str, &str)]) -> Result<Vec<Rule>, Vec<RuleError>> {
    parse_beside(files, &|_| None).map(|parsed| parsed.rules)
}

/// What rule files say.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) rules: Vec<Rule>,
    /// Severities in some files.
    pub(crate) severities: Vec<PathSeverity>,
}

/// [`parse`] for rules that stand beside others.
///
/// * `known`: of the others, whether a rule of that id counts alone; `None` if there is none.
pub(crate) fn parse_beside(
    files: &[(&str, &str)],
    known: &dyn Fn(&str) -> Option<bool>,
) -> Result<Parsed, Vec<RuleError>> {
    let mut errors = Vec::new();
    let mut rules: Vec<Rule> = Vec::new();
    let mut seen: BTreeMap<String, (String, u32)> = BTreeMap::new();
    let (mut composite, mut severities) = (Vec::new(), Vec::new());
    for (file, text) in files {
        let tables = file_tables(file, text, &mut errors);
        severities.extend(tables.severities.into_iter().map(|(line, one)| (*file, line, one)));
        for Written { rule, line, near } in tables.rules {
            if !rule.near.is_empty() {
                composite.push((*file, near, rules.len()));
            }
            if let Some((other, at)) = seen.insert(rule.id.clone(), ((*file).to_owned(), line)) {
                let message = format!("id {:?} is already taken at {other}:{at}; ids are unique", rule.id);
                errors.push(error(file, line, "rule-duplicate-id", message));
            }
            rules.push(rule);
        }
    }
    let keywords: usize = rules.iter().map(|rule| rule.keywords.len()).sum();
    if keywords > MAX_SET_KEYWORDS {
        let message = format!("{keywords} keywords; a set holds at most {MAX_SET_KEYWORDS}");
        errors.push(error("rules", 1, "rule-too-many", message));
    }
    let slow = rules.iter().filter(|rule| rule.slow).count();
    if slow > MAX_SLOW {
        let message = format!("{slow} slow rules; a set holds at most {MAX_SLOW}, since each searches every text");
        errors.push(error("rules", 1, "rule-too-many", message));
    }
    if rules.len() > MAX_RULES {
        let message = format!("{} rules; a set holds at most {MAX_RULES}", rules.len());
        errors.push(error("rules", 1, "rule-too-many", message));
    }
    if let Some((file, line, _)) = severities.get(MAX_PATH_SEVERITIES) {
        let message = format!("at most {MAX_PATH_SEVERITIES} [[severity]]; one may hold several paths");
        errors.push(error(file, *line, "rule-too-many", message));
    }
    // A rule with an error is not among the rules: that it is missing says nothing more.
    if errors.is_empty() {
        let alone: BTreeMap<&str, bool> = rules.iter().map(|r| (r.id.as_str(), r.near.is_empty())).collect();
        let alone = |id: &str| alone.get(id).copied().or_else(|| known(id));
        for (file, line, number) in composite {
            errors.extend(near_errors(file, line, &rules[number], &alone));
        }
        for (file, line, one) in &severities {
            for id in one.rules.iter().filter(|id| alone(id).is_none()) {
                let message = format!("rules: {id:?} is no rule of this set; see lychgate rules list");
                errors.push(error(file, *line, "rule-unknown", message));
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let severities = severities.into_iter().map(|(_, _, one)| one).collect();
    Ok(Parsed { rules, severities })
}

/// What is wrong with the rules that a composite rule names.
fn near_errors(file: &str, line: u32, rule: &Rule, alone: &dyn Fn(&str) -> Option<bool>) -> Vec<RuleError> {
    let wrong = |other: &String| {
        let (code, why) = match alone(other) {
            Some(true) => return None,
            Some(false) => ("rule-near-chain", "needs another rule itself; name that one"),
            None => ("rule-unknown-near", "is no rule of this set"),
        };
        Some(error(file, line, code, format!("near: {other:?} {why}")))
    };
    rule.near.iter().filter_map(wrong).collect()
}

/// A rule and where it is written.
struct Written {
    rule: Rule,
    line: u32,
    /// The line of its `near`.
    near: u32,
}

fn error(file: &str, line: u32, code: &'static str, message: impl Into<String>) -> RuleError {
    RuleError {
        file: file.to_owned(),
        line,
        code,
        message: message.into(),
    }
}

/// The tables of one file, each with its line.
#[derive(Default)]
struct Tables {
    rules: Vec<Written>,
    severities: Vec<(u32, PathSeverity)>,
}

/// Reads one file.
fn file_tables(file: &str, text: &str, errors: &mut Vec<RuleError>) -> Tables {
    let mut tables = Tables::default();
    if text.len() > MAX_FILE {
        errors.push(error(
            file,
            1,
            "rule-file-too-large",
            format!("larger than {MAX_FILE} bytes"),
        ));
        return tables;
    }
    let lines = Lines::of_text(text);
    let mut root = match toml_span::parse(text) {
        Ok(root) => root,
        Err(e) => {
            errors.push(error(file, lines.of(e.span.start), "rule-syntax", e.to_string()));
            return tables;
        }
    };
    let ValueInner::Table(table) = root.take() else {
        return tables;
    };
    for (key, mut value) in table {
        match (key.name.as_ref(), value.take()) {
            ("rule", ValueInner::Array(items)) => {
                for item in items {
                    tables
                        .rules
                        .extend(Reader::new(file, &lines, item, "rule", errors).and_then(Reader::written));
                }
            }
            ("severity", ValueInner::Array(items)) => {
                for item in items {
                    let reader = Reader::new(file, &lines, item, "severity", errors);
                    tables.severities.extend(reader.and_then(Reader::path_severity));
                }
            }
            (name, _) => {
                let message = format!("{name:?} is not known here; a rule file holds [[rule]] and [[severity]] tables");
                errors.push(error(file, lines.of(key.span.start), "rule-unknown-key", message));
            }
        }
    }
    tables
}

/// Where the lines of a text start.
struct Lines(Vec<usize>);

impl Lines {
    fn of_text(text: &str) -> Self {
        let feeds = text.match_indices('\n');
        Self(std::iter::once(0).chain(feeds.map(|(at, _)| at + 1)).collect())
    }

    /// The line of a byte offset, from 1.
    fn of(&self, offset: usize) -> u32 {
        u32::try_from(self.0.partition_point(|start| *start <= offset)).unwrap_or(u32::MAX)
    }
}

/// Takes one table apart and collects what is wrong with it.
struct Reader<'a, 'de> {
    file: &'a str,
    lines: &'a Lines,
    table: Table<'de>,
    line: u32,
    errors: &'a mut Vec<RuleError>,
}

impl<'a, 'de> Reader<'a, 'de> {
    fn new(
        file: &'a str,
        lines: &'a Lines,
        mut value: Value<'de>,
        name: &str,
        errors: &'a mut Vec<RuleError>,
    ) -> Option<Self> {
        let line = lines.of(value.span.start);
        let ValueInner::Table(table) = value.take() else {
            let message = format!("{name} must be a table: write [[{name}]]");
            errors.push(error(file, line, "rule-syntax", message));
            return None;
        };
        // The span of a table starts at its header or at its first key; either names it.
        let line = table.keys().map(|k| lines.of(k.span.start)).min().unwrap_or(line);
        Some(Self {
            file,
            lines,
            table,
            line,
            errors,
        })
    }

    fn written(mut self) -> Option<Written> {
        let (line, near) = (self.line, self.line_at("near"));
        self.rule().map(|rule| Written { rule, line, near })
    }

    /// The severity in some files, with its line.
    fn path_severity(mut self) -> Option<(u32, PathSeverity)> {
        let before = self.errors.len();
        let severity = self.level("severity", &Severity::NAMED, Severity::High);
        let (written, line) = self.texts("paths");
        if written.is_empty() {
            self.fail(
                line,
                "rule-missing-key",
                "paths: at least one; for all files paths = [\"**\"]",
            );
        }
        let mut paths = Vec::new();
        for text in written {
            match PathGlob::parse(&text) {
                Ok(glob) => paths.push(glob),
                Err(why) => self.fail(line, "rule-bad-path", format!("{text:?} is no pattern of paths: {why}")),
            }
        }
        let named = self.table.contains_key("rules");
        let (rules, at) = self.texts("rules");
        if named && rules.is_empty() {
            self.fail(
                at,
                "rule-bad-value",
                "rules names no rule; leave it out for all of them",
            );
        }
        self.unknown_keys("a severity's");
        let one = PathSeverity { paths, rules, severity };
        (self.errors.len() == before).then_some((self.line, one))
    }

    fn rule(&mut self) -> Option<Rule> {
        let before = self.errors.len();
        let (near, within_lines) = self.near();
        let slow = self.slow();
        let rule = Rule {
            id: self.id(),
            provider: self.required("provider"),
            kind: self.required("kind"),
            severity: self.level("severity", &Severity::NAMED, Severity::High),
            confidence: self.level("confidence", &Confidence::NAMED, Confidence::Medium),
            documentation: self.documentation(),
            revoke: self.text_at("revoke").map(|(text, _)| text),
            regex: String::new(),
            keywords: self.keywords(slow),
            slow,
            checksum: self.checksum(),
            entropy: self.entropy(),
            near,
            within_lines,
            examples: self.examples(),
            counterexamples: self.texts("counterexamples").0,
        };
        let regex = self.regex();
        self.unknown_keys("a rule's");
        (self.errors.len() == before).then_some(Rule { regex, ..rule })
    }

    fn fail(&mut self, line: u32, code: &'static str, message: impl Into<String>) {
        self.errors.push(error(self.file, line, code, message));
    }

    /// Takes a key's value and its line.
    fn take(&mut self, key: &str) -> Option<(ValueInner<'de>, u32)> {
        let mut value = self.table.remove(key)?;
        let line = self.lines.of(value.span.start);
        Some((value.take(), line))
    }

    fn text_at(&mut self, key: &str) -> Option<(String, u32)> {
        match self.take(key)? {
            (ValueInner::String(text), line) => Some((text.into_owned(), line)),
            (other, line) => {
                let message = format!("{key} must be a string, not {}", other.type_str());
                self.fail(line, "rule-wrong-type", message);
                None
            }
        }
    }

    fn required_at(&mut self, key: &str) -> (String, u32) {
        let before = self.errors.len();
        let (text, line) = self.text_at(key).unwrap_or((String::new(), self.line));
        if text.trim().is_empty() && self.errors.len() == before {
            self.fail(line, "rule-missing-key", format!("{key} is required and not empty"));
        }
        (text, line)
    }

    fn required(&mut self, key: &str) -> String {
        self.required_at(key).0
    }

    fn id(&mut self) -> String {
        let (id, line) = self.required_at("id");
        let kebab = !id.starts_with('-')
            && !id.ends_with('-')
            && !id.contains("--")
            && id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if !kebab || id.len() > 64 {
            self.fail(
                line,
                "rule-bad-id",
                format!("id {id:?} must be kebab-case, at most 64 characters"),
            );
        }
        id
    }

    fn level<T: Copy>(&mut self, key: &str, names: &[(&str, T)], fallback: T) -> T {
        let before = self.errors.len();
        let (text, line) = self.required_at(key);
        if let Some((_, level)) = names.iter().find(|(name, _)| *name == text) {
            return *level;
        }
        if self.errors.len() == before {
            let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            let message = format!("{key} is {text:?}; write one of {}", known.join(", "));
            self.fail(line, "rule-bad-value", message);
        }
        fallback
    }

    fn documentation(&mut self) -> String {
        let (link, line) = self.required_at("documentation");
        let good = link.starts_with("https://") && link.len() > 12 && !link.contains(' ');
        // An empty one has been complained about already.
        if !good && !link.is_empty() {
            self.fail(line, "rule-bad-link", "documentation must be an https:// link");
        }
        link
    }

    fn texts(&mut self, key: &str) -> (Vec<String>, u32) {
        let Some((value, line)) = self.take(key) else {
            return (Vec::new(), self.line);
        };
        let ValueInner::Array(items) = value else {
            self.fail(line, "rule-wrong-type", format!("{key} must be an array of strings"));
            return (Vec::new(), line);
        };
        let mut texts = Vec::new();
        for mut item in items {
            let at = self.lines.of(item.span.start);
            match item.take() {
                ValueInner::String(text) => texts.push(text.replace("<>", "")),
                _ => self.fail(at, "rule-wrong-type", format!("{key} must hold strings only")),
            }
        }
        (texts, line)
    }

    fn slow(&mut self) -> bool {
        match self.take("slow") {
            None => false,
            Some((ValueInner::Boolean(slow), _)) => slow,
            Some((_, line)) => {
                self.fail(line, "rule-wrong-type", "slow must be true or false");
                false
            }
        }
    }

    fn keywords(&mut self, slow: bool) -> Vec<String> {
        let (words, line) = self.texts("keywords");
        if words.is_empty() && !slow || words.len() > MAX_KEYWORDS {
            let message = format!(
                "keywords: 1 to {MAX_KEYWORDS} texts, one of which every match contains; if there is none, \
                 slow = true has every text searched"
            );
            self.fail(line, "rule-bad-keyword", message);
        }
        for word in &words {
            if !(3..=MAX_KEYWORD).contains(&word.len()) || !word.is_ascii() {
                let message = format!(
                    "keyword {word:?} must be 3 to {MAX_KEYWORD} ASCII characters: shorter ones are everywhere; \
                     take a longer literal from the expression"
                );
                self.fail(line, "rule-bad-keyword", message);
            } else if buckets::is_common(word) {
                let often = 1e6 / buckets::TOO_COMMON;
                let message = format!(
                    "keyword {word:?} has no rare part: each four bytes of it stand in ordinary text more often than \
                     once in {often} bytes; take a longer literal from the expression, or leave it out and write \
                     slow = true"
                );
                self.fail(line, "rule-common-keyword", message);
            }
        }
        words
    }

    fn checksum(&mut self) -> Option<String> {
        let (name, line) = self.text_at("checksum")?;
        if !crate::rule::CHECKSUMS.contains(&name.as_str()) {
            let known = crate::rule::CHECKSUMS.join(", ");
            self.fail(
                line,
                "rule-unknown-checksum",
                format!("checksum {name:?} is not known; known: {known}"),
            );
        }
        Some(name)
    }

    fn entropy(&mut self) -> f64 {
        let Some((value, line)) = self.take("entropy") else {
            return 0.0;
        };
        let bits = match value {
            ValueInner::Float(bits) => bits,
            ValueInner::Integer(bits) => bits as f64,
            _ => f64::NAN,
        };
        if !(0.0..=8.0).contains(&bits) {
            self.fail(line, "rule-bad-value", "entropy must be a number from 0 to 8");
            return 0.0;
        }
        bits
    }

    /// The rules of which one must match near by, and within how many lines.
    fn near(&mut self) -> (Vec<String>, u32) {
        let (near, line) = self.texts("near");
        if near.len() > MAX_NEAR {
            let message = format!("near: at most {MAX_NEAR} rules");
            self.fail(line, "rule-bad-value", message);
        }
        let lines = match self.take("within_lines") {
            Some((ValueInner::Integer(lines), at)) => u32::try_from(lines).ok().filter(|n| *n <= MAX_WITHIN).ok_or(at),
            Some((_, at)) => Err(at),
            None if near.is_empty() => Ok(0),
            None => Err(line),
        };
        let lines = lines.unwrap_or_else(|at| {
            let message = format!("within_lines must be a number from 0 to {MAX_WITHIN} beside near");
            self.fail(at, "rule-bad-value", message);
            0
        });
        (near, lines)
    }

    /// The line of a key; of the rule where there is none.
    fn line_at(&self, key: &str) -> u32 {
        let value = self.table.get(key);
        value.map_or(self.line, |value| self.lines.of(value.span.start))
    }

    fn examples(&mut self) -> Vec<String> {
        let (examples, line) = self.texts("examples");
        if examples.is_empty() {
            self.fail(line, "rule-no-example", "at least one example is required");
        }
        examples
    }

    fn regex(&mut self) -> String {
        let (regex, line) = self.required_at("regex");
        if regex.len() > MAX_REGEX {
            self.fail(
                line,
                "rule-bad-regex",
                format!("regex is longer than {MAX_REGEX} bytes"),
            );
        } else if let Err(why) = shape::compile(&regex) {
            self.fail(line, "rule-bad-regex", format!("regex does not compile: {why}"));
        } else if shape::matches_empty(&regex) {
            self.fail(
                line,
                "rule-bad-regex",
                "regex matches the empty text; every match must have bytes",
            );
        }
        regex
    }

    fn unknown_keys(&mut self, whose: &str) {
        let keys: Vec<(String, u32)> = self
            .table
            .keys()
            .map(|k| (k.name.to_string(), self.lines.of(k.span.start)))
            .collect();
        for (key, line) in keys {
            self.fail(line, "rule-unknown-key", format!("{key:?} is not {whose} key"));
        }
    }
}

/// Whether a text may be a keyword: long enough to be looked for, and rare in some part.
pub(crate) fn is_keyword(word: &str) -> bool {
    (3..=MAX_KEYWORD).contains(&word.len()) && word.is_ascii() && !buckets::is_common(word)
}

/// Raised whenever the same rules may give other matches, so that old verdicts are not reused.
pub const CORE_VERSION: u32 = 3;

/// SHA-256 over the core's version and the files, hex; independent of the files' order.
pub fn digest(files: &[(&str, &str)]) -> String {
    use sha2::{Digest, Sha256};
    let mut sorted = files.to_vec();
    sorted.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(format!("lychgate scan core {CORE_VERSION}\n"));
    for (name, text) in sorted {
        hash.update(format!("{} {name} {}\n", name.len(), text.len()));
        hash.update(text);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
