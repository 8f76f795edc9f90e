//! Which of a pack's entries are made from which.
//!
//! In scope: each entry's place in the pack, its base and those made from it.
//! Out of scope: what the entries hold (`traverse`).

use super::entry::PackFile;
use super::quarantine::Pack;
use gix::odb::pack::data::Entry;
use gix::odb::pack::data::entry::Header;

/// An entry that has no base.
const NONE: u32 = u32::MAX;
/// A header has at most 10 bytes for its size, and 10 or 32 for its base.
const MAX_HEADER: u64 = 42;
/// Bytes of a pack that are read at once for its headers.
const AT_ONCE: u64 = 1 << 20;
/// The entries of a pack in the order of their offsets.
pub(super) struct Family<'p> {
    file: &'p PackFile,
    /// Where each entry starts.
    offsets: Vec<u64>,
    /// Each entry's number in the pack's index, which is sorted by object id.
    ranks: Vec<u32>,
    /// Those that are made from entry `i` are `made[first[i]..first[i + 1]]`.
    first: Vec<u32>,
    made: Vec<u32>,
    /// Those that are made from none.
    pub(super) roots: Vec<u32>,
    /// Those of the roots that are commits.
    commits: Vec<u32>,
}

impl<'p> Family<'p> {
    /// Reads the headers of all entries; the reason if one is broken or has no base in the pack.
    pub(super) fn of(pack: &'p Pack) -> Result<Self, String> {
        let index = &pack.bundle.index;
        let mut order: Vec<(u64, u32)> = (0..pack.len())
            .map(|rank| (index.pack_offset_at_index(rank), rank))
            .collect();
        order.sort_unstable();
        let mut family = Self {
            file: &pack.file,
            offsets: order.iter().map(|(offset, _)| *offset).collect(),
            ranks: order.iter().map(|(_, rank)| *rank).collect(),
            first: vec![0; order.len() + 1],
            made: Vec::new(),
            roots: Vec::new(),
            commits: Vec::new(),
        };
        let bases = family.bases(pack)?;
        family.arrange(&bases);
        Ok(family)
    }

    /// The entry that each one is made from, or [`NONE`].
    fn bases(&mut self, pack: &Pack) -> Result<Vec<u32>, String> {
        let mut bases = Vec::with_capacity(self.offsets.len());
        let (mut part, mut from) = (Vec::new(), 0);
        for at in 0..self.offsets.len() as u32 {
            let (offset, end) = self.place(at);
            let end = end.min(offset + MAX_HEADER);
            if end > from + part.len() as u64 {
                from = offset;
                self.file.fill(offset..self.file.end.min(offset + AT_ONCE), &mut part)?;
            }
            let head = &part[(offset - from) as usize..(end - from) as usize];
            let entry = self.file.header(offset, head)?;
            bases.push(self.base(pack, &entry)?);
            if entry.header == Header::Commit {
                self.commits.push(at);
            }
        }
        Ok(bases)
    }

    /// The entry that one is made from, or [`NONE`].
    fn base(&self, pack: &Pack, entry: &Entry) -> Result<u32, String> {
        let Some(offset) = PackFile::base(&pack.bundle, entry)? else {
            return Ok(NONE);
        };
        let missing = |_| format!("the entry at {} has no base in it", entry.pack_offset());
        self.offsets
            .binary_search(&offset)
            .map(|base| base as u32)
            .map_err(missing)
    }

    /// Sorts the entries by their bases: a counting sort, for there may be millions.
    fn arrange(&mut self, bases: &[u32]) {
        for &base in bases.iter().filter(|base| **base != NONE) {
            self.first[base as usize + 1] += 1;
        }
        for i in 1..self.first.len() {
            self.first[i] += self.first[i - 1];
        }
        let mut next = self.first.clone();
        self.made = vec![0; self.first.last().map_or(0, |last| *last as usize)];
        for (at, &base) in (0u32..).zip(bases) {
            if base == NONE {
                self.roots.push(at);
                continue;
            }
            let slot = &mut next[base as usize];
            self.made[*slot as usize] = at;
            *slot += 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// How many entries are commits.
    pub(super) fn commits(&self) -> usize {
        let (mut waiting, mut count) = (self.commits.clone(), 0);
        while let Some(at) = waiting.pop() {
            waiting.extend(self.made_from(at));
            count += 1;
        }
        count
    }

    /// The entries that are made from one.
    pub(super) fn made_from(&self, at: u32) -> &[u32] {
        let at = at as usize;
        &self.made[self.first[at] as usize..self.first[at + 1] as usize]
    }

    /// An entry's number in the pack's index.
    pub(super) fn rank(&self, at: u32) -> u32 {
        self.ranks[at as usize]
    }

    /// Reads an entry into a buffer: its header and, if it inflates to at most `limit` bytes, what follows it.
    pub(super) fn read(&self, at: u32, limit: u64, raw: &mut Vec<u8>) -> Result<Entry, String> {
        let (offset, end) = self.place(at);
        self.file.read(offset, Some(end), limit, raw)
    }

    /// Where an entry starts, and where the next one does.
    fn place(&self, at: u32) -> (u64, u64) {
        let next = self.offsets.get(at as usize + 1).copied();
        (self.offsets[at as usize], next.unwrap_or(self.file.end))
    }
}
