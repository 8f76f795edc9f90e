//! Which of a pack's entries are made from which.
//!
//! In scope: each entry's place in the pack, its base and those made from it.
//! Out of scope: what the entries hold (`traverse`).

use super::quarantine::Pack;
use gix::odb::pack::data::entry::Header;
use gix::odb::pack::data::{Entry, File};

/// An entry that has no base.
const NONE: u32 = u32::MAX;

/// The entries of a pack in the order of their offsets.
pub(super) struct Family {
    /// Where each entry starts.
    offsets: Vec<u64>,
    /// Each entry's number in the pack's index, which is sorted by object id.
    ranks: Vec<u32>,
    /// Those that are made from entry `i` are `made[first[i]..first[i + 1]]`.
    first: Vec<u32>,
    made: Vec<u32>,
    /// Those that are made from none.
    pub(super) roots: Vec<u32>,
}

impl Family {
    /// Reads the headers of all entries; the reason if one is broken or has no base in the pack.
    pub(super) fn of(pack: &Pack, data: &File) -> Result<Self, String> {
        let index = &pack.bundle.index;
        let mut order: Vec<(u64, u32)> = (0..pack.len())
            .map(|rank| (index.pack_offset_at_index(rank), rank))
            .collect();
        order.sort_unstable();
        let mut family = Self {
            offsets: order.iter().map(|(offset, _)| *offset).collect(),
            ranks: order.iter().map(|(_, rank)| *rank).collect(),
            first: vec![0; order.len() + 1],
            made: Vec::new(),
            roots: Vec::new(),
        };
        let mut bases = Vec::with_capacity(order.len());
        for at in 0..pack.len() {
            bases.push(family.base(pack, data, at)?);
        }
        family.arrange(&bases);
        Ok(family)
    }

    /// The entry that one is made from, or [`NONE`].
    fn base(&self, pack: &Pack, data: &File, at: u32) -> Result<u32, String> {
        let entry = self.entry(data, at)?;
        let offset = match entry.header {
            Header::OfsDelta { base_distance } => entry.checked_base_pack_offset(base_distance),
            Header::RefDelta { base_id } => {
                let index = &pack.bundle.index;
                index.lookup(base_id).map(|rank| index.pack_offset_at_index(rank))
            }
            _ => return Ok(NONE),
        };
        let base = offset.and_then(|offset| self.offsets.binary_search(&offset).ok());
        let missing = || format!("the entry at {} has no base in it", self.offsets[at as usize]);
        base.map(|base| base as u32).ok_or_else(missing)
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

    /// The entries that are made from one.
    pub(super) fn made_from(&self, at: u32) -> &[u32] {
        let at = at as usize;
        &self.made[self.first[at] as usize..self.first[at + 1] as usize]
    }

    /// An entry's number in the pack's index.
    pub(super) fn rank(&self, at: u32) -> u32 {
        self.ranks[at as usize]
    }

    /// An entry's compressed bytes.
    pub(super) fn packed<'p>(&self, pack: &'p File, at: u32, entry: &Entry) -> Option<&'p [u8]> {
        let end = self.offsets.get(at as usize + 1).copied();
        pack.entry_slice(entry.data_offset..end.unwrap_or(pack.pack_end() as u64))
    }

    /// An entry's header.
    pub(super) fn entry(&self, pack: &File, at: u32) -> Result<Entry, String> {
        let entry = pack.entry(self.offsets[at as usize]);
        entry.map_err(|e| e.to_string())
    }
}
