//! From an expression: a text that it matches, and texts that every match contains.

use crate::scan::{shape, source};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Longest sample, in bytes.
const MAX_SAMPLE: usize = 4096;

fn parse(regex: &str) -> Option<Hir> {
    let mut builder = regex_syntax::ParserBuilder::new();
    builder.unicode(false).utf8(false).build().parse(regex).ok()
}

/// A text that the expression matches, with letters and digits where it lets choose; checked.
pub(super) fn example(regex: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut state = 7;
    write(&parse(regex)?, &mut state, &mut out);
    let text = String::from_utf8(out).ok()?;
    let matches = shape::compile(regex).is_ok_and(|compiled| compiled.is_match(text.as_bytes()));
    (matches && !text.is_empty() && !text.contains("<>")).then_some(text)
}

fn write(hir: &Hir, state: &mut u32, out: &mut Vec<u8>) {
    if out.len() > MAX_SAMPLE {
        return;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.extend_from_slice(&literal.0),
        HirKind::Class(class) => out.extend(choice(class, state)),
        HirKind::Repetition(repetition) => {
            let least = if repetition.max == Some(0) {
                0
            } else {
                repetition.min.max(1)
            };
            for _ in 0..least.min(1024) {
                write(&repetition.sub, state, out);
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, state, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| write(part, state, out)),
        HirKind::Alternation(branches) => {
            if let Some(first) = branches.first() {
                write(first, state, out);
            }
        }
    }
}

/// One byte of a class, letters and digits first, another one each time.
fn choice(class: &Class, state: &mut u32) -> Option<u8> {
    let has = |byte: u8| match class {
        Class::Bytes(class) => class.ranges().iter().any(|r| (r.start()..=r.end()).contains(&byte)),
        Class::Unicode(class) => class
            .ranges()
            .iter()
            .any(|r| (r.start()..=r.end()).contains(&char::from(byte))),
    };
    let plain: Vec<u8> = (0..128).filter(|b: &u8| b.is_ascii_alphanumeric() && has(*b)).collect();
    let printable = || (32..127).find(|b| has(*b)).or_else(|| (0..128).find(|b| has(*b)));
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    let at = (*state >> 16) as usize;
    plain.get(at % plain.len().max(1)).copied().or_else(printable)
}

/// Rare texts of at least 3 bytes, one of which every match contains: those that are given if they will do, else
/// the longest that the expression shows; none if it shows none.
pub(super) fn keywords(regex: &str, given: &[String]) -> Option<Vec<String>> {
    let fits = |words: &[String]| {
        let good = words.iter().all(|word| source::is_keyword(word));
        !words.is_empty() && words.len() <= 64 && good && shape::proves(regex, words)
    };
    if fits(given) {
        return Some(given.to_vec());
    }
    let mut found = required(&parse(regex)?)?;
    found.sort();
    found.dedup();
    fits(&found).then_some(found)
}

/// The set of texts, of which a match contains one, whose shortest text is longest.
fn required(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => None,
        HirKind::Literal(_) | HirKind::Class(_) => fixed(hir).map(|text| vec![text]),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Repetition(_) => None,
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Concat(parts) => {
            let mut sets: Vec<Vec<String>> = parts.iter().filter_map(required).collect();
            let runs = parts.split(|part| fixed(part).is_none());
            sets.extend(runs.map(|run| vec![run.iter().filter_map(fixed).collect::<String>()]));
            let shortest = |set: &Vec<String>| set.iter().map(String::len).min().unwrap_or(0);
            sets.into_iter().max_by_key(shortest)
        }
        HirKind::Alternation(branches) => {
            let each: Option<Vec<Vec<String>>> = branches.iter().map(required).collect();
            each.map(|sets| sets.concat())
        }
    }
}

/// The one text, without case, that this part matches.
fn fixed(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(str::to_ascii_lowercase),
        HirKind::Class(Class::Bytes(class)) => {
            let bytes: Vec<u8> = class.ranges().iter().flat_map(|r| [r.start(), r.end()]).collect();
            let first = bytes.first()?.to_ascii_lowercase();
            let same = bytes.iter().all(|b| b.to_ascii_lowercase() == first) && first.is_ascii();
            same.then(|| char::from(first).to_string())
        }
        _ => None,
    }
}
