//! UTF-16 and UTF-32 inside any bytes: marked files, and runs without a mark.
//!
//! A run is made narrow, one byte for each unit (0xff where the unit is not
//! ASCII), so that a place in it maps back by arithmetic.

use std::ops::Range;
use zeroize::Zeroizing;

/// Least characters of a run without a mark: the shortest tokens have more.
const MIN_RUN: usize = 12;

/// UTF-16 or UTF-32 text made narrow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Narrow {
    /// One byte a unit.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Where the first unit stands.
    pub(crate) start: usize,
    /// Bytes of a unit.
    width: usize,
    /// Where the outer bytes end: a last character may lack its zeros.
    limit: usize,
}

impl Narrow {
    /// The place in the outer bytes.
    pub(crate) fn outer(&self, span: &Range<usize>) -> Range<usize> {
        let at = |unit: usize| self.limit.min(self.start + unit * self.width);
        at(span.start)..at(span.end)
    }
}

/// Calls `found` with every wide text of `data`.
///
/// With a byte-order mark: the whole rest; what begins as UTF-32 is read as
/// the rest of these rules say as well, since other bytes may begin so too.
/// Without: each run of at least 12 ASCII characters at any alignment.
pub(crate) fn each(data: &[u8], found: &mut dyn FnMut(Narrow)) {
    match data {
        [0xff, 0xfe, 0, 0, rest @ ..] => found(narrow(rest, 4, 4, 0)),
        [0, 0, 0xfe, 0xff, rest @ ..] => found(narrow(rest, 4, 4, 3)),
        _ => {}
    }
    match data {
        [0xff, 0xfe, rest @ ..] => found(narrow(rest, 2, 2, 0)),
        [0xfe, 0xff, rest @ ..] => found(narrow(rest, 2, 2, 1)),
        _ if memchr::memchr(0, data).is_some() => runs(data, found),
        _ => {}
    }
}

/// Makes units of `width` bytes narrow whose lowest byte stands at `low` in each.
fn narrow(units: &[u8], start: usize, width: usize, low: usize) -> Narrow {
    let byte = |unit: &[u8]| {
        let ascii = unit.iter().enumerate().all(|(i, b)| i == low || *b == 0) && unit[low] <= 0x7f;
        if ascii { unit[low] } else { 0xff }
    };
    Narrow {
        bytes: Zeroizing::new(units.chunks_exact(width).map(byte).collect()),
        start,
        width,
        limit: start + units.len(),
    }
}

/// Runs of a character and one zero, or three.
fn runs(data: &[u8], found: &mut dyn FnMut(Narrow)) {
    let mut at = 0;
    while at < data.len() {
        // A unit needs a zero as its second byte: go to the next one.
        let Some(zero) = memchr::memchr(0, &data[at..]).map(|i| at + i) else {
            return;
        };
        let start = zero.saturating_sub(1).max(at);
        let (length, count) = run(data, start, 2);
        if length == 0 {
            at = zero + 1;
            continue;
        }
        if count >= MIN_RUN {
            found(taken(data, start, count, 2));
            at = start + length;
            continue;
        }
        let (longer, count) = if length == 2 { run(data, start, 4) } else { (0, 0) };
        if count >= MIN_RUN {
            found(taken(data, start, count, 4));
        }
        at = start + length.max(longer);
    }
}

/// The bytes of the whole units of `width` bytes that start at a place, and how many characters they have.
///
/// High-first text is the same some bytes later, its first zeros left out: its last character has none after it.
fn run(data: &[u8], start: usize, width: usize) -> (usize, usize) {
    let is_unit = |unit: &[u8]| match unit.split_first() {
        Some((b'\t' | b'\n' | b'\r' | 0x20..=0x7e, zeros)) => zeros.iter().all(|b| *b == 0),
        _ => false,
    };
    let units = data[start..]
        .chunks_exact(width)
        .take_while(|unit| is_unit(unit))
        .count();
    let end = start + units * width;
    let last = units > 0 && matches!(data.get(end), Some(0x20..=0x7e));
    (units * width, units + usize::from(last))
}

fn taken(data: &[u8], start: usize, count: usize, width: usize) -> Narrow {
    let mut bytes = Vec::with_capacity(count);
    bytes.extend((0..count).map(|i| data[start + width * i]));
    Narrow {
        bytes: Zeroizing::new(bytes),
        start,
        width,
        limit: data.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(data: &[u8]) -> Vec<(Vec<u8>, usize)> {
        let mut all = Vec::new();
        each(data, &mut |narrow| all.push((narrow.bytes.to_vec(), narrow.start)));
        all
    }

    fn encode(text: &str, big: bool) -> Vec<u8> {
        let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn marked_text_is_read_whole() {
        for (mark, big) in [([0xff, 0xfe], false), ([0xfe, 0xff], true)] {
            let data = [&mark[..], &encode("key = é\nend", big)].concat();
            assert_eq!(texts(&data), [(b"key = \xff\nend".to_vec(), 2)]);
        }
    }

    #[test]
    fn runs_are_found_at_either_alignment_and_endianness() {
        for big in [false, true] {
            for pad in 0..4 {
                let data = [&vec![0x80; pad][..], &encode("a long enough text", big), &[0x80, 0x81]].concat();
                let start = pad + usize::from(big);
                assert_eq!(texts(&data), [(b"a long enough text".to_vec(), start)], "{big} {pad}");
            }
        }
    }

    #[test]
    fn utf_32_is_read_with_and_without_a_mark_at_any_alignment() {
        for big in [false, true] {
            let bytes = |c: char| {
                if big {
                    u32::from(c).to_be_bytes()
                } else {
                    u32::from(c).to_le_bytes()
                }
            };
            let text: Vec<u8> = "a long enough text".chars().flat_map(bytes).collect();
            let expected = b"a long enough text".to_vec();
            for pad in 0..5 {
                let data = [&vec![0x80; pad][..], &text, &[0x80, 0x81]].concat();
                assert_eq!(
                    texts(&data),
                    [(expected.clone(), pad + 3 * usize::from(big))],
                    "{big} {pad}"
                );
            }
            let mark = bytes('\u{feff}');
            let all = texts(&[&mark[..], &text].concat());
            assert_eq!(all[0], (expected, 4));
        }
    }

    #[test]
    fn wide_text_of_any_bytes_is_at_most_as_long() {
        for data in [
            vec![0; 1 << 16],
            [b'a', 0].repeat(40_000),
            [b'a', 0, 0, 0].repeat(11),
            [b'a', 0, 0, 0].repeat(9000),
        ] {
            let mut bytes = 0;
            each(&data, &mut |narrow| {
                bytes += narrow.bytes.len();
                assert!(narrow.outer(&(0..narrow.bytes.len())).end <= data.len());
            });
            assert!(bytes <= data.len());
        }
    }

    #[test]
    fn short_runs_and_plain_text_give_nothing() {
        assert!(texts(b"plain text without any zero byte").is_empty());
        assert!(texts(&encode("short", false)).is_empty());
        assert!(texts(&[0; 64]).is_empty());
    }
}
