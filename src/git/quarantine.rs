//! The folder in which Git keeps what a push brought until the hook has decided.
//!
//! In scope: which objects are there, each with a dense position, and reading
//! one of them. Positions are deterministic: packs by file name, then loose
//! objects by id; an object that is there twice has its first position. Out of
//! scope: visiting all of them (`traverse`).

use super::bases::Bases;
use super::entry::{PackFile, Unpacker};
use super::{MAX_OBJECT_BYTES, object_unreadable, outage, printable};
use crate::port::Outage;
use gix::objs::Kind;
use gix::odb::pack::Bundle;
use gix::odb::pack::cache::{DecodeEntry, Never};
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};

/// A pack and the position of its first object.
pub(super) struct Pack {
    pub(super) bundle: Bundle,
    pub(super) file: PackFile,
    pub(super) first: u32,
}

impl Pack {
    pub(super) fn len(&self) -> u32 {
        self.bundle.index.num_objects()
    }
}

/// All that a push brought.
pub(super) struct Quarantine {
    pub(super) dir: PathBuf,
    pub(super) packs: Vec<Pack>,
    store: gix::odb::loose::Store,
    loose: Vec<gix::ObjectId>,
    loose_first: u32,
    table: Table,
}

/// How reading one object ended.
pub(super) enum Read {
    /// It is in the buffer.
    Done(Kind),
    /// It, or a base that it needs, is larger than the limit; nothing was inflated for it.
    TooLarge(Kind),
}

/// What reading many objects that are made from one another need not do again.
#[derive(Default)]
pub(super) struct Reader {
    by: Unpacker,
    bases: Bases,
}

impl Quarantine {
    /// Lists a quarantine folder and maps its packs.
    pub(super) fn open(dir: &Path, hash: gix::hash::Kind) -> Result<Self, Outage> {
        let mut packs = Vec::new();
        let mut first = 0u32;
        for path in pack_paths(dir)? {
            let (bundle, file) = open_bundle(&path, hash)?;
            let count = bundle.index.num_objects();
            packs.push(Pack { bundle, file, first });
            first = first.checked_add(count).ok_or_else(|| too_many(dir))?;
        }
        let loose = loose_ids(dir, hash)?;
        let total = u32::try_from(loose.len()).ok().and_then(|n| first.checked_add(n));
        if total.is_none_or(|n| n == u32::MAX) {
            return Err(too_many(dir));
        }
        let options = gix::odb::loose::Options {
            alloc_limit_bytes: Some(MAX_OBJECT_BYTES),
            ..Default::default()
        };
        let mut this = Self {
            dir: dir.to_owned(),
            packs,
            store: gix::odb::loose::Store::at_opts(dir, hash, options),
            loose,
            loose_first: first,
            table: Table::new(total.unwrap_or_default() as usize),
        };
        this.fill_table();
        Ok(this)
    }

    fn fill_table(&mut self) {
        let mut table = std::mem::take(&mut self.table);
        for at in 0..self.len() {
            let id = self.id(at).as_bytes();
            if table.find(id, |found| self.id(found).as_bytes()).is_none() {
                table.insert(id, at);
            }
        }
        self.table = table;
    }

    /// Positions in use; duplicates counted.
    pub(super) fn len(&self) -> u32 {
        self.loose_first + self.loose.len() as u32
    }

    /// The positions of loose objects.
    pub(super) fn loose_positions(&self) -> std::ops::Range<u32> {
        self.loose_first..self.len()
    }

    /// The object at a position below [`Self::len`].
    pub(super) fn id(&self, at: u32) -> &gix::oid {
        if at >= self.loose_first {
            return &self.loose[(at - self.loose_first) as usize];
        }
        let pack = self.pack_of(at);
        pack.bundle.index.oid_at_index(at - pack.first)
    }

    fn pack_of(&self, at: u32) -> &Pack {
        let after = self.packs.partition_point(|pack| pack.first <= at);
        &self.packs[after - 1]
    }

    /// The position of an object, if the push brought it.
    pub(super) fn position(&self, id: &[u8]) -> Option<u32> {
        self.table.find(id, |at| self.id(at).as_bytes())
    }

    /// Reads an object, unless it is larger than `limit` bytes.
    pub(super) fn read(&self, at: u32, limit: u64, buf: &mut Vec<u8>) -> Result<Read, Outage> {
        if at >= self.loose_first {
            return self.read_loose(at, limit, buf);
        }
        self.read_packed(at, limit, buf, &mut Unpacker::default(), &mut Never)
    }

    /// Reads one of many objects up to the largest size.
    pub(super) fn read_next(&self, at: u32, buf: &mut Vec<u8>, reader: &mut Reader) -> Result<Read, Outage> {
        let limit = MAX_OBJECT_BYTES as u64;
        if at >= self.loose_first {
            return self.read_loose(at, limit, buf);
        }
        self.read_packed(at, limit, buf, &mut reader.by, &mut reader.bases)
    }

