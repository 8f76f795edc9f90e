//! Objects of the main store, made along the deltas of its packs and looked at as they are made.
//!
//! In scope: finding an object in a pack or loose; making it from those that it
//! is made from, which are kept for others that need them; and looking at no
//! more than what the deltas change between it and a plain one, as `descend`
//! does with a whole pack. Nothing is looked at that nobody asked for: where no
//! plain one is near, the object itself is looked at whole. A delta read
//! backwards is one as well, so that those from which it was made, and what
//! else is made from them, need only be looked at in part afterwards. Out of scope: which objects are asked for
//! (`introduced`).

use super::MAX_OBJECT_BYTES;
use super::body::{CommitHead, commit_head};
use super::delta::{Kept, reversed};
use super::descend::{clean, renewed, starts};
use super::entry::{MAX_CHAIN, PackFile, Unpacked, Unpacker};
use super::quarantine::{open_bundle, pack_paths};
use super::rope::Rope;
use super::store::{id_of, kind_of};
use crate::port::ObjectVisitor;
use crate::push::Oid;
use gix::objs::Kind;
use gix::odb::loose;
use gix::odb::pack::Bundle;
use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

/// Bytes that one thread keeps for objects made from them.
const MAX_HELD: u64 = 64 << 20;

/// What the main store and its alternates hold, to be read by any thread.
pub(super) struct Packs {
    packs: Vec<(Bundle, PackFile)>,
    loose: Vec<loose::Store>,
    /// Bytes of an object id.
    id_len: usize,
    /// What ropes count themselves in.
    meter: AtomicU64,
}

impl Packs {
    /// Opens the packs of object folders. What cannot be read is left out: whoever asks goes to the store then,
    /// which says why.
    pub(super) fn open(folders: &[PathBuf], hash: gix::hash::Kind) -> Self {
        let paths = folders.iter().flat_map(|folder| pack_paths(folder).unwrap_or_default());
        let options = loose::Options {
            alloc_limit_bytes: Some(MAX_OBJECT_BYTES),
            ..Default::default()
        };
        Self {
            packs: paths.filter_map(|path| open_bundle(&path, hash).ok()).collect(),
            loose: folders
                .iter()
                .map(|folder| loose::Store::at_opts(folder, hash, options))
                .collect(),
            id_len: hash.len_in_bytes(),
            meter: AtomicU64::new(0),
        }
    }

    /// The head of a commit; `None` if it is in no pack here, or is made from another.
    pub(super) fn commit(&self, oid: Oid, by: &mut Unpacker) -> Option<CommitHead> {
        let (pack, at) = self.locate(id_of(&oid)?)?;
        let (bundle, file) = &self.packs[pack];
        match file.unpack(bundle, at, MAX_HELD, by).ok()? {
            Unpacked::Whole(Kind::Commit, data) => Some(commit_head(&data)),
            _ => None,
        }
    }

    /// Whether a pack has an object.
    pub(super) fn has(&self, oid: Oid) -> bool {
        id_of(&oid).is_some_and(|id| self.locate(id).is_some())
    }

    /// The pack that has an object, and where.
    fn locate(&self, id: &gix::oid) -> Option<(usize, u64)> {
        let found = |(at, (bundle, _)): (usize, &(Bundle, PackFile))| {
            let rank = bundle.index.lookup(id)?;
            Some((at, bundle.index.pack_offset_at_index(rank)))
        };
        self.packs.iter().enumerate().find_map(found)
    }
}

/// An object, and what is known of it.
pub(super) struct Made<'m> {
    pub(super) kind: Kind,
    pub(super) rope: Rope<'m>,
    /// Where its pack has what it is made from, and what it keeps of that.
    from: Option<(u64, Vec<Kept>)>,
    /// Whether there is nothing in it; unset if nobody has looked.
    plain: Cell<Option<bool>>,
    /// Where its pack has something made from it that leads to an object which was looked at and is plain.
    heir: Cell<Option<u64>>,
    /// Of a plain tree: where each entry starts, and where the last one ends.
    starts: OnceCell<Vec<u32>>,
}

impl<'m> Made<'m> {
    fn new(kind: Kind, rope: Rope<'m>, from: Option<(u64, Vec<Kept>)>) -> Self {
        Self {
            kind,
            rope,
            from,
            plain: Cell::new(None),
            heir: Cell::new(None),
            starts: OnceCell::new(),
        }
    }

    fn is_plain(&self) -> bool {
        self.plain.get() == Some(true)
    }

    /// Of a plain tree: where each entry starts, and where the last one ends; else nothing.
    pub(super) fn starts(&self) -> &[u32] {
        self.starts.get().filter(|_| self.is_plain()).map_or(&[], Vec::as_slice)
    }
}

