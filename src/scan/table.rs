//! The prefilter's tables: which four bytes stand for which keyword, and the masks that find them.
//!
//! Each keyword is represented by a four-byte window that is rare, folded with
//! `| 0x20`; a keyword of three bytes by those three and any fourth. A window
//! must pass the nibble masks of one of 32 buckets, then one bit of a 64-Kbit
//! bitmap, before its keyword is compared. The build script makes the tables
//! of the shipped rules; the run-time loader those of other rules. Which window
//! and which bucket: `buckets`.

use super::buckets::{self, Choice, GROUPS, Pattern};
use std::borrow::Cow;
use std::collections::HashMap;

/// Nibble masks: `[group][byte][nibble]`, a bit for each of the group's 8 buckets.
pub(crate) type Nibbles<const GROUPS: usize, const BYTES: usize> = [[[u8; 16]; BYTES]; GROUPS];

/// Forms of some bytes that a pass over all bytes finds: those for which a bucket has the nibbles of every byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Set<const GROUPS: usize, const BYTES: usize> {
    /// Masks of low nibbles.
    pub(crate) low: Nibbles<GROUPS, BYTES>,
    /// Masks of high nibbles.
    pub(crate) high: Nibbles<GROUPS, BYTES>,
}

impl<const GROUPS: usize, const BYTES: usize> Set<GROUPS, BYTES> {
    /// Whether bytes pass.
    pub(crate) fn admits(&self, bytes: [u8; BYTES]) -> bool {
        self.low.iter().zip(&self.high).any(|(low, high)| {
            let each = low.iter().zip(high).zip(bytes);
            let both = each.map(|((low, high), byte)| low[usize::from(byte & 15)] & high[usize::from(byte >> 4)]);
            both.fold(u8::MAX, |all, one| all & one) != 0
        })
    }
}

impl<const BYTES: usize> Set<1, BYTES> {
    /// A set of at most eight forms, each given by the low and the high nibbles that its bytes may have.
    pub(crate) const fn of(forms: &[[(u16, u16); BYTES]]) -> Self {
        assert!(forms.len() <= 8);
        let mut set = Self {
            low: [[[0; 16]; BYTES]; 1],
            high: [[[0; 16]; BYTES]; 1],
        };
        let mut form = 0;
        while form < forms.len() {
            let mut at = 0;
            while at < BYTES * 16 {
                let (byte, nibble) = (at / 16, at % 16);
                let (low, high) = forms[form][byte];
                set.low[0][byte][nibble] |= ((low >> nibble & 1) as u8) << form;
                set.high[0][byte][nibble] |= ((high >> nibble & 1) as u8) << form;
                at += 1;
            }
            form += 1;
        }
        set
    }
}

/// The masks of windows.
pub(crate) type Masks = Set<GROUPS, 4>;

/// Words of the bitmap of full windows: 256 Kbit, so that one window in 90 that is not ours passes.
pub(crate) const BITMAP_WORDS: usize = 4096;
/// Parts of the full windows by their hash: about one each.
pub(crate) const SLOTS: usize = 1024;
/// Words of the bitmap of open windows, which are few: 4 Kbit.
pub(crate) const OPEN_WORDS: usize = 64;

/// The low nibbles of some bytes, as a set.
pub(crate) const fn nibbles(bytes: &[u8]) -> u16 {
    let (mut set, mut i) = (0, 0);
    while i < bytes.len() {
        set |= 1 << (bytes[i] & 15);
        i += 1;
    }
    set
}

/// A keyword and the rules that it may announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keyword {
    /// The text; compared without ASCII case.
    pub(crate) text: Cow<'static, str>,
    /// Numbers of rules.
    pub(crate) rules: Cow<'static, [u16]>,
}

/// A window of a keyword.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Window {
    /// The folded bytes, the first in the lowest bits; an open window's fourth is 0.
    pub(crate) key: u32,
    /// The keyword's number.
    pub(crate) keyword: u16,
    /// Where in the keyword the window stands.
    pub(crate) offset: u8,
}

/// The prefilter's tables for one set of keywords.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    /// Masks of the windows' nibbles.
    pub(crate) masks: Set<GROUPS, 4>,
    /// A bit for each hash of a full window, and of an open one with every fourth byte: one look-up tells both.
    pub(crate) bitmap: Cow<'static, [u64; BITMAP_WORDS]>,
    /// A bit for each hash of an open window's three bytes.
    pub(crate) open_bitmap: Cow<'static, [u64; OPEN_WORDS]>,
    /// Where the windows of each slot begin in `full`, and where the last ends.
    pub(crate) slots: Cow<'static, [u16; SLOTS + 1]>,
    /// Windows of four bytes, sorted by slot.
    pub(crate) full: Cow<'static, [Window]>,
    /// Windows of three bytes, sorted.
    pub(crate) open: Cow<'static, [Window]>,
    /// The keywords.
    pub(crate) keywords: Cow<'static, [Keyword]>,
}

