//! One inspection from end to end: the order of the steps, and what they add up to.

use super::MAX_OBJECT_BYTES;
use super::body::CommitHead;
use super::deadline::Deadline;
use super::gathered::{Brought, Gathered};
use super::introduced::Introduced;
use super::place;
use super::quarantine::Read;
use super::reused::{self, Outside};
use super::store::{Store, Target, oid_of};
use super::traverse::{FEW, Found, NOBODY, Older, Traversed, traverse};
use super::walk::{NewCommits, Walk};
use crate::config::Bounds;
use crate::facts::{Ancestry, Fact};
use crate::finding::Place;
use crate::port::{self, Inspected, InspectedUpdate, NewCommit, ObjectVisitor, Outage};
use crate::push::{Oid, RefUpdate};
use gix::objs::Kind;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The bounds that reading objects must keep.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) objects: u64,
    pub(super) object_bytes: u64,
}

impl Limits {
    fn of(bounds: &Bounds) -> Self {
        Self {
            objects: bounds.objects,
            object_bytes: bounds.object_bytes.min(MAX_OBJECT_BYTES as u64),
        }
    }
}

/// What one update leads to.
struct Reached {
    target: Target,
    ancestry: Ancestry,
    commits: NewCommits,
}

type Noted = Vec<(String, Place)>;

/// See [`crate::port::Repository::inspect`].
pub(super) fn inspect<V: ObjectVisitor>(
    store: &Store,
    updates: &[RefUpdate],
    known: &[Vec<Oid>],
    bounds: &Bounds,
    visitor: &V,
) -> Result<Inspected<V::Hit>, Outage> {
    let deadline = Deadline::after(bounds.seconds);
    deadline.check()?;
    let limits = Limits::of(bounds);
    let brought = store.quarantine.as_ref().map_or(0, |q| u64::from(q.len()));
    if brought > limits.objects {
        return Ok(refused(updates));
    }
    let appended = reused::appended(store, &deadline)?;
    let gathered = Gathered::default();
    let (own, older) = (store.quarantine.as_ref(), Older::Appended(&appended));
    let limit = (limits.object_bytes, bounds.threads);
    let look = || match own {
        Some(own) => traverse(own, visitor, limit, older, &gathered, &deadline),
        None => {
            drop(gathered.ending());
            Ok(Traversed::default())
        }
    };
    let walk = || walked(store, gathered.wait(), updates, known, bounds.commits, &deadline);
    let (traversed, walked) = match brought > u64::from(FEW) {
        true => both(look, walk),
        false => (look(), walk()),
    };
    // What broke the first broke the other too.
    let mut traversed = traversed?;
    let Walked {
        commits,
        reached,
        ordered,
        fresh,
        mut noted,
    } = walked?;

    let held = excuse(store, &mut traversed, &appended);
    let outside = outside(store, &mut traversed, &appended, &ordered, &fresh, &deadline)?;
    accuse(store, &mut traversed, held, &outside);
    let seen = (traversed.objects, traversed.bytes);
    let mut introduced = Introduced::new(store, visitor, limits, &deadline, seen);
    let reused = look_outside(&mut introduced, &outside)?;
    let mut hits = place_hits(store, &mut traversed, reused, &ordered, &mut noted)?;
    noted.append(&mut introduced.bounds);
    let (objects, bytes) = (introduced.objects, introduced.bytes);
    hits.sort_by(|a, b| a.0.cmp(&b.0));
    let index: HashMap<Oid, u32> = (0..).zip(&ordered).map(|(at, (oid, _))| (*oid, at)).collect();
    let updates = reached.into_iter().map(|r| inspected(store, r, &index));
    let updates = updates.collect::<Result<_, _>>()?;
    let commits = collect(store, commits, ordered, &fresh, &mut noted)?;
    noted.sort();
    noted.dedup();
    Ok(Inspected {
        commits,
        updates,
        hits,
        objects,
        bytes,
        bounds: noted,
    })
}

/// Does the first on another thread, the second on this one.
fn both<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    std::thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        let first = first.join();
        (first.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), second)
    })
}

/// What the walk over the commits gave.
struct Walked {
    commits: HashMap<Oid, Brought>,
    reached: Vec<Reached>,
    /// The new commits, parents first.
    ordered: Vec<(Oid, CommitHead)>,
    fresh: HashSet<Oid>,
    noted: Noted,
}

