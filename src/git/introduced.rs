//! What commits that were in the store before bring to a ref that did not have them.
//!
//! In scope: the commit object, and every tree and blob that its tree has and
//! its parents' trees do not have at the same path; each object once, parents'
//! commits first. Whole commits are read along the deltas of the packs
//! (`chain`), their blobs by all threads. Out of scope: which commits those
//! are (`walk`).

use super::body::{CommitHead, EntryKind, TreeEntries, TreeEntry, push_printable, tree_entries};
use super::chain::{Chains, Made};
use super::deadline::Deadline;
use super::quarantine::Read;
use super::store::{Store, kind_of, oid_from};
use super::{MAX_TREE_DEPTH, inspect::Limits, reused::Outside};
use crate::finding::Place;
use crate::port::{ObjectVisitor, Outage};
use crate::push::Oid;
use gix::objs::Kind;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Up to this many blobs, starting threads costs more than it saves.
const FEW: usize = 256;
/// Bytes of two trees that are compared at once.
const BLOCK: usize = 64;
/// This many blobs wait at most, so that their places do not fill the memory.
const MAX_WAITING: usize = 1 << 16;

/// Visits what in-store commits introduce.
pub(super) struct Introduced<'a, V: ObjectVisitor> {
    store: &'a Store,
    visitor: &'a V,
    limits: Limits,
    deadline: &'a Deadline,
    /// What reads along deltas and on how many threads, if there are whole commits to visit.
    along: Option<(Chains<'a, V>, usize)>,
    /// Blobs that are looked at later, by all threads.
    waiting: Vec<(Oid, Place)>,
    /// The trees of the commits that were visited, for those that stand on them.
    roots: HashMap<Oid, Oid>,
    /// Buffers to be used again: trees are many and large.
    spare: Vec<Vec<u8>>,
    visited: HashSet<Oid>,
    pub(super) hits: Vec<(Place, V::Hit)>,
    pub(super) bounds: Vec<(String, Place)>,
    pub(super) objects: u64,
    pub(super) bytes: u64,
    full: bool,
}

/// What one thread has seen of the blobs that waited.
struct Seen<H> {
    hits: Vec<(Place, H)>,
    objects: u64,
    bytes: u64,
    /// What is in no pack that it could read.
    elsewhere: Vec<(Oid, Place)>,
}

/// A folder to compare with the folders of the same path in the parents.
struct Folder {
    tree: Oid,
    before: Vec<Oid>,
    path: String,
    depth: usize,
}

impl<'a, V: ObjectVisitor> Introduced<'a, V> {
    /// * `objects`, `bytes`: what the visitor has seen so far; the bound on objects counts both.
    pub(super) fn new(
        store: &'a Store,
        visitor: &'a V,
        limits: Limits,
        deadline: &'a Deadline,
        (objects, bytes): (u64, u64),
    ) -> Self {
        Self {
            store,
            visitor,
            limits,
            deadline,
            along: None,
            waiting: Vec::new(),
            roots: HashMap::new(),
            spare: Vec::new(),
            visited: HashSet::new(),
            hits: Vec::new(),
            bounds: Vec::new(),
            objects,
            bytes,
            full: false,
        }
    }

    /// Reads along deltas from here on, and looks at blobs on several threads; [`Self::finish`] must follow.
    ///
    /// * `threads`: 0 = one per core.
    pub(super) fn along_deltas(&mut self, threads: usize) {
        let threads = super::threads(threads);
        let chains = Chains::new(self.store.packs(), self.visitor, self.limits.object_bytes);
        self.along = Some((chains, threads));
    }

    /// Visits what one commit introduces.
    pub(super) fn commit(&mut self, oid: Oid) -> Result<(), Outage> {
        let head = self.head(oid)?;
        let place = Place {
            commit: Some(oid),
            object: Some(oid),
            ..Place::default()
        };
        self.visit(oid, place)?;
        let Some(tree) = head.tree else { return Ok(()) };
        self.roots.insert(oid, tree);
        let mut before = Vec::new();
        for &parent in &head.parents {
            if let Some(&tree) = self.roots.get(&parent) {
                before.push(tree);
                continue;
            }
            // A shallow clone ends before some: then more is looked at, not less.
            if self.store.packs().has(parent) || self.store.has(parent)? {
                before.extend(self.head(parent)?.tree);
            }
        }
        if before.contains(&tree) {
            return Ok(());
        }
        let mut folders = vec![Folder {
            tree,
            before,
            path: String::new(),
            depth: 0,
        }];
        while let Some(folder) = folders.pop() {
            if self.full {
                break;
            }
            self.folder(oid, &folder, &mut folders)?;
        }
        Ok(())
    }

