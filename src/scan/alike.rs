//! Letters that look like ASCII ones: full-width, and those of Cyrillic and Greek that have the same shape.
//!
//! What is written with them is not what a program reads, but it is what a
//! reader copies: a keyword or a name with such a letter shall not hide the
//! value. So a text that has them beside ASCII letters is also scanned as it
//! looks. Words that are Cyrillic or Greek throughout are left.
//! The shapes: <https://www.unicode.org/reports/tr39/#Confusable_Detection>.

/// How a look-alike stands out, for [`super::table::Set::of`]: after an ASCII letter, before one, and full-width.
pub(crate) const FORMS: [[(u16, u16); 3]; 3] = [
    [(u16::MAX, LETTER), LEAD, (u16::MAX, CONTINUATION)],
    [LEAD, (u16::MAX, CONTINUATION), (u16::MAX, LETTER)],
    [
        (1 << 0xf, 1 << 0xe),
        (1 << 0xc | 1 << 0xd, 1 << 0xb),
        (u16::MAX, CONTINUATION),
    ],
];

/// High nibbles of ASCII letters and `_`.
const LETTER: u16 = 0b1111_0000;
/// High nibbles of the second and third bytes of a character.
const CONTINUATION: u16 = 0b1111_0000_0000;
/// First bytes of Greek and Cyrillic: 0xce to 0xd1, roughly.
const LEAD: (u16, u16) = (1 << 0xe | 1 << 0xf | 1 | 1 << 1, 1 << 0xc | 1 << 0xd);

/// Look-alikes and the ASCII letters that they look like, in the same order.
const LIKE: (&str, &[u8]) = (
    "АВЕЅІЈКМНОРСТУХаеорсухѕіјкΑΒΕΖΗΙΚΜΝΟΡΤΥΧινορκ",
    b"ABESIJKMHOPCTYXaeopcyxsijkABEZHIKMNOPTYXivopk",
);

/// The ASCII character that the character at the start of `rest` looks like, and its length; `None` for ASCII itself.
pub(crate) fn letter(rest: &[u8]) -> Option<(u8, usize)> {
    match rest {
        [0xef, second @ 0xbc..=0xbd, third @ 0x80..=0xbf, ..] => {
            // U+FF01 to U+FF5E are `!` to `~`.
            let offset = u32::from(*second - 0xbc) << 6 | u32::from(*third & 0x3f);
            let ascii = u8::try_from(offset + 0x20).ok()?;
            matches!(ascii, b'!'..=b'~').then_some((ascii, 3))
        }
        [0xce..=0xd1, 0x80..=0xbf, ..] => {
            let character = std::str::from_utf8(&rest[..2]).ok()?.chars().next()?;
            let which = LIKE.0.chars().position(|like| like == character)?;
            Some((*LIKE.1.get(which)?, 2))
        }
        _ => None,
    }
}

/// Whether a look-alike stands at `at` or directly after it that is not of a word in its own script.
pub(crate) fn stands_out(data: &[u8], at: usize) -> bool {
    let letter_at = |at: usize| data.get(at).is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_');
    match letter(&data[at..]) {
        Some((ascii, 3)) => ascii.is_ascii_alphanumeric() || ascii == b'_',
        Some((_, length)) => letter_at(at + length),
        None => letter_at(at) && matches!(letter(&data[at + 1..]), Some((_, 2))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_look_alike_has_its_letter() {
        assert_eq!(LIKE.0.chars().count(), LIKE.1.len());
        for (character, ascii) in LIKE.0.chars().zip(LIKE.1) {
            assert_eq!(
                letter(character.to_string().as_bytes()),
                Some((*ascii, 2)),
                "{character}"
            );
        }
        for (full, ascii) in [
            ("\u{ff01}", b'!'),
            ("\u{ff21}", b'A'),
            ("\u{ff3f}", b'_'),
            ("\u{ff5a}", b'z'),
            ("\u{ff5e}", b'~'),
        ] {
            assert_eq!(letter(full.as_bytes()), Some((ascii, 3)));
        }
        for other in ["a", "\u{ff00}", "\u{ff5f}", "\u{44f}", "\u{4e2d}", ""] {
            assert_eq!(letter(other.as_bytes()), None, "{other}");
        }
    }
}