/// Which commits become newly reachable.
///
/// * `commits`: those that the push brought.
/// * `limit`: the most that may become newly reachable.
fn walked(
    store: &Store,
    commits: HashMap<Oid, Brought>,
    updates: &[RefUpdate],
    known: &[Vec<Oid>],
    limit: u64,
    deadline: &Deadline,
) -> Result<Walked, Outage> {
    let mut noted = Noted::new();
    let mut walk = Walk::new(store, &commits, limit, deadline);
    let (reached, union) = reach_all(store, &mut walk, updates.iter().zip(known), limit, &mut noted)?;
    let ordered = walk.order(&union)?;
    let fresh = fresh(store, &commits, &ordered)?;
    Ok(Walked {
        commits,
        reached,
        ordered,
        fresh,
        noted,
    })
}

/// See [`crate::port::Repository::introduced`].
pub(super) fn introduced<V: ObjectVisitor>(
    store: &Store,
    commits: &[Oid],
    bounds: &Bounds,
    visitor: &V,
) -> Result<port::Introduced<V::Hit>, Outage> {
    let deadline = Deadline::after(bounds.seconds);
    let mut introduced = Introduced::new(store, visitor, Limits::of(bounds), &deadline, (0, 0));
    if !commits.is_empty() {
        introduced.along_deltas(bounds.threads);
    }
    for &oid in commits {
        introduced.commit(oid)?;
    }
    introduced.finish()?;
    introduced.hits.sort_by(|a, b| a.0.cmp(&b.0));
    introduced.bounds.sort();
    introduced.bounds.dedup();
    Ok(port::Introduced {
        hits: introduced.hits,
        objects: introduced.objects,
        bytes: introduced.bytes,
        bounds: introduced.bounds,
    })
}

/// See [`super::Gate::between`].
pub(super) fn between(store: &Store, tips: &[Oid], known: &[Oid]) -> Result<Vec<Oid>, Outage> {
    let (none, deadline) = (HashMap::new(), Deadline::after(u64::MAX));
    let mut walk = Walk::new(store, &none, u64::MAX, &deadline);
    walk.knowing(known);
    let mut commits = Vec::new();
    for &tip in tips {
        commits.extend(store.peel(tip)?.commit);
    }
    let found = walk.unpainted(&commits)?;
    Ok(walk.order(&found)?.into_iter().map(|(oid, _)| oid).collect())
}

/// See [`super::Gate::survey`].
pub(super) fn survey<V: ObjectVisitor>(
    store: &Store,
    bounds: &Bounds,
    visitor: &V,
) -> Result<port::Introduced<V::Hit>, Outage> {
    let deadline = Deadline::after(bounds.seconds);
    let limits = Limits::of(bounds);
    let none = HashSet::new();
    let gathered = Gathered::default();
    let limit = (limits.object_bytes, bounds.threads);
    let mut traversed = match &store.quarantine {
        Some(own) => traverse(own, visitor, limit, Older::All, &gathered, &deadline)?,
        None => Traversed::default(),
    };
    drop(gathered.ending());
    // Nobody asks for the commits' text: of a long history it is as large as all else together.
    let mut commits = gathered.wait();
    commits.values_mut().for_each(|commit| commit.data = Vec::new());
    let all: HashSet<Oid> = commits.keys().copied().collect();
    let ordered = Walk::new(store, &commits, bounds.commits, &deadline).order(&all)?;
    let outside = outside(store, &mut traversed, &none, &ordered, &all, &deadline)?;
    let seen = (traversed.objects, traversed.bytes);
    let mut introduced = Introduced::new(store, visitor, limits, &deadline, seen);
    let reused = look_outside(&mut introduced, &outside)?;
    let mut noted = Noted::new();
    let mut hits = place_hits(store, &mut traversed, reused, &ordered, &mut noted)?;
    noted.append(&mut introduced.bounds);
    hits.sort_by(|a, b| a.0.cmp(&b.0));
    noted.sort();
    noted.dedup();
    Ok(port::Introduced {
        hits,
        objects: introduced.objects,
        bytes: introduced.bytes,
        bounds: noted,
    })
}

/// Visits what new trees take up from outside; each hit with the object that they refer to.
fn look_outside<V: ObjectVisitor>(
    introduced: &mut Introduced<'_, V>,
    outside: &Outside,
) -> Result<Vec<(Oid, Place, V::Hit)>, Outage> {
    let mut reused = Vec::new();
    for root in outside.rest() {
        let found = introduced.reused(root, outside)?;
        reused.extend(found.into_iter().map(|(place, hit)| (root, place, hit)));
    }
    Ok(reused)
}

/// What is known of a push that brings more objects than the bound: only that.
fn refused<H>(updates: &[RefUpdate]) -> Inspected<H> {
    let unavailable = |_: &RefUpdate| InspectedUpdate {
        ancestry: too_many("too-many-objects"),
        commits: too_many("too-many-objects"),
        tag: None,
        commit: None,
        tree: None,
    };
    Inspected {
        commits: Vec::new(),
        updates: updates.iter().map(unavailable).collect(),
        hits: Vec::new(),
        objects: 0,
        bytes: 0,
        bounds: vec![("too-many-objects".into(), Place::default())],
    }
}

