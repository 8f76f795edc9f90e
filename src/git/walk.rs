//! Which commits become newly reachable, and how old and new relate.
//!
//! Exact, whatever dates the commits claim. Dates only order the work, so that
//! honest histories cost little:
//!
//! * A push on top of what is known costs one set look-up for each new commit.
//! * Else both sides are painted, newest first, until every commit that waits
//!   is proven to be known ([`Walk::paint`]). What is left unpainted may still
//!   be known if dates lie; if such a commit was in the store before, the
//!   whole history of the known commits settles it ([`Walk::settle`]).

use super::body::CommitHead;
use super::deadline::Deadline;
use super::entry::Unpacker;
use super::gathered::Brought;
use super::store::Store;
use crate::facts::Ancestry;
use crate::port::Outage;
use crate::push::Oid;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

/// Walks the graph of one push.
pub(super) struct Walk<'a> {
    store: &'a Store,
    brought: &'a HashMap<Oid, Brought>,
    known: HashSet<Oid>,
    /// Most commits that may become newly reachable from one ref.
    limit: u64,
    deadline: &'a Deadline,
    history: History,
    /// There in a developer's own repository, whose packs are read directly and whose history may end before a
    /// parent that is not there.
    own: Option<RefCell<Unpacker>>,
}

/// The commits that one ref update makes newly reachable.
pub(super) enum NewCommits {
    /// All of them, in no order.
    Exactly(Vec<Oid>),
    /// There are more than the bound.
    TooMany,
}

/// A set of commits closed under ancestry, as far as it has been walked.
#[derive(Default)]
struct History {
    seen: HashSet<Oid>,
    waiting: Vec<Oid>,
    started: bool,
}

const NEW: u8 = 1;
const KNOWN: u8 = 2;

/// A commit that the painting has come to.
struct Painted {
    flags: u8,
    /// How often it waits in the queue.
    waits: u32,
    head: CommitHead,
}

