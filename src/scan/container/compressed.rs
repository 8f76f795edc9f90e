//! One compressed stream: gzip, xz, bzip2, Zstandard.
//!
//! Formats: <https://www.rfc-editor.org/rfc/rfc1952>, <https://tukaani.org/xz/xz-file-format.txt>,
//! <https://sourceware.org/bzip2/manual/manual.html>, <https://www.rfc-editor.org/rfc/rfc8878>.

use super::{Budget, Kind, Member, Trouble};
use std::ops::Range;

/// Most memory that an xz dictionary may take, in KiB: 64 MiB.
const XZ_MEMORY: u32 = 64 << 10;
/// Largest Zstandard window: 8 MiB, which every decoder must support.
const ZSTD_WINDOW: u64 = 8 << 20;

pub(super) fn each(
    kind: Kind,
    data: &[u8],
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) {
    if let Err(why) = budget.member() {
        return trouble(why, 0..data.len());
    }
    let (bytes, end) = match kind {
        Kind::Gzip => budget.read(flate2::read::MultiGzDecoder::new(data)),
        Kind::Xz => budget.read(lzma_rust2::XzReader::new_mem_limit(data, true, XZ_MEMORY)),
        Kind::Bzip2 => budget.read(bzip2::read::MultiBzDecoder::new(data)),
        _ => match ruzstd::decoding::StreamingDecoder::new_with_max_window_size(data, ZSTD_WINDOW) {
            Ok(decoder) => budget.read(decoder),
            Err(_) => return trouble(Trouble::Broken, 0..data.len()),
        },
    };
    let name = Vec::new();
    let place = 0..data.len();
    found(
        Member {
            name,
            bytes,
            place: place.clone(),
        },
        budget,
    );
    if let Err(why) = end {
        trouble(why, place);
    }
}
