//! Comments of ours under a change: each written once, found again, updated in place.
//!
//! In scope: look before write, for the sticky comment and for replies. Out of
//! scope: a forge's paths ([`Board`] implementors) and the words.

use super::text::{FOLDED, marked};
use crate::forge::{CheckState, Display};
use crate::port::ForgeError;

/// Longest comment, characters; GitHub takes 65,536.
const MOST_COMMENT: usize = 65_000;

/// A comment that we wrote.
pub(super) struct Posted {
    pub(super) id: u64,
    pub(super) body: String,
}

/// The comments of one change at one forge.
pub(super) trait Board: Sync {
    /// Comments that we wrote and that begin with `marker`, oldest first. Others' comments are never given, so
    /// that nobody can have us write into theirs by copying the marker.
    fn ours(&self, marker: &str) -> impl Future<Output = Result<Vec<Posted>, ForgeError>> + Send;

    fn create(&self, body: String) -> impl Future<Output = Result<(), ForgeError>> + Send;

    fn update(&self, id: u64, body: String) -> impl Future<Output = Result<(), ForgeError>> + Send;

    fn delete(&self, id: u64) -> impl Future<Output = Result<(), ForgeError>> + Send;
}

/// Makes the sticky comment say what the display says. One without comment folds what is there to a line, but only
/// if it is a verdict: while we look, or could not, what was found before still stands.
pub(super) async fn stick(board: &impl Board, marker: &str, display: &Display) -> Result<(), ForgeError> {
    let text = display.comment.as_deref();
    let verdict = matches!(display.state, CheckState::Success | CheckState::Failure);
    if text.is_none() && !verdict {
        return Ok(());
    }
    let found = one_of_ours(board, marker).await?;
    let text = match (text, &found) {
        (Some(text), _) => text,
        (None, Some(_)) => FOLDED,
        (None, None) => return Ok(()),
    };
    put(board, found, marked(marker, text, MOST_COMMENT)).await
}

/// Makes a reply with `marker` be there, once.
pub(super) async fn reply(board: &impl Board, marker: &str, text: &str) -> Result<(), ForgeError> {
    let found = one_of_ours(board, marker).await?;
    put(board, found, marked(marker, text, MOST_COMMENT)).await
}

/// The oldest of ours. Others with the same marker, from a listing that lagged behind a write, are deleted.
async fn one_of_ours(board: &impl Board, marker: &str) -> Result<Option<Posted>, ForgeError> {
    let mut found = board.ours(marker).await?.into_iter();
    let first = found.next();
    for surplus in found {
        board.delete(surplus.id).await?;
    }
    Ok(first)
}

async fn put(board: &impl Board, found: Option<Posted>, body: String) -> Result<(), ForgeError> {
    match found {
        None => board.create(body).await,
        Some(posted) if posted.body.trim_end() == body.trim_end() => Ok(()),
        Some(posted) => board.update(posted.id, body).await,
    }
}
