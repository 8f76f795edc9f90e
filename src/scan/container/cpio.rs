//! cpio in its portable form: packages' contents, images of an early file system.
//!
//! A header of 110 characters before each name and its content, all at
//! multiples of four; after the last one there may be another archive.
//! Format: <https://man.freebsd.org/cgi/man.cgi?query=cpio&sektion=5>, "New ASCII Format".

use super::{Budget, Member, Trouble, stored};
use std::ops::Range;

const HEADER: usize = 110;

/// Whether bytes begin with a header.
pub(super) fn is(data: &[u8]) -> bool {
    matches!(data, [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..])
        && data
            .get(6..HEADER)
            .is_some_and(|fields| fields.iter().all(u8::is_ascii_hexdigit))
}

pub(super) fn each(
    data: &[u8],
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) {
    let mut at = 0;
    while let Some(entry) = entry(data, at) {
        let place = entry.content.start..entry.content.end.min(data.len());
        if let Err(why) = stored(data, place.clone(), entry.name, budget, found) {
            return trouble(why, place);
        }
        if entry.content.end > data.len() {
            return trouble(Trouble::Broken, place);
        }
        at = entry.content.end.next_multiple_of(4);
        if entry.name == b"TRAILER!!!" {
            // Zeros fill up the last block.
            at += data
                .get(at..)
                .map_or(0, |rest| rest.iter().take_while(|b| **b == 0).count());
            if at >= data.len() {
                return;
            }
            if !is(&data[at..]) {
                return rest(data, at, budget, found, trouble);
            }
        }
    }
    trouble(Trouble::Broken, at.min(data.len())..data.len());
}

/// What follows a whole archive: a compressed one, or nothing of this form.
fn rest(
    data: &[u8],
    at: usize,
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) {
    if let Err(why) = stored(data, at..data.len(), b"", budget, found) {
        trouble(why, at..data.len());
    }
}

struct Entry<'a> {
    name: &'a [u8],
    content: Range<usize>,
}

fn entry(data: &[u8], at: usize) -> Option<Entry<'_>> {
    let header = data.get(at..)?;
    if !is(header) {
        return None;
    }
    let field = |from: usize| {
        let digits = std::str::from_utf8(&header[from..from + 8]).ok()?;
        usize::try_from(u32::from_str_radix(digits, 16).ok()?).ok()
    };
    let (size, name_size) = (field(54)?, field(94)?);
    // The name ends with a null byte.
    let name = header.get(HEADER..HEADER + name_size.checked_sub(1)?)?;
    let start = (at + HEADER + name_size).next_multiple_of(4);
    Some(Entry {
        name,
        content: start.min(data.len())..start.checked_add(size)?,
    })
}
