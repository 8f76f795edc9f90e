//! The gate's own repository follows the refs of the forge's.
//!
//! In scope: where the forge's refs stand, fetching one of them beside ours, the
//! steps between, and moving ours by compare-and-swap. Out of scope: whether it may move.
//!
//! What was fetched stands below `refs/forge/`, which counts for nothing, until our
//! ref moves there. Hooks do not run: whoever calls has recorded the entry.

use super::{callbacks, failed, fetch_refs, remote};
use crate::decision::hex;
use crate::forge::ForgeRepo;
use crate::port::{FetchSource, Outage};
use crate::push::{Oid, RefName};
use git2::{Direction, ErrorCode, Repository, Sort};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Where fetched refs are kept.
const FETCHED: &str = "refs/forge/";
/// Most refs of a forge's repository that are looked at.
const MOST_REFS: usize = 100_000;
/// Most steps of a ref's own line that are told one by one.
const MOST_STEPS: usize = 1_000;

/// A ref of the forge beside ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Where ours stands; `None`: we have none.
    pub old: Option<Oid>,
    /// Where the forge's stands; `None`: it has none.
    pub new: Option<Oid>,
    /// The commits by which the forge's ref went on from ours along its own line (first parents), oldest first;
    /// the first 1,000 of them. Of a new ref, its tip alone.
    pub steps: Vec<Oid>,
}

/// The refs of a forge's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tips {
    /// Branches and tags, with where they stand.
    pub refs: Vec<(RefName, Oid)>,
    /// The branch that changes go to by default.
    pub default: Option<RefName>,
}

/// Where the forge's branches and tags stand.
///
/// # Errors
/// `fetch-failed`.
pub fn tips(repo: &ForgeRepo, source: &FetchSource) -> Result<Tips, Outage> {
    let say = |error: git2::Error| failed(repo, error.message());
    let mut remote = remote(None, repo, source)?;
    let connection = remote
        .connect_auth(Direction::Fetch, Some(callbacks(source)), None)
        .map_err(say)?;
    let heads = connection.list().map_err(say)?;
    if heads.len() > MOST_REFS {
        return Err(failed(repo, "it has more than 100,000 refs"));
    }
    let named = |head: &git2::RemoteHead<'_>| {
        let name = head.name();
        let ours = name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
        Some((
            name.parse().ok().filter(|_| ours)?,
            Oid::from_bytes(head.oid().as_bytes()).ok()?,
        ))
    };
    let refs = heads.iter().filter_map(named).collect();
    // An empty repository has none.
    let default = connection.default_branch().ok();
    let default = default.and_then(|name| std::str::from_utf8(&name).ok()?.parse().ok());
    Ok(Tips { refs, default })
}

/// Fetches one ref of the forge, and tells how it stands to ours. Blocks its thread.
///
/// # Errors
/// `fetch-failed`, `mirror-unwritable`.
pub fn follow(git_dir: &Path, repo: &ForgeRepo, source: &FetchSource, name: &RefName) -> Result<Followed, Outage> {
    let tips = tips(repo, source)?.refs;
    let tip = tips.into_iter().find(|(known, _)| known == name).map(|(_, oid)| oid);
    let ours = open(git_dir)?;
    let stands = ours.refname_to_id(name.as_str()).ok();
    if tip.is_some_and(|tip| stands.is_some_and(|stands| stands.as_bytes() == tip.as_bytes())) {
        return Ok(Followed {
            old: tip,
            new: tip,
            steps: Vec::new(),
        });
    }
    let there = tip.is_some();
    // Not below its own name: a branch `a` that was would keep out a branch `a/b`.
    let fetched = format!("{FETCHED}{}", hex(&Sha256::digest(name.as_str().as_bytes())[..16]));
    if there {
        fetch_refs(&ours, repo, source, &[format!("+{name}:{fetched}")])?;
    }
    let at = |name: &str| -> Result<Option<git2::Oid>, Outage> {
        match ours.refname_to_id(name) {
            Ok(oid) => Ok(Some(oid)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(failed(repo, error.message())),
        }
    };
    let old = at(name.as_str())?;
    let new = if there { at(&fetched)? } else { None };
    let steps = steps(&ours, old, new).map_err(|error| failed(repo, error.message()))?;
    let plain = |oid: git2::Oid| Oid::from_bytes(oid.as_bytes()).map_err(|e| failed(repo, &e.to_string()));
    Ok(Followed {
        old: old.map(plain).transpose()?,
        new: new.map(plain).transpose()?,
        steps: steps.into_iter().map(plain).collect::<Result<_, _>>()?,
    })
}

fn steps(ours: &Repository, old: Option<git2::Oid>, new: Option<git2::Oid>) -> Result<Vec<git2::Oid>, git2::Error> {
    let Some(new) = new.filter(|new| Some(*new) != old) else {
        return Ok(Vec::new());
    };
    let commit = |oid: git2::Oid| ours.find_object(oid, None)?.peel_to_commit().map(|commit| commit.id());
    // A ref that names no commit is the checks' to refuse.
    let (Some(old), Ok(new)) = (old, commit(new)) else {
        return Ok(vec![new]);
    };
    let mut walk = ours.revwalk()?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE)?;
    walk.simplify_first_parent()?;
    walk.push(new)?;
    walk.hide(commit(old)?)?;
    walk.take(MOST_STEPS).collect()
}