/// The painting's state.
#[derive(Default)]
struct Canvas {
    nodes: HashMap<Oid, Painted>,
    queue: BinaryHeap<(i64, Oid)>,
    /// Entries in the queue that are not known to be known.
    open: usize,
    /// The earliest time of a commit that was new when it was taken from the queue.
    oldest: Option<i64>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        store: &'a Store,
        brought: &'a HashMap<Oid, Brought>,
        limit: u64,
        deadline: &'a Deadline,
    ) -> Self {
        Self {
            store,
            brought,
            known: HashSet::new(),
            limit,
            deadline,
            history: History::default(),
            own: None,
        }
    }

    /// Says which commits are known from here on; what was learned stays for as long as they are the same.
    pub(super) fn knowing(&mut self, known: &[Oid]) {
        let known = known.iter().copied().filter(|oid| !oid.is_zero()).collect();
        if self.known != known {
            self.known = known;
            self.history = History::default();
        }
    }

    /// The commits reachable from `tip` and from no known commit; `old` counts as known.
    pub(super) fn new_commits(&mut self, tip: Oid, old: Option<Oid>) -> Result<NewCommits, Outage> {
        if let Some(found) = self.brought_only(tip, old)? {
            return Ok(self.bounded(found));
        }
        let roots = self.known_commits(old)?;
        let canvas = self.paint(&[tip], &roots, None)?;
        let unpainted = canvas.nodes.into_iter().filter(|(_, node)| node.flags == NEW);
        let mut suspects: HashSet<Oid> = unpainted.map(|(oid, _)| oid).collect();
        if self.any_in_main(&suspects)? {
            self.settle(&mut suspects, old)?;
        }
        Ok(self.bounded(suspects.into_iter().collect()))
    }

    /// The commits reachable from `tips` and from no known commit; if dates lie, perhaps some that are known, of
    /// which only the whole history would show that. Where a shallow clone ends, history does.
    pub(super) fn unpainted(&mut self, tips: &[Oid]) -> Result<HashSet<Oid>, Outage> {
        self.own = Some(RefCell::default());
        let canvas = self.paint(tips, &self.known_commits(None)?, None)?;
        let unpainted = canvas.nodes.into_iter().filter(|(_, node)| node.flags == NEW);
        Ok(unpainted.map(|(oid, _)| oid).collect())
    }

    fn bounded(&self, found: Vec<Oid>) -> NewCommits {
        if found.len() as u64 > self.limit {
            return NewCommits::TooMany;
        }
        NewCommits::Exactly(found)
    }

    fn is_known(&self, oid: Oid, old: Option<Oid>) -> bool {
        old == Some(oid) || self.known.contains(&oid)
    }

    /// The new commits if all of them came with the push and stand on known ones; else `None`.
    ///
    /// A commit that is not in the main store is no ancestor of a known one,
    /// and neither is any descendant of it. So it suffices to ask the main
    /// store for the lowest commits of the push.
    fn brought_only(&self, tip: Oid, old: Option<Oid>) -> Result<Option<Vec<Oid>>, Outage> {
        let mut seen = HashSet::from([tip]);
        let mut waiting = vec![tip];
        let mut found = Vec::new();
        while let Some(oid) = waiting.pop() {
            self.deadline.check()?;
            if self.is_known(oid, old) {
                continue;
            }
            let Some(commit) = self.brought.get(&oid) else {
                return Ok(None);
            };
            let parents = &commit.head.parents;
            let lowest = !parents.iter().any(|parent| self.brought.contains_key(parent));
            if lowest && self.store.in_main(oid) {
                return Ok(None);
            }
            waiting.extend(parents.iter().copied().filter(|&parent| seen.insert(parent)));
            found.push(oid);
        }
        Ok(Some(found))
    }

    /// The known commits, tags peeled; what is no commit has no history.
    fn known_commits(&self, old: Option<Oid>) -> Result<Vec<Oid>, Outage> {
        let mut commits = Vec::new();
        for &oid in self.known.iter().chain(&old) {
            self.deadline.check()?;
            commits.extend(self.store.peel(oid)?.commit);
        }
        Ok(commits)
    }

    fn head(&self, oid: Oid) -> Result<CommitHead, Outage> {
        if let Some(commit) = self.brought.get(&oid) {
            return Ok(commit.head.clone());
        }
        self.deadline.check()?;
        if let Some(by) = &self.own
            && let Some(head) = self.store.packs().commit(oid, &mut by.borrow_mut())
        {
            return Ok(head);
        }
        self.store.commit(oid, &mut Vec::new())
    }

    /// Whether a shallow clone ends before a commit.
    fn ends_before(&self, oid: Oid) -> Result<bool, Outage> {
        Ok(!self.store.packs().has(oid) && !self.store.has(oid)?)
    }

    /// Paints the history of `tips` new and that of `roots` known until every
    /// commit that waits is known, or until `wanted` is painted new.
    ///
    /// Afterwards every commit reachable from a tip and from no root is
    /// painted new: on the way to it no commit is known, so each was taken
    /// from the queue before the end. This does not depend on dates.
    fn paint(&self, tips: &[Oid], roots: &[Oid], wanted: Option<Oid>) -> Result<Canvas, Outage> {
        let mut canvas = Canvas::default();
        for &root in roots {
            self.touch(&mut canvas, root, KNOWN)?;
        }
        for &tip in tips {
            self.touch(&mut canvas, tip, NEW)?;
        }
        // Whoever does not settle what dates leave open goes on among commits of the same second.
        while canvas.open > 0 || self.own.is_some() && canvas.is_near() {
            self.deadline.check()?;
            if wanted.is_some_and(|oid| canvas.is_new(oid)) {
                break;
            }
            let Some((flags, parents)) = canvas.next() else {
                break;
            };
            for parent in parents {
                if self.own.is_some() && self.ends_before(parent)? {
                    continue;
                }
                self.touch(&mut canvas, parent, flags)?;
            }
        }
        Ok(canvas)
    }

    /// Adds flags to a commit; if that changes it, its parents are due (again).
    fn touch(&self, canvas: &mut Canvas, oid: Oid, flags: u8) -> Result<(), Outage> {
        if let Entry::Vacant(vacant) = canvas.nodes.entry(oid) {
            let head = self.head(oid)?;
            vacant.insert(Painted {
                flags: 0,
                waits: 0,
                head,
            });
        }
        canvas.add(oid, flags);
        Ok(())
    }

    fn any_in_main(&self, commits: &HashSet<Oid>) -> Result<bool, Outage> {
        for &oid in commits {
            self.deadline.check()?;
            if !self.brought.contains_key(&oid) || self.store.in_main(oid) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes from `suspects` all that is in the history of the known commits, walking all of it if need be.
    fn settle(&mut self, suspects: &mut HashSet<Oid>, old: Option<Oid>) -> Result<(), Outage> {
        let mut history = std::mem::take(&mut self.history);
        if !history.started {
            history.started = true;
            history.waiting = self.known_commits(None)?;
        }
        suspects.retain(|oid| !history.seen.contains(oid));
        self.extend(&mut history, None, suspects)?;
        let mut beyond = History::default();
        if let Some(old) = old {
            beyond.waiting.extend(self.store.peel(old)?.commit);
        }
        self.extend(&mut beyond, Some(&history), suspects)?;
        self.history = history;
        Ok(())
    }

    /// Walks on until nothing waits or no suspect is left; does not enter `within`.
    fn extend(
        &self,
        history: &mut History,
        within: Option<&History>,
        suspects: &mut HashSet<Oid>,
    ) -> Result<(), Outage> {
        while !suspects.is_empty() {
            let Some(oid) = history.waiting.pop() else { break };
            if within.is_some_and(|other| other.seen.contains(&oid)) || !history.seen.insert(oid) {
                continue;
            }
            suspects.remove(&oid);
            let parents = self.head(oid)?.parents;
            history
                .waiting
                .extend(parents.into_iter().filter(|parent| !history.seen.contains(parent)));
        }
        Ok(())
    }

    /// Whether `old` is an ancestor of `new`, exactly.
    ///
    /// Commits painted known are ancestors of `old`, so no way to `old` leads
    /// through them: once all that wait are known, `old` is found or is no ancestor.
    pub(super) fn ancestry(&self, old: Oid, new: Oid, found: &NewCommits) -> Result<Ancestry, Outage> {
        let stands_on_old = |oid: &Oid| {
            let commit = self.brought.get(oid);
            commit.is_some_and(|c| c.head.parents.contains(&old))
        };
        let direct = match found {
            NewCommits::Exactly(commits) => commits.iter().any(stands_on_old),
            NewCommits::TooMany => false,
        };
        if old == new || direct || self.paint(&[new], &[old], Some(old))?.is_new(old) {
            return Ok(Ancestry::FastForward);
        }
        Ok(Ancestry::Diverged)
    }

    /// Orders commits so that parents come before children, ties by id.
    pub(super) fn order(&self, commits: &HashSet<Oid>) -> Result<Vec<(Oid, CommitHead)>, Outage> {
        let mut heads = HashMap::new();
        let mut missing: HashMap<Oid, usize> = HashMap::new();
        let mut children: BTreeMap<Oid, Vec<Oid>> = BTreeMap::new();
        for &oid in commits {
            let head = self.head(oid)?;
            let parents: HashSet<Oid> = head.parents.iter().copied().filter(|p| commits.contains(p)).collect();
            missing.insert(oid, parents.len());
            for parent in parents {
                children.entry(parent).or_default().push(oid);
            }
            heads.insert(oid, head);
        }
        let free = missing.iter().filter(|(_, count)| **count == 0);
        let mut ready: BinaryHeap<Reverse<Oid>> = free.map(|(oid, _)| Reverse(*oid)).collect();
        let mut ordered = Vec::with_capacity(commits.len());
        while let Some(Reverse(oid)) = ready.pop() {
            for child in children.remove(&oid).unwrap_or_default() {
                if let Some(count) = missing.get_mut(&child) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(Reverse(child));
                    }
                }
            }
            ordered.extend(heads.remove(&oid).map(|head| (oid, head)));
        }
        Ok(ordered)
    }
}

