//! Kills the hooks at system call after system call, and looks whether store and refs agree after recovery.
//!
//! A first push under `strace` counts the calls that each hook makes; then
//! one push for each chosen call is killed there: the hook alone, or with
//! the receive-pack above it. Afterwards `lychgate log check` recovers, and
//! the ledger must tell the history of `main` without a gap, and take a push.

use crate::support::{Gate, LYCHGATE, Run, Signing, most_calls};
use lychgate::cmd::home::Home;
use lychgate::port::{EntryRecord, Store};
use lychgate::store::SqliteStore;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A hook, with its phase where it has several: where the kills are.
const PLACES: [&str; 4] = [
    "pre-receive",
    "reference-transaction prepared",
    "reference-transaction committed",
    "post-receive",
];

/// System calls at which a hook is killed, and how many of them are passed over between two kills.
const CALLS: [(&str, usize); 10] = [
    ("fsync", 1),
    ("fdatasync", 1),
    ("rename", 1),
    ("renameat", 1),
    ("renameat2", 1),
    ("unlink", 1),
    ("ftruncate", 1),
    ("pwrite64", 5),
    ("write", 5),
    ("openat", 25),
];

/// What stands in for a hook: runs it as git does or, when the test asks for this place, behind strace.
///
/// SSH signatures only: a gpg-agent that a traced hook started would keep strace waiting.
const WRAPPER: &str = r#"#!/bin/sh
if [ "${TEST_PLACE:-}" != "HOOK${1:+ $1}" ]; then exec "PROGRAM" hook HOOK "$@"; fi
trace=$TEST_TRACE/$$
strace -f -q -o "$trace" -e "trace=$TEST_CALLS" ${TEST_INJECT:+-e "inject=$TEST_INJECT"} "PROGRAM" hook HOOK "$@"
status=$?
if [ -n "${TEST_PARENT:-}" ] && grep -q 'killed by SIGKILL' "$trace"; then kill -KILL $PPID; fi
exit $status
"#;

/// A guarded repository with one entry on `main`, and a signed commit that may enter.
struct Lab {
    gate: Gate,
    /// How many copies of the repository were made.
    copies: std::cell::Cell<u32>,
}

/// One copy of the repository, and where its hooks' traces go.
struct Trial {
    bare: PathBuf,
    traces: PathBuf,
}

impl Lab {
    fn new() -> Self {
        let gate = Gate::new();
        let tree = gate.work_tree(gate.bare.to_str().unwrap(), &[]);
        tree.commit("first", "1\n", Signing::Ssh);
        tree.push(&["main"]).ok();
        // The work after the push is in the copies as a finished or an open task, never half-copied.
        gate.scratch.settled(&gate.bare);
        gate.ask(&["settle"]).ok();
        tree.commit("second", "2\n", Signing::Ssh);
        for place in PLACES {
            let hook = place.split(' ').next().unwrap();
            let text = WRAPPER.replace("HOOK", hook).replace("PROGRAM", LYCHGATE);
            let path = gate.bare.join("hooks").join(hook);
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self {
            gate,
            copies: std::cell::Cell::new(0),
        }
    }

    fn trial(&self) -> Trial {
        let number = self.copies.replace(self.copies.get() + 1);
        let trial = Trial {
            bare: self.gate.scratch.path(&format!("copy{number}.git")),
            traces: self.gate.scratch.path(&format!("traces{number}")),
        };
        std::fs::create_dir(&trial.traces).unwrap();
        let (from, to) = (self.gate.bare.to_str().unwrap(), trial.bare.to_str().unwrap());
        self.gate.scratch.run("cp", &["-a", from, to]).ok();
        trial
    }

    /// Pushes what is on `main` of the first work tree, with the variables that steer the wrappers.
    fn push(&self, trial: &Trial, variables: &[(&str, &str)]) -> Run {
        let mut command = self.gate.scratch.command("git");
        command.current_dir(self.gate.scratch.path("work1"));
        command.env("TEST_TRACE", &trial.traces).envs(variables.iter().copied());
        Run::of(command.args(["push", "-q"]).arg(&trial.bare).arg("main"))
    }

    fn tip(&self, repository: &Path) -> String {
        let git_dir = format!("--git-dir={}", repository.display());
        self.gate
            .scratch
            .run("git", &[&git_dir, "rev-parse", "refs/heads/main"])
            .ok()
    }
}

/// The calls that one push makes at a place: for each, the most that one thread makes.
fn survey(lab: &Lab, place: &str) -> BTreeMap<String, usize> {
    let trial = lab.trial();
    lab.push(&trial, &[("TEST_PLACE", place), ("TEST_CALLS", &all_calls())])
        .ok();
    most_calls(&trace(&trial))
}

fn all_calls() -> String {
    CALLS.map(|(call, _)| call).join(",")
}

fn trace(trial: &Trial) -> String {
    let files = std::fs::read_dir(&trial.traces).unwrap();
    files
        // A process that was killed may have left its last line open.
        .map(|file| String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()).into_owned() + "\n")
        .collect()
}

