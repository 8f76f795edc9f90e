//! Where hits stand and what of their surroundings may be shown.
//!
//! Resolves overlaps, counts lines, and makes excerpts in which every secret
//! of the shown line is replaced.

use super::engine::Hit;
use super::evidence::Structure;
use super::rules::RuleSet;
use crate::finding::Span;
use std::ops::Range;

/// Longest excerpt, in characters.
pub const MAX_EXCERPT: usize = 120;
/// What stands for a secret in an excerpt.
pub const MASK: &str = "[secret]";

/// Sorts hits by place and drops those that overlap a stronger one.
///
/// Stronger: confirmed by structure; then a provider's own rule that refutes the
/// value, since it knows the form better than a rule for any secret; then more
/// confident, then of a rule for one provider, then more severe, then longer,
/// then earlier in the rule set.
pub(crate) fn resolve(rules: &RuleSet, mut hits: Vec<Hit>) -> Vec<Hit> {
    let entry = |hit: &Hit| &rules.entries()[usize::from(hit.rule)];
    let strength = |hit: &Hit| {
        let rule = entry(hit);
        (
            hit.structure == Structure::Confirmed,
            hit.confidence,
            !rule.generic,
            rule.severity,
            hit.span.len(),
        )
    };
    hits.sort_by_key(|hit| (hit.span.start, hit.span.end, hit.rule));
    let mut kept: Vec<Hit> = Vec::with_capacity(hits.len());
    for hit in hits {
        // The kept ones do not overlap each other, so only the last ones can reach into this one.
        let overlapping = kept.iter().rev().take_while(|k| k.span.end > hit.span.start).count();
        let rivals = &kept[kept.len() - overlapping..];
        let refutes = |one: &Hit, other: &Hit| one.structure == Structure::Refuted && entry(other).any_form();
        let wins = |rival: &Hit| refutes(&hit, rival) || (!refutes(rival, &hit) && strength(&hit) > strength(rival));
        if rivals.iter().all(wins) {
            kept.truncate(kept.len() - overlapping);
            kept.push(hit);
        }
    }
    kept
}

/// Counts lines forward through a text.
pub(crate) struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
    line_start: usize,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
            line_start: 0,
        }
    }

    /// The span of a range; ranges must come with ascending starts.
    pub(crate) fn span(&mut self, range: &Range<usize>) -> Span {
        self.advance(range.start);
        let clip = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let inside = &self.text[self.at..range.end.clamp(self.at, self.text.len())];
        // A line end belongs to its line: the last byte decides.
        let within = inside.len().saturating_sub(1);
        let further = memchr::memchr_iter(b'\n', &inside[..within]).count() as u64;
        Span {
            start: range.start as u64,
            end: range.end as u64,
            start_line: clip(self.line),
            end_line: clip(self.line + further),
            start_column: clip((range.start - self.line_start) as u64 + 1),
        }
    }

    fn advance(&mut self, to: usize) {
        let to = to.clamp(self.at, self.text.len());
        let passed = &self.text[self.at..to];
        self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
        if let Some(last) = memchr::memrchr(b'\n', passed) {
            self.line_start = self.at + last + 1;
        }
        self.at = to;
    }
}

/// The union of spans as disjoint spans, sorted: what no excerpt may show.
pub(crate) fn union(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.sort_by_key(|span| (span.start, span.end));
    let mut all: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        match all.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => all.push(span),
        }
    }
    all
}

/// The surroundings of one secret with every secret replaced.
///
/// * `secrets`: the [`union`] of all hits' spans.
/// * `which`: the one to show, in its middle.
///
/// Shows the line as far as it fits into [`MAX_EXCERPT`] characters; after a
/// secret of many lines follows the rest of its last line. Control characters,
/// characters that change the direction of writing, and bytes that are not
/// UTF-8 are escaped.
pub(crate) fn excerpt(text: &[u8], secrets: &[Range<usize>], which: &Range<usize>) -> String {
    // A shown character has at most four bytes.
    const SIDE: usize = 4 * MAX_EXCERPT;
    let own = secrets.iter().find(|s| s.start <= which.start && which.end <= s.end);
    let which = own.unwrap_or(which);
    let low = which.start.saturating_sub(SIDE);
    let from = memchr::memrchr(b'\n', &text[low..which.start]).map_or(low, |i| low + i + 1);
    let high = text.len().min(which.end + SIDE);
    let to = memchr::memchr2(b'\n', b'\r', &text[which.end..high]).map_or(high, |i| which.end + i);
    let before = masked(text, secrets, from..which.start);
    let after = masked(text, secrets, which.end..to);
    let room = MAX_EXCERPT - MASK.len();
    let length = |units: &[String]| units.iter().map(|unit| unit.chars().count()).sum::<usize>();
    let share = |other: usize| (room / 2).max(room.saturating_sub(other));
    let mut head = fitting(before.iter().rev(), share(length(&after)));
    head.reverse();
    let rest = fitting(after.iter(), share(length(&before)));
    format!("{}{MASK}{}", head.concat(), rest.concat()).trim().to_owned()
}

