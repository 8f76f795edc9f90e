//! Path and commit of objects that the push brought and in which something was found.
//!
//! First the new commits in their order, each tree once: the first commit that
//! has the object names the place. This is bounded; what it does not reach, and
//! what no new commit has, gets its place from the reverse map of the pass: then
//! the path is right and the commit has the object, but need not be the first.

use super::MAX_TREE_DEPTH;
use super::body::{CommitHead, EntryKind, tree_entries};
use super::introduced::{join, place_of};
use super::quarantine::{Quarantine, Read, Reader};
use super::store::{oid_from, oid_of};
use super::traverse::NOBODY;
use crate::finding::Place;
use crate::port::Outage;
use crate::push::Oid;
use gix::objs::Kind;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Most trees that are read again to name places: about 40 ms of work.
const MAX_TREES: usize = 500;

/// The places of objects.
///
/// * `wanted`: the objects and their kinds; those outside the quarantine as the new trees refer to them.
/// * `commits`: the new commits, parents before children.
/// * `holders`: the reverse map.
pub(super) fn places(
    quarantine: &Quarantine,
    wanted: &BTreeMap<Oid, Kind>,
    commits: &[(Oid, CommitHead)],
    holders: &[u32],
) -> Result<BTreeMap<Oid, Place>, Outage> {
    let mut places = BTreeMap::new();
    let mut open = BTreeSet::new();
    for (&oid, kind) in wanted {
        match kind {
            Kind::Commit | Kind::Tag => drop(places.insert(oid, place_of(oid, oid, ""))),
            Kind::Blob | Kind::Tree => drop(open.insert(oid)),
        }
    }
    let mut search = Search {
        quarantine,
        reader: Reader::default(),
        open,
        seen: HashSet::new(),
        places,
    };
    for (commit, head) in commits {
        search.commit(*commit, head)?;
    }
    for oid in std::mem::take(&mut search.open) {
        let place = search.by_holders(oid, holders)?;
        search.places.insert(oid, place);
    }
    Ok(search.places)
}

struct Search<'a> {
    quarantine: &'a Quarantine,
    reader: Reader,
    open: BTreeSet<Oid>,
    seen: HashSet<u32>,
    places: BTreeMap<Oid, Place>,
}

impl Search<'_> {
    fn commit(&mut self, commit: Oid, head: &CommitHead) -> Result<(), Outage> {
        let Some(root) = head.tree else { return Ok(()) };
        self.found(root, commit, "");
        let root = self.quarantine.position(root.as_bytes());
        let mut folders: Vec<_> = root.into_iter().map(|at| (at, String::new(), 0)).collect();
        let mut data = Vec::new();
        while let Some((at, path, depth)) = folders.pop() {
            if self.open.is_empty() || self.seen.len() >= MAX_TREES {
                return Ok(());
            }
            if depth > MAX_TREE_DEPTH || !self.seen.insert(at) {
                continue;
            }
            let read = self.quarantine.read_next(at, &mut data, &mut self.reader)?;
            if !matches!(read, Read::Done(Kind::Tree)) {
                continue;
            }
            for entry in tree_entries(&data, commit.as_bytes().len()) {
                let oid = oid_from(entry.id);
                let unseen = match entry.kind {
                    EntryKind::Tree => self.quarantine.position(entry.id),
                    EntryKind::Blob | EntryKind::Submodule => None,
                };
                let unseen = unseen.filter(|child| !self.seen.contains(child));
                if unseen.is_some() || self.open.contains(&oid) {
                    let path = join(&path, entry.name);
                    self.found(oid, commit, &path);
                    folders.extend(unseen.map(|child| (child, path, depth + 1)));
                }
            }
        }
        Ok(())
    }

    fn found(&mut self, oid: Oid, commit: Oid, path: &str) {
        if self.open.remove(&oid) {
            self.places.insert(oid, place_of(commit, oid, path));
        }
    }

    /// Climbs the reverse map; ends with what is known where it ends.
    fn by_holders(&mut self, object: Oid, holders: &[u32]) -> Result<Place, Outage> {
        let quarantine = self.quarantine;
        let Some(at) = quarantine.position(object.as_bytes()) else {
            return Ok(Place {
                object: Some(object),
                ..Place::default()
            });
        };
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut commit = None;
        let (mut child, mut data) = (at, Vec::new());
        while names.len() <= MAX_TREE_DEPTH {
            let holder = holders.get(child as usize).copied().unwrap_or(NOBODY);
            if holder == NOBODY {
                break;
            }
            match quarantine.read_next(holder, &mut data, &mut self.reader)? {
                Read::Done(Kind::Commit) => {
                    commit = Some(oid_of(quarantine.id(holder)));
                    break;
                }
                Read::Done(Kind::Tree) => {
                    let id = quarantine.id(child).as_bytes();
                    let entry = tree_entries(&data, id.len()).find(|e| e.id == id);
                    names.extend(entry.map(|e| e.name.to_vec()));
                }
                _ => break,
            }
            child = holder;
        }
        let path = names.iter().rev().fold(String::new(), |path, name| join(&path, name));
        Ok(Place {
            commit,
            object: Some(object),
            path: (!path.is_empty()).then_some(path),
            ..Place::default()
        })
    }
}