/// Makes and looks at objects, for one thread.
pub(super) struct Chains<'a, V: ObjectVisitor> {
    packs: &'a Packs,
    visitor: &'a V,
    limit: u64,
    made: HashMap<(usize, u64), Rc<Made<'a>>>,
    /// How many bytes were made since nothing was kept; no less than what is.
    held: u64,
    by: Unpacker,
    text: Vec<u8>,
}

/// An object that was made, with what the visitor found in it.
pub(super) type Shown<'a, H> = (Rc<Made<'a>>, Vec<H>);

impl<'a, V: ObjectVisitor> Chains<'a, V> {
    /// * `limit`: bytes of the largest object, or of one that others are made from, that is read here.
    pub(super) fn new(packs: &'a Packs, visitor: &'a V, limit: u64) -> Self {
        Self {
            packs,
            visitor,
            limit: limit.min(MAX_HELD),
            made: HashMap::new(),
            held: 0,
            by: Unpacker::default(),
            text: Vec::new(),
        }
    }

    /// The head of a commit; `None` as for [`Self::read`].
    pub(super) fn commit(&mut self, oid: Oid) -> Option<CommitHead> {
        self.packs.commit(oid, &mut self.by)
    }

    /// Reads an object; `None` if it is not here, too large or broken: the store tells which.
    pub(super) fn read(&mut self, oid: Oid) -> Option<Rc<Made<'a>>> {
        let id = id_of(&oid)?;
        match self.packs.locate(id) {
            Some((pack, at)) => self.make(pack, at),
            None => self.loose(id),
        }
    }

    /// Reads an object and shows it to the visitor; `None` as for [`Self::read`].
    ///
    /// Of an object that is made from a plain one, the visitor is asked about what is changed first.
    pub(super) fn show(&mut self, oid: Oid) -> Option<Shown<'a, V::Hit>> {
        let id = id_of(&oid)?;
        let Some((pack, at)) = self.packs.locate(id) else {
            let made = self.loose(id)?;
            let hits = self.whole(oid, &made);
            return Some((made, hits));
        };
        let made = self.make(pack, at)?;
        if self.passes(pack, &made) {
            self.visitor.passed(oid, made.rope.len() as u64);
            return Some((made, Vec::new()));
        }
        let hits = self.whole(oid, &made);
        if made.is_plain() {
            self.leave(pack, at, &made);
        }
        Some((made, hits))
    }

    /// Shows a whole object to the visitor.
    fn whole(&mut self, oid: Oid, made: &Made<'a>) -> Vec<V::Hit> {
        let data = made.rope.bytes(&mut self.text);
        let looked = self.visitor.visit(oid, kind_of(made.kind), data);
        made.plain.set(Some(looked.plain));
        if looked.plain && made.kind == Kind::Tree {
            made.starts.get_or_init(|| starts(data, oid.as_bytes().len()));
        }
        looked.hits
    }

    /// Makes the object at a place.
    fn make(&mut self, pack: usize, at: u64) -> Option<Rc<Made<'a>>> {
        if let Some(known) = self.made.get(&(pack, at)) {
            return Some(Rc::clone(known));
        }
        self.forget();
        let (bundle, file) = &self.packs.packs[pack];
        let (mut deltas, mut from, mut sum) = (Vec::new(), at, 0);
        let mut base = loop {
            if let Some(known) = self.made.get(&(pack, from)) {
                break Rc::clone(known);
            }
            match file.unpack(bundle, from, self.limit, &mut self.by).ok()? {
                Unpacked::TooLarge => return None,
                Unpacked::Whole(kind, bytes) => {
                    let made = self.fresh(kind, bytes);
                    break self.keep(pack, from, made);
                }
                Unpacked::Delta(next, bytes) => {
                    sum += bytes.len() as u64;
                    deltas.push((from, bytes));
                    from = next;
                }
            }
            if deltas.len() > MAX_CHAIN || sum > MAX_HELD {
                return None;
            }
        };
        while let Some((place, bytes)) = deltas.pop() {
            let size = bytes.len();
            let (rope, kept) = base.rope.apply(bytes, &self.packs.meter).ok()?;
            self.held += (size + kept.len() * size_of::<Kept>()) as u64;
            base = self.keep(pack, place, Made::new(base.kind, rope, Some((from, kept))));
            from = place;
        }
        Some(base)
    }

    fn fresh(&mut self, kind: Kind, bytes: Vec<u8>) -> Made<'a> {
        self.held += bytes.len() as u64;
        Made::new(kind, Rope::whole(bytes, &self.packs.meter), None)
    }

    fn loose(&mut self, id: &gix::oid) -> Option<Rc<Made<'a>>> {
        for store in &self.packs.loose {
            match store.try_header(id) {
                Ok(Some((size, _))) if size <= self.limit => {}
                Ok(None) => continue,
                _ => return None,
            }
            let mut bytes = Vec::new();
            let kind = store.try_find(id, &mut bytes).ok()??.kind;
            self.forget();
            return Some(Rc::new(self.fresh(kind, bytes)));
        }
        None
    }

    /// What an object is made from, if that is still kept.
    fn base(&self, pack: usize, made: &Made<'a>) -> Option<Rc<Made<'a>>> {
        let (from, _) = made.from.as_ref()?;
        self.made.get(&(pack, *from)).cloned()
    }

    /// Leaves to all that an object is made from how to get to it.
    fn leave(&self, pack: usize, at: u64, made: &Made<'a>) {
        let (mut heir, mut next) = (at, made.from.as_ref().map(|(from, _)| *from));
        while let Some(at) = next {
            let open = |base: &&Rc<Made>| base.plain.get().is_none() && base.heir.get().is_none();
            let Some(base) = self.made.get(&(pack, at)).filter(open) else {
                return;
            };
            base.heir.set(Some(heir));
            heir = at;
            next = base.from.as_ref().map(|(from, _)| *from);
        }
    }

    /// Whether an object has nothing in it, by what the deltas change between it and a plain one.
    ///
    /// The plain one may be among those that it is made from, or be made from one of these itself.
    fn passes(&mut self, pack: usize, made: &Rc<Made<'a>>) -> bool {
        let mut line = vec![Rc::clone(made)];
        while let Some(last) = line.last() {
            match last.plain.get() {
                Some(true) => break,
                Some(false) => return false,
                None if last.heir.get().is_some() => {
                    if !self.inherits(pack, &Rc::clone(last)) {
                        return false;
                    }
                }
                None => match self.base(pack, last) {
                    Some(base) => line.push(base),
                    None => return false,
                },
            }
        }
        let mut pairs = line.iter().rev().zip(line.iter().rev().skip(1));
        pairs.all(|(base, one)| {
            let kept = one.from.as_ref().map_or(&[][..], |(_, kept)| kept);
            self.changes_nothing(one, base, kept)
        })
    }

    /// Whether an object has nothing in it, by what it has that its heir, or the heir's heir, has not.
    fn inherits(&mut self, pack: usize, made: &Rc<Made<'a>>) -> bool {
        let (mut line, mut heir) = (vec![Rc::clone(made)], made.heir.get());
        while let Some(next) = heir.and_then(|at| self.made.get(&(pack, at))) {
            heir = next.heir.get().filter(|_| next.plain.get().is_none());
            line.push(Rc::clone(next));
        }
        if !line.last().is_some_and(|last| last.is_plain()) {
            made.heir.set(None);
            return false;
        }
        let mut pairs = line.iter().rev().zip(line.iter().rev().skip(1));
        pairs.all(|(heir, one)| {
            let kept = heir.from.as_ref().map_or(Vec::new(), |(_, kept)| reversed(kept));
            let plain = self.changes_nothing(one, heir, &kept);
            if !plain {
                one.heir.set(None);
            }
            plain
        })
    }

    /// Whether an object has nothing in it, since what it keeps of a plain one is all that counts.
    fn changes_nothing(&mut self, made: &Made<'a>, plain: &Made<'a>, kept: &[Kept]) -> bool {
        let nothing = match made.kind {
            Kind::Blob => clean(self.visitor, &made.rope, plain.rope.len(), kept, &mut self.text),
            Kind::Tree => {
                let data = made.rope.bytes(&mut self.text);
                let mut all = Vec::with_capacity(plain.starts().len() + 8);
                let new = renewed(data, self.packs.id_len, plain.starts(), kept, &mut all);
                let clean = new.is_some_and(|new| new.iter().all(|entry| self.visitor.clean_name(entry.name)));
                if clean {
                    made.starts.get_or_init(|| all);
                }
                clean
            }
            Kind::Commit | Kind::Tag => false,
        };
        if nothing {
            made.plain.set(Some(true));
        }
        nothing
    }

    fn keep(&mut self, pack: usize, at: u64, made: Made<'a>) -> Rc<Made<'a>> {
        let made = Rc::new(made);
        self.made.insert((pack, at), Rc::clone(&made));
        made
    }

    /// Keeps nothing any more if it may have become too much.
    fn forget(&mut self) {
        if self.held > MAX_HELD {
            self.made.clear();
            self.held = 0;
        }
    }
}
