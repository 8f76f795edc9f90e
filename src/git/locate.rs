//! Where a repository keeps its objects and refs, and in which format.
//!
//! Reads two small files instead of Git's whole configuration cascade: the
//! hook has no time for more, and nothing else of it matters here.

use super::{outage, printable};
use crate::port::Outage;
use std::path::{Path, PathBuf};

/// The parts of a repository.
pub(super) struct Layout {
    /// Its own folder.
    pub(super) git_dir: PathBuf,
    /// The folder that linked work trees share; equal to `git_dir` without them.
    pub(super) common: PathBuf,
    /// The main object store.
    pub(super) objects: PathBuf,
    /// The object format.
    pub(super) hash: gix::hash::Kind,
}

impl Layout {
    /// Finds the parts of the repository at `path`: a Git folder, a `.git` file, or a work tree with either.
    pub(super) fn of(path: &Path) -> Result<Self, Outage> {
        let git_dir = git_dir(path)?;
        let common = match std::fs::read_to_string(git_dir.join("commondir")) {
            Ok(text) => git_dir.join(text.trim_end_matches(['\n', '\r'])),
            Err(_) => git_dir.clone(),
        };
        let objects = common.join("objects");
        if !objects.is_dir() {
            return Err(no_repository(path, "it has no folder objects"));
        }
        let hash = object_format(&common.join("config"))?;
        Ok(Self {
            git_dir,
            common,
            objects,
            hash,
        })
    }

    pub(super) fn refs(&self) -> gix::refs::file::Store {
        if self.common == self.git_dir {
            return gix::refs::file::Store::at(self.git_dir.clone(), self.hash);
        }
        gix::refs::file::Store::for_linked_worktree(self.git_dir.clone(), self.common.clone(), self.hash)
    }
}

fn git_dir(path: &Path) -> Result<PathBuf, Outage> {
    if path.join("HEAD").exists() {
        return Ok(path.to_owned());
    }
    let file = if path.is_dir() {
        path.join(".git")
    } else {
        path.to_owned()
    };
    if file.is_dir() {
        return Ok(file);
    }
    let text = std::fs::read_to_string(&file).map_err(|e| no_repository(path, e))?;
    let target = text
        .strip_prefix("gitdir: ")
        .ok_or_else(|| no_repository(path, "its .git file has no gitdir line"))?;
    let base = file.parent().unwrap_or(Path::new("."));
    Ok(base.join(target.trim_end_matches(['\n', '\r'])))
}

fn no_repository(path: &Path, why: impl std::fmt::Display) -> Outage {
    outage(
        "repository-unreadable",
        format!("cannot open the repository {}", printable(path)),
        why.to_string(),
        "name a Git repository that this account may read",
    )
}

fn object_format(config: &Path) -> Result<gix::hash::Kind, Outage> {
    let failed = |code, why: String| {
        outage(
            code,
            format!("cannot use the configuration {}", printable(config)),
            why,
            "use a repository with objectformat sha1 or sha256 and refstorage files",
        )
    };
    let file = match gix::config::File::from_path_no_includes(config.to_owned(), gix::config::Source::Local) {
        Ok(file) => file,
        Err(e) => return Err(failed("repository-unreadable", e.to_string())),
    };
    let value = |key: &str| file.raw_value(key).ok().map(|v| v.to_string().to_ascii_lowercase());
    if let Some(storage) = value("extensions.refstorage").filter(|s| s != "files") {
        return Err(failed(
            "ref-storage-unsupported",
            format!("its refs are kept as {storage}"),
        ));
    }
    match value("extensions.objectformat").as_deref() {
        None | Some("sha1") => Ok(gix::hash::Kind::Sha1),
        Some("sha256") => Ok(gix::hash::Kind::Sha256),
        Some(other) => Err(failed(
            "object-format-unsupported",
            format!("its objects are named by {other}"),
        )),
    }
}
