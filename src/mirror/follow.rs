//! The gate's own repository follows the refs of the forge's.
//!
//! In scope: where the forge's refs stand, fetching one of them beside ours, the
//! steps between, and moving ours by compare-and-swap. Out of scope: whether it may move.
//!
//! What was fetched stands below `refs/forge/`, which counts for nothing, until our
//! ref moves there. Hooks do not run: whoever calls has recorded the entry.

use super::local::{self, Local};
use super::{allowed, failed, fetch_refs};
use crate::decision::hex;
use crate::forge::ForgeRepo;
use crate::port::{FetchSource, Outage};
use crate::push::{Oid, RefName};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Where fetched refs are kept.
const FETCHED: &str = "refs/forge/";
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
    allowed(repo, &source.url)?;
    let (refs, default) = local::tips(source).map_err(|why| failed(repo, &why))?;
    Ok(Tips { refs, default })
}

/// Fetches one ref of the forge, and tells how it stands to ours. Blocks its thread.
///
/// # Errors
/// `fetch-failed`, `mirror-unwritable`.
pub fn follow(git_dir: &Path, repo: &ForgeRepo, source: &FetchSource, name: &RefName) -> Result<Followed, Outage> {
    let say = |why: String| failed(repo, &why);
    allowed(repo, &source.url)?;
    let ours = open(git_dir)?;
    let (tips, _) = ours.tips(source).map_err(say)?;
    let tip = tips.into_iter().find(|(known, _)| known == name).map(|(_, oid)| oid);
    let stands = ours.target(name.as_str()).map_err(say)?;
    if tip.is_some() && tip == stands {
        return Ok(Followed {
            old: tip,
            new: tip,
            steps: Vec::new(),
        });
    }
    // Not below its own name: a branch `a` that was would keep out a branch `a/b`.
    let fetched = format!("{FETCHED}{}", hex(&Sha256::digest(name.as_str().as_bytes())[..16]));
    let mut new = None;
    if tip.is_some() {
        fetch_refs(ours.as_ref(), repo, source, &[format!("+{name}:{fetched}")])?;
        new = ours.target(&fetched).map_err(say)?;
    }
    let old = ours.target(name.as_str()).map_err(say)?;
    let steps = steps(ours.as_ref(), old, new).map_err(say)?;
    Ok(Followed { old, new, steps })
}

fn steps(ours: &dyn Local, old: Option<Oid>, new: Option<Oid>) -> Result<Vec<Oid>, String> {
    let Some(new) = new.filter(|new| Some(*new) != old) else {
        return Ok(Vec::new());
    };
    // A ref that names no commit is the checks' to refuse.
    let (Some(old), Some(to)) = (old, ours.commit(new)?) else {
        return Ok(vec![new]);
    };
    match ours.commit(old)? {
        Some(from) => ours.line(from, to, MOST_STEPS),
        None => Err("our ref names no commit".to_owned()),
    }
}

/// Whether commits are those of a change, made anew one by one: what a forge's rebase makes of them.
///
/// Each must have one parent, and exactly the tree that the change's own commit in its place makes of that parent:
/// then nothing is in them that is not in what was reviewed. A collision that somebody resolved is none.
///
/// * `source`: with the refs of the change; `head`: its last head.
/// * `from`: where the branch stood before; `steps`: what landed, oldest first.
///
/// # Errors
/// `fetch-failed`, `gate-unreadable`.
pub fn is_rebase(
    git_dir: &Path,
    repo: &ForgeRepo,
    source: &FetchSource,
    head: Oid,
    from: Oid,
    steps: &[Oid],
) -> Result<bool, Outage> {
    let say = |why: String| failed(repo, &why);
    let ours = open(git_dir)?;
    let mut specs = source.refspecs.clone();
    for spec in &mut specs {
        *spec = spec.replace(":refs/", &format!(":{FETCHED}"));
    }
    fetch_refs(ours.as_ref(), repo, source, &specs)?;
    made_anew(ours.as_ref(), head, from, steps).map_err(say)
}

fn made_anew(ours: &dyn Local, head: Oid, from: Oid, steps: &[Oid]) -> Result<bool, String> {
    if ours.commit(head)? != Some(head) {
        return Ok(false);
    }
    let Some(base) = ours.merge_base(from, head)? else {
        return Ok(false);
    };
    let own = ours.line(base, head, steps.len() + 1)?;
    if own.len() != steps.len() {
        return Ok(false);
    }
    let (mut own_parent, mut parent) = (base, from);
    for (commit, step) in own.into_iter().zip(steps.iter().copied()) {
        let single = ours.parents(commit)? == Some(vec![own_parent]) && ours.parents(step)? == Some(vec![parent]);
        if !single || ours.picked(commit, parent)? != Some(ours.tree(step)?) {
            return Ok(false);
        }
        (own_parent, parent) = (commit, step);
    }
    Ok(true)
}

/// The commit that is so many steps back on a commit's own line, or the first.
///
/// # Errors
/// `gate-not-moved` where it cannot be read.
pub fn back(git_dir: &Path, from: Oid, steps: usize) -> Result<Oid, Outage> {
    let ours = open(git_dir)?;
    let mut commit = from;
    for _ in 0..steps {
        let parents = ours.parents(commit).map_err(|why| unmoved(git_dir, why))?;
        let Some(parent) = parents.and_then(|parents| parents.first().copied()) else {
            break;
        };
        commit = parent;
    }
    Ok(commit)
}

/// Whether a commit is the other one or descends from it, as far as the gate's repository knows.
///
/// # Errors
/// `gate-not-moved` where it cannot be read.
pub fn moved(git_dir: &Path, from: Oid, to: Oid) -> Result<bool, Outage> {
    let ours = open(git_dir)?;
    let known = || -> Result<bool, String> {
        let here = ours.commit(from)? == Some(from) && ours.commit(to)? == Some(to);
        Ok(here && ours.merge_base(from, to)? == Some(from))
    };
    known().map_err(|why| unmoved(git_dir, why))
}

/// Moves our ref, if it still stands where it stood.
///
/// * `old`: `None`: it must not be there. `new`: `None`: it goes.
///
/// # Errors
/// `gate-not-moved`.
pub fn set_ref(git_dir: &Path, name: &RefName, old: Option<Oid>, new: Option<Oid>) -> Result<(), Outage> {
    open(git_dir)?.set(name, old, new).map_err(|why| unmoved(git_dir, why))
}

fn open(git_dir: &Path) -> Result<Box<dyn Local>, Outage> {
    local::open(git_dir).map_err(|why| Outage {
        code: "gate-unreadable",
        what: format!("cannot open the gate's repository {}", git_dir.display()),
        why,
        next: format!(
            "make it: git init --bare {0} && lychgate init --no-hooks {0}",
            git_dir.display()
        ),
    })
}

fn unmoved(git_dir: &Path, why: String) -> Outage {
    Outage {
        code: "gate-not-moved",
        what: format!("cannot move a ref of the gate's repository {}", git_dir.display()),
        why,
        next: "let this account write there; the next sweep tries it again".to_owned(),
    }
}
