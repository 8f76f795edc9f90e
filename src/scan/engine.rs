//! One text against all rules: candidates → keywords → expressions on regions → judged hits.
//!
//! In scope: plain bytes. Out of scope: other writings of a text (`wide`,
//! `decode`), places and excerpts (`place`).

use super::context::Found;
use super::evidence::{self, Structure};
use super::expression::Expression;
use super::rules::{Entry, RuleSet};
use super::shape::Reach;
use super::simd::{self, Level};
use crate::finding::Confidence;
use regex_automata::{Anchored, Input, Match};
use std::collections::BTreeMap;
use std::ops::Range;

/// Most hits of one text; a text with more is reported as such.
pub(crate) const MAX_HITS: usize = 10_000;

/// Farthest that the matches of a composite rule may be from each other, in bytes: a stream's pieces overlap by more.
const MAX_APART: usize = 64 << 10;

/// Most bytes of a text that slow rules search: linear in it, so a few seconds for 64 of them.
const MAX_SLOW_TEXT: usize = 16 << 20;

/// A region grows over neighbouring keywords up to this many bytes before it is searched.
const MAX_REGION: usize = 128 << 10;

/// One judged match of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hit {
    /// The rule's number.
    pub(crate) rule: u16,
    /// Where the secret stands.
    pub(crate) span: Range<usize>,
    pub(crate) confidence: Confidence,
    /// What its structure says.
    pub(crate) structure: Structure,
    /// HMAC of the secret.
    pub(crate) fingerprint: [u8; 32],
}

/// The hits of one text, whether there were more than [`MAX_HITS`], and whether anything was met that reaches far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Hits {
    pub(crate) hits: Vec<Hit>,
    pub(crate) overflow: bool,
    /// Whether a keyword was met whose matches may reach beyond [`super::part::MARGIN`] over several lines.
    pub(crate) far: bool,
    /// Whether slow rules did not search all of the text.
    pub(crate) cut: bool,
}

impl Hits {
    /// Adds the hits of a piece, their places being those that `outer` gives.
    pub(crate) fn take(&mut self, inner: Hits, outer: &dyn Fn(&Range<usize>) -> Range<usize>) {
        self.far |= inner.far;
        self.cut |= inner.cut;
        self.overflow |= inner.overflow || self.hits.len() >= MAX_HITS;
        let room = MAX_HITS.saturating_sub(self.hits.len());
        self.hits.extend(inner.hits.into_iter().take(room).map(|hit| Hit {
            span: outer(&hit.span),
            ..hit
        }));
    }
}

/// Runs all rules over a text. `fingerprint` is called with each secret.
pub(crate) fn run(rules: &RuleSet, level: Level, text: &[u8], fingerprint: &dyn Fn(&[u8]) -> [u8; 32]) -> Hits {
    let mut sweep = Sweep {
        rules,
        text,
        fingerprint,
        regions: Vec::new(),
        found: Hits::default(),
    };
    simd::candidates(level, rules.table(), text, &mut |position| sweep.candidate(position));
    for rule in rules.slow() {
        sweep.everywhere(*rule);
        let entry = &rules.entries()[usize::from(*rule)];
        sweep.found.far |= super::part::is_far(entry.reach) || !entry.near.is_empty();
    }
    for i in 0..sweep.regions.len() {
        sweep.search(i);
    }
    sweep.drop_lonely();
    sweep.found
}

/// The part of the text that one rule's expression has still to search.
struct Region {
    rule: u16,
    /// What to search; empty when it has been searched.
    part: Range<usize>,
    /// Where the rule's last match ended: regions may overlap, matches may not.
    done: usize,
}

struct Sweep<'a> {
    rules: &'a RuleSet,
    text: &'a [u8],
    fingerprint: &'a dyn Fn(&[u8]) -> [u8; 32],
    regions: Vec<Region>,
    found: Hits,
}

