//! Adapter: a Git repository with its quarantine, read by gix.
//!
//! In scope: what a push brought, what becomes newly reachable by it, how old
//! and new relate, where refs stand. Out of scope: judging any of it.
//!
//! Trusts nothing that the pusher controls: ignores replace refs, grafts,
//! shallow and commit-graph files; commit dates order the work and never
//! decide. Takes everything by argument and reads no environment. Opens object
//! and ref store directly, without Git's configuration cascade, since the hook
//! starts within milliseconds.
//!
//! The way of one inspection: `traverse` (all of the quarantine, once); beside it,
//! as soon as the commits are there (`gathered`), `walk` (which of them are new) →
//! `reused` and `introduced` (what of the main store comes with them) → `place`
//! (path and commit of each hit).

mod bases;
mod body;
mod chain;
mod deadline;
mod delta;
mod descend;
mod entry;
mod family;
mod gathered;
mod inspect;
mod introduced;
mod locate;
pub mod notes;
mod place;
mod quarantine;
mod refs;
mod reused;
mod rope;
mod store;
mod traverse;
mod walk;

pub use body::{CommitHead, EntryKind, TreeEntries, TreeEntry, commit_head, tag_target, tree_entries};
pub use delta::{BadDelta, Delta, Step, delta};

use crate::config::Bounds;
use crate::port::{Inspected, Introduced, Object, ObjectVisitor, Outage, Repository};
use crate::push::{Oid, RefName, RefUpdate};
use std::path::Path;

/// Bytes of the largest object that is ever inflated, whatever the bounds say.
pub const MAX_OBJECT_BYTES: usize = 512 << 20;

/// How deep folders may be nested; Git's own default limit (`core.maxTreeDepth`).
const MAX_TREE_DEPTH: usize = 2048;

/// How many threads are meant: 0 = one per core.
fn threads(wanted: usize) -> usize {
    match wanted {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
}

/// A repository as the gate sees it.
pub struct Gate {
    store: store::Store,
    refs: gix::refs::file::Store,
}

impl Gate {
    /// Opens a repository, bare or not.
    ///
    /// * `git_dir`: its Git folder, `.git` file, or work tree.
    /// * `quarantine`: the value of `GIT_QUARANTINE_PATH`, if the hook has one.
    ///
    /// # Errors
    /// `repository-unreadable`, `object-format-unsupported`, `ref-storage-unsupported`,
    /// `object-store-unreadable`, `quarantine-unreadable`, `pack-unreadable`.
    pub fn open(git_dir: &Path, quarantine: Option<&Path>) -> Result<Self, Outage> {
        let layout = locate::Layout::of(git_dir)?;
        let quarantine = quarantine
            .map(|dir| quarantine::Quarantine::open(dir, layout.hash))
            .transpose()?;
        Ok(Self {
            store: store::Store::open(&layout, quarantine)?,
            refs: layout.refs(),
        })
    }

    /// Opens a repository as if a push had brought all of it: [`Gate::survey`] then visits every object of its own
    /// store once (those of its alternates only where its own objects refer to them).
    ///
    /// # Errors
    /// As [`Gate::open`].
    pub fn whole(git_dir: &Path) -> Result<Self, Outage> {
        let layout = locate::Layout::of(git_dir)?;
        Ok(Self {
            store: store::Store::whole(&layout)?,
            refs: layout.refs(),
        })
    }

    /// Visits every object of a repository that was opened by [`Gate::whole`], whether a ref leads to it or not.
    ///
    /// # Errors
    /// `object-missing`, `object-unreadable`, `pack-unreadable`, `deadline-passed`.
    pub fn survey<V: ObjectVisitor>(&self, bounds: &Bounds, visitor: &V) -> Result<Introduced<V::Hit>, Outage> {
        inspect::survey(&self.store, bounds, visitor)
    }

    /// The commits that are reachable from `tips` and not from `known`, parents before children; tags are peeled.
    ///
    /// If commits' dates lie there may be more, never fewer.
    ///
    /// # Errors
    /// `object-missing`, `object-unreadable`.
    pub fn between(&self, tips: &[Oid], known: &[Oid]) -> Result<Vec<Oid>, Outage> {
        inspect::between(&self.store, tips, known)
    }

    /// How many objects an inspection will visit at least.
    pub fn brought(&self) -> u64 {
        self.store.quarantine.as_ref().map_or(0, |own| u64::from(own.len()))
    }

    /// The commit that an id leads to, nested tags peeled; `None` if it leads to a tree or blob.
    ///
    /// # Errors
    /// `object-missing`, `object-unreadable`.
    pub fn peel(&self, oid: Oid) -> Result<Option<Oid>, Outage> {
        self.store.peel(oid).map(|target| target.commit)
    }

    /// Whether `packed-refs` has the ref at `oid` and nobody is changing that file: then a loose ref that goes
    /// moves nothing. Git's `pack-refs` asks the hook about such a removal as if it were a deletion.
    ///
    /// # Errors
    /// `ref-unreadable`.
    pub fn is_packed(&self, name: &RefName, oid: Oid) -> Result<bool, Outage> {
        refs::is_packed(&self.refs, name.as_str(), oid)
    }
}

impl Repository for Gate {
    fn object(&self, oid: Oid) -> Result<Object, Outage> {
        self.store.object(oid)
    }

    fn ref_target(&self, name: &RefName) -> Result<Option<Oid>, Outage> {
        refs::target(&self.refs, name.as_str())
    }

    fn refs(&self, prefix: &str) -> Result<Vec<(RefName, Oid)>, Outage> {
        refs::list(&self.refs, prefix)
    }

    fn inspect<V: ObjectVisitor>(
        &self,
        updates: &[RefUpdate],
        known: &[Vec<Oid>],
        bounds: &Bounds,
        visitor: &V,
    ) -> Result<Inspected<V::Hit>, Outage> {
        inspect::inspect(&self.store, updates, known, bounds, visitor)
    }

    fn introduced<V: ObjectVisitor>(
        &self,
        commits: &[Oid],
        bounds: &Bounds,
        visitor: &V,
    ) -> Result<Introduced<V::Hit>, Outage> {
        inspect::introduced(&self.store, commits, bounds, visitor)
    }
}

fn outage(code: &'static str, what: impl Into<String>, why: impl Into<String>, next: &str) -> Outage {
    Outage {
        code,
        what: what.into(),
        why: why.into(),
        next: next.to_owned(),
    }
}

fn object_unreadable(place: &Path, id: &gix::oid, why: &dyn std::fmt::Display) -> Outage {
    outage(
        "object-unreadable",
        format!("cannot read object {id} in {}", printable(place)),
        why.to_string(),
        "check the repository with git fsck",
    )
}

/// A path for a message: nothing in it can steer a terminal.
fn printable(path: &Path) -> String {
    let mut text = String::new();
    body::push_printable(&mut text, path.as_os_str().as_encoded_bytes());
    text
}
