//! The few lines of an object that the graph needs, read leniently, as Git itself reads them.
//!
//! In scope: tree and parents of a commit, target of a tag, entries of a tree.
//! Out of scope: whether an object is well-formed; the strict reader is
//! `object`. A malformed object yields less, never an error and never a panic:
//! its raw bytes still go to the strict reader and to the scanner.

pub(super) use crate::finding::push_printable;
use crate::push::Oid;

/// What of a commit the graph needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitHead {
    /// The tree; `None` when the first line is no `tree` line.
    pub tree: Option<Oid>,
    /// The parents, as many as stand directly after the tree line.
    pub parents: Vec<Oid>,
    /// The claimed commit time. The pusher writes it: it may order work, never decide.
    pub seconds: i64,
}

/// Reads the head of a commit exactly as far as Git's own graph walk does.
///
/// Hex digits of both cases count, as Git accepts both; a parent line that ends
/// the object does not, as Git ignores it.
///
/// ```
/// let head = lychgate::git::commit_head(b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor x\n");
/// assert!(head.tree.is_some() && head.parents.is_empty());
/// ```
pub fn commit_head(data: &[u8]) -> CommitHead {
    let Some((tree, mut rest)) = oid_line(data, b"tree ") else {
        return CommitHead::default();
    };
    // Most have one; a vector that grows takes room for four.
    let mut parents = Vec::with_capacity(1);
    while let Some((parent, after)) = oid_line(rest, b"parent ") {
        if after.is_empty() {
            break;
        }
        parents.push(parent);
        rest = after;
    }
    CommitHead {
        tree: Some(tree),
        parents,
        seconds: committer_seconds(rest),
    }
}

/// The object that an annotated tag names; `None` when its first line is no `object` line.
pub fn tag_target(data: &[u8]) -> Option<Oid> {
    oid_line(data, b"object ").map(|(target, _)| target)
}

/// Reads `<key><hex>\n` at the start; returns the id and what follows.
fn oid_line<'a>(data: &'a [u8], key: &[u8]) -> Option<(Oid, &'a [u8])> {
    let rest = data.strip_prefix(key)?;
    // Longer than any id: what is cut off here is no id anyway.
    let end = rest.iter().take(65).position(|&b| b == b'\n')?;
    let mut raw = [0; 32];
    let hex = &rest[..end];
    if hex.len() != 40 && hex.len() != 64 {
        return None;
    }
    for (byte, pair) in raw.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    let oid = Oid::from_bytes(&raw[..hex.len() / 2]).ok()?;
    Some((oid, &rest[end + 1..]))
}

fn digit(b: u8) -> Option<u8> {
    (b as char).to_digit(16).map(|d| d as u8)
}

/// The claimed time of the first committer line among the headers; 0 when there is none.
fn committer_seconds(headers: &[u8]) -> i64 {
    headers
        .split(|&b| b == b'\n')
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.strip_prefix(b"committer "))
        .and_then(|line| line.rsplit(|&b| b == b' ').nth(1))
        .and_then(|field| std::str::from_utf8(field).ok())
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// What a tree entry points at, by its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file or symbolic link.
    Blob,
    /// A folder.
    Tree,
    /// A commit of another repository: nothing of ours.
    Submodule,
}

/// One entry of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeEntry<'a> {
    /// What it points at.
    pub kind: EntryKind,
    /// Its name, raw.
    pub name: &'a [u8],
    /// The raw object id, 20 or 32 bytes.
    pub id: &'a [u8],
}

/// Iterates over the entries of a tree; ends at the first byte that is no entry.
#[derive(Debug, Clone)]
pub struct TreeEntries<'a> {
    rest: &'a [u8],
    id_len: usize,
}

