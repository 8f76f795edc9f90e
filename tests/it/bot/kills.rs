//! Kills the bot at system call after system call of one landing, and looks whether ledger, refs and log agree.
//!
//! A first run under `strace` counts the calls that touch the gate's ledger and ref; then one bot for each chosen
//! call is killed there. Afterwards the gate recovers as after any crash, and a new bot must end what was begun: one
//! entry for what landed, and the gate's ref at it.

use super::canary::{terminate, until};
use super::yard::{Process, Yard};
use crate::support::{LYCHGATE, free_port, most_calls};
use lychgate::config::Settings;
use lychgate::port::{EntryRecord, Store};
use lychgate::store::SqliteStore;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// System calls at which the bot is killed, and how many of them are passed over between two kills.
const CALLS: [(&str, usize); 9] = [
    ("fsync", 1),
    ("fdatasync", 1),
    ("rename", 1),
    ("renameat", 1),
    ("renameat2", 1),
    ("unlink", 1),
    ("ftruncate", 1),
    ("write", 1),
    ("pwrite64", 6),
];

/// A forge whose main moved on by one signed commit from where the gate began.
struct Lab {
    yard: Yard,
    base: String,
    landed: String,
    _folder: tempfile::TempDir,
}

/// A bot under strace.
struct Traced(Process);

impl Traced {
    fn is_over(&mut self) -> bool {
        self.0.child.try_wait().unwrap().is_some()
    }

