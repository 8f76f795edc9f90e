//! ar: static libraries and Debian packages.
//!
//! A header of 60 bytes in text before each member.
//! Format: <https://manpages.debian.org/bookworm/dpkg-dev/deb.5.en.html>, <https://man.freebsd.org/cgi/man.cgi?query=ar&sektion=5>.

use super::{Budget, Member, Trouble, stored};
use std::ops::Range;

const HEADER: usize = 60;

pub(super) fn each(
    data: &[u8],
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) {
    let mut at = 8;
    while at < data.len() {
        let Some(size) = data.get(at..at + HEADER).and_then(size) else {
            return trouble(Trouble::Broken, at..data.len());
        };
        let start = at + HEADER;
        let end = start.saturating_add(size);
        let place = start..end.min(data.len());
        if let Err(why) = stored(data, place.clone(), &data[at..at + 16], budget, found) {
            return trouble(why, place);
        }
        if end > data.len() {
            return trouble(Trouble::Broken, place);
        }
        // Members begin at even places.
        at = end + end % 2;
    }
}

/// The size that a header tells: decimal digits, filled up with blanks.
fn size(header: &[u8]) -> Option<usize> {
    if &header[58..] != b"`\n" {
        return None;
    }
    std::str::from_utf8(&header[48..58]).ok()?.trim_end().parse().ok()
}
