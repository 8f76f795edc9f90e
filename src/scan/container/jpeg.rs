//! JPEG: XMP data that is too long for one segment, put together.
//!
//! EXIF, IPTC, comments and short XMP data stand in one run each, and are
//! found as they are. Format: <https://www.w3.org/Graphics/JPEG/itu-t81.pdf>, B.1;
//! <https://github.com/adobe/xmp-docs/tree/master/XMPSpecifications>, part 3, 1.1.3.1.

use super::{Budget, Member, Trouble};
use std::ops::Range;
use zeroize::Zeroizing;

/// What a part of the data begins with, before its digest, the whole length and the part's place.
const EXTENSION: &[u8] = b"http://ns.adobe.com/xmp/extension/\0";
/// Bytes of digest, length and place.
const ABOUT: usize = 40;

pub(super) fn each(
    data: &[u8],
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) {
    let mut whole = Zeroizing::new(Vec::new());
    let mut place: Option<Range<usize>> = None;
    let mut at = 2;
    // The segments before the picture's data; each has its length.
    while let Some([0xff, kind, high, low]) = data.get(at..at + 4) {
        let end = at + 2 + (usize::from(*high) << 8 | usize::from(*low));
        let Some(segment) = data.get(at + 4..end) else {
            break;
        };
        if let (0xe1, Some(part)) = (kind, segment.strip_prefix(EXTENSION)) {
            whole.extend_from_slice(part.get(ABOUT..).unwrap_or_default());
            place = Some(place.map_or(at, |p| p.start)..end);
        }
        if *kind == 0xda {
            break;
        }
        at = end;
    }
    let Some(place) = place else {
        return;
    };
    match budget.member().and_then(|()| budget.copy(&whole)) {
        Ok(bytes) => found(
            Member {
                name: Vec::new(),
                bytes,
                place,
            },
            budget,
        ),
        Err(why) => trouble(why, place),
    }
}
