//! The hidden markers by which we find what we wrote, and the bounds of what we write.
//!
//! In scope: one sticky comment a change, one reply a command, clipping to a
//! forge's limits. Out of scope: the words (`feedback`).

use crate::forge::ForgeRepo;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The check's name, and the status's context on forges that have statuses only.
pub(super) const NAME: &str = crate::forge::guard::OUR_CHECK;

/// The first line of the sticky comment: bound to who writes it and to the change.
pub(super) fn sticky_marker(writer: &str, repo: &ForgeRepo, number: u64) -> String {
    format!("<!-- lychgate:sticky by={writer} repo={} change={number} -->", repo.id)
}

/// The first line of a reply or review. The caller's marker is hashed, so that nothing in it can end the line.
pub(super) fn marker(kind: &str, marker: &str) -> String {
    let mut hex = String::new();
    for byte in &Sha256::digest(marker.as_bytes())[..16] {
        let _ = write!(hex, "{byte:02x}");
    }
    format!("<!-- lychgate:{kind} {hex} -->")
}

/// What stands in the sticky comment once there is nothing to say.
pub(super) const FOLDED: &str = "Lychgate has nothing to ask for here any more.";

/// A marked body, clipped to `most` characters.
pub(super) fn marked(marker: &str, text: &str, most: usize) -> String {
    clipped(&format!("{marker}\n{text}"), most)
}

/// At most `most` characters, the last of which is `…` if something was left out.
pub(super) fn clipped(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// What to fetch: all that a forge keeps of a change below `prefix` (`refs/pull`), or all branches and tags.
///
/// A pattern, since a ref for the merge result is there only while the change merges cleanly.
pub(super) fn refspecs(prefix: &str, number: Option<u64>) -> Vec<String> {
    match number {
        Some(number) => vec![format!("+{prefix}/{number}/*:refs/changes/{number}/*")],
        None => vec![
            "+refs/heads/*:refs/heads/*".to_owned(),
            "+refs/tags/*:refs/tags/*".to_owned(),
        ],
    }
}
