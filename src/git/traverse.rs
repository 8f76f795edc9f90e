//! One pass over all that a push brought: every object to the visitor, once.
//!
//! In scope: packs along their deltas on all cores (`descend`), loose and few
//! objects on the calling thread, objects beyond the size limit left out and
//! reported, commits kept, and the reverse map from an object to one tree or
//! commit that holds it. Out of scope: what is reachable (`walk`).

use super::body::{EntryKind, TreeEntry, commit_head, tree_entries};
use super::deadline::Deadline;
use super::descend::descend;
use super::gathered::Gathered;
use super::quarantine::{Pack, Quarantine, Read};
use super::store::{kind_of, oid_from, oid_of};
use super::{outage, printable};
use crate::port::{ObjectVisitor, Outage};
use crate::push::Oid;
use gix::objs::Kind;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Up to this many objects, starting threads costs more than it saves.
pub(super) const FEW: u32 = 256;

/// The hits in one object: its position, its kind, and the hits in visitor order.
pub(super) type Found<H> = (u32, Kind, Vec<H>);

/// What the pass learned.
pub(super) struct Traversed<H> {
    /// Hits, sorted by position.
    pub(super) hits: Vec<Found<H>>,
    /// Positions of objects beyond the size limit.
    pub(super) too_large: Vec<(u32, Kind)>,
    /// For each position, the lowest position of a tree or commit that holds it in bytes of its own, not only in
    /// those that a delta keeps from another tree that does; or [`NOBODY`].
    pub(super) holders: Vec<u32>,
    /// What trees and commits here refer to and the push did not bring.
    pub(super) outside: HashSet<Oid>,
    pub(super) objects: u64,
    pub(super) bytes: u64,
}

/// Marks an object that nothing in the quarantine holds.
pub(super) const NOBODY: u32 = u32::MAX;

impl<H> Default for Traversed<H> {
    fn default() -> Self {
        Self {
            hits: Vec::new(),
            too_large: Vec::new(),
            holders: Vec::new(),
            outside: HashSet::new(),
            objects: 0,
            bytes: 0,
        }
    }
}

/// References to objects outside the quarantine, gathered by one thread and handed over when it ends.
///
/// Most trees differ little from the one before, so a small cache of what was
/// noted last spares most look-ups in the set.
pub(super) struct Outsiders<'p, 'a, V: ObjectVisitor> {
    pass: &'p Pass<'a, V>,
    noted: HashSet<Oid>,
    last: Vec<[u8; 32]>,
}

/// Slots of the cache: 512 KiB for each thread.
const LAST: usize = 1 << 14;

impl<'p, 'a, V: ObjectVisitor> Outsiders<'p, 'a, V> {
    pub(super) fn new(pass: &'p Pass<'a, V>) -> Self {
        Self {
            pass,
            noted: HashSet::new(),
            last: Vec::new(),
        }
    }

    fn note(&mut self, id: &[u8]) {
        if self.last.is_empty() {
            self.last.resize(LAST, [0; 32]);
        }
        let slot = id.last_chunk().map_or(0, |b| u32::from_le_bytes(*b)) as usize % LAST;
        if &self.last[slot][..id.len()] != id {
            self.last[slot][..id.len()].copy_from_slice(id);
            self.noted.insert(oid_from(id));
        }
    }
}

impl<V: ObjectVisitor> Drop for Outsiders<'_, '_, V> {
    fn drop(&mut self) {
        let noted = std::mem::take(&mut self.noted);
        if !noted.is_empty() {
            locked(&self.pass.outside).extend(noted);
        }
    }
}

/// Visits all objects of the quarantine.
///
/// * `limit`: bytes of the largest object that is read; `threads`: 0 = one per core.
/// * `older`: which objects were in the store before.
/// * `gathered`: where the commits go.
pub(super) fn traverse<V: ObjectVisitor>(
    quarantine: &Quarantine,
    visitor: &V,
    (limit, threads): (u64, usize),
    older: Older<'_>,
    gathered: &Gathered,
    deadline: &Deadline,
) -> Result<Traversed<V::Hit>, Outage> {
    let _ending = gathered.ending();
    let pass = Pass::new(quarantine, visitor, limit, older, gathered, deadline);
    let threads = super::threads(threads);
    for pack in &quarantine.packs {
        pass.pack(pack, threads)?;
    }
    let loose: Vec<u32> = quarantine.loose_positions().collect();
    pass.spread(&loose, threads)?;
    Ok(pass.finish())
}