/// Kills one push at the `n`th such call of one place; tells whether something was killed.
fn kill(lab: &Lab, place: &str, call: &str, n: usize, with_parent: bool) -> bool {
    let trial = lab.trial();
    let before = lab.tip(&trial.bare);
    let inject = format!("{call}:signal=SIGKILL:when={n}");
    let mut variables = vec![("TEST_PLACE", place), ("TEST_CALLS", call), ("TEST_INJECT", &inject)];
    if with_parent {
        variables.push(("TEST_PARENT", "yes"));
    }
    let push = lab.push(&trial, &variables);
    let killed = trace(&trial).contains("killed by SIGKILL");
    let mut case = format!("{place}, {call} {n}, receive-pack killed too: {with_parent}\n");
    let _ = write!(case, "push ended with {}: {}", push.code, push.stderr);
    let after = lab.tip(&trial.bare);
    assert!(
        push.code != 0 || after != before,
        "a push that was reported done is not: {case}"
    );
    recover(lab, &trial, &case);
    assert_eq!(lab.tip(&trial.bare), after, "recovery moves no ref: {case}");
    assert_agrees(&trial, &after, &case);
    let next = lab.push(&trial, &[]);
    assert_eq!(next.code, 0, "the next push must enter: {case}\n{}", next.stderr);
    recover(lab, &trial, &case);
    assert_agrees(&trial, &lab.tip(&trial.bare), &case);
    lab.gate.scratch.settled(&trial.bare);
    std::fs::remove_dir_all(&trial.bare).unwrap();
    killed
}

/// What an administrator does after a crash: removes git's own stale locks, and asks the log whether all is well.
fn recover(lab: &Lab, trial: &Trial, case: &str) {
    lab.gate.scratch.settled(&trial.bare);
    let refs = [
        "packed-refs.lock",
        "refs/heads/main.lock",
        "refs/lychgate/gate.lock",
        "refs/notes/commits.lock",
        "HEAD.lock",
    ];
    refs.map(|lock| trial.bare.join(lock))
        .iter()
        .filter(|lock| lock.exists())
        .for_each(|lock| {
            std::fs::remove_file(lock).unwrap();
        });
    let check = lab.gate.lychgate(&["settle", "--repo", trial.bare.to_str().unwrap()]);
    assert_eq!(check.code, 0, "{case}\n{}{}", check.stdout, check.stderr);
}

/// The published entries of `main` are one chain to its tip, each entry once, and nothing is pending.
fn assert_agrees(trial: &Trial, tip: &str, case: &str) {
    let entries = published(&trial.bare, case);
    let mut place = "0".repeat(40);
    for entry in entries
        .iter()
        .rev()
        .filter(|entry| entry.update.name.as_str() == "refs/heads/main")
    {
        assert_eq!(entry.update.old.to_string(), place, "a gap in the entries: {case}");
        place = entry.update.new.to_string();
    }
    assert_eq!(place, tip, "the tip has no entry: {case}");
    let of_tip = entries.iter().filter(|entry| entry.update.new.to_string() == tip);
    assert_eq!(of_tip.count(), 1, "{case}");
}

/// Published entries, newest first; none may be pending.
fn published(bare: &Path, case: &str) -> Vec<EntryRecord> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&Home::of(bare).ledger()).await.unwrap();
        let pending = store.pending().await.unwrap();
        assert!(pending.is_empty(), "{pending:?} although all owners are dead: {case}");
        let entries = store.entries(u32::MAX).await.unwrap();
        store.close().await.unwrap();
        entries
    })
}

/// Kills pushes all along the way; at least nine of ten kills must have met something.
fn step_through(with_parent: bool) {
    let lab = Lab::new();
    let (mut tried, mut met) = (0, 0);
    for place in PLACES {
        let counts = survey(&lab, place);
        for (call, stride) in CALLS {
            let most = counts.get(call).copied().unwrap_or(0);
            for n in (1..=most).step_by(stride) {
                tried += 1;
                met += u32::from(kill(&lab, place, call, n, with_parent));
            }
        }
    }
    assert!(tried > 30, "only {tried} kill points: were the hooks traced?");
    assert!(met * 10 >= tried * 9, "{met} of {tried} kills met a running hook");
}

#[test]
fn a_hook_killed_anywhere_leaves_store_and_refs_in_agreement() {
    step_through(false);
}

#[test]
fn a_receive_pack_killed_with_its_hook_leaves_store_and_refs_in_agreement() {
    step_through(true);
}