    /// Visits an in-store object that new commits take up, and all below it, but for what their parents have.
    ///
    /// The place of each hit has no commit yet, and its path starts below `root`. What is nowhere is
    /// left out: Git has made sure of what refs lead to, and anything else may refer to nothing.
    pub(super) fn reused(&mut self, root: Oid, outside: &Outside) -> Result<Vec<(Place, V::Hit)>, Outage> {
        let earlier = self.hits.len();
        let mut waiting = vec![(root, String::new(), 0)];
        let mut data = Vec::new();
        while let Some((oid, path, depth)) = waiting.pop() {
            self.deadline.check()?;
            let place = Place {
                object: Some(oid),
                path: (!path.is_empty()).then(|| path.clone()),
                ..Place::default()
            };
            if depth > MAX_TREE_DEPTH {
                self.bounds.push(("tree-too-deep".into(), place));
                continue;
            }
            if !self.store.has(oid)? || !self.visit(oid, place)? {
                continue;
            }
            let read = self.store.find(oid, self.limits.object_bytes, &mut data)?;
            if !matches!(read, Some(Read::Done(Kind::Tree))) {
                continue;
            }
            for entry in tree_entries(&data, oid.as_bytes().len()) {
                let child = oid_from(entry.id);
                if entry.kind != EntryKind::Submodule && !outside.is_accounted(child) {
                    waiting.push((child, join(&path, entry.name), depth + 1));
                }
            }
        }
        Ok(self.hits.split_off(earlier))
    }

    fn folder(&mut self, commit: Oid, folder: &Folder, folders: &mut Vec<Folder>) -> Result<(), Outage> {
        self.deadline.check()?;
        let place = place_of(commit, folder.tree, &folder.path);
        if folder.depth > MAX_TREE_DEPTH {
            self.bounds.push(("tree-too-deep".into(), place));
            return Ok(());
        }
        if !self.visit(folder.tree, place)? {
            return Ok(());
        }
        let id_len = folder.tree.as_bytes().len();
        let (data, made) = self.tree(folder.tree)?;
        let starts = made.as_ref().map_or(&[][..], |made| made.starts());
        let mut trees = Vec::with_capacity(folder.before.len());
        for &id in &folder.before {
            trees.push(self.tree(id)?.0);
        }
        let mut earlier: Vec<_> = trees.iter().map(|tree| tree_entries(tree, id_len)).collect();
        let mut entries = tree_entries(&data, id_len);
        loop {
            skip_run(&mut entries, &mut earlier, starts, data.len());
            let rest = entries.rest();
            let Some(entry) = entries.next() else { break };
            let bytes = &rest[..rest.len() - entries.left()];
            let skipped = earlier
                .iter_mut()
                .filter_map(|tree| tree.skip(bytes).then_some(()))
                .count();
            if skipped > 0 || entry.kind == EntryKind::Submodule {
                continue;
            }
            let mut known = false;
            let mut before = Vec::new();
            for old in earlier.iter_mut().filter_map(|tree| same_name(tree, &entry)) {
                known |= (old.kind, old.id) == (entry.kind, entry.id);
                before.extend((old.kind == EntryKind::Tree).then(|| oid_from(old.id)));
            }
            if known {
                continue;
            }
            let (oid, path) = (oid_from(entry.id), join(&folder.path, entry.name));
            if entry.kind == EntryKind::Blob {
                self.blob(oid, place_of(commit, oid, &path))?;
                continue;
            }
            folders.push(Folder {
                tree: oid,
                before,
                path,
                depth: folder.depth + 1,
            });
        }
        self.spare.push(data);
        self.spare.extend(trees);
        Ok(())
    }

    fn head(&mut self, oid: Oid) -> Result<CommitHead, Outage> {
        match self.along.as_mut().and_then(|(chains, _)| chains.commit(oid)) {
            Some(head) => Ok(head),
            None => self.store.commit(oid, &mut Vec::new()),
        }
    }

