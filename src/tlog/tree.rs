//! Merkle trees of RFC 6962 by their complete subtrees.
//!
//! A complete subtree is named `(level, index)`: it covers the leaves
//! `index << level` to `(index + 1) << level`. A store keeps all complete ones;
//! everything else is folded from them. Work and memory of each function but
//! [`append`] are `O(log² size)`.

use sha2::{Digest, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The name of a complete subtree: level (0 = leaf hashes) and index.
pub type Node = (u8, u64);

/// Hash of a leaf: `SHA-256(0x00 || data)`.
pub fn leaf_hash(data: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(data).finalize().into()
}

/// Hash of an inner node: `SHA-256(0x01 || left || right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// The complete subtrees that cover a tree of `size` leaves, largest (leftmost) first: at most 64.
pub fn right_edge(size: u64) -> Vec<Node> {
    cover(0, size)
}

/// The root that the hashes of [`right_edge`] fold to; for an empty tree `SHA-256("")`.
pub fn root(edge: &[Hash]) -> Hash {
    fold(edge).unwrap_or_else(|| Sha256::digest([]).into())
}

/// What an append leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Hashes of the subtrees that became complete, leaf hashes included.
    pub nodes: Vec<(u8, u64, Hash)>,
    /// The new size.
    pub size: u64,
    /// The new root.
    pub root: Hash,
}

/// Appends leaves to a tree.
///
/// * `size`: the tree's size.
/// * `edge`: the hashes of [`right_edge`]`(size)`, in its order.
///
/// `None` if `edge` has another length, or the tree would have more than 2⁶³ leaves.
pub fn append(size: u64, edge: &[Hash], leaves: &[Vec<u8>]) -> Option<Appended> {
    let names = right_edge(size);
    let new_size = size
        .checked_add(leaves.len() as u64)
        .filter(|n| *n <= 1 << 63 && names.len() == edge.len())?;
    let mut stack: Vec<(Node, Hash)> = names.into_iter().zip(edge.iter().copied()).collect();
    let mut nodes = Vec::new();
    for (index, data) in (size..).zip(leaves) {
        push(&mut stack, ((0, index), leaf_hash(data)), &mut nodes);
    }
    let hashes: Vec<Hash> = stack.into_iter().map(|(_, hash)| hash).collect();
    Some(Appended {
        nodes,
        size: new_size,
        root: root(&hashes),
    })
}

/// Puts a complete subtree at the right edge and joins pairs of equal level.
fn push(stack: &mut Vec<(Node, Hash)>, node: (Node, Hash), nodes: &mut Vec<(u8, u64, Hash)>) {
    let ((level, index), hash) = node;
    nodes.push((level, index, hash));
    match stack.pop() {
        Some(((left_level, _), left)) if left_level == level => {
            push(stack, ((level + 1, index >> 1), node_hash(&left, &hash)), nodes);
        }
        Some(other) => stack.extend([other, node]),
        None => stack.push(node),
    }
}

/// The subtrees whose hashes [`inclusion_proof`] wants. `None` if `index` is not below `size`.
pub fn inclusion_nodes(index: u64, size: u64) -> Option<Vec<Node>> {
    (index < size).then(|| names(&inclusion_ranges(index, size)))
}

/// The audit path of a leaf, lowest sibling first.
///
/// * `hashes`: those of [`inclusion_nodes`]`(index, size)`, in its order.
///
/// `None` if `index` is not below `size` or `hashes` has another length.
pub fn inclusion_proof(index: u64, size: u64, hashes: &[Hash]) -> Option<Vec<Hash>> {
    if index >= size {
        return None;
    }
    fold_ranges(&inclusion_ranges(index, size), hashes)
}

/// Whether `proof` shows that a tree of `size` leaves with this root has this leaf at `index` (RFC 9162, 2.1.3.2).
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// The subtrees whose hashes [`consistency_proof`] wants. `None` unless `0 < old <= size`.
pub fn consistency_nodes(old: u64, size: u64) -> Option<Vec<Node>> {
    (0 < old && old <= size).then(|| names(&consistency_ranges(old, size)))
}

/// The proof that a tree of `size` leaves begins with the tree of `old` leaves.
///
/// * `hashes`: those of [`consistency_nodes`]`(old, size)`, in its order.
///
/// `None` unless `0 < old <= size` and `hashes` has the right length.
pub fn consistency_proof(old: u64, size: u64, hashes: &[Hash]) -> Option<Vec<Hash>> {
    if old == 0 || old > size {
        return None;
    }
    fold_ranges(&consistency_ranges(old, size), hashes)
}

