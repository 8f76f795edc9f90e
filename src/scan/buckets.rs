//! Which window stands for which keyword, and in which bucket: chosen so that little of ordinary text passes.
//!
//! Both are chosen together, keyword by keyword: the window and bucket that
//! add least to what is expected to pass. A rarer window in a bucket that it
//! widens may cost more than a commoner one in a bucket that has its nibbles
//! already. The build script runs this for the shipped rules; at run time it
//! runs for the keywords that come on top of them.

use super::table::{Nibbles, Set};
use std::collections::BTreeMap;

/// Groups of 8 buckets. A pair more halves what passes, which saves less than the pass over it costs.
pub(crate) const GROUPS: usize = 4;
const BUCKETS: usize = 8 * GROUPS;

/// What comparing a window that is ours costs, in passes of the masks.
const COMPARISON: f64 = 20.0;
/// What one more keyword on a window costs, as a share of that.
const SHARED: f64 = 0.1;
/// Windows of a keyword that are weighed: its rarest.
const WEIGHED: usize = 6;
/// Rounds: in each after the first, every keyword may move.
const ROUNDS: usize = 2;

/// Four folded bytes, or three and any fourth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pattern {
    pub(crate) bytes: [u8; 4],
    pub(crate) open: bool,
}

impl Pattern {
    /// The bytes, the first in the lowest bits; an open pattern's fourth is 0.
    pub(crate) fn key(self) -> u32 {
        u32::from_le_bytes(self.bytes)
    }

    /// The nibbles that it needs at a byte, as sets.
    fn nibbles(self, j: usize) -> (u16, u16) {
        if j == 3 && self.open {
            return (u16::MAX, u16::MAX);
        }
        (1 << (self.bytes[j] & 15), 1 << (self.bytes[j] >> 4))
    }
}

/// Windows and masks for a list of keywords.
pub(crate) struct Choice {
    /// For each keyword its pattern, and where in the keyword that stands.
    pub(crate) windows: Vec<(Pattern, usize)>,
    pub(crate) masks: Set<GROUPS, 4>,
}

/// Chooses windows and buckets for keywords of 3 or more bytes.
pub(crate) fn choose(keywords: &[&str]) -> Choice {
    let model = &Model::read(COMMON);
    let offers: Vec<Vec<Offer>> = keywords
        .iter()
        .map(|keyword| offers(model, keyword.as_bytes()))
        .collect();
    // The commonest first: they need a good place most.
    let mut order: Vec<usize> = (0..keywords.len()).collect();
    order.sort_by(|a, b| {
        offers[*b][0]
            .probability
            .total_cmp(&offers[*a][0].probability)
            .then(a.cmp(b))
    });
    let mut plan = Plan::new(model);
    let mut chosen: Vec<Option<Offer>> = vec![None; keywords.len()];
    for _ in 0..ROUNDS {
        for &i in &order {
            if let Some(offer) = chosen[i].take() {
                plan.leave(offer.pattern);
            }
            chosen[i] = Some(plan.enter(&offers[i]));
        }
    }
    Choice {
        windows: chosen
            .into_iter()
            .flatten()
            .map(|offer| (offer.pattern, offer.offset))
            .collect(),
        masks: plan.masks(),
    }
}

/// Chooses windows for more keywords without moving those that are in `base`.
pub(crate) fn extend(base: &Set<GROUPS, 4>, known: &[Pattern], keywords: &[&str]) -> Choice {
    let model = &Model::read(COMMON);
    let mut plan = Plan::from_masks(model, base, known);
    let enter = |keyword: &&str| {
        let offer = plan.enter(&offers(model, keyword.as_bytes()));
        (offer.pattern, offer.offset)
    };
    Choice {
        windows: keywords.iter().map(enter).collect(),
        masks: plan.masks(),
    }
}

/// A window of a keyword that may stand for it.
#[derive(Debug, Clone, Copy)]
struct Offer {
    pattern: Pattern,
    offset: usize,
    probability: f64,
}

