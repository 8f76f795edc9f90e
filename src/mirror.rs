//! Adapter: bare mirrors of the repositories that the bot looks at, fetched by git2's transport.
//!
//! In scope: fetching a change's refs with credentials that stay in memory, what
//! the fetch brought, and the bounds of the cache. Out of scope: reading the
//! objects (`git`), judging them (`pipeline`). A mirror is a cache: it may be
//! deleted at any time. One process uses a folder of mirrors. The gate's own repository, which
//! is none, follows the forge by `follow`.

mod follow;

pub use follow::{Followed, Tips, back, follow, moved, set_ref, tips};

use crate::forge::ForgeRepo;
use crate::port::{FetchSource, Outage};
use crate::push::{Oid, RefName};
use git2::{AutotagOption, Cred, FetchOptions, Remote, RemoteCallbacks, RemoteRedirect, Repository};
use secrecy::ExposeSecret;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most bytes that one fetch may bring.
const MAX_FETCH: usize = 2 << 30;
/// Longest fetch while bytes arrive.
const MAX_TIME: Duration = Duration::from_secs(60);
/// Packs after which a mirror is made anew: each fetch adds one, and every look-up asks all of them.
const MAX_PACKS: usize = 200;
/// Longest time without a byte from a server, and longest wait for a connection, in milliseconds.
const SILENCE: i32 = 20_000;
const CONNECT: i32 = 10_000;
/// How often a server may ask for the credential: the second time it has refused it.
const MAX_ASKED: u32 = 1;

/// Bounds how long any fetch of this process waits for a server that says nothing. Call it once, before the first
/// thread is started.
///
/// # Errors
/// `fetch-unbounded`.
#[expect(unsafe_code, reason = "libgit2 has these bounds as globals only")]
pub fn bound_silence() -> Result<(), Outage> {
    // SAFETY: both write a C global, which is sound while no other thread reads it: the caller has started none.
    let bounded = unsafe {
        git2::opts::set_server_connect_timeout_in_milliseconds(CONNECT)
            .and_then(|()| git2::opts::set_server_timeout_in_milliseconds(SILENCE))
    };
    bounded.map_err(|error| Outage {
        code: "fetch-unbounded",
        what: "cannot bound how long a fetch waits".to_owned(),
        why: error.message().to_owned(),
        next: "report this with the version of libgit2".to_owned(),
    })
}

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
    /// `fetch-failed` (network, credential, bounds), `mirror-unwritable`, `object-format-unsupported`.
    pub fn fetch(&self, wanted: &Wanted<'_>) -> Result<Fetched, Outage> {
        let git_dir = self
            .folder
            .join(&wanted.repo.forge)
            .join(format!("{}.git", wanted.repo.id));
        let held = self.hold(&git_dir);
        let mirror = open(&git_dir)?;
        fetch(&mirror, wanted)?;
        let fetched = fetched(&mirror, &git_dir, wanted, held)?;
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
        open(&git_dir)?;
        let tip = follow(&git_dir, repo, source, name)?.new;
        let tip = tip.ok_or_else(|| failed(repo, "the forge does not have the branch"))?;
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

fn open(git_dir: &Path) -> Result<Repository, Outage> {
    let opened = if git_dir.join("HEAD").is_file() {
        Repository::open_bare(git_dir)
    } else {
        Repository::init_bare(git_dir)
    };
    opened.map_err(|error| Outage {
        code: "mirror-unwritable",
        what: format!("cannot open the mirror {}", git_dir.display()),
        why: error.message().to_owned(),
        next: "let this account write the folder of mirrors, or delete the mirror: it is a cache".to_owned(),
    })
}

fn failed(repo: &ForgeRepo, why: &str) -> Outage {
    if why.contains("object format") {
        return Outage {
            code: "object-format-unsupported",
            what: format!("cannot fetch {} from {}", repo.full_name, repo.forge),
            why: why.to_owned(),
            next: "libgit2 fetches SHA-1 repositories only: guard this one by the hooks on its server".to_owned(),
        };
    }
    Outage {
        code: "fetch-failed",
        what: format!("cannot fetch {} from {}", repo.full_name, repo.forge),
        why: why.to_owned(),
        next: "check the forge, the network and the App's permission to read contents".to_owned(),
    }
}

/// Only encrypted transports, or none that leaves this machine.
fn allowed(url: &str) -> bool {
    let local = ["http://127.0.0.1:", "http://[::1]:", "http://localhost:"];
    url.starts_with("https://") || url.starts_with("file:///") || local.iter().any(|start| url.starts_with(start))
}

fn fetch(mirror: &Repository, wanted: &Wanted<'_>) -> Result<(), Outage> {
    let mut refspecs = wanted.source.refspecs.clone();
    refspecs.push(format!("+{0}:{0}", wanted.base));
    fetch_refs(mirror, wanted.repo, wanted.source, &refspecs)
}

fn fetch_refs(mirror: &Repository, repo: &ForgeRepo, source: &FetchSource, refspecs: &[String]) -> Result<(), Outage> {
    let say = |error: git2::Error| failed(repo, error.message());
    let mut remote = remote(Some(mirror), repo, source)?;
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(callbacks(source))
        .download_tags(AutotagOption::None)
        .update_fetchhead(false);
    // A redirect would take the credential to another host.
    options.follow_redirects(RemoteRedirect::None);
    remote.fetch(refspecs, Some(&mut options), None).map_err(say)
}

fn remote<'a>(mirror: Option<&'a Repository>, repo: &ForgeRepo, source: &FetchSource) -> Result<Remote<'a>, Outage> {
    if !allowed(&source.url) {
        return Err(failed(repo, "its URL is neither https nor on this machine"));
    }
    let remote = match mirror {
        Some(mirror) => mirror.remote_anonymous(&source.url),
        None => Remote::create_detached(source.url.as_str()),
    };
    remote.map_err(|error| failed(repo, error.message()))
}

