//! By the git program, in processes of its own: repositories of SHA-256.
//!
//! A process gets no environment but what is set here, runs no hook, asks nobody, follows no redirect, and is
//! killed at its bounds. The credential goes through the environment of that one process, never through its
//! arguments, a file or a pipe that somebody else could read; git sends it to this URL alone.
//! <https://git-scm.com/docs/git-config#ENVIRONMENT>

use super::local::{Listed, Local};
use super::{CONNECT, MAX_FETCH, MAX_TIME, MOST_REFS, SILENCE, listed};
use crate::port::FetchSource;
use crate::push::{Oid, RefName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Most bytes that are read of what git says: 100,000 refs of 200 bytes each.
const MOST_SAID: u64 = 20 << 20;
/// Most characters of git's own reason that are passed on.
const MOST_WHY: usize = 200;
/// Pauses between two looks at a running process: the first, and the longest.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// A repository that the git program reads.
pub(super) struct Program {
    git_dir: PathBuf,
}

/// Makes a bare repository of SHA-256, whole or not at all.
pub(super) fn make(git_dir: &Path) -> Result<(), String> {
    let folder = git_dir.parent().ok_or("it is in no folder")?;
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let new = tempfile::tempdir_in(folder).map_err(|error| error.to_string())?;
    let mut command = git(None);
    command
        .args(["init", "-q", "--bare", "--object-format=sha256", "--template="])
        .arg(new.path());
    run(command, None)?.succeeded()?;
    match std::fs::rename(new.path(), git_dir) {
        // Another thread was faster.
        Err(_) if git_dir.join("HEAD").is_file() => Ok(()),
        other => other.map_err(|error| error.to_string()),
    }
}

pub(super) fn tips(source: &FetchSource) -> Result<Listed, String> {
    let (refs, default) = remote_refs(source)?;
    let named = |(name, oid): (String, Oid)| Some((listed(&name)?, oid));
    Ok((refs.into_iter().filter_map(named).collect(), default))
}

/// All refs that a server lists, and its default branch.
type Served = (Vec<(String, Oid)>, Option<RefName>);

fn remote_refs(source: &FetchSource) -> Result<Served, String> {
    let mut command = at_server(None, source);
    command.args(["ls-remote", "--symref", "--quiet", "--", &source.url]);
    let said = run(command, None)?.succeeded()?;
    let (mut refs, mut default) = (Vec::new(), None);
    for line in said.lines() {
        match line.split_once('\t') {
            Some((symbolic, "HEAD")) if symbolic.starts_with("ref: ") => default = symbolic[5..].parse().ok(),
            Some((oid, name)) => refs.push((name.to_owned(), oid.parse().map_err(|_| "a line that is no ref")?)),
            None => {}
        }
    }
    if refs.len() > MOST_REFS {
        return Err("it has more than 100,000 refs".to_owned());
    }
    Ok((refs, default))
}

impl Program {
    pub(super) fn of(git_dir: &Path) -> Self {
        Self {
            git_dir: git_dir.to_owned(),
        }
    }

    fn ask(&self, args: &[&str]) -> Result<Ended, String> {
        let mut command = git(Some(&self.git_dir));
        command.args(args);
        run(command, None)
    }
}

impl Local for Program {
    fn fetch(&self, source: &FetchSource, refspecs: &[String]) -> Result<(), String> {
        let (there, _) = remote_refs(source)?;
        // git refuses the whole fetch for one ref that is not there.
        let has = |spec: &&String| {
            let from = spec.trim_start_matches('+').split(':').next().unwrap_or_default();
            from.contains('*') || there.iter().any(|(name, _)| name == from)
        };
        let refspecs: Vec<&String> = refspecs.iter().filter(has).collect();
        if refspecs.is_empty() {
            return Ok(());
        }
        let mut command = at_server(Some(&self.git_dir), source);
        let quiet = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"];
        command
            .arg("fetch")
            .args(quiet)
            .args(["--no-recurse-submodules", "--", &source.url])
            .args(refspecs);
        run(command, Some(&self.git_dir))?.succeeded().map(drop)
    }

    fn tips(&self, source: &FetchSource) -> Result<Listed, String> {
        tips(source)
    }

    fn target(&self, name: &str) -> Result<Option<Oid>, String> {
        let ended = self.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", name])?;
        ended.id_or_none()
    }

    fn commit(&self, oid: Oid) -> Result<Option<Oid>, String> {
        let peeled = format!("{oid}^{{commit}}");
        self.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &peeled])?
            .id_or_none()
    }

    fn parents(&self, commit: Oid) -> Result<Option<Vec<Oid>>, String> {
        if self.commit(commit)? != Some(commit) {
            return Ok(None);
        }
        let said = self.ask(&["rev-list", "--parents", "-n", "1", &commit.to_string()])?;
        let said = said.succeeded()?;
        said.split_whitespace()
            .skip(1)
            .map(parsed)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn merge_base(&self, one: Oid, other: Oid) -> Result<Option<Oid>, String> {
        self.ask(&["merge-base", &one.to_string(), &other.to_string()])?
            .id_or_none()
    }

    fn line(&self, from: Oid, to: Oid, most: usize) -> Result<Vec<Oid>, String> {
        let (to, hidden) = (to.to_string(), format!("^{from}"));
        let said = self.ask(&["rev-list", "--first-parent", "--topo-order", "--reverse", &to, &hidden])?;
        said.succeeded()?.lines().take(most).map(parsed).collect()
    }

    fn tree(&self, commit: Oid) -> Result<Oid, String> {
        let tree = format!("{commit}^{{tree}}");
        let said = self.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &tree])?;
        parsed(said.succeeded()?.trim())
    }

    /// <https://git-scm.com/docs/git-merge-tree>: `--merge-base` came with Git 2.40.
    fn picked(&self, commit: Oid, onto: Oid) -> Result<Option<Oid>, String> {
        let (base, onto, commit) = (format!("--merge-base={commit}^"), onto.to_string(), commit.to_string());
        let ended = self.ask(&["merge-tree", "--write-tree", &base, &onto, &commit])?;
        match ended.status.code() {
            // A collision: it names the tree, and the places after it.
            Some(1) => Ok(None),
            _ => ended.id_or_none(),
        }
    }

    fn set(&self, name: &RefName, old: Option<Oid>, new: Option<Oid>) -> Result<(), String> {
        let Some(like) = old.or(new) else { return Ok(()) };
        // The zero id as the old one: it must not be there.
        let (name, old) = (name.as_str(), old.unwrap_or(like.zero()).to_string());
        let new = new.map(|new| new.to_string());
        let log = ["update-ref", "--no-deref", "-m", "lychgate: as the forge"];
        let args = match &new {
            Some(new) => [&log[..], &[name, new, &old]].concat(),
            None => [&log[..], &["-d", name, &old]].concat(),
        };
        self.ask(&args)?.succeeded().map(drop)
    }
}

