//! What an installation knows of its repository's objects, at a scan of the history.

use super::super::error::CommandError;
use super::super::home::Home;
use super::super::open;
use super::{Eye, io_outage};
use crate::verdicts::Verdicts;
use std::path::Path;

/// What is known under the rules of this scan; `None` without an installation whose files this account may read.
///
/// * `wanted`: whether it is an error if there is none.
///
/// # Errors
/// `not-installed`, and what keeps the installation from being read, if it is wanted.
pub(super) fn verdicts(eye: &Eye, git_dir: &Path, wanted: bool) -> Result<Option<Verdicts>, CommandError> {
    let found = Home::find(Some(git_dir)).and_then(|home| {
        let key = open::fingerprint_key(&home.fingerprint_key())?;
        Ok(Verdicts::new(&home.verdicts(), &key, eye.scanner.rules().digest()))
    });
    match found {
        Err(error) if wanted => Err(error),
        found => Ok(found.ok()),
    }
}

/// Writes what a scan has learned.
///
/// # Errors
/// `verdicts-not-kept`.
pub(super) fn keep(verdicts: &Verdicts) -> Result<(), CommandError> {
    let kept = verdicts.keep().and_then(|()| verdicts.merge());
    kept.map_err(|error| io_outage("verdicts-not-kept", "what this scan has learned of objects", &error))
}
