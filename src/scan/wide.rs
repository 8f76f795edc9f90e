//! UTF-16 inside any bytes: marked files, and runs of it without a mark.
//!
//! A run is made narrow, one byte for each 16-bit unit (0xff where the unit is
//! not ASCII), so that a place in it maps back by arithmetic.

use std::ops::Range;
use zeroize::Zeroizing;

/// Least characters of a run without a mark: the shortest tokens have more.
const MIN_RUN: usize = 12;

/// UTF-16 text made narrow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Narrow {
    /// One byte a unit.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Where the first unit stands.
    pub(crate) start: usize,
}

impl Narrow {
    /// The place in the outer bytes.
    pub(crate) fn outer(&self, span: &Range<usize>) -> Range<usize> {
        self.start + span.start * 2..self.start + span.end * 2
    }
}

/// Calls `found` with every UTF-16 text of `data`.
///
/// With a byte-order mark: the whole rest, and nothing else. Without: each run
/// of at least 12 ASCII characters at either alignment.
pub(crate) fn each(data: &[u8], found: &mut dyn FnMut(Narrow)) {
    match data {
        [0xff, 0xfe, rest @ ..] => found(narrow(rest, 2, 0)),
        [0xfe, 0xff, rest @ ..] => found(narrow(rest, 2, 1)),
        _ if memchr::memchr(0, data).is_some() => runs(data, found),
        _ => {}
    }
}

/// Makes units narrow whose low byte stands at `low` of each pair.
fn narrow(units: &[u8], start: usize, low: usize) -> Narrow {
    let byte = |pair: &[u8]| match (pair[1 - low], pair[low]) {
        (0, byte @ 1..=0x7f) => byte,
        (0, 0) => 0,
        _ => 0xff,
    };
    Narrow {
        bytes: Zeroizing::new(units.chunks_exact(2).map(byte).collect()),
        start,
    }
}

/// Runs of (character, 0). Big-endian text is the same one byte later, its first zero left out.
fn runs(data: &[u8], found: &mut dyn FnMut(Narrow)) {
    let unit = |at: usize| matches!(data.get(at..at + 2), Some([b'\t' | b'\n' | b'\r' | 0x20..=0x7e, 0]));
    // The last character of a big-endian run has no zero of its own after it.
    let last = |at: usize| matches!(data.get(at), Some(0x20..=0x7e)) && data.get(at.wrapping_sub(1)) == Some(&0);
    let mut at = 0;
    while at < data.len() {
        // A unit needs a zero as its second byte: go to the next one.
        let Some(zero) = memchr::memchr(0, &data[at..]).map(|i| at + i) else {
            return;
        };
        let start = zero.saturating_sub(1).max(at);
        if !unit(start) {
            at = zero + 1;
            continue;
        }
        let mut end = start;
        while unit(end) {
            end += 2;
        }
        let tail = usize::from(end > start && last(end));
        let count = (end - start) / 2 + tail;
        if count >= MIN_RUN {
            let mut bytes = Vec::with_capacity(count);
            bytes.extend((0..count).map(|i| data[start + 2 * i]));
            found(Narrow {
                bytes: Zeroizing::new(bytes),
                start,
            });
        }
        at = end;
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
    fn short_runs_and_plain_text_give_nothing() {
        assert!(texts(b"plain text without any zero byte").is_empty());
        assert!(texts(&encode("short", false)).is_empty());
        assert!(texts(&[0; 64]).is_empty());
    }
}
