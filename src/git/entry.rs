//! Entries of a pack, read and made into objects one at a time.
//!
//! The pack is read, not mapped: a mapping of a large one would count as
//! memory of ours. In scope: an entry at a place, and an object made along its
//! chain. Out of scope: which objects are made from which (`family`), and
//! looking at them on the way (`chain`).

use super::delta;
use super::quarantine::Read;
use super::rope::Rope;
use gix::objs::Kind;
use gix::odb::pack::Bundle;
use gix::odb::pack::cache::DecodeEntry;
use gix::odb::pack::data::Entry;
use gix::odb::pack::data::entry::Header;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicU64;

/// Bytes of an entry that are read with its header.
const SMALL: u64 = 4 << 10;
/// Longest chain of deltas that is followed. Git writes 50 to 4,095; those that name their bases could go in a circle.
pub(super) const MAX_CHAIN: usize = 10_000;
/// Said of a longer one.
pub(super) const CIRCLE: &str = "its deltas go in a circle";

/// The file of a pack.
pub(super) struct PackFile {
    file: File,
    pub(super) hash: gix::hash::Kind,
    /// Where the last entry ends.
    pub(super) end: u64,
}

/// What takes entries apart; its buffers are used again.
pub(super) struct Unpacker {
    pub(super) inflate: libdeflater::Decompressor,
    /// An entry as the pack has it.
    pub(super) raw: Vec<u8>,
}

/// One entry.
pub(super) enum Unpacked {
    /// An object as it is.
    Whole(Kind, Vec<u8>),
    /// What is to be done to the object at a place of the same pack.
    Delta(u64, Vec<u8>),
    /// More bytes than the limit.
    TooLarge,
}

impl Default for Unpacker {
    fn default() -> Self {
        Self {
            inflate: libdeflater::Decompressor::new(),
            raw: Vec::new(),
        }
    }
}

impl PackFile {
    pub(super) fn of(bundle: &Bundle) -> std::io::Result<Self> {
        Ok(Self {
            file: File::open(bundle.pack.path())?,
            hash: bundle.pack.object_hash(),
            end: bundle.pack.pack_end() as u64,
        })
    }

