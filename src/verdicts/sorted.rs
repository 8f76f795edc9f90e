//! Tags in order, searched where they lie.
//!
//! Tags are spread evenly, so the place of one is told from its bytes: mostly
//! one or two reads find it or show that it is not there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a tag.
pub const TAG: usize = 16;
/// Stands for one object.
pub type Tag = [u8; TAG];

/// Tags that are read at once: 4 KiB.
const BLOCK: u64 = 256;
/// After so many guesses the rest is halved: tags that are not spread evenly were not written by us.
const GUESSES: u32 = 6;

/// Bytes that are read at a place.
pub trait ReadAt {
    /// Fills a buffer from `offset` on.
    ///
    /// # Errors
    /// There is less, or it cannot be read.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl ReadAt for &[u8] {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|from| self.get(from..));
        let bytes = from.and_then(|from| from.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A source of tags in order. Of one whose tags are not in order some are not found; none is found that is not there.
pub struct Sorted<R> {
    source: R,
    count: u64,
}

impl<R: ReadAt> Sorted<R> {
    /// * `size`: bytes of the source; what is left over after the last whole tag does not count.
    pub fn new(source: R, size: u64) -> Self {
        let count = size / TAG as u64;
        Self { source, count }
    }

    /// Whether a tag is there.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn holds(&self, tag: &Tag) -> io::Result<bool> {
        let mut bytes = [0; BLOCK as usize * TAG];
        let (mut low, mut high) = (0, self.count);
        // What the tags from `low` to `high` begin with, as numbers.
        let (mut least, mut most) = (0, u64::MAX);
        for step in 0.. {
            if low >= high {
                break;
            }
            let guess = match step < GUESSES {
                true => low + share(number(tag), least, most, high - low),
                false => low + (high - low) / 2,
            };
            let from = guess.saturating_sub(BLOCK / 2).min(high.saturating_sub(BLOCK)).max(low);
            let len = BLOCK.min(high - from);
            let block = &mut bytes[..len as usize * TAG];
            self.source.fill(block, from * TAG as u64)?;
            let (tags, _) = block.as_chunks::<TAG>();
            match (tags.first(), tags.last()) {
                (Some(first), _) if tag < first => (high, most) = (from, number(first)),
                (_, Some(last)) if tag > last => (low, least) = (from + len, number(last)),
                _ => return Ok(tags.binary_search(tag).is_ok()),
            }
        }
        Ok(false)
    }
}

fn number(tag: &Tag) -> u64 {
    tag.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Where among `count` tags that are spread evenly from `least` to `most` one stands.
fn share(wanted: u64, least: u64, most: u64, count: u64) -> u64 {
    let part = u128::from(wanted.saturating_sub(least)) * u128::from(count);
    let whole = u128::from(most.saturating_sub(least)) + 1;
    ((part / whole) as u64).min(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holds(bytes: &[u8], tag: &Tag) -> bool {
        Sorted::new(bytes, bytes.len() as u64).holds(tag).unwrap()
    }

    /// Tags as a keyed hash makes them.
    fn spread(count: u64) -> Vec<Tag> {
        let mut tags: Vec<Tag> = (1..=count)
            .map(|i| {
                u128::from(i)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
                    .to_be_bytes()
            })
            .collect();
        tags.sort_unstable();
        tags
    }

    #[test]
    fn every_tag_that_is_there_is_found_and_no_other() {
        for count in [0, 1, 255, 256, 257, 1_000, 40_000] {
            let tags = spread(count);
            let bytes = tags.as_flattened();
            for tag in tags.iter().step_by(7) {
                assert!(holds(bytes, tag));
                let mut other = *tag;
                other[15] ^= 1;
                assert!(!holds(bytes, &other));
            }
            assert!(!holds(bytes, &[0; TAG]) && !holds(bytes, &[255; TAG]));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_found_is_there(bytes in prop::collection::vec(0..4u8, 0..40_000), tag in prop::array::uniform16(0..4u8)) {
            let there = bytes.as_chunks::<TAG>().0.contains(&tag);
            prop_assert!(there || !holds(&bytes, &tag));
        }

        #[test]
        fn tags_that_are_not_spread_are_found_too(tags in prop::collection::btree_set(prop::array::uniform16(0..3u8), 0..2_000)) {
            let tags: Vec<Tag> = tags.into_iter().collect();
            for tag in &tags {
                prop_assert!(holds(tags.as_flattened(), tag));
            }
        }
    }
}
