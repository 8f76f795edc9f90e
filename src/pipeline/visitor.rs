//! The scanner as the repository's visitor.

use crate::object::{ObjectKind, tree_names};
use crate::port::{Looked, ObjectVisitor, Part, Verdicts};
use crate::push::Oid;
use crate::scan::{MARGIN, Match, Scanner};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Names that are remembered, by their hash: 512 KiB, which a second-level cache holds.
const REMEMBERED: usize = 1 << 16;

/// Scans each object of a push; of trees only the names, and each name mostly once.
///
/// The trees of a long push repeat the same names again and again. A name that was clean is remembered by a hash
/// whose key is drawn for each push, so that nobody can make another name pass for it.
pub struct Visitor<'a> {
    scanner: &'a Scanner<'a>,
    verdicts: Option<&'a dyn Verdicts>,
    key: RandomState,
    clean: Vec<AtomicU64>,
}

impl<'a> Visitor<'a> {
    /// A visitor that remembers nothing yet.
    ///
    /// * `verdicts`: what is known from earlier looks under the same rules; learns what this one finds.
    pub fn new(scanner: &'a Scanner<'a>, verdicts: Option<&'a dyn Verdicts>) -> Self {
        let clean = std::iter::repeat_with(AtomicU64::default).take(REMEMBERED).collect();
        Self {
            scanner,
            verdicts,
            key: RandomState::new(),
            clean,
        }
    }

    fn note(&self, oid: Oid) {
        if let Some(verdicts) = self.verdicts {
            verdicts.note(oid);
        }
    }

    /// The matches in a name.
    fn name(&self, name: &[u8]) -> Vec<Match> {
        let hash = self.key.hash_one(name);
        let slot = &self.clean[hash as usize % REMEMBERED];
        if slot.load(Ordering::Relaxed) == hash {
            return Vec::new();
        }
        let matches = self.scanner.scan(name);
        if matches.is_empty() {
            slot.store(hash, Ordering::Relaxed);
        }
        matches
    }

    fn tree(&self, tree: &[u8], id_len: usize) -> Looked<Match> {
        let mut hits = Vec::new();
        for (at, name) in tree_names(tree, id_len) {
            hits.extend(self.name(name).into_iter().map(|found| moved(found, at as u64)));
        }
        let plain = hits.is_empty();
        Looked { hits, plain }
    }
}

/// A match in a name, with its place in the tree object.
fn moved(mut found: Match, by: u64) -> Match {
    found.span.start += by;
    found.span.end += by;
    found
}

impl ObjectVisitor for Visitor<'_> {
    type Hit = Match;

    fn visit(&self, oid: Oid, kind: ObjectKind, data: &[u8]) -> Looked<Match> {
        let looked = match kind {
            ObjectKind::Tree => self.tree(data, oid.as_bytes().len()),
            _ => {
                let (hits, plain) = self.scanner.outline(data);
                Looked { hits, plain }
            }
        };
        if looked.plain {
            self.note(oid);
        }
        looked
    }

    fn margin(&self) -> usize {
        MARGIN
    }

    fn clean_part(&self, part: Part<'_>) -> bool {
        self.scanner.clean_part(part.bytes, part.first, part.last)
    }

    fn clean_name(&self, name: &[u8]) -> bool {
        self.name(name).is_empty()
    }

    fn is_known(&self, oid: Oid, _: u64) -> bool {
        self.verdicts.is_some_and(|verdicts| verdicts.is_plain(oid))
    }

    fn passed(&self, oid: Oid, _: u64) {
        self.note(oid);
    }
}