    /// A tree's bytes, and what else is known of it.
    fn tree(&mut self, oid: Oid) -> Result<(Vec<u8>, Option<Rc<Made<'a>>>), Outage> {
        let mut data = self.spare.pop().unwrap_or_default();
        data.clear();
        let made = self.along.as_mut().and_then(|(chains, _)| chains.read(oid));
        let made = made.filter(|made| made.kind == Kind::Tree);
        match &made {
            Some(made) => made.rope.read(0..made.rope.len(), &mut data),
            None => self.store.tree(oid, &mut data)?,
        }
        Ok((data, made))
    }

    /// Shows a blob to the visitor, now or with others later.
    fn blob(&mut self, oid: Oid, place: Place) -> Result<(), Outage> {
        if self.along.is_none() {
            return self.visit(oid, place).map(drop);
        }
        if self.claim(oid, &place) == Some(true) {
            self.waiting.push((oid, place));
        }
        if self.waiting.len() < MAX_WAITING {
            return Ok(());
        }
        self.finish()
    }

    /// Looks at the blobs that wait, on all cores if they are many.
    pub(super) fn finish(&mut self) -> Result<(), Outage> {
        let mut waiting = std::mem::take(&mut self.waiting);
        // The versions of a file are mostly made from each other: one thread has them all.
        waiting.sort_by(|a, b| a.1.path.cmp(&b.1.path));
        let files: Vec<_> = waiting.chunk_by(|a, b| a.1.path == b.1.path).collect();
        let threads = self.along.as_ref().map_or(1, |(_, threads)| *threads);
        let threads = if waiting.len() > FEW { threads } else { 1 };
        let (store, visitor, limit, deadline) = (
            self.store.packs(),
            self.visitor,
            self.limits.object_bytes,
            self.deadline,
        );
        let next = AtomicUsize::new(0);
        let work = || {
            let mut chains = Chains::new(store, visitor, limit);
            let mut seen = Seen::default();
            while let Some(versions) = files.get(next.fetch_add(1, Relaxed)) {
                // Git makes the older versions from the newer ones: these are looked at whole, those by what differs.
                for (oid, place) in versions.iter().rev() {
                    deadline.check()?;
                    seen.blob(&mut chains, *oid, place);
                }
            }
            Ok(seen)
        };
        let all = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut all = vec![work()];
            all.extend(
                others
                    .into_iter()
                    .map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            );
            all
        });
        for seen in all {
            let seen: Seen<V::Hit> = seen?;
            self.objects += seen.objects;
            self.bytes += seen.bytes;
            self.hits.extend(seen.hits);
            for (oid, place) in seen.elsewhere {
                self.look_up(oid, place)?;
            }
        }
        Ok(())
    }

    /// Shows an object to the visitor unless it has seen it; `false` if this walk has been at it before.
    fn visit(&mut self, oid: Oid, place: Place) -> Result<bool, Outage> {
        let Some(unseen) = self.claim(oid, &place) else {
            return Ok(false);
        };
        if !unseen {
            return Ok(true);
        }
        let Some((made, hits)) = self.along.as_mut().and_then(|(chains, _)| chains.show(oid)) else {
            return self.look_up(oid, place);
        };
        self.objects += 1;
        self.bytes += made.rope.len() as u64;
        self.hits.extend(hits.into_iter().map(|hit| (place.clone(), hit)));
        Ok(true)
    }

    /// Whether the visitor has yet to see an object; `None` if this walk has been at it before, or is full.
    ///
    /// What the push brought the visitor has seen in the first pass.
    fn claim(&mut self, oid: Oid, place: &Place) -> Option<bool> {
        if self.full || !self.visited.insert(oid) {
            return None;
        }
        if self.store.position(oid.as_bytes()).is_some() {
            return Some(false);
        }
        if self.objects + self.waiting.len() as u64 >= self.limits.objects {
            self.full = true;
            self.bounds.push(("too-many-objects".into(), place.clone()));
            return None;
        }
        Some(true)
    }

    /// Reads an object whole and shows it to the visitor; `false` if it is too large.
    fn look_up(&mut self, oid: Oid, place: Place) -> Result<bool, Outage> {
        let mut data = Vec::new();
        let read = self.store.find(oid, self.limits.object_bytes, &mut data)?;
        match read.ok_or_else(|| self.store.missing(oid))? {
            Read::TooLarge(_) => {
                self.bounds.push(("object-too-large".into(), place));
                return Ok(false);
            }
            Read::Done(kind) => {
                self.objects += 1;
                self.bytes += data.len() as u64;
                if self.visitor.is_known(oid, data.len() as u64) {
                    return Ok(true);
                }
                let looked = self.visitor.visit(oid, kind_of(kind), &data);
                self.hits
                    .extend(looked.hits.into_iter().map(|hit| (place.clone(), hit)));
            }
        }
        Ok(true)
    }
}

