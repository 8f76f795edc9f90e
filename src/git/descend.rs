//! One pack, visited along its deltas on all cores.
//!
//! An object that is made from another one is looked at by what the delta
//! changes, as far as the visitor lets it pass: most of a long push is the
//! same files again and again. What holds bytes is a [`Rope`]; a subtree of
//! the deltas whose thread has more to do than others is shared with them.

use super::body::{TreeEntry, tree_entries};
use super::delta::{self, Kept};
use super::family::Family;
use super::quarantine::Pack;
use super::rope::Rope;
use super::traverse::{Outsiders, Pass, locked, pack_unreadable};
use crate::port::{ObjectVisitor, Outage, Part};
use gix::objs::Kind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Bytes that objects may hold for those made from them, all threads together. A pack that needs more is read
/// object by object, which is slower and holds two.
const MAX_HELD: u64 = 256 << 20;

/// Why a descent ended early.
enum Stop {
    Outage(Outage),
    /// More than [`MAX_HELD`] would be held.
    Held,
}

impl From<Outage> for Stop {
    fn from(outage: Outage) -> Self {
        Self::Outage(outage)
    }
}

/// What is known of an object while those made from it are visited.
struct Node<'m> {
    kind: Kind,
    rope: Rope<'m>,
    plain: bool,
    /// Of a tree whose entries count as noted: where each starts, and where the last one ends; else empty.
    starts: Vec<u32>,
}

#[derive(Clone)]
enum Base<'m> {
    None,
    Node(Arc<Node<'m>>),
    /// It, or what it is made from, is beyond the size limit.
    TooLarge(Kind),
}

struct Task<'m> {
    entry: u32,
    base: Base<'m>,
}

/// The work that is left.
struct Queue<'m> {
    threads: usize,
    roots: AtomicUsize,
    shared: Mutex<Vec<Task<'m>>>,
    more: Condvar,
    idle: AtomicUsize,
    over: AtomicBool,
}

