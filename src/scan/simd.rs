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

    use super::super::table::{FOLD, GROUPS, Nibbles, Table};
    use std::arch::x86_64::*;

    /// Nibble masks in registers.
    type Masks<V> = [[V; 4]; GROUPS];

    /// Hands the candidates among 64 positions on: bit `j` of `mask` is position `base + j`.
    ///
    /// Takes four at a time whether there are four or not: a loop that ends
    /// after each number of candidates is mispredicted in nearly every block.
    #[inline(always)]
    fn confirm(table: &Table, data: &[u8], base: usize, mut mask: u64, found: &mut impl FnMut(usize)) {
        while mask != 0 {
            let (mut positions, mut passed) = ([0; 4], 0u32);
            for (i, position) in positions.iter_mut().enumerate() {
                let there = mask != 0;
                *position = base + (mask.trailing_zeros() & 63) as usize;
                mask &= mask.wrapping_sub(1);
                // The callers' blocks end 3 bytes before the data does.
                let window = data.get(*position..*position + 4).and_then(|w| w.try_into().ok());
                let window = window.map_or(0, u32::from_le_bytes) | FOLD;
                passed |= u32::from(there & table.in_bitmap(window)) << i;
            }
            while passed != 0 {
                found(positions[(passed.trailing_zeros() & 3) as usize]);
                passed &= passed - 1;
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
    fn masks_avx2(nibbles: &Nibbles) -> Masks<__m256i> {
        std::array::from_fn(|group| {
            std::array::from_fn(|j| {
                // SAFETY: the pointer comes from a reference to an array of exactly 16 bytes; the load is unaligned.
                let lane = unsafe { _mm_loadu_si128(nibbles[group][j].as_ptr().cast()) };
                _mm256_broadcastsi128_si256(lane)
            })
        })
    }

    #[target_feature(enable = "avx2")]
    fn run_avx2(table: &Table, data: &[u8], found: &mut impl FnMut(usize)) -> usize {
        let masks = (masks_avx2(&table.low), masks_avx2(&table.high));
        let mut at = 0;
        // Each round looks at 64 positions and reads bytes at..at + 67.
        while let Some(block) = data[at..].first_chunk::<67>() {
            let mut mask = 0;
            for part in 0..2 {
                mask |= u64::from(part_avx2(&masks, block, part * 32)) << (part * 32);
            }
            confirm(table, data, at, mask, found);
            at += 64;
        }
        at
    }

    /// Which of the 32 positions from `from` on pass the masks.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn part_avx2(masks: &(Masks<__m256i>, Masks<__m256i>), block: &[u8; 67], from: usize) -> u32 {
        let nibble = _mm256_set1_epi8(15);
        let fold = _mm256_set1_epi8(FOLD as u8 as i8);
        let mut passed = [_mm256_set1_epi8(-1); GROUPS];
        for j in 0..4 {
            let bytes: &[u8; 32] = match block[from + j..].first_chunk() {
                Some(bytes) => bytes,
                None => return u32::MAX,
            };
            // SAFETY: the pointer comes from a reference to exactly 32 bytes; the load is unaligned.
            let bytes = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
            let folded = _mm256_or_si256(bytes, fold);
            let low = _mm256_and_si256(folded, nibble);
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(folded), nibble);
            for (group, passed) in passed.iter_mut().enumerate() {
                let pass = _mm256_and_si256(
                    _mm256_shuffle_epi8(masks.0[group][j], low),
                    _mm256_shuffle_epi8(masks.1[group][j], high),
                );
                *passed = _mm256_and_si256(*passed, pass);
            }
        }
        let zero = _mm256_setzero_si256();
        let any = passed.iter().fold(zero, |any, group| _mm256_or_si256(any, *group));
        !(_mm256_movemask_epi8(_mm256_cmpeq_epi8(any, zero)) as u32)
    }

    #[target_feature(enable = "ssse3")]
    fn masks_ssse3(nibbles: &Nibbles) -> Masks<__m128i> {
        std::array::from_fn(|group| {
            std::array::from_fn(|j| {
                // SAFETY: the pointer comes from a reference to an array of exactly 16 bytes; the load is unaligned.
                unsafe { _mm_loadu_si128(nibbles[group][j].as_ptr().cast()) }
            })
        })
    }

    #[target_feature(enable = "ssse3")]
    fn run_ssse3(table: &Table, data: &[u8], found: &mut impl FnMut(usize)) -> usize {
        let masks = (masks_ssse3(&table.low), masks_ssse3(&table.high));
        let mut at = 0;
        // Each round looks at 64 positions and reads bytes at..at + 67.
        while let Some(block) = data[at..].first_chunk::<67>() {
            let mut mask = 0;
            for part in 0..4 {
                mask |= u64::from(part_ssse3(&masks, block, part * 16)) << (part * 16);
            }
            confirm(table, data, at, mask, found);
            at += 64;
        }
        at
    }

    /// Which of the 16 positions from `from` on pass the masks.
    #[inline]
    #[target_feature(enable = "ssse3")]
    fn part_ssse3(masks: &(Masks<__m128i>, Masks<__m128i>), block: &[u8; 67], from: usize) -> u16 {
        let nibble = _mm_set1_epi8(15);
        let fold = _mm_set1_epi8(FOLD as u8 as i8);
        let mut passed = [_mm_set1_epi8(-1); GROUPS];
        for j in 0..4 {
            let bytes: &[u8; 16] = match block[from + j..].first_chunk() {
                Some(bytes) => bytes,
                None => return u16::MAX,
            };
            // SAFETY: the pointer comes from a reference to exactly 16 bytes; the load is unaligned.
            let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
            let folded = _mm_or_si128(bytes, fold);
            let low = _mm_and_si128(folded, nibble);
            let high = _mm_and_si128(_mm_srli_epi16::<4>(folded), nibble);
            for (group, passed) in passed.iter_mut().enumerate() {
                let pass = _mm_and_si128(
                    _mm_shuffle_epi8(masks.0[group][j], low),
                    _mm_shuffle_epi8(masks.1[group][j], high),
                );
                *passed = _mm_and_si128(*passed, pass);
            }
        }
        let zero = _mm_setzero_si128();
        let any = passed.iter().fold(zero, |any, group| _mm_or_si128(any, *group));
        !(_mm_movemask_epi8(_mm_cmpeq_epi8(any, zero)) as u16)
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
