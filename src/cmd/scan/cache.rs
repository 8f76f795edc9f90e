//! Rules of one's own, ready to match, kept between runs: a thousand of them take long to read and check.
//!
//! In scope: where they are kept. What is kept is refused by the core unless it
//! is exactly what this program made of exactly these files; here only what
//! belongs to this account alone is opened. Whatever goes wrong, the rules are
//! read from their files: a cache that cannot be used costs time and nothing else.

use super::super::error::CommandError;
use super::super::process;
use super::setup;
use crate::scan::RuleSet;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Fewer bytes of rules, about forty, are read as fast as they are found in the cache.
const WORTH: usize = 16 << 10;
/// Most bytes of one file here, several times what the most rules of a set make.
const MOST: u64 = 32 << 20;
/// Files that are kept: those that were made last.
const KEPT: usize = 8;

/// The shipped rules and those of other files.
pub(super) fn rule_set(own: &[(&str, &str)]) -> Result<RuleSet, CommandError> {
    let size: usize = own.iter().map(|(_, text)| text.len()).sum();
    let digest = RuleSet::digest_beside(own);
    let folder = if size < WORTH { None } else { folder() };
    let path = folder.as_ref().map(|folder| folder.join(format!("rules-{digest}")));
    let kept = path.as_deref().and_then(|path| {
        let bytes = private(path, path.parent()?)?;
        RuleSet::from_compiled(&digest, &bytes)
    });
    if let Some(set) = kept {
        return Ok(set);
    }
    let set = setup::rule_set(&[RuleSet::builtin_sources(), own].concat())?;
    if let (Some(folder), Some(path), Some(bytes)) = (folder, path, set.compiled())
        && keep(&folder, &path, &bytes).is_ok()
    {
        let _ = tidy(&folder);
    }
    Ok(set)
}

/// The folder of the cache, which need not be there: <https://specifications.freedesktop.org/basedir-spec/latest/>.
fn folder() -> Option<PathBuf> {
    let named = process::variable("XDG_CACHE_HOME").map(PathBuf::from);
    let named = named.filter(|path| path.is_absolute());
    let cache = named.or_else(|| Some(Path::new(&process::variable("HOME")?).join(".cache")))?;
    Some(cache.join("lychgate"))
}

/// Whether only this account can have changed what is there.
fn is_ours(meta: &std::fs::Metadata) -> bool {
    let account = std::fs::metadata("/proc/self").map(|meta| meta.uid());
    account.is_ok_and(|account| account == meta.uid()) && meta.mode() & 0o022 == 0
}

/// The bytes of a file, if it and its folder are this account's alone.
fn private(path: &Path, folder: &Path) -> Option<Vec<u8>> {
    let around = std::fs::symlink_metadata(folder).ok()?;
    if !around.is_dir() || !is_ours(&around) || !std::fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let file = File::open(path).ok()?;
    if !is_ours(&file.metadata().ok()?) {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Keeps the bytes, all or none of them, for this account alone.
fn keep(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// Removes all but the newest files.
fn tidy(folder: &Path) -> std::io::Result<()> {
    let mut files = Vec::new();
    for item in std::fs::read_dir(folder)? {
        let item = item?;
        if item.file_name().to_string_lossy().starts_with("rules-") {
            files.push((item.metadata()?.modified()?, item.path()));
        }
    }
    files.sort();
    files.reverse();
    files.drain(..files.len().min(KEPT));
    files.iter().try_for_each(|(_, path)| std::fs::remove_file(path))
}
