//! What can be said of an expression without running it: how far a match reaches around its keyword.
//!
//! The core never runs an expression over a whole text, but over a region
//! round a keyword. This module derives that region's bounds, and says when a
//! match may be longer than they are.

use regex_automata::meta;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Bytes searched before and after a keyword where the expression itself sets no smaller bound.
pub const OPEN: u32 = 4 << 10;
/// The same for armored blocks (`-----BEGIN …`), which have many lines.
pub const OPEN_ARMOR: u32 = 64 << 10;

/// How far a match can reach round the start of a keyword, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// The match starts at most this many bytes before the keyword's start.
    pub before: u32,
    /// The match ends at most this many bytes after the keyword's start.
    pub after: u32,
    /// Whether the match lies in one line, except perhaps for its first and last byte.
    pub one_line: bool,
}

pub(crate) fn parser() -> regex_syntax::Parser {
    regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build()
}

/// Bytes that a compiled expression may take.
pub(crate) const MAX_COMPILED: usize = 16 << 20;

/// How an expression is read: it matches bytes, and its classes are of ASCII.
pub(crate) fn syntax() -> regex_automata::util::syntax::Config {
    regex_automata::util::syntax::Config::new().unicode(false).utf8(false)
}

/// Compiles an expression: bytes, ASCII classes, bounded size.
///
/// # Errors
/// The reason, one or more lines, quoting the expression.
pub fn compile(regex: &str) -> Result<meta::Regex, String> {
    meta::Builder::new()
        .syntax(syntax())
        .configure(
            meta::Config::new()
                .utf8_empty(false)
                // Only regions round a keyword are searched: what finds literals would find that one again, and
                // costs more to make than all of the rest.
                .auto_prefilter(false)
                // Would serve matches alone, which are few.
                .onepass(false)
                // The machine that most searches run is made by itself (`expression`).
                .hybrid(false)
                .nfa_size_limit(Some(MAX_COMPILED)),
        )
        .build(regex)
        .map_err(|e| match e.syntax_error() {
            Some(syntax) => syntax.to_string(),
            None => e.to_string(),
        })
}

/// Whether an expression matches the empty text (or is none).
pub fn matches_empty(regex: &str) -> bool {
    parser()
        .parse(regex)
        .is_ok_and(|hir| hir.properties().minimum_len().is_none_or(|n| n == 0))
}

/// The bounds of a match of `regex` round one of `keywords`.
///
/// Where the expression has no bound of its own, [`OPEN`] or [`OPEN_ARMOR`] is
/// taken: a longer match is found cut, or not at all.
pub fn reach(regex: &str, keywords: &[String]) -> Reach {
    let armored = keywords
        .iter()
        .any(|k| k.starts_with("-----BEGIN") || k.contains("PRIVATE KEY"));
    let open = if armored { OPEN_ARMOR } else { OPEN };
    let Ok(hir) = parser().parse(regex) else {
        return Reach {
            before: open,
            after: open,
            one_line: false,
        };
    };
    let bound = |n: Option<usize>| {
        n.and_then(|n| u32::try_from(n).ok())
            .map_or(open, |n| n.min(OPEN_ARMOR))
    };
    let whole = bound(hir.properties().maximum_len());
    let folded: Vec<Vec<u8>> = keywords.iter().map(|k| k.to_ascii_lowercase().into_bytes()).collect();
    let before = match before_keyword(&hir, &folded) {
        Some(n) => bound(n).min(whole),
        None => whole,
    };
    Reach {
        before,
        after: whole,
        one_line: one_line(&hir),
    }
}

/// Whether only the first and the last byte of a match can be a line feed.
fn one_line(hir: &Hir) -> bool {
    let HirKind::Concat(parts) = hir.kind() else {
        return !feeds(hir);
    };
    let first = usize::from(single(&parts[0]));
    let last = parts.len() - usize::from(single(&parts[parts.len() - 1]));
    // Looks before the first or after the last byte may also stand at the ends.
    parts[first..last.max(first)].iter().all(|part| !feeds(part))
}

/// Whether an expression is a single byte wherever it can have a line feed.
fn single(part: &Hir) -> bool {
    match part.kind() {
        HirKind::Alternation(parts) => parts.iter().all(single),
        _ => !feeds(part) || part.properties().maximum_len().is_some_and(|n| n <= 1),
    }
}

