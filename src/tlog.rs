//! The log's mathematics: RFC 6962 hashing, appends, proofs, checkpoints. Pure.
//!
//! In scope: which hashes of complete subtrees a step needs, and what follows
//! from them ([`tree`]); signed checkpoints and proof texts ([`note`]). Out of
//! scope: keeping the hashes (the store) and signing (the signer).
//! <https://www.rfc-editor.org/rfc/rfc9162#section-2.1>

pub mod note;
pub mod tree;

pub use note::{Checkpoint, NoteError, Proof};
pub use tree::{
    Appended, Hash, Node, append, consistency_nodes, consistency_proof, inclusion_nodes, inclusion_proof, leaf_hash,
    node_hash, right_edge, root, verify_consistency, verify_inclusion,
};

/// The log's head.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Number of leaves.
    pub size: u64,
    /// Root hash of the tree of that size.
    pub root: [u8; 32],
    /// The signed checkpoint (C2SP tlog-checkpoint); empty for an empty log.
    pub checkpoint: String,
}