/// The commit that is so many steps back on a commit's own line, or the first.
///
/// # Errors
/// `gate-not-moved` where it cannot be read.
pub fn back(git_dir: &Path, from: Oid, steps: usize) -> Result<Oid, Outage> {
    let ours = open(git_dir)?;
    let walked = || -> Result<git2::Oid, git2::Error> {
        let mut commit = ours.find_commit(git2::Oid::from_bytes(from.as_bytes())?)?;
        for _ in 0..steps {
            let Ok(parent) = commit.parent(0) else { break };
            commit = parent;
        }
        Ok(commit.id())
    };
    let oid = walked().map_err(|error| unmoved(git_dir, &error))?;
    Oid::from_bytes(oid.as_bytes()).map_err(|_| unmoved(git_dir, &git2::Error::from_str("an id of no known length")))
}

/// Whether a commit is the other one or descends from it, as far as the gate's repository knows.
///
/// # Errors
/// `gate-not-moved` where it cannot be read.
pub fn moved(git_dir: &Path, from: Oid, to: Oid) -> Result<bool, Outage> {
    let ours = open(git_dir)?;
    let id = |oid: Oid| git2::Oid::from_bytes(oid.as_bytes());
    let known = id(from).and_then(|from| Ok(from == id(to)? || ours.graph_descendant_of(id(to)?, from)?));
    match known {
        Ok(known) => Ok(known),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
        Err(error) => Err(unmoved(git_dir, &error)),
    }
}

/// Moves our ref, if it still stands where it stood.
///
/// * `old`: `None`: it must not be there. `new`: `None`: it goes.
///
/// # Errors
/// `gate-not-moved`.
pub fn set_ref(git_dir: &Path, name: &RefName, old: Option<Oid>, new: Option<Oid>) -> Result<(), Outage> {
    let ours = open(git_dir)?;
    let id = |oid: Oid| git2::Oid::from_bytes(oid.as_bytes());
    let set = || -> Result<(), git2::Error> {
        let (name, why) = (name.as_str(), "lychgate: as the forge");
        match (old, new) {
            (None, Some(new)) => ours.reference(name, id(new)?, false, why).map(drop),
            (Some(old), Some(new)) => ours.reference_matching(name, id(new)?, true, id(old)?, why).map(drop),
            (Some(old), None) => {
                let mut reference = ours.find_reference(name)?;
                match reference.target() == Some(id(old)?) {
                    true => reference.delete(),
                    false => Err(git2::Error::from_str("it moved meanwhile")),
                }
            }
            (None, None) => Ok(()),
        }
    };
    set().map_err(|error| unmoved(git_dir, &error))
}

fn open(git_dir: &Path) -> Result<Repository, Outage> {
    Repository::open_bare(git_dir).map_err(|error| Outage {
        code: "gate-unreadable",
        what: format!("cannot open the gate's repository {}", git_dir.display()),
        why: error.message().to_owned(),
        next: format!(
            "make it: git init --bare {0} && lychgate init --no-hooks {0}",
            git_dir.display()
        ),
    })
}

fn unmoved(git_dir: &Path, error: &git2::Error) -> Outage {
    Outage {
        code: "gate-not-moved",
        what: format!("cannot move a ref of the gate's repository {}", git_dir.display()),
        why: error.message().to_owned(),
        next: "let this account write there; the next sweep tries it again".to_owned(),
    }
}
