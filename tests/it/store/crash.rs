//! The store in processes that are killed, run out of disk, race, or lack permission.
//!
//! Such a process is this test binary again, told by [`ROLE`] and [`LEDGER`]
//! what to do; `strace` kills it, or fails its system calls, at a chosen one.

use super::{Place, RULES, appending, decision, entry, is_published, oid, raw, run};
use lychgate::port::{Append, EntryState, Outage, Store, Task};
use lychgate::store::SqliteStore;
use lychgate::tlog::Head;
use sqlx::{Connection, Row};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROLE: &str = "LYCHGATE_TEST_STORE_ROLE";
const LEDGER: &str = "LYCHGATE_TEST_STORE_LEDGER";

/// All system calls by which SQLite changes what is on the disk. Its own thread makes them, so they are counted alone.
const CHANGES: &str = "pwrite64,fsync,fdatasync,ftruncate,unlink";

/// The other process. Without a role it is a test that has nothing to do.
#[test]
fn other_process() {
    let Some((role, ledger)) = role() else {
        return;
    };
    let outcome = match role.as_str() {
        "publish" => run(publish(&ledger)),
        "record" => run(record_and_leave(&ledger)),
        "race" => run(race(&ledger)),
        _ => panic!("unknown role {role}"),
    };
    if let Err(outage) = outcome {
        println!("\noutage {}", outage.code);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test tells its other process what to do by environment"
)]
fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var(ROLE).ok()?, PathBuf::from(std::env::var_os(LEDGER)?)))
}

/// Records, publishes, closes; says so after each.
async fn publish(ledger: &Path) -> Result<(), Outage> {
    let store = SqliteStore::open(ledger).await?;
    let entries = [entry("e1", "p", "main", 4)];
    store.record(&decision("p"), &entries, &[oid(1)], RULES).await?;
    println!("\nrecorded");
    store.append(0, &publishing()).await?;
    println!("\nappended");
    store.close().await?;
    println!("\nclosed");
    Ok(())
}

fn publishing() -> Append {
    let tasks = vec![Task::Note { entry: "e1".to_owned() }];
    Append {
        tasks,
        ..appending(0, 2, &["e1"])
    }
}

async fn record_and_leave(ledger: &Path) -> Result<(), Outage> {
    let store = SqliteStore::open(ledger).await?;
    let push = format!("push-{}", std::process::id());
    store.record(&decision(&push), &[], &[], RULES).await?;
    println!("\nrecorded");
    store.leave().await;
    Ok(())
}

/// Appends one leaf, thirty times, against whoever else does.
async fn race(ledger: &Path) -> Result<(), Outage> {
    let store = SqliteStore::open(ledger).await?;
    let mut won = 0;
    while won < 30 {
        let size = store.head().await?.size;
        won += u64::from(store.append(size, &appending(size, 1, &[])).await?);
    }
    store.close().await
}

/// This binary as another process in a role; `words` start it.
#[expect(clippy::disallowed_methods, reason = "tests start processes")]
fn other(role: &str, ledger: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .args(["--exact", "store::crash::other_process", "--nocapture"])
        .env(ROLE, role)
        .env(LEDGER, ledger);
    command
}

/// The same behind strace, which injects one fault.
fn under_strace(role: &str, ledger: &Path, inject: &str) -> Output {
    let binary = std::env::current_exe().unwrap();
    let inject = format!("inject={inject}");
    let trace = format!("trace={CHANGES}");
    let quiet = ["strace", "-f", "-qq", "-o", "/dev/null"];
    let what = ["-e", &trace, "-e", &inject, binary.to_str().unwrap()];
    let words = [&quiet[..], &what[..]].concat();
    let output = other(role, ledger, &words).output();
    output.expect("strace must be installed (Debian: apt-get install strace)")
}

fn says(output: &Output, line: &str) -> bool {
    String::from_utf8_lossy(&output.stdout).lines().any(|each| each == line)
}

#[test]
fn a_process_killed_at_any_write_leaves_all_or_nothing() {
    // Strace counts each system call for itself.
    let steps: u32 = CHANGES.split(',').map(kill_at_each).sum();
    assert!(
        steps > 40,
        "only {steps} steps were seen: was the process really traced?"
    );
}

/// Kills a new process at the first, the second, … such call until it survives; returns how often it did not.
fn kill_at_each(call: &str) -> u32 {
    for n in 1..500 {
        let place = Place::new();
        let output = under_strace("publish", &place.path(), &format!("{call}:signal=SIGKILL:when={n}"));
        run(assert_whole(&place, &output));
        if output.status.success() {
            assert!(says(&output, "closed"), "{output:?}");
            return n - 1;
        }
    }
    panic!("it never survives {call}");
}