/// Credential and bounds.
fn callbacks(source: &FetchSource) -> RemoteCallbacks<'_> {
    let begun = Instant::now();
    let mut asked = 0;
    let mut callbacks = RemoteCallbacks::new();
    callbacks.credentials(move |_, _, _| {
        asked += 1;
        if asked > MAX_ASKED {
            return Err(git2::Error::from_str("the forge refuses our credential"));
        }
        Cred::userpass_plaintext(&source.user, source.password.expose_secret())
    });
    callbacks.transfer_progress(move |progress| progress.received_bytes() <= MAX_FETCH && begun.elapsed() <= MAX_TIME);
    callbacks
}

fn fetched(mirror: &Repository, git_dir: &Path, wanted: &Wanted<'_>, held: Arc<()>) -> Result<Fetched, Outage> {
    let at = |name: &str| mirror.refname_to_id(name).ok();
    let say = |error: git2::Error| failed(wanted.repo, error.message());
    let base =
        at(wanted.base.as_str()).ok_or_else(|| failed(wanted.repo, "the forge does not have the base branch"))?;
    let head = match wanted.head {
        Head::Ref(name) => at(name),
        Head::Commit(oid) => git2::Oid::from_bytes(oid.as_bytes())
            .ok()
            .filter(|oid| mirror.find_commit(*oid).is_ok()),
    };
    let merge_base = match head.map(|head| mirror.merge_base(base, head)) {
        None => None,
        Some(Ok(found)) => Some(found),
        Some(Err(error)) if error.code() == git2::ErrorCode::NotFound => None,
        Some(Err(error)) => return Err(say(error)),
    };
    // A trial merge of another head, or of another base, is an old one.
    let merge = wanted.merge.and_then(at).filter(|merge| {
        let parents = mirror
            .find_commit(*merge)
            .map(|commit| commit.parent_ids().collect::<Vec<_>>());
        parents.is_ok_and(|parents| parents.first() == Some(&base) && parents.get(1).copied() == head)
    });
    let ours = |oid: git2::Oid| Oid::from_bytes(oid.as_bytes()).map_err(|e| failed(wanted.repo, &e.to_string()));
    Ok(Fetched {
        git_dir: git_dir.to_owned(),
        base: ours(base)?,
        head: head.map(ours).transpose()?,
        merge_base: merge_base.map(ours).transpose()?,
        merge: merge.map(ours).transpose()?,
        _held: held,
    })
}
