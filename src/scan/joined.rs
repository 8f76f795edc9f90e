//! Literals put together of parts: `"ab" + "cd"`, `'ab' . 'cd'`, `"ab" "cd"`, also over line ends; and
//! lines of quoted-printable text, which a `=` at the end joins.
//!
//! A cluster of joints is decoded by leaving out what stands between the
//! parts, and handed on with a map of each byte to its written form. The
//! operators are those of the usual languages; what is joined is not
//! understood, only read as the language would.

use super::decode::{Piece, stepped};
use super::simd::{self, Level};
use super::table::{Set, nibbles};
use std::ops::Range;

/// Joints at most this far apart belong together, and this much is taken on either side.
const NEAR: usize = 512;
/// Longest joint: quote, blanks, operator, line end, indentation, quote.
const MAX_JOINT: usize = 80;
/// Bytes of a token that stand on either side of a joint.
const SIDE: usize = 3;
/// Shortest line whose last `=` joins it to the next: those of quoted-printable have up to 76 characters.
const MIN_LINE: usize = 60;
/// Most joints of one piece.
const MAX_JOINTS: usize = 256;

/// A closing quote between what a token is made of and what may follow it in a joint, roughly.
const FORM: Set<1, 3> = {
    let quote = (nibbles(b"\"'"), 1 << 2);
    let letter = (u16::MAX, 0xf8);
    let sign = (nibbles(b"+-./"), 1 << 2);
    let operator = (nibbles(b" +.&~"), 1 << 2 | 1 << 7);
    let blank = (nibbles(b"\t\n\r"), 1);
    let backslash = (nibbles(b"\\"), 1 << 5);
    Set::of(&[
        [letter, quote, operator],
        [letter, quote, blank],
        [letter, quote, backslash],
        [sign, quote, operator],
        [sign, quote, blank],
        [sign, quote, backslash],
        [letter, (nibbles(b"="), 1 << 3), (nibbles(b"\r\n"), 1)],
    ])
};

/// Calls `found` with each joined cluster of `data`.
pub(crate) fn each(data: &[u8], found: &mut dyn FnMut(Piece)) {
    let mut at = 0;
    while let Some(first) = next(data, at, data.len()) {
        let from = at.max(first.start.saturating_sub(NEAR));
        let mut joints = vec![first];
        let mut end = joints[0].end;
        while let Some(joint) = next(data, end, data.len().min(end + NEAR)) {
            end = joint.end;
            joints.push(joint);
            if joints.len() == MAX_JOINTS {
                break;
            }
        }
        let to = data.len().min(end + NEAR);
        found(join(data, from..to, &joints));
        at = end;
    }
}

/// The first joint that starts in `from..to`: from the closing quote to the opening one, both included.
fn next(data: &[u8], from: usize, to: usize) -> Option<Range<usize>> {
    // A form begins one byte before its quote.
    let forms = from.saturating_sub(1)..to.saturating_sub(1);
    simd::find(Level::detect(), &FORM, data, forms, &mut |at| {
        joint(data, at + 1).map(|end| at + 1..end)
    })
}

/// Where the joint whose closing quote stands at `at` ends, if both parts may be of one token.
///
/// Texts of several lines and lists of arguments are full of joints; those between words end here.
fn joint(data: &[u8], at: usize) -> Option<usize> {
    let quote = data[at];
    let head = &data[at.checked_sub(SIDE)?..at];
    if !head.iter().all(token) {
        return None;
    }
    let end = if quote == b'=' {
        soft(data, at)?
    } else {
        closed(data, at, quote)?
    };
    data.get(end..end + SIDE)?.iter().all(token).then_some(end)
}

/// Where the next line begins, if the `=` at `at` is the end of a long line (<https://www.rfc-editor.org/rfc/rfc2045>, 6.7).
fn soft(data: &[u8], at: usize) -> Option<usize> {
    let line = &data[at.checked_sub(MIN_LINE)?..at];
    if memchr::memchr(b'\n', line).is_some() {
        return None;
    }
    match data.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    }
}

/// What a token is made of.
fn token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'/' | b'=' | b'.' | b':')
}

/// Where the next literal begins, if only blanks and operators stand between.
fn closed(data: &[u8], at: usize, quote: u8) -> Option<usize> {
    let limit = data.len().min(at + MAX_JOINT);
    let mut operators = 0;
    let mut i = at + 1;
    while i < limit {
        match data[i] {
            // Two quotes side by side are an empty literal or a doubled quote.
            byte if byte == quote => return (i > at + 1).then_some(i + 1),
            b' ' | b'\t' | b'\r' | b'\n' | b'\\' => {}
            b'+' | b'.' | b'&' | b'~' if operators < 2 => operators += 1,
            _ => return None,
        }
        i += 1;
    }
    None
}

fn join(data: &[u8], part: Range<usize>, joints: &[Range<usize>]) -> Piece {
    let mut bytes = Vec::with_capacity(part.len());
    let mut steps = Vec::with_capacity(part.len() + 1);
    let mut at = part.start;
    let ends = joints.iter().cloned().chain(std::iter::once(part.end..part.end));
    for joint in ends {
        bytes.extend_from_slice(&data[at..joint.start]);
        steps.extend(at..joint.start);
        at = joint.end;
    }
    steps.push(part.end);
    let mut piece = stepped(bytes, steps);
    piece.joined = true;
    piece
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        each(text.as_bytes(), &mut |piece| {
            all.push(String::from_utf8_lossy(&piece.bytes).into_owned())
        });
        all
    }

    #[test]
    fn a_soft_line_end_joins_long_lines_only() {
        let long = "the words of a mail that go on up to the end of the line and_a_to";
        for eol in ["=\n", "=\r\n"] {
            assert_eq!(joined(&format!("{long}{eol}ken here")), [format!("{long}ken here")]);
        }
        assert!(joined("A_KEY=\nANOTHER=\n").is_empty());
        assert!(joined(&format!("{long}=\n\nnext")).is_empty());
    }

    #[test]
    fn parts_of_a_literal_are_joined() {
        assert_eq!(joined("t = \"abc\" + \"cde\""), ["t = \"abccde\""]);
        assert_eq!(joined("t = 'abc' . 'cde' . 'efg';"), ["t = 'abccdeefg';"]);
        assert_eq!(joined("f(\"abc\"\n   \"cde\")"), ["f(\"abccde\")"]);
        assert!(joined("f(\"abc\", \"cde\") or \"\" and it's").is_empty());
        assert!(joined("\"a sentence, \"\n\"and another\"").is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn every_byte_maps_into_the_text(text in "[\"'+. abcdef\n]{0,200}") {
            each(text.as_bytes(), &mut |piece| {
                let whole = piece.outer(&(0..piece.bytes.len()));
                assert!(whole.start <= whole.end && whole.end <= text.len());
            });
        }
    }
}
