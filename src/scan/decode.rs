//! Other writings of a text: base64, hexadecimal, percent, `\u`, HTML entities, quoted-printable, look-alike
//! letters, literals in parts.
//!
//! Each found piece is handed on decoded, with a map from its bytes to the
//! place of the written form. Bounds: what is decoded is never longer than
//! what it was decoded from, and all pieces of one text have at most four
//! times its bytes (`tests` hold that); how deep it goes on is the scanner's.

use super::simd::{self, Level};
use super::table::{Set, nibbles};
use super::wrapped::{Fold, Wrapped};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::ops::Range;
use zeroize::Zeroizing;

/// Shortest run that is taken for base64: 18 bytes, shorter than any token with a prefix.
pub(crate) const MIN_RUN: usize = 24;
/// Shortest run that is taken for hexadecimal.
const MIN_HEX: usize = 32;

/// A decoded piece.
pub(crate) struct Piece {
    /// The decoded bytes.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    map: Map,
    /// Where the written form stands, if that is many lines.
    fold: Option<Fold>,
    /// Whether it is only put together of parts.
    pub(crate) joined: bool,
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
        let written = self.written(span);
        self.fold.map_or(written.clone(), |fold| fold.outer(&written))
    }

    /// The piece with its written form in lines.
    pub(crate) fn folded(self, fold: Fold) -> Self {
        Self {
            fold: Some(fold),
            ..self
        }
    }

    fn written(&self, span: &Range<usize>) -> Range<usize> {
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
    let mut lines = Wrapped::new(data, found);
    simd::runs::<MIN_RUN>(Level::detect(), &CLASS, data, &mut |run| lines.run(run));
    lines.end();
    super::escapes::each(data, found);
    super::joined::each(data, found);
}

/// A piece whose bytes came one by one: `steps` has one entry more than `bytes`.
pub(crate) fn stepped(bytes: Vec<u8>, steps: Vec<usize>) -> Piece {
    Piece {
        bytes: Zeroizing::new(bytes),
        map: Map::Steps(steps),
        fold: None,
        joined: false,
    }
}

/// What a run of at least [`MIN_RUN`] characters stands for, if that may be text or begins as a compressed stream.
///
/// * `start`: where the run stands in its text.
pub(crate) fn run(written: &[u8], start: usize) -> Option<Piece> {
    hex(written, start).or_else(|| base64(written, start))
}

/// Whether a run may stand for something, by its first characters.
pub(crate) fn is_head(written: &[u8]) -> bool {
    base64_head(written).is_some() || hex_head(written)
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

/// What each character of either alphabet stands for; of others, anything.
const VALUES: [u8; 256] = {
    let mut values = [0; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut i = 0;
    while i < 64 {
        values[alphabet[i] as usize] = i as u8;
        i += 1;
    }
    values[b'-' as usize] = 62;
    values[b'_' as usize] = 63;
    values
};

/// Whether the first two bytes that a run stands for may be those of anything of use; nearly all names end here.
fn may_begin(written: &[u8]) -> bool {
    let value = |at: usize| VALUES[usize::from(written[at])];
    let first = value(0) << 2 | value(1) >> 4;
    let second = value(1) << 4 | value(2) >> 2;
    let text = |b: u8| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e);
    // Zeros are those of UTF-16, the others those of compressed streams.
    (text(first) || matches!(first, 0 | 0x1f | 0xfd)) && (text(second) || matches!(second, 0 | 0x8b | 0xb5))
}

/// The engine that decodes a run, if what it begins with may be of use.
fn base64_head(written: &[u8]) -> Option<&'static GeneralPurpose> {
    if !may_begin(written) {
        return None;
    }
    head_engine(written)
}

