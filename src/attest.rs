//! Attestations: the statements about an entry, their envelopes and bundles, the key that signs them.
//!
//! In scope: building compact in-toto statements ([`statement`]), DSSE and
//! Sigstore bundles ([`dsse`]), P-256 public keys ([`key`]). Out of scope:
//! signing (the `signer` adapter), judging a bundle (`verify`), the log (`tlog`).
//! Pure: equal arguments give equal bytes.

pub mod dsse;
pub mod event;
pub mod key;
pub mod statement;

pub use dsse::{Bundle, Envelope, PAYLOAD_TYPE, VerifiedPayload, pae};
pub use event::{Action, Reason, SelectorKind};
pub use key::PublicKey;
pub use statement::{Provenance, Reopen, Statement, Vsa};

use sha2::{Digest, Sha256};

/// Why foreign bytes are no key, envelope or bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}: {why}")]
pub struct Malformed {
    /// What was expected, such as `DSSE envelope`.
    pub what: &'static str,
    /// What is wrong, in one sentence; quotes no input.
    pub why: String,
}

impl Malformed {
    pub(crate) fn new(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, why: why.into() }
    }
}

/// SHA-256 of bytes as 64 lower-case hex digits, as digest sets of in-toto want it.
///
/// ```
/// assert!(lychgate::attest::sha256_hex(b"").starts_with("e3b0c44298fc1c14"));
/// ```
pub fn sha256_hex(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

/// Lower-case hex digits of bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
