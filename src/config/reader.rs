//! Reads spanned TOML and gathers every error with its place.
//!
//! In scope: syntax, tables, types, unknown keys, ranges. Out of scope: what
//! the keys mean (`policy`, `settings`). The parser stops at the first syntax
//! error, so the reader blanks the line that has it and goes on: an operator
//! sees all errors at once.

use super::{Lined, PolicyError};
use crate::finding::PolicyLine;
use std::borrow::Cow;
use std::ops::RangeInclusive;
use toml_span::value::{Table, Value, ValueInner};
use toml_span::{ErrorKind, Span};

/// Most bytes of a text: every step is at most quadratic in a line, and nobody writes more by hand.
const LONGEST: usize = 1 << 20;
/// Most syntax errors that are looked for: each costs one more parse.
const SYNTAX_ERRORS: usize = 20;
/// Most characters of a quoted source line.
const QUOTED: usize = 160;

/// A text, and the errors that were found in it so far.
pub(super) struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    /// Where each line starts.
    lines: Vec<usize>,
    errors: Vec<PolicyError>,
    /// A line had to be blanked: keys may be missing only because of that.
    blanked: bool,
}

/// One table of the text, with the keys that were not taken yet.
pub(super) struct Section<'de> {
    keys: Table<'de>,
    span: Span,
}

/// A string with its place.
pub(super) struct Text<'de> {
    pub(super) value: Cow<'de, str>,
    pub(super) span: Span,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self {
            file,
            text,
            lines: std::iter::once(0)
                .chain(text.match_indices('\n').map(|(at, _)| at + 1))
                .collect(),
            errors: Vec::new(),
            blanked: false,
        }
    }

    /// The errors in the order of their places; empty if there were none.
    pub(super) fn into_errors(mut self) -> Vec<PolicyError> {
        let blanked = self.blanked;
        self.errors.retain(|error| !(blanked && error.code == "missing-key"));
        self.errors.sort_by_key(|error| (error.line, error.column));
        self.errors
    }

    pub(super) fn failed(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Notes an error.
    pub(super) fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        let start = floor(self.text, span.start);
        let line_start = self.lines[self.line(start) - 1];
        let line = self.text[line_start..].lines().next().unwrap_or("");
        let end = floor(self.text, span.end).clamp(start, (line_start + line.len()).max(start));
        let column = self.text[line_start..start].chars().count() + 1;
        self.errors.push(PolicyError {
            code,
            message: message.into(),
            line: number(self.line(start)),
            column: number(column),
            source: line.chars().take(QUOTED).map(printable).collect(),
            length: number(self.text[start..end].chars().count().max(1)),
        });
    }

    /// A value with the line that sets it.
    pub(super) fn lined<T>(&self, value: T, span: Span) -> Lined<T> {
        let line = PolicyLine {
            file: self.file.to_owned(),
            line: number(self.line(span.start)),
        };
        Lined { value, line }
    }

    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }

    /// The value of the text. Its syntax errors are noted, and their lines then count as blank; `None` if nothing can
    /// be read.
    ///
    /// * `blanked`: keeps the text with its lines blanked, to which the value then refers.
    pub(super) fn value<'t>(&mut self, blanked: &'t mut String) -> Option<Value<'t>>
    where
        'a: 't,
    {
        if self.text.len() > LONGEST {
            self.error("text-too-long", Span::new(0, 0), "the text is longer than 1 MiB");
            return None;
        }
        // Parsed once where all is well: each hook of each push reads the policy.
        if let Ok(value) = toml_span::parse(self.text) {
            return Some(value);
        }
        *blanked = self.readable()?;
        toml_span::parse(blanked).ok()
    }

    /// Notes the syntax errors of the text and returns it with their lines blanked; `None` if nothing can be read.
    fn readable(&mut self) -> Option<String> {
        let mut text = self.text.to_owned();
        for _ in 0..SYNTAX_ERRORS {
            let error = match toml_span::parse(&text) {
                Ok(_) => return Some(text),
                Err(error) => error,
            };
            self.error("bad-syntax", error.span, explain(&error));
            self.blanked = true;
            if !blank_line(&mut text, error.span.start) {
                return None;
            }
        }
        None
    }

    /// The table of a value, its unknown keys noted. `what` names it for messages, such as `[[ref]]`.
    pub(super) fn section<'de>(&mut self, mut value: Value<'de>, what: &str, known: &[&str]) -> Option<Section<'de>> {
        let span = value.span;
        let keys = match value.take() {
            ValueInner::Table(keys) => keys,
            other => {
                self.wrong_type(span, what, "a table", &other);
                return None;
            }
        };
        for key in keys.keys().filter(|key| !known.contains(&key.name.as_ref())) {
            self.error("unknown-key", key.span, unknown(&key.name, what, known));
        }
        Some(Section { keys, span })
    }

    /// The section under a key; `None` if it is absent or no table.
    pub(super) fn subsection<'de>(
        &mut self,
        section: &mut Section<'de>,
        key: &str,
        what: &str,
        known: &[&str],
    ) -> Option<Section<'de>> {
        let value = section.keys.remove(key)?;
        self.section(value, what, known)
    }

    /// The sections of an array of tables; empty if the key is absent.
    pub(super) fn sections<'de>(
        &mut self,
        section: &mut Section<'de>,
        key: &str,
        what: &str,
        known: &[&str],
    ) -> Vec<Section<'de>> {
        let Some(mut value) = section.keys.remove(key) else {
            return Vec::new();
        };
        match value.take() {
            ValueInner::Array(values) => values
                .into_iter()
                .filter_map(|value| self.section(value, what, known))
                .collect(),
            other => {
                self.wrong_type(value.span, key, &format!("an array of tables, {what}"), &other);
                Vec::new()
            }
        }
    }

    /// A boolean, with its place; the default stands at the section's header.
    pub(super) fn boolean(&mut self, section: &mut Section<'_>, key: &str, default: bool) -> (bool, Span) {
        let Some(mut value) = section.keys.remove(key) else {
            return (default, section.span);
        };
        match value.take() {
            ValueInner::Boolean(set) => (set, value.span),
            other => {
                self.wrong_type(value.span, key, "true or false", &other);
                (default, value.span)
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn integer(
        &mut self,
        section: &mut Section<'_>,
        key: &str,
        range: RangeInclusive<i64>,
        default: i64,
    ) -> (i64, Span) {
        let Some(mut value) = section.keys.remove(key) else {
            return (default, section.span);
        };
        let (low, high) = (range.start(), range.end());
        match value.take() {
            ValueInner::Integer(set) if range.contains(&set) => return (set, value.span),
            ValueInner::Integer(set) => self.error(
                "out-of-range",
                value.span,
                format!("{key} is {set}; it must be from {low} to {high}"),
            ),
            other => self.wrong_type(value.span, key, "a whole number", &other),
        }
        (default, value.span)
    }

    /// A string; `None` if the key is absent or no string.
    pub(super) fn text<'de>(&mut self, section: &mut Section<'de>, key: &str) -> Option<Text<'de>> {
        let value = section.keys.remove(key)?;
        self.text_of(value, key)
    }

    /// A string that must be there.
    pub(super) fn required<'de>(&mut self, section: &mut Section<'de>, key: &str, what: &str) -> Option<Text<'de>> {
        if !section.keys.contains_key(key) {
            self.error("missing-key", section.span, format!("{what} has no {key}"));
            return None;
        }
        self.text(section, key)
    }

    /// A list of strings with the list's place; `None` if the key is absent or no list.
    pub(super) fn texts<'de>(&mut self, section: &mut Section<'de>, key: &str) -> Option<(Vec<Text<'de>>, Span)> {
        let mut value = section.keys.remove(key)?;
        match value.take() {
            ValueInner::Array(values) => {
                let texts = values.into_iter().filter_map(|value| self.text_of(value, key));
                Some((texts.collect(), value.span))
            }
            other => {
                self.wrong_type(value.span, key, "a list of strings", &other);
                None
            }
        }
    }

    fn text_of<'de>(&mut self, mut value: Value<'de>, key: &str) -> Option<Text<'de>> {
        let span = value.span;
        match value.take() {
            ValueInner::String(value) => Some(Text { value, span }),
            other => {
                self.wrong_type(span, key, "a string", &other);
                None
            }
        }
    }

    fn wrong_type(&mut self, span: Span, key: &str, wanted: &str, found: &ValueInner<'_>) {
        let found = found.type_str();
        self.error(
            "wrong-type",
            span,
            format!("{key} must be {wanted}, not of type {found}"),
        );
    }
}

