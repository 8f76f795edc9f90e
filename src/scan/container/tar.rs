//! tar: blocks of 512 bytes, a header and its content.
//!
//! Format: <https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_06>.
//! Names of pax and GNU long-name members are content of their own here, and scanned as such.

use super::{Budget, Member, Trouble};
use std::ops::Range;

const BLOCK: usize = 512;

/// Whether the first block is a header, by its checksum: archives from before POSIX have no magic.
pub(super) fn is(data: &[u8]) -> bool {
    data.get(..BLOCK).is_some_and(checksum)
}

/// Whether the sum of a header's bytes, its own field read as blanks, is what it says.
fn checksum(block: &[u8]) -> bool {
    let said = octal(&block[148..156]);
    if said.is_none_or(|sum| sum == 0) {
        return false;
    }
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) })
        .sum();
    said == Some(sum)
}

/// An octal number in text, ended by a blank or a null byte.
fn octal(field: &[u8]) -> Option<u64> {
    let mut digits = field
        .iter()
        .skip_while(|b| **b == b' ')
        .take_while(|b| (b'0'..=b'7').contains(b));
    digits.try_fold(0u64, |sum, b| sum.checked_mul(8)?.checked_add(u64::from(b - b'0')))
}

pub(super) fn each(
    data: &[u8],
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) {
    let (mut at, mut ended) = (0, false);
    while let Some(header) = data.get(at..at + BLOCK) {
        // Two blocks of zeros end an archive; another may follow, as in `cat a.tar b.tar`.
        if header.iter().all(|b| *b == 0) {
            at += BLOCK;
            ended = true;
            continue;
        }
        if ended && !checksum(header) {
            return;
        }
        ended = false;
        if let Err(why) = one(data, header, &mut at, budget, found) {
            return trouble(why, at..data.len());
        }
    }
    if at < data.len() && !ended {
        trouble(Trouble::Broken, at..data.len());
    }
}

/// Reads the member whose header stands at `at`, and moves on to the next.
fn one(
    data: &[u8],
    header: &[u8],
    at: &mut usize,
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
) -> Result<(), Trouble> {
    if !checksum(header) {
        return Err(Trouble::Broken);
    }
    budget.member()?;
    // Sizes of 8 GiB and more are written in base 256, which no blob that is scanned can hold.
    let size = octal(&header[124..136]).and_then(|size| usize::try_from(size).ok());
    let start = *at + BLOCK;
    let end = size.and_then(|size| start.checked_add(size)).ok_or(Trouble::Broken)?;
    let content = data.get(start..end.min(data.len())).ok_or(Trouble::Broken)?;
    let bytes = budget.copy(content)?;
    let text = |field: &[u8]| field.iter().copied().take_while(|b| *b != 0).collect::<Vec<u8>>();
    let mut name = text(&header[345..500]);
    if !name.is_empty() {
        name.push(b'/');
    }
    name.extend(text(&header[..100]));
    // The target of a link is a place for secrets as well.
    name.extend(text(&header[157..257]).iter());
    let place = start..end.min(data.len());
    found(Member { name, bytes, place }, budget);
    if end > data.len() {
        return Err(Trouble::Broken);
    }
    *at = end.div_ceil(BLOCK) * BLOCK;
    Ok(())
}