    /// Reads the bytes of a range of the pack.
    pub(super) fn fill(&self, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<(), String> {
        buffer.resize(range.end.saturating_sub(range.start) as usize, 0);
        self.file.read_exact_at(buffer, range.start).map_err(|e| e.to_string())
    }

    /// Reads an entry's header and, if it inflates to at most `limit` bytes, what follows it.
    ///
    /// * `end`: where the next entry starts, if that is known.
    pub(super) fn read(&self, at: u64, end: Option<u64>, limit: u64, raw: &mut Vec<u8>) -> Result<Entry, String> {
        // Most entries are small: one call to the system for each.
        let small = end.unwrap_or(self.end).min(at.saturating_add(SMALL));
        self.fill(at..small, raw)?;
        let entry = self.header(at, raw)?;
        if entry.decompressed_size > limit {
            return Ok(entry);
        }
        // zlib makes nothing larger than this: <https://zlib.net/zlib_tech.html>, with room for odd encoders.
        let most = entry.decompressed_size + entry.decompressed_size / 8 + 1024;
        let end = end.unwrap_or_else(|| self.end.min(entry.data_offset + most));
        if end > small {
            self.fill(at..end, raw)?;
        }
        Ok(entry)
    }

    pub(super) fn header(&self, at: u64, raw: &[u8]) -> Result<Entry, String> {
        Entry::from_bytes(raw, at, self.hash).map_err(|e| e.to_string())
    }

    /// Where the entry is that another one is made from; `None` if it is made from none.
    pub(super) fn base(bundle: &Bundle, entry: &Entry) -> Result<Option<u64>, String> {
        let offset = match entry.header {
            Header::OfsDelta { base_distance } => entry.checked_base_pack_offset(base_distance),
            Header::RefDelta { base_id } => {
                let rank = bundle.index.lookup(base_id);
                rank.map(|rank| bundle.index.pack_offset_at_index(rank))
            }
            _ => return Ok(None),
        };
        let missing = || format!("the entry at {} has no base in it", entry.pack_offset());
        offset.map(Some).ok_or_else(missing)
    }

    /// Reads the entry at a place and takes it apart.
    pub(super) fn unpack(&self, bundle: &Bundle, at: u64, limit: u64, by: &mut Unpacker) -> Result<Unpacked, String> {
        let entry = self.read(at, None, limit, &mut by.raw)?;
        if entry.decompressed_size > limit {
            return Ok(Unpacked::TooLarge);
        }
        let bytes = by.inflate(&entry)?;
        match (entry.header.as_kind(), Self::base(bundle, &entry)?) {
            (Some(kind), _) => Ok(Unpacked::Whole(kind, bytes)),
            (None, Some(_)) if delta::delta(&bytes).is_ok_and(|delta| delta.len > limit) => Ok(Unpacked::TooLarge),
            (None, Some(base)) => Ok(Unpacked::Delta(base, bytes)),
            (None, None) => Err(format!("the entry at {at} is of no kind")),
        }
    }

    /// Makes the object at a place in `out`, unless it, or one that it is made from, is larger than `limit` bytes.
    ///
    /// * `bases`: objects of this pack that were made with the same limit; this one joins them.
    pub(super) fn object(
        &self,
        bundle: &Bundle,
        at: u64,
        limit: u64,
        out: &mut Vec<u8>,
        by: &mut Unpacker,
        bases: &mut dyn DecodeEntry,
    ) -> Result<Read, String> {
        let (held, mut deltas, mut from) = (AtomicU64::new(0), Vec::new(), at);
        let (kind, bytes) = loop {
            if let Some((kind, _)) = bases.get(bundle.pack.id, from, out) {
                break (kind, std::mem::take(out));
            }
            match self.unpack(bundle, from, limit, by)? {
                Unpacked::Whole(kind, bytes) => break (kind, bytes),
                Unpacked::TooLarge => return self.kind(bundle, at).map(Read::TooLarge),
                Unpacked::Delta(base, bytes) => {
                    deltas.push(bytes);
                    from = base;
                }
            }
            if deltas.len() > MAX_CHAIN {
                return Err(CIRCLE.to_owned());
            }
        };
        if deltas.is_empty() {
            *out = bytes;
        } else {
            let mut rope = Rope::whole(bytes, &held);
            while let Some(bytes) = deltas.pop() {
                rope = rope.apply(bytes, &held).map_err(|e| e.to_string())?.0;
            }
            out.clear();
            rope.read(0..rope.len(), out);
        }
        bases.put(bundle.pack.id, at, out, kind, 0);
        Ok(Read::Done(kind))
    }

    /// The kind of the object at a place; nothing is inflated for it.
    fn kind(&self, bundle: &Bundle, mut at: u64) -> Result<Kind, String> {
        let mut raw = Vec::new();
        for _ in 0..=MAX_CHAIN {
            let entry = self.read(at, None, 0, &mut raw)?;
            match (entry.header.as_kind(), Self::base(bundle, &entry)?) {
                (Some(kind), _) => return Ok(kind),
                (None, Some(base)) => at = base,
                (None, None) => return Err(format!("the entry at {at} is of no kind")),
            }
        }
        Err(CIRCLE.to_owned())
    }
}

impl Unpacker {
    /// What follows the header of the entry that was read last.
    pub(super) fn inflate(&mut self, entry: &Entry) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; entry.decompressed_size as usize];
        let packed = &self.raw[entry.header_size().min(self.raw.len())..];
        if self.inflate.zlib_decompress(packed, &mut bytes) != Ok(bytes.len()) {
            return Err(format!("the entry at {} does not inflate", entry.pack_offset()));
        }
        Ok(bytes)
    }
}