    fn read_loose(&self, at: u32, limit: u64, buf: &mut Vec<u8>) -> Result<Read, Outage> {
        let id = self.id(at);
        let failed = |why: &dyn std::fmt::Display| object_unreadable(&self.dir, id, why);
        match self.store.try_header(id).map_err(|e| failed(&e))? {
            None => Err(failed(&"it was there a moment ago")),
            Some((size, kind)) if size > limit => Ok(Read::TooLarge(kind)),
            Some(_) => match self.store.try_find(id, buf).map_err(|e| failed(&e))? {
                Some(data) => Ok(Read::Done(data.kind)),
                None => Err(failed(&"it was there a moment ago")),
            },
        }
    }

    fn read_packed(
        &self,
        at: u32,
        limit: u64,
        buf: &mut Vec<u8>,
        by: &mut Unpacker,
        bases: &mut dyn DecodeEntry,
    ) -> Result<Read, Outage> {
        let pack = self.pack_of(at);
        let offset = pack.bundle.index.pack_offset_at_index(at - pack.first);
        let read = pack.file.object(&pack.bundle, offset, limit, buf, by, bases);
        read.map_err(|why| object_unreadable(pack.bundle.pack.path(), self.id(at), &why))
    }
}

fn too_many(dir: &Path) -> Outage {
    outage(
        "pack-unreadable",
        format!("cannot index the objects in {}", printable(dir)),
        "there are more than 2^32 of them",
        "lower receive.maxInputSize",
    )
}

pub(super) fn open_bundle(path: &Path, hash: gix::hash::Kind) -> Result<(Bundle, PackFile), Outage> {
    let failed = |why: String| {
        outage(
            "pack-unreadable",
            format!("cannot read the pack {}", printable(path)),
            why,
            "push again; if it stays, check the disk",
        )
    };
    let bundle = Bundle::at(path, hash).map_err(|e| failed(e.to_string()))?;
    // Cheap, and tells a cut pack; the hash itself Git has just computed.
    if bundle.index.num_objects() != bundle.pack.num_objects() || bundle.index.pack_checksum() != bundle.pack.checksum()
    {
        return Err(failed("its index belongs to another pack, or it is cut off".into()));
    }
    let file = PackFile::of(&bundle).map_err(|e| failed(e.to_string()))?;
    Ok((bundle, file))
}

/// The packs of a quarantine by file name. A missing index fails when the pack is opened.
pub(super) fn pack_paths(dir: &Path) -> Result<Vec<PathBuf>, Outage> {
    let mut paths = Vec::new();
    for entry in read_dir(&dir.join("pack"))? {
        if entry.extension().is_some_and(|e| e == "pack") {
            paths.push(entry);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The ids of loose objects, sorted.
fn loose_ids(dir: &Path, hash: gix::hash::Kind) -> Result<Vec<gix::ObjectId>, Outage> {
    let mut ids = Vec::new();
    if !dir.is_dir() {
        return Err(unreadable(dir, "it is no folder"));
    }
    for fan in read_dir(dir)? {
        let Some(first) = file_name(&fan).filter(|n| is_hex(n, 2)) else {
            continue;
        };
        for file in read_dir(&fan)? {
            let Some(rest) = file_name(&file).filter(|n| is_hex(n, hash.len_in_hex() - 2)) else {
                continue;
            };
            let hex = format!("{first}{rest}");
            ids.push(gix::ObjectId::from_hex(hex.as_bytes()).map_err(|e| unreadable(&file, e))?);
        }
    }
    ids.sort();
    Ok(ids)
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|n| n.to_str())
}

fn is_hex(name: &str, len: usize) -> bool {
    name.len() == len && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The paths in a folder; none if the folder does not exist.
fn read_dir(dir: &Path) -> Result<Vec<PathBuf>, Outage> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| unreadable(dir, e))?,
    };
    entries
        .map(|entry| entry.map(|e| e.path()).map_err(|e| unreadable(dir, e)))
        .collect()
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> Outage {
    outage(
        "quarantine-unreadable",
        format!("cannot list {}", printable(path)),
        why.to_string(),
        "check that the account that runs the hook may read it",
    )
}

/// Ids to positions: open addressing under a random key, so that no pusher can make it slow.
#[derive(Default)]
struct Table {
    slots: Vec<u64>,
    shift: u32,
    key: u64,
}

const EMPTY: u64 = u64::MAX;

impl Table {
    fn new(count: usize) -> Self {
        let size = (count * 2).next_power_of_two().max(2);
        Self {
            slots: vec![EMPTY; size],
            shift: 64 - size.trailing_zeros(),
            key: std::collections::hash_map::RandomState::new().build_hasher().finish(),
        }
    }

    /// The slot to start at, and a tag that saves most comparisons of whole ids.
    fn start(&self, id: &[u8]) -> (usize, u64) {
        let word = id.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let mixed = (word ^ self.key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> self.shift) as usize, mixed << 32)
    }

    fn find<'a>(&self, id: &[u8], id_at: impl Fn(u32) -> &'a [u8]) -> Option<u32> {
        let (mut slot, tag) = self.start(id);
        loop {
            let entry = *self.slots.get(slot)?;
            if entry == EMPTY {
                return None;
            }
            if entry & !0xffff_ffff == tag && id_at(entry as u32) == id {
                return Some(entry as u32);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    fn insert(&mut self, id: &[u8], at: u32) {
        let (mut slot, tag) = self.start(id);
        while self.slots[slot] != EMPTY {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = tag | u64::from(at);
    }
}
