//! The prefilter's tables: which four bytes stand for which keyword, and the masks that find them.
//!
//! Each keyword is represented by its rarest four-byte window, folded with
//! `| 0x20`; a keyword of three bytes by those three and any fourth. A window
//! must pass the nibble masks of one of 32 buckets, then one bit of a 256-Kbit
//! bitmap, before its keyword is compared. The build script makes the tables
//! of the shipped rules; the run-time loader those of other rules.

use std::borrow::Cow;

/// Groups of 8 buckets. With 16 buckets for 600 windows every fourth position of source text passed, with 32 every
/// twelfth; comparing those costs more than the second pair of groups.
pub(crate) const GROUPS: usize = 4;

/// Nibble masks: `[group][byte of the window][nibble]`, a bit for each of the group's 8 buckets.
pub(crate) type Nibbles = [[[u8; 16]; 4]; GROUPS];

/// Words of the bitmap of full windows: 256 Kbit, so that one window in 400 that is not ours passes.
pub(crate) const BITMAP_WORDS: usize = 4096;
/// Words of the bitmap of open windows, which are few: 4 Kbit.
pub(crate) const OPEN_WORDS: usize = 64;

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
    /// Masks of low nibbles.
    pub(crate) low: Nibbles,
    /// Masks of high nibbles.
    pub(crate) high: Nibbles,
    /// A bit for each hash of a full window.
    pub(crate) bitmap: Cow<'static, [u64; BITMAP_WORDS]>,
    /// A bit for each hash of an open window's three bytes.
    pub(crate) open_bitmap: Cow<'static, [u64; OPEN_WORDS]>,
    /// Windows of four bytes, sorted.
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

/// The bitmap's bit for a folded window: the product's upper bits, as many as number the bitmap's bits.
#[inline(always)]
fn bit<const WORDS: usize>(window: u32) -> (usize, u32) {
    let bit = window.wrapping_mul(0x9E37_79B1) >> (u32::BITS - (WORDS * 64).trailing_zeros());
    (bit as usize / 64 % WORDS, bit % 64)
}

#[inline(always)]
fn test<const WORDS: usize>(bitmap: &[u64; WORDS], window: u32) -> bool {
    let (word, bit) = bit::<WORDS>(window);
    bitmap[word] >> bit & 1 == 1
}

impl Table {
    /// Whether a folded window may be one of ours: exactly what the vector code computes.
    #[inline(always)]
    pub(crate) fn admits(&self, window: u32) -> bool {
        self.in_bitmap(window) && self.in_buckets(window)
    }

    #[inline(always)]
    pub(crate) fn in_bitmap(&self, window: u32) -> bool {
        test(&self.bitmap, window) | test(&self.open_bitmap, window & OPEN_MASK)
    }

    fn in_buckets(&self, window: u32) -> bool {
        let bytes = window.to_le_bytes();
        (0..GROUPS).any(|group| {
            let passes = |j: usize| {
                let (low, high) = (usize::from(bytes[j] & 15), usize::from(bytes[j] >> 4));
                self.low[group][j][low] & self.high[group][j][high]
            };
            passes(0) & passes(1) & passes(2) & passes(3) != 0
        })
    }

    /// The windows that a folded window equals.
    pub(crate) fn windows(&self, window: u32) -> impl Iterator<Item = &Window> {
        equal(&self.full, window).chain(equal(&self.open, window & OPEN_MASK))
    }
}

fn equal(sorted: &[Window], key: u32) -> impl Iterator<Item = &Window> {
    let from = sorted.partition_point(|w| w.key < key);
    sorted[from..].iter().take_while(move |w| w.key == key)
}

/// Makes the tables for rules' keywords.
///
/// * `rules`: each rule's keywords, of 3 to 255 ASCII bytes, by rule number.
pub(crate) fn build(rules: &[&[String]]) -> Table {
    let keywords = collect(rules);
    let common = common();
    let mut windows: Vec<(Pattern, Window)> = Vec::new();
    for (number, keyword) in keywords.iter().enumerate() {
        let (pattern, offset) = rarest(keyword.text.as_bytes(), &common);
        let window = Window {
            key: pattern.key(),
            keyword: number as u16,
            offset: offset as u8,
        };
        windows.push((pattern, window));
    }
    let mut patterns: Vec<Pattern> = windows.iter().map(|(pattern, _)| *pattern).collect();
    patterns.sort();
    patterns.dedup();
    let (low, high) = masks(&distribute(&patterns, &common));
    let side = |open: bool| {
        let chosen = windows.iter().filter(|(p, _)| p.open == open).map(|(_, w)| w.clone());
        let mut chosen: Vec<Window> = chosen.collect();
        chosen.sort();
        Cow::Owned(chosen)
    };
    Table {
        low,
        high,
        bitmap: Cow::Owned(bitmap(&patterns, false)),
        open_bitmap: Cow::Owned(bitmap(&patterns, true)),
        full: side(false),
        open: side(true),
        keywords: Cow::Owned(keywords),
    }
}

