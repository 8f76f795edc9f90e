//! Passes over all bytes: AVX-512, AVX2, SSSE3, NEON, or plain code with the same answer.
//!
//! The only module with `unsafe`. One pass, [`sweep`], tells for each block of
//! 64 positions which of them pass the nibble masks of a [`Set`]; bytes past
//! the end read as 0. On it stand the prefilter ([`candidates`]), the search
//! for a short form ([`find`]) and that for long runs of a class ([`runs`]).
//! All levels give the same, which the tests here check on generated inputs of
//! every length and seam.

use super::table::{FOLD, Set, Table};
use std::ops::{ControlFlow, Range};

/// Positions that are looked at in one go.
const BLOCK: usize = 64;
/// A block and what a form that starts at its last position may need: four bytes are the longest.
const SEEN: usize = BLOCK + 3;
/// Candidates that are looked up in one go.
const LANES: usize = 8;

/// A way to run the pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// 64 bytes at a time.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 32 bytes at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 16 bytes at a time.
    #[cfg(target_arch = "x86_64")]
    Ssse3,
    /// 16 bytes at a time.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// One byte at a time.
    Scalar,
}

impl Level {
    /// The best way that this processor has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if vector::avx512::here() {
                return Self::Avx512;
            }
            if vector::avx2::here() {
                return Self::Avx2;
            }
            if vector::ssse3::here() {
                return Self::Ssse3;
            }
        }
        #[cfg(target_arch = "aarch64")]
        if vector::neon::here() {
            return Self::Neon;
        }
        Self::Scalar
    }
}

/// Calls `found` with each position of `data` whose four folded bytes pass the table's masks and bitmaps, ascending.
pub(crate) fn candidates(level: Level, table: &Table, data: &[u8], found: &mut impl FnMut(usize)) {
    sweep::<{ FOLD as u8 }, _, _>(level, &table.masks, data, &mut |at, block, mask| {
        confirm(table, block, mask, &mut |bit| found(at + bit));
        ControlFlow::Continue(())
    });
}

/// What `of` makes of the first position in `range` of which it makes anything; it is asked about those at which the
/// bytes of `data` pass a set, ascending. What passes may stand over the range's end.
pub(crate) fn find<const BYTES: usize, T>(
    level: Level,
    set: &Set<1, BYTES>,
    data: &[u8],
    range: Range<usize>,
    of: &mut impl FnMut(usize) -> Option<T>,
) -> Option<T> {
    let (from, to) = (range.start, range.end.min(data.len()));
    // The bytes after `to` count for forms that start before it.
    let part = data.get(from..to.saturating_add(BYTES - 1).min(data.len()))?;
    let mut first = None;
    sweep::<0, _, _>(level, set, part, &mut |at, _, mut mask| {
        while mask != 0 {
            let here = from + at + mask.trailing_zeros() as usize;
            if here >= to {
                return ControlFlow::Break(());
            }
            first = of(here);
            if first.is_some() {
                return ControlFlow::Break(());
            }
            mask &= mask - 1;
        }
        ControlFlow::Continue(())
    });
    first
}

/// Calls `found` with each longest run of bytes of a class that has at least `LEAST` of them; 16 to 32.
pub(crate) fn runs<const LEAST: usize>(
    level: Level,
    class: &Set<1, 1>,
    data: &[u8],
    found: &mut dyn FnMut(Range<usize>),
) {
    const { assert!(LEAST >= 16 && LEAST <= 32) };
    // Where the run that reaches the block's start began.
    let mut open = 0;
    sweep::<0, _, _>(level, class, data, &mut |at, _, mask| {
        if mask == u64::MAX {
            return ControlFlow::Continue(());
        }
        let head = mask.trailing_ones();
        if at + head as usize - open >= LEAST {
            found(open..at + head as usize);
        }
        let tail = mask.leading_ones();
        open = at + BLOCK - tail as usize;
        // What lies between: bits that begin sixteen, then `LEAST` ones.
        let mut inner = mask & (u64::MAX << head) & (u64::MAX >> tail);
        let mut long = inner & inner >> 1;
        long &= long >> 2;
        long &= long >> 4;
        long &= long >> 8;
        long &= long >> (LEAST - 16);
        while long != 0 {
            let start = long.trailing_zeros();
            let length = (inner >> start).trailing_ones();
            found(at + start as usize..at + (start + length) as usize);
            let gone = u64::MAX << (start + length);
            (inner, long) = (inner & gone, long & gone);
        }
        ControlFlow::Continue(())
    });
    if data.len().is_multiple_of(BLOCK) && data.len() - open.min(data.len()) >= LEAST {
        found(open..data.len());
    }
}