/// The rarest windows of a keyword, the rarest first.
fn offers(model: &Model, keyword: &[u8]) -> Vec<Offer> {
    let folded: Vec<u8> = keyword.iter().map(|b| b | 0x20).collect();
    let open = folded.len() < 4;
    let width = if open { 3 } else { 4 };
    let offer = |(offset, window): (usize, &[u8])| {
        let mut pattern = Pattern { bytes: [0; 4], open };
        pattern.bytes[..width].copy_from_slice(window);
        Offer {
            pattern,
            offset,
            probability: model.probability(pattern),
        }
    };
    let mut all: Vec<Offer> = folded.windows(width).enumerate().map(offer).collect();
    all.sort_by(|a, b| a.probability.total_cmp(&b.probability));
    all.truncate(WEIGHED);
    all
}

/// Words of a set of common windows.
const WORDS: usize = 24;
/// A set of common windows, by number.
type Grams = [u64; WORDS];

const COMMON: &str = include_str!("common.txt");

/// A window as common as this, in a million positions of ordinary text, stands for no keyword.
pub(crate) const TOO_COMMON: f64 = 1000.0;

/// Whether every window of a keyword, or the keyword where it is shorter, is too common to be looked for.
pub(crate) fn is_common(keyword: &str) -> bool {
    let folded: Vec<u8> = keyword.bytes().map(|byte| byte | 0x20).collect();
    // They are listed by how common they are.
    let common = COMMON.lines().filter_map(gram);
    let common: Vec<[u8; 4]> = common
        .take_while(|(_, share)| *share * 1e6 >= TOO_COMMON)
        .map(|(bytes, _)| bytes)
        .collect();
    let width = folded.len().min(4);
    width > 0
        && folded
            .windows(width)
            .all(|window| common.iter().any(|bytes| bytes.starts_with(window)))
}

/// One line of the list: the folded bytes, and how often they occur, out of one.
fn gram(line: &str) -> Option<([u8; 4], f64)> {
    let (bytes, count) = line.split_at_checked(4)?;
    let bytes: Vec<u8> = bytes.bytes().map(|b| b | 0x20).collect();
    Some((bytes.try_into().ok()?, count.trim().parse::<f64>().ok()? / 1e6))
}

/// What ordinary text is made of.
struct Model {
    /// The most common windows, sorted, with their frequencies.
    grams: Vec<([u8; 4], f64)>,
    /// Those and the less common ones.
    listed: Vec<([u8; 4], f64)>,
    /// Which of `grams` have a nibble at a byte.
    low: [[Grams; 16]; 4],
    high: [[Grams; 16]; 4],
}

impl Model {
    /// Reads the 6,000 most common windows; the masks are weighed by the first 1,500, which make two fifths of
    /// ordinary text.
    ///
    /// Bytes are not independent: without these, `link` of `linkedin` and
    /// `bran` of `brandfetch` would pass for rare.
    fn read(text: &str) -> Self {
        let lines = text.lines().filter(|l| !l.starts_with("# "));
        let mut listed: Vec<([u8; 4], f64)> = lines.filter_map(gram).collect();
        let mut grams: Vec<([u8; 4], f64)> = listed.iter().take(64 * WORDS).copied().collect();
        grams.sort_by_key(|gram| gram.0);
        listed.sort_by_key(|gram| gram.0);
        let (mut low, mut high) = ([[[0; WORDS]; 16]; 4], [[[0; WORDS]; 16]; 4]);
        for (i, (bytes, _)) in grams.iter().enumerate() {
            for (j, byte) in bytes.iter().enumerate() {
                low[j][usize::from(byte & 15)][i / 64] |= 1 << (i % 64);
                high[j][usize::from(byte >> 4)][i / 64] |= 1 << (i % 64);
            }
        }
        Self {
            grams,
            listed,
            low,
            high,
        }
    }

    /// How likely a position of ordinary text is to be this window.
    fn probability(&self, pattern: Pattern) -> f64 {
        let count = if pattern.open { 3 } else { 4 };
        let head = &pattern.bytes[..count];
        let product: f64 = head.iter().map(|b| frequency(*b)).product();
        let from = self.listed.partition_point(|gram| &gram.0[..count] < head);
        let same = self.listed[from..].iter().take_while(|gram| &gram.0[..count] == head);
        product.min(1e-5) + same.map(|gram| gram.1).sum::<f64>()
    }