impl Section<'_> {
    /// A section that the text does not have: its defaults stand at the first line.
    pub(super) fn absent() -> Self {
        Self {
            keys: Table::new(),
            span: Span::new(0, 0),
        }
    }

    /// Where a key is set to `true`, if it is.
    pub(super) fn true_at(&self, key: &str) -> Option<Span> {
        let value = self.keys.get(key)?;
        (value.as_bool() == Some(true)).then_some(value.span)
    }

    /// Where its header stands.
    pub(super) fn span(&self) -> Span {
        self.span
    }

    /// Whether a key was given and not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }
}

/// The largest character boundary at or below `at`.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// One character for one character, so that columns stay true, and none that moves a terminal's cursor.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}') =>
        {
            '?'
        }
        c => c,
    }
}

fn explain(error: &toml_span::Error) -> String {
    let advice = match &error.kind {
        ErrorKind::DuplicateKey { key, .. } => return format!("the key {} is set twice in one table", quoted(key)),
        ErrorKind::DuplicateTable { name, .. } => return format!("the table {} is there twice", quoted(name)),
        ErrorKind::UnquotedString => "a string must stand in quotes",
        ErrorKind::UnterminatedString => "a string does not end",
        ErrorKind::UnexpectedEof => "the text ends in the middle",
        ErrorKind::ExceededDepthLimit => "tables or lists are nested too deep",
        ErrorKind::RedefineAsArray => "a table is defined again as an array of tables",
        _ => {
            return format!(
                "not valid TOML: {}",
                error.to_string().chars().map(printable).collect::<String>()
            );
        }
    };
    format!("not valid TOML: {advice}")
}

fn unknown(key: &str, what: &str, known: &[&str]) -> String {
    let key = quoted(key);
    match nearest(&key, known) {
        Some(near) => format!("{what} has no key {key}; did you mean {near}?"),
        None => format!("{what} has no key {key}; it has {}", known.join(", ")),
    }
}

/// A name from the text, bounded and printable.
pub(super) fn quoted(text: &str) -> String {
    text.chars().take(64).map(printable).collect()
}

/// The known name that is at most half its letters, and at most three, away from `name`.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let (distance, near) = known.iter().map(|k| (distance(name, k), *k)).min()?;
    (distance <= (near.chars().count() / 2).min(3)).then_some(near)
}

/// Levenshtein's distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.chars().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Replaces the line at `at` by spaces, so that all other places stay; `false` if it is blank already.
fn blank_line(text: &mut String, at: usize) -> bool {
    let at = floor(text, at);
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let end = text[start..].find('\n').map_or(text.len(), |len| start + len);
    if text[start..end].trim().is_empty() {
        return false;
    }
    let blank = " ".repeat(end - start);
    text.replace_range(start..end, &blank);
    true
}
