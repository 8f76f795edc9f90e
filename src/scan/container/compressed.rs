//! One compressed stream: gzip, xz, lzma, bzip2, Zstandard.
//!
//! Formats: <https://www.rfc-editor.org/rfc/rfc1952>, <https://tukaani.org/xz/xz-file-format.txt>,
//! <https://sourceware.org/bzip2/manual/manual.html>, <https://www.rfc-editor.org/rfc/rfc8878>.

use super::{Budget, Kind, Member, Trouble};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::io::{self, Read};
use std::ops::Range;

/// Most memory that xz and lzma may take, in KiB: a dictionary of 64 MiB, as `xz -9` writes, and 1 MiB besides.
const LZMA_MEMORY: u32 = 65 << 10;
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
        Kind::Xz => budget.read(lzma_rust2::XzReader::new_mem_limit(data, true, LZMA_MEMORY)),
        Kind::Lzma => match lzma_rust2::LzmaReader::new_mem_limit(data, LZMA_MEMORY, None) {
            Ok(decoder) => budget.read(decoder),
            Err(_) => return trouble(Trouble::Broken, 0..data.len()),
        },
        Kind::Bzip2 => budget.read(bzip2::read::MultiBzDecoder::new(data)),
        _ => budget.read(Frames::new(data)),
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

/// All Zstandard frames that follow each other; those that are to be skipped are.
struct Frames<'a> {
    rest: &'a [u8],
    decoder: Option<FrameDecoder>,
    frame: Option<StreamingDecoder<&'a [u8], FrameDecoder>>,
}

impl<'a> Frames<'a> {
    fn new(data: &'a [u8]) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW);
        Self {
            rest: data,
            decoder: Some(decoder),
            frame: None,
        }
    }

    /// Begins the next frame; `false` at the end.
    fn next(&mut self) -> io::Result<bool> {
        while let [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, rest @ ..] = self.rest {
            let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
            self.rest = rest.get(length..).ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        let Some(decoder) = self.decoder.take().filter(|_| !self.rest.is_empty()) else {
            return Ok(false);
        };
        let frame = StreamingDecoder::new_with_decoder(self.rest, decoder);
        self.frame = Some(frame.map_err(|_| io::ErrorKind::InvalidData)?);
        Ok(true)
    }
}

impl Read for Frames<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                match frame.read(out)? {
                    0 => {}
                    count => return Ok(count),
                }
            }
            if let Some((rest, decoder)) = self.frame.take().map(StreamingDecoder::into_parts) {
                (self.rest, self.decoder) = (rest, Some(decoder));
            }
            if !self.next()? {
                return Ok(0);
            }
        }
    }
}
