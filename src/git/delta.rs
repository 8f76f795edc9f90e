//! The instructions by which a pack makes an object from another one.
//!
//! Format: <https://git-scm.com/docs/gitformat-pack#_deltified_representation>.
//! In scope: reading them strictly, and which parts of the base they keep. Out
//! of scope: holding bytes (`rope`).

use std::ops::Range;

/// A delta's header and the instructions after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delta<'a> {
    /// Bytes of the object that it starts from.
    pub base_len: u64,
    /// Bytes of the object that it makes.
    pub len: u64,
    data: &'a [u8],
    at: usize,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Take these bytes of the base.
    Copy(Range<usize>),
    /// Take these bytes of the delta itself.
    Insert(Range<usize>),
}

/// A delta that does not say what it should: cut off, a reserved instruction, a place outside the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a delta is malformed")]
pub struct BadDelta;

/// Reads a delta's header.
///
/// # Errors
/// The header is cut off, or a size needs more than 63 bits.
///
/// ```
/// use lychgate::git::{Step, delta};
/// // From 3 bytes make 4: keep two, then `x`, then the third.
/// let bytes = [3, 4, 0x90, 2, 1, b'x', 0x91, 2, 1];
/// let steps: Result<Vec<Step>, _> = delta(&bytes)?.collect();
/// assert_eq!(steps?, [Step::Copy(0..2), Step::Insert(5..6), Step::Copy(2..3)]);
/// # Ok::<(), lychgate::git::BadDelta>(())
/// ```
pub fn delta(data: &[u8]) -> Result<Delta<'_>, BadDelta> {
    let mut at = 0;
    let base_len = size(data, &mut at)?;
    let len = size(data, &mut at)?;
    Ok(Delta {
        base_len,
        len,
        data,
        at,
    })
}

fn size(data: &[u8], at: &mut usize) -> Result<u64, BadDelta> {
    let mut size = 0;
    for shift in (0..63).step_by(7) {
        let byte = next(data, at)?;
        size |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(size);
        }
    }
    Err(BadDelta)
}

fn next(data: &[u8], at: &mut usize) -> Result<u8, BadDelta> {
    let byte = *data.get(*at).ok_or(BadDelta)?;
    *at += 1;
    Ok(byte)
}

impl Delta<'_> {
    fn step(&mut self) -> Result<Step, BadDelta> {
        let command = next(self.data, &mut self.at)?;
        if command & 0x80 == 0 {
            let end = self.at + usize::from(command);
            if command == 0 || end > self.data.len() {
                return Err(BadDelta);
            }
            return Ok(Step::Insert(std::mem::replace(&mut self.at, end)..end));
        }
        let mut number = |bits: std::ops::Range<u8>| {
            let mut number = 0;
            for (shift, bit) in bits.enumerate() {
                if command >> bit & 1 == 1 {
                    number |= usize::from(next(self.data, &mut self.at)?) << (8 * shift);
                }
            }
            Ok(number)
        };
        let from = number(0..4)?;
        let len = match number(4..7)? {
            0 => 0x10000,
            len => len,
        };
        let end = from + len;
        if end as u64 > self.base_len {
            return Err(BadDelta);
        }
        Ok(Step::Copy(from..end))
    }
}

/// Ends after the last instruction or the first that is malformed.
impl Iterator for Delta<'_> {
    type Item = Result<Step, BadDelta>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.data.len() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.at = self.data.len();
        }
        Some(step)
    }
}

/// A run of bytes that a delta keeps from its base; as long as it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// Where it stands in what the delta makes.
    pub(super) at: usize,
    /// Where it stands in the base.
    pub(super) from: usize,
    pub(super) len: usize,
}

impl Kept {
    pub(super) fn end(&self) -> usize {
        self.at + self.len
    }
}

/// The runs that the base of a delta keeps of what the delta makes; apart from each other, and sorted.
pub(super) fn reversed(kept: &[Kept]) -> Vec<Kept> {
    let back = kept.iter().map(|run| Kept {
        at: run.from,
        from: run.at,
        len: run.len,
    });
    let mut all: Vec<Kept> = back.collect();
    all.sort_unstable_by_key(|run| run.at);
    let mut end = 0;
    // What a delta takes several times is kept once.
    all.retain_mut(|run| {
        let cut = end.max(run.at) - run.at;
        if cut >= run.len {
            return false;
        }
        (run.at, run.from, run.len) = (run.at + cut, run.from + cut, run.len - cut);
        end = run.end();
        true
    });
    all
}

/// What of an object is not kept from its base, sorted: inserted bytes, and empty ranges where bytes that were
/// not neighbours have become neighbours, or where the base began or ended otherwise.
pub(super) fn changed(kept: &[Kept], base_len: usize, len: usize) -> Vec<Range<usize>> {
    let mut changed = Vec::new();
    // Where the run before ended: in the object, and in the base.
    let (mut at, mut from) = (0, 0);
    for run in kept {
        if run.at != at || run.from != from {
            changed.push(at..run.at);
        }
        (at, from) = (run.end(), run.from + run.len);
    }
    if at != len || from != base_len {
        changed.push(at..len);
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_malformed_ends_in_an_error() {
        assert_eq!(delta(&[0x80]), Err(BadDelta));
        assert_eq!(delta(&[0xff; 12]), Err(BadDelta));
        for steps in [&[0][..], &[2, b'x'], &[0x90], &[0x91, 3, 1], &[0xf0, 255, 255, 255]] {
            let bytes = [&[3, 4][..], steps].concat();
            assert!(delta(&bytes).unwrap().any(|step| step.is_err()), "{steps:?}");
        }
    }

    #[test]
    fn a_delta_read_backwards_keeps_each_byte_once() {
        let kept = |at, from, len| Kept { at, from, len };
        assert_eq!(
            reversed(&[kept(0, 10, 5), kept(5, 0, 4), kept(20, 12, 6), kept(30, 11, 2)]),
            [kept(0, 5, 4), kept(10, 0, 5), kept(15, 23, 3)]
        );
        assert!(reversed(&[]).is_empty());
    }

    #[test]
    fn seams_count_as_changed() {
        let kept = |at, from, len| Kept { at, from, len };
        assert!(changed(&[kept(0, 0, 9)], 9, 9).is_empty());
        assert_eq!(
            changed(&[kept(0, 0, 4), kept(4, 5, 4)], 9, 8),
            [Range { start: 4, end: 4 }]
        );
        assert_eq!(changed(&[kept(0, 1, 8)], 9, 8), [Range { start: 0, end: 0 }]);
        assert_eq!(changed(&[kept(0, 0, 8)], 9, 8), [Range { start: 8, end: 8 }]);
        assert_eq!(changed(&[kept(2, 0, 9)], 9, 12), [0..2, 11..12]);
        assert_eq!(changed(&[], 9, 3), [Range { start: 0, end: 3 }]);
    }
}
