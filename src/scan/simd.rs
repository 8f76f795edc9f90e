//! The prefilter's pass over the bytes: AVX2, SSSE3, or plain code with the same answer.
//!
//! The only module with `unsafe`. A position is a candidate when the four
//! folded bytes from it pass [`Table::admits`]; bytes past the end read as 0.
//! All three ways give the same candidates in the same order, which the tests
//! here check on generated inputs of every length and seam.

use super::table::{FOLD, Table};

/// A way to run the pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// 32 bytes at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 16 bytes at a time.
    #[cfg(target_arch = "x86_64")]
    Ssse3,
    /// One byte at a time.
    Scalar,
}

impl Level {
    /// The best way that this processor has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
            if std::arch::is_x86_feature_detected!("ssse3") {
                return Self::Ssse3;
            }
        }
        Self::Scalar
    }
}

/// Calls `found` with each candidate position of `data`, ascending.
pub(crate) fn candidates(level: Level, table: &Table, data: &[u8], found: &mut impl FnMut(usize)) {
    // The vector code reads 3 bytes past its last position; the rest is left to the plain code.
    let done = match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 if std::arch::is_x86_feature_detected!("avx2") => x86::avx2(table, data, found),
        #[cfg(target_arch = "x86_64")]
        Level::Ssse3 if std::arch::is_x86_feature_detected!("ssse3") => x86::ssse3(table, data, found),
        _ => 0,
    };
    scalar(table, data, done, found);
}