/// Joins upper and lower case (and some other pairs, which the comparison after it tells apart).
pub(crate) const FOLD: u32 = 0x2020_2020;
/// What of a window counts when it is open.
pub(crate) const OPEN_MASK: u32 = 0x00ff_ffff;

#[inline(always)]
fn hash(window: u32) -> u32 {
    window.wrapping_mul(0x9E37_79B1)
}

/// The bitmap's bit for a folded window: the product's upper bits, as many as number the bitmap's bits.
#[inline(always)]
fn bit<const WORDS: usize>(window: u32) -> (usize, u32) {
    let bit = hash(window) >> (u32::BITS - (WORDS * 64).trailing_zeros());
    (bit as usize / 64 % WORDS, bit % 64)
}

#[inline(always)]
fn test<const WORDS: usize>(bitmap: &[u64; WORDS], window: u32) -> bool {
    let (word, bit) = bit::<WORDS>(window);
    bitmap[word] >> bit & 1 == 1
}

impl Table {
    /// Whether a folded window that passes the masks may be one of ours.
    #[inline(always)]
    pub(crate) fn in_bitmap(&self, window: u32) -> bool {
        test(&self.bitmap, window)
    }

    /// For each keyword the window that stands for it, and where in the keyword that is.
    pub(crate) fn chosen(&self) -> Vec<(Pattern, usize)> {
        let none = Pattern {
            bytes: [0; 4],
            open: false,
        };
        let mut windows = vec![(none, 0); self.keywords.len()];
        for (side, open) in [(&self.full, false), (&self.open, true)] {
            for window in side.iter() {
                let bytes = window.key.to_le_bytes();
                windows[usize::from(window.keyword)] = (Pattern { bytes, open }, usize::from(window.offset));
            }
        }
        windows
    }

    /// The windows that a folded window equals.
    pub(crate) fn windows(&self, window: u32) -> impl Iterator<Item = &Window> {
        let slot = slot(window);
        let here = usize::from(self.slots[slot])..usize::from(self.slots[slot + 1]);
        let full = self.full[here].iter().filter(move |w| w.key == window);
        let three = window & OPEN_MASK;
        let open = test(&self.open_bitmap, three).then(|| equal(&self.open, three));
        full.chain(open.into_iter().flatten())
    }
}

fn equal(sorted: &[Window], key: u32) -> impl Iterator<Item = &Window> {
    let from = sorted.partition_point(|w| w.key < key);
    sorted[from..].iter().take_while(move |w| w.key == key)
}

/// The part of the full windows in which a folded window would be.
fn slot(window: u32) -> usize {
    (hash(window) >> (u32::BITS - SLOTS.trailing_zeros())) as usize % SLOTS
}

/// Makes the tables for rules' keywords.
///
/// * `rules`: each rule's keywords, of 3 to 255 ASCII bytes, by rule number; at most 65,535 in all.
pub(crate) fn build(rules: &[&[String]]) -> Table {
    let mut keywords = Vec::new();
    collect(&mut keywords, 0, rules);
    keywords.sort_by(|a: &Keyword, b| a.text.cmp(&b.text));
    let texts: Vec<&str> = keywords.iter().map(|keyword| keyword.text.as_ref()).collect();
    let choice = buckets::choose(&texts);
    assemble(keywords, &choice)
}

/// Makes the tables for the keywords of `base` and of more rules, whose numbers go on from `first`.
///
/// What stands for the keywords of `base` stays, so that this takes a few milliseconds.
pub(crate) fn extend(base: &Table, first: u16, rules: &[&[String]]) -> Table {
    let mut keywords = base.keywords.to_vec();
    let known = keywords.len();
    collect(&mut keywords, first, rules);
    let mut windows = base.chosen();
    let patterns: Vec<Pattern> = windows.iter().map(|(pattern, _)| *pattern).collect();
    let texts: Vec<&str> = keywords[known..].iter().map(|keyword| keyword.text.as_ref()).collect();
    let more = buckets::extend(&base.masks, &patterns, &texts);
    windows.extend(more.windows);
    let masks = more.masks;
    assemble(keywords, &Choice { windows, masks })
}

