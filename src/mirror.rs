//! Adapter: bare mirrors of the repositories that the bot looks at, fetched by libgit2 or the git program.
//!
//! In scope: fetching a change's refs with credentials that stay in memory, what
//! the fetch brought, and the bounds of the cache. Out of scope: reading the
//! objects (`git`), judging them (`pipeline`). A mirror is a cache: it may be
//! deleted at any time. One process uses a folder of mirrors. The gate's own repository, which
//! is none, follows the forge by `follow`.

mod follow;
mod libgit;
mod local;
mod program;

pub use follow::{Followed, Tips, back, follow, is_rebase, moved, set_ref, tips};
pub use libgit::bound_silence;

use crate::forge::ForgeRepo;
use crate::port::{FetchSource, Outage};
use crate::push::{Oid, RefName};
use local::Local;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Most bytes that one fetch may bring.
const MAX_FETCH: u64 = 2 << 30;
/// Longest fetch while bytes arrive.
const MAX_TIME: Duration = Duration::from_secs(60);
/// Packs after which a mirror is made anew: each fetch adds one, and every look-up asks all of them.
const MAX_PACKS: usize = 200;
/// Longest time without a byte from a server, and longest wait for a connection, in milliseconds.
const SILENCE: i32 = 20_000;
const CONNECT: i32 = 10_000;
/// Most refs of a forge's repository that are looked at.
const MOST_REFS: usize = 100_000;

/// The mirrors of one process, below one folder.
pub struct Mirrors {
    folder: PathBuf,
    /// Bytes above which the mirrors that were not used for longest go.
    most_bytes: u64,
    held: Mutex<HashMap<PathBuf, Arc<()>>>,
}

/// Which refs to fetch, by their names in the mirror.
pub struct Wanted<'a> {
    /// The repository.
    pub repo: &'a ForgeRepo,
    /// From where.
    pub source: &'a FetchSource,
    /// The branch that the change would enter.
    pub base: &'a RefName,
    /// The head as the forge's API tells it; its length says which ids the repository has.
    pub told: Oid,
    /// How to find the head once it is fetched.
    pub head: Head<'a>,
    /// Where they put the forge's own trial merge, if it offers one.
    pub merge: Option<&'a str>,
}

/// How a head is found in a mirror.
#[derive(Debug, Clone, Copy)]
pub enum Head<'a> {
    /// Where the source's ref specs put it: `refs/changes/7/head`.
    Ref(&'a str),
    /// A commit of some fetched branch, as a merge queue has it.
    Commit(Oid),
}

/// A mirror that has what was wanted; it stays on the disk while this value lives.
pub struct Fetched {
    /// Its Git folder.
    pub git_dir: PathBuf,
    /// Where the base stands at the forge now.
    pub base: Oid,
    /// Where the head stands at the forge now; `None` if the forge has no such ref.
    pub head: Option<Oid>,
    /// The newest commit that both have; `None` if they share no history.
    pub merge_base: Option<Oid>,
    /// The forge's trial merge of exactly this head, if there is one.
    pub merge: Option<Oid>,
    _held: Arc<()>,
}

impl Fetched {
    /// A branch seen as a change from one of its own commits.
    pub fn between(held: &Held, from: Oid) -> Self {
        Self {
            git_dir: held.git_dir.clone(),
            base: from,
            head: Some(held.tip),
            merge_base: Some(from),
            merge: None,
            _held: Arc::clone(&held.held),
        }
    }
}

/// A mirror that has a branch; it stays on the disk while this value lives.
pub struct Held {
    /// Its Git folder.
    pub git_dir: PathBuf,
    /// Where the branch stands at the forge.
    pub tip: Oid,
    held: Arc<()>,
}