    fn weight(&self, grams: &Grams) -> f64 {
        let mut sum = 0.0;
        for (word, bits) in grams.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                sum += self.grams[word * 64 + bits.trailing_zeros() as usize].1;
                bits &= bits - 1;
            }
        }
        sum
    }
}

/// What of one byte of a window a bucket admits.
#[derive(Clone)]
struct Column {
    low: u16,
    high: u16,
    /// The common windows that have an admitted nibble.
    low_grams: Grams,
    high_grams: Grams,
    /// How likely a byte of ordinary text is to be admitted.
    share: f64,
}

#[derive(Clone)]
struct Bucket {
    patterns: Vec<Pattern>,
    columns: [Column; 4],
    /// The common windows that are admitted, and how often they occur.
    admitted: Grams,
    known: f64,
}

impl Bucket {
    fn new() -> Self {
        let column = Column {
            low: 0,
            high: 0,
            low_grams: [0; WORDS],
            high_grams: [0; WORDS],
            share: 0.0,
        };
        Self {
            patterns: Vec::new(),
            columns: std::array::from_fn(|_| column.clone()),
            admitted: [0; WORDS],
            known: 0.0,
        }
    }

    /// How likely ordinary text is to pass: the common windows that do, and of any others those that would.
    fn cost(&self) -> f64 {
        self.known + 0.6 * self.columns.iter().map(|column| column.share).product::<f64>()
    }

    /// What [`Self::cost`] would be with a pattern more.
    fn cost_with(&self, model: &Model, pattern: Pattern) -> f64 {
        let mut admitted = [u64::MAX; WORDS];
        let mut share = 1.0;
        let mut wider = false;
        for (j, column) in self.columns.iter().enumerate() {
            let (low, high) = pattern.nibbles(j);
            let same = column.low | low == column.low && column.high | high == column.high;
            wider |= !same;
            share *= if same {
                column.share
            } else {
                share_of(column.low | low, column.high | high)
            };
            let (none, any) = ([0; WORDS], [u64::MAX; WORDS]);
            let more = |table: &[Grams; 16], new: u16, old: u16| match new {
                u16::MAX => any,
                new if old | new == old => none,
                new => table[new.trailing_zeros() as usize],
            };
            let (low, high) = (
                more(&model.low[j], low, column.low),
                more(&model.high[j], high, column.high),
            );
            for (word, bits) in admitted.iter_mut().enumerate() {
                *bits &= (column.low_grams[word] | low[word]) & (column.high_grams[word] | high[word]);
            }
        }
        if !wider {
            return self.cost();
        }
        let mut new = admitted;
        new.iter_mut().zip(&self.admitted).for_each(|(new, old)| *new &= !old);
        self.known + model.weight(&new) + 0.6 * share
    }

    fn add(&mut self, model: &Model, pattern: Pattern) {
        self.patterns.push(pattern);
        self.widen(model, |j| pattern.nibbles(j));
    }

    fn remove(&mut self, model: &Model, pattern: Pattern) {
        let mut left = std::mem::replace(self, Self::new());
        left.patterns.retain(|p| *p != pattern);
        let nibbles = |j| {
            let each = left.patterns.iter().map(|p| p.nibbles(j));
            each.fold((0, 0), |all, one| (all.0 | one.0, all.1 | one.1))
        };
        self.widen(model, nibbles);
        self.patterns = left.patterns;
    }

    /// Admits more nibbles at each byte.
    fn widen(&mut self, model: &Model, nibbles: impl Fn(usize) -> (u16, u16)) {
        self.admitted = [u64::MAX; WORDS];
        for (j, column) in self.columns.iter_mut().enumerate() {
            let (low, high) = nibbles(j);
            gather(&mut column.low_grams, &model.low[j], low & !column.low);
            gather(&mut column.high_grams, &model.high[j], high & !column.high);
            (column.low, column.high) = (column.low | low, column.high | high);
            column.share = share_of(column.low, column.high);
            for (word, bits) in self.admitted.iter_mut().enumerate() {
                *bits &= column.low_grams[word] & column.high_grams[word];
            }
        }
        self.known = model.weight(&self.admitted);
    }
}

