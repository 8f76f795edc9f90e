//! Names of others as parts of a path: checked or percent-encoded, never pasted.
//!
//! In scope: `owner/name`, accounts, branches. Out of scope: the paths themselves.

use super::fault::{GONE, refused};
use crate::forge::ForgeRepo;
use crate::port::ForgeError;
use std::fmt::Write;

/// `owner/name`, each part percent-encoded.
///
/// # Errors
/// `repository-name-wrong` if it is not two parts that a forge would give.
pub(super) fn repo(repo: &ForgeRepo) -> Result<String, ForgeError> {
    let wrong = || refused("repository-name-wrong", "the repository's name is not owner/name");
    let (owner, name) = repo.full_name.split_once('/').ok_or_else(wrong)?;
    let fine = |part: &str| !part.is_empty() && part.len() <= 255 && !part.contains('/') && part != "." && part != "..";
    match fine(owner) && fine(name) {
        true => Ok(format!("{}/{}", encoded(owner), encoded(name))),
        false => Err(wrong()),
    }
}

/// That a repository found by its name is the one that is meant: a name may be given to another one later.
///
/// # Errors
/// `gone`.
pub(super) fn same(repo: &ForgeRepo, found: u64) -> Result<(), ForgeError> {
    match repo.id == found {
        true => Ok(()),
        false => Err(refused(GONE, "the repository is gone, and another one has its name")),
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
pub(super) fn encoded(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