fn too_many<T>(code: &str) -> Fact<T> {
    Fact::Unavailable {
        code: code.into(),
        why: "the push is larger than the policy's bounds allow to inspect".into(),
    }
}

/// Walks every update; returns also the union of the new commits.
fn reach_all<'a>(
    store: &Store,
    walk: &mut Walk<'_>,
    updates: impl Iterator<Item = (&'a RefUpdate, &'a Vec<Oid>)>,
    limit: u64,
    noted: &mut Noted,
) -> Result<(Vec<Reached>, HashSet<Oid>), Outage> {
    let mut union = HashSet::new();
    let mut all = Vec::new();
    for (update, known) in updates {
        walk.knowing(known);
        let mut reached = reach(store, walk, update)?;
        let place = |object| Place {
            ref_name: Some(update.name.clone()),
            object,
            ..Place::default()
        };
        if reached.target.too_deep {
            noted.push(("tag-too-deep".into(), place(Some(update.new))));
        }
        if let NewCommits::Exactly(commits) = &reached.commits {
            let more = commits.iter().filter(|oid| !union.contains(*oid)).count();
            if (union.len() + more) as u64 <= limit {
                union.extend(commits);
            } else {
                reached.commits = NewCommits::TooMany;
            }
        }
        if matches!(reached.commits, NewCommits::TooMany) {
            noted.push(("too-many-commits".into(), place(None)));
        }
        all.push(reached);
    }
    Ok((all, union))
}

fn reach(store: &Store, walk: &mut Walk<'_>, update: &RefUpdate) -> Result<Reached, Outage> {
    let mut reached = Reached {
        target: Target::default(),
        ancestry: Ancestry::None,
        commits: NewCommits::Exactly(Vec::new()),
    };
    if update.new.is_zero() {
        return Ok(reached);
    }
    reached.target = store.peel(update.new)?;
    let old = match update.old.is_zero() {
        true => None,
        false => store.peel(update.old)?.commit,
    };
    if let Some(tip) = reached.target.commit {
        reached.commits = walk.new_commits(tip, old)?;
        if let Some(old) = old {
            reached.ancestry = walk.ancestry(old, tip, &reached.commits)?;
        }
    }
    Ok(reached)
}

/// The commits that only the push brought.
///
/// A commit on top of one that the main store lacks is not in the main store
/// either, so few of them need a look-up.
fn fresh(
    store: &Store,
    brought: &HashMap<Oid, Brought>,
    ordered: &[(Oid, CommitHead)],
) -> Result<HashSet<Oid>, Outage> {
    let mut fresh = HashSet::new();
    for (oid, head) in ordered {
        if brought.contains_key(oid) && (head.parents.iter().any(|p| fresh.contains(p)) || !store.in_main(*oid)) {
            fresh.insert(*oid);
        }
    }
    Ok(fresh)
}

/// Takes away the hits in objects that Git appended as bases of a thin pack: they are the main store's, not the
/// push's. Returns those in objects that a tree of the pack refers to, which may be taken up again.
fn excuse<H>(store: &Store, traversed: &mut Traversed<H>, appended: &HashSet<u32>) -> Vec<Found<H>> {
    let Some(quarantine) = &store.quarantine else {
        return Vec::new();
    };
    let (mut old, new): (Vec<_>, Vec<_>) = std::mem::take(&mut traversed.hits)
        .into_iter()
        .partition(|hit| appended.contains(&hit.0));
    traversed.hits = new;
    let holder = |at: u32| traversed.holders.get(at as usize).copied().unwrap_or(NOBODY);
    old.retain(|hit| holder(hit.0) != NOBODY);
    let held = old.iter().map(|hit| oid_of(quarantine.id(hit.0)));
    traversed.outside.extend(held);
    old
}

/// Puts back the hits in held objects that no parent's tree has: a new commit takes them up again.
///
/// The first pass has seen them; what the push did not bring is visited later.
fn accuse<H>(store: &Store, traversed: &mut Traversed<H>, held: Vec<Found<H>>, outside: &Outside) {
    let Some(quarantine) = &store.quarantine else { return };
    let taken_up = |hit: &Found<H>| !outside.is_accounted(oid_of(quarantine.id(hit.0)));
    traversed.hits.extend(held.into_iter().filter(taken_up));
    traversed.hits.sort_by_key(|hit| hit.0);
}