fn parsed(oid: &str) -> Result<Oid, String> {
    oid.parse().map_err(|_| "git named no object id".to_owned())
}

/// git without anything of this account's.
fn git(git_dir: Option<&Path>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "this file's vendor is the git program")]
    let mut command = Command::new("git");
    #[expect(
        clippy::disallowed_methods,
        reason = "git is found where this account finds programs"
    )]
    let path = std::env::var_os("PATH");
    command
        .env_clear()
        .envs(path.map(|path| ("PATH", path)))
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_TERMINAL_PROMPT", "0");
    // The gate's own hooks would judge again what is judged, and by another way.
    command.args(["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0"]);
    if let Some(git_dir) = git_dir {
        command.arg(format!("--git-dir={}", git_dir.display()));
    }
    command
}

/// git with a credential for one URL.
fn at_server(git_dir: Option<&Path>, source: &FetchSource) -> Command {
    let mut command = git(git_dir);
    let silence = (SILENCE / 1000).max(CONNECT / 1000).to_string();
    let settings = [
        ("http.followRedirects", "false"),
        ("http.lowSpeedLimit", "1"),
        ("http.lowSpeedTime", silence.as_str()),
        ("transfer.bundleURI", "false"),
        ("fetch.unpackLimit", "1"),
        ("protocol.version", "2"),
    ];
    command.env("GIT_ALLOW_PROTOCOL", "file:http:https");
    for (at, (key, value)) in settings.iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{at}"), key);
        command.env(format!("GIT_CONFIG_VALUE_{at}"), value);
    }
    let last = settings.len();
    let header = authorization(source);
    command
        .env("GIT_CONFIG_COUNT", (last + 1).to_string())
        .env(
            format!("GIT_CONFIG_KEY_{last}"),
            format!("http.{}.extraHeader", source.url),
        )
        .env(format!("GIT_CONFIG_VALUE_{last}"), header.expose_secret());
    command
}

/// <https://www.rfc-editor.org/rfc/rfc7617#section-2>
fn authorization(source: &FetchSource) -> SecretString {
    let both = zeroize::Zeroizing::new(format!("{}:{}", source.user, source.password.expose_secret()));
    SecretString::from(format!("Authorization: Basic {}", STANDARD.encode(both.as_bytes())))
}

/// A process that has ended by itself.
struct Ended {
    status: ExitStatus,
    said: String,
    why: String,
}

