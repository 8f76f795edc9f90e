//! The harness: scratch folders, a clean environment, throw-away keys, a gate and work trees.
//!
//! In scope: what more than one test module needs to run real git, gpg and
//! ssh-keygen without touching the account that runs the tests. Out of scope:
//! servers (`transport`) and what any of it should answer.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program under test.
pub(crate) const LYCHGATE: &str = env!("CARGO_BIN_EXE_lychgate");
/// The account to which every throw-away key is bound.
pub(crate) const ACCOUNT: &str = "dev";
/// The committer's e-mail address, and the only one that the keys are bound to.
pub(crate) const EMAIL: &str = "dev@example.com";
/// Author and committer date of every commit: after the keys' birth, before any receive time.
const COMMIT_DATE: &str = "2024-03-01T12:00:00Z";
/// What gpg takes for the present while it makes a key.
const KEY_BIRTH: &str = "20240101T000000";
/// One folder deep, so that a failed test never starts git's search for a repository above it.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// Exit code; -1 when a signal ended it.
    pub(crate) code: i32,
    /// Standard output, lossily as UTF-8.
    pub(crate) stdout: String,
    /// Standard error, lossily as UTF-8.
    pub(crate) stderr: String,
}

impl Run {
    /// Runs a command to its end, standard input closed.
    pub(crate) fn of(command: &mut Command) -> Self {
        let done = command
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|why| panic!("cannot start {command:?}: {why}"));
        Self {
            code: done.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        }
    }

    /// Panics with all that was printed unless the program ended with `code`.
    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Panics unless the program succeeded; returns what it printed, without the last line break.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        self.ends_with(0).stdout.trim_end().to_owned()
    }

    /// Panics unless the program failed and standard error holds `text`.
    #[track_caller]
    pub(crate) fn refused(self, text: &str) -> Self {
        assert_ne!(self.code, 0, "it should have been refused: {}", self.stderr);
        assert!(self.stderr.contains(text), "no {text:?} in:\n{}", self.stderr);
        self
    }
}

/// A folder that goes when the value goes, and commands that see nothing outside it.
pub(crate) struct Scratch {
    folder: tempfile::TempDir,
    /// The object format of the repositories that `git init` makes here.
    format: &'static str,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self::of_format("sha1")
    }

    /// A folder in which `git init` makes repositories of this object format.
    pub(crate) fn of_format(format: &'static str) -> Self {
        let folder = tempfile::Builder::new().prefix("lychgate-").tempdir().unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        Self { folder, format }
    }

    /// A path inside the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file inside the folder and returns its path.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes an executable file inside the folder and returns its path.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A command in a clean environment: no variable of the caller's, no configuration but the test's own.
    #[expect(clippy::disallowed_methods, reason = "the one place where tests start a program")]
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .current_dir(self.folder.path())
            .envs([("PATH", SEARCH_PATH), ("LC_ALL", "C"), ("TZ", "UTC")])
            .env("HOME", self.path("home"))
            .env("GNUPGHOME", self.path("gnupg"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_DEFAULT_HASH", self.format)
            // Not /dev/null: `git config --global` renames a file over what this names, and root may do that there.
            .env("GIT_CONFIG_GLOBAL", self.path("home").join(".gitconfig"))
            .envs([("GIT_TERMINAL_PROMPT", "0"), ("GIT_EDITOR", "false")])
            .envs([("GIT_AUTHOR_NAME", "Dev"), ("GIT_COMMITTER_NAME", "Dev")])
            .envs([("GIT_AUTHOR_EMAIL", EMAIL), ("GIT_COMMITTER_EMAIL", EMAIL)])
            .envs([("GIT_AUTHOR_DATE", COMMIT_DATE), ("GIT_COMMITTER_DATE", COMMIT_DATE)]);
        command
    }

    /// Runs a program in the clean environment.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Run {
        Run::of(self.command(program).args(args))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.settled(self.folder.path());
    }
}

