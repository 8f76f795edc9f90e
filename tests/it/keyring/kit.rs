//! Real gpg, ssh-keygen and git in a temporary folder, with fixed times and a clean environment.

use lychgate::facts::SignatureFact;
use lychgate::keyring::{Added, Binding, FolderKeyring};
use lychgate::object::{self, SignatureFormat};
use lychgate::port::{Keyring, Signed};
use lychgate::push::Timestamp;
use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// 2024-06-01T00:00:00Z: when pushes are received.
pub(crate) const RECEIVED: i64 = 1_717_200_000;
/// Seconds that a claimed time may lie after the receive time.
pub(crate) const SKEW: i64 = 300;
pub(crate) const YEAR: i64 = 31_536_000;
pub(crate) const TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

pub(crate) struct Kit {
    root: TempDir,
}

impl Drop for Kit {
    /// Ends the agent that gpg started for this folder.
    fn drop(&mut self) {
        for home in ["g", "keyring/gnupg"] {
            let _ = self
                .command("gpgconf")
                .args(["--homedir", self.path(home).to_str().unwrap(), "--kill", "all"])
                .output();
        }
    }
}

impl Kit {
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new().prefix("k").tempdir().unwrap();
        let kit = Self { root };
        fs::DirBuilder::new().mode(0o700).create(kit.path("g")).unwrap();
        fs::write(kit.path("g/gpg.conf"), "trust-model always\n").unwrap();
        kit.run(
            "git",
            &["init", "-q", "--bare", kit.path("r.git").to_str().unwrap()],
            b"",
        );
        FolderKeyring::create(&kit.path("keyring")).unwrap();
        kit
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    #[expect(clippy::disallowed_methods, reason = "tests start the real programs")]
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.root.path())
            .env("LC_ALL", "C");
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GNUPGHOME", self.path("g"))
            .env("GIT_DIR", self.path("r.git"));
        command.current_dir(self.root.path());
        command
    }

    /// Runs a program to its end, whatever it says.
    pub(crate) fn output(&self, program: &str, args: &[&str], stdin: &[u8]) -> Output {
        let mut command = self.command(program);
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}"));
        // A program may end without reading all.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        child.wait_with_output().unwrap()
    }

    /// Runs a program that must succeed.
    pub(crate) fn run(&self, program: &str, args: &[&str], stdin: &[u8]) -> Vec<u8> {
        let output = self.output(program, args, stdin);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {error}");
        output.stdout
    }

    fn gpg(&self, time: i64, args: &[&str], stdin: &[u8]) -> Vec<u8> {
        let time = format!("{time}!");
        let common = ["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""];
        self.run(
            "gpg",
            &[&common[..], &["--faked-system-time", &time], args].concat(),
            stdin,
        )
    }

    /// Makes an OpenPGP key at `time`; gives its fingerprint.
    pub(crate) fn gpg_key(&self, time: i64, email: &str, algorithm: &str, expire: &str) -> String {
        let person = format!("Test <{email}>");
        self.gpg(time, &["--quick-gen-key", &person, algorithm, "cert,sign", expire], b"");
        self.fingerprints(email).remove(0)
    }

    /// Adds a subkey; gives its fingerprint.
    pub(crate) fn gpg_subkey(&self, time: i64, primary: &str, algorithm: &str, usage: &str, expire: &str) -> String {
        self.gpg(time, &["--quick-add-key", primary, algorithm, usage, expire], b"");
        self.fingerprints(primary).pop().unwrap()
    }

    /// Primary and subkey fingerprints of a key.
    pub(crate) fn fingerprints(&self, key: &str) -> Vec<String> {
        let list = self.run("gpg", &["--batch", "--with-colons", "--list-keys", key], b"");
        let list = String::from_utf8(list).unwrap();
        let fprs = list.lines().filter_map(|line| line.strip_prefix("fpr:::::::::"));
        fprs.map(|rest| rest.trim_end_matches(':').to_owned()).collect()
    }

    /// Revokes a key by the certificate that gpg made with it.
    pub(crate) fn gpg_revoke(&self, fingerprint: &str) {
        let path = self.path(&format!("g/openpgp-revocs.d/{fingerprint}.rev"));
        let text = fs::read_to_string(path).unwrap().replace(":-----BEGIN", "-----BEGIN");
        self.gpg(RECEIVED - 100, &["--import"], text.as_bytes());
    }

    pub(crate) fn gpg_export(&self, fingerprint: &str) -> Vec<u8> {
        self.run("gpg", &["--batch", "--export", fingerprint], b"")
    }

    /// A detached armored signature by a key (`!` after a subkey's fingerprint names just it).
    pub(crate) fn gpg_sign(&self, key: &str, time: i64, payload: &[u8], options: &[&str]) -> String {
        let args = [options, &["--armor", "--detach-sign", "-u", key]].concat();
        String::from_utf8(self.gpg(time, &args, payload)).unwrap()
    }

    /// Makes an SSH key; gives the path of its private half.
    pub(crate) fn ssh_key(&self, name: &str, kind: &[&str]) -> PathBuf {
        let path = self.path(name);
        let args = [&["-q", "-N", "", "-C", name, "-f", path.to_str().unwrap(), "-t"], kind].concat();
        self.run("ssh-keygen", &args, b"");
        path
    }

    /// Certifies a key by an authority; ssh-keygen then signs with the certificate.
    pub(crate) fn ssh_certify(&self, authority: &Path, key: &Path, options: &[&str]) {
        let public = key.with_extension("pub");
        let ends = ["-I", "id", public.to_str().unwrap()];
        let args = [&["-q", "-s", authority.to_str().unwrap()], options, &ends].concat();
        self.run("ssh-keygen", &args, b"");
    }

    pub(crate) fn ssh_sign(&self, key: &Path, namespace: &str, payload: &[u8]) -> String {
        let args = ["-Y", "sign", "-q", "-n", namespace, "-f", key.to_str().unwrap()];
        String::from_utf8(self.run("ssh-keygen", &args, payload)).unwrap()
    }

    pub(crate) fn keyring(&self) -> FolderKeyring {
        FolderKeyring::open(&self.path("keyring"))
    }

    /// Adds an OpenPGP key of gpg's to the keyring.
    pub(crate) fn trust_gpg(&self, fingerprint: &str, account: &str) -> Added {
        self.keyring()
            .add(&self.gpg_export(fingerprint), &bound(account), at(RECEIVED))
            .unwrap()
    }

    /// Adds an SSH key to the keyring.
    pub(crate) fn trust_ssh(&self, key: &Path, binding: &Binding) -> Added {
        let public = fs::read(key.with_extension("pub")).unwrap();
        self.keyring().add(&public, binding, at(RECEIVED)).unwrap()
    }
}