/// Hands on the positions of a block that the bitmaps do not exclude either.
///
/// Looks up eight whether there are eight or not: a loop that ends after each
/// number of candidates is mispredicted in nearly every block.
#[inline(always)]
fn confirm(table: &Table, block: &[u8; SEEN], mut mask: u64, found: &mut impl FnMut(usize)) {
    while mask != 0 {
        let (mut bits, mut passed) = ([0; LANES], 0u32);
        for (i, bit) in bits.iter_mut().enumerate() {
            let there = mask != 0;
            *bit = (mask.trailing_zeros() & 63) as usize;
            mask &= mask.wrapping_sub(1);
            let window = [block[*bit], block[*bit + 1], block[*bit + 2], block[*bit + 3]];
            let window = u32::from_le_bytes(window) | FOLD;
            passed |= u32::from(there & table.in_bitmap(window)) << i;
        }
        while passed != 0 {
            found(bits[passed.trailing_zeros() as usize % LANES]);
            passed &= passed - 1;
        }
    }
}

/// Calls `each` with a block's start, its bytes, and the positions in it that pass: bit `i` is position `start + i`.
///
/// The bytes are joined with `FOLDED` first.
fn sweep<const FOLDED: u8, const GROUPS: usize, const BYTES: usize>(
    level: Level,
    set: &Set<GROUPS, BYTES>,
    data: &[u8],
    each: &mut impl FnMut(usize, &[u8; SEEN], u64) -> ControlFlow<()>,
) {
    let _ = match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 if vector::avx512::here() => vector::avx512::run::<FOLDED, GROUPS, BYTES>(set, data, each),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 if vector::avx2::here() => vector::avx2::run::<FOLDED, GROUPS, BYTES>(set, data, each),
        #[cfg(target_arch = "x86_64")]
        Level::Ssse3 if vector::ssse3::here() => vector::ssse3::run::<FOLDED, GROUPS, BYTES>(set, data, each),
        #[cfg(target_arch = "aarch64")]
        Level::Neon if vector::neon::here() => vector::neon::run::<FOLDED, GROUPS, BYTES>(set, data, each),
        _ => blocks(data, each, |block| plain::<FOLDED, GROUPS, BYTES>(set, block)),
    };
}

/// Runs `mask` over the blocks of a text; the last bytes are looked at in a copy that zeros follow.
#[inline(always)]
fn blocks(
    data: &[u8],
    each: &mut impl FnMut(usize, &[u8; SEEN], u64) -> ControlFlow<()>,
    mask: impl Fn(&[u8; SEEN]) -> u64,
) -> ControlFlow<()> {
    let mut at = 0;
    while let Some(block) = data[at..].first_chunk() {
        each(at, block, mask(block))?;
        at += BLOCK;
    }
    let rest = &data[at..];
    let mut padded = [0; BLOCK + SEEN];
    padded[..rest.len()].copy_from_slice(rest);
    for from in (0..rest.len()).step_by(BLOCK) {
        let Some(block) = padded[from..].first_chunk() else {
            break;
        };
        let there = u64::MAX >> BLOCK.saturating_sub(rest.len() - from);
        each(at + from, block, mask(block) & there)?;
    }
    ControlFlow::Continue(())
}

