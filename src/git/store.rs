//! Reading one object: from the quarantine, else from the main store with its alternates.
//!
//! Replace refs, grafts, shallow and commit-graph files are never read.

use super::bases::Bases;
use super::body::{CommitHead, commit_head, tag_target};
use super::chain::Packs;
use super::quarantine::{Quarantine, Read};
use super::{MAX_OBJECT_BYTES, locate::Layout, object_unreadable, outage, printable};
use crate::object::ObjectKind;
use crate::port::{Object, Outage};
use crate::push::Oid;
use gix::objs::{Exists, Find, Kind};
use gix::odb::Header;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The quarantine, if there is one, before the main store.
pub(super) struct Store {
    pub(super) quarantine: Option<Quarantine>,
    main: gix::odb::Handle,
    packs: OnceLock<Packs>,
    /// Looks no second time at the disk for what is not there.
    probe: gix::odb::Handle,
    objects: PathBuf,
    /// Whether the quarantine is the main store's own folder: what it holds then counts as brought.
    pub(super) whole: bool,
}

/// The commit that an id leads to, tags peeled, and the first tag on the way.
#[derive(Default)]
pub(super) struct Target {
    pub(super) commit: Option<Oid>,
    pub(super) tag: Option<(Oid, Vec<u8>)>,
    /// The tags are nested deeper than [`TAG_DEPTH`].
    pub(super) too_deep: bool,
}

/// How deep tags may be nested; Git has no use for more than one.
pub(super) const TAG_DEPTH: usize = 10;

impl Store {
    pub(super) fn open(layout: &Layout, quarantine: Option<Quarantine>) -> Result<Self, Outage> {
        let options = gix::odb::store::init::Options {
            alloc_limit_bytes: Some(MAX_OBJECT_BYTES),
            ..Default::default()
        };
        let mut main = gix::odb::at_opts(&layout.objects, layout.hash, None, options).map_err(|e| {
            outage(
                "object-store-unreadable",
                format!("cannot open {}", printable(&layout.objects)),
                e.to_string(),
                "check that the account that runs the hook may read it, and its info/alternates",
            )
        })?;
        main.set_pack_cache(|| Box::<Bases>::default());
        let mut probe = main.clone();
        probe.refresh_never();
        Ok(Self {
            quarantine,
            main,
            packs: OnceLock::new(),
            probe,
            objects: layout.objects.clone(),
            whole: false,
        })
    }

    /// Opens the main store as if all of its own objects had just been brought.
    pub(super) fn whole(layout: &Layout) -> Result<Self, Outage> {
        let own = Quarantine::open(&layout.objects, layout.hash)?;
        Ok(Self {
            whole: true,
            ..Self::open(layout, Some(own))?
        })
    }

    /// The main store's packs, to be read along their deltas and by several threads.
    pub(super) fn packs(&self) -> &Packs {
        self.packs.get_or_init(|| {
            let main = self.main.store_ref();
            let mut folders = main.alternate_db_paths().unwrap_or_default();
            folders.insert(0, self.objects.clone());
            Packs::open(&folders, main.object_hash())
        })
    }

    /// Whether the main store has it, by its indices alone.
    ///
    /// May say no for what an unreadable or vanishing pack holds: whoever asks must then do more, not less.
    pub(super) fn in_main(&self, oid: Oid) -> bool {
        let brought = || self.whole && self.position(oid.as_bytes()).is_some();
        id_of(&oid).is_some_and(|id| !brought() && self.probe.exists(id))
    }

    /// Whether it is anywhere.
    pub(super) fn has(&self, oid: Oid) -> Result<bool, Outage> {
        if self.position(oid.as_bytes()).is_some() {
            return Ok(true);
        }
        let Some(id) = id_of(&oid) else { return Ok(false) };
        match self.main.try_header(id) {
            Ok(header) => Ok(header.is_some()),
            Err(e) => Err(object_unreadable(&self.objects, id, &e)),
        }
    }

    pub(super) fn position(&self, oid: &[u8]) -> Option<u32> {
        self.quarantine.as_ref().and_then(|q| q.position(oid))
    }

    /// Reads an object into `buf`; `None` if it is nowhere.
    pub(super) fn find(&self, oid: Oid, limit: u64, buf: &mut Vec<u8>) -> Result<Option<Read>, Outage> {
        if let Some(quarantine) = &self.quarantine
            && let Some(at) = quarantine.position(oid.as_bytes())
        {
            return quarantine.read(at, limit, buf).map(Some);
        }
        let Some(id) = id_of(&oid) else { return Ok(None) };
        let failed = |why: &dyn std::fmt::Display| object_unreadable(&self.objects, id, why);
        // Only when a small limit is asked for is the header worth a look of its own.
        if limit < MAX_OBJECT_BYTES as u64
            && let Some(header) = self.main.try_header(id).map_err(|e| failed(&e))?
            && header.size() > limit
        {
            return Ok(Some(Read::TooLarge(header.kind())));
        }
        match self.main.try_find(id, buf) {
            Ok(found) => Ok(found.map(|data| Read::Done(data.kind))),
            Err(e) => self.main_failed(id, e.to_string(), &failed),
        }
    }