/// The entries of a tree, as far as they can be read.
///
/// * `id_len`: bytes of an object id, 20 or 32.
///
/// ```
/// let tree = [b"40000 docs\0".as_slice(), &[7; 20]].concat();
/// let names: Vec<_> = lychgate::git::tree_entries(&tree, 20).map(|e| e.name).collect();
/// assert_eq!(names, [b"docs"]);
/// ```
pub fn tree_entries(data: &[u8], id_len: usize) -> TreeEntries<'_> {
    TreeEntries { rest: data, id_len }
}

impl<'a> TreeEntries<'a> {
    /// Whether every byte so far belonged to an entry and none is left.
    pub fn is_complete(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes after the last entry so far.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Goes on behind an entry if it comes next, byte for byte; whether it did.
    pub(super) fn skip(&mut self, entry: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(entry);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Bytes after the last entry so far.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for TreeEntries<'a> {
    type Item = TreeEntry<'a>;

    fn next(&mut self) -> Option<TreeEntry<'a>> {
        let data = self.rest;
        let mut mode = 0u32;
        let mut at = 0;
        while let Some(d @ b'0'..=b'7') = data.get(at) {
            mode = mode.wrapping_shl(3) | u32::from(d - b'0');
            at += 1;
        }
        if at == 0 || data.get(at) != Some(&b' ') {
            return None;
        }
        let name = &data[at + 1..];
        let end = memchr::memchr(0, name)?;
        let id = name.get(end + 1..end + 1 + self.id_len)?;
        self.rest = &name[end + 1 + self.id_len..];
        let kind = match mode & 0o170_000 {
            0o040_000 => EntryKind::Tree,
            0o160_000 => EntryKind::Submodule,
            _ => EntryKind::Blob,
        };
        Some(TreeEntry {
            kind,
            name: &name[..end],
            id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

    #[test]
    fn reads_tree_parents_and_time() {
        let text =
            format!("tree {TREE}\nparent {TREE}\nparent {TREE}\nauthor a <a> 1 +0\ncommitter c <c> 77 +0000\n\nm");
        let head = commit_head(text.as_bytes());
        assert_eq!((head.parents.len(), head.seconds), (2, 77));
    }

    #[test]
    fn parent_after_another_header_or_at_the_end_is_none() {
        let late = format!("tree {TREE}\nauthor a\nparent {TREE}\n\n");
        assert!(commit_head(late.as_bytes()).parents.is_empty());
        let last = format!("tree {TREE}\nparent {TREE}\n");
        assert!(commit_head(last.as_bytes()).parents.is_empty());
    }

    #[test]
    fn upper_case_hex_counts_as_git_counts_it() {
        let text = format!("tree {}\n\n", TREE.to_uppercase());
        assert_eq!(commit_head(text.as_bytes()).tree, TREE.parse().ok());
    }

    #[test]
    fn printable_paths_escape_control_characters_and_foreign_bytes() {
        let mut path = String::new();
        push_printable(&mut path, b"a\x1b[2J\xff\xc3\xa4\n");
        assert_eq!(path, "a\\x1b[2J\\xff\u{e4}\\x0a");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes_are_read_without_a_panic(data in prop::collection::vec(any::<u8>(), 0..400)) {
            commit_head(&data);
            tag_target(&data);
            let total: usize = tree_entries(&data, 20).map(|e| e.name.len() + e.id.len()).sum();
            prop_assert!(total <= data.len());
        }

        #[test]
        fn written_entries_are_read_back(names in prop::collection::vec("[^\u{0}/]{1,20}", 0..8)) {
            let mut data = Vec::new();
            for (i, name) in names.iter().enumerate() {
                data.extend_from_slice(b"100644 ");
                data.extend_from_slice(name.as_bytes());
                data.push(0);
                data.extend_from_slice(&[i as u8; 32]);
            }
            let mut entries = tree_entries(&data, 32);
            let read: Vec<_> = entries.by_ref().map(|e| (e.name.to_vec(), e.id[0])).collect();
            let written: Vec<_> = names.iter().enumerate().map(|(i, n)| (n.as_bytes().to_vec(), i as u8)).collect();
            prop_assert_eq!(read, written);
            prop_assert!(entries.is_complete());
        }
    }
}
