//! What commits that were in the store before bring to a ref that did not have them.
//!
//! In scope: the commit object, and every tree and blob that its tree has and
//! its parents' trees do not have at the same path; each object once, parents'
//! commits first. Out of scope: which commits those are (`walk`).

use super::body::{CommitHead, EntryKind, TreeEntries, TreeEntry, push_printable, tree_entries};
use super::deadline::Deadline;
use super::quarantine::Read;
use super::store::{Store, kind_of, oid_from};
use super::{MAX_TREE_DEPTH, inspect::Limits, reused::Outside};
use crate::finding::Place;
use crate::port::{ObjectVisitor, Outage};
use crate::push::Oid;
use gix::objs::Kind;
use std::collections::HashSet;
use std::iter::Peekable;

/// Visits what in-store commits introduce.
pub(super) struct Introduced<'a, V: ObjectVisitor> {
    store: &'a Store,
    visitor: &'a V,
    limits: Limits,
    deadline: &'a Deadline,
    visited: HashSet<Oid>,
    pub(super) hits: Vec<(Place, V::Hit)>,
    pub(super) bounds: Vec<(String, Place)>,
    pub(super) objects: u64,
    pub(super) bytes: u64,
    full: bool,
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
            visited: HashSet::new(),
            hits: Vec::new(),
            bounds: Vec::new(),
            objects,
            bytes,
            full: false,
        }
    }

    /// Visits what one commit introduces.
    pub(super) fn commit(&mut self, oid: Oid, head: &CommitHead) -> Result<(), Outage> {
        let place = Place {
            commit: Some(oid),
            object: Some(oid),
            ..Place::default()
        };
        self.visit(oid, place)?;
        let Some(tree) = head.tree else { return Ok(()) };
        let mut before = Vec::new();
        for &parent in &head.parents {
            before.extend(self.store.commit(parent, &mut Vec::new())?.tree);
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
        let mut data = Vec::new();
        self.store.tree(folder.tree, &mut data)?;
        let earlier = self.trees(&folder.before)?;
        let mut earlier: Vec<_> = earlier
            .iter()
            .map(|tree| tree_entries(tree, id_len).peekable())
            .collect();
        for entry in tree_entries(&data, id_len).filter(|entry| entry.kind != EntryKind::Submodule) {
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
                self.visit(oid, place_of(commit, oid, &path))?;
                continue;
            }
            folders.push(Folder {
                tree: oid,
                before,
                path,
                depth: folder.depth + 1,
            });
        }
        Ok(())
    }

    fn trees(&self, ids: &[Oid]) -> Result<Vec<Vec<u8>>, Outage> {
        let read = |id: &Oid| {
            let mut data = Vec::new();
            self.store.tree(*id, &mut data).map(|()| data)
        };
        ids.iter().map(read).collect()
    }

    /// Shows an object to the visitor unless it has seen it; `false` if this walk has been at it before.
    ///
    /// What the push brought the visitor has seen in the first pass.
    fn visit(&mut self, oid: Oid, place: Place) -> Result<bool, Outage> {
        if self.full || !self.visited.insert(oid) {
            return Ok(false);
        }
        if self.store.position(oid.as_bytes()).is_some() {
            return Ok(true);
        }
        if self.objects >= self.limits.objects {
            self.full = true;
            self.bounds.push(("too-many-objects".into(), place));
            return Ok(false);
        }
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

/// The entry of a tree that has the name and kind of order of another; entries are asked for in their order.
///
/// A tree that is not in order, which Git refuses, may seem not to have it: then more is looked at, not less.
fn same_name<'t>(tree: &mut Peekable<TreeEntries<'t>>, entry: &TreeEntry) -> Option<TreeEntry<'t>> {
    while tree.next_if(|old| before(old, entry)).is_some() {}
    tree.next_if(|old| old.name == entry.name && !before(entry, old))
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
