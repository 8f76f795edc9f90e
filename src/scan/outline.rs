//! What stands at and after a rule's keyword in every match: a few bytes' classes, told from the expression.
//!
//! Most places at which a keyword stands are no match, and most of those show
//! it in the next few bytes: `re_` in `pre_commit` has a letter before it,
//! `fb_info` no digits after it. Others lack what must follow on the line: an
//! equals sign, a quote, forty characters of a token. Looking at them is far
//! cheaper than to search with the expression, and spares compiling it.

use super::shape;
use regex_syntax::hir::{Class, Hir, HirKind, Look};
use std::borrow::Cow;
use std::ops::Range;

/// Bytes from the keyword's start on that are looked at.
const MAX_COLUMNS: usize = 24;
/// Runs that are looked for: the most telling.
const MAX_NEEDS: usize = 5;
/// Least bits that a run tells to be looked for.
const MIN_TOLD: f64 = 2.0;

/// A set of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) [u64; 4]);

impl Bytes {
    const NONE: Self = Self([0; 4]);
    const ALL: Self = Self([u64::MAX; 4]);

    fn holds(self, byte: u8) -> bool {
        self.0[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
    }

    fn with(mut self, byte: u8) -> Self {
        self.0[usize::from(byte / 64)] |= 1 << (byte % 64);
        self
    }

    fn of(bytes: impl IntoIterator<Item = u8>) -> Self {
        bytes.into_iter().fold(Self::NONE, Self::with)
    }

    fn or(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    fn count(self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether all of them are of a kind.
    fn all(self, kind: impl Fn(u8) -> bool) -> bool {
        (0..=u8::MAX).filter(|byte| self.holds(*byte)).all(kind)
    }
}

/// The bytes round a keyword's start without which there is no match.
#[derive(Debug, PartialEq)]
pub(crate) struct Outline {
    /// What may stand before it; the text's start always may.
    pub(crate) before: Bytes,
    /// What stands from it on, byte by byte.
    pub(crate) after: Cow<'static, [Bytes]>,
    /// Runs that stand somewhere from it on, one after the other.
    pub(crate) needs: Cow<'static, [Need]>,
    /// Whether the keyword's place is known; else the runs may also stand before it.
    pub(crate) known: bool,
}

/// A run of at least so many bytes of a class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Need {
    pub(crate) class: Bytes,
    pub(crate) least: usize,
}

impl Need {
    /// How many bits of information it is that a text has such a run, roughly.
    fn told(self) -> f64 {
        self.least as f64 * (256.0 / f64::from(self.class.count().max(1))).log2()
    }

    /// Where the first such run of a text has its least length; looks at the last byte of each possible one first.
    fn met(self, text: &[u8]) -> Option<usize> {
        if self.least == 1 {
            return text.iter().position(|byte| self.class.holds(*byte)).map(|at| at + 1);
        }
        let mut start = 0;
        loop {
            let run = text.get(start..start + self.least)?;
            match run.iter().rposition(|byte| !self.class.holds(*byte)) {
                Some(gap) => start += gap + 1,
                None => return Some(start + self.least),
            }
        }
    }
}

impl Outline {
    /// Demands nothing.
    pub(crate) const fn open() -> Self {
        Self {
            before: Bytes::ALL,
            after: Cow::Borrowed(&[]),
            needs: Cow::Borrowed(&[]),
            known: false,
        }
    }

    /// The outline of an expression, each match of which holds one of the keywords; they are in lower case.
    ///
    /// Demands nothing where it cannot be shown that each match holds a
    /// keyword at one and the same place of the expression.
    pub(crate) fn of(regex: &str, keywords: &[&str]) -> Self {
        let mut this = Self::open();
        let Ok(hir) = shape::parser().parse(regex) else {
            return this;
        };
        let mut parts = Vec::new();
        flatten(&hir, &mut parts);
        let empty = |part: &Hir| matches!(part.kind(), HirKind::Empty | HirKind::Look(_));
        let found = (0..parts.len()).find(|at| !empty(parts[*at]) && begins(&parts[*at..], keywords));
        if let Some(at) = found {
            this.known = true;
            this.after = concat(parts[at..].iter().copied()).columns.into();
            let first = this.after.first().copied().unwrap_or(Bytes::ALL);
            this.before = at.checked_sub(1).map_or(Bytes::ALL, |i| edge(parts[i], first));
        }
        let mut all = Vec::new();
        parts[found.unwrap_or(0)..]
            .iter()
            .for_each(|part| needs(part, &mut all));
        // A letter or a digit stands anywhere; the keyword's own would be the first to be found.
        let sign = |need: &Need| need.class.all(|byte| !byte.is_ascii_alphanumeric());
        all.retain(|need| need.told() >= MIN_TOLD && (need.least > 1 || sign(need)));
        let mut best: Vec<(usize, Need)> = all.into_iter().enumerate().collect();
        best.sort_by(|(_, a), (_, b)| b.told().total_cmp(&a.told()));
        best.truncate(MAX_NEEDS);
        best.sort_by_key(|(place, _)| *place);
        this.needs = best.into_iter().map(|(_, need)| need).collect();
        this
    }

    /// Whether a match may hold the keyword that starts at `at`: the bytes next to it.
    pub(crate) fn admits(&self, text: &[u8], at: usize) -> bool {
        let before = at == 0 || self.before.holds(text[at - 1]);
        let here = &text[at..];
        before && here.len() >= self.after.len() && self.after.iter().zip(here).all(|(class, byte)| class.holds(*byte))
    }

    /// The same: the bytes of the region in which a match with it lies.
    pub(crate) fn admits_region(&self, text: &[u8], at: usize, region: &Range<usize>) -> bool {
        let mut rest = &text[if self.known { at } else { region.start }..region.end];
        // Whatever runs a match has, those that end first leave the most for the next ones.
        self.needs.iter().all(|need| {
            let end = need.met(rest);
            rest = &rest[end.unwrap_or(0)..];
            end.is_some()
        })
    }
}

/// Adds the runs that every text of an expression has.
fn needs(hir: &Hir, all: &mut Vec<Need>) {
    let mut add = |class, least| all.push(Need { class, least });
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => literal.0.iter().for_each(|byte| add(Bytes::of([*byte]), 1)),
        HirKind::Class(class) => bytes(class).into_iter().for_each(|class| add(class, 1)),
        HirKind::Capture(capture) => needs(&capture.sub, all),
        HirKind::Concat(parts) => parts.iter().for_each(|part| needs(part, all)),
        HirKind::Repetition(repetition) if repetition.min == 0 => {}
        HirKind::Repetition(repetition) => match single(&repetition.sub) {
            Some(class) => add(class, repetition.min as usize),
            None => needs(&repetition.sub, all),
        },
        HirKind::Alternation(branches) => all.extend(either(branches)),
    }
}

/// The class of an expression of exactly one byte.
fn single(hir: &Hir) -> Option<Bytes> {
    match hir.kind() {
        HirKind::Class(class) => bytes(class),
        HirKind::Capture(capture) => single(&capture.sub),
        _ => None,
    }
}

/// A run that each of the branches has: the most telling of each, taken together.
fn either(branches: &[Hir]) -> Option<Need> {
    let each = branches.iter().map(|branch| {
        let mut all = Vec::new();
        needs(branch, &mut all);
        all.into_iter().max_by(|a, b| a.told().total_cmp(&b.told()))
    });
    let each: Option<Vec<Need>> = each.collect();
    each?.into_iter().reduce(|a, b| Need {
        class: a.class.or(b.class),
        least: a.least.min(b.least),
    })
}

/// The parts of an expression one after the other, groups opened.
fn flatten<'h>(hir: &'h Hir, parts: &mut Vec<&'h Hir>) {
    match hir.kind() {
        HirKind::Capture(capture) => flatten(&capture.sub, parts),
        HirKind::Concat(inner) => inner.iter().for_each(|part| flatten(part, parts)),
        _ => parts.push(hir),
    }
}

