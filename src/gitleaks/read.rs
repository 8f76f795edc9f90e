//! `.gitleaks.toml` → [`Config`]: takes over what has a meaning here and names the rest, with its line.

use super::allow::List;
use super::{Config, MAX_FILE, sample};
use crate::finding::{Confidence, Severity};
use crate::rule::Rule;
use crate::scan::{shape, source};
use toml_span::value::{Table, Value, ValueInner};

/// Where the format is described; the link of imported rules, which have none.
const FORMAT: &str = "https://github.com/gitleaks/gitleaks#configuration";

/// Longest expression: a few bytes below our own limit, for the name of a group.
const MAX_REGEX: usize = 8000;

/// Reads a configuration.
///
/// * `file`: its name, only quoted in messages.
///
/// # Errors
/// One message with the line: it is no TOML, or larger than [`MAX_FILE`].
pub fn parse(file: &str, text: &str) -> Result<Config, String> {
    if text.len() > MAX_FILE {
        return Err(format!("{file}: larger than {MAX_FILE} bytes"));
    }
    let mut root = toml_span::parse(text).map_err(|e| {
        let line = line_of(text, e.span.start);
        format!("{file}:{line}: {e}")
    })?;
    let mut reader = Reader {
        file,
        text,
        config: Config::default(),
    };
    if let ValueInner::Table(table) = root.take() {
        reader.top(table);
    }
    Ok(reader.config)
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    1 + memchr::memchr_iter(b'\n', before).count()
}

struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    config: Config,
}

/// A key's value and its line.
type Taken<'de> = (ValueInner<'de>, usize);

impl<'t> Reader<'t> {
    fn note(&mut self, line: usize, what: impl std::fmt::Display) {
        let file = self.file;
        self.config.not_honoured.push(format!("{file}:{line}: {what}"));
    }