    /// Ends it by the number of what strace runs: strace alone would leave it running.
    fn stop(&mut self) {
        if !self.is_over() {
            let id = self.0.child.id();
            let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
            for traced in children.unwrap_or_default().split_whitespace() {
                run("kill", &["-KILL", traced]);
            }
            let _ = self.0.child.wait();
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a gate holds after a kill.
struct Held {
    pending: Vec<EntryRecord>,
    /// Published entries of main, oldest first.
    entries: Vec<EntryRecord>,
    tip: String,
}

#[expect(clippy::disallowed_methods, reason = "git, cp and strace are run as they are")]
fn run(program: &str, args: &[&str]) -> Output {
    let done = Command::new(program).args(args).stdin(Stdio::null()).output();
    done.unwrap_or_else(|why| panic!("{program}: {why}"))
}

fn said(program: &str, args: &[&str]) -> String {
    let done = run(program, args);
    let (out, err) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{program} {args:?}: {out}{err}");
    out.trim().to_owned()
}

fn tip(gate: &Path) -> String {
    let found = std::fs::read_to_string(gate.join("refs/heads/main"));
    found.unwrap_or_default().trim().to_owned()
}

fn held(gate: &Path) -> Held {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (pending, mut entries) = runtime.block_on(async {
        let store = SqliteStore::open(&gate.join("lychgate/ledger.db")).await.unwrap();
        let held = (store.pending().await.unwrap(), store.entries(u32::MAX).await.unwrap());
        store.close().await.unwrap();
        held
    });
    entries.reverse();
    Held {
        pending,
        entries,
        tip: tip(gate),
    }
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let yard = Yard::new(Path::new(LYCHGATE), folder.path(), 1);
        let (dir, base) = {
            let state = yard.hub.state.lock().unwrap();
            (state.repos[0].dir.clone(), state.repos[0].base.clone())
        };
        let mut lab = Self {
            yard,
            base,
            landed: String::new(),
            _folder: folder,
        };
        // The gate begins where the forge stands.
        let gate = lab.yard.dir.join("gate.git");
        lab.configure("begin", &gate);
        let bot = lab.yard.start("begin");
        until("the gate has begun", || tip(&gate) == lab.base);
        assert_eq!(terminate(bot), Some(0));
        let git = git2::Repository::open_bare(dir).unwrap();
        let landed = lab
            .yard
            .author()
            .write(&git, Some(lab.base.parse().unwrap()), "a.rs", "a\n", true);
        git.reference("refs/heads/main", landed, true, "push").unwrap();
        lab.landed = landed.to_string();
        lab
    }

    fn configure(&self, name: &str, gate: &Path) {
        let store = format!("store = \"{}\"", self.yard.dir.join(format!("{name}.db")).display());
        let path = self.yard.configure(name, free_port(), &store, 10);
        let text = std::fs::read_to_string(&path).unwrap();
        let own = |line: &&str| {
            !["policy = ", "keyring = ", "resource = "]
                .iter()
                .any(|key| line.starts_with(key))
        };
        let mut text: String = text.lines().filter(own).flat_map(|line| [line, "\n"]).collect();
        let settings = std::fs::read_to_string(gate.join("lychgate/gate.toml")).unwrap();
        let resource = Settings::parse("gate.toml", &settings).unwrap().resource;
        text += &format!("gate = \"{}\"\nresource = \"{resource}\"\n", gate.display());
        std::fs::write(path, text).unwrap();
    }

    /// A copy of the gate as it was before the landing.
    fn copy(&self, name: &str) -> PathBuf {
        let (from, to) = (
            self.yard.dir.join("gate.git"),
            self.yard.dir.join(format!("{name}.git")),
        );
        said("cp", &["-a", from.to_str().unwrap(), to.to_str().unwrap()]);
        self.configure(name, &to);
        to
    }

    /// Starts a bot under strace, which looks at the gate's ledger and ref alone.
    #[expect(clippy::disallowed_methods, reason = "a bot in a process of its own")]
    fn traced(&self, name: &str, gate: &Path, calls: &str, inject: Option<&str>) -> Traced {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-q", "-o"])
            .arg(self.yard.dir.join(format!("{name}.trace")));
        command.args(["-e", &format!("trace={calls}")]);
        for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
            command.arg("-P").arg(gate.join("lychgate").join(file));
        }
        for file in ["refs/heads/main", "refs/heads/main.lock"] {
            command.arg("-P").arg(gate.join(file));
        }
        let inject = inject.map(|inject| format!("inject={inject}"));
        command.args(inject.iter().flat_map(|inject| ["-e", inject]));
        command
            .args([LYCHGATE, "serve", "--config"])
            .arg(self.yard.dir.join(format!("{name}.toml")));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Traced(Process { child: child.unwrap() })
    }

    fn trace(&self, name: &str) -> String {
        std::fs::read_to_string(self.yard.dir.join(format!("{name}.trace"))).unwrap_or_default()
    }

    fn is_entered(&self, gate: &Path) -> bool {
        tip(gate) == self.landed && {
            let held = held(gate);
            held.pending.is_empty() && held.entries.len() == 1
        }
    }

    /// For each call, the most that one thread makes until the landing is entered.
    fn survey(&self) -> BTreeMap<String, usize> {
        let gate = self.copy("survey");
        let all = CALLS.map(|(call, _)| call).join(",");
        let mut bot = self.traced("survey", &gate, &all, None);
        until("the landing is entered", || self.is_entered(&gate));
        bot.stop();
        most_calls(&self.trace("survey"))
    }

    /// Kills a bot at the `n`th such call of a thread; gives what the gate then held, if it was killed.
    fn kill(&self, call: &str, n: usize) -> Option<Held> {
        let (name, case) = (format!("{call}{n}"), format!("{call} {n}"));
        let gate = self.copy(&name);
        let inject = format!("{call}:signal=SIGKILL:when={n}");
        let mut bot = self.traced(&name, &gate, call, Some(&inject));
        until(&case, || bot.is_over() || self.is_entered(&gate));
        let killed = bot.is_over();
        bot.stop();
        // Git's own locks are what an administrator removes after a crash.
        let _ = std::fs::remove_file(gate.join("refs/heads/main.lock"));
        let after = held(&gate);
        said(LYCHGATE, &["settle", "--repo", gate.to_str().unwrap()]);
        self.assert_agrees(&gate, &case);
        assert_eq!(tip(&gate), after.tip, "recovery moves no ref: {case}");

        // The lease of the killed one would have to end first: without it, the sweep finds what landed.
        for file in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(self.yard.dir.join(format!("{name}.db{file}")));
        }
        let bot = self.yard.start(&name);
        until(&case, || self.is_entered(&gate));
        terminate(bot);
        self.assert_agrees(&gate, &case);
        said(LYCHGATE, &["log", "check", "--repo", gate.to_str().unwrap()]);
        killed.then_some(after)
    }

    /// Nothing is pending, and what is published leads from where the gate began to where its ref stands.
    fn assert_agrees(&self, gate: &Path, case: &str) {
        let held = held(gate);
        assert!(held.pending.is_empty(), "{case}: {:?}", held.pending);
        let mut place = self.base.clone();
        for entry in &held.entries {
            assert_eq!(entry.update.old.to_string(), place, "a gap or a double: {case}");
            place = entry.update.new.to_string();
        }
        assert_eq!(place, held.tip, "{case}");
    }
}

#[test]
fn a_bot_killed_anywhere_in_a_landing_leaves_ledger_refs_and_log_in_agreement() {
    let lab = Lab::new();
    let counts = lab.survey();
    let (mut tried, mut met, mut between) = (0, 0, 0);
    for (call, stride) in CALLS {
        for n in (1..=counts.get(call).copied().unwrap_or(0)).step_by(stride) {
            tried += 1;
            let Some(held) = lab.kill(call, n) else { continue };
            met += 1;
            between += u32::from(held.tip == lab.landed && !held.pending.is_empty());
        }
    }
    assert!(
        tried > 5 && met * 10 >= tried * 8,
        "{met} of {tried} kills met the bot: {counts:?}"
    );
    assert!(between > 0, "no kill met it between the ref's move and publication");
}