impl<H> Default for Seen<H> {
    fn default() -> Self {
        Self {
            hits: Vec::new(),
            objects: 0,
            bytes: 0,
            elsewhere: Vec::new(),
        }
    }
}

impl<H> Seen<H> {
    fn blob<V: ObjectVisitor<Hit = H>>(&mut self, chains: &mut Chains<'_, V>, oid: Oid, place: &Place) {
        let Some((made, hits)) = chains.show(oid) else {
            return self.elsewhere.push((oid, place.clone()));
        };
        self.objects += 1;
        self.bytes += made.rope.len() as u64;
        self.hits.extend(hits.into_iter().map(|hit| (place.clone(), hit)));
    }
}

/// Goes on behind the entries that come next in one of the earlier trees byte for byte: nearly all of a tree stands in
/// its parents' as it is.
///
/// * `starts`: where the entries of a tree of `len` bytes start; nothing is skipped if that is not known.
fn skip_run(entries: &mut TreeEntries<'_>, earlier: &mut [TreeEntries<'_>], starts: &[u32], len: usize) {
    if starts.is_empty() {
        return;
    }
    let rest = entries.rest();
    let at = len - rest.len();
    for old in earlier {
        let same = common(rest, old.rest());
        let last = starts.partition_point(|start| *start as usize <= at + same);
        let end = starts[..last].last().map_or(at, |start| *start as usize);
        let run = &rest[..end.saturating_sub(at)];
        old.skip(run);
        // One that had fewer of them finds the others by their names.
        let more = run.get(rest.len() - entries.left()..).unwrap_or_default();
        entries.skip(more);
    }
}

/// How many bytes two texts have in common at their beginning.
fn common(a: &[u8], b: &[u8]) -> usize {
    let (a_blocks, _) = a.as_chunks::<BLOCK>();
    let (b_blocks, _) = b.as_chunks::<BLOCK>();
    let blocks = a_blocks.iter().zip(b_blocks).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[blocks * BLOCK..], &b[blocks * BLOCK..]);
    blocks * BLOCK + a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// The entry of a tree that has the name and kind of order of another; entries are asked for in their order.
///
/// A tree that is not in order, which Git refuses, may seem not to have it: then more is looked at, not less.
fn same_name<'t>(tree: &mut TreeEntries<'t>, entry: &TreeEntry) -> Option<TreeEntry<'t>> {
    loop {
        let mut rest = tree.clone();
        let old = rest.next()?;
        if !before(&old, entry) {
            let same = old.name == entry.name && !before(entry, &old);
            return same.then(|| {
                *tree = rest;
                old
            });
        }
        *tree = rest;
    }
}

/// Whether an entry stands before another: folders as if their names ended in a slash.
/// <https://git-scm.com/docs/git-fsck#_fsck_messages> (`treeNotSorted`)
fn before(a: &TreeEntry, b: &TreeEntry) -> bool {
    let common = a.name.len().min(b.name.len());
    let next = |entry: &TreeEntry| match entry.name.get(common) {
        Some(byte) => *byte,
        None if entry.kind == EntryKind::Tree => b'/',
        None => 0,
    };
    (&a.name[..common], next(a)) < (&b.name[..common], next(b))
}

pub(super) fn place_of(commit: Oid, object: Oid, path: &str) -> Place {
    Place {
        commit: Some(commit),
        object: Some(object),
        path: (!path.is_empty()).then(|| path.to_owned()),
        ..Place::default()
    }
}

pub(super) fn join(folder: &str, name: &[u8]) -> String {
    let mut path = folder.to_owned();
    if !path.is_empty() {
        path.push('/');
    }
    push_printable(&mut path, name);
    path
}
