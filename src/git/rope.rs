//! An object as the parts that a chain of deltas put it together of.
//!
//! Making an object of 100 KB from a delta of 200 bytes so costs a few
//! hundred bytes of work; only what somebody looks at is copied.

use super::delta::{BadDelta, Kept, Step, delta};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// More parts than this are copied together: looking up a place must stay cheap.
const MAX_PARTS: usize = 2_048;
/// The same for the number of buffers, which each copy of the list costs.
const MAX_SOURCES: usize = 64;

/// A longer line is not followed to its end.
const MAX_LINE: usize = 8 << 10;

/// Inflated bytes; the meter counts all that are held.
struct Source<'m> {
    bytes: Vec<u8>,
    meter: &'m AtomicU64,
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        self.meter.fetch_sub(self.bytes.len() as u64, Relaxed);
    }
}

/// Part of an object: from `at` on up to the next part's `at`, the bytes of a source from `from` on.
#[derive(Clone, Copy)]
struct Part {
    at: u32,
    source: u32,
    from: u32,
}

/// An object's bytes, at most 4 GiB.
#[derive(Clone)]
pub(super) struct Rope<'m> {
    sources: Vec<Arc<Source<'m>>>,
    parts: Vec<Part>,
    len: usize,
}

impl<'m> Rope<'m> {
    /// An object that is held as it is.
    pub(super) fn whole(bytes: Vec<u8>, meter: &'m AtomicU64) -> Self {
        let mut rope = Self {
            sources: Vec::new(),
            parts: Vec::new(),
            len: 0,
        };
        let len = bytes.len();
        rope.hold(bytes, meter);
        rope.part(0, 0..len);
        rope
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn hold(&mut self, bytes: Vec<u8>, meter: &'m AtomicU64) -> usize {
        meter.fetch_add(bytes.len() as u64, Relaxed);
        self.sources.push(Arc::new(Source { bytes, meter }));
        self.sources.len() - 1
    }

    /// Adds a part at the end; one that goes on where the last one ends makes that longer.
    fn part(&mut self, source: usize, bytes: Range<usize>) {
        if bytes.is_empty() {
            return;
        }
        let goes_on = self.parts.last().is_some_and(|last| {
            let len = self.len - last.at as usize;
            last.source as usize == source && last.from as usize + len == bytes.start
        });
        if !goes_on {
            // Sizes are bounded by `MAX_OBJECT_BYTES`, far below 4 GiB.
            self.parts.push(Part {
                at: self.len as u32,
                source: source as u32,
                from: bytes.start as u32,
            });
        }
        self.len += bytes.len();
    }

    /// The object that a delta makes of this one, and the runs that it keeps.
    ///
    /// # Errors
    /// The delta is malformed, or is for a base of another size.
    pub(super) fn apply(&self, bytes: Vec<u8>, meter: &'m AtomicU64) -> Result<(Self, Vec<Kept>), BadDelta> {
        let mut made = Self {
            sources: Vec::with_capacity(self.sources.len() + 1),
            parts: Vec::new(),
            len: 0,
        };
        made.sources.extend_from_slice(&self.sources);
        let own = made.hold(bytes, meter);
        let bytes = Arc::clone(&made.sources[own]);
        let delta = delta(&bytes.bytes)?;
        // To count the steps costs less than lists that grow.
        let steps = delta.count();
        made.parts.reserve(self.parts.len() + steps);
        let len = usize::try_from(delta.len).map_err(|_| BadDelta)?;
        if delta.base_len != self.len as u64 {
            return Err(BadDelta);
        }
        let mut kept: Vec<Kept> = Vec::with_capacity(steps / 2 + 1);
        for step in delta {
            match step? {
                Step::Insert(range) => made.part(own, range),
                Step::Copy(range) => {
                    let run = Kept {
                        at: made.len,
                        from: range.start,
                        len: range.len(),
                    };
                    match kept.last_mut() {
                        Some(last) if last.end() == run.at && last.from + last.len == run.from => last.len += run.len,
                        _ => kept.push(run),
                    }
                    self.each(range, |source, bytes| made.part(source, bytes));
                }
            }
            if made.len > len {
                return Err(BadDelta);
            }
        }
        if made.len != len {
            return Err(BadDelta);
        }
        if made.parts.len() > MAX_PARTS || made.sources.len() > MAX_SOURCES {
            let mut flat = Vec::with_capacity(len);
            made.read(0..len, &mut flat);
            made = Self::whole(flat, meter);
        }
        Ok((made, kept))
    }

    /// Where a part ends.
    fn end(&self, part: usize) -> usize {
        self.parts.get(part + 1).map_or(self.len, |next| next.at as usize)
    }

    /// Calls `found` with the source and the bytes of each part of a range within the object.
    fn each(&self, range: Range<usize>, mut found: impl FnMut(usize, Range<usize>)) {
        let first = self.parts.partition_point(|part| part.at as usize <= range.start);
        for i in first.saturating_sub(1)..self.parts.len() {
            let part = self.parts[i];
            let end = self.end(i);
            let (at, to) = (range.start.max(part.at as usize), range.end.min(end));
            if at >= range.end {
                return;
            }
            let from = part.from as usize + (at - part.at as usize);
            found(part.source as usize, from..from + (to - at));
        }
    }

    /// Appends a range of the object, cut at its end, to a buffer.
    pub(super) fn read(&self, range: Range<usize>, out: &mut Vec<u8>) {
        let range = range.start.min(self.len)..range.end.min(self.len);
        self.each(range, |source, bytes| {
            out.extend_from_slice(&self.sources[source].bytes[bytes]);
        });
    }

    /// All bytes: in place if they are in one piece, else copied to the buffer.
    pub(super) fn bytes<'b>(&'b self, buffer: &'b mut Vec<u8>) -> &'b [u8] {
        if let [part] = self.parts[..] {
            let from = part.from as usize;
            return &self.sources[part.source as usize].bytes[from..from + self.len];
        }
        buffer.clear();
        self.read(0..self.len, buffer);
        buffer
    }

    /// The lines that hold some ranges with a margin on either side; sorted, apart from each other.
    ///
    /// `None` if that is most of the object anyway, or a line is longer than [`MAX_LINE`].
    pub(super) fn lines_around(&self, ranges: &[Range<usize>], margin: usize) -> Option<Vec<Range<usize>>> {
        let mut all: Vec<Range<usize>> = Vec::new();
        for range in ranges {
            let end = self.line_end(self.len.min(range.end + margin), MAX_LINE)?;
            let start = range.start.saturating_sub(margin);
            match all.last_mut() {
                Some(last) if start <= last.end => last.end = last.end.max(end),
                _ => all.push(self.line_start(start, MAX_LINE)?..end),
            }
        }
        // A start that was moved back may reach into the range before.
        all.dedup_by(|next, last| {
            let joined = next.start <= last.end;
            if joined {
                last.end = last.end.max(next.end);
            }
            joined
        });
        let sum: usize = all.iter().map(Range::len).sum();
        (sum <= self.len / 4 * 3).then_some(all)
    }

    /// Where the line that holds `at` begins, the line feed before it included; `None` if it is farther than `limit`.
    pub(super) fn line_start(&self, at: usize, limit: usize) -> Option<usize> {
        let limit = at.saturating_sub(limit);
        let mut end = at;
        for part in self.parts[..self.parts.partition_point(|part| (part.at as usize) < at)]
            .iter()
            .rev()
        {
            let start = limit.max(part.at as usize);
            let from = part.from as usize + (start - part.at as usize);
            let bytes = &self.sources[part.source as usize].bytes[from..from + (end - start)];
            if let Some(i) = memchr::memrchr(b'\n', bytes) {
                return Some(start + i);
            }
            end = start;
            if end == limit {
                break;
            }
        }
        (limit == 0).then_some(0)
    }

    /// Where the line that holds `at` ends, its line feed included; `None` if it is farther than `limit`.
    pub(super) fn line_end(&self, at: usize, limit: usize) -> Option<usize> {
        let limit = self.len.min(at.saturating_add(limit));
        let mut start = at;
        let first = self.parts.partition_point(|part| part.at as usize <= at);
        for i in first.saturating_sub(1)..self.parts.len() {
            if start == limit {
                break;
            }
            let part = self.parts[i];
            let end = limit.min(self.end(i));
            let from = part.from as usize + (start - part.at as usize);
            let bytes = &self.sources[part.source as usize].bytes[from..from + (end - start)];
            if let Some(i) = memchr::memchr(b'\n', bytes) {
                return Some(start + i + 1);
            }
            start = end;
        }
        (limit == self.len).then_some(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A delta of these steps; the text makes the inserts.
    fn written(base: usize, steps: &[(bool, usize, usize)]) -> (Vec<u8>, Vec<Step>) {
        let (mut body, mut all, mut len) = (Vec::new(), Vec::new(), 0);
        for &(copy, from, size) in steps {
            let from = from % base;
            let size = if copy { size.min(base - from) } else { size.min(100) };
            len += size;
            if copy {
                body.extend([
                    0x80 | 0x13 | 0x20,
                    from as u8,
                    (from >> 8) as u8,
                    size as u8,
                    (size >> 8) as u8,
                ]);
                all.push(Step::Copy(from..from + size));
            } else {
                body.push(size as u8);
                body.extend((0..size).map(|i| b"inserted\n"[i % 9]));
                all.push(Step::Insert(0..size));
            }
        }
        let mut bytes = Vec::new();
        for mut number in [base, len] {
            while number >= 0x80 {
                bytes.push(number as u8 | 0x80);
                number >>= 7;
            }
            bytes.push(number as u8);
        }
        bytes.extend(body);
        (bytes, all)
    }

    fn made(base: &[u8], steps: &[Step]) -> Vec<u8> {
        let mut all = Vec::new();
        for step in steps {
            match step {
                Step::Copy(range) => all.extend_from_slice(&base[range.clone()]),
                Step::Insert(range) => all.extend(range.clone().map(|i| b"inserted\n"[i % 9])),
            }
        }
        all
    }

    fn all(rope: &Rope<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        rope.read(0..rope.len(), &mut bytes);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn a_chain_of_deltas_is_what_applying_them_gives(
            chain in prop::collection::vec(
                prop::collection::vec((any::<bool>(), 0..5_000usize, 1..3_000usize), 1..12), 1..90),
            places in prop::collection::vec((0..9_000usize, 0..600usize), 4),
        ) {
            let meter = AtomicU64::new(0);
            let mut flat: Vec<u8> = (0..4_000u32).map(|i| if i % 37 == 0 { b'\n' } else { (i * i) as u8 }).collect();
            let mut rope = Rope::whole(flat.clone(), &meter);
            for steps in chain {
                let (bytes, steps) = written(flat.len(), &steps);
                let before = flat;
                flat = made(&before, &steps);
                let (next, kept) = rope.apply(bytes, &meter).unwrap();
                prop_assert_eq!(&all(&next), &flat);
                for run in kept {
                    prop_assert_eq!(&flat[run.at..run.end()], &before[run.from..run.from + run.len]);
                }
                rope = next;
            }
            for (at, limit) in places {
                let at = at.min(flat.len());
                let from = at.saturating_sub(limit);
                let start = memchr::memrchr(b'\n', &flat[from..at]).map(|i| from + i).or((from == 0).then_some(0));
                prop_assert_eq!(rope.line_start(at, limit), start);
                let to = flat.len().min(at + limit);
                let end = memchr::memchr(b'\n', &flat[at..to]).map(|i| at + i + 1);
                prop_assert_eq!(rope.line_end(at, limit), end.or((to == flat.len()).then_some(to)));
            }
            drop(rope);
            prop_assert_eq!(meter.into_inner(), 0);
        }

        #[test]
        fn any_bytes_are_a_delta_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let meter = AtomicU64::new(0);
            if let Ok((made, _)) = Rope::whole(vec![7; 50], &meter).apply(bytes, &meter) {
                prop_assert_eq!(all(&made).len(), made.len());
            }
        }
    }
}
