//! One pass over all that a push brought: every object to the visitor, once.
//!
//! In scope: packs by gix's delta tree on all cores, loose and few objects on
//! the calling thread, objects beyond the size limit left out and reported,
//! commits kept, and the reverse map from an object to one tree or commit that
//! holds it. Out of scope: what is reachable (`walk`).

use super::body::{CommitHead, commit_head, tree_entries};
use super::deadline::Deadline;
use super::quarantine::{Pack, Quarantine, Read};
use super::store::{kind_of, oid_of};
use super::{outage, printable};
use crate::port::{ObjectVisitor, Outage};
use crate::push::Oid;
use gix::objs::Kind;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Up to this many objects, starting threads costs more than it saves.
const FEW: u32 = 256;

/// The hits in one object: its position, its kind, and the hits in visitor order.
pub(super) type Found<H> = (u32, Kind, Vec<H>);

/// A commit of the quarantine.
pub(super) struct Brought {
    pub(super) head: CommitHead,
    pub(super) data: Vec<u8>,
}

/// What the pass learned.
pub(super) struct Traversed<H> {
    /// The commits; one that is too large is here without content.
    pub(super) commits: HashMap<Oid, Brought>,
    /// Hits, sorted by position.
    pub(super) hits: Vec<Found<H>>,
    /// Positions of objects beyond the size limit.
    pub(super) too_large: Vec<(u32, Kind)>,
    /// For each position, the lowest position of a tree or commit that holds it, or [`NOBODY`].
    pub(super) holders: Vec<u32>,
    pub(super) objects: u64,
    pub(super) bytes: u64,
}

/// Marks an object that nothing in the quarantine holds.
pub(super) const NOBODY: u32 = u32::MAX;

impl<H> Default for Traversed<H> {
    fn default() -> Self {
        Self {
            commits: HashMap::new(),
            hits: Vec::new(),
            too_large: Vec::new(),
            holders: Vec::new(),
            objects: 0,
            bytes: 0,
        }
    }
}

/// Visits all objects of the quarantine.
///
/// * `limit`: bytes of the largest object that is read.
/// * `threads`: 0 = one per core.
pub(super) fn traverse<V: ObjectVisitor>(
    quarantine: &Quarantine,
    visitor: &V,
    limit: u64,
    threads: usize,
    deadline: &Deadline,
) -> Result<Traversed<V::Hit>, Outage> {
    let pass = Pass::new(quarantine, visitor, limit, deadline);
    for pack in &quarantine.packs {
        pass.pack(pack, threads)?;
    }
    let loose: Vec<u32> = quarantine.loose_positions().collect();
    pass.spread(&loose, threads, |at, buf, _| quarantine.read(at, limit, buf))?;
    Ok(pass.finish())
}