/// Whether a line feed can be part of a match.
fn feeds(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => false,
        HirKind::Literal(literal) => literal.0.contains(&b'\n'),
        HirKind::Class(Class::Bytes(class)) => class.ranges().iter().any(|r| r.start() <= b'\n' && b'\n' <= r.end()),
        HirKind::Class(Class::Unicode(class)) => class.ranges().iter().any(|r| r.start() <= '\n' && '\n' <= r.end()),
        HirKind::Repetition(repetition) => feeds(&repetition.sub),
        HirKind::Capture(capture) => feeds(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(feeds),
    }
}

/// Whether every match certainly contains one of the keywords, compared without case.
pub fn proves(regex: &str, keywords: &[String]) -> bool {
    let folded: Vec<Vec<u8>> = keywords.iter().map(|k| k.to_ascii_lowercase().into_bytes()).collect();
    parser().parse(regex).is_ok_and(|hir| contains(&hir, &folded))
}

/// The most bytes of a match before a keyword that it certainly contains.
///
/// `None` when no keyword can be shown; `Some(None)` when there is no bound.
fn before_keyword(hir: &Hir, keywords: &[Vec<u8>]) -> Option<Option<usize>> {
    let parts = match hir.kind() {
        HirKind::Capture(capture) => return before_keyword(&capture.sub, keywords),
        HirKind::Alternation(branches) => {
            let each = branches.iter().map(|b| before_keyword(b, keywords));
            return each
                .collect::<Option<Option<Vec<usize>>>>()
                .map(|all| all?.into_iter().max());
        }
        HirKind::Concat(parts) => parts,
        _ if contains(hir, keywords) => return Some(before_in(hir, keywords)),
        _ => return None,
    };
    // The shortest head that contains a keyword, and the shortest end of that head which does.
    let holds = |from: usize, to: usize| contains(&Hir::concat(parts[from..to].to_vec()), keywords);
    let end = (1..=parts.len()).find(|end| holds(0, *end))?;
    let start = (0..end).rev().find(|start| holds(*start, end)).unwrap_or(0);
    let head = parts[..start]
        .iter()
        .map(|p| p.properties().maximum_len())
        .sum::<Option<usize>>();
    let inside = match &parts[start..end] {
        [part] => before_keyword(part, keywords).unwrap_or(part.properties().maximum_len()),
        several => before_in(&Hir::concat(several.to_vec()), keywords),
    };
    Some(head.zip(inside).map(|(a, b)| a + b))
}

/// The same for a part that contains a keyword and is not taken apart further.
fn before_in(part: &Hir, keywords: &[Vec<u8>]) -> Option<usize> {
    let first = |text: Vec<u8>| (0..text.len()).find(|at| keywords.iter().any(|k| text[*at..].starts_with(k)));
    let spelled = texts(part).and_then(|all| all.into_iter().map(first).max().flatten());
    spelled.or(part.properties().maximum_len())
}

/// Most texts and longest text that [`texts`] spells out.
const MAX_TEXTS: usize = 256;
const MAX_TEXT: usize = 64;

/// Whether every text that the expression matches contains a keyword; `false` when that cannot be shown.
fn contains(hir: &Hir, keywords: &[Vec<u8>]) -> bool {
    let any = |text: &Vec<u8>| holds(text, keywords);
    match hir.kind() {
        HirKind::Capture(capture) => contains(&capture.sub, keywords),
        HirKind::Repetition(repetition) => repetition.min > 0 && contains(&repetition.sub, keywords),
        HirKind::Alternation(branches) => branches.iter().all(|branch| contains(branch, keywords)),
        HirKind::Concat(parts) => {
            parts.iter().any(|part| contains(part, keywords))
                || (0..parts.len()).any(|from| run(&parts[from..], keywords))
        }
        _ => texts(hir).is_some_and(|all| !all.is_empty() && all.iter().all(any)),
    }
}

/// Whether neighbouring parts together contain a keyword from the first of them on.
fn run(parts: &[Hir], keywords: &[Vec<u8>]) -> bool {
    let mut heads = vec![Vec::new()];
    for part in parts {
        match texts(part).and_then(|tails| product(&heads, &tails)) {
            Some(longer) => heads = longer,
            None => return ends(part, &heads, keywords),
        }
        if heads.iter().all(|head| holds(head, keywords)) {
            return true;
        }
    }
    false
}