impl<'m> Queue<'m> {
    fn new(threads: usize) -> Self {
        Self {
            threads,
            roots: AtomicUsize::new(0),
            shared: Mutex::default(),
            more: Condvar::new(),
            idle: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// The next task: of the thread's own, a new root, or one that another thread gave away.
    fn next(&self, own: &mut Vec<Task<'m>>, family: &Family) -> Option<Task<'m>> {
        if self.over.load(Relaxed) {
            return None;
        }
        if let Some(task) = own.pop() {
            return Some(task);
        }
        if let Some(&entry) = family.roots.get(self.roots.fetch_add(1, Relaxed)) {
            let base = Base::None;
            return Some(Task { entry, base });
        }
        let mut shared = locked(&self.shared);
        loop {
            if self.over.load(Relaxed) {
                return None;
            }
            if let Some(task) = shared.pop() {
                return Some(task);
            }
            if self.idle.fetch_add(1, Relaxed) + 1 == self.threads {
                self.over.store(true, Relaxed);
                self.more.notify_all();
                return None;
            }
            shared = self.more.wait(shared).unwrap_or_else(PoisonError::into_inner);
            self.idle.fetch_sub(1, Relaxed);
        }
    }

    /// Gives half of a thread's tasks away if another one has none: the oldest, which lead to most.
    fn share(&self, own: &mut Vec<Task<'m>>) {
        if own.len() > 1 && self.idle.load(Relaxed) > 0 {
            let half = own.len() / 2;
            locked(&self.shared).extend(own.drain(..half));
            self.more.notify_all();
        }
    }

    fn end(&self) {
        let _shared = locked(&self.shared);
        self.over.store(true, Relaxed);
        self.more.notify_all();
    }
}

/// Visits all objects of a pack; `false` if it would have to hold too much and some were not visited.
///
/// * `threads`: at least 1.
pub(super) fn descend<V: ObjectVisitor>(pass: &Pass<'_, V>, pack: &Pack, threads: usize) -> Result<bool, Outage> {
    let family = Family::of(pack).map_err(|why| pack_unreadable(pack, &why))?;
    pass.expect(family.commits());
    let meter = AtomicU64::new(0);
    let queue = Queue::new(threads);
    let done = AtomicUsize::new(0);
    let run = || {
        let worker = Worker {
            pass,
            pack,
            family: &family,
            queue: &queue,
            meter: &meter,
            outsiders: Outsiders::new(pass),
            inflate: libdeflater::Decompressor::new(),
            own: Vec::new(),
            raw: Vec::new(),
            text: Vec::new(),
        };
        // gix takes a pack at its word in places; a broken one must be an outage, not a crash, and nobody may
        // wait for a thread that is gone.
        let ended = catch_unwind(AssertUnwindSafe(|| worker.run()));
        if !matches!(ended, Ok(Ok(_))) {
            queue.end();
        }
        let visited = ended.unwrap_or_else(|_| Err(pack_unreadable(pack, "its reader gave up").into()))?;
        done.fetch_add(visited, Relaxed);
        Ok(())
    };
    let ended = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut ended = run();
        for other in others {
            let joined = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            ended = ended.and(joined);
        }
        ended
    });
    match ended {
        Ok(()) if done.into_inner() == family.len() => Ok(true),
        Ok(()) => Err(pack_unreadable(pack, "its deltas go in a circle")),
        Err(Stop::Held) => Ok(false),
        Err(Stop::Outage(outage)) => Err(outage),
    }
}

struct Worker<'w, 'a, 'm, V: ObjectVisitor> {
    pass: &'w Pass<'a, V>,
    pack: &'w Pack,
    family: &'w Family<'w>,
    queue: &'w Queue<'m>,
    meter: &'m AtomicU64,
    outsiders: Outsiders<'w, 'a, V>,
    inflate: libdeflater::Decompressor,
    own: Vec<Task<'m>>,
    /// An entry as the pack has it.
    raw: Vec<u8>,
    /// What of an object is looked at, if it is not in one piece.
    text: Vec<u8>,
}

impl<'m, V: ObjectVisitor> Worker<'_, '_, 'm, V> {
    /// Works until nothing is left; returns how many entries it has done.
    fn run(mut self) -> Result<usize, Stop> {
        let mut done = 0;
        while let Some(task) = self.queue.next(&mut self.own, self.family) {
            self.pass.deadline.check()?;
            let base = self.entry(&task)?;
            for &entry in self.family.made_from(task.entry) {
                let base = base.clone();
                self.own.push(Task { entry, base });
            }
            if self.meter.load(Relaxed) > MAX_HELD {
                return Err(Stop::Held);
            }
            self.queue.share(&mut self.own);
            done += 1;
        }
        Ok(done)
    }

    fn unreadable(&self, why: impl std::fmt::Display) -> Outage {
        pack_unreadable(self.pack, &why.to_string())
    }

    /// Makes and visits one object; returns it as the base of others.
    fn entry(&mut self, task: &Task<'m>) -> Result<Base<'m>, Outage> {
        let read = self.family.read(task.entry, self.pass.limit, &mut self.raw);
        let entry = read.map_err(|e| self.unreadable(e))?;
        let kind = match &task.base {
            Base::TooLarge(kind) => return Ok(self.refuse(task.entry, *kind)),
            Base::Node(node) => node.kind,
            Base::None => entry
                .header
                .as_kind()
                .ok_or_else(|| self.unreadable("a delta has no base"))?,
        };
        if entry.decompressed_size > self.pass.limit {
            return Ok(self.refuse(task.entry, kind));
        }
        let mut bytes = vec![0; entry.decompressed_size as usize];
        let packed = &self.raw[entry.header_size().min(self.raw.len())..];
        if self.inflate.zlib_decompress(packed, &mut bytes) != Ok(bytes.len()) {
            return Err(self.unreadable(format!("the entry at {} does not inflate", entry.pack_offset())));
        }
        let Base::Node(base) = &task.base else {
            let rope = Rope::whole(bytes, self.meter);
            return Ok(self.object(task.entry, kind, rope, None));
        };
        if delta::delta(&bytes).is_ok_and(|delta| delta.len > self.pass.limit) {
            return Ok(self.refuse(task.entry, kind));
        }
        let (rope, kept) = base.rope.apply(bytes, self.meter).map_err(|e| self.unreadable(e))?;
        Ok(self.object(task.entry, kind, rope, Some((base, &kept))))
    }

    fn refuse(&self, entry: u32, kind: Kind) -> Base<'m> {
        self.pass.refuse(self.pack.first + self.family.rank(entry), kind);
        Base::TooLarge(kind)
    }

