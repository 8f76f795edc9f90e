//! The scanner as the repository's visitor.

use crate::object::{ObjectKind, tree_names};
use crate::port::ObjectVisitor;
use crate::push::Oid;
use crate::scan::{Match, Scanner};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Names that are remembered, by their hash: 512 KiB, which a second-level cache holds.
const REMEMBERED: usize = 1 << 16;

/// Scans each object of a push; of trees only the names, and each name mostly once.
///
/// The trees of a long push are most of its bytes and repeat the same names again and again. A name that was
/// clean is remembered by a hash whose key is drawn for each push, so that nobody can make another name pass
/// for it.
pub(super) struct Visitor<'a> {
    scanner: &'a Scanner<'a>,
    key: RandomState,
    clean: Vec<AtomicU64>,
}

impl<'a> Visitor<'a> {
    pub(super) fn new(scanner: &'a Scanner<'a>) -> Self {
        let clean = std::iter::repeat_with(AtomicU64::default).take(REMEMBERED).collect();
        Self {
            scanner,
            key: RandomState::new(),
            clean,
        }
    }

    fn names(&self, tree: &[u8], id_len: usize) -> Vec<Match> {
        let mut found = Vec::new();
        for (at, name) in tree_names(tree, id_len) {
            let hash = self.key.hash_one(name);
            let slot = &self.clean[hash as usize % REMEMBERED];
            if slot.load(Ordering::Relaxed) == hash {
                continue;
            }
            let matches = self.scanner.scan(name);
            if matches.is_empty() {
                slot.store(hash, Ordering::Relaxed);
            }
            found.extend(matches.into_iter().map(|found| moved(found, at as u64)));
        }
        found
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

    fn visit(&self, oid: Oid, kind: ObjectKind, data: &[u8]) -> Vec<Match> {
        match kind {
            ObjectKind::Tree => self.names(data, oid.as_bytes().len()),
            _ => self.scanner.scan(data),
        }
    }
}
