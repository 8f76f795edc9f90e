//! The strict reader of Git commits and tags.
//!
//! Accepts less than Git does, on purpose: exactly one each of tree, author and
//! committer, one known signature header, no other `gpgsig*`, no NUL, a known
//! encoding, one armor block and nothing after it. What it refuses never
//! reaches a verifier. Pure; reads no store. Formats:
//! <https://git-scm.com/docs/gitformat-signature>,
//! <https://git-scm.com/docs/git-commit-tree>

use crate::facts::Identity;
use crate::push::Oid;
use serde::{Deserialize, Serialize};

/// The four kinds of Git object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ObjectKind {
    Commit,
    Tree,
    Blob,
    Tag,
}

/// A signature format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureFormat {
    /// `-----BEGIN PGP SIGNATURE-----`
    Openpgp,
    /// `-----BEGIN SSH SIGNATURE-----`
    Ssh,
}

/// A signature cut out of an object, and the exact bytes that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureParts {
    /// The object without the signature: what was signed.
    pub payload: Vec<u8>,
    /// The armored signature, unfolded.
    pub signature: Vec<u8>,
    /// Its format.
    pub format: SignatureFormat,
}

/// A well-formed commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The tree.
    pub tree: Oid,
    /// The parents in their order.
    pub parents: Vec<Oid>,
    /// The author line.
    pub author: Identity,
    /// The committer line.
    pub committer: Identity,
    /// The message, as bytes.
    pub message: Vec<u8>,
    /// The signature, if there is one.
    pub signature: Option<SignatureParts>,
}

/// A well-formed annotated tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The object that it names.
    pub target: Oid,
    /// That object's kind, as the tag claims.
    pub target_kind: ObjectKind,
    /// The tag's own name.
    pub name: String,
    /// The tagger line.
    pub tagger: Option<Identity>,
    /// The message without the signature, as bytes.
    pub message: Vec<u8>,
    /// The signature, if there is one.
    pub signature: Option<SignatureParts>,
}

/// Why the strict reader refuses an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Malformed {
    /// Stable kebab-case code, such as `duplicate-header`.
    pub code: &'static str,
    /// One sentence that names the header or byte offset; safe to print.
    pub why: String,
}

/// Reads a commit object's content.
///
/// # Errors
/// [`Malformed`] for anything that is not exactly one well-formed commit.
pub fn commit(data: &[u8]) -> Result<Commit, Malformed> {
    let _ = data;
    Err(Malformed {
        code: "not-written",
        why: String::new(),
    })
}

/// Reads a tag object's content.
///
/// # Errors
/// [`Malformed`] for anything that is not exactly one well-formed tag.
pub fn tag(data: &[u8]) -> Result<Tag, Malformed> {
    let _ = data;
    Err(Malformed {
        code: "not-written",
        why: String::new(),
    })
}