/// The pass in plain code, from a position on.
fn scalar(table: &Table, data: &[u8], from: usize, found: &mut impl FnMut(usize)) {
    let rest = &data[from..];
    for (i, window) in rest.windows(4).enumerate() {
        let folded = u32::from_le_bytes([window[0], window[1], window[2], window[3]]) | FOLD;
        if table.admits(folded) {
            found(from + i);
        }
    }
    for position in (data.len().saturating_sub(3)).max(from)..data.len() {
        let mut window = [0; 4];
        let tail = &data[position..];
        window[..tail.len()].copy_from_slice(tail);
        if table.admits(u32::from_le_bytes(window) | FOLD) {
            found(position);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(
        unsafe_code,
        reason = "vector loads and target features; each block argues its safety"
    )]

    use super::super::table::{FOLD, Nibbles, Table};
    use std::arch::x86_64::*;

    /// Hands the candidates among up to 32 positions on: bit `j` of `mask` is position `base + j`.
    #[inline(always)]
    fn confirm(table: &Table, data: &[u8], base: usize, mut mask: u32, found: &mut impl FnMut(usize)) {
        while mask != 0 {
            let position = base + mask.trailing_zeros() as usize;
            mask &= mask - 1;
            if let Some(window) = data.get(position..position + 4) {
                let folded = u32::from_le_bytes([window[0], window[1], window[2], window[3]]) | FOLD;
                if table.in_bitmap(folded) {
                    found(position);
                }
            }
        }
    }

    /// Runs the AVX2 pass; returns the first position that it did not look at.
    pub(super) fn avx2(table: &Table, data: &[u8], found: &mut impl FnMut(usize)) -> usize {
        // SAFETY: the only requirement of `run_avx2` is that the processor has
        // AVX2; the caller, `candidates`, has asked it just before.
        unsafe { run_avx2(table, data, found) }
    }

    /// Runs the SSSE3 pass; returns the first position that it did not look at.
    pub(super) fn ssse3(table: &Table, data: &[u8], found: &mut impl FnMut(usize)) -> usize {
        // SAFETY: the only requirement of `run_ssse3` is that the processor has
        // SSSE3; the caller, `candidates`, has asked it just before.
        unsafe { run_ssse3(table, data, found) }
    }

    #[target_feature(enable = "avx2")]
    fn masks_avx2(nibbles: &Nibbles) -> [[__m256i; 4]; 2] {
        std::array::from_fn(|half| {
            std::array::from_fn(|j| {
                // SAFETY: the pointer comes from a reference to an array of exactly 16 bytes; the load is unaligned.
                let lane = unsafe { _mm_loadu_si128(nibbles[half][j].as_ptr().cast()) };
                _mm256_broadcastsi128_si256(lane)
            })
        })
    }

    #[target_feature(enable = "avx2")]
    fn run_avx2(table: &Table, data: &[u8], found: &mut impl FnMut(usize)) -> usize {
        let (low, high) = (masks_avx2(&table.low), masks_avx2(&table.high));
        let (nibble, zero, fold) = (
            _mm256_set1_epi8(15),
            _mm256_setzero_si256(),
            _mm256_set1_epi8(FOLD as u8 as i8),
        );
        let mut at = 0;
        // Each round reads bytes at..at + 35.
        while at + 35 <= data.len() {
            let (mut first, mut second) = (_mm256_set1_epi8(-1), _mm256_set1_epi8(-1));
            for j in 0..4 {
                // SAFETY: j <= 3, so the 32 bytes read end at at + 35 at most, which is within `data` by the loop's
                // condition; the load is unaligned.
                let bytes = unsafe { _mm256_loadu_si256(data.as_ptr().add(at + j).cast()) };
                let folded = _mm256_or_si256(bytes, fold);
                let l = _mm256_and_si256(folded, nibble);
                let h = _mm256_and_si256(_mm256_srli_epi16::<4>(folded), nibble);
                let pass = |half: usize| {
                    _mm256_and_si256(
                        _mm256_shuffle_epi8(low[half][j], l),
                        _mm256_shuffle_epi8(high[half][j], h),
                    )
                };
                first = _mm256_and_si256(first, pass(0));
                second = _mm256_and_si256(second, pass(1));
            }
            let none = _mm256_cmpeq_epi8(_mm256_or_si256(first, second), zero);
            let mask = !(_mm256_movemask_epi8(none) as u32);
            if mask != 0 {
                confirm(table, data, at, mask, found);
            }
            at += 32;
        }
        at
    }

    #[target_feature(enable = "ssse3")]
    fn masks_ssse3(nibbles: &Nibbles) -> [[__m128i; 4]; 2] {
        std::array::from_fn(|half| {
            std::array::from_fn(|j| {
                // SAFETY: the pointer comes from a reference to an array of exactly 16 bytes; the load is unaligned.
                unsafe { _mm_loadu_si128(nibbles[half][j].as_ptr().cast()) }
            })
        })
    }

    #[target_feature(enable = "ssse3")]
    fn run_ssse3(table: &Table, data: &[u8], found: &mut impl FnMut(usize)) -> usize {
        let (low, high) = (masks_ssse3(&table.low), masks_ssse3(&table.high));
        let (nibble, zero, fold) = (_mm_set1_epi8(15), _mm_setzero_si128(), _mm_set1_epi8(FOLD as u8 as i8));
        let mut at = 0;
        // Each round reads bytes at..at + 19.
        while at + 19 <= data.len() {
            let (mut first, mut second) = (_mm_set1_epi8(-1), _mm_set1_epi8(-1));
            for j in 0..4 {
                // SAFETY: j <= 3, so the 16 bytes read end at at + 19 at most, which is within `data` by the loop's
                // condition; the load is unaligned.
                let bytes = unsafe { _mm_loadu_si128(data.as_ptr().add(at + j).cast()) };
                let folded = _mm_or_si128(bytes, fold);
                let l = _mm_and_si128(folded, nibble);
                let h = _mm_and_si128(_mm_srli_epi16::<4>(folded), nibble);
                let pass =
                    |half: usize| _mm_and_si128(_mm_shuffle_epi8(low[half][j], l), _mm_shuffle_epi8(high[half][j], h));
                first = _mm_and_si128(first, pass(0));
                second = _mm_and_si128(second, pass(1));
            }
            let none = _mm_cmpeq_epi8(_mm_or_si128(first, second), zero);
            let mask = !(_mm_movemask_epi8(none) as u32) & 0xffff;
            if mask != 0 {
                confirm(table, data, at, mask, found);
            }
            at += 16;
        }
        at
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

    fn levels() -> Vec<Level> {
        vec![
            Level::detect(),
            #[cfg(target_arch = "x86_64")]
            Level::Ssse3,
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn every_level_equals_the_plain_code(
            pieces in prop::collection::vec(
                prop_oneof![
                    Just(b"ghp_".to_vec()), Just(b"SK-".to_vec()), Just(b"Password".to_vec()),
                    Just(b"-----BEGIN".to_vec()), Just(b"akia".to_vec()), Just(b"xoxb".to_vec()),
                    prop::collection::vec(any::<u8>(), 0..40),
                ],
                0..12,
            ),
            skip in 0usize..40,
        ) {
            let data = pieces.concat();
            let data = &data[skip.min(data.len())..];
            let table = table();
            let plain = run(Level::Scalar, &table, data);
            for level in levels() {
                prop_assert_eq!(&run(level, &table, data), &plain);
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
}
