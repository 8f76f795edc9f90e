//! The log's mathematics: RFC 6962 hashing, appends, proofs, checkpoints. Pure.

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
