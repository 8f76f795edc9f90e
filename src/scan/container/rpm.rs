//! RPM packages: the payload, which is a compressed cpio archive; names and texts before it are plain.
//!
//! Format: <https://rpm-software-management.github.io/rpm/manual/format_v4.html>.

use super::{Budget, Kind, Member, Trouble, stored};
use std::ops::Range;

/// The lead, which only tells that this is a package.
const LEAD: usize = 96;

pub(super) fn each(
    data: &[u8],
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) {
    // The signatures' header, filled up to a multiple of eight, and the package's own.
    let payload = header(data, LEAD).and_then(|end| header(data, end.next_multiple_of(8)));
    let Some(start) = payload.filter(|start| *start < data.len()) else {
        return trouble(Trouble::Broken, 0..data.len());
    };
    let place = start..data.len();
    if Kind::of(&data[start..]).is_none() {
        return trouble(Trouble::Unknown, place);
    }
    if let Err(why) = stored(data, place.clone(), b"", budget, found) {
        trouble(why, place);
    }
}

/// Where the header that stands at a place ends.
fn header(data: &[u8], at: usize) -> Option<usize> {
    let head = data.get(at..at.checked_add(16)?)?;
    if head[..4] != [0x8e, 0xad, 0xe8, 1] {
        return None;
    }
    let number = |at: usize| {
        head[at..at + 4]
            .iter()
            .fold(0usize, |sum, b| sum << 8 | usize::from(*b))
    };
    let end = at + 16 + 16 * number(8) + number(12);
    (end <= data.len()).then_some(end)
}