/// The distinct keywords, without case, sorted, with their rules.
fn collect(rules: &[&[String]]) -> Vec<Keyword> {
    let mut map = std::collections::BTreeMap::<String, Vec<u16>>::new();
    for (number, words) in rules.iter().enumerate() {
        for word in *words {
            let rules = map.entry(word.to_ascii_lowercase()).or_default();
            if rules.last() != Some(&(number as u16)) {
                rules.push(number as u16);
            }
        }
    }
    map.into_iter()
        .map(|(text, rules)| Keyword {
            text: Cow::Owned(text),
            rules: Cow::Owned(rules),
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    bytes: [u8; 4],
    open: bool,
}

impl Pattern {
    fn key(self) -> u32 {
        u32::from_le_bytes(self.bytes)
    }

    fn probability(self, common: &[Gram]) -> f64 {
        let count = if self.open { 3 } else { 4 };
        let product: f64 = self.bytes[..count].iter().map(|b| frequency(*b)).product();
        let same = common.iter().filter(|gram| gram.bytes[..count] == self.bytes[..count]);
        product.min(1e-5) + same.map(|gram| gram.frequency).sum::<f64>()
    }
}

/// A common window of ordinary text.
struct Gram {
    bytes: [u8; 4],
    frequency: f64,
}

/// The 1,500 most common windows, which make two fifths of ordinary text.
///
/// Bytes are not independent: without these, `link` of `linkedin` and `tabl`
/// of `airtable` would pass for rare.
fn common() -> Vec<Gram> {
    let line = |line: &str| {
        let (bytes, count) = line.split_at_checked(4)?;
        let bytes: Vec<u8> = bytes.bytes().map(|b| b | 0x20).collect();
        Some(Gram {
            bytes: bytes.try_into().ok()?,
            frequency: count.trim().parse::<f64>().ok()? / 1e6,
        })
    };
    include_str!("common.txt")
        .lines()
        .filter(|l| !l.starts_with("# "))
        .filter_map(line)
        .collect()
}

/// The rarest window of a keyword, and where it stands.
fn rarest(keyword: &[u8], common: &[Gram]) -> (Pattern, usize) {
    let folded: Vec<u8> = keyword.iter().map(|b| b | 0x20).collect();
    let open = folded.len() < 4;
    let width = if open { 3 } else { 4 };
    let mut best = (Pattern { bytes: [0; 4], open }, 0, f64::INFINITY);
    for (offset, window) in folded.windows(width).enumerate() {
        let mut pattern = Pattern { bytes: [0; 4], open };
        pattern.bytes[..width].copy_from_slice(window);
        let probability = pattern.probability(common);
        if probability < best.2 {
            best = (pattern, offset, probability);
        }
    }
    (best.0, best.1)
}

/// How often a folded byte occurs in source text, out of one.
///
/// Counted over 40 MB of Python, C headers and Rust; bytes above 0x7f are as
/// good as absent there.
fn frequency(byte: u8) -> f64 {
    const PER_100_000: [u16; 64] = [
        18772, 82, 373, 366, 17, 10, 117, 230, 929, 1118, 3346, 43, 1317, 457, 608, 944, 829, 746, 759, 538, 383, 270,
        388, 190, 309, 194, 1393, 686, 178, 626, 237, 19, 137, 3682, 1408, 2846, 2207, 6496, 1893, 1176, 1105, 3984,
        59, 567, 2617, 1643, 4246, 3414, 2414, 132, 3592, 4246, 5378, 2397, 711, 481, 671, 857, 170, 482, 177, 478, 13,
        3784,
    ];
    let count = match byte {
        0x20..=0x3f => PER_100_000[usize::from(byte - 0x20)],
        0x60..=0x7f => PER_100_000[usize::from(byte - 0x40)],
        _ => 2,
    };
    f64::from(count) / 100_000.0
}

/// How likely a bucket is to admit a window of ordinary text: of the common windows, and of any others.
fn admission(bucket: &[Pattern], common: &[Gram]) -> f64 {
    if bucket.is_empty() {
        return 0.0;
    }
    let passes: [[bool; 256]; 4] = std::array::from_fn(|j| {
        let (mut low, mut high) = (0u16, 0u16);
        for pattern in bucket {
            let any = j == 3 && pattern.open;
            low |= if any { u16::MAX } else { 1 << (pattern.bytes[j] & 15) };
            high |= if any { u16::MAX } else { 1 << (pattern.bytes[j] >> 4) };
        }
        std::array::from_fn(|b| low >> (b & 15) & 1 == 1 && high >> (b >> 4) & 1 == 1)
    });
    let all = |gram: &&Gram| gram.bytes.iter().zip(&passes).all(|(b, pass)| pass[usize::from(*b)]);
    let known: f64 = common.iter().filter(all).map(|gram| gram.frequency).sum();
    let each = passes.iter().map(|pass| {
        let folded = (0x20..0x40).chain(0x60..0x80u8);
        folded.filter(|b| pass[usize::from(*b)]).map(frequency).sum::<f64>()
    });
    known + 0.6 * each.product::<f64>()
}

/// Distributes the windows over 32 buckets so that few windows of ordinary text pass: greedily, then refined.
fn distribute(patterns: &[Pattern], common: &[Gram]) -> Vec<Vec<Pattern>> {
    let mut buckets = vec![Vec::new(); 8 * GROUPS];
    let mut cost = vec![0.0; 8 * GROUPS];
    let mut order: Vec<(f64, Pattern)> = patterns.iter().map(|p| (p.probability(common), *p)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, pattern) in order {
        put(&mut buckets, &mut cost, pattern, common);
    }
    for from in (0..buckets.len()).chain(0..buckets.len()) {
        for pattern in buckets[from].clone() {
            buckets[from].retain(|p| *p != pattern);
            cost[from] = admission(&buckets[from], common);
            put(&mut buckets, &mut cost, pattern, common);
        }
    }
    buckets
}

/// Puts a window where it costs least.
fn put(buckets: &mut [Vec<Pattern>], cost: &mut [f64], pattern: Pattern, common: &[Gram]) {
    let mut best = (f64::INFINITY, 0, 0.0);
    for i in 0..buckets.len() {
        buckets[i].push(pattern);
        let with = admission(&buckets[i], common);
        buckets[i].pop();
        if with - cost[i] < best.0 {
            best = (with - cost[i], i, with);
        }
    }
    buckets[best.1].push(pattern);
    cost[best.1] = best.2;
}

fn masks(buckets: &[Vec<Pattern>]) -> (Nibbles, Nibbles) {
    let (mut low, mut high) = ([[[0; 16]; 4]; GROUPS], [[[0; 16]; 4]; GROUPS]);
    for (i, bucket) in buckets.iter().enumerate() {
        let (group, bit) = (i / 8, 1u8 << (i % 8));
        for pattern in bucket {
            for j in 0..4 {
                if j == 3 && pattern.open {
                    low[group][j].iter_mut().for_each(|m| *m |= bit);
                    high[group][j].iter_mut().for_each(|m| *m |= bit);
                } else {
                    low[group][j][usize::from(pattern.bytes[j] & 15)] |= bit;
                    high[group][j][usize::from(pattern.bytes[j] >> 4)] |= bit;
                }
            }
        }
    }
    (low, high)
}

/// A bit for the hash of each pattern that is open, or of each that is not.
fn bitmap<const WORDS: usize>(patterns: &[Pattern], open: bool) -> [u64; WORDS] {
    let mut bitmap = [0; WORDS];
    for pattern in patterns.iter().filter(|pattern| pattern.open == open) {
        let (word, bit) = bit::<WORDS>(pattern.key());
        bitmap[word] |= 1 << bit;
    }
    bitmap
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword_is_admitted_in_any_case() {
        let words: Vec<String> = ["ghp_", "sk-", "password", "-----BEGIN", "AKIA", "x.Y"]
            .map(String::from)
            .into();
        let table = build(&[&words]);
        for (number, keyword) in table.keywords.iter().enumerate() {
            let padded = format!("{}\0", keyword.text.to_ascii_uppercase());
            let found = padded.as_bytes().windows(4).any(|w| {
                let folded = u32::from_le_bytes([w[0], w[1], w[2], w[3]]) | FOLD;
                table.admits(folded) && table.windows(folded).any(|w| usize::from(w.keyword) == number)
            });
            assert!(found, "{}", keyword.text);
        }
    }

    #[test]
    fn one_keyword_may_serve_several_rules() {
        let (a, b) = (vec!["Token".to_owned()], vec!["tokeN".to_owned()]);
        assert_eq!(*build(&[&a, &b]).keywords[0].rules, [0, 1]);
    }
}
