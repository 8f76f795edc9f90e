//! A repository on this disk, by the one of two vendors that reads its object format.
//!
//! libgit2 works without starting processes, but knows SHA-1 only; the git program knows SHA-256. Which one it
//! is never shows outside: both answer the same questions, with their own words where they cannot.

use super::{libgit, program};
use crate::port::FetchSource;
use crate::push::{Oid, RefName};
use std::path::Path;

/// Where the branches and tags of a repository stand, and its default branch.
pub(super) type Listed = (Vec<(RefName, Oid)>, Option<RefName>);

/// What is asked of a repository on this disk. An error is the vendor's own words.
pub(super) trait Local {
    /// Fetches these refs; one that the forge does not have is no error.
    fn fetch(&self, source: &FetchSource, refspecs: &[String]) -> Result<(), String>;

    /// Where the forge's branches and tags stand.
    fn tips(&self, source: &FetchSource) -> Result<Listed, String>;

    /// Where a ref stands; `None`: there is none.
    fn target(&self, name: &str) -> Result<Option<Oid>, String>;

    /// The commit that an object is or, as a tag, names; `None`: there is none here.
    fn commit(&self, oid: Oid) -> Result<Option<Oid>, String>;

    /// The parents of a commit; `None`: it is not here.
    fn parents(&self, commit: Oid) -> Result<Option<Vec<Oid>>, String>;

    /// The newest commit that two have; `None`: they share no history.
    fn merge_base(&self, one: Oid, other: Oid) -> Result<Option<Oid>, String>;

    /// The first `most` commits by which a commit's own line (first parents) went on from another one, oldest first.
    fn line(&self, from: Oid, to: Oid, most: usize) -> Result<Vec<Oid>, String>;

    /// The tree of a commit.
    fn tree(&self, commit: Oid) -> Result<Oid, String>;

    /// The tree that the change of a commit with one parent makes of another commit's; `None` where they collide.
    fn picked(&self, commit: Oid, onto: Oid) -> Result<Option<Oid>, String>;

    /// Moves a ref, if it stands where it is said to stand. `None`: it is not there.
    fn set(&self, name: &RefName, old: Option<Oid>, new: Option<Oid>) -> Result<(), String>;
}

/// Opens a repository.
pub(super) fn open(git_dir: &Path) -> Result<Box<dyn Local>, String> {
    if libgit::is_sha256(git_dir) {
        return Ok(Box::new(program::Program::of(git_dir)));
    }
    Ok(Box::new(libgit::Libgit::open(git_dir)?))
}

/// Opens a bare repository, or makes one.
///
/// * `like`: an object id of the format that a new one has.
pub(super) fn open_or_make(git_dir: &Path, like: Oid) -> Result<Box<dyn Local>, String> {
    if !git_dir.join("HEAD").is_file() {
        match like.as_bytes().len() {
            32 => program::make(git_dir)?,
            _ => libgit::make(git_dir)?,
        }
    }
    open(git_dir)
}

/// Where the branches and tags of a forge's repository stand, whatever its object format.
pub(super) fn tips(source: &FetchSource) -> Result<Listed, String> {
    match libgit::tips(source) {
        Err(why) if libgit::is_foreign_format(&why) => program::tips(source),
        other => other,
    }
}
