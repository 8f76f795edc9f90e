//! By libgit2, in this process: repositories of SHA-1.

use super::local::{Listed, Local};
use super::{CONNECT, MAX_FETCH, MAX_TIME, MOST_REFS, SILENCE, listed};
use crate::port::{FetchSource, Outage};
use crate::push::{Oid, RefName};
use git2::{
    AutotagOption, Cred, Direction, ErrorCode, FetchOptions, Remote, RemoteCallbacks, RemoteRedirect, Repository, Sort,
};
use secrecy::ExposeSecret;
use std::path::Path;
use std::time::Instant;

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

/// Whether a repository on this disk says of itself that its objects have SHA-256 ids.
pub(super) fn is_sha256(git_dir: &Path) -> bool {
    let format =
        git2::Config::open(&git_dir.join("config")).and_then(|config| config.get_string("extensions.objectformat"));
    format.is_ok_and(|format| format == "sha256")
}

/// Whether libgit2 failed since the repository's objects have ids that it does not know.
pub(super) fn is_foreign_format(why: &str) -> bool {
    why.contains("object format")
}

pub(super) fn make(git_dir: &Path) -> Result<(), String> {
    Repository::init_bare(git_dir).map(drop).map_err(say)
}

pub(super) fn tips(source: &FetchSource) -> Result<Listed, String> {
    let mut remote = Remote::create_detached(source.url.as_str()).map_err(say)?;
    let connection = remote
        .connect_auth(Direction::Fetch, Some(callbacks(source)), None)
        .map_err(say)?;
    let heads = connection.list().map_err(say)?;
    if heads.len() > MOST_REFS {
        return Err("it has more than 100,000 refs".to_owned());
    }
    let named = |head: &git2::RemoteHead<'_>| Some((listed(head.name())?, ours(head.oid()).ok()?));
    let refs = heads.iter().filter_map(named).collect();
    // An empty repository has none.
    let default = connection.default_branch().ok();
    let default = default.and_then(|name| std::str::from_utf8(&name).ok()?.parse().ok());
    Ok((refs, default))
}

/// A repository that libgit2 has opened.
pub(super) struct Libgit(Repository);

impl Libgit {
    pub(super) fn open(git_dir: &Path) -> Result<Self, String> {
        Repository::open_bare(git_dir).map(Self).map_err(say)
    }
}

impl Local for Libgit {
    fn fetch(&self, source: &FetchSource, refspecs: &[String]) -> Result<(), String> {
        let mut remote = self.0.remote_anonymous(&source.url).map_err(say)?;
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(callbacks(source))
            .download_tags(AutotagOption::None)
            .update_fetchhead(false);
        // A redirect would take the credential to another host.
        options.follow_redirects(RemoteRedirect::None);
        remote.fetch(refspecs, Some(&mut options), None).map_err(say)
    }

    fn tips(&self, source: &FetchSource) -> Result<Listed, String> {
        tips(source)
    }

    fn target(&self, name: &str) -> Result<Option<Oid>, String> {
        found(self.0.refname_to_id(name))?.map(ours).transpose()
    }

    fn commit(&self, oid: Oid) -> Result<Option<Oid>, String> {
        let peeled = self
            .0
            .find_object(id(oid)?, None)
            .and_then(|object| object.peel_to_commit());
        Ok(peeled.ok().and_then(|commit| ours(commit.id()).ok()))
    }

    fn parents(&self, commit: Oid) -> Result<Option<Vec<Oid>>, String> {
        let Some(commit) = found(self.0.find_commit(id(commit)?))? else {
            return Ok(None);
        };
        commit.parent_ids().map(ours).collect::<Result<_, _>>().map(Some)
    }

    fn merge_base(&self, one: Oid, other: Oid) -> Result<Option<Oid>, String> {
        found(self.0.merge_base(id(one)?, id(other)?))?.map(ours).transpose()
    }

    fn line(&self, from: Oid, to: Oid, most: usize) -> Result<Vec<Oid>, String> {
        let (from, to) = (id(from)?, id(to)?);
        let walked = || -> Result<Vec<git2::Oid>, git2::Error> {
            let mut walk = self.0.revwalk()?;
            walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE)?;
            walk.simplify_first_parent()?;
            walk.push(to)?;
            walk.hide(from)?;
            walk.take(most).collect()
        };
        walked().map_err(say)?.into_iter().map(ours).collect()
    }

    fn tree(&self, commit: Oid) -> Result<Oid, String> {
        ours(self.0.find_commit(id(commit)?).map_err(say)?.tree_id())
    }

    fn picked(&self, commit: Oid, onto: Oid) -> Result<Option<Oid>, String> {
        let (commit, onto) = (id(commit)?, id(onto)?);
        let picked = || -> Result<Option<git2::Oid>, git2::Error> {
            let (commit, onto) = (self.0.find_commit(commit)?, self.0.find_commit(onto)?);
            let mut index = self.0.cherrypick_commit(&commit, &onto, 0, None)?;
            match index.has_conflicts() {
                true => Ok(None),
                false => index.write_tree_to(&self.0).map(Some),
            }
        };
        picked().map_err(say)?.map(ours).transpose()
    }

    fn set(&self, name: &RefName, old: Option<Oid>, new: Option<Oid>) -> Result<(), String> {
        let (name, why) = (name.as_str(), "lychgate: as the forge");
        let set = match (old, new) {
            (None, Some(new)) => self.0.reference(name, id(new)?, false, why).map(drop),
            (Some(old), Some(new)) => {
                let (old, new) = (id(old)?, id(new)?);
                self.0.reference_matching(name, new, true, old, why).map(drop)
            }
            (Some(old), None) => {
                let old = id(old)?;
                self.0
                    .find_reference(name)
                    .and_then(|mut reference| match reference.target() == Some(old) {
                        true => reference.delete(),
                        false => Err(git2::Error::from_str("it moved meanwhile")),
                    })
            }
            (None, None) => Ok(()),
        };
        set.map_err(say)
    }
}

fn say(error: git2::Error) -> String {
    error.message().to_owned()
}

fn found<T>(asked: Result<T, git2::Error>) -> Result<Option<T>, String> {
    match asked {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(say(error)),
    }
}

fn id(oid: Oid) -> Result<git2::Oid, String> {
    git2::Oid::from_bytes(oid.as_bytes()).map_err(say)
}

fn ours(oid: git2::Oid) -> Result<Oid, String> {
    Oid::from_bytes(oid.as_bytes()).map_err(|error| error.to_string())
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
    callbacks.transfer_progress(move |progress| {
        u64::try_from(progress.received_bytes()).is_ok_and(|bytes| bytes <= MAX_FETCH) && begun.elapsed() <= MAX_TIME
    });
    callbacks
}