/// Which objects of a quarantine were in the store before.
#[derive(Clone, Copy)]
pub(super) enum Older<'a> {
    /// All: it is the store.
    All,
    /// Those at these positions: Git has appended them as bases. What they refer to is not gathered in
    /// [`Traversed::outside`].
    Appended(&'a HashSet<u32>),
}

/// One pass: what it looks at, and what it has learned so far.
pub(super) struct Pass<'a, V: ObjectVisitor> {
    pub(super) quarantine: &'a Quarantine,
    pub(super) visitor: &'a V,
    pub(super) limit: u64,
    older: Older<'a>,
    pub(super) deadline: &'a Deadline,
    seen: Vec<AtomicU8>,
    holders: Vec<AtomicU32>,
    gathered: &'a Gathered,
    hits: Mutex<Vec<Found<V::Hit>>>,
    too_large: Mutex<Vec<(u32, Kind)>>,
    outside: Mutex<HashSet<Oid>>,
    objects: AtomicU64,
    bytes: AtomicU64,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn owned<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl<'a, V: ObjectVisitor> Pass<'a, V> {
    fn new(
        quarantine: &'a Quarantine,
        visitor: &'a V,
        limit: u64,
        older: Older<'a>,
        gathered: &'a Gathered,
        deadline: &'a Deadline,
    ) -> Self {
        let len = quarantine.len() as usize;
        Self {
            quarantine,
            visitor,
            limit,
            older,
            deadline,
            seen: std::iter::repeat_with(AtomicU8::default).take(len).collect(),
            holders: std::iter::repeat_with(|| AtomicU32::new(NOBODY)).take(len).collect(),
            gathered,
            hits: Mutex::default(),
            too_large: Mutex::default(),
            outside: Mutex::default(),
            objects: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn pack(&self, pack: &Pack, threads: usize) -> Result<(), Outage> {
        if pack.len() > FEW && descend(self, pack, threads)? {
            return Ok(());
        }
        // Too few for threads, or too much to hold: what is left is read one by one.
        let mut rest: Vec<u32> = (pack.first..pack.first + pack.len())
            .filter(|&at| self.seen[at as usize].load(Relaxed) == 0)
            .collect();
        rest.sort_by_key(|&at| pack.bundle.index.pack_offset_at_index(at - pack.first));
        self.spread(&rest, threads)
    }

    /// Reads objects one by one, on several threads if there are many.
    fn spread(&self, positions: &[u32], threads: usize) -> Result<(), Outage> {
        let run = |part: &[u32]| -> Result<(), Outage> {
            let mut buf = Vec::new();
            let mut outsiders = Outsiders::new(self);
            for &at in part {
                self.deadline.check()?;
                match self.quarantine.read(at, self.limit, &mut buf)? {
                    Read::Done(kind) if self.claim(at, buf.len()) => {
                        self.look(at, kind, &buf);
                        self.refer(at, kind, &buf, &mut outsiders);
                    }
                    Read::Done(_) => {}
                    Read::TooLarge(kind) => self.refuse(at, kind),
                }
            }
            Ok(())
        };
        if positions.len() <= FEW as usize || threads == 1 {
            return run(positions);
        }
        std::thread::scope(|scope| {
            let parts = positions.chunks(positions.len().div_ceil(threads));
            let workers: Vec<_> = parts.map(|part| scope.spawn(|| run(part))).collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    /// Says how many commits a pack has; worth something if it is all of the quarantine.
    pub(super) fn expect(&self, commits: usize) {
        if let ([_], true) = (&self.quarantine.packs[..], self.quarantine.loose_positions().is_empty()) {
            self.gathered.expect(commits);
        }
    }

    /// Counts an object; `false` if it has been, here or at another place of the quarantine.
    pub(super) fn claim(&self, at: u32, len: usize) -> bool {
        let id = self.quarantine.id(at).as_bytes();
        if self.quarantine.position(id) != Some(at) || self.seen[at as usize].swap(1, Relaxed) != 0 {
            return false;
        }
        self.objects.fetch_add(1, Relaxed);
        self.bytes.fetch_add(len as u64, Relaxed);
        true
    }

    /// Whether Git has appended an object as a base.
    pub(super) fn is_appended(&self, at: u32) -> bool {
        matches!(self.older, Older::Appended(at_these) if at_these.contains(&at))
    }

    /// Whether an object was in the store before, and an earlier look found it plain.
    pub(super) fn known(&self, at: u32, len: usize) -> bool {
        let older = matches!(self.older, Older::All) || self.is_appended(at);
        older && self.visitor.is_known(oid_of(self.quarantine.id(at)), len as u64)
    }

    /// Says that an object was found plain by its parts.
    pub(super) fn passed(&self, at: u32, len: usize) {
        self.visitor.passed(oid_of(self.quarantine.id(at)), len as u64);
    }

    /// Shows an object to the visitor and keeps its hits, unless it is known to be plain; whether it is plain.
    pub(super) fn look(&self, at: u32, kind: Kind, data: &[u8]) -> bool {
        if self.known(at, data.len()) {
            return true;
        }
        let looked = self.visitor.visit(oid_of(self.quarantine.id(at)), kind_of(kind), data);
        if !looked.hits.is_empty() {
            locked(&self.hits).push((at, kind, looked.hits));
        }
        looked.plain
    }

    /// Notes what an object refers to; commits are kept.
    pub(super) fn refer(&self, at: u32, kind: Kind, data: &[u8], outsiders: &mut Outsiders<'_, 'a, V>) {
        let id = self.quarantine.id(at);
        match kind {
            Kind::Tree => {
                let entries = tree_entries(data, id.as_bytes().len());
                entries.for_each(|entry| self.note_entry(&entry, at, outsiders));
            }
            Kind::Commit => {
                if let Some(tree) = commit_head(data).tree {
                    self.note_holder(tree.as_bytes(), at, outsiders);
                }
                self.gathered.add(oid_of(id), data.to_vec());
            }
            Kind::Blob | Kind::Tag => {}
        }
    }

    /// Notes what one entry of a tree refers to.
    pub(super) fn note_entry(&self, entry: &TreeEntry<'_>, at: u32, outsiders: &mut Outsiders<'_, 'a, V>) {
        if entry.kind != EntryKind::Submodule {
            self.note_holder(entry.id, at, outsiders);
        }
    }

    /// The lowest holder wins, so that the map does not depend on which thread comes first.
    fn note_holder(&self, id: &[u8], holder: u32, outsiders: &mut Outsiders<'_, 'a, V>) {
        let Some(at) = self.quarantine.position(id) else {
            if !self.is_appended(holder) {
                outsiders.note(id);
            }
            return;
        };
        let slot = &self.holders[at as usize];
        if slot.load(Relaxed) > holder {
            slot.fetch_min(holder, Relaxed);
        }
    }

    /// Notes an object beyond the size limit.
    pub(super) fn refuse(&self, at: u32, kind: Kind) {
        let id = self.quarantine.id(at);
        if self.quarantine.position(id.as_bytes()) != Some(at) || self.seen[at as usize].swap(1, Relaxed) != 0 {
            return;
        }
        locked(&self.too_large).push((at, kind));
        if kind == Kind::Commit {
            self.gathered.add(oid_of(id), Vec::new());
        }
    }

    fn finish(self) -> Traversed<V::Hit> {
        let mut hits = owned(self.hits);
        hits.sort_by_key(|hit| hit.0);
        let mut too_large = owned(self.too_large);
        too_large.sort_by_key(|large| large.0);
        Traversed {
            hits,
            too_large,
            outside: owned(self.outside),
            holders: self.holders.into_iter().map(AtomicU32::into_inner).collect(),
            objects: self.objects.into_inner(),
            bytes: self.bytes.into_inner(),
        }
    }
}

pub(super) fn pack_unreadable(pack: &Pack, why: &str) -> Outage {
    outage(
        "pack-unreadable",
        format!("cannot read the pack {}", printable(pack.bundle.pack.path())),
        why,
        "push again; if it stays, check the disk",
    )
}