pub(crate) fn bound(account: &str) -> Binding {
    Binding {
        account: Some(account.to_owned()),
        ..Binding::default()
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(seconds)
}

/// A commit without a signature, committed at `time`.
pub(crate) fn commit_text(time: i64) -> String {
    let person = format!("A U Thor <author@example.com> {time} +0000");
    format!("tree {TREE}\nauthor {person}\ncommitter {person}\n\nsubject\n\nbody\n")
}

/// A header of several lines: each but the first starts with a space.
pub(crate) fn folded(name: &str, text: &str) -> String {
    format!("{name} {}\n", text.trim_end_matches('\n').replace('\n', "\n "))
}

/// The commit with a header after its committer line.
pub(crate) fn with_header(commit: &str, header: &str) -> String {
    commit.replacen("\n\n", &format!("\n{header}\n"), 1)
}

pub(crate) fn signed_commit(commit: &str, armor: &str) -> String {
    with_header(commit, &folded("gpgsig", armor))
}

/// What the keyring says about a signature over a payload that claims `claimed`, received at `received`.
pub(crate) fn judge(
    keyring: &FolderKeyring,
    armor: &str,
    payload: &[u8],
    claimed: i64,
    received: i64,
) -> SignatureFact {
    let signed = Signed {
        payload,
        signature: armor.as_bytes(),
        format: if armor.contains("SSH") {
            SignatureFormat::Ssh
        } else {
            SignatureFormat::Openpgp
        },
        claimed_at: at(claimed),
    };
    keyring.verify(signed, at(received), SKEW).unwrap()
}

/// What the strict reader and the keyring say about a commit, as the gate asks them.
pub(crate) fn ours(keyring: &FolderKeyring, commit: &[u8]) -> String {
    let commit = match object::commit(commit) {
        Ok(commit) => commit,
        Err(malformed) => return format!("refused: {}", malformed.code),
    };
    let Some(parts) = commit.signature else {
        return "unsigned".to_owned();
    };
    let signed = Signed {
        payload: &parts.payload,
        signature: &parts.signature,
        format: parts.format,
        claimed_at: commit.committer.time,
    };
    let fact = keyring.verify(signed, at(RECEIVED), SKEW).unwrap();
    serde_json::to_value(fact.state).unwrap().as_str().unwrap().to_owned()
}