    /// Tells an object beyond the allocation limit from a broken one.
    fn main_failed(
        &self,
        id: &gix::oid,
        why: String,
        failed: &dyn Fn(&dyn std::fmt::Display) -> Outage,
    ) -> Result<Option<Read>, Outage> {
        match self.main.try_header(id) {
            Ok(Some(header)) if header.size() > MAX_OBJECT_BYTES as u64 => Ok(Some(Read::TooLarge(header.kind()))),
            _ => Err(failed(&why)),
        }
    }

    /// Reads an object of any kind up to the largest size.
    pub(super) fn object(&self, oid: Oid) -> Result<Object, Outage> {
        let mut data = Vec::new();
        match self.find(oid, MAX_OBJECT_BYTES as u64, &mut data)? {
            None => Err(self.missing(oid)),
            Some(Read::Done(kind)) => Ok(Object {
                kind: kind_of(kind),
                data,
            }),
            Some(Read::TooLarge(_)) => Err(outage(
                "object-too-large",
                format!("cannot read object {oid}"),
                format!("it is larger than {MAX_OBJECT_BYTES} bytes"),
                "keep such files out of Git",
            )),
        }
    }

    /// The head of a commit; the default head for one that is too large to read.
    pub(super) fn commit(&self, oid: Oid, buf: &mut Vec<u8>) -> Result<CommitHead, Outage> {
        match self.find(oid, MAX_OBJECT_BYTES as u64, buf)? {
            None => Err(self.missing(oid)),
            Some(Read::Done(Kind::Commit)) => Ok(commit_head(buf)),
            Some(Read::TooLarge(Kind::Commit)) => Ok(CommitHead::default()),
            Some(_) => Err(self.wrong_kind(oid, "commit")),
        }
    }

    /// Reads a tree.
    pub(super) fn tree(&self, oid: Oid, buf: &mut Vec<u8>) -> Result<(), Outage> {
        match self.find(oid, MAX_OBJECT_BYTES as u64, buf)? {
            None => Err(self.missing(oid)),
            Some(Read::Done(Kind::Tree)) => Ok(()),
            Some(_) => Err(self.wrong_kind(oid, "tree")),
        }
    }

    /// Follows tags to a commit.
    pub(super) fn peel(&self, oid: Oid) -> Result<Target, Outage> {
        let mut target = Target::default();
        let (mut at, mut data) = (oid, Vec::new());
        for _ in 0..=TAG_DEPTH {
            let read = self.find(at, MAX_OBJECT_BYTES as u64, &mut data)?;
            match read.ok_or_else(|| self.missing(at))? {
                Read::Done(Kind::Commit) | Read::TooLarge(Kind::Commit) => {
                    target.commit = Some(at);
                    return Ok(target);
                }
                Read::Done(Kind::Tag) => {
                    let next = tag_target(&data);
                    target.tag.get_or_insert_with(|| (at, std::mem::take(&mut data)));
                    match next {
                        Some(next) => at = next,
                        None => return Ok(target),
                    }
                }
                _ => return Ok(target),
            }
        }
        target.too_deep = true;
        Ok(target)
    }

    pub(super) fn missing(&self, oid: Oid) -> Outage {
        outage(
            "object-missing",
            format!("cannot find object {oid} in {}", printable(&self.objects)),
            "it is neither in the quarantine nor in the store",
            "check the repository with git fsck",
        )
    }

    fn wrong_kind(&self, oid: Oid, wanted: &str) -> Outage {
        outage(
            "object-unreadable",
            format!("cannot use object {oid} in {}", printable(&self.objects)),
            format!("it is no {wanted}"),
            "check the repository with git fsck",
        )
    }
}

/// gix's view of an id; `None` for a length that gix does not know.
pub(super) fn id_of(oid: &Oid) -> Option<&gix::oid> {
    gix::oid::try_from_bytes(oid.as_bytes()).ok()
}

/// Our view of an id of gix's.
pub(super) fn oid_of(id: &gix::oid) -> Oid {
    oid_from(id.as_bytes())
}

/// An id from the raw bytes of a tree entry or of gix, which are 20 or 32.
pub(super) fn oid_from(raw: &[u8]) -> Oid {
    match Oid::from_bytes(raw) {
        Ok(oid) => oid,
        Err(_) => unreachable!("ids are cut to 20 or 32 bytes where they are read"),
    }
}

pub(super) fn kind_of(kind: Kind) -> ObjectKind {
    match kind {
        Kind::Commit => ObjectKind::Commit,
        Kind::Tree => ObjectKind::Tree,
        Kind::Blob => ObjectKind::Blob,
        Kind::Tag => ObjectKind::Tag,
    }
}