fn head_engine(written: &[u8]) -> Option<&'static GeneralPurpose> {
    let engine = if written.iter().any(|b| matches!(b, b'-' | b'_')) {
        &URL_SAFE
    } else {
        &STANDARD
    };
    let mut head = Zeroizing::new([0; 15]);
    let length = engine.decode_slice(&written[..16], head.as_mut()).ok()?;
    (texty(&head[..length]) || packed(&head[..length])).then_some(engine)
}

fn base64(written: &[u8], start: usize) -> Option<Piece> {
    let engine = base64_head(written)?;
    // A single left-over character is no base64; leave it out.
    let whole = if written.len() % 4 == 1 {
        written.len() - 1
    } else {
        written.len()
    };
    let bytes = engine.decode(&written[..whole]).ok()?;
    Some(Piece {
        bytes: Zeroizing::new(bytes),
        map: Map::Base64(start),
        fold: None,
        joined: false,
    })
}

/// The byte that two digits stand for.
fn pair(digits: &[u8]) -> u8 {
    let value = |b: u8| char::from(b).to_digit(16).map_or(0, |v| v as u8);
    value(digits[0]) << 4 | value(digits[1])
}

fn hex_head(written: &[u8]) -> bool {
    if written.len() < MIN_HEX || !written[..24].iter().all(u8::is_ascii_hexdigit) {
        return false;
    }
    let head: Vec<u8> = written[..24].chunks_exact(2).map(pair).collect();
    texty(&head) || packed(&head)
}

