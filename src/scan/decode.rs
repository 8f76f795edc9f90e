//! Other writings of a text: base64, hexadecimal, percent, `\u`, HTML entities, literals in parts.
//!
//! Each found piece is handed on decoded, with a map from its bytes to the
//! place of the written form. Bounds: a piece is at most [`MAX_PIECE`] bytes;
//! what is decoded is never longer than what it was decoded from, and the
//! scanner goes at most two levels deep, so the work is linear.

use super::simd::{self, Level};
use super::table::{Set, nibbles};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::ops::Range;
use zeroize::Zeroizing;

/// Longest written piece that is decoded, in bytes; the rest of a longer one is left.
pub(crate) const MAX_PIECE: usize = 1 << 20;
/// Shortest run that is taken for base64: 18 bytes, shorter than any token with a prefix.
const MIN_BASE64: usize = 24;
/// Shortest run that is taken for hexadecimal.
const MIN_HEX: usize = 32;

/// A decoded piece.
pub(crate) struct Piece {
    /// The decoded bytes.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    map: Map,
}

enum Map {
    /// Three bytes for four characters from here on.
    Base64(usize),
    /// A byte for two characters from here on.
    Hex(usize),
    /// Where each byte's written form starts, and one more for the end.
    Steps(Vec<usize>),
}

impl Piece {
    /// The place of the written form.
    pub(crate) fn outer(&self, span: &Range<usize>) -> Range<usize> {
        match &self.map {
            Map::Base64(start) => start + span.start * 4 / 3..start + (span.end * 4).div_ceil(3),
            Map::Hex(start) => start + span.start * 2..start + span.end * 2,
            Map::Steps(steps) => {
                let at = |i: usize| steps.get(i).or(steps.last()).copied().unwrap_or(0);
                at(span.start)..at(span.end)
            }
        }
    }
}

/// Calls `found` with every piece of `data` that is written in another way and decodes to text.
pub(crate) fn each(data: &[u8], found: &mut dyn FnMut(Piece)) {
    simd::runs::<MIN_BASE64>(Level::detect(), &CLASS, data, &mut |run| {
        if let Some(piece) = hex(data, &run).or_else(|| base64(data, &run)) {
            found(piece);
        }
    });
    super::escapes::each(data, found);
    super::joined::each(data, found);
}

/// A piece whose bytes came one by one: `steps` has one entry more than `bytes`.
pub(crate) fn stepped(bytes: Vec<u8>, steps: Vec<usize>) -> Piece {
    Piece {
        bytes: Zeroizing::new(bytes),
        map: Map::Steps(steps),
    }
}

/// Which bytes belong to base64, of both alphabets: a form for each high nibble.
const CLASS: Set<1, 1> = Set::of(&[
    [(nibbles(b"+-/"), 1 << 2)],
    [(nibbles(b"0123456789"), 1 << 3)],
    [(0xfffe, 1 << 4)],
    [(nibbles(b"PQRSTUVWXYZ_"), 1 << 5)],
    [(0xfffe, 1 << 6)],
    [(nibbles(b"pqrstuvwxyz"), 1 << 7)],
]);

/// The usual and the URL-safe alphabet without padding; bits left over at the end are ignored.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::RequireNone);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

fn base64(data: &[u8], run: &Range<usize>) -> Option<Piece> {
    let written = &data[run.start..run.end.min(run.start + MAX_PIECE)];
    let engine = if written.iter().any(|b| matches!(b, b'-' | b'_')) {
        &URL_SAFE
    } else {
        &STANDARD
    };
    let mut head = Zeroizing::new([0; 15]);
    let length = engine.decode_slice(&written[..16], head.as_mut()).ok()?;
    if !texty(&head[..length]) && !packed(&head[..length]) {
        return None;
    }
    // A single left-over character is no base64; leave it out.
    let whole = if written.len() % 4 == 1 {
        written.len() - 1
    } else {
        written.len()
    };
    let bytes = engine.decode(&written[..whole]).ok()?;
    Some(Piece {
        bytes: Zeroizing::new(bytes),
        map: Map::Base64(run.start),
    })
}

fn hex(data: &[u8], run: &Range<usize>) -> Option<Piece> {
    let written = &data[run.start..run.end.min(run.start + MAX_PIECE)];
    let digits = written.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits < MIN_HEX || digits < written.len() {
        return None;
    }
    let value = |b: u8| char::from(b).to_digit(16).map_or(0, |v| v as u8);
    let pair = |pair: &[u8]| value(pair[0]) << 4 | value(pair[1]);
    let head: Vec<u8> = written[..24].chunks_exact(2).map(pair).collect();
    if !texty(&head) {
        return None;
    }
    Some(Piece {
        bytes: Zeroizing::new(written.chunks_exact(2).map(pair).collect()),
        map: Map::Hex(run.start),
    })
}

/// Whether decoded bytes may be text: all ASCII text, or UTF-16 of it.
///
/// Twelve random bytes pass once in 100,000 times.
fn texty(head: &[u8]) -> bool {
    let text = |b: &u8| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e);
    let wide = |odd: usize| {
        head.iter()
            .enumerate()
            .all(|(i, b)| if i % 2 == odd { *b == 0 } else { text(b) })
    };
    head.iter().all(text) || wide(0) || wide(1)
}

/// Whether decoded bytes start as a compressed stream that `container` unpacks.
fn packed(head: &[u8]) -> bool {
    use super::container::Kind;
    matches!(
        Kind::of(head),
        Some(Kind::Gzip | Kind::Zip | Kind::Xz | Kind::Bzip2 | Kind::Zstd)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD as PADDED, URL_SAFE as PADDED_URL};

    fn pieces(data: &[u8]) -> Vec<(Vec<u8>, Range<usize>)> {
        let mut all = Vec::new();
        each(data, &mut |piece| {
            let span = piece.outer(&(0..piece.bytes.len()));
            all.push((piece.bytes.to_vec(), span));
        });
        all
    }

    #[test]
    fn base64_and_hex_are_decoded_in_place() {
        let secret = b"user:a quite ordinary password?>";
        for written in [PADDED.encode(secret), PADDED_URL.encode(secret)] {
            let data = format!("x = \"{written}\"\n");
            let unpadded = written.trim_end_matches('=').len();
            assert_eq!(pieces(data.as_bytes()), [(secret.to_vec(), 5..5 + unpadded)]);
        }
        let written: String = secret.iter().map(|b| format!("{b:02X}")).collect();
        assert_eq!(pieces(written.as_bytes()), [(secret.to_vec(), 0..64)]);
    }

    #[test]
    fn hashes_words_and_paths_are_left() {
        for text in [
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "anIdentifierThatIsRatherLongAsTheyAre",
            "usr/share/doc/packages/something/README",
            "short",
        ] {
            assert!(pieces(text.as_bytes()).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_part_of_a_piece_maps_to_the_characters_that_hold_it() {
        let data = PADDED.encode("0123456789abcdefghijklmnopqrstuvwxyz");
        let mut spans = Vec::new();
        each(data.as_bytes(), &mut |piece| spans.push(piece.outer(&(4..8))));
        assert_eq!(spans, vec![Range { start: 5, end: 11 }]);
    }
}
