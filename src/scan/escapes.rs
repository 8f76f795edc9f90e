//! Escapes in text: `%41`, `\u0041`, `\u{41}`, `\x41`, `&#65;`, `&#x41;`, `&quot;`, quoted-printable `=41`; and
//! letters that only look like ASCII ones (`alike`).
//!
//! A cluster of escapes on one line is decoded together with what stands
//! around it, and handed on with a map of each byte to its written form.

use super::alike;
use super::decode::{Piece, stepped};
use super::simd::{self, Level};
use super::table::{Set, nibbles};

/// Longest written cluster that is decoded at once; a longer one is decoded in several that overlap by [`NEAR`].
const MAX_PIECE: usize = 1 << 20;
/// Escapes at most this far apart belong together, and this much of the line is taken on either side.
const NEAR: usize = 512;

/// How each form begins, roughly: `%4`, `%f`, `\x4`, `\u4`, `\u{`, `&#4`, `&#x`, `&qu`, `=41`, and look-alikes.
const FORMS: Set<1, 3> = {
    let digits = nibbles(b"0123456789");
    let third = (digits, 1 << 3 | 1 << 4 | 1 << 6);
    let brace = (digits | nibbles(b"{"), 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7);
    Set::of(&[
        [(nibbles(b"%"), 1 << 2), (digits, 1 << 3), third],
        [(nibbles(b"%"), 1 << 2), (nibbles(b"abcdef"), 1 << 4 | 1 << 6), third],
        [(nibbles(b"\\"), 1 << 5), (nibbles(b"xu"), 1 << 7), brace],
        [
            (nibbles(b"&"), 1 << 2),
            (nibbles(b"#q"), 1 << 2 | 1 << 7),
            (digits, 1 << 3 | 1 << 5 | 1 << 7),
        ],
        [
            (nibbles(b"="), 1 << 3),
            (nibbles(b"234567"), 1 << 3),
            (digits, 1 << 3 | 1 << 4),
        ],
        alike::FORMS[0],
        alike::FORMS[1],
        alike::FORMS[2],
    ])
};

/// Calls `found` with each decoded cluster of `data`.
pub(crate) fn each(data: &[u8], found: &mut dyn FnMut(Piece)) {
    let (mut next, mut floor) = (0, 0);
    while let Some(first) = next_escape(data, next, data.len()) {
        let near = floor.max(first.saturating_sub(NEAR));
        let from = memchr::memrchr2(b'\n', b'\r', &data[near..first]).map_or(near, |i| near + i + 1);
        let to = cluster_end(data, first);
        found(decode(data, from, to));
        // What a bound of size cuts is looked at from both sides.
        floor = if to - first < MAX_PIECE { to } else { to - NEAR };
        next = to.max(first + 1);
    }
}

/// Where a cluster ends: [`NEAR`] bytes after its last escape, at the line's end, or after [`MAX_PIECE`] bytes.
fn cluster_end(data: &[u8], first: usize) -> usize {
    let mut limit = data.len().min(first + MAX_PIECE);
    let (mut last, mut cleared) = (first, first);
    loop {
        let reach = limit.min(last + NEAR);
        // Each byte is looked at once for a line's end, however many escapes there are.
        if let Some(i) = memchr::memchr2(b'\n', b'\r', &data[cleared.min(reach)..reach]) {
            limit = cleared + i;
        }
        cleared = reach.max(cleared);
        match next_escape(data, last + 1, reach.min(limit)) {
            Some(at) => last = at,
            None => return reach.min(limit).max(first + 1),
        }
    }
}

/// The first escape in `from..to`; its form may end after `to`.
fn next_escape(data: &[u8], from: usize, to: usize) -> Option<usize> {
    simd::find(Level::detect(), &FORMS, data, from..to, &mut |at| {
        (escape(data, at).is_some() || alike::stands_out(data, at)).then_some(at)
    })
}

fn decode(data: &[u8], from: usize, to: usize) -> Piece {
    let mut bytes = Vec::with_capacity(to - from);
    let mut steps = Vec::with_capacity(to - from + 1);
    let mut at = from;
    while at < to {
        let (byte, length) = escape(data, at)
            .or_else(|| alike::letter(&data[at..]))
            .unwrap_or((data[at], 1));
        bytes.push(byte);
        steps.push(at);
        at += length;
    }
    steps.push(at.min(data.len()));
    stepped(bytes, steps)
}

