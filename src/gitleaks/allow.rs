//! Allowlists: what is no finding, by content, path or commit.
//!
//! Content is judged where the bytes are ([`Allow::marks`]), path and commit
//! where they are known ([`Allow::allows`]), since a history scan learns the
//! place of a match after its bytes are gone.

use crate::scan::Match;
use regex::Regex;
use regex::bytes::Regex as Bytes;

/// The number of an allowlist whose content criteria a match fulfils.
pub type Mark = u16;

/// Where a match is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its file.
    pub path: &'a str,
    /// Its commit, where one is known.
    pub commit: Option<&'a str>,
}

/// Allowlists, in the order of the file.
#[derive(Debug, Default)]
pub struct Allow {
    pub(super) lists: Vec<List>,
}

/// One allowlist.
#[derive(Debug, Default)]
pub(super) struct List {
    /// The rules that it concerns; empty = all.
    pub(super) rules: Vec<String>,
    /// Whether all kinds of criteria must be met, rather than one.
    pub(super) all: bool,
    /// The files outside of which the rules find nothing; the list then has no other criteria.
    pub(super) only: Option<Regex>,
    pub(super) commits: Vec<String>,
    pub(super) paths: Vec<Regex>,
    pub(super) regexes: Vec<Bytes>,
    /// Whether `regexes` look at the line rather than the secret.
    pub(super) line: bool,
    /// Lower case.
    pub(super) stopwords: Vec<String>,
}

impl Allow {
    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Takes the lists of another configuration in.
    pub fn extend(&mut self, other: Self) {
        self.lists.extend(other.lists);
    }

    /// Lets the lists of one rule concern another.
    pub fn rename(&mut self, from: &str, to: &str) {
        for id in self
            .lists
            .iter_mut()
            .flat_map(|list| &mut list.rules)
            .filter(|id| *id == from)
        {
            to.clone_into(id);
        }
    }

    /// The lists whose content criteria a match in a text fulfils.
    pub fn marks(&self, data: &[u8], found: &Match) -> Vec<Mark> {
        let mut marks = Vec::new();
        let range = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(data.len());
        let (start, end) = (range(found.span.start), range(found.span.end));
        let secret = data.get(start..end).unwrap_or_default();
        for (at, list) in (0..).zip(&self.lists) {
            if !list.concerns(&found.rule) {
                continue;
            }
            let target = if list.line { line(data, start, end) } else { secret };
            let regex = list.regexes.iter().any(|regex| regex.is_match(target));
            let lower = || String::from_utf8_lossy(secret).to_lowercase();
            let word = !list.stopwords.is_empty() && {
                let lower = lower();
                list.stopwords.iter().any(|word| lower.contains(word))
            };
            let both = (regex || list.regexes.is_empty()) && (word || list.stopwords.is_empty());
            if if list.all { both } else { regex || word } {
                marks.push(at);
            }
        }
        marks
    }

    /// Whether a match at a place is allowed.
    ///
    /// * `marks`: what [`Allow::marks`] said of its bytes.
    pub fn allows(&self, rule: &str, place: Place, marks: &[Mark]) -> bool {
        let lists = (0..).zip(&self.lists).filter(|(_, list)| list.concerns(rule));
        let mut lists = lists.map(|(at, list)| list.allows(place, marks.contains(&at)));
        lists.any(|allowed| allowed)
    }
}

impl List {
    fn concerns(&self, rule: &str) -> bool {
        self.rules.is_empty() || self.rules.iter().any(|id| id == rule)
    }

    fn allows(&self, place: Place, content: bool) -> bool {
        if let Some(only) = &self.only {
            return !only.is_match(place.path);
        }
        let path = self.paths.iter().any(|regex| regex.is_match(place.path));
        let commit = place.commit.is_some_and(|oid| self.commits.iter().any(|c| c == oid));
        if !self.all {
            return path || commit || content;
        }
        let asks_content = !(self.regexes.is_empty() && self.stopwords.is_empty());
        let asks = asks_content || !self.paths.is_empty() || !self.commits.is_empty();
        asks && (content || !asks_content) && (path || self.paths.is_empty()) && (commit || self.commits.is_empty())
    }
}

/// The line or lines that a range is on, at most 64 KiB to either side.
fn line(data: &[u8], start: usize, end: usize) -> &[u8] {
    let near = start.saturating_sub(64 << 10);
    let far = end.saturating_add(64 << 10).min(data.len());
    let first = memchr::memrchr(b'\n', &data[near..start]).map_or(near, |at| near + at + 1);
    let last = memchr::memchr(b'\n', &data[end..far]).map_or(far, |at| end + at);
    &data[first..last]
}
