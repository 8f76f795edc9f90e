//! Asks git about one repository, as the server's account sees it.
//!
//! Variables that would point git at another repository are dropped; those
//! that change its configuration stay, since the audit must see what they do.

use crate::cmd::error::CommandError;
use crate::port::Outage;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Variables by which git finds a repository, an index or objects.
const PLACES: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
    "GIT_NAMESPACE",
    "GIT_INDEX_FILE",
];

/// One value of git's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// `system`, `global`, `local`, `worktree` or `command`.
    pub(super) scope: String,
    /// `file:/etc/gitconfig`, `command line:`.
    pub(super) origin: String,
    /// The key, section and name in lower case.
    pub(super) key: String,
    /// The value; a key without one means `true`.
    pub(super) value: String,
}

/// Git in one repository.
pub(super) struct Git {
    dir: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Git {
    /// Finds the repository: a bare one, or the `.git` of a work tree. Never one of the folders above.
    pub(super) fn open(repository: &Path, environment: &[(OsString, OsString)]) -> Result<Self, CommandError> {
        let kept = |name: &OsStr| !PLACES.iter().any(|place| OsStr::new(place) == name);
        let environment: Vec<_> = environment.iter().filter(|(name, _)| kept(name)).cloned().collect();
        for candidate in [repository.to_owned(), repository.join(".git")] {
            let git = Self {
                dir: candidate,
                environment: environment.clone(),
            };
            if !git.dir.is_dir() {
                continue;
            }
            if let (true, found) = git.ask(&["rev-parse", "--absolute-git-dir"])? {
                return Ok(Self {
                    dir: PathBuf::from(OsString::from_vec(trimmed(found))),
                    ..git
                });
            }
        }
        let shown = repository.display();
        Err(CommandError::usage(
            "no-repository",
            format!("{shown} is no Git repository"),
            format!("make one: git init --bare {shown}"),
        ))
    }

    /// The repository's Git directory, absolute.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// All of the configuration that applies here, in the order in which git reads it.
    pub(super) fn settings(&self) -> Result<Vec<Setting>, CommandError> {
        let (true, listed) = self.ask(&["config", "--list", "--show-scope", "--show-origin", "-z"])? else {
            return Err(CommandError::usage(
                "bad-git-config",
                "git cannot read its configuration",
                "run git config --list in the repository: it names the file and line",
            ));
        };
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let parts: Vec<&str> = listed.split('\0').collect();
        let settings = parts.chunks_exact(3).map(|part| {
            let (key, value) = part[2].split_once('\n').unwrap_or((part[2], "true"));
            Setting {
                scope: part[0].to_owned(),
                origin: part[1].to_owned(),
                key: key.to_owned(),
                value: value.to_owned(),
            }
        });
        Ok(settings.collect())
    }

    /// Sets a value in the repository's own configuration.
    pub(super) fn set(&self, key: &str, value: &str) -> Result<(), CommandError> {
        match self.ask(&["config", "--local", key, value])? {
            (true, _) => Ok(()),
            (false, _) => Err(CommandError::usage(
                "bad-git-config",
                format!("git cannot set {key} in {}", self.dir.join("config").display()),
                "see that this account may write the file, and that no config.lock is left beside it",
            )),
        }
    }

    /// The folder in which git looks for hooks, absolute.
    pub(super) fn hooks_dir(&self) -> Result<PathBuf, CommandError> {
        let (_, path) = self.ask(&["rev-parse", "--git-path", "hooks"])?;
        let path = PathBuf::from(OsString::from_vec(trimmed(path)));
        // Git prints it relative to the folder in which it runs: the Git directory, as for a hook.
        Ok(self.dir.join(path))
    }

    /// Names of the refs under a prefix.
    pub(super) fn refs(&self, prefix: &str) -> Result<Vec<String>, CommandError> {
        let (_, listed) = self.ask(&["for-each-ref", "--format=%(refname)", prefix])?;
        Ok(String::from_utf8_lossy(&listed).lines().map(str::to_owned).collect())
    }

    /// Runs git: whether it succeeded, and its standard output.
    #[expect(clippy::disallowed_methods, reason = "cmd asks git, in a known environment")]
    fn ask(&self, args: &[&str]) -> Result<(bool, Vec<u8>), CommandError> {
        let mut command = Command::new("git");
        command.env_clear().envs(self.environment.iter().cloned());
        command.arg("--git-dir").arg(".").args(args);
        let done = command.current_dir(&self.dir).stdin(Stdio::null()).output();
        let done = done.map_err(|error| Outage {
            code: "git-unavailable",
            what: "git cannot be started".to_owned(),
            why: error.to_string(),
            next: "install git, and see that it is on this account's PATH".to_owned(),
        })?;
        Ok((done.status.success(), done.stdout))
    }
}

fn trimmed(mut line: Vec<u8>) -> Vec<u8> {
    while line.ends_with(b"\n") {
        line.pop();
    }
    line
}