fn hex(written: &[u8], start: usize) -> Option<Piece> {
    if !hex_head(written) || !written.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    Some(Piece {
        bytes: Zeroizing::new(written.chunks_exact(2).map(pair).collect()),
        map: Map::Hex(start),
        fold: None,
        joined: false,
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
        Some(Kind::Gzip | Kind::Zip | Kind::Xz | Kind::Bzip2 | Kind::Zstd | Kind::Pdf)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD as PADDED, URL_SAFE as PADDED_URL};
    use proptest::prelude::*;

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

    /// Lines of a width, with a break between them.
    fn wrapped(written: &str, width: usize, between: &str) -> String {
        let lines: Vec<&str> = (0..written.len())
            .step_by(width)
            .map(|at| &written[at..written.len().min(at + width)])
            .collect();
        lines.join(between)
    }

    #[test]
    fn lines_of_one_width_are_one_text() {
        let secret: Vec<u8> = (0..40)
            .flat_map(|i| format!("line {i} of a text; ").into_bytes())
            .collect();
        let hex: String = secret.iter().map(|b| format!("{b:02x}")).collect();
        for written in [PADDED.encode(&secret), PADDED_URL.encode(&secret), hex] {
            for width in [60, 64, 70, 76] {
                for between in ["\n", "\r\n", "\n    ", "\n\t", "\\n", "\\r\\n", "\\\n  "] {
                    let data = format!("data: |\n  {}\nend\n", wrapped(&written, width, between));
                    let (bytes, span) = pieces(data.as_bytes()).pop().unwrap();
                    assert_eq!(bytes, secret, "{width} {between:?}");
                    let unpadded = written.trim_end_matches('=');
                    assert_eq!(
                        (span.start, data.as_bytes()[span.end - 1]),
                        (10, unpadded.as_bytes()[unpadded.len() - 1])
                    );
                }
            }
        }
    }

    #[test]
    fn lines_that_do_not_belong_together_are_not_joined() {
        let line = PADDED.encode(b"some words that fill one line of such a text.");
        let whole = |between: &str| {
            let data = [line.as_str(); 3].join(between);
            pieces(data.as_bytes()).into_iter().any(|(bytes, _)| bytes.len() > 60)
        };
        assert!(whole("\n"));
        for between in ["\n\n", "\n# ", ",\n", " ", &format!("\n{}", " ".repeat(100))] {
            assert!(!whole(between), "{between:?}");
        }
    }

    #[test]
    fn keys_and_certificates_give_no_piece() {
        let noise: Vec<u8> = (0..900u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let body = wrapped(&PADDED.encode([&[0x30, 0x82, 3, 0x99], &noise[..]].concat()), 64, "\n");
        assert!(pieces(format!("-----BEGIN X-----\n{body}\n-----END X-----\n").as_bytes()).is_empty());
    }

    /// Written forms that are as long, as many and as close as can be.
    fn heavy() -> Vec<Vec<u8>> {
        let text = "0123456789 abcdefghijklmnopqrstuvwxyz ".repeat(8000);
        let hex: String = text.bytes().map(|b| format!("{b:02x}")).collect();
        vec![
            PADDED.encode(&text).into_bytes(),
            wrapped(&PADDED.encode(&text), 76, "\n").into_bytes(),
            wrapped(&hex, 64, "\n").into_bytes(),
            hex.into_bytes(),
            "%41".repeat(100_000).into_bytes(),
            "%41 \n".repeat(50_000).into_bytes(),
            "&#65;\\x41=41".repeat(30_000).into_bytes(),
            "\u{430}".repeat(100_000).into_bytes(),
            "a\u{430}\n".repeat(60_000).into_bytes(),
            "abc\" + \"".repeat(40_000).into_bytes(),
            [&"x".repeat(600), "abc\"+ \"def"].concat().repeat(400).into_bytes(),
            [&"x".repeat(70), "=\n"].concat().repeat(4000).into_bytes(),
        ]
    }

    #[test]
    fn the_work_is_bounded_by_the_bytes_of_the_text() {
        for data in heavy() {
            let (mut bytes, mut count) = (0, 0);
            each(&data, &mut |piece| {
                bytes += piece.bytes.len();
                count += 1;
                let span = piece.outer(&(0..piece.bytes.len()));
                assert!(span.start <= span.end && span.end <= data.len());
            });
            let head = String::from_utf8_lossy(&data[..20]).into_owned();
            assert!(
                bytes <= 4 * data.len() && count <= data.len() / 3,
                "{head}: {bytes} {count}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_lines_give_pieces_that_map_inside(lines in prop::collection::vec(
            prop_oneof![
                "[A-Za-z0-9+/]{0,30}",
                Just(PADDED.encode([b'a'; 48])),
                Just(PADDED.encode([b'b'; 33])),
                Just("41".repeat(32)),
                "[A-Za-z0-9_-]{64}",
            ],
            0..12,
        ), between in prop_oneof![Just("\n"), Just("\\n"), Just("\r\n  "), Just("")]) {
            let data = lines.join(between).into_bytes();
            each(&data, &mut |piece| {
                for span in [0..piece.bytes.len(), 0..1, piece.bytes.len() - 1..piece.bytes.len()] {
                    let span = piece.outer(&span);
                    assert!(span.start < span.end && span.end <= data.len());
                }
            });
        }

        #[test]
        fn no_run_of_use_ends_at_its_first_two_bytes(
            written in "[A-Za-z0-9+/]{24}|[A-Za-z0-9_-]{24}",
            head in prop::sample::select(vec![
                b"PK\x03\x04".to_vec(), vec![0x1f, 0x8b, 8], b"\xfd7zXZ\0".to_vec(), b"BZh91AY&".to_vec(),
                vec![0x28, 0xb5, 0x2f, 0xfd], vec![0x51, 0x2a, 0x4d, 0x18], b"%PDF-".to_vec(),
                b"a\0b\0c\0".to_vec(), b"\0a\0b\0c".to_vec(), b"\r\n\t ~".to_vec(),
            ]),
            tail in prop::collection::vec(any::<u8>(), 20),
        ) {
            let head = [head, tail].concat();
            for written in [written, PADDED.encode(&head), PADDED_URL.encode(&head)] {
                prop_assert!(may_begin(written.as_bytes()) || head_engine(written.as_bytes()).is_none());
            }
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(data in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut bytes = 0;
            each(&data, &mut |piece| bytes += piece.bytes.len());
            assert!(bytes <= 4 * data.len());
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