/// Adds the common windows of some nibbles.
fn gather(grams: &mut Grams, table: &[Grams; 16], nibbles: u16) {
    for (nibble, more) in table.iter().enumerate() {
        if nibbles >> nibble & 1 == 1 {
            grams.iter_mut().zip(more).for_each(|(all, more)| *all |= more);
        }
    }
}

/// How likely a byte of ordinary text is to have one of the low and one of the high nibbles.
fn share_of(low: u16, high: u16) -> f64 {
    let bytes = (0x20..0x40).chain(0x60..0x80u8);
    let passes = |b: &u8| low >> (b & 15) & 1 == 1 && high >> (b >> 4) & 1 == 1;
    bytes.filter(passes).map(frequency).sum()
}

/// The buckets, and who is in them.
struct Plan<'a> {
    model: &'a Model,
    buckets: Vec<Bucket>,
    /// Each pattern's bucket, and how many keywords it stands for.
    places: BTreeMap<Pattern, (usize, usize)>,
}

impl<'a> Plan<'a> {
    fn new(model: &'a Model) -> Self {
        Self {
            model,
            buckets: vec![Bucket::new(); BUCKETS],
            places: BTreeMap::new(),
        }
    }

    /// A plan whose buckets have these masks already.
    fn from_masks(model: &'a Model, masks: &Set<GROUPS, 4>, known: &[Pattern]) -> Self {
        let mut plan = Self::new(model);
        for (i, bucket) in plan.buckets.iter_mut().enumerate() {
            let (group, bit) = (i / 8, 1u8 << (i % 8));
            let of = |table: &[u8; 16]| {
                let each = table.iter().enumerate();
                each.fold(0u16, |all, (nibble, mask)| all | u16::from(mask & bit != 0) << nibble)
            };
            bucket.widen(model, |j| (of(&masks.low[group][j]), of(&masks.high[group][j])));
        }
        // They stay where they are: the bucket's number is not asked for.
        plan.places = known.iter().map(|pattern| (*pattern, (0, 1))).collect();
        plan
    }

    /// Takes the cheapest of the offers.
    fn enter(&mut self, offers: &[Offer]) -> Offer {
        let mut best = (f64::INFINITY, offers[0], 0);
        for offer in offers {
            let comparison = COMPARISON * offer.probability;
            if let Some((bucket, _)) = self.places.get(&offer.pattern) {
                if SHARED * comparison < best.0 {
                    best = (SHARED * comparison, *offer, *bucket);
                }
                continue;
            }
            if comparison >= best.0 {
                continue;
            }
            for (i, bucket) in self.buckets.iter().enumerate() {
                let cost = bucket.cost_with(self.model, offer.pattern) - bucket.cost() + comparison;
                if cost < best.0 {
                    best = (cost, *offer, i);
                }
            }
        }
        let (_, offer, bucket) = best;
        let users = &mut self.places.entry(offer.pattern).or_insert((bucket, 0)).1;
        *users += 1;
        if *users == 1 {
            self.buckets[bucket].add(self.model, offer.pattern);
        }
        offer
    }

    /// One keyword fewer for a pattern.
    fn leave(&mut self, pattern: Pattern) {
        let Some((bucket, users)) = self.places.get_mut(&pattern) else {
            return;
        };
        *users -= 1;
        if *users == 0 {
            self.buckets[*bucket].remove(self.model, pattern);
            self.places.remove(&pattern);
        }
    }

    fn masks(&self) -> Set<GROUPS, 4> {
        let empty: Nibbles<GROUPS, 4> = [[[0; 16]; 4]; GROUPS];
        let mut set = Set {
            low: empty,
            high: empty,
        };
        for (i, bucket) in self.buckets.iter().enumerate() {
            let (group, bit) = (i / 8, 1u8 << (i % 8));
            for (j, column) in bucket.columns.iter().enumerate() {
                for nibble in 0..16 {
                    set.low[group][j][nibble] |= if column.low >> nibble & 1 == 1 { bit } else { 0 };
                    set.high[group][j][nibble] |= if column.high >> nibble & 1 == 1 { bit } else { 0 };
                }
            }
        }
        set
    }
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