/// What fresh commits take up from the main store, with what their parents' trees have ticked off.
fn outside<H>(
    store: &Store,
    traversed: &mut Traversed<H>,
    appended: &HashSet<u32>,
    ordered: &[(Oid, CommitHead)],
    fresh: &HashSet<Oid>,
    deadline: &Deadline,
) -> Result<Outside, Outage> {
    let mut outside = Outside::new(std::mem::take(&mut traversed.outside));
    if let Some(quarantine) = &store.quarantine {
        outside.add_held(quarantine, appended, &traversed.holders)?;
    }
    let mut parents = old_parents(ordered, fresh);
    if store.whole {
        // A shallow clone ends before these.
        parents.retain(|parent| store.has(*parent).unwrap_or(true));
    }
    outside.account(store, &parents, deadline)?;
    Ok(outside)
}

/// The parents of fresh commits that are not fresh themselves, those of the latest commits first.
fn old_parents(ordered: &[(Oid, CommitHead)], fresh: &HashSet<Oid>) -> Vec<Oid> {
    let mut seen = HashSet::new();
    let commits = ordered.iter().rev().filter(|(oid, _)| fresh.contains(oid));
    let parents = commits.flat_map(|(_, head)| &head.parents);
    parents
        .copied()
        .filter(|p| !fresh.contains(p) && seen.insert(*p))
        .collect()
}

/// Gives hits their places, and objects beyond the size limit theirs.
///
/// * `reused`: hits in or below in-store objects that new trees refer to, with those objects.
fn place_hits<H>(
    store: &Store,
    traversed: &mut Traversed<H>,
    reused: Vec<(Oid, Place, H)>,
    ordered: &[(Oid, CommitHead)],
    noted: &mut Noted,
) -> Result<Vec<(Place, H)>, Outage> {
    let Some(quarantine) = &store.quarantine else {
        return Ok(Vec::new());
    };
    let id = |at: u32| oid_of(quarantine.id(at));
    let mut wanted: BTreeMap<Oid, Kind> = reused.iter().map(|(root, ..)| (*root, Kind::Tree)).collect();
    wanted.extend(traversed.hits.iter().map(|(at, kind, _)| (id(*at), *kind)));
    wanted.extend(traversed.too_large.iter().map(|(at, kind)| (id(*at), *kind)));
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let places = place::places(quarantine, &wanted, ordered, &traversed.holders)?;
    let place = |oid: Oid| places.get(&oid).cloned().unwrap_or_default();
    for (at, _) in &traversed.too_large {
        noted.push(("object-too-large".into(), place(id(*at))));
    }
    let mut hits = Vec::new();
    for (at, _, found) in traversed.hits.drain(..) {
        hits.extend(found.into_iter().map(|hit| (place(id(at)), hit)));
    }
    for (root, below, hit) in reused {
        let Place { commit, path, .. } = place(root);
        let parts: Vec<String> = path.into_iter().chain(below.path).collect();
        let path = (!parts.is_empty()).then(|| parts.join("/"));
        hits.push((Place { commit, path, ..below }, hit));
    }
    Ok(hits)
}

fn inspected(store: &Store, reached: Reached, index: &HashMap<Oid, u32>) -> Result<InspectedUpdate, Outage> {
    let commits = match reached.commits {
        NewCommits::TooMany => too_many("too-many-commits"),
        NewCommits::Exactly(commits) => {
            let mut at: Vec<u32> = commits.iter().filter_map(|oid| index.get(oid).copied()).collect();
            at.sort_unstable();
            Fact::Known(at)
        }
    };
    let tree = match reached.target.commit {
        Some(commit) => store.commit(commit, &mut Vec::new())?.tree,
        None => None,
    };
    Ok(InspectedUpdate {
        ancestry: Fact::Known(reached.ancestry),
        commits,
        tag: reached.target.tag,
        commit: reached.target.commit,
        tree,
    })
}

/// The new commits with their raw bytes; those too large to read have none, and are noted.
fn collect(
    store: &Store,
    mut brought: HashMap<Oid, Brought>,
    ordered: Vec<(Oid, CommitHead)>,
    fresh: &HashSet<Oid>,
    noted: &mut Noted,
) -> Result<Vec<NewCommit>, Outage> {
    let mut commits = Vec::with_capacity(ordered.len());
    for (oid, _) in ordered {
        let mut data = Vec::new();
        if let Some(commit) = brought.remove(&oid) {
            data = commit.data;
        } else {
            let read = store.find(oid, MAX_OBJECT_BYTES as u64, &mut data)?;
            if let Read::TooLarge(_) = read.ok_or_else(|| store.missing(oid))? {
                data.clear();
                noted.push(("object-too-large".into(), super::introduced::place_of(oid, oid, "")));
            }
        }
        commits.push(NewCommit {
            oid,
            data,
            in_quarantine: fresh.contains(&oid),
        });
    }
    Ok(commits)
}