/// Whether every text of these parts begins with a keyword.
fn begins(parts: &[&Hir], keywords: &[&str]) -> bool {
    let mut heads = vec![Vec::new()];
    for part in parts {
        let longer = shape::texts(part).and_then(|tails| shape::product(&heads, &tails));
        let Some(longer) = longer else {
            return false;
        };
        heads = longer;
        let keyword = |head: &Vec<u8>| keywords.iter().any(|k| head.starts_with(k.as_bytes()));
        if heads.iter().all(keyword) {
            return true;
        }
    }
    false
}

/// The bytes at the start of an expression's texts.
struct Columns {
    /// Each text has at least so many bytes, and they are of these classes.
    columns: Vec<Bytes>,
    /// Whether no text has more.
    whole: bool,
}

impl Columns {
    fn whole(columns: Vec<Bytes>) -> Self {
        Self { columns, whole: true }.cut()
    }

    fn start(columns: Vec<Bytes>) -> Self {
        Self { columns, whole: false }.cut()
    }

    fn cut(mut self) -> Self {
        self.whole &= self.columns.len() <= MAX_COLUMNS;
        self.columns.truncate(MAX_COLUMNS);
        self
    }
}

fn columns(hir: &Hir) -> Columns {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Columns::whole(Vec::new()),
        HirKind::Literal(literal) => Columns::whole(literal.0.iter().map(|b| Bytes::of([*b])).collect()),
        HirKind::Class(class) => match bytes(class) {
            Some(bytes) => Columns::whole(vec![bytes]),
            None => Columns::start(Vec::new()),
        },
        HirKind::Capture(capture) => columns(&capture.sub),
        HirKind::Concat(parts) => concat(parts.iter()),
        HirKind::Alternation(branches) => alternation(branches),
        HirKind::Repetition(repetition) => {
            let count = (repetition.min as usize).min(MAX_COLUMNS + 1);
            let least = concat(std::iter::repeat_n(&*repetition.sub, count));
            match repetition.max {
                Some(max) if max == repetition.min => least,
                _ => Columns::start(least.columns),
            }
        }
    }
}