/// The byte that an escape at a place stands for, and the escape's length; characters above 0xff are `?`.
fn escape(data: &[u8], at: usize) -> Option<(u8, usize)> {
    match &data[at..] {
        [b'%', rest @ ..] => hex(rest, 2).map(|n| (n, 3)),
        [b'\\', b'x', rest @ ..] => hex(rest, 2).map(|n| (n, 4)),
        [b'\\', b'u', b'{', rest @ ..] => number(rest, 16, b'}').map(|(n, length)| (n, length + 3)),
        [b'\\', b'u', rest @ ..] => hex(rest, 4).map(|n| (n, 6)),
        [b'&', b'#', b'x' | b'X', rest @ ..] => number(rest, 16, b';').map(|(n, length)| (n, length + 3)),
        [b'&', b'#', rest @ ..] => number(rest, 10, b';').map(|(n, length)| (n, length + 2)),
        [b'&', b'q', b'u', b'o', b't', b';', ..] => Some((b'"', 6)),
        [b'=', ..] => printable(data, at),
        _ => None,
    }
}

/// An escape of quoted-printable text: `=3D`, which nobody writes who does not mean it, or one beside another.
fn printable(data: &[u8], at: usize) -> Option<(u8, usize)> {
    let one = |at: usize| match data.get(at..at.checked_add(3)?)? {
        [b'=', digits @ ..] if digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F')) => hex(digits, 2),
        _ => None,
    };
    let byte = one(at)?;
    let beside = || one(at + 3).is_some() || at.checked_sub(3).and_then(one).is_some();
    (byte == b'=' || beside()).then_some((byte, 3))
}

fn narrow(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(b'?')
}

fn hex(rest: &[u8], digits: usize) -> Option<u8> {
    let mut number = 0;
    for byte in rest.get(..digits)? {
        number = number << 4 | char::from(*byte).to_digit(16)?;
    }
    Some(narrow(number))
}

/// One to seven digits and what ends them; the length includes it.
fn number(rest: &[u8], radix: u32, end: u8) -> Option<(u8, usize)> {
    let digits = rest
        .iter()
        .take(8)
        .take_while(|b| char::from(**b).is_digit(radix))
        .count();
    if !(1..=7).contains(&digits) || rest.get(digits) != Some(&end) {
        return None;
    }
    let number = rest[..digits]
        .iter()
        .fold(0u32, |n, b| n * radix + char::from(*b).to_digit(radix).unwrap_or(0));
    Some((narrow(number), digits + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(data: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        each(data, &mut |piece| {
            all.push(String::from_utf8_lossy(&piece.bytes).into_owned())
        });
        all
    }

    #[test]
    fn each_form_is_decoded_with_its_surroundings() {
        assert_eq!(texts(b"one\nk=ab%5Fcd&x\n"), ["k=ab_cd&x"]);
        assert_eq!(texts(br"'\u0061\x62c'"), ["'abc'"]);
        assert_eq!(texts(b"<a b=\"&#65;&#x42;C&amp;\">"), ["<a b=\"ABC&amp;\">"]);
        assert_eq!(texts(br"'\u{61}\u{0062}c'"), ["'abc'"]);
        assert_eq!(texts(b"{&quot;a&quot;: 1}"), ["{\"a\": 1}"]);
        assert_eq!(texts(b"k=3Dv and =61=62=63"), ["k=v and abc"]);
        assert!(texts(b"100% of \\n & more; x=10, y=AB; a==3").is_empty());
    }

    #[test]
    fn letters_that_look_like_others_are_read_as_those() {
        for text in [
            "p\u{430}ssw\u{43e}rd: x",
            "\u{440}\u{430}ssword: x",
            "\u{ff50}\u{ff41}\u{ff53}\u{ff53}word\u{ff1a} x",
        ] {
            assert_eq!(texts(text.as_bytes()), ["password: x"], "{text}");
        }
        for text in [
            "\u{43f}\u{430}\u{440}\u{43e}\u{43b}\u{44c}: x",
            "\u{ff08}a\u{ff09}",
            "caf\u{e9} \u{3b1} x",
        ] {
            assert!(texts(text.as_bytes()).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_cluster_beyond_the_bound_is_looked_at_from_both_sides() {
        let mut data = "%41".repeat(MAX_PIECE / 3 - 4);
        data.push_str("a-token-over-the-bound");
        data.push_str(&"%42".repeat(MAX_PIECE / 3));
        assert!(
            texts(data.as_bytes())
                .iter()
                .any(|text| text.contains("Aa-token-over-the-boundB"))
        );
    }

    #[test]
    fn places_map_to_the_written_form() {
        let mut span = 0..0;
        each(b"ab%63%64ef", &mut |piece| span = piece.outer(&(2..4)));
        assert_eq!(span, 2..8);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_bytes_give_pieces_that_map_inside(data in prop::collection::vec(
            prop_oneof![Just(b'%'), Just(b'\\'), Just(b'u'), Just(b'&'), Just(b'#'), Just(b'='), Just(0xd0), Just(0xb0), Just(0xef), Just(0xbd), Just(b'4'), Just(b';'), Just(b'\n'), any::<u8>()],
            0..300,
        )) {
            each(&data, &mut |piece| {
                let span = piece.outer(&(0..piece.bytes.len()));
                assert!(span.start <= span.end && span.end <= data.len() && piece.bytes.len() <= data.len());
            });
        }
    }
}