/// A part of the text in units that are shown whole or not: characters, escapes, masks.
fn masked(text: &[u8], secrets: &[Range<usize>], part: Range<usize>) -> Vec<String> {
    let mut units = Vec::new();
    let mut at = part.start;
    let first = secrets.partition_point(|s| s.end <= part.start);
    for secret in secrets[first..].iter().take_while(|s| s.start < part.end) {
        show(&text[at..secret.start.max(at)], &mut units);
        units.push(MASK.to_owned());
        at = secret.end.min(part.end);
    }
    show(&text[at..part.end], &mut units);
    units
}

/// A text that is safe to print, on one line, with the given disjoint spans replaced.
pub(crate) fn printable(text: &[u8], secrets: &[Range<usize>]) -> String {
    masked(text, secrets, 0..text.len()).concat()
}

fn show(bytes: &[u8], units: &mut Vec<String>) {
    for chunk in bytes.utf8_chunks() {
        units.extend(chunk.valid().chars().map(shown));
        units.extend(chunk.invalid().iter().map(|b| format!("\\x{b:02x}")));
    }
}

/// A character, escaped where a terminal or a reader could be fooled by it.
fn shown(c: char) -> String {
    match c {
        '\t' => " ".to_owned(),
        c if c.is_control() && (c as u32) < 0x100 => format!("\\x{:02x}", c as u32),
        '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => {
            format!("\\u{{{:x}}}", c as u32)
        }
        c => c.to_string(),
    }
}

/// The first units that fit.
fn fitting<'a>(units: impl Iterator<Item = &'a String>, room: usize) -> Vec<&'a str> {
    let mut left = room;
    let mut all = Vec::new();
    for unit in units {
        let length = unit.chars().count();
        if length > left {
            break;
        }
        left -= length;
        all.push(unit.as_str());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_of_the_line_is_replaced() {
        let text = b"first\na = one; b = two; \x1b[31m\xff\nlast";
        let secrets = union(vec![10..13, 19..22]);
        let expected = "a = [secret]; b = [secret]; \\x1b[31m\\xff";
        assert_eq!(excerpt(text, &secrets, &(10..13)), expected);
        assert_eq!(excerpt(text, &secrets, &(19..22)), expected);
    }

    #[test]
    fn overlapping_secrets_are_one() {
        let text = b"k: aaaabbbbcccc end";
        let secrets = union(vec![3..11, 7..15]);
        assert_eq!(secrets, vec![Range { start: 3, end: 15 }]);
        assert_eq!(excerpt(text, &secrets, &(3..11)), "k: [secret] end");
    }

    #[test]
    fn a_long_line_is_cut_round_the_secret() {
        let text = [vec![b'x'; 9000], b"SECRET".to_vec(), vec![b'y'; 9000]].concat();
        let shown = excerpt(
            &text,
            &union(Vec::from([Range { start: 9000, end: 9006 }])),
            &(9000..9006),
        );
        assert_eq!(shown.chars().count(), MAX_EXCERPT);
        assert!(shown.contains("x[secret]y"));
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        let mut lines = Lines::new(b"ab\ncd\nef\n");
        let span = |start: u64, end: u64, start_line, end_line, start_column| Span {
            start,
            end,
            start_line,
            end_line,
            start_column,
        };
        assert_eq!(lines.span(&(0..2)), span(0, 2, 1, 1, 1));
        // Byte 5 is the end of line 2, byte 6 is on line 3.
        assert_eq!(lines.span(&(4..6)), span(4, 6, 2, 2, 2));
        assert_eq!(lines.span(&(4..7)), span(4, 7, 2, 3, 2));
        assert_eq!(lines.span(&(6..9)), span(6, 9, 3, 3, 1));
    }
}