/// Whether `proof` shows that the tree `new` begins with the tree `old`, each (size, root) (RFC 9162, 2.1.4.2).
pub fn verify_consistency(old: (u64, &Hash), new: (u64, &Hash), proof: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 || old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    // A complete old tree is its own first element.
    let given = if old_size.is_power_of_two() {
        Some(old_root)
    } else {
        None
    };
    let mut path = given.into_iter().chain(proof);
    let Some(first) = path.next() else { return false };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// A half-open range of leaves whose subtree hash a proof holds.
type Range = (u64, u64);

/// RFC 9162 2.1.3.1, as ranges, lowest first.
fn inclusion_ranges(index: u64, size: u64) -> Vec<Range> {
    let (mut start, mut end, mut ranges) = (0, size, Vec::new());
    while end - start > 1 {
        let split = start + largest_power_below(end - start);
        if index < split {
            ranges.push((split, end));
            end = split;
        } else {
            ranges.push((start, split));
            start = split;
        }
    }
    ranges.reverse();
    ranges
}

/// RFC 9162 2.1.4.1, as ranges, lowest first.
fn consistency_ranges(old: u64, size: u64) -> Vec<Range> {
    let (mut start, mut end, mut whole, mut ranges) = (0, size, true, Vec::new());
    while end != old {
        let split = start + largest_power_below(end - start);
        if old <= split {
            ranges.push((split, end));
            end = split;
        } else {
            ranges.push((start, split));
            start = split;
            whole = false;
        }
    }
    if !whole {
        ranges.push((start, end));
    }
    ranges.reverse();
    ranges
}

/// The largest power of two below `n`; `n` is at least 2.
fn largest_power_below(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// The complete subtrees that cover a range whose start is aligned to its length, largest first.
fn cover(mut start: u64, end: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    while start < end {
        let level = (end - start).ilog2();
        nodes.push((level as u8, start >> level));
        start += 1 << level;
    }
    nodes
}

fn names(ranges: &[Range]) -> Vec<Node> {
    ranges.iter().flat_map(|(start, end)| cover(*start, *end)).collect()
}

fn fold_ranges(ranges: &[Range], hashes: &[Hash]) -> Option<Vec<Hash>> {
    let (mut rest, mut proof) = (hashes, Vec::with_capacity(ranges.len()));
    for (start, end) in ranges {
        let (these, others) = rest.split_at_checked(cover(*start, *end).len())?;
        proof.push(fold(these)?);
        rest = others;
    }
    rest.is_empty().then_some(proof)
}

/// Folds the hashes of a cover, largest first, to the hash of the whole.
fn fold(hashes: &[Hash]) -> Option<Hash> {
    let (last, before) = hashes.split_last()?;
    Some(before.iter().rev().fold(*last, |right, left| node_hash(left, &right)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// The definition of RFC 9162, 2.1.1, word for word.
    fn naive_root(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => leaf_hash(one),
            many => {
                let split = largest_power_below(many.len() as u64) as usize;
                node_hash(&naive_root(&many[..split]), &naive_root(&many[split..]))
            }
        }
    }

    /// RFC 9162, 2.1.3.1, word for word.
    fn naive_path(index: usize, leaves: &[Vec<u8>]) -> Vec<Hash> {
        if leaves.len() < 2 {
            return Vec::new();
        }
        let split = largest_power_below(leaves.len() as u64) as usize;
        let (left, right) = leaves.split_at(split);
        let (mut path, sibling) = if index < split {
            (naive_path(index, left), naive_root(right))
        } else {
            (naive_path(index - split, right), naive_root(left))
        };
        path.push(sibling);
        path
    }

    fn leaves(count: u64) -> Vec<Vec<u8>> {
        (0..count).map(|i| i.to_le_bytes().to_vec()).collect()
    }

    /// All complete subtrees, by appending one leaf at a time; and the root at each size.
    fn grow(count: u64) -> (HashMap<Node, Hash>, Vec<Hash>) {
        let (mut kept, mut roots) = (HashMap::new(), vec![root(&[])]);
        for (size, leaf) in leaves(count).into_iter().enumerate() {
            let edge = fetch(&kept, &right_edge(size as u64));
            let step = append(size as u64, &edge, &[leaf]).unwrap();
            kept.extend(step.nodes.iter().map(|(l, i, h)| ((*l, *i), *h)));
            roots.push(step.root);
        }
        (kept, roots)
    }

    fn fetch(kept: &HashMap<Node, Hash>, wanted: &[Node]) -> Vec<Hash> {
        wanted.iter().map(|n| kept[n]).collect()
    }

    #[test]
    fn roots_agree_with_the_definition_up_to_300() {
        let (_, roots) = grow(300);
        for (size, root) in roots.iter().enumerate() {
            assert_eq!(*root, naive_root(&leaves(size as u64)), "size {size}");
        }
    }

    #[test]
    fn an_append_of_many_is_that_of_each() {
        let (kept, roots) = grow(300);
        for (size, more) in [(0u64, 300u64), (1, 7), (100, 29), (127, 1), (128, 2), (255, 45)] {
            let edge = fetch(&kept, &right_edge(size));
            let new = leaves(size + more).split_off(size as usize);
            let step = append(size, &edge, &new).unwrap();
            assert_eq!((step.size, step.root), (size + more, roots[(size + more) as usize]));
            assert!(step.nodes.iter().all(|(l, i, h)| kept[&(*l, *i)] == *h));
        }
        assert_eq!(append(3, &[], &[]), None);
        assert_eq!(append(u64::MAX, &[[0; 32]; 64], &leaves(1)), None);
    }

    #[test]
    fn every_leaf_of_every_size_up_to_300_has_its_proof() {
        let (kept, roots) = grow(300);
        let all = leaves(300);
        for size in 0..=300u64 {
            let tree = &all[..size as usize];
            let step = if size < 40 { 1 } else { 13 };
            for index in (0..size).step_by(step).chain(size.checked_sub(1)) {
                let nodes = fetch(&kept, &inclusion_nodes(index, size).unwrap());
                let proof = inclusion_proof(index, size, &nodes).unwrap();
                assert_eq!(proof, naive_path(index as usize, tree), "{index} of {size}");
                let leaf = leaf_hash(&tree[index as usize]);
                let root = &roots[size as usize];
                assert!(verify_inclusion(leaf, index, size, &proof, root));
                assert!(!verify_inclusion(leaf, index + 1, size, &proof, root));
                assert!(!verify_inclusion([7; 32], index, size, &proof, root));
            }
            assert_eq!(inclusion_nodes(size, size), None);
        }
    }

    #[test]
    fn every_pair_of_sizes_is_consistent() {
        let (kept, roots) = grow(300);
        for size in (1..=64u64).chain([100, 127, 128, 129, 255, 256, 257, 300]) {
            for old in 1..=size {
                let nodes = fetch(&kept, &consistency_nodes(old, size).unwrap());
                let proof = consistency_proof(old, size, &nodes).unwrap();
                let (a, b) = (&roots[old as usize], &roots[size as usize]);
                assert!(verify_consistency((old, a), (size, b), &proof), "{old} to {size}");
                assert!(!verify_consistency((old, &[7; 32]), (size, b), &proof));
                assert!(!verify_consistency((old, a), (size, &[7; 32]), &proof));
                if old < size {
                    assert!(!verify_consistency(
                        (old, a),
                        (size, b),
                        &[&proof[..], &[[0; 32]]].concat()
                    ));
                }
            }
        }
        assert_eq!(consistency_nodes(0, 3), None);
        assert_eq!(consistency_nodes(4, 3), None);
    }

    proptest::proptest! {
        #[test]
        fn no_proof_makes_a_verifier_fail(index: u64, size: u64, proof in proptest::collection::vec(proptest::array::uniform32(0u8..), 0..70)) {
            verify_inclusion([1; 32], index, size, &proof, &[2; 32]);
            verify_consistency((index, &[1; 32]), (size, &[2; 32]), &proof);
        }

        #[test]
        fn one_changed_bit_is_refused(size in 1u64..300, at: u64, bit in 0usize..256) {
            let (kept, roots) = grow(size);
            let index = at % size;
            let nodes = fetch(&kept, &inclusion_nodes(index, size).unwrap());
            let mut proof = inclusion_proof(index, size, &nodes).unwrap();
            if let Some(hash) = proof.get_mut(bit % 9) {
                hash[bit / 8] ^= 1 << (bit % 8);
                let leaf = leaf_hash(&leaves(size)[index as usize]);
                proptest::prop_assert!(!verify_inclusion(leaf, index, size, &proof, &roots[size as usize]));
            }
        }
    }
}
