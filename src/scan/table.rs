//! The prefilter's tables: which four bytes stand for which keyword, and the masks that find them.
//!
//! Each keyword is represented by its rarest four-byte window, folded with
//! `| 0x20`; a keyword of three bytes by those three and any fourth. A window
//! must pass the nibble masks of one of 16 buckets, then one bit of a 64-Kbit
//! bitmap, before its keyword is compared. The build script makes the tables
//! of the shipped rules; the run-time loader those of other rules.

use std::borrow::Cow;

/// Nibble masks: `[half][byte of the window][nibble]`, a bit for each of 8 buckets.
pub(crate) type Nibbles = [[[u8; 16]; 4]; 2];

/// Words of the bitmap: 64 Kbit.
pub(crate) const BITMAP_WORDS: usize = 1024;

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
    pub(crate) open_bitmap: Cow<'static, [u64; BITMAP_WORDS]>,
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

/// The bitmap's bit for a folded window.
#[inline(always)]
pub(crate) fn hash(window: u32) -> usize {
    (window.wrapping_mul(0x9E37_79B1) >> 16) as usize
}

impl Table {
    /// Whether a folded window may be one of ours: exactly what the vector code computes.
    #[inline(always)]
    pub(crate) fn admits(&self, window: u32) -> bool {
        self.in_bitmap(window) && self.in_buckets(window)
    }

    #[inline(always)]
    pub(crate) fn in_bitmap(&self, window: u32) -> bool {
        // The hash has 16 bits, so the index is below BITMAP_WORDS.
        let bit = |bitmap: &[u64; BITMAP_WORDS], hash: usize| bitmap[(hash >> 6) & (BITMAP_WORDS - 1)] >> (hash & 63);
        (bit(&self.bitmap, hash(window)) | bit(&self.open_bitmap, hash(window & OPEN_MASK))) & 1 == 1
    }

    fn in_buckets(&self, window: u32) -> bool {
        let bytes = window.to_le_bytes();
        (0..2).any(|half| {
            let passes = |j: usize| {
                let (low, high) = (usize::from(bytes[j] & 15), usize::from(bytes[j] >> 4));
                self.low[half][j][low] & self.high[half][j][high]
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
    let mut windows: Vec<(Pattern, Window)> = Vec::new();
    for (number, keyword) in keywords.iter().enumerate() {
        let (pattern, offset) = rarest(keyword.text.as_bytes());
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
    let (low, high) = masks(&distribute(&patterns));
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

    fn probability(self) -> f64 {
        let count = if self.open { 3 } else { 4 };
        self.bytes[..count].iter().map(|b| frequency(*b)).product()
    }
}

/// The rarest window of a keyword, and where it stands.
fn rarest(keyword: &[u8]) -> (Pattern, usize) {
    let folded: Vec<u8> = keyword.iter().map(|b| b | 0x20).collect();
    let open = folded.len() < 4;
    let width = if open { 3 } else { 4 };
    let mut best = (Pattern { bytes: [0; 4], open }, 0, f64::INFINITY);
    for (offset, window) in folded.windows(width).enumerate() {
        let mut pattern = Pattern { bytes: [0; 4], open };
        pattern.bytes[..width].copy_from_slice(window);
        let probability = pattern.probability();
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

/// How likely a bucket is to admit a window of ordinary text.
fn admission(bucket: &[Pattern]) -> f64 {
    if bucket.is_empty() {
        return 0.0;
    }
    (0..4)
        .map(|j| {
            if j == 3 && bucket.iter().any(|p| p.open) {
                return 1.0;
            }
            let (mut low, mut high) = (0u16, 0u16);
            for pattern in bucket {
                low |= 1 << (pattern.bytes[j] & 15);
                high |= 1 << (pattern.bytes[j] >> 4);
            }
            let passes = |b: u8| low >> (b & 15) & 1 == 1 && high >> (b >> 4) & 1 == 1;
            (0..=u8::MAX).filter(|b| passes(*b)).map(frequency).sum::<f64>()
        })
        .product()
}

/// Distributes the windows over 16 buckets so that few windows of ordinary text pass: greedily, then refined.
fn distribute(patterns: &[Pattern]) -> Vec<Vec<Pattern>> {
    let mut buckets = vec![Vec::new(); 16];
    let mut cost = vec![0.0; 16];
    let mut order = patterns.to_vec();
    order.sort_by(|a, b| b.probability().total_cmp(&a.probability()).then(a.cmp(b)));
    for pattern in order {
        put(&mut buckets, &mut cost, pattern, None);
    }
    for _ in 0..2 {
        for from in 0..buckets.len() {
            for pattern in buckets[from].clone() {
                buckets[from].retain(|p| *p != pattern);
                cost[from] = admission(&buckets[from]);
                put(&mut buckets, &mut cost, pattern, Some(from));
            }
        }
    }
    buckets
}

/// Puts a window where it costs least; it leaves `home` only for a real gain.
fn put(buckets: &mut [Vec<Pattern>], cost: &mut [f64], pattern: Pattern, home: Option<usize>) {
    let mut best = (f64::INFINITY, 0, 0.0);
    for i in 0..buckets.len() {
        buckets[i].push(pattern);
        let with = admission(&buckets[i]);
        buckets[i].pop();
        let gain = if home == Some(i) { 1e-12 } else { 0.0 };
        if with - cost[i] - gain < best.0 {
            best = (with - cost[i] - gain, i, with);
        }
    }
    buckets[best.1].push(pattern);
    cost[best.1] = best.2;
}

fn masks(buckets: &[Vec<Pattern>]) -> (Nibbles, Nibbles) {
    let (mut low, mut high) = ([[[0; 16]; 4]; 2], [[[0; 16]; 4]; 2]);
    for (i, bucket) in buckets.iter().enumerate() {
        let (half, bit) = (i / 8, 1u8 << (i % 8));
        for pattern in bucket {
            for j in 0..4 {
                if j == 3 && pattern.open {
                    low[half][j].iter_mut().for_each(|m| *m |= bit);
                    high[half][j].iter_mut().for_each(|m| *m |= bit);
                } else {
                    low[half][j][usize::from(pattern.bytes[j] & 15)] |= bit;
                    high[half][j][usize::from(pattern.bytes[j] >> 4)] |= bit;
                }
            }
        }
    }
    (low, high)
}

/// A bit for the hash of each pattern that is open, or of each that is not.
fn bitmap(patterns: &[Pattern], open: bool) -> [u64; BITMAP_WORDS] {
    let mut bitmap = [0; BITMAP_WORDS];
    for pattern in patterns.iter().filter(|pattern| pattern.open == open) {
        let bit = hash(pattern.key());
        bitmap[bit >> 6] |= 1 << (bit & 63);
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