/// Whatever was said to be done is there; whatever was not is there whole or not at all.
async fn assert_whole(place: &Place, output: &Output) {
    let store = SqliteStore::open(&place.path()).await.unwrap();
    let recorded = store.decision("p").await.unwrap();
    assert!(recorded.is_some() || !says(output, "recorded"), "{output:?}");
    assert!(recorded.is_none() || recorded == Some(decision("p")));
    let found = store.entry("e1").await.unwrap();
    assert_eq!(found.is_some(), recorded.is_some());
    assert_eq!(
        store.scanned(&[oid(1)], RULES).await.unwrap().len(),
        usize::from(recorded.is_some())
    );
    let head = store.head().await.unwrap();
    let appended = head.size == 2;
    assert!(appended || !says(output, "appended"), "{output:?}");
    if appended {
        assert_eq!(head, publishing().head.unwrap());
        assert_eq!(
            found.unwrap(),
            is_published(&entry("e1", "p", "main", 4), &publishing().published[0])
        );
        assert_eq!(store.nodes(&[(0, 0), (0, 1)]).await.unwrap(), [[0; 32], [1; 32]]);
    } else {
        assert_eq!(head, Head::default());
        assert!(found.is_none_or(|entry| entry.state == EntryState::Pending));
    }
    for index in 0..2 {
        assert_eq!(store.leaf(index).await.unwrap().is_some(), appended);
    }
    assert_eq!(store.tasks(9).await.unwrap().len(), usize::from(appended));
    store.close().await.unwrap();
    assert_sound(place).await;
}

async fn assert_sound(place: &Place) {
    let mut raw = raw(&place.path()).await;
    let verdict = sqlx::query("PRAGMA integrity_check").fetch_one(&mut raw).await.unwrap();
    assert_eq!(verdict.get::<String, _>(0), "ok");
    assert!(
        sqlx::query("PRAGMA foreign_key_check")
            .fetch_all(&mut raw)
            .await
            .unwrap()
            .is_empty()
    );
    raw.close().await.unwrap();
}

#[test]
fn a_full_or_failing_disk_is_an_outage_that_leaves_nothing_behind() {
    let faults = [
        // The first eight writes make the index beside the write-ahead log: SQLite has no word for a full disk there.
        ("pwrite64:error=ENOSPC:when=1+", "outage store-failed"),
        ("pwrite64:error=ENOSPC:when=9+", "outage store-full"),
        ("pwrite64:error=ENOSPC:when=13+", "outage store-full"),
        ("pwrite64:error=EIO:when=12+", "outage store-failed"),
        ("fsync,fdatasync:error=EIO:when=1+", "outage store-failed"),
    ];
    for (inject, outage) in faults {
        let place = Place::new();
        let output = under_strace("publish", &place.path(), inject);
        assert!(
            says(&output, outage) && !says(&output, "recorded"),
            "{inject}: {output:?}"
        );
        run(async {
            let store = SqliteStore::open(&place.path()).await.unwrap();
            assert_eq!(store.head().await.unwrap(), Head::default());
            if store.decision("p").await.unwrap().is_none() {
                store
                    .record(&decision("p"), &[entry("e1", "p", "main", 4)], &[], RULES)
                    .await
                    .unwrap();
            }
            assert!(store.append(0, &publishing()).await.unwrap());
            store.close().await.unwrap();
            assert_sound(&place).await;
        });
    }
}

#[test]
fn processes_that_append_against_each_other_leave_one_log() {
    let place = Place::new();
    let binary = std::env::current_exe().unwrap();
    let start = || {
        other("race", &place.path(), &[binary.to_str().unwrap()])
            .output()
            .unwrap()
    };
    std::thread::scope(|scope| {
        for racer in [(); 3].map(|()| scope.spawn(start)) {
            let output = racer.join().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
    });
    run(async {
        let store = SqliteStore::open(&place.path()).await.unwrap();
        assert_eq!(store.head().await.unwrap().size, 90);
        for index in 0..90 {
            assert_eq!(
                store.leaf(index).await.unwrap().unwrap(),
                format!("leaf {index}").into_bytes()
            );
        }
        store.close().await.unwrap();
        assert_sound(&place).await;
    });
}

#[test]
fn processes_that_leave_without_closing_do_not_let_the_write_ahead_log_grow() {
    let place = Place::new();
    let binary = std::env::current_exe().unwrap();
    let mut longest = 0;
    for _ in 0..80 {
        let output = other("record", &place.path(), &[binary.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(says(&output, "recorded"), "{output:?}");
        let log = std::fs::metadata(place.dir.path().join("ledger.db-wal"));
        longest = longest.max(log.map_or(0, |log| log.len()));
    }
    assert!(longest > 100_000, "nothing was left to the next process: {longest}");
    assert!(longest < 2 << 20, "{longest}");
    assert!(run(place.store().decisions(99)).unwrap().len() > 70);
}

#[test]
fn a_ledger_that_may_not_be_written_is_an_outage() {
    let place = Place::new();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(place.dir.path(), 0o555);
    let attempt = |file_mode, expected: &[&str]| {
        mode(&place.path(), file_mode);
        let mut command = other("record", &place.path(), &["/proc/self/exe"]);
        // Root may write anything: become nobody. The kernel's own name of
        // this binary serves an account that cannot reach its folder.
        if std::fs::metadata(place.path()).unwrap().uid() == 0 {
            command.uid(65_534).gid(65_534);
        }
        let output = command.output().unwrap();
        assert!(expected.iter().any(|line| says(&output, line)), "{output:?}");
    };
    attempt(0o444, &["outage store-read-only", "outage store-unreadable"]);
    attempt(0o000, &["outage store-unreadable"]);
    mode(place.dir.path(), 0o755);
    attempt(0o444, &["outage store-read-only", "outage store-unreadable"]);
    mode(&place.path(), 0o600);
    assert!(run(place.store().decisions(9)).unwrap().is_empty());
}