struct Pass<'a, V: ObjectVisitor> {
    quarantine: &'a Quarantine,
    visitor: &'a V,
    limit: u64,
    deadline: &'a Deadline,
    seen: Vec<AtomicU8>,
    holders: Vec<AtomicU32>,
    commits: Mutex<Vec<(Oid, Vec<u8>)>>,
    hits: Mutex<Vec<Found<V::Hit>>>,
    too_large: Mutex<Vec<(u32, Kind)>>,
    objects: AtomicU64,
    bytes: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn owned<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl<'a, V: ObjectVisitor> Pass<'a, V> {
    fn new(quarantine: &'a Quarantine, visitor: &'a V, limit: u64, deadline: &'a Deadline) -> Self {
        let len = quarantine.len() as usize;
        Self {
            quarantine,
            visitor,
            limit,
            deadline,
            seen: std::iter::repeat_with(AtomicU8::default).take(len).collect(),
            holders: std::iter::repeat_with(|| AtomicU32::new(NOBODY)).take(len).collect(),
            commits: Mutex::default(),
            hits: Mutex::default(),
            too_large: Mutex::default(),
            objects: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn pack(&self, pack: &Pack, threads: usize) -> Result<(), Outage> {
        if pack.len() > FEW && self.delta_tree(pack, threads)? {
            return Ok(());
        }
        // Too few for threads, or an object beyond the limit stopped them: what is left is read one by one.
        let mut rest: Vec<u32> = (pack.first..pack.first + pack.len())
            .filter(|&at| self.seen[at as usize].load(Relaxed) == 0)
            .collect();
        rest.sort_by_key(|&at| pack.bundle.index.pack_offset_at_index(at - pack.first));
        self.spread(&rest, threads, |at, buf, inflate| {
            self.quarantine.read_packed(pack, at, self.limit, buf, inflate)
        })
    }

    /// Visits a pack along its delta tree; `false` if an object beyond the limit stopped it.
    fn delta_tree(&self, pack: &Pack, threads: usize) -> Result<bool, Outage> {
        use gix::odb::pack::index::traverse::SafetyCheck;
        use gix::odb::pack::index::traverse::with_index::Options;
        let options = Options {
            // Git has just hashed every object of the quarantine.
            check: SafetyCheck::SkipFileAndObjectChecksumVerification,
            thread_limit: (threads > 0).then_some(threads),
            alloc_limit_bytes: usize::try_from(self.limit).ok(),
        };
        let accept = |kind, data: &[u8], entry: &gix::odb::pack::index::Entry, _: &dyn gix::Progress| {
            self.deadline
                .check()
                .map_err(|_| gix::error::message("deadline").cancelled_error())?;
            self.accept(&entry.oid, kind, data);
            Ok(())
        };
        // gix takes a pack at its word in places; a broken one must be an outage, not a crash.
        let result = catch_unwind(AssertUnwindSafe(|| {
            pack.bundle.index.traverse_with_index(
                &pack.bundle.pack,
                accept,
                &mut gix::progress::Discard,
                self.deadline.flag(),
                options,
            )
        }));
        self.deadline.check()?;
        match result {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(e)) if e.is_resource_exhausted() => Ok(false),
            Ok(Err(e)) => Err(pack_unreadable(pack, &e.to_string())),
            Err(_) => Err(pack_unreadable(pack, "its reader gave up")),
        }
    }

    /// Reads objects one by one, on several threads if there are many.
    fn spread(
        &self,
        positions: &[u32],
        threads: usize,
        read: impl Fn(u32, &mut Vec<u8>, &mut gix::zlib::Inflate) -> Result<Read, Outage> + Sync,
    ) -> Result<(), Outage> {
        let run = |part: &[u32]| -> Result<(), Outage> {
            let (mut buf, mut inflate) = (Vec::new(), gix::zlib::Inflate::default());
            for &at in part {
                self.deadline.check()?;
                match read(at, &mut buf, &mut inflate)? {
                    Read::Done(kind) => self.accept(self.quarantine.id(at), kind, &buf),
                    Read::TooLarge(kind) => self.refuse(at, kind),
                }
            }
            Ok(())
        };
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
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

    /// Takes one object in: the visitor sees it, unless it has seen it before.
    fn accept(&self, id: &gix::oid, kind: Kind, data: &[u8]) {
        let Some(at) = self.quarantine.position(id.as_bytes()) else {
            return;
        };
        if self.seen[at as usize].swap(1, Relaxed) != 0 {
            return;
        }
        self.objects.fetch_add(1, Relaxed);
        self.bytes.fetch_add(data.len() as u64, Relaxed);
        let hits = self.visitor.visit(oid_of(id), kind_of(kind), data);
        if !hits.is_empty() {
            locked(&self.hits).push((at, kind, hits));
        }
        match kind {
            Kind::Tree => self.note_entries(at, data, id.as_bytes().len()),
            Kind::Commit => {
                if let Some(tree) = commit_head(data).tree {
                    self.note_holder(tree.as_bytes(), at);
                }
                locked(&self.commits).push((oid_of(id), data.to_vec()));
            }
            Kind::Blob | Kind::Tag => {}
        }
    }

    fn note_entries(&self, holder: u32, data: &[u8], id_len: usize) {
        for entry in tree_entries(data, id_len) {
            self.note_holder(entry.id, holder);
        }
    }

    /// The lowest holder wins, so that the map does not depend on which thread comes first.
    fn note_holder(&self, id: &[u8], holder: u32) {
        if let Some(at) = self.quarantine.position(id) {
            let slot = &self.holders[at as usize];
            if slot.load(Relaxed) > holder {
                slot.fetch_min(holder, Relaxed);
            }
        }
    }

    fn refuse(&self, at: u32, kind: Kind) {
        let id = self.quarantine.id(at);
        if self.quarantine.position(id.as_bytes()) != Some(at) {
            return;
        }
        locked(&self.too_large).push((at, kind));
        if kind == Kind::Commit {
            locked(&self.commits).push((oid_of(id), Vec::new()));
        }
    }

    fn finish(self) -> Traversed<V::Hit> {
        let mut hits = owned(self.hits);
        hits.sort_by_key(|hit| hit.0);
        let mut too_large = owned(self.too_large);
        too_large.sort_by_key(|large| large.0);
        let commits = owned(self.commits).into_iter().map(|(oid, data)| {
            let head = commit_head(&data);
            (oid, Brought { head, data })
        });
        Traversed {
            commits: commits.collect(),
            hits,
            too_large,
            holders: self.holders.into_iter().map(AtomicU32::into_inner).collect(),
            objects: self.objects.into_inner(),
            bytes: self.bytes.into_inner(),
        }
    }
}

fn pack_unreadable(pack: &Pack, why: &str) -> Outage {
    outage(
        "pack-unreadable",
        format!("cannot read the pack {}", printable(pack.bundle.pack.path())),
        why,
        "push again; if it stays, check the disk",
    )
}