impl Canvas {
    fn is_new(&self, oid: Oid) -> bool {
        self.nodes.get(&oid).is_some_and(|node| node.flags & NEW != 0)
    }

    /// Whether a commit waits that is no older than each new one, and so may stand on one if dates are true.
    fn is_near(&self) -> bool {
        let newest = self.queue.peek().map(|(seconds, _)| *seconds);
        self.oldest
            .is_some_and(|oldest| newest.is_some_and(|newest| newest >= oldest))
    }

    fn add(&mut self, oid: Oid, flags: u8) {
        let Some(node) = self.nodes.get_mut(&oid) else { return };
        if node.flags & flags == flags {
            return;
        }
        if node.flags & KNOWN == 0 && flags & KNOWN != 0 {
            self.open -= node.waits as usize;
        }
        node.flags |= flags;
        node.waits += 1;
        self.open += usize::from(node.flags & KNOWN == 0);
        self.queue.push((node.head.seconds, oid));
    }

    /// Takes the newest commit from the queue: its flags and parents.
    fn next(&mut self) -> Option<(u8, Vec<Oid>)> {
        let (_, oid) = self.queue.pop()?;
        let node = self.nodes.get_mut(&oid)?;
        node.waits -= 1;
        self.open -= usize::from(node.flags & KNOWN == 0);
        if node.flags == NEW {
            self.oldest = Some(
                self.oldest
                    .map_or(node.head.seconds, |oldest| oldest.min(node.head.seconds)),
            );
        }
        Some((node.flags, node.head.parents.clone()))
    }
}
