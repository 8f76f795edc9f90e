//! What a repository does: objects, refs, and who looks at each new object.

use super::Outage;
use crate::config::Bounds;
use crate::facts::{Ancestry, Fact};
use crate::finding::Place;
use crate::object::ObjectKind;
use crate::push::{Oid, RefName, RefUpdate};

/// An object's kind and its inflated content, without the `commit 123\0` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its content.
    pub data: Vec<u8>,
}

/// What a look at a whole object gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked<H> {
    /// What is in it: matches that want a place (path and commit).
    pub hits: Vec<H>,
    /// Whether there is nothing in it that reaches far: then of an object that is made from it only the changed
    /// parts need a look ([`ObjectVisitor::clean_part`], [`ObjectVisitor::clean_name`]).
    pub plain: bool,
}

/// Part of a text: whole lines, or the text's first or last bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Whether it begins where the text does.
    pub first: bool,
    /// Whether it ends where the text does.
    pub last: bool,
}

/// Sees each new object once, from several threads, while the store is traversed.
///
/// Most objects of a push are older ones with a few lines changed. If what an object is made from was plain, the
/// visitor is asked about the changed parts first, and sees the whole object only if it does not call all of
/// them clean.
pub trait ObjectVisitor: Sync {
    /// What a visited object yields.
    type Hit: Send;

    /// Looks at one object's whole content; cheap when nothing is in it.
    fn visit(&self, oid: Oid, kind: ObjectKind, data: &[u8]) -> Looked<Self::Hit>;

    /// Bytes round a change that its look needs, before they are extended to whole lines.
    fn margin(&self) -> usize {
        0
    }

    /// Whether a changed part of a blob, with [`ObjectVisitor::margin`] bytes on either side, has nothing in it.
    fn clean_part(&self, _part: Part<'_>) -> bool {
        false
    }

    /// Whether there is nothing in a name that a changed tree gives to an entry.
    fn clean_name(&self, _name: &[u8]) -> bool {
        false
    }

    /// Whether an earlier look, under the same rules, found an object of so many bytes plain; then it is not shown.
    /// Asked only about objects that were in the store before.
    fn is_known(&self, _oid: Oid, _bytes: u64) -> bool {
        false
    }

    /// Says that an object of so many bytes was found plain by its parts.
    fn passed(&self, _oid: Oid, _bytes: u64) {}
}

/// What objects were found to be by earlier looks under the same rules. An object's id names its content, so what
/// was found once stays true.
pub trait Verdicts: Sync {
    /// Whether an object is known to be plain ([`Looked::plain`]). What is not known, or cannot be read, is not.
    fn is_plain(&self, oid: Oid) -> bool;

    /// Notes that a look found an object plain.
    fn note(&self, oid: Oid);
}

/// One commit that becomes newly reachable, as raw bytes for the strict reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommit {
    /// Its id.
    pub oid: Oid,
    /// Its content.
    pub data: Vec<u8>,
    /// Whether the push brought it.
    pub in_quarantine: bool,
}

/// What an inspection learned about one ref update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedUpdate {
    /// How new relates to old.
    pub ancestry: Fact<Ancestry>,
    /// Indices into [`Inspected::commits`], newly reachable from this ref.
    pub commits: Fact<Vec<u32>>,
    /// The tag object (id, content) that the new id names, if it names one.
    pub tag: Option<(Oid, Vec<u8>)>,
    /// The commit that the new id names, tags peeled.
    pub commit: Option<Oid>,
    /// Its tree.
    pub tree: Option<Oid>,
}

/// What an inspection of one push learned.
#[derive(Debug)]
pub struct Inspected<H> {
    /// Newly reachable commits, each once, parents before children (ties by id).
    pub commits: Vec<NewCommit>,
    /// One per ref update.
    pub updates: Vec<InspectedUpdate>,
    /// What the visitor found, each with its place; sorted by place.
    pub hits: Vec<(Place, H)>,
    /// Objects visited.
    pub objects: u64,
    /// Bytes visited.
    pub bytes: u64,
    /// Bounds that were hit: kebab-case code and place.
    pub bounds: Vec<(String, Place)>,
}

/// What a visit of introduced objects found.
#[derive(Debug)]
pub struct Introduced<H> {
    /// What the visitor found, each with its place; sorted by place.
    pub hits: Vec<(Place, H)>,
    /// Objects visited.
    pub objects: u64,
    /// Bytes visited.
    pub bytes: u64,
    /// Bounds that were hit: kebab-case code and place.
    pub bounds: Vec<(String, Place)>,
}

/// A Git repository, quarantine included. Ignores replace refs, grafts, shallow and commit-graph files.
pub trait Repository {
    /// Reads an object from the quarantine or the main store.
    ///
    /// # Errors
    /// `object-missing`, `object-unreadable`, `object-too-large` as an [`Outage`].
    fn object(&self, oid: Oid) -> Result<Object, Outage>;

    /// Where a ref stands, symbolic refs followed; `None` if it does not exist.
    ///
    /// # Errors
    /// `ref-unreadable`.
    fn ref_target(&self, name: &RefName) -> Result<Option<Oid>, Outage>;

    /// Refs below a prefix, such as `refs/heads/`, with the ids where they stand. Names that are no [`RefName`]
    /// are left out: the policy cannot name them.
    ///
    /// # Errors
    /// `ref-unreadable`.
    fn refs(&self, prefix: &str) -> Result<Vec<(RefName, Oid)>, Outage>;

    /// Traverses all that the push brought, and walks all that becomes newly reachable.
    ///
    /// * `updates`: the ref updates.
    /// * `known`: for each update, commits whose history entered before under requirements at least as strict.
    ///   A commit reachable from these or from the update's `old` is not newly reachable.
    /// * `visitor`: sees every object of the quarantine once, reachable or not.
    ///
    /// # Errors
    /// `pack-unreadable`, `object-missing`, `deadline-passed`: nothing is known then. Bounds that are hit are
    /// in [`Inspected::bounds`].
    fn inspect<V: ObjectVisitor>(
        &self,
        updates: &[RefUpdate],
        known: &[Vec<Oid>],
        bounds: &Bounds,
        visitor: &V,
    ) -> Result<Inspected<V::Hit>, Outage>;

    /// Visits what commits of the main store introduce: the commit, and each tree and blob that its tree has
    /// and its parents' trees do not have. For history that is newly reachable without being new.
    ///
    /// # Errors
    /// As for [`Repository::inspect`]. Bounds that are hit are in [`Introduced::bounds`].
    fn introduced<V: ObjectVisitor>(
        &self,
        commits: &[Oid],
        bounds: &Bounds,
        visitor: &V,
    ) -> Result<Introduced<V::Hit>, Outage>;
}