/// How long the work after a push may go on before it is ended.
const PATIENCE: Duration = Duration::from_secs(20);

impl Scratch {
    /// Waits until no process works inside a folder any more: the gate starts its work after a push in the
    /// background, and a folder that it writes to cannot be removed. What does not end is ended, by its id.
    pub(crate) fn settled(&self, folder: &Path) {
        let begun = Instant::now();
        loop {
            let busy = working_in(folder);
            if busy.is_empty() {
                return;
            }
            if begun.elapsed() > PATIENCE {
                busy.iter().for_each(|pid| drop(self.run("kill", &["-KILL", pid])));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Ids of the processes whose current folder is `folder` or one inside it. Processes that are over have none.
fn working_in(folder: &Path) -> Vec<String> {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let inside = |pid: &String| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        .filter(inside)
        .collect()
}

/// The name of the account that runs the tests, as the system knows it.
pub(crate) fn system_account(scratch: &Scratch) -> String {
    scratch.run("id", &["-un"]).ok()
}

/// For each call of a trace by strace, the most that one thread makes.
pub(crate) fn most_calls(trace: &str) -> BTreeMap<String, usize> {
    let mut by_thread: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in trace.lines() {
        let mut parts = line.split_whitespace();
        let (Some(thread), Some(rest)) = (parts.next(), parts.next()) else {
            continue;
        };
        if let Some((call, _)) = rest.split_once('(') {
            *by_thread.entry((call.to_owned(), thread.to_owned())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((call, _), count) in by_thread {
        let entry: &mut usize = most.entry(call).or_default();
        *entry = count.max(*entry);
    }
    most
}

/// A loopback port that nobody listened on a moment ago.
pub(crate) fn free_port() -> u16 {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    probe.local_addr().unwrap().port()
}

/// One OpenPGP and one SSH key, both bound to [`ACCOUNT`] and [`EMAIL`].
struct Keys {
    gnupg_home: PathBuf,
    openpgp: String,
    openpgp_public: PathBuf,
    ssh: PathBuf,
}

impl Keys {
    fn new(scratch: &Scratch) -> Self {
        use std::os::unix::fs::DirBuilderExt;
        let gnupg_home = scratch.path("gnupg");
        fs::DirBuilder::new().mode(0o700).create(&gnupg_home).unwrap();
        let user = format!("Dev <{EMAIL}>");
        let faked = format!("--faked-system-time={KEY_BIRTH}!");
        let gpg = ["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""];
        let make = [
            faked.as_str(),
            "--quick-generate-key",
            &user,
            "ed25519",
            "sign",
            "never",
        ];
        scratch.run("gpg", &[&gpg[..], &make].concat()).ok();
        let listing = scratch.run("gpg", &["--batch", "--with-colons", "--list-keys"]).ok();
        let openpgp = listing
            .lines()
            .find_map(|line| line.strip_prefix("fpr:"))
            .map(|rest| rest.trim_matches(':').to_owned())
            .unwrap();
        let public = scratch.run("gpg", &["--batch", "--armor", "--export", &openpgp]).ok();
        let ssh = scratch.path("id_ed25519");
        let quiet = ["-q", "-t", "ed25519", "-N", "", "-C", EMAIL, "-f"];
        scratch
            .run("ssh-keygen", &[&quiet[..], &[ssh.to_str().unwrap()]].concat())
            .ok();
        Self {
            gnupg_home,
            openpgp,
            openpgp_public: scratch.write("dev.asc", public),
            ssh,
        }
    }
}

/// How a commit or tag is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    Openpgp,
    Ssh,
    None,
}

/// A bare repository with Lychgate installed, and the keys that may sign for it.
pub(crate) struct Gate {
    pub(crate) scratch: Scratch,
    /// The bare repository.
    pub(crate) bare: PathBuf,
    keys: Keys,
}

impl Gate {
    /// A new bare repository, installed, with both keys registered.
    pub(crate) fn new() -> Self {
        Self::of(Scratch::new())
    }

    /// As [`Gate::new`], in this folder.
    pub(crate) fn of(scratch: Scratch) -> Self {
        let bare = scratch.path("pay.git");
        scratch
            .run("git", &["init", "-q", "--bare", "-b", "main", bare.to_str().unwrap()])
            .ok();
        Self::install(scratch, bare)
    }

    /// Installs Lychgate in a repository that some server made inside `scratch`.
    pub(crate) fn install(scratch: Scratch, bare: PathBuf) -> Self {
        let keys = Keys::new(&scratch);
        let gate = Self { scratch, bare, keys };
        let repository = gate.bare.to_str().unwrap();
        gate.lychgate(&["init", repository]).ok();
        let openpgp = gate.keys.openpgp_public.to_str().unwrap();
        let ssh = format!("{}.pub", gate.ssh_key().display());
        for file in [openpgp, &ssh] {
            gate.lychgate(&[
                "keys",
                "add",
                file,
                "--account",
                ACCOUNT,
                "--email",
                EMAIL,
                "--repo",
                repository,
            ])
            .ok();
        }
        gate
    }

    /// Runs the program under test.
    pub(crate) fn lychgate(&self, args: &[&str]) -> Run {
        self.scratch.run(LYCHGATE, args)
    }

    /// Runs a subcommand with `--repo` set to the bare repository.
    pub(crate) fn ask(&self, args: &[&str]) -> Run {
        self.lychgate(&[args, &["--repo", self.bare.to_str().unwrap()]].concat())
    }

    /// The private SSH key; the public one stands beside it.
    pub(crate) fn ssh_key(&self) -> &Path {
        &self.keys.ssh
    }

    /// Runs git in the bare repository, as an administrator does.
    pub(crate) fn git(&self, args: &[&str]) -> Run {
        let git_dir = format!("--git-dir={}", self.bare.display());
        self.scratch.run("git", &[&[git_dir.as_str()], args].concat())
    }

    /// The document that a command prints, `--repo` and `--format` added.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let text = self.ask(&[args, &["--format", "json"]].concat()).ok();
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("{args:?}: {why}: {text}"))
    }

    /// A file of the installation.
    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.bare.join("lychgate").join(name)
    }

    /// Replaces a text of the policy, which must hold it.
    pub(crate) fn edit_policy(&self, from: &str, to: &str) {
        let path = self.home("policy.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "the policy has no {from:?}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Where a ref stands in the bare repository; `None` if it does not exist.
    pub(crate) fn tip(&self, name: &str) -> Option<String> {
        let git_dir = format!("--git-dir={}", self.bare.display());
        let run = self
            .scratch
            .run("git", &[&git_dir, "rev-parse", "--verify", "--quiet", name]);
        (run.code == 0).then(|| run.ok())
    }

    /// A new work tree with `origin` set to `url`; `env` is what its git needs to reach it.
    pub(crate) fn work_tree(&self, url: &str, env: &[(&str, &str)]) -> WorkTree<'_> {
        let mut number = 1;
        while self.scratch.path(&format!("work{number}")).exists() {
            number += 1;
        }
        let tree = WorkTree {
            gate: self,
            folder: self.scratch.path(&format!("work{number}")),
            env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        fs::create_dir(&tree.folder).unwrap();
        tree.git(&["init", "-q", "-b", "main"]).ok();
        tree.git(&["remote", "add", "origin", url]).ok();
        tree
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let home = self.keys.gnupg_home.to_str().unwrap_or_default().to_owned();
        self.scratch.run("gpgconf", &["--homedir", &home, "--kill", "all"]);
    }
}

/// A developer's work tree.
pub(crate) struct WorkTree<'g> {
    gate: &'g Gate,
    folder: PathBuf,
    env: Vec<(String, String)>,
}

impl WorkTree<'_> {
    /// Runs git in the work tree.
    pub(crate) fn git(&self, args: &[&str]) -> Run {
        let env = self.env.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let mut command = self.gate.scratch.command("git");
        Run::of(command.current_dir(&self.folder).envs(env).args(args))
    }

    /// Runs the program under test in the work tree.
    pub(crate) fn lychgate(&self, args: &[&str]) -> Run {
        let env = self.env.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let mut command = self.gate.scratch.command(LYCHGATE);
        Run::of(command.current_dir(&self.folder).envs(env).args(args))
    }

    /// Runs a POSIX shell script in the work tree, with `$TOKEN` set; stops at the first command that fails.
    pub(crate) fn shell(&self, script: &str, token: &str) -> Run {
        let mut command = self.gate.scratch.command("sh");
        let env = self.env.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        command.current_dir(&self.folder).envs(env).env("TOKEN", token);
        Run::of(command.args(["-euc", script]))
    }

    /// Commits one file and returns the commit's id.
    pub(crate) fn commit(&self, path: &str, text: &str, signing: Signing) -> String {
        let file = self.folder.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        self.git(&["add", "--", path]).ok();
        let ssh = format!("user.signingKey={}", self.gate.ssh_key().display());
        let openpgp = format!("user.signingKey={}", self.gate.keys.openpgp);
        let message = format!("Write {path}");
        let (key, sign): (&[&str], &str) = match signing {
            Signing::Openpgp => (&["-c", &openpgp], "-S"),
            Signing::Ssh => (&["-c", "gpg.format=ssh", "-c", &ssh], "-S"),
            Signing::None => (&[], "--no-gpg-sign"),
        };
        self.git(&[key, &["commit", "-q", sign, "-m", &message]].concat()).ok();
        self.git(&["rev-parse", "HEAD"]).ok()
    }

    /// Runs git in the work tree with what makes it sign by the SSH key; `args` say whether it signs.
    pub(crate) fn git_ssh(&self, args: &[&str]) -> Run {
        let key = format!("user.signingKey={}", self.gate.ssh_key().display());
        self.git(&[&["-c", "gpg.format=ssh", "-c", &key], args].concat())
    }

    /// Pushes to `origin`; `args` are options and refspecs.
    pub(crate) fn push(&self, args: &[&str]) -> Run {
        self.git(&[&["push", "origin"], args].concat())
    }
}

/// A GitHub personal access token with a right checksum, different for each `seed`; never issued by anyone.
///
/// Made at run time, so that a scan of this file finds nothing. Thirty random
/// characters, then CRC-32 of them in base 62, six characters:
/// <https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/>
pub(crate) fn token(seed: u64) -> String {
    const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digit = |n: u64| char::from(BASE62[(n % 62) as usize]);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let body: String = (0..30)
        .map(|_| {
            state = state
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(0x1405_7b7e_f767_814f);
            digit(state >> 33)
        })
        .collect();
    let mut crc = flate2::Crc::new();
    crc.update(body.as_bytes());
    let sum = u64::from(crc.sum());
    let check: String = (0..6).rev().map(|place| digit(sum / 62u64.pow(place))).collect();
    format!("{}_{body}{check}", "ghp")
}

/// A shown text without what differs from run to run.
pub(crate) fn masked(text: &str) -> String {
    let kinds = [
        (r"\b01[0-9A-Z]{24}\b", "[ULID]"),
        (r"\b[0-9a-f]{64}\b", "[fingerprint]"),
        (r"\b[0-9a-f]{40}\b", "[oid]"),
        (r"\b[0-9a-f]{12}\b", "[short]"),
        (r"\d{4}-\d\d-\d\dT[0-9:]{8}Z", "[time]"),
    ];
    kinds.iter().fold(text.to_owned(), |text, (pattern, name)| {
        regex::Regex::new(pattern)
            .unwrap()
            .replace_all(&text, *name)
            .into_owned()
    })
}