    fn take<'de>(&self, table: &mut Table<'de>, key: &str) -> Option<Taken<'de>> {
        let mut value = table.remove(key)?;
        let line = line_of(self.text, value.span.start);
        Some((value.take(), line))
    }

    fn string(&mut self, table: &mut Table<'_>, key: &str) -> Option<(String, usize)> {
        match self.take(table, key)? {
            (ValueInner::String(text), line) => Some((text.into_owned(), line)),
            (_, line) => {
                self.note(line, format_args!("{key} is no string"));
                None
            }
        }
    }

    fn strings(&mut self, table: &mut Table<'_>, key: &str) -> Vec<(String, usize)> {
        let Some((value, line)) = self.take(table, key) else {
            return Vec::new();
        };
        let ValueInner::Array(items) = value else {
            self.note(line, format_args!("{key} is no array"));
            return Vec::new();
        };
        let mut texts = Vec::new();
        for mut item in items {
            let line = line_of(self.text, item.span.start);
            match item.take() {
                ValueInner::String(text) => texts.push((text.into_owned(), line)),
                _ => self.note(line, format_args!("{key} holds something that is no string")),
            }
        }
        texts
    }

    /// The tables under a key: one, or an array of them.
    fn tables<'de>(&mut self, table: &mut Table<'de>, key: &str) -> Vec<(Table<'de>, usize)> {
        let Some((value, line)) = self.take(table, key) else {
            return Vec::new();
        };
        let items: Vec<Value<'de>> = match value {
            ValueInner::Table(table) => return vec![(table, line)],
            ValueInner::Array(items) => items,
            _ => {
                self.note(line, format_args!("{key} is no table"));
                return Vec::new();
            }
        };
        let mut tables = Vec::new();
        for mut item in items {
            let line = line_of(self.text, item.span.start);
            match item.take() {
                ValueInner::Table(table) => {
                    let first = table.keys().map(|k| line_of(self.text, k.span.start)).min();
                    tables.push((table, first.unwrap_or(line)));
                }
                _ => self.note(line, format_args!("{key} holds something that is no table")),
            }
        }
        tables
    }

    /// Names the keys that are left.
    fn rest(&mut self, table: &Table<'_>, place: &str) {
        let mut left: Vec<(usize, String)> = table
            .keys()
            .map(|key| (line_of(self.text, key.span.start), key.name.to_string()))
            .collect();
        left.sort();
        for (line, key) in left {
            self.note(line, format_args!("{place}{key:?} has no meaning here"));
        }
    }

    fn top(&mut self, mut table: Table<'_>) {
        for harmless in ["title", "description"] {
            table.remove(harmless);
        }
        for (mut extend, _) in self.tables(&mut table, "extend") {
            self.extend(&mut extend);
        }
        for key in ["allowlist", "allowlists"] {
            for (list, line) in self.tables(&mut table, key) {
                self.allowlist(list, line, None);
            }
        }
        for (rule, line) in self.tables(&mut table, "rules") {
            self.rule(rule, line);
        }
        self.rest(&table, "");
    }

    fn extend(&mut self, table: &mut Table<'_>) {
        match self.take(table, "useDefault") {
            Some((ValueInner::Boolean(on), _)) => self.config.use_default = on,
            Some((_, line)) => self.note(line, "useDefault is neither true nor false"),
            None => {}
        }
        self.config.extends = self.string(table, "path").map(|(path, _)| path);
        if let Some((_, line)) = self.string(table, "url") {
            self.note(
                line,
                "extend.url: nothing is fetched; fetch the file and name it with path",
            );
        }
        let disabled = self.strings(table, "disabledRules");
        self.config.disabled.extend(disabled.into_iter().map(|(id, _)| id));
        self.rest(table, "extend: ");
    }

    fn rule(&mut self, mut table: Table<'_>, line: usize) {
        let Some((name, _)) = self.string(&mut table, "id") else {
            return self.note(line, "a rule without an id is left out");
        };
        let id = kebab(&name);
        if id != name {
            self.note(line, format_args!("rule {name:?} is called {id} here"));
        }
        let allowed = ["allowlist", "allowlists"];
        let lists: Vec<_> = allowed.iter().flat_map(|key| self.tables(&mut table, key)).collect();
        for (list, line) in lists {
            self.allowlist(list, line, Some(&id));
        }
        let description = self.string(&mut table, "description").map(|(text, _)| text);
        let kind = description
            .filter(|text| !text.trim().is_empty())
            .unwrap_or_else(|| id.clone());
        table.remove("tags");
        let given: Vec<String> = self
            .strings(&mut table, "keywords")
            .into_iter()
            .map(|(w, _)| w)
            .collect();
        let entropy = self.entropy(&mut table);
        let (near, within_lines) = self.required(&mut table, &id);
        let only = self.only(&mut table, &id);
        if let Some((_, line)) = self.take(&mut table, "tokenEfficiency") {
            self.note(line, format_args!("rule {id}: tokenEfficiency: is not supported"));
        }
        let group = self.take(&mut table, "secretGroup");
        let regex = self.string(&mut table, "regex");
        self.rest(&table, &format!("rule {id}: "));
        let Some((regex, at)) = regex else {
            let path = if only.is_some() {
                "a file is not found by its path alone; "
            } else {
                ""
            };
            return self.note(
                line,
                format_args!("rule {id} has no regex: {path}only its allowlists count"),
            );
        };
        let rule = Rule {
            id: id.clone(),
            provider: "Imported".to_owned(),
            kind,
            severity: Severity::High,
            confidence: Confidence::Medium,
            documentation: FORMAT.to_owned(),
            revoke: None,
            regex,
            keywords: given,
            slow: false,
            checksum: None,
            entropy,
            near,
            within_lines,
            examples: Vec::new(),
            counterexamples: Vec::new(),
        };
        match complete(rule, group.as_ref().map(|(value, _)| value)) {
            Ok(rule) if self.config.rules.iter().any(|other| other.id == rule.id) => {
                self.note(at, format_args!("rule {id} is there twice; the first one counts"));
            }
            Ok(rule) => self.add(rule, only, at),
            Err(why) => self.note(at, format_args!("rule {id} is left out: {why}")),
        }
    }

    /// Takes a rule over.
    fn add(&mut self, rule: Rule, only: Option<regex::Regex>, at: usize) {
        let id = &rule.id;
        if rule.slow {
            let texts = match rule.keywords.is_empty() {
                true => "every text".to_owned(),
                false => format!("each text that has {}", rule.keywords.join(" or ")),
            };
            self.note(
                at,
                format_args!(
                    "rule {id} is slow: no rare text of three or more characters stands in every match of its regex; \
                     {texts} is searched, up to 16 MiB"
                ),
            );
        }
        if only.is_some() {
            let rules = vec![id.clone()];
            let list = List {
                rules,
                only,
                ..List::default()
            };
            self.config.allow.lists.push(list);
        }
        self.config.rules.push(rule);
    }

    /// A rule's path: where else it finds nothing.
    fn only(&mut self, table: &mut Table<'_>, id: &str) -> Option<regex::Regex> {
        let (path, line) = self.string(table, "path")?;
        match regex::Regex::new(&path) {
            Ok(path) => Some(path),
            Err(e) => {
                let why = one_line(&e.to_string());
                self.note(
                    line,
                    format_args!("rule {id}: path: {why}; the rule counts in every file"),
                );
                None
            }
        }
    }

    /// The rules that must match near by, and within how many lines.
    fn required(&mut self, table: &mut Table<'_>, id: &str) -> (Vec<String>, u32) {
        let (mut near, mut within) = (Vec::new(), 0);
        let tables = self.tables(table, "required");
        let at = tables.first().map_or(0, |(_, line)| *line);
        if let [_, .., (_, line)] = tables.as_slice() {
            self.note(
                *line,
                format_args!("rule {id}: required: there are several; here one of them suffices"),
            );
        }
        for (mut one, line) in tables {
            let Some((other, _)) = self.string(&mut one, "id") else {
                self.note(
                    line,
                    format_args!("rule {id}: required: one without an id does not count"),
                );
                continue;
            };
            let lines = match self.take(&mut one, "withinLines") {
                Some((ValueInner::Integer(lines), _)) => u32::try_from(lines).ok(),
                _ => None,
            };
            let here = lines.unwrap_or(source::MAX_WITHIN).min(source::MAX_WITHIN);
            if lines != Some(here) {
                let far = format_args!("rule {id}: required: {other} counts within {here} lines here, not farther");
                self.note(line, far);
            }
            if one.remove("withinColumns").is_some() {
                self.note(
                    line,
                    format_args!("rule {id}: required: withinColumns is not looked at, only lines"),
                );
            }
            self.rest(&one, &format!("rule {id}: required: "));
            near.push(kebab(&other));
            within = within.max(here);
        }
        if near.len() > source::MAX_NEAR {
            self.note(
                at,
                format_args!("rule {id}: required: only the first {} count", source::MAX_NEAR),
            );
            near.truncate(source::MAX_NEAR);
        }
        (near, within)
    }

    fn entropy(&mut self, table: &mut Table<'_>) -> f64 {
        let (bits, line) = match self.take(table, "entropy") {
            None => return 0.0,
            Some((ValueInner::Float(bits), line)) => (bits, line),
            Some((ValueInner::Integer(bits), line)) => (bits as f64, line),
            Some((_, line)) => (f64::NAN, line),
        };
        if !(0.0..=8.0).contains(&bits) {
            self.note(line, "entropy is no number from 0 to 8");
            return 0.0;
        }
        bits
    }

    fn allowlist(&mut self, mut table: Table<'_>, line: usize, rule: Option<&str>) {
        table.remove("description");
        let condition = self.string(&mut table, "condition");
        if let Some((text, line)) = &condition
            && !["OR", "||", "AND", "&&"].contains(&&*text.to_ascii_uppercase())
        {
            self.note(
                *line,
                format_args!("allowlist condition {text:?} is neither AND nor OR; the list is left out"),
            );
            return;
        }
        let target = self.string(&mut table, "regexTarget");
        let mut list = List {
            rules: rule.map(str::to_owned).into_iter().collect(),
            all: condition.is_some_and(|(text, _)| matches!(text.to_ascii_uppercase().as_str(), "AND" | "&&")),
            line: target.as_ref().is_some_and(|(text, _)| text == "line"),
            ..List::default()
        };
        let targets = self.strings(&mut table, "targetRules");
        list.rules.extend(targets.into_iter().map(|(id, _)| kebab(&id)));
        list.commits = self
            .strings(&mut table, "commits")
            .into_iter()
            .map(|(c, _)| c.to_lowercase())
            .collect();
        let mut whole = true;
        for (text, line) in self.strings(&mut table, "paths") {
            match regex::Regex::new(&text) {
                Ok(regex) => list.paths.push(regex),
                Err(e) => {
                    whole = false;
                    self.note(line, format_args!("allowlist path: {}", one_line(&e.to_string())));
                }
            }
        }
        let regexes = self.strings(&mut table, "regexes");
        if let Some((text, line)) = &target
            && !["secret", "match", "line"].contains(&text.as_str())
        {
            self.note(*line, format_args!("allowlist regexTarget {text:?}: taken as secret"));
        }
        let matched = target.filter(|(text, _)| text == "match" && !regexes.is_empty());
        if let Some((_, line)) = &matched {
            whole = false;
            self.note(
                *line,
                "regexTarget match: only secret and line are known here; these regexes do not count",
            );
        }
        for (text, line) in regexes.into_iter().filter(|_| matched.is_none()) {
            match regex::bytes::RegexBuilder::new(&text).unicode(false).build() {
                Ok(regex) => list.regexes.push(regex),
                Err(e) => {
                    whole = false;
                    self.note(line, format_args!("allowlist regex: {}", one_line(&e.to_string())));
                }
            }
        }
        let words = self.strings(&mut table, "stopwords");
        list.stopwords = words.into_iter().map(|(w, _)| w.to_lowercase()).collect();
        self.rest(&table, "allowlist: ");
        if list.all && !whole {
            // Less criteria would allow more.
            return self.note(line, "an allowlist with condition AND is left out, as a part of it is");
        }
        self.config.allow.lists.push(list);
    }
}

