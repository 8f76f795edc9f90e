//! What a bot in a process of its own needs beside a forge: keys, a policy, a configuration, repositories.
//!
//! Shared by the chaos test and `tests/bench/bot.rs`.

use super::hub::{Author, Hub, Repo, SECRET};
use std::fs::{File, create_dir_all, write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A folder with all of it.
pub(crate) struct Yard {
    pub(crate) dir: PathBuf,
    pub(crate) hub: Hub,
    lychgate: PathBuf,
}

/// A running bot. It is killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Yard {
    /// Makes keys and repositories, each with a base and no change yet.
    pub(crate) fn new(lychgate: &Path, dir: &Path, repositories: u64) -> Self {
        let yard = Self {
            dir: dir.to_owned(),
            hub: Hub::start(),
            lychgate: lychgate.to_owned(),
        };
        let quiet = ["-q", "-N", "", "-C", "dev@example.com", "-f"];
        yard.run("ssh-keygen", &[&["-t", "ed25519"], &quiet[..], &["key"]].concat());
        yard.run(
            "ssh-keygen",
            &[&["-t", "rsa", "-m", "PEM"], &quiet[..], &["app.pem"]].concat(),
        );
        write(yard.dir.join("secret"), SECRET).unwrap();
        write(yard.dir.join("fingerprint.key"), "5a".repeat(32)).unwrap();
        yard.run("git", &["init", "-q", "--bare", "-b", "main", "gate.git"]);
        let lychgate = yard.lychgate.display().to_string();
        yard.run(&lychgate, &["init", "gate.git"]);
        let who = ["--account", "dev", "--email", "dev@example.com", "--repo", "gate.git"];
        yard.run(&lychgate, &[&["keys", "add", "key.pub"], &who[..]].concat());
        let mut author = yard.author();
        for id in 1..=repositories {
            let dir = yard.dir.join(format!("served/r{id}.git"));
            let git = git2::Repository::init_bare(&dir).unwrap();
            let base = author.commit(&git, None, true);
            git.reference("refs/heads/main", base, true, "base").unwrap();
            git.set_head("refs/heads/main").unwrap();
            let repo = Repo {
                id,
                dir,
                base: base.to_string(),
                pulls: Default::default(),
            };
            yard.hub.state.lock().unwrap().repos.push(repo);
        }
        yard
    }

    /// The developer whose key is in the keyring.
    pub(crate) fn author(&self) -> Author {
        Author::new(&self.dir.join("key"))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "keys and repositories are made by their programs"
    )]
    fn run(&self, program: &str, args: &[&str]) {
        let done = Command::new(program)
            .args(args)
            .current_dir(&self.dir)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{program} {args:?}: {said}");
    }

    /// Writes the configuration of one replica.
    ///
    /// * `store`: the line that names it.
    pub(crate) fn configure(&self, name: &str, port: u16, store: &str, sweep: u64) -> PathBuf {
        let (dir, url) = (self.dir.display(), &self.hub.url);
        let mirrors = self.dir.join(format!("{name}-mirrors"));
        create_dir_all(&mirrors).unwrap();
        let text = format!(
            "version = 1\nlisten = \"127.0.0.1:{port}\"\n{store}\nmirrors = \"{}\"\nsweep_seconds = {sweep}\n\
             fingerprint_key = \"{dir}/fingerprint.key\"\n\
             [[forge]]\nname = \"hub\"\nkind = \"github\"\napi = \"{url}\"\napp_id = 4242\n\
             key_file = \"{dir}/app.pem\"\nwebhook_secret_files = [\"{dir}/secret\"]\n\
             [[repository]]\nforge = \"hub\"\nname = \"*\"\nresource = \"git+https://example.com/acme\"\n\
             policy = \"{dir}/gate.git/lychgate/policy.toml\"\nkeyring = \"{dir}/gate.git/lychgate/keyring\"\n",
            mirrors.display()
        );
        let path = self.dir.join(format!("{name}.toml"));
        write(&path, text).unwrap();
        path
    }

    /// Starts a replica and does not wait for it; its log is appended to `NAME.log`.
    #[expect(clippy::disallowed_methods, reason = "a bot in a process of its own")]
    pub(crate) fn start(&self, name: &str) -> Process {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.dir.join(format!("{name}.log")))
            .unwrap();
        let child = Command::new(&self.lychgate)
            .arg("serve")
            .arg("--config")
            .arg(self.dir.join(format!("{name}.toml")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Process { child: child.unwrap() }
    }
}