impl Ended {
    fn succeeded(self) -> Result<String, String> {
        if self.status.success() {
            Ok(self.said)
        } else {
            Err(self.why)
        }
    }

    /// What it named; git ends with 1 and says nothing where there is none.
    fn id_or_none(self) -> Result<Option<Oid>, String> {
        match self.status.code() {
            Some(0) => parsed(self.said.trim()).map(Some),
            Some(1) => Ok(None),
            _ => Err(self.why),
        }
    }
}

/// Runs git within the bounds of time, of what it says, and of what it writes into a repository.
fn run(mut command: Command, writes: Option<&Path>) -> Result<Ended, String> {
    let failed = |error: std::io::Error| format!("cannot run the git program: {error}");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let (said, told) = (aside(child.stdout.take()), aside(child.stderr.take()));
    let status = match within(&mut child, writes) {
        Ok(status) => status,
        Err(why) => {
            // What it started has lost its pipes to it, and ends too; nobody waits for that.
            let _ = child.kill();
            let _ = child.wait();
            return Err(why);
        }
    };
    let text = |read: JoinHandle<String>| read.join().map_err(|_| "what git said was not read".to_owned());
    Ok(Ended {
        status,
        said: text(said)?,
        why: reason(&text(told)?),
    })
}

fn within(child: &mut Child, writes: Option<&Path>) -> Result<ExitStatus, String> {
    let (begun, mut pause) = (Instant::now(), LOOK.0);
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(status);
        }
        if begun.elapsed() > MAX_TIME {
            return Err("it took longer than 60 s".to_owned());
        }
        if writes.is_some_and(|git_dir| incoming(git_dir) > MAX_FETCH) {
            return Err("it brings more than 2 GiB".to_owned());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LOOK.1);
    }
}

/// Bytes of the packs that are coming in.
/// <https://git-scm.com/docs/git-index-pack>
fn incoming(git_dir: &Path) -> u64 {
    let entries = std::fs::read_dir(git_dir.join("objects/pack"))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("tmp_pack_"))
        .map(|entry| entry.metadata().map_or(0, |meta| meta.len()))
        .sum()
}

/// Reads to the end in a thread of its own, since a full pipe would stop the process.
fn aside(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What is cut off is not complete, and git ends in failure when nobody reads on.
        let _ = pipe.map(|pipe| pipe.take(MOST_SAID).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// git's own reason. What a server sent along, or any line else, is not passed on.
fn reason(told: &str) -> String {
    let own = told.lines().find_map(|line| line.strip_prefix("fatal: "));
    let own = own.unwrap_or("git said no reason");
    own.chars().filter(|c| !c.is_control()).take(MOST_WHY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credential_is_in_one_variable_and_nowhere_else() {
        let password = ["canary", "-of-the-program"].concat();
        let source = FetchSource {
            url: "https://git.example.com/acme/pay.git".to_owned(),
            user: "bot".to_owned(),
            password: SecretString::from(password.clone()),
            refspecs: Vec::new(),
        };
        let command = at_server(Some(Path::new("/tmp/none.git")), &source);
        let encoded = STANDARD.encode(format!("bot:{password}"));
        let shown = |text: &std::ffi::OsStr| text.to_string_lossy().contains(&encoded);
        assert!(
            !command
                .get_args()
                .any(|arg| shown(arg) || arg.to_string_lossy().contains(&password))
        );
        let variables: Vec<_> = command
            .get_envs()
            .filter(|(_, value)| value.is_some_and(shown))
            .collect();
        assert_eq!(variables.len(), 1);
        let name = variables[0].0.to_string_lossy().replace("VALUE", "KEY");
        let key = command
            .get_envs()
            .find(|(known, _)| known.to_string_lossy() == name)
            .unwrap()
            .1;
        assert_eq!(key.unwrap(), "http.https://git.example.com/acme/pay.git.extraHeader");
    }

    #[test]
    fn of_what_git_says_only_its_own_reason_is_passed_on() {
        let told = "remote: \u{1b}[31mhello\nfatal: couldn't find remote ref x\u{7}\n";
        assert_eq!(reason(told), "couldn't find remote ref x");
        assert_eq!(reason("remote: only this"), "git said no reason");
        assert_eq!(reason(&format!("fatal: {}", "x".repeat(1000))).len(), MOST_WHY);
    }

    #[test]
    fn what_comes_in_is_measured_while_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let packs = folder.path().join("objects/pack");
        std::fs::create_dir_all(&packs).unwrap();
        std::fs::write(packs.join("tmp_pack_abc"), [0; 1000]).unwrap();
        std::fs::write(packs.join("pack-abc.pack"), [0; 500]).unwrap();
        assert_eq!(incoming(folder.path()), 1000);
    }
}