    /// Visits an object, unless it has been seen elsewhere in the push.
    fn object(&mut self, entry: u32, kind: Kind, rope: Rope<'m>, from: Option<(&Node<'m>, &[Kept])>) -> Base<'m> {
        let at = self.pack.first + self.family.rank(entry);
        let mut node = Node {
            kind,
            plain: false,
            starts: Vec::new(),
            rope,
        };
        if self.pass.claim(at, node.rope.len()) {
            match (kind, from.filter(|(base, _)| base.plain)) {
                (Kind::Blob, _) if self.pass.known(at, node.rope.len()) => node.plain = true,
                (Kind::Blob, Some((base, kept)))
                    if clean(self.pass.visitor, &node.rope, base.rope.len(), kept, &mut self.text) =>
                {
                    self.pass.passed(at, node.rope.len());
                    node.plain = true;
                }
                (Kind::Tree, from) => self.tree(at, &mut node, from),
                _ => node.plain = self.whole(at, &node),
            }
        }
        Base::Node(Arc::new(node))
    }

    /// Shows an object to the visitor as a whole; whether it is plain.
    fn whole(&mut self, at: u32, node: &Node<'m>) -> bool {
        let data = node.rope.bytes(&mut self.text);
        let plain = self.pass.look(at, node.kind, data);
        self.pass.refer(at, node.kind, data, &mut self.outsiders);
        plain
    }

    /// Visits a tree; of one that is made from a plain one only the entries that the delta gives it.
    fn tree(&mut self, at: u32, node: &mut Node<'m>, from: Option<(&Node<'m>, &[Kept])>) {
        let id_len = self.pass.quarantine.id(at).as_bytes().len();
        let noted = !self.pass.is_appended(at);
        if let Some((base, kept)) = from
            && !base.starts.is_empty()
        {
            let data = node.rope.bytes(&mut self.text);
            let mut starts = Vec::with_capacity(base.starts.len() + 8);
            if let Some(entries) = renewed(data, id_len, &base.starts, kept, &mut starts)
                && entries.iter().all(|entry| self.pass.visitor.clean_name(entry.name))
            {
                entries
                    .iter()
                    .for_each(|entry| self.pass.note_entry(entry, at, &mut self.outsiders));
                self.pass.passed(at, data.len());
                (node.plain, node.starts) = (true, if noted { starts } else { Vec::new() });
                return;
            }
        }
        node.plain = self.whole(at, node);
        // What an appended tree refers to is not noted; one that is made from it must be read whole.
        if node.plain && noted {
            node.starts = starts(node.rope.bytes(&mut self.text), id_len);
        }
    }
}

/// Whether the changed parts of a blob have nothing in them, what it is made from being plain.
pub(super) fn clean<V: ObjectVisitor>(
    visitor: &V,
    rope: &Rope<'_>,
    base_len: usize,
    kept: &[Kept],
    text: &mut Vec<u8>,
) -> bool {
    let changed = delta::changed(kept, base_len, rope.len());
    let Some(parts) = rope.lines_around(&changed, visitor.margin()) else {
        return false;
    };
    parts.into_iter().all(|part| {
        text.clear();
        rope.read(part.clone(), text);
        visitor.clean_part(Part {
            bytes: text,
            first: part.start == 0,
            last: part.end == rope.len(),
        })
    })
}

