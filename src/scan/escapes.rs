//! Escapes in text: `%41`, `\u0041`, `\x41`, `&#65;`, `&#x41;`.
//!
//! A cluster of escapes on one line is decoded together with what stands
//! around it, and handed on with a map of each byte to its written form.

use super::decode::{MAX_PIECE, Piece, stepped};
use super::simd::{self, Level};
use super::table::{Set, nibbles};

/// Escapes at most this far apart belong together, and this much of the line is taken on either side.
const NEAR: usize = 512;

/// How each form begins, roughly: `%4`, `%f`, `\x4`, `\u4`, `&#4`, `&#x`.
const FORMS: Set<1, 3> = {
    let digits = nibbles(b"0123456789");
    let third = (digits, 1 << 3 | 1 << 4 | 1 << 6);
    Set::of(&[
        [(nibbles(b"%"), 1 << 2), (digits, 1 << 3), third],
        [(nibbles(b"%"), 1 << 2), (nibbles(b"abcdef"), 1 << 4 | 1 << 6), third],
        [(nibbles(b"\\"), 1 << 5), (nibbles(b"xu"), 1 << 7), third],
        [
            (nibbles(b"&"), 1 << 2),
            (nibbles(b"#"), 1 << 2),
            (digits, 1 << 3 | 1 << 5 | 1 << 7),
        ],
    ])
};

/// Calls `found` with each decoded cluster of `data`.
pub(crate) fn each(data: &[u8], found: &mut dyn FnMut(Piece)) {
    let mut next = 0;
    while let Some(first) = next_escape(data, next, data.len()) {
        let near = next.max(first.saturating_sub(NEAR));
        let from = memchr::memrchr2(b'\n', b'\r', &data[near..first]).map_or(near, |i| near + i + 1);
        let to = cluster_end(data, first);
        found(decode(data, from, to));
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
    let mut at = from;
    while at < to {
        at = simd::find(Level::detect(), &FORMS, data, at..to)?;
        if escape(&data[at..]).is_some() {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn decode(data: &[u8], from: usize, to: usize) -> Piece {
    let mut bytes = Vec::with_capacity(to - from);
    let mut steps = Vec::with_capacity(to - from + 1);
    let mut at = from;
    while at < to {
        let (byte, length) = escape(&data[at..]).unwrap_or((data[at], 1));
        bytes.push(byte);
        steps.push(at);
        at += length;
    }
    steps.push(at.min(data.len()));
    stepped(bytes, steps)
}

/// The byte that an escape at the start of `rest` stands for, and the escape's length; characters above 0xff are `?`.
fn escape(rest: &[u8]) -> Option<(u8, usize)> {
    match rest {
        [b'%', rest @ ..] => hex(rest, 2).map(|n| (n, 3)),
        [b'\\', b'x', rest @ ..] => hex(rest, 2).map(|n| (n, 4)),
        [b'\\', b'u', rest @ ..] => hex(rest, 4).map(|n| (n, 6)),
        [b'&', b'#', b'x' | b'X', rest @ ..] => entity(rest, 16).map(|(n, length)| (n, length + 3)),
        [b'&', b'#', rest @ ..] => entity(rest, 10).map(|(n, length)| (n, length + 2)),
        _ => None,
    }
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

/// One to seven digits and a semicolon; the length includes it.
fn entity(rest: &[u8], radix: u32) -> Option<(u8, usize)> {
    let digits = rest
        .iter()
        .take(8)
        .take_while(|b| char::from(**b).is_digit(radix))
        .count();
    if !(1..=7).contains(&digits) || rest.get(digits) != Some(&b';') {
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
        assert!(texts(b"100% of \\n & more").is_empty());
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
            prop_oneof![Just(b'%'), Just(b'\\'), Just(b'u'), Just(b'&'), Just(b'#'), Just(b'4'), Just(b';'), Just(b'\n'), any::<u8>()],
            0..300,
        )) {
            each(&data, &mut |piece| {
                let span = piece.outer(&(0..piece.bytes.len()));
                assert!(span.start <= span.end && span.end <= data.len() && piece.bytes.len() <= data.len());
            });
        }
    }
}
