//! PNG: the compressed text chunks `zTXt` and `iTXt`; `tEXt` is plain and found as it is.
//!
//! Format: <https://www.w3.org/TR/png-3/#11textinfo>.

use super::{Budget, Member, Trouble};
use std::ops::Range;

pub(super) fn each(
    data: &[u8],
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) {
    let mut at = 8;
    while let Some(head) = data.get(at..at + 8) {
        let length = head[..4].iter().fold(0usize, |sum, b| sum << 8 | usize::from(*b));
        let (start, end) = (at + 8, (at + 8).saturating_add(length));
        // Where a chunk is cut off, or this is none, what there is counts; it was searched as plain bytes as well.
        let end = end.min(data.len());
        let chunk = &data[start..end];
        if let Some(packed) = packed(&head[4..], chunk) {
            if let Err(why) = budget.member() {
                return trouble(why, start..data.len());
            }
            let (bytes, ended) = budget.read(flate2::read::ZlibDecoder::new(packed));
            let (name, place) = (Vec::new(), start..end);
            found(
                Member {
                    name,
                    bytes,
                    place: place.clone(),
                },
                budget,
            );
            match ended {
                Ok(()) => {}
                Err(Trouble::Bound) => return trouble(Trouble::Bound, place),
                Err(why) => trouble(why, place),
            }
        }
        at = end + 4;
    }
}

/// The deflated text of a chunk, if it has one.
fn packed<'a>(kind: &[u8], chunk: &'a [u8]) -> Option<&'a [u8]> {
    let keyword = chunk.iter().position(|b| *b == 0)?;
    match (kind, &chunk[keyword + 1..]) {
        (b"zTXt", [0, text @ ..]) => Some(text),
        // Compression flag and method, language, translated keyword.
        (b"iTXt", [1, 0, rest @ ..]) => {
            let language = rest.iter().position(|b| *b == 0)?;
            let rest = &rest[language + 1..];
            let translated = rest.iter().position(|b| *b == 0)?;
            Some(&rest[translated + 1..])
        }
        _ => None,
    }
}