/// Where each entry of a tree starts, and where the last one ends; empty if it is malformed.
pub(super) fn starts(data: &[u8], id_len: usize) -> Vec<u32> {
    let mut entries = tree_entries(data, id_len);
    let mut starts = vec![0];
    while entries.next().is_some() {
        starts.push((data.len() - entries.left()) as u32);
    }
    if !entries.is_complete() {
        starts.clear();
    }
    starts
}

/// The entries that a tree has not just kept from its base, and where all of its entries start.
///
/// An entry counts as kept if all of its bytes are and it was an entry in the base: bytes that were the inside of
/// a name there may be an entry here. `None` if the tree is malformed.
pub(super) fn renewed<'d>(
    data: &'d [u8],
    id_len: usize,
    base: &[u32],
    kept: &[Kept],
    starts: &mut Vec<u32>,
) -> Option<Vec<TreeEntry<'d>>> {
    let mut entries = Vec::new();
    let mut runs = kept.iter().peekable();
    let mut at = 0;
    while at < data.len() {
        while runs.next_if(|run| run.end() <= at).is_some() {}
        if let Some(run) = runs.peek().filter(|run| run.at <= at)
            && let Ok(first) = base.binary_search(&((run.from + at - run.at) as u32))
        {
            // The last start of the base that is within the run ends the entries that are kept.
            let last = base.partition_point(|start| *start as usize <= run.from + run.len) - 1;
            if last > first {
                let here = |start: &u32| (*start as usize - run.from + run.at) as u32;
                starts.extend(base[first..last].iter().map(here));
                at = here(&base[last]) as usize;
                continue;
            }
        }
        let mut rest = tree_entries(&data[at..], id_len);
        entries.push(rest.next()?);
        starts.push(at as u32);
        at = data.len() - rest.left();
    }
    starts.push(at as u32);
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(names: &[String]) -> Vec<u8> {
        let mut data = Vec::new();
        for (i, name) in names.iter().enumerate() {
            data.extend_from_slice(format!("100644 {name}\0").as_bytes());
            data.extend_from_slice(&[i as u8 + 1; 20]);
        }
        data
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Whatever pieces of a tree another one is cut together of: no entry of it is new unless it is told.
        #[test]
        fn no_entry_of_a_changed_tree_is_lost(
            names in prop::collection::vec("[a-z]{1,4}(100644 [a-z]{1,3})?", 1..12),
            cuts in prop::collection::vec((0..400usize, 0..200usize, 0..3usize), 1..8),
        ) {
            let base = tree(&names);
            let (mut data, mut kept) = (Vec::new(), Vec::<Kept>::new());
            for (from, len, inserted) in cuts {
                data.extend_from_slice(&b"100644 new\0"[..inserted * 5]);
                let from = from.min(base.len());
                let len = len.min(base.len() - from);
                if len > 0 {
                    kept.push(Kept { at: data.len(), from, len });
                }
                data.extend_from_slice(&base[from..from + len]);
            }
            let whole: Vec<TreeEntry<'_>> = tree_entries(&data, 20).collect();
            let before: Vec<TreeEntry<'_>> = tree_entries(&base, 20).collect();
            let mut found = Vec::new();
            match renewed(&data, 20, &starts(&base, 20), &kept, &mut found) {
                None => prop_assert!(starts(&data, 20).is_empty()),
                Some(entries) => {
                    prop_assert_eq!(&found, &starts(&data, 20));
                    for entry in &whole {
                        prop_assert!(entries.contains(entry) || before.contains(entry));
                    }
                }
            }
        }
    }
}