/// Makes the tables of keywords and of what was chosen to stand for each.
pub(crate) fn assemble(keywords: Vec<Keyword>, choice: &Choice) -> Table {
    let (chosen, masks) = (choice.windows.as_slice(), choice.masks);
    let window = |(number, (pattern, offset)): (usize, &(Pattern, usize))| Window {
        key: pattern.key(),
        keyword: number as u16,
        offset: *offset as u8,
    };
    let side = |open: bool| {
        let side = chosen
            .iter()
            .enumerate()
            .filter(|(_, (pattern, _))| pattern.open == open);
        let mut side: Vec<Window> = side.map(window).collect();
        side.sort();
        side
    };
    let (mut full, open) = (side(false), side(true));
    full.sort_by_key(|window| slot(window.key));
    let slots = std::array::from_fn(|i| full.partition_point(|window| slot(window.key) < i) as u16);
    Table {
        masks,
        bitmap: Cow::Owned(bitmap(chosen)),
        open_bitmap: Cow::Owned(open_bitmap(chosen)),
        slots: Cow::Owned(slots),
        full: Cow::Owned(full),
        open: Cow::Owned(open),
        keywords: Cow::Owned(keywords),
    }
}

/// Adds rules' keywords, each text once and in lower case.
fn collect(keywords: &mut Vec<Keyword>, first: u16, rules: &[&[String]]) {
    let numbered = keywords.iter().enumerate();
    let mut numbers: HashMap<String, usize> = numbered.map(|(i, keyword)| (keyword.text.to_string(), i)).collect();
    for (rule, words) in (first..).zip(rules) {
        for word in *words {
            let text = word.to_ascii_lowercase();
            let number = *numbers.entry(text.clone()).or_insert_with(|| {
                keywords.push(Keyword {
                    text: Cow::Owned(text),
                    rules: Cow::Borrowed(&[]),
                });
                keywords.len() - 1
            });
            let rules = keywords[number].rules.to_mut();
            if rules.last() != Some(&rule) {
                rules.push(rule);
            }
        }
    }
}

/// The bitmap of all windows.
fn bitmap(chosen: &[(Pattern, usize)]) -> [u64; BITMAP_WORDS] {
    let (open, full): (Vec<Pattern>, Vec<Pattern>) = chosen.iter().map(|(pattern, _)| *pattern).partition(|p| p.open);
    let fourth = (0..=u8::MAX).filter(|byte| byte | FOLD as u8 == *byte);
    let any = open
        .iter()
        .flat_map(|p: &Pattern| fourth.clone().map(|byte| p.key() | u32::from(byte) << 24));
    bits(full.iter().map(|p| p.key()).chain(any))
}

/// The bitmap of the three bytes of open windows.
fn open_bitmap(chosen: &[(Pattern, usize)]) -> [u64; OPEN_WORDS] {
    bits(chosen.iter().filter(|(p, _)| p.open).map(|(p, _)| p.key()))
}

/// A bit for the hash of each window.
fn bits<const WORDS: usize>(windows: impl Iterator<Item = u32>) -> [u64; WORDS] {
    let mut bitmap = [0; WORDS];
    for window in windows {
        let (word, bit) = bit::<WORDS>(window);
        bitmap[word] |= 1 << bit;
    }
    bitmap
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    /// The rules of every keyword that the prefilter finds in a text.
    fn announced(table: &Table, text: &str) -> Vec<u16> {
        let padded = format!("{text}\0");
        let windows = padded.as_bytes().windows(4);
        let found = windows.flat_map(|w| {
            let folded = u32::from_le_bytes([w[0], w[1], w[2], w[3]]) | FOLD;
            let passes = table.masks.admits(folded.to_le_bytes()) && table.in_bitmap(folded);
            passes.then(|| table.windows(folded)).into_iter().flatten()
        });
        let mut rules: Vec<u16> = found
            .flat_map(|window| table.keywords[usize::from(window.keyword)].rules.to_vec())
            .collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    const WORDS: [&str; 6] = ["ghp_", "sk-", "password", "-----BEGIN", "AKIA", "x.Y"];

    #[test]
    fn every_keyword_is_admitted_in_any_case() {
        let each: Vec<Vec<String>> = WORDS.iter().map(|word| words(&[word])).collect();
        let table = build(&each.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for (number, word) in WORDS.iter().enumerate() {
            for text in [word.to_ascii_uppercase(), word.to_ascii_lowercase()] {
                assert!(announced(&table, &text).contains(&(number as u16)), "{text}");
            }
        }
    }

    #[test]
    fn a_table_that_is_extended_has_the_old_and_the_new() {
        let base = build(&[&words(&WORDS)]);
        let more = [words(&["Passport", "sk-"]), words(&["GHP_", "zq~"])];
        let table = extend(&base, 1, &[&more[0], &more[1]]);
        for (text, rules) in [
            ("passport", &[1][..]),
            ("SK-", &[0, 1]),
            ("ghp_", &[0, 2]),
            ("zq~", &[2]),
            ("akia", &[0]),
        ] {
            assert_eq!(announced(&table, text), rules, "{text}");
        }
    }

    #[test]
    fn one_keyword_may_serve_several_rules() {
        let (a, b) = (words(&["Token"]), words(&["tokeN"]));
        assert_eq!(*build(&[&a, &b]).keywords[0].rules, [0, 1]);
    }
}
