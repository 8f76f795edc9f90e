//! PDF: the streams, where they are deflated.
//!
//! Each `stream … endstream` that starts as a zlib stream is inflated; other
//! filters hold images and fonts, and what is stored plainly is found as it
//! is. Of an encrypted one nothing can be read, which is told.
//! Format: <https://www.iso.org/standard/75839.html>, 7.3.8, 7.4.4 and 7.6.

use super::{Budget, Member, Trouble};
use std::ops::Range;

pub(super) fn each(
    data: &[u8],
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) {
    if let Some(start) = memchr::memmem::find(data, b"/Encrypt") {
        trouble(Trouble::Encrypted, start..start + b"/Encrypt".len());
    }
    let mut at = 0;
    while let Some(found_at) = memchr::memmem::find(&data[at..], b"stream") {
        let mut start = at + found_at + b"stream".len();
        start += data[start..]
            .iter()
            .take(2)
            .take_while(|b| matches!(b, b'\r' | b'\n'))
            .count();
        let end = memchr::memmem::find(&data[start..], b"endstream").map_or(data.len(), |i| start + i);
        at = (end + b"endstream".len()).min(data.len());
        let packed = &data[start..end];
        // RFC 1950: deflate, and a check of the two bytes.
        let zlib = matches!(packed, [first, second, ..] if first & 15 == 8 && (usize::from(*first) * 256 + usize::from(*second)) % 31 == 0);
        if !zlib {
            continue;
        }
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
}
