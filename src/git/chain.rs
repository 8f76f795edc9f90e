//! Objects of the main store, made along the deltas of its packs and looked at as they are made.
//!
//! In scope: finding an object in a pack or loose; making it from those that it
//! is made from, which are kept for others that need them; and looking at no
//! more than what its delta changes where what it is made from is plain, as
//! `descend` does with a whole pack. Out of scope: which objects are asked for
//! (`introduced`).

use super::MAX_OBJECT_BYTES;
use super::body::{CommitHead, commit_head};
use super::delta::Kept;
use super::descend::{clean, renewed, starts};
use super::entry::{MAX_CHAIN, PackFile, Unpacked, Unpacker};
use super::quarantine::{open_bundle, pack_paths};
use super::rope::Rope;
use super::store::{id_of, kind_of};
use crate::port::{ObjectVisitor, Part};
use crate::push::Oid;
use gix::objs::Kind;
use gix::odb::loose;
use gix::odb::pack::Bundle;
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
    plain: bool,
    /// Of a plain tree: where each entry starts, and where the last one ends.
    starts: Vec<u32>,
}

impl Made<'_> {
    /// Of a plain tree: where each entry starts, and where the last one ends; else nothing.
    pub(super) fn starts(&self) -> &[u32] {
        if self.plain { &self.starts } else { &[] }
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

/// An object that is not yet judged, with the judged one that it is made from and what it keeps of that.
type Derived<'m> = (Made<'m>, Option<(Rc<Made<'m>>, Vec<Kept>)>);

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
            Some((pack, at)) => self.base(pack, at),
            None => self.loose(id).map(Rc::new),
        }
    }

    /// Reads an object and shows it to the visitor; `None` as for [`Self::read`].
    ///
    /// Of an object that is made from a plain one, the visitor is asked about what is changed first.
    pub(super) fn show(&mut self, oid: Oid) -> Option<Shown<'a, V::Hit>> {
        let id = id_of(&oid)?;
        let Some((pack, at)) = self.packs.locate(id) else {
            let mut made = self.loose(id)?;
            let hits = self.whole(oid, &mut made);
            return Some((Rc::new(made), hits));
        };
        if let Some(known) = self.made.get(&(pack, at)).cloned() {
            return Some(self.known(oid, known));
        }
        self.forget();
        let (mut made, from) = self.last(pack, at)?;
        let judged = from.is_some_and(|(base, kept)| self.changed(&mut made, &base, &kept));
        let mut hits = Vec::new();
        if judged {
            self.visitor.passed(oid, made.rope.len() as u64);
        } else {
            hits = self.whole(oid, &mut made);
        }
        Some((self.keep(pack, at, made), hits))
    }

    /// Shows an object that was made before for others.
    fn known(&mut self, oid: Oid, known: Rc<Made<'a>>) -> Shown<'a, V::Hit> {
        if known.plain {
            self.visitor.passed(oid, known.rope.len() as u64);
            return (known, Vec::new());
        }
        let data = known.rope.bytes(&mut self.text);
        let hits = self.visitor.visit(oid, kind_of(known.kind), data).hits;
        (known, hits)
    }

    /// Shows a whole object to the visitor.
    fn whole(&mut self, oid: Oid, made: &mut Made<'a>) -> Vec<V::Hit> {
        let data = made.rope.bytes(&mut self.text);
        let looked = self.visitor.visit(oid, kind_of(made.kind), data);
        made.plain = looked.plain;
        if made.plain && made.kind == Kind::Tree {
            made.starts = starts(data, oid.as_bytes().len());
        }
        looked.hits
    }

    /// An object that others are made from. Nobody has asked for it, so it is judged and nothing found in it is told.
    fn base(&mut self, pack: usize, at: u64) -> Option<Rc<Made<'a>>> {
        if let Some(known) = self.made.get(&(pack, at)) {
            return Some(Rc::clone(known));
        }
        self.forget();
        let (mut made, from) = self.last(pack, at)?;
        self.judge(&mut made, from);
        Some(self.keep(pack, at, made))
    }

    /// Makes the object at a place, and judges what it is made from.
    fn last(&mut self, pack: usize, at: u64) -> Option<Derived<'a>> {
        let (bundle, file) = &self.packs.packs[pack];
        let (mut deltas, mut from, mut sum) = (Vec::new(), at, 0);
        let mut base = loop {
            if let Some(known) = self.made.get(&(pack, from)) {
                break Rc::clone(known);
            }
            match file.unpack(bundle, from, self.limit, &mut self.by).ok()? {
                Unpacked::TooLarge => return None,
                Unpacked::Whole(kind, bytes) => {
                    let mut made = self.fresh(kind, bytes);
                    if deltas.is_empty() {
                        return Some((made, None));
                    }
                    self.judge(&mut made, None);
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
            self.held += bytes.len() as u64;
            let (rope, kept) = base.rope.apply(bytes, &self.packs.meter).ok()?;
            let mut made = Made {
                kind: base.kind,
                rope,
                plain: false,
                starts: Vec::new(),
            };
            if deltas.is_empty() {
                return Some((made, Some((base, kept))));
            }
            self.judge(&mut made, Some((base, kept)));
            base = self.keep(pack, place, made);
        }
        None
    }

    fn fresh(&mut self, kind: Kind, bytes: Vec<u8>) -> Made<'a> {
        self.held += bytes.len() as u64;
        Made {
            kind,
            rope: Rope::whole(bytes, &self.packs.meter),
            plain: false,
            starts: Vec::new(),
        }
    }

    fn loose(&mut self, id: &gix::oid) -> Option<Made<'a>> {
        for store in &self.packs.loose {
            match store.try_header(id) {
                Ok(Some((size, _))) if size <= self.limit => {}
                Ok(None) => continue,
                _ => return None,
            }
            let mut bytes = Vec::new();
            let kind = store.try_find(id, &mut bytes).ok()??.kind;
            self.forget();
            return Some(self.fresh(kind, bytes));
        }
        None
    }

    /// Settles whether an object is plain that nobody has asked for.
    fn judge(&mut self, made: &mut Made<'a>, from: Option<(Rc<Made<'a>>, Vec<Kept>)>) {
        if from.is_some_and(|(base, kept)| self.changed(made, &base, &kept)) {
            return;
        }
        let data = made.rope.bytes(&mut self.text);
        match made.kind {
            Kind::Blob => {
                made.plain = self.visitor.clean_part(Part {
                    bytes: data,
                    first: true,
                    last: true,
                });
            }
            Kind::Tree => {
                let mut found = Vec::new();
                let all = renewed(data, self.packs.id_len, &[], &[], &mut found);
                made.plain = all.is_some_and(|all| all.iter().all(|entry| self.visitor.clean_name(entry.name)));
                made.starts = found;
            }
            Kind::Commit | Kind::Tag => {}
        }
    }

    /// Whether an object has nothing in it, by what its delta changes.
    fn changed(&mut self, made: &mut Made<'a>, base: &Made<'a>, kept: &[Kept]) -> bool {
        if !base.plain {
            return false;
        }
        made.plain = match made.kind {
            Kind::Blob => clean(self.visitor, &made.rope, base.rope.len(), kept, &mut self.text),
            Kind::Tree => {
                let data = made.rope.bytes(&mut self.text);
                let mut all = Vec::with_capacity(base.starts.len() + 8);
                let new = renewed(data, self.packs.id_len, &base.starts, kept, &mut all);
                made.starts = all;
                new.is_some_and(|new| new.iter().all(|entry| self.visitor.clean_name(entry.name)))
            }
            Kind::Commit | Kind::Tag => false,
        };
        made.plain
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