/// Whether each head holds a keyword, or would with what the part begins with.
fn ends(part: &Hir, heads: &[Vec<u8>], keywords: &[Vec<u8>]) -> bool {
    match part.kind() {
        HirKind::Capture(capture) => ends(&capture.sub, heads, keywords),
        HirKind::Alternation(branches) => branches.iter().all(|branch| ends(branch, heads, keywords)),
        HirKind::Concat(parts) => heads.iter().all(|head| {
            let head = Hir::literal(head.clone());
            run(&[&[head], parts.as_slice()].concat(), keywords)
        }),
        _ => heads.iter().all(|head| holds(head, keywords)),
    }
}

fn holds(text: &[u8], keywords: &[Vec<u8>]) -> bool {
    keywords
        .iter()
        .any(|k| text.windows(k.len()).any(|window| window == k.as_slice()))
}

/// Every text of a small finite expression, in lower case; `None` when there are too many.
pub(crate) fn texts(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    let mut all = match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![Vec::new()],
        HirKind::Literal(literal) => vec![literal.0.to_ascii_lowercase()],
        HirKind::Class(class) => class_texts(class)?,
        HirKind::Capture(capture) => texts(&capture.sub)?,
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(texts(branch)?);
            }
            all
        }
        HirKind::Concat(parts) => {
            let mut run = vec![Vec::new()];
            for part in parts {
                run = product(&run, &texts(part)?)?;
            }
            run
        }
        HirKind::Repetition(repetition) => {
            let max = repetition.max?;
            let sub = texts(&repetition.sub)?;
            let mut all = Vec::new();
            let mut run = vec![Vec::new()];
            for count in 0..=max {
                if count >= repetition.min {
                    all.extend(run.iter().cloned());
                }
                if count < max {
                    run = product(&run, &sub)?;
                }
            }
            all
        }
    };
    all.sort();
    all.dedup();
    (all.len() <= MAX_TEXTS && all.iter().all(|t| t.len() <= MAX_TEXT)).then_some(all)
}

fn class_texts(class: &Class) -> Option<Vec<Vec<u8>>> {
    let Class::Bytes(bytes) = class else {
        return class.literal().map(|text| vec![text.to_ascii_lowercase()]);
    };
    let mut all: Vec<u8> = bytes
        .ranges()
        .iter()
        .flat_map(|r| r.start()..=r.end())
        .map(|b| b.to_ascii_lowercase())
        .collect();
    all.sort_unstable();
    all.dedup();
    (all.len() <= 16).then(|| all.into_iter().map(|b| vec![b]).collect())
}

/// Each head with each tail; `None` when there are too many or they are too long.
pub(crate) fn product(heads: &[Vec<u8>], tails: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    if heads.len() * tails.len() > MAX_TEXTS {
        return None;
    }
    let joined: Vec<Vec<u8>> = heads
        .iter()
        .flat_map(|head| tails.iter().map(move |tail| [head.as_slice(), tail].concat()))
        .collect();
    joined.iter().all(|t| t.len() <= MAX_TEXT * 4).then_some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn a_prefixed_token_reaches_its_own_length() {
        let r = reach(
            r"\b(gh[pousr]_[A-Za-z0-9]{36})\b",
            &words(&["ghp_", "gho_", "ghu_", "ghs_", "ghr_"]),
        );
        assert_eq!(r.after, 40);
        assert_eq!((r.before, r.one_line), (0, true));
        assert!(proves(
            r"gh[pousr]_[A-Za-z0-9]{36}",
            &words(&["ghp_", "gho_", "ghu_", "ghs_", "ghr_"])
        ));
        assert!(!proves(r"gh[pousr]_[A-Za-z0-9]{36}", &words(&["ghp_"])));
    }

    #[test]
    fn case_insensitive_words_are_proved() {
        assert!(proves(
            r"(?i)[\w.-]{0,50}(?:password|passwd)\s*=\s*\S+",
            &words(&["password", "passwd"])
        ));
        let r = reach(
            r"(?i)[\w.-]{0,50}(?:password|passwd)\s*=\s*\S+",
            &words(&["password", "passwd"]),
        );
        assert_eq!(r.after, OPEN);
        assert_eq!((r.before, r.one_line), (50, false));
    }

    #[test]
    fn a_keyword_that_may_occur_earlier_extends_the_reach() {
        let r = reach(r"token[a-z]{0,9}=token", &words(&["token"]));
        assert_eq!(r.after, 20);
        assert!(r.before <= 20);
    }
}