impl Mirrors {
    /// Mirrors below a folder; touches nothing.
    pub fn new(folder: &Path, most_bytes: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            most_bytes,
            held: Mutex::default(),
        }
    }

    /// Fetches; blocks its thread.
    ///
    /// # Errors
    /// `fetch-failed` (network, credential, bounds), `mirror-unwritable`.
    pub fn fetch(&self, wanted: &Wanted<'_>) -> Result<Fetched, Outage> {
        let git_dir = self
            .folder
            .join(&wanted.repo.forge)
            .join(format!("{}.git", wanted.repo.id));
        let held = self.hold(&git_dir);
        let mirror = open(&git_dir, wanted.told)?;
        let mut refspecs = wanted.source.refspecs.clone();
        refspecs.push(format!("+{0}:{0}", wanted.base));
        fetch_refs(mirror.as_ref(), wanted.repo, wanted.source, &refspecs)?;
        let fetched = fetched(mirror.as_ref(), &git_dir, wanted, held);
        let fetched = fetched.map_err(|why| failed(wanted.repo, &why))?;
        // The time of the last use, for `trim`.
        let _ = std::fs::write(git_dir.join("used"), b"");
        Ok(fetched)
    }

    /// Fetches one branch into the mirror, and gives the mirror's folder and where the branch stands.
    ///
    /// # Errors
    /// As [`Mirrors::fetch`].
    pub fn branch(&self, repo: &ForgeRepo, source: &FetchSource, name: &RefName) -> Result<Held, Outage> {
        let git_dir = self.folder.join(&repo.forge).join(format!("{}.git", repo.id));
        let held = self.hold(&git_dir);
        let refs = tips(repo, source)?.refs;
        let tip = refs.into_iter().find(|(known, _)| known == name);
        let gone = || failed(repo, "the forge does not have the branch");
        open(&git_dir, tip.ok_or_else(gone)?.1)?;
        let tip = follow(&git_dir, repo, source, name)?.new.ok_or_else(gone)?;
        Ok(Held { git_dir, tip, held })
    }

    /// Removes the mirrors that nobody holds: those with too many packs, and the longest unused ones while all
    /// together are larger than the bound.
    pub fn trim(&self) {
        let mut all: Vec<(std::time::SystemTime, u64, PathBuf)> = Vec::new();
        for git_dir in folders(&self.folder).iter().flat_map(|forge| folders(forge)) {
            let used = std::fs::metadata(git_dir.join("used")).and_then(|meta| meta.modified());
            all.push((used.unwrap_or(std::time::UNIX_EPOCH), size(&git_dir), git_dir));
        }
        all.sort();
        let mut total: u64 = all.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, git_dir) in all {
            let crowded = packs(&git_dir) > MAX_PACKS;
            if (total > self.most_bytes || crowded) && self.remove(&git_dir) {
                total -= bytes;
            }
        }
    }

    fn hold(&self, git_dir: &Path) -> Arc<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.entry(git_dir.to_owned()).or_default())
    }

    fn remove(&self, git_dir: &Path) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(git_dir).is_some_and(|holders| Arc::strong_count(holders) > 1) {
            return false;
        }
        held.remove(git_dir);
        std::fs::remove_dir_all(git_dir).is_ok()
    }
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            entry
                .metadata()
                .map_or(0, |meta| if meta.is_dir() { size(&entry.path()) } else { meta.len() })
        })
        .sum()
}

fn packs(git_dir: &Path) -> usize {
    std::fs::read_dir(git_dir.join("objects/pack"))
        .into_iter()
        .flatten()
        .count()
        / 2
}

fn open(git_dir: &Path, like: Oid) -> Result<Box<dyn Local>, Outage> {
    local::open_or_make(git_dir, like).map_err(|why| Outage {
        code: "mirror-unwritable",
        what: format!("cannot open the mirror {}", git_dir.display()),
        why,
        next: "let this account write the folder of mirrors, or delete the mirror: it is a cache".to_owned(),
    })
}

fn failed(repo: &ForgeRepo, why: &str) -> Outage {
    Outage {
        code: "fetch-failed",
        what: format!("cannot fetch {} from {}", repo.full_name, repo.forge),
        why: why.to_owned(),
        next: "check the forge, the network and the App's permission to read contents".to_owned(),
    }
}

/// Only encrypted transports, or none that leaves this machine.
fn allowed(repo: &ForgeRepo, url: &str) -> Result<(), Outage> {
    let allowed = [
        "https://",
        "file:///",
        "http://127.0.0.1:",
        "http://[::1]:",
        "http://localhost:",
    ];
    if allowed.iter().any(|start| url.starts_with(start)) {
        return Ok(());
    }
    Err(failed(repo, "its URL is neither https nor on this machine"))
}

/// A branch or tag that a server lists, if it is one.
fn listed(name: &str) -> Option<RefName> {
    let ours = name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
    name.parse().ok().filter(|_| ours)
}

fn fetch_refs(local: &dyn Local, repo: &ForgeRepo, source: &FetchSource, refspecs: &[String]) -> Result<(), Outage> {
    allowed(repo, &source.url)?;
    local.fetch(source, refspecs).map_err(|why| failed(repo, &why))
}

fn fetched(mirror: &dyn Local, git_dir: &Path, wanted: &Wanted<'_>, held: Arc<()>) -> Result<Fetched, String> {
    let base = mirror.target(wanted.base.as_str())?;
    let base = base.ok_or("the forge does not have the base branch")?;
    let head = match wanted.head {
        Head::Ref(name) => mirror.target(name)?,
        Head::Commit(oid) => mirror.parents(oid)?.map(|_| oid),
    };
    let merge_base = match head {
        Some(head) => mirror.merge_base(base, head)?,
        None => None,
    };
    Ok(Fetched {
        git_dir: git_dir.to_owned(),
        base,
        head,
        merge_base,
        merge: trial(mirror, wanted, base, head)?,
        _held: held,
    })
}

/// The trial merge; one of another head, or of another base, is an old one.
fn trial(mirror: &dyn Local, wanted: &Wanted<'_>, base: Oid, head: Option<Oid>) -> Result<Option<Oid>, String> {
    let (Some(name), Some(head)) = (wanted.merge, head) else {
        return Ok(None);
    };
    let Some(merge) = mirror.target(name)? else {
        return Ok(None);
    };
    let parents = mirror.parents(merge)?.unwrap_or_default();
    Ok((parents.first() == Some(&base) && parents.get(1) == Some(&head)).then_some(merge))
}
