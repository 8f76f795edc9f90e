//! Objects that were in the store before and that new commits take up again.
//!
//! Whoever pushes need not send what the server has. So a new commit can bring
//! to a ref a blob that no commit of that ref ever had, and that is in no
//! quarantine. In scope: of all that the new trees refer to and the push did
//! not bring, what the trees of the new commits' old parents do not account
//! for. It may be more than what is really new (a revert takes up an object of
//! old), never less. Out of scope: visiting it (`introduced`).

use super::MAX_OBJECT_BYTES;
use super::body::{EntryKind, tree_entries};
use super::deadline::Deadline;
use super::quarantine::{Quarantine, Read, Reader};
use super::store::{Store, oid_from, oid_of};
use super::traverse::NOBODY;
use crate::port::Outage;
use crate::push::Oid;
use gix::objs::Kind;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

/// The objects at the end of each pack that the main store has too: there Git
/// appends the bases that a thin pack lacks. Their positions.
pub(super) fn appended(store: &Store, deadline: &Deadline) -> Result<HashSet<u32>, Outage> {
    let mut appended = HashSet::new();
    let Some(quarantine) = &store.quarantine else {
        return Ok(appended);
    };
    for pack in &quarantine.packs {
        let mut at: Vec<u32> = (pack.first..pack.first + pack.len()).collect();
        at.sort_unstable_by_key(|&at| Reverse(pack.bundle.index.pack_offset_at_index(at - pack.first)));
        for at in at {
            deadline.check()?;
            if !store.in_main(oid_of(quarantine.id(at))) {
                break;
            }
            appended.insert(at);
        }
    }
    Ok(appended)
}

/// What the new trees refer to outside the quarantine, and whether a parent's tree has it.
pub(super) struct Outside {
    accounted: HashMap<Oid, bool>,
    open: usize,
}

impl Outside {
    pub(super) fn new(ids: HashSet<Oid>) -> Self {
        Self {
            open: ids.len(),
            accounted: ids.into_iter().map(|oid| (oid, false)).collect(),
        }
    }

    /// Adds what appended trees refer to, if anything that was pushed refers to them.
    ///
    /// A base that nothing refers to is there for its bytes only: what it holds is no part of the push.
    pub(super) fn add_held(
        &mut self,
        quarantine: &Quarantine,
        appended: &HashSet<u32>,
        holders: &[u32],
    ) -> Result<(), Outage> {
        let (mut data, mut reader) = (Vec::new(), Reader::default());
        for &at in appended {
            if holders.get(at as usize).is_none_or(|&holder| holder == NOBODY) {
                continue;
            }
            if let Read::Done(Kind::Tree) = quarantine.read_next(at, &mut data, &mut reader)? {
                let entries = tree_entries(&data, quarantine.id(at).as_bytes().len());
                let ours = entries.filter(|e| e.kind != EntryKind::Submodule && quarantine.position(e.id).is_none());
                for entry in ours {
                    if self.accounted.insert(oid_from(entry.id), false).is_none() {
                        self.open += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Ticks off what the trees of `parents` have, until all is ticked off.
    ///
    /// Folders that are taken up whole come last: mostly no look inside is needed.
    pub(super) fn account(&mut self, store: &Store, parents: &[Oid], deadline: &Deadline) -> Result<(), Outage> {
        let mut seen = HashSet::new();
        let mut data = Vec::new();
        let (mut trees, mut whole) = (Vec::new(), Vec::new());
        for &parent in parents {
            trees.extend(store.commit(parent, &mut data)?.tree);
        }
        // From the end: the latest parent has most of it.
        trees.reverse();
        while self.open > 0
            && let Some((tree, inside)) = trees.pop().map(|t| (t, false)).or_else(|| Some((whole.pop()?, true)))
        {
            deadline.check()?;
            if !inside && self.tick(tree) {
                whole.push(tree);
                continue;
            }
            if !seen.insert(tree) {
                continue;
            }
            let read = store.find(tree, MAX_OBJECT_BYTES as u64, &mut data)?;
            if !matches!(read.ok_or_else(|| store.missing(tree))?, Read::Done(Kind::Tree)) {
                continue;
            }
            for entry in tree_entries(&data, tree.as_bytes().len()) {
                match entry.kind {
                    EntryKind::Tree => trees.push(oid_from(entry.id)),
                    EntryKind::Blob => drop(self.tick(oid_from(entry.id))),
                    EntryKind::Submodule => {}
                }
            }
        }
        Ok(())
    }

    /// Ticks an object off; `true` if the new trees refer to it.
    fn tick(&mut self, oid: Oid) -> bool {
        let Some(accounted) = self.accounted.get_mut(&oid) else {
            return false;
        };
        self.open -= usize::from(!*accounted);
        *accounted = true;
        true
    }

    /// Whether a parent's tree has it.
    pub(super) fn is_accounted(&self, oid: Oid) -> bool {
        self.accounted.get(&oid) == Some(&true)
    }

    /// What no parent's tree has, sorted.
    pub(super) fn rest(&self) -> Vec<Oid> {
        let open = self.accounted.iter().filter(|(_, accounted)| !**accounted);
        let mut rest: Vec<Oid> = open.map(|(oid, _)| *oid).collect();
        rest.sort_unstable();
        rest
    }
}