impl Sweep<'_> {
    /// Compares the keywords whose window stands at a position.
    fn candidate(&mut self, position: usize) {
        let rules = self.rules;
        let table = rules.table();
        let window = self.text[position..].first_chunk().copied().unwrap_or_else(|| {
            let mut window = [0; 4];
            let tail = &self.text[position..];
            window[..tail.len()].copy_from_slice(tail);
            window
        });
        for window in table.windows(u32::from_le_bytes(window) | super::table::FOLD) {
            let keyword = &table.keywords[usize::from(window.keyword)];
            let Some(start) = position.checked_sub(usize::from(window.offset)) else {
                continue;
            };
            let here = self.text.get(start..start + keyword.text.len());
            if here.is_some_and(|bytes| same(bytes, keyword.text.as_bytes())) {
                for rule in keyword.rules.iter() {
                    if rules.outline(*rule).admits(self.text, start) {
                        self.keyword(*rule, start);
                    }
                }
            }
        }
    }

    /// Notes a keyword of a rule: extends its region, or searches that and opens another.
    fn keyword(&mut self, rule: u16, at: usize) {
        let entry = &self.rules.entries()[usize::from(rule)];
        if entry.slow {
            // The match may be anywhere: a part of the text without the keyword says nothing.
            self.found.far = true;
            return self.everywhere(rule);
        }
        let reach = entry.reach;
        let composite = !entry.near.is_empty();
        self.found.far |= composite || super::part::is_far(reach);
        let around = around(self.text, reach, at);
        if !self.rules.outline(rule).admits_region(self.text, at, &around) {
            return;
        }
        let Some(i) = self.regions.iter().position(|region| region.rule == rule) else {
            self.regions.push(Region {
                rule,
                part: around,
                done: 0,
            });
            return;
        };
        let part = &mut self.regions[i].part;
        if part.start < part.end && around.start <= part.end && around.end < part.start + MAX_REGION {
            // Keywords of one rule may come out of order by a keyword's length.
            part.start = part.start.min(around.start);
            part.end = part.end.max(around.end);
        } else {
            self.search(i);
            self.regions[i].part = around;
        }
    }

    /// Has all of the text searched for a rule.
    fn everywhere(&mut self, rule: u16) {
        if self.regions.iter().all(|region| region.rule != rule) {
            let end = self.text.len().min(MAX_SLOW_TEXT);
            self.found.cut |= end < self.text.len();
            let (part, done) = (0..end, 0);
            self.regions.push(Region { rule, part, done });
        }
    }

    /// Searches a region and empties it.
    fn search(&mut self, i: usize) {
        let region = &mut self.regions[i];
        let part = std::mem::take(&mut region.part);
        let (rule, mut at, end) = (region.rule, part.start.max(region.done), part.end);
        if at >= end {
            return;
        }
        let entry = &self.rules.entries()[usize::from(rule)];
        let Some(expression) = entry.expression() else {
            // Cannot be: loading compiles every expression. Were it so, the keyword alone must not pass.
            return self.judge(rule, entry, at..end, at..end);
        };
        while at < end && !self.found.overflow {
            let input = Input::new(self.text).range(at..end);
            let Some(mut whole) = expression.search(&input) else {
                break;
            };
            let mut limit = end;
            if whole.end() == end && end < self.text.len() {
                // Perhaps cut by the region's end: again, from the same start, as far as a match may reach.
                let far = whole.start().saturating_add(entry.reach.after as usize);
                limit = self.text.len().min(far).max(end);
                let input = Input::new(self.text)
                    .range(whole.start()..limit)
                    .anchored(Anchored::Yes);
                whole = expression.search(&input).unwrap_or(whole);
            }
            at = whole.end().max(at + 1);
            self.regions[i].done = at;
            let span = self.secret(expression, whole, limit);
            self.judge(rule, entry, whole.range(), span);
        }
    }

    /// The secret's span: of the group where it took part, else of the whole match.
    ///
    /// * `limit`: where the search ended that found the match.
    fn secret(&self, expression: &Expression, whole: Match, limit: usize) -> Range<usize> {
        let Some(all) = expression.whole().filter(|all| all.group > 0) else {
            return whole.range();
        };
        // Few places come this far: groups are told apart for these alone.
        let mut captures = all.regex.create_captures();
        let input = Input::new(self.text)
            .range(whole.start()..limit)
            .anchored(Anchored::Yes);
        all.regex.search_captures(&input, &mut captures);
        captures
            .get_group(all.group)
            .map_or(whole.range(), |span| span.start..span.end)
    }

    fn judge(&mut self, rule: u16, entry: &Entry, whole: Range<usize>, span: Range<usize>) {
        if span.is_empty() {
            return;
        }
        let found = Found {
            text: self.text,
            whole,
            secret: span,
        };
        let Some(verdict) = evidence::judge(entry, &found) else {
            return;
        };
        if self.found.hits.len() >= MAX_HITS {
            self.found.overflow = true;
            return;
        }
        self.found.hits.push(Hit {
            rule,
            fingerprint: (self.fingerprint)(found.secret()),
            span: found.secret,
            confidence: verdict.confidence,
            structure: verdict.structure,
        });
    }
}

