//! At which paths the commits of a push bring the objects in which something was found.
//!
//! The scan names one place of each object; where the policy judges by path, all
//! count, or who pushes would choose the one that is judged. In scope: what the
//! commits have and their parents do not have at the same path. Out of scope:
//! what a path means (`check`).

use crate::facts::{CommitFact, ScanFact};
use crate::object;
use crate::port::Repository;
use crate::push::Oid;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most trees that are read, and most of their bytes: a fraction of a second, which only a push with a match costs.
const MAX_TREES: usize = 4_000;
const MAX_BYTES: usize = 256 << 20;
/// Most paths in all, and the longest one.
const MAX_PATHS: usize = 1_000;
const MAX_PATH: usize = 4_096;

/// Notes at each match every path at which the commits bring its object; at none if not all can be known.
pub(super) fn note<R: Repository>(repository: &R, commits: &[CommitFact], scan: &mut ScanFact) {
    let with_path = scan.secrets.iter().filter(|secret| secret.place.path.is_some());
    let wanted: BTreeSet<Oid> = with_path.filter_map(|secret| secret.place.object).collect();
    if wanted.is_empty() {
        return;
    }
    let mut search = Search {
        repository,
        roots: commits.iter().map(|commit| (commit.oid, commit.tree)).collect(),
        found: wanted.into_iter().map(|oid| (oid, BTreeSet::new())).collect(),
        trees: MAX_TREES,
        bytes: MAX_BYTES,
        paths: MAX_PATHS,
    };
    if commits.iter().try_for_each(|commit| search.commit(commit)).is_none() {
        return;
    }
    for secret in &mut scan.secrets {
        let found = secret.place.object.and_then(|oid| search.found.get(&oid));
        secret.paths = found.map(|paths| paths.iter().cloned().collect());
    }
}

struct Search<'a, R> {
    repository: &'a R,
    /// The trees of the push's commits.
    roots: HashMap<Oid, Oid>,
    found: BTreeMap<Oid, BTreeSet<String>>,
    /// What may still be read and kept.
    trees: usize,
    bytes: usize,
    paths: usize,
}

/// What a folder holds: by name the id, and whether that is a folder.
type Folder = HashMap<Vec<u8>, (Oid, bool)>;

impl<R: Repository> Search<'_, R> {
    /// Looks through what a commit brings; `None` where that cannot be known.
    fn commit(&mut self, commit: &CommitFact) -> Option<()> {
        if commit.malformed.is_some() {
            return None;
        }
        let parents = commit.parents.iter().map(|parent| self.root(*parent));
        let parents: Vec<Oid> = parents.collect::<Option<_>>()?;
        let mut waiting = vec![(String::new(), commit.tree, parents)];
        while let Some((path, tree, parents)) = waiting.pop() {
            if parents.contains(&tree) {
                continue;
            }
            let here = self.folder(tree)?;
            let before: Vec<Folder> = parents.iter().map(|tree| self.folder(*tree)).collect::<Option<_>>()?;
            for (name, entry) in here {
                let known = before.iter().map(|folder| folder.get(&name));
                let known: Vec<(Oid, bool)> = known.flatten().copied().collect();
                if known.contains(&entry) {
                    continue;
                }
                let path = joined(&path, &name)?;
                self.take(entry.0, &path)?;
                if entry.1 {
                    let parents = known.iter().filter(|(_, is_folder)| *is_folder).map(|(oid, _)| *oid);
                    waiting.push((path, entry.0, parents.collect()));
                }
            }
        }
        Some(())
    }

    /// The tree of a commit, which need not be the push's.
    fn root(&mut self, commit: Oid) -> Option<Oid> {
        if let Some(tree) = self.roots.get(&commit) {
            return Some(*tree);
        }
        let data = self.repository.object(commit).ok()?.data;
        let tree = object::commit(&data).ok()?.tree;
        self.roots.insert(commit, tree);
        Some(tree)
    }

    fn folder(&mut self, tree: Oid) -> Option<Folder> {
        self.trees = self.trees.checked_sub(1)?;
        let data = self.repository.object(tree).ok()?.data;
        self.bytes = self.bytes.checked_sub(data.len())?;
        folder(&data, tree.as_bytes().len())
    }

    fn take(&mut self, oid: Oid, path: &str) -> Option<()> {
        if let Some(paths) = self.found.get_mut(&oid)
            && paths.insert(path.to_owned())
        {
            self.paths = self.paths.checked_sub(1)?;
        }
        Some(())
    }
}

/// Reads a tree: `mode SP name NUL id`, again and again; `None` if anything else is in it.
fn folder(data: &[u8], id_len: usize) -> Option<Folder> {
    let mut entries = Folder::new();
    let mut start = 0;
    for (at, name) in object::tree_names(data, id_len) {
        let mode = std::str::from_utf8(data.get(start..at.checked_sub(1)?)?).ok()?;
        let mode = u32::from_str_radix(mode, 8).ok()?;
        let id = at + name.len() + 1;
        start = id + id_len;
        let oid = Oid::from_bytes(data.get(id..start)?).ok()?;
        let is_new = entries.insert(name.to_vec(), (oid, mode & 0o170_000 == 0o040_000));
        // A name that is there twice: which one counts depends on who reads.
        if is_new.is_some() {
            return None;
        }
    }
    Some(entries)
}

/// A path and a name below it, as a place tells them; `None` if that is too long.
fn joined(path: &str, name: &[u8]) -> Option<String> {
    let mut joined = path.to_owned();
    if !joined.is_empty() {
        joined.push('/');
    }
    crate::finding::push_printable(&mut joined, name);
    (joined.len() <= MAX_PATH).then_some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mode: &str, name: &str, id: u8) -> Vec<u8> {
        [mode.as_bytes(), b" ", name.as_bytes(), b"\0", &[id; 20]].concat()
    }

    #[test]
    fn a_tree_is_read_whole_or_not_at_all() {
        let tree = [
            entry("100644", "a", 1),
            entry("40000", "b", 2),
            entry("040755", "c", 3),
            entry("160000", "d", 4),
        ]
        .concat();
        let read = folder(&tree, 20).unwrap();
        let folders: BTreeSet<&[u8]> = read.iter().filter(|e| e.1.1).map(|e| &e.0[..]).collect();
        assert_eq!((read.len(), folders), (4, BTreeSet::from([&b"b"[..], b"c"])));
        assert_eq!(folder(b"", 20), Some(Folder::new()));
        for broken in [
            &tree[..tree.len() - 1],
            &[&tree[..], b"x"].concat(),
            &[&tree[..], b"100644 e"].concat(),
            &entry("9", "a", 1),
            &entry("", "a", 1),
            &[entry("100644", "a", 1), entry("100644", "a", 2)].concat(),
        ] {
            assert_eq!(folder(broken, 20), None, "{}", broken.escape_ascii());
        }
    }

    #[test]
    fn a_path_is_as_a_place_tells_it_and_has_an_end() {
        assert_eq!(joined("a", b"b\n\xff").as_deref(), Some("a/b\\x0a\\xff"));
        assert_eq!(joined("", b"b").as_deref(), Some("b"));
        assert_eq!(joined("a", &[b'x'; MAX_PATH]), None);
    }
}
