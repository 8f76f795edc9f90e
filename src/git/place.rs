//! Path and commit of objects that the push brought and in which something was found.
//!
//! First the new commits in their order, each tree once: the first commit that
//! has the object names the place. This is bounded; what it does not reach, and
//! what no new commit has, gets its place from the reverse map of the pass.

use super::body::{CommitHead, EntryKind, tree_entries};
use super::introduced::{join, place_of};
use super::quarantine::{Quarantine, Read};
use super::store::oid_of;
use super::traverse::NOBODY;
use super::{MAX_OBJECT_BYTES, MAX_TREE_DEPTH};
use crate::finding::Place;
use crate::port::Outage;
use crate::push::Oid;
use gix::objs::Kind;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Most trees that are read again to name places: about a second of work.
const MAX_TREES: usize = 10_000;

/// The places of objects, by their positions in the quarantine.
///
/// * `wanted`: their positions and kinds.
/// * `commits`: the new commits, parents before children.
/// * `holders`: the reverse map.
pub(super) fn places(
    quarantine: &Quarantine,
    wanted: &BTreeMap<u32, Kind>,
    commits: &[(Oid, CommitHead)],
    holders: &[u32],
) -> Result<BTreeMap<u32, Place>, Outage> {
    let mut places = BTreeMap::new();
    let mut open = BTreeSet::new();
    for (&at, kind) in wanted {
        let oid = oid_of(quarantine.id(at));
        match kind {
            Kind::Commit | Kind::Tag => drop(places.insert(at, place_of(oid, oid, ""))),
            Kind::Blob | Kind::Tree => drop(open.insert(at)),
        }
    }
    let mut search = Search {
        quarantine,
        open,
        seen: HashSet::new(),
        places,
    };
    for (commit, head) in commits {
        search.commit(*commit, head)?;
    }
    let Search { open, mut places, .. } = search;
    for at in open {
        places.insert(at, by_holders(quarantine, at, holders)?);
    }
    Ok(places)
}

struct Search<'a> {
    quarantine: &'a Quarantine,
    open: BTreeSet<u32>,
    seen: HashSet<u32>,
    places: BTreeMap<u32, Place>,
}

impl Search<'_> {
    fn commit(&mut self, commit: Oid, head: &CommitHead) -> Result<(), Outage> {
        let root = head.tree.and_then(|tree| self.quarantine.position(tree.as_bytes()));
        let mut folders = Vec::new();
        if let Some(root) = root {
            self.found(root, commit, "");
            folders.push((root, String::new(), 0));
        }
        let mut data = Vec::new();
        while let Some((at, path, depth)) = folders.pop() {
            if self.open.is_empty() || self.seen.len() >= MAX_TREES {
                return Ok(());
            }
            if depth > MAX_TREE_DEPTH || !self.seen.insert(at) {
                continue;
            }
            let limit = MAX_OBJECT_BYTES as u64;
            if !matches!(self.quarantine.read(at, limit, &mut data)?, Read::Done(Kind::Tree)) {
                continue;
            }
            for entry in tree_entries(&data, commit.as_bytes().len()) {
                let Some(child) = self.quarantine.position(entry.id) else {
                    continue;
                };
                let tree = entry.kind == EntryKind::Tree;
                if tree && !self.seen.contains(&child) || self.open.contains(&child) {
                    let path = join(&path, entry.name);
                    self.found(child, commit, &path);
                    if tree {
                        folders.push((child, path, depth + 1));
                    }
                }
            }
        }
        Ok(())
    }

    fn found(&mut self, at: u32, commit: Oid, path: &str) {
        if self.open.remove(&at) {
            let oid = oid_of(self.quarantine.id(at));
            self.places.insert(at, place_of(commit, oid, path));
        }
    }
}

/// Climbs the reverse map; ends with what is known where it ends.
fn by_holders(quarantine: &Quarantine, at: u32, holders: &[u32]) -> Result<Place, Outage> {
    let object = oid_of(quarantine.id(at));
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut commit = None;
    let (mut child, mut data) = (at, Vec::new());
    while names.len() <= MAX_TREE_DEPTH {
        let holder = holders.get(child as usize).copied().unwrap_or(NOBODY);
        if holder == NOBODY {
            break;
        }
        match quarantine.read(holder, MAX_OBJECT_BYTES as u64, &mut data)? {
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