/// The positions of a block that pass, in plain code.
fn plain<const FOLDED: u8, const GROUPS: usize, const BYTES: usize>(
    set: &Set<GROUPS, BYTES>,
    block: &[u8; SEEN],
) -> u64 {
    let bit = |at: usize| {
        let bytes: [u8; BYTES] = std::array::from_fn(|j| block[at + j] | FOLDED);
        u64::from(set.admits(bytes)) << at
    };
    (0..BLOCK).map(bit).sum()
}

/// The vector code: for each kind of vector a module of the same few functions, and [`pass`] made from them.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod vector {
    #![expect(
        unsafe_code,
        reason = "vector loads and target features; each block argues its safety"
    )]

    use super::super::table::{Nibbles, Set};
    use super::{BLOCK, SEEN, blocks};
    use std::ops::ControlFlow;

    /// The code that is the same for every kind of vector: a pass over the blocks of a text.
    macro_rules! pass {
        ($features:literal) => {
            #[target_feature(enable = $features)]
            fn tables<const GROUPS: usize, const BYTES: usize>(
                nibbles: &Nibbles<GROUPS, BYTES>,
            ) -> [[Vector; BYTES]; GROUPS] {
                nibbles.map(|group| group.map(|table| repeat(&table)))
            }

            #[target_feature(enable = $features)]
            fn pass<const FOLDED: u8, const GROUPS: usize, const BYTES: usize>(
                set: &Set<GROUPS, BYTES>,
                data: &[u8],
                each: &mut impl FnMut(usize, &[u8; SEEN], u64) -> ControlFlow<()>,
            ) -> ControlFlow<()> {
                let (low, high) = (tables(&set.low), tables(&set.high));
                let (nibble, fold) = (repeat(&[15; 16]), repeat(&[FOLDED; 16]));
                blocks(data, each, |block| {
                    let mut mask = 0;
                    for part in (0..BLOCK).step_by(WIDTH) {
                        let mut passed = [repeat(&[0xff; 16]); GROUPS];
                        for j in 0..BYTES {
                            let Some(bytes) = block[part + j..].first_chunk() else {
                                continue;
                            };
                            let bytes = or(load(bytes), fold);
                            let (lower, upper) = (and(bytes, nibble), and(shift(bytes), nibble));
                            for (group, passed) in passed.iter_mut().enumerate() {
                                let both = and(look_up(low[group][j], lower), look_up(high[group][j], upper));
                                *passed = and(*passed, both);
                            }
                        }
                        let any = passed
                            .into_iter()
                            .fold(repeat(&[0; 16]), |any, group| or(any, group));
                        mask |= nonzero(any) << part;
                    }
                    mask
                })
            }

            /// [`super::super::sweep`] with this kind of vector; nothing is looked at where [`here`] is false.
            pub(in super::super) fn run<const FOLDED: u8, const GROUPS: usize, const BYTES: usize>(
                set: &Set<GROUPS, BYTES>,
                data: &[u8],
                each: &mut impl FnMut(usize, &[u8; SEEN], u64) -> ControlFlow<()>,
            ) -> ControlFlow<()> {
                if !here() {
                    return ControlFlow::Break(());
                }
                // SAFETY: the only requirement of `pass` is that the processor has its features, which it has
                // just been asked for.
                unsafe { pass::<FOLDED, GROUPS, BYTES>(set, data, each) }
            }
        };
    }

    /// 64 bytes, in four quarters of which each has its own table.
    #[cfg(target_arch = "x86_64")]
    pub(super) mod avx512 {
        use super::*;
        use std::arch::x86_64::*;

        type Vector = __m512i;
        const WIDTH: usize = 64;

        /// Asks for VBMI, which is not used: processors without it slow down for vectors so wide.
        pub(in super::super) fn here() -> bool {
            std::arch::is_x86_feature_detected!("avx512vbmi")
                && std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512bw")
                && std::arch::is_x86_feature_detected!("bmi1")
                && std::arch::is_x86_feature_detected!("bmi2")
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn load(bytes: &[u8; WIDTH]) -> Vector {
            // SAFETY: the pointer comes from a reference to as many bytes as are loaded; the load is unaligned.
            unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn repeat(table: &[u8; 16]) -> Vector {
            // SAFETY: the pointer comes from a reference to as many bytes as are loaded; the load is unaligned.
            _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn and(a: Vector, b: Vector) -> Vector {
            _mm512_and_si512(a, b)
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn or(a: Vector, b: Vector) -> Vector {
            _mm512_or_si512(a, b)
        }

        /// The upper half of each byte in its lower half; its upper half is anything.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn shift(a: Vector) -> Vector {
            _mm512_srli_epi16::<4>(a)
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn look_up(table: Vector, at: Vector) -> Vector {
            _mm512_shuffle_epi8(table, at)
        }

        /// A bit for each byte that is not 0.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn nonzero(a: Vector) -> u64 {
            _mm512_test_epi8_mask(a, a)
        }

        pass!("avx512f,avx512bw,bmi1,bmi2");
    }

    /// 32 bytes, in two halves of which each has its own table.
    #[cfg(target_arch = "x86_64")]
    pub(super) mod avx2 {
        use super::*;
        use std::arch::x86_64::*;

        type Vector = __m256i;
        const WIDTH: usize = 32;

        pub(in super::super) fn here() -> bool {
            std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("bmi1")
                && std::arch::is_x86_feature_detected!("bmi2")
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn load(bytes: &[u8; WIDTH]) -> Vector {
            // SAFETY: the pointer comes from a reference to as many bytes as are loaded; the load is unaligned.
            unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn repeat(table: &[u8; 16]) -> Vector {
            // SAFETY: the pointer comes from a reference to as many bytes as are loaded; the load is unaligned.
            _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn and(a: Vector, b: Vector) -> Vector {
            _mm256_and_si256(a, b)
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn or(a: Vector, b: Vector) -> Vector {
            _mm256_or_si256(a, b)
        }

        /// The upper half of each byte in its lower half; its upper half is anything.
        #[inline]
        #[target_feature(enable = "avx2")]
        fn shift(a: Vector) -> Vector {
            _mm256_srli_epi16::<4>(a)
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn look_up(table: Vector, at: Vector) -> Vector {
            _mm256_shuffle_epi8(table, at)
        }

        /// A bit for each byte that is not 0.
        #[inline]
        #[target_feature(enable = "avx2")]
        fn nonzero(a: Vector) -> u64 {
            let zero = _mm256_cmpeq_epi8(a, _mm256_setzero_si256());
            u64::from(!(_mm256_movemask_epi8(zero) as u32))
        }

        pass!("avx2,bmi1,bmi2");
    }

    /// 16 bytes.
    #[cfg(target_arch = "x86_64")]
    pub(super) mod ssse3 {
        use super::*;
        use std::arch::x86_64::*;

        type Vector = __m128i;
        const WIDTH: usize = 16;

        pub(in super::super) fn here() -> bool {
            std::arch::is_x86_feature_detected!("ssse3")
        }

        #[inline]
        #[target_feature(enable = "ssse3")]
        fn load(bytes: &[u8; WIDTH]) -> Vector {
            // SAFETY: the pointer comes from a reference to as many bytes as are loaded; the load is unaligned.
            unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
        }

        #[inline]
        #[target_feature(enable = "ssse3")]
        fn repeat(table: &[u8; 16]) -> Vector {
            load(table)
        }

        #[inline]
        #[target_feature(enable = "ssse3")]
        fn and(a: Vector, b: Vector) -> Vector {
            _mm_and_si128(a, b)
        }

        #[inline]
        #[target_feature(enable = "ssse3")]
        fn or(a: Vector, b: Vector) -> Vector {
            _mm_or_si128(a, b)
        }

        /// The upper half of each byte in its lower half; its upper half is anything.
        #[inline]
        #[target_feature(enable = "ssse3")]
        fn shift(a: Vector) -> Vector {
            _mm_srli_epi16::<4>(a)
        }

        #[inline]
        #[target_feature(enable = "ssse3")]
        fn look_up(table: Vector, at: Vector) -> Vector {
            _mm_shuffle_epi8(table, at)
        }

        /// A bit for each byte that is not 0.
        #[inline]
        #[target_feature(enable = "ssse3")]
        fn nonzero(a: Vector) -> u64 {
            let zero = _mm_cmpeq_epi8(a, _mm_setzero_si128());
            u64::from(!(_mm_movemask_epi8(zero) as u16))
        }

        pass!("ssse3");
    }

    /// 16 bytes.
    #[cfg(target_arch = "aarch64")]
    pub(super) mod neon {
        use super::*;
        use std::arch::aarch64::*;

        type Vector = uint8x16_t;
        const WIDTH: usize = 16;

        pub(in super::super) fn here() -> bool {
            std::arch::is_aarch64_feature_detected!("neon")
        }

        #[inline]
        #[target_feature(enable = "neon")]
        fn load(bytes: &[u8; WIDTH]) -> Vector {
            // SAFETY: the pointer comes from a reference to as many bytes as are loaded; the load is unaligned.
            unsafe { vld1q_u8(bytes.as_ptr()) }
        }

        #[inline]
        #[target_feature(enable = "neon")]
        fn repeat(table: &[u8; 16]) -> Vector {
            load(table)
        }

        #[inline]
        #[target_feature(enable = "neon")]
        fn and(a: Vector, b: Vector) -> Vector {
            vandq_u8(a, b)
        }

        #[inline]
        #[target_feature(enable = "neon")]
        fn or(a: Vector, b: Vector) -> Vector {
            vorrq_u8(a, b)
        }

        /// The upper half of each byte in its lower half.
        #[inline]
        #[target_feature(enable = "neon")]
        fn shift(a: Vector) -> Vector {
            vshrq_n_u8::<4>(a)
        }

        #[inline]
        #[target_feature(enable = "neon")]
        fn look_up(table: Vector, at: Vector) -> Vector {
            vqtbl1q_u8(table, at)
        }

        /// A bit for each byte that is not 0: each byte keeps its own bit of eight, and eight are added up.
        #[inline]
        #[target_feature(enable = "neon")]
        fn nonzero(a: Vector) -> u64 {
            let bits = load(&[1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128]);
            let own = and(vtstq_u8(a, a), bits);
            let (first, last) = (vaddv_u8(vget_low_u8(own)), vaddv_u8(vget_high_u8(own)));
            u64::from(first) | u64::from(last) << 8
        }

        pass!("neon");
    }
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;
    use proptest::prelude::*;

    fn table() -> Table {
        let words: Vec<String> = ["ghp_", "sk-", "password", "-----begin", "AKIA", "xoxb-"]
            .map(String::from)
            .into();
        table::build(&[&words])
    }

    fn run(level: Level, table: &Table, data: &[u8]) -> Vec<usize> {
        let mut all = Vec::new();
        candidates(level, table, data, &mut |position| all.push(position));
        all
    }

    /// What the prefilter means, position by position.
    fn meant(table: &Table, data: &[u8]) -> Vec<usize> {
        let byte = |at: usize| data.get(at).copied().unwrap_or(0);
        let window = |at: usize| u32::from_le_bytes([byte(at), byte(at + 1), byte(at + 2), byte(at + 3)]) | FOLD;
        let admits = |window: u32| table.masks.admits(window.to_le_bytes()) && table.in_bitmap(window);
        (0..data.len()).filter(|at| admits(window(*at))).collect()
    }

    fn levels() -> Vec<Level> {
        vec![
            Level::detect(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2,
            #[cfg(target_arch = "x86_64")]
            Level::Ssse3,
            #[cfg(target_arch = "aarch64")]
            Level::Neon,
            Level::Scalar,
        ]
    }

    /// A class, its last form such that no byte above 0x7f belongs to it, and a form of three bytes.
    const CLASS: Set<1, 1> = Set::of(&[[(0x03ff, 1 << 3)], [(0xfffe, 1 << 6)]]);
    const FORM: Set<1, 3> = Set::of(&[[(1 << 5, 1 << 2), (0x03ff, 1 << 3), (0x03ff, 1 << 3)]]);

    fn found(level: Level, data: &[u8]) -> Vec<usize> {
        let next = |from: usize| find(level, &FORM, data, from..data.len(), &mut Some);
        std::iter::successors(next(0), |at| next(at + 1)).collect()
    }

    /// The same in one go.
    fn found_at_once(level: Level, data: &[u8]) -> Vec<usize> {
        let mut all = Vec::new();
        find(level, &FORM, data, 0..data.len(), &mut |at| {
            all.push(at);
            None::<()>
        });
        all
    }

    fn found_plainly(data: &[u8]) -> Vec<usize> {
        let at = data.windows(3).enumerate();
        at.filter(|(_, w)| w[0] == b'%' && w[1].is_ascii_digit() && w[2].is_ascii_digit())
            .map(|(at, _)| at)
            .collect()
    }

    fn run_list(level: Level, data: &[u8]) -> Vec<Range<usize>> {
        let mut all = Vec::new();
        runs::<24>(level, &CLASS, data, &mut |run| all.push(run));
        all
    }

    fn runs_plainly(data: &[u8]) -> Vec<Range<usize>> {
        let belongs = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'o');
        let mut at = 0;
        let mut all = Vec::new();
        for group in data.chunk_by(|a, b| belongs(a) == belongs(b)) {
            if group.len() >= 24 && belongs(&group[0]) {
                all.push(at..at + group.len());
            }
            at += group.len();
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn every_level_gives_what_is_meant(
            pieces in prop::collection::vec(
                prop_oneof![
                    Just(b"ghp_".to_vec()), Just(b"SK-".to_vec()), Just(b"Password".to_vec()),
                    Just(b"-----BEGIN".to_vec()), Just(b"akia".to_vec()), Just(b"xoxb".to_vec()),
                    Just(b"%20".to_vec()), Just(b"%%7".to_vec()),
                    (0usize..150).prop_map(|n| vec![b'7'; n]),
                    (20usize..30).prop_map(|n| vec![b'k'; n]),
                    prop::collection::vec(any::<u8>(), 0..40),
                ],
                0..12,
            ),
            skip in 0usize..40,
        ) {
            let data = pieces.concat();
            let data = &data[skip.min(data.len())..];
            let table = table();
            for level in levels() {
                prop_assert_eq!(&run(level, &table, data), &meant(&table, data));
                prop_assert_eq!(&found(level, data), &found_plainly(data));
                prop_assert_eq!(&found_at_once(level, data), &found_plainly(data));
                prop_assert_eq!(&run_list(level, data), &runs_plainly(data));
            }
        }
    }

    #[test]
    fn a_keyword_is_a_candidate_at_every_offset_and_length() {
        let table = table();
        for length in 4..140 {
            for at in 0..=length - 4 {
                let mut data = vec![b'.'; length];
                data[at..at + 4].copy_from_slice(b"gHp_");
                for level in levels() {
                    assert!(run(level, &table, &data).contains(&at), "{level:?} {length} {at}");
                }
            }
        }
    }

    #[test]
    fn three_bytes_at_the_very_end_are_a_candidate() {
        for level in levels() {
            assert_eq!(run(level, &table(), b"ask sk-"), [4]);
        }
    }

    #[test]
    fn runs_of_every_length_are_found_at_every_place() {
        for length in 20..200 {
            for at in 0..70 {
                let data = [vec![b'.'; at], vec![b'7'; length], vec![b'.'; 3]].concat();
                for data in [&data[..], &data[..at + length]] {
                    for level in levels() {
                        assert_eq!(run_list(level, data), runs_plainly(data), "{level:?} {length} {at}");
                    }
                }
            }
        }
    }
}