fn concat<'h>(parts: impl Iterator<Item = &'h Hir>) -> Columns {
    let mut all = Vec::new();
    for part in parts {
        let next = columns(part);
        all.extend(next.columns);
        if !next.whole || all.len() > MAX_COLUMNS {
            return Columns::start(all);
        }
    }
    Columns::whole(all)
}

fn alternation(branches: &[Hir]) -> Columns {
    let each = branches.iter().map(columns);
    let joined = each.reduce(|a, b| Columns {
        whole: a.whole && b.whole && a.columns.len() == b.columns.len(),
        columns: a.columns.iter().zip(&b.columns).map(|(a, b)| a.or(*b)).collect(),
    });
    joined.unwrap_or(Columns::start(Vec::new()))
}

/// The bytes of a class; `None` for characters that may have several.
fn bytes(class: &Class) -> Option<Bytes> {
    match class {
        Class::Bytes(class) => {
            let ranges = class.ranges().iter();
            Some(Bytes::of(ranges.flat_map(|range| range.start()..=range.end())))
        }
        Class::Unicode(_) => None,
    }
}

/// What the part before the keyword demands of the byte there.
///
/// * `first`: what the keyword may begin with.
fn edge(part: &Hir, first: Bytes) -> Bytes {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let class = |kind: &dyn Fn(u8) -> bool| Bytes::of((0..=u8::MAX).filter(|byte| kind(*byte)));
    match part.kind() {
        HirKind::Class(of) => bytes(of).unwrap_or(Bytes::ALL),
        HirKind::Look(Look::Start) => Bytes::NONE,
        HirKind::Look(Look::StartLF) => Bytes::of([b'\n']),
        HirKind::Look(Look::WordAscii) if first.all(word) => class(&|byte| !word(byte)),
        HirKind::Alternation(branches) => {
            let each = branches.iter().map(|branch| edge(branch, first));
            each.fold(Bytes::NONE, Bytes::or)
        }
        HirKind::Capture(capture) => edge(&capture.sub, first),
        _ => Bytes::ALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(regex: &str, keywords: &[&str], text: &str, at: usize) -> bool {
        Outline::of(regex, keywords).admits(text.as_bytes(), at)
    }

    #[test]
    fn what_no_match_can_have_is_not_admitted() {
        let regex = r"\b(re_[A-Za-z0-9]{8}_[a-z]{3,9})\b";
        let text = "re_a1B2c3D4_xyz";
        assert!(admits(regex, &["re_"], text, 0));
        assert!(admits(regex, &["re_"], &format!(" {text}"), 1));
        assert!(!admits(regex, &["re_"], &format!("p{text}"), 1));
        assert!(!admits(regex, &["re_"], "re_commit_message", 0));
        assert!(!admits(regex, &["re_"], &text[..14], 0));
        assert!(!admits(regex, &["re_"], &text.to_uppercase(), 0));
    }

    #[test]
    fn a_keyword_inside_counts_from_where_it_stands() {
        let regex = r"(?i)[\w-]{0,9}(?:token|key)\s?[:=][a-f0-9]{4}";
        assert!(admits(regex, &["token", "key"], "my-Key:0a1b", 3));
        assert!(admits(regex, &["token", "key"], "my-token =0a1b", 3));
        assert!(!admits(regex, &["token", "key"], "to", 0));
    }

    #[test]
    fn what_cannot_be_shown_demands_nothing() {
        for (regex, keywords) in [
            (r"[a-z]{0,9}x?key=\d{8}", &["xkey", "key"][..]),
            (r"(?:a|\d{3}token)\d{9}", &["token"]),
            (r"(", &["token"]),
        ] {
            assert!(admits(regex, keywords, "token", 0), "{regex}");
        }
    }

    #[test]
    fn a_region_has_what_every_match_has() {
        let regex = r#"(?i)password["']?\s?[:=]\s?["']([^"'\s]{8,40})["']"#;
        let outline = Outline::of(regex, &["password"]);
        let admits = |text: &str, at: usize| outline.admits_region(text.as_bytes(), at, &(0..text.len()));
        assert!(admits(concat!("password = 'hunter", "22'"), 0));
        assert!(!admits("'= hunter22' password", 13));
        // Each run stands behind the one before it.
        assert!(!admits("password '' = x", 0));
        assert!(!admits("password '' = 'x", 0));
        assert!(!admits("the password is hunter22", 4));
        // Where the keyword's place is not known, all of the region counts.
        let regex = r"(?:[a-f0-9]{16} token|token [a-f0-9]{24})";
        let outline = Outline::of(regex, &["token"]);
        let admits = |text: &str, at: usize| outline.admits_region(text.as_bytes(), at, &(0..text.len()));
        assert!(admits("0123456789abcdef token", 17));
        assert!(!admits("0123456 token 01234567", 8));
    }

    #[test]
    fn edges_that_may_be_empty_are_read_as_such() {
        let regex = r#"(?:^|[="])(sk_[0-9]{4})"#;
        assert!(admits(regex, &["sk_"], "sk_1234", 0));
        assert!(admits(regex, &["sk_"], "=sk_1234", 1));
        assert!(!admits(regex, &["sk_"], "ask_1234", 1));
    }
}