impl Sweep<'_> {
    /// Drops the hits of composite rules that have no hit of the rules they name near by.
    fn drop_lonely(&mut self) {
        let entries = self.rules.entries();
        let composite = |hit: &Hit| !entries[usize::from(hit.rule)].near.is_empty();
        if !self.found.hits.iter().any(composite) {
            return;
        }
        let mut places: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for hit in &self.found.hits {
            places.entry(hit.rule).or_default().push(hit.span.start);
        }
        places.values_mut().for_each(|starts| starts.sort_unstable());
        let text = self.text;
        self.found.hits.retain(|hit| {
            let Entry { near, within, .. } = &entries[usize::from(hit.rule)];
            let named = near.iter().filter_map(|rule| places.get(rule));
            near.is_empty()
                || named
                    .into_iter()
                    .any(|starts| is_near(text, hit.span.start, starts, *within))
        });
    }
}

/// Whether one of some places, which are sorted, is at most so many lines from another.
pub(crate) fn is_near(text: &[u8], at: usize, places: &[usize], lines: u32) -> bool {
    let next = places.partition_point(|place| *place < at);
    // The nearest on either side: others are as many lines away, or more.
    let nearest = [next.checked_sub(1), Some(next)];
    let mut nearest = nearest.into_iter().flatten().filter_map(|i| places.get(i).copied());
    nearest.any(|place| {
        let between = place.min(at)..place.max(at);
        between.len() <= MAX_APART && memchr::memchr_iter(b'\n', &text[between]).count() <= lines as usize
    })
}

/// Whether a text is a keyword in any case; looks at the ends first, since most texts have only a window in common.
fn same(text: &[u8], keyword: &[u8]) -> bool {
    let fold = |byte: Option<&u8>| byte.map(|byte| byte | 0x20);
    fold(text.last()) == fold(keyword.last())
        && fold(text.first()) == fold(keyword.first())
        && text.eq_ignore_ascii_case(keyword)
}

/// Where a match round a keyword can lie: within its reach, and in its line where that is all.
fn around(text: &[u8], reach: Reach, at: usize) -> Range<usize> {
    let start = at.saturating_sub(reach.before as usize);
    let end = text.len().min(at.saturating_add(reach.after as usize));
    if !reach.one_line {
        return start..end;
    }
    // The first and the last byte of a match may be the line feeds themselves.
    let from = memchr::memrchr(b'\n', &text[start..at]).map_or(start, |i| start + i);
    let to = memchr::memchr(b'\n', &text[at..end]).map_or(end, |i| at + i + 1);
    from..to
}