/// The first line of a message that has several, without what it quotes.
fn one_line(text: &str) -> String {
    text.lines().next_back().unwrap_or_default().trim().to_owned()
}

fn kebab(name: &str) -> String {
    let dashed: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let parts: Vec<&str> = dashed.split('-').filter(|part| !part.is_empty()).collect();
    let id: String = parts.join("-").chars().take(64).collect();
    let id = id.trim_end_matches('-').to_owned();
    if id.is_empty() { "unnamed".to_owned() } else { id }
}

/// Adds what our form needs and theirs does not have: keywords and an example.
fn complete(mut rule: Rule, group: Option<&ValueInner<'_>>) -> Result<Rule, String> {
    if rule.regex.len() > MAX_REGEX {
        return Err(format!("its regex is longer than {MAX_REGEX} bytes"));
    }
    shape::compile(&rule.regex).map_err(|e| one_line(&e))?;
    if shape::matches_empty(&rule.regex) {
        return Err("its regex matches the empty text".to_owned());
    }
    match group {
        None | Some(ValueInner::Integer(0 | 1)) => {}
        Some(ValueInner::Integer(n)) => {
            rule.regex = usize::try_from(*n)
                .ok()
                .and_then(|n| named(&rule.regex, n))
                .ok_or_else(|| format!("its regex has no group {n}"))?;
        }
        Some(_) => return Err("its secretGroup is no number".to_owned()),
    }
    match sample::keywords(&rule.regex, &rule.keywords) {
        Some(words) => rule.keywords = words,
        // Theirs need only stand in the same text as the match.
        None => {
            rule.slow = true;
            let all = rule.keywords.len() <= 64 && rule.keywords.iter().all(|word| source::is_keyword(word));
            rule.keywords.retain(|_| all);
        }
    }
    rule.examples = vec![sample::example(&rule.regex).ok_or("no example of its regex could be made")?];
    Ok(rule)
}

/// The expression with its n-th group named `secret`.
fn named(regex: &str, n: usize) -> Option<String> {
    let bytes = regex.as_bytes();
    let (mut at, mut in_class, mut groups) = (0, false, 0);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'(' if !in_class => {
                let rest = &regex[at + 1..];
                let called = rest.starts_with("?P<") || rest.starts_with("?<");
                groups += usize::from(!rest.starts_with('?') || called);
                if groups == n {
                    let inside = if called { rest.split_once('>')?.1 } else { rest };
                    let out = format!("{}(?P<secret>{inside}", &regex[..at]);
                    return shape::compile(&out).is_ok().then_some(out);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}
