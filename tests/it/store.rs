//! The embedded store: round trips, races, crashes, damage, migration; `store/model.rs` compares it with a model.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may stop where it stands; the other process speaks by standard output"
)]

mod crash;
mod model;

use lychgate::port::{
    Append, DecisionRecord, EntryRecord, EntryState, Outage, PublishedEntry, ReopenRecord, Store, Task, WaiverRecord,
};
use lychgate::push::{Oid, RefName, RefUpdate, Timestamp};
use lychgate::store::SqliteStore;
use lychgate::tlog::Head;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const RULES: &str = "b1946ac92492d2347c6235b4d2611184b1946ac92492d2347c6235b4d2611184";

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn oid(n: u64) -> Oid {
    let mut raw = [0x5a; 20];
    raw[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    Oid::from_bytes(&raw).unwrap()
}

fn ref_name(name: &str) -> RefName {
    format!("refs/heads/{name}").parse().unwrap()
}

fn decision(push: &str) -> DecisionRecord {
    DecisionRecord {
        push_id: push.to_owned(),
        received_at: Timestamp::from_unix(1_795_000_000),
        allowed: true,
        policy: format!("# policy {}\n", push.len()),
        facts: format!("{{\"push\":\"{push}\"}}").repeat(50).into_bytes(),
        decision: b"{\"allowed\":true}".to_vec(),
    }
}

fn entry(id: &str, push: &str, branch: &str, commit: u64) -> EntryRecord {
    EntryRecord {
        id: id.to_owned(),
        push_id: push.to_owned(),
        update: RefUpdate {
            name: ref_name(branch),
            old: Oid::from_bytes(&[0; 20]).unwrap(),
            new: oid(commit),
        },
        commit: Some(oid(commit)),
        tree: Some(oid(commit + 1_000_000)),
        received_at: Timestamp::from_unix(1_795_000_000),
        guarantees: "[]".to_owned(),
        state: EntryState::Pending,
        owner: "boot 1 2".to_owned(),
        log_index: None,
        status_index: None,
        provenance: None,
        vsa: None,
    }
}

/// An append of `leaves` leaves over `size`, which publishes the entries on the last ones.
fn appending(size: u64, leaves: u64, entries: &[&str]) -> Append {
    let first = size + leaves - entries.len() as u64;
    let published = entries.iter().zip(first..).map(|(id, index)| PublishedEntry {
        id: (*id).to_owned(),
        log_index: index,
        status_index: index,
        provenance: format!("provenance of {id}"),
        vsa: format!("vsa of {id}"),
    });
    Append {
        leaves: (size..size + leaves)
            .map(|n| format!("leaf {n}").into_bytes())
            .collect(),
        nodes: (size..size + leaves).map(|n| (0, n, [n as u8; 32])).collect(),
        head: Some(Head {
            size: size + leaves,
            root: [leaves as u8; 32],
            checkpoint: format!("checkpoint {}", size + leaves),
        }),
        published: published.collect(),
        reopen: None,
        waivers: Vec::new(),
        tasks: Vec::new(),
    }
}

fn is_published(before: &EntryRecord, by: &PublishedEntry) -> EntryRecord {
    EntryRecord {
        state: EntryState::Published,
        log_index: Some(by.log_index),
        status_index: Some(by.status_index),
        provenance: Some(by.provenance.clone()),
        vsa: Some(by.vsa.clone()),
        ..before.clone()
    }
}

/// A folder with a ledger in it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self { dir };
        run(async { SqliteStore::create(&place.path()).await.unwrap().close().await.unwrap() });
        place
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("ledger.db")
    }

    fn store(&self) -> SqliteStore {
        run(SqliteStore::open(&self.path())).unwrap()
    }

    /// Runs SQL past the store, as an intruder or an operator might.
    fn sql(&self, text: &'static str) {
        run(async {
            let mut raw = raw(&self.path()).await;
            sqlx::raw_sql(text).execute(&mut raw).await.unwrap();
            raw.close().await.unwrap();
        });
    }

    fn opening_fails(&self) -> Outage {
        run(SqliteStore::open(&self.path())).err().unwrap()
    }
}

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

#[test]
fn a_new_ledger_is_private_empty_and_made_only_once() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    assert_eq!(
        std::fs::metadata(place.path()).unwrap().permissions().mode() & 0o777,
        0o600
    );
    run(async {
        let store = SqliteStore::open(&place.path()).await.unwrap();
        assert_eq!(store.head().await.unwrap(), Head::default());
        assert_eq!(store.next_status_index().await.unwrap(), 0);
        assert!(store.pending().await.unwrap().is_empty());
        assert!(store.decision("p").await.unwrap().is_none());
        assert!(store.leaf(0).await.unwrap().is_none());
        assert!(store.leaf(u64::MAX).await.unwrap().is_none());
        store.record(&decision("p"), &[], &[], RULES).await.unwrap();
        store.close().await.unwrap();
        let again = SqliteStore::create(&place.path()).await.unwrap();
        assert!(
            again.decision("p").await.unwrap().is_some(),
            "creating again keeps what is there"
        );
        again.close().await.unwrap();
    });
}

#[test]
fn a_decision_its_entries_and_scanned_commits_come_back_as_they_were() {
    let place = Place::new();
    let (first, second) = (
        decision("push-1"),
        DecisionRecord {
            allowed: false,
            facts: Vec::new(),
            ..decision("push-2")
        },
    );
    let mut deletion = entry("e2", "push-1", "gone", 5);
    deletion.commit = None;
    deletion.tree = None;
    deletion.update.new = Oid::from_bytes(&[0; 32]).unwrap();
    let entries = [entry("e1", "push-1", "main", 4), deletion];
    run(async {
        let store = SqliteStore::open(&place.path()).await.unwrap();
        store
            .record(&first, &entries, &[oid(1), oid(2), oid(1)], RULES)
            .await
            .unwrap();
        store.record(&second, &[], &[oid(2)], RULES).await.unwrap();
        assert_eq!(store.decision("push-1").await.unwrap().unwrap(), first);
        assert_eq!(store.decisions(9).await.unwrap(), [second.clone(), first.clone()]);
        assert_eq!(store.decisions(1).await.unwrap(), [second]);
        assert_eq!(store.pending().await.unwrap(), entries);
        assert_eq!(store.entry("e2").await.unwrap().unwrap(), entries[1]);
        assert!(store.entry("e3").await.unwrap().is_none());
        assert_eq!(
            store.scanned(&[oid(3), oid(2), oid(1)], RULES).await.unwrap(),
            [oid(2), oid(1)]
        );
        assert!(store.scanned(&[oid(1)], "another rule set").await.unwrap().is_empty());
        store.void(&["e1".to_owned(), "unknown".to_owned()]).await.unwrap();
        assert_eq!(store.entry("e1").await.unwrap().unwrap().state, EntryState::Void);
        assert_eq!(store.pending().await.unwrap(), entries[1..]);
        store.close().await.unwrap();
    });
}

#[test]
fn an_append_publishes_and_is_read_back_whole() {
    let place = Place::new();
    let entries = [entry("e1", "p", "main", 4), entry("e2", "p", "other", 4)];
    let tasks = [
        Task::Note { entry: "e1".to_owned() },
        Task::SecondOpinion {
            entry: "e2".to_owned(),
            objects: vec![oid(4)],
        },
    ];
    run(async {
        let store = SqliteStore::open(&place.path()).await.unwrap();
        store.record(&decision("p"), &entries, &[], RULES).await.unwrap();
        let mut append = appending(0, 4, &["e1", "e2"]);
        append.tasks = tasks.to_vec();
        assert!(store.append(0, &append).await.unwrap());
        assert_eq!(store.head().await.unwrap(), append.head.clone().unwrap());
        assert_eq!(store.leaf(3).await.unwrap().unwrap(), b"leaf 3");
        assert_eq!(
            store.nodes(&[(0, 3), (0, 1), (0, 3)]).await.unwrap(),
            [[3; 32], [1; 32], [3; 32]]
        );
        assert!(store.nodes(&[]).await.unwrap().is_empty());
        let published: Vec<_> = entries
            .iter()
            .zip(&append.published)
            .map(|(e, p)| is_published(e, p))
            .collect();
        assert_eq!(store.latest(&ref_name("main")).await.unwrap().unwrap(), published[0]);
        assert!(store.latest(&ref_name("absent")).await.unwrap().is_none());
        assert_eq!(store.entries_of(oid(4)).await.unwrap(), published);
        assert_eq!(store.entries(1).await.unwrap(), published[1..]);
        assert_eq!(store.next_status_index().await.unwrap(), 4);
        let queued = store.tasks(9).await.unwrap();
        assert_eq!(queued.iter().map(|(_, task)| task.clone()).collect::<Vec<_>>(), tasks);
        store.task_done(queued[0].0).await.unwrap();
        assert_eq!(store.tasks(9).await.unwrap(), queued[1..]);
        store.mark_used("SHA256:b").await.unwrap();
        store.mark_used("A").await.unwrap();
        store.mark_used("A").await.unwrap();
        assert_eq!(store.used_keys().await.unwrap(), ["A", "SHA256:b"]);
        store.close().await.unwrap();
    });
}

#[test]
fn a_reopen_event_comes_back_with_its_entries_in_their_order() {
    let place = Place::new();
    run(async {
        let store = SqliteStore::open(&place.path()).await.unwrap();
        let entries = [entry("e1", "p", "main", 4), entry("e2", "p", "other", 4)];
        store.record(&decision("p"), &entries, &[], RULES).await.unwrap();
        assert!(store.append(0, &appending(0, 2, &["e1", "e2"])).await.unwrap());
        let events = ["2", "1"].map(|event| ReopenRecord {
            event: event.to_owned(),
            action: "reopen".to_owned(),
            reason: "leaked_secret_in_use".to_owned(),
            selector_kind: "commit".to_owned(),
            selector_value: oid(4).to_string(),
            effective_from: Timestamp::from_unix(1_795_000_001),
            log_index: 4 - event.parse::<u64>().unwrap(),
            entries: if event == "1" {
                Vec::new()
            } else {
                vec!["e2".to_owned(), "e1".to_owned()]
            },
            envelope: "{}".to_owned(),
        });
        for (size, event) in [(2, &events[0]), (3, &events[1])] {
            let append = Append {
                reopen: Some(event.clone()),
                ..appending(size, 1, &[])
            };
            assert!(store.append(size, &append).await.unwrap());
        }
        assert_eq!(store.reopens().await.unwrap(), events);
        store.close().await.unwrap();
    });
}

#[test]
fn an_append_over_another_head_or_a_settled_entry_changes_nothing() {
    let place = Place::new();
    run(async {
        let store = SqliteStore::open(&place.path()).await.unwrap();
        let entries = [entry("e1", "p", "main", 4), entry("e2", "p", "other", 4)];
        store.record(&decision("p"), &entries, &[], RULES).await.unwrap();
        assert!(
            !store.append(1, &appending(1, 1, &["e1"])).await.unwrap(),
            "no such head"
        );
        store.void(&["e2".to_owned()]).await.unwrap();
        assert!(
            !store.append(0, &appending(0, 2, &["e1", "e2"])).await.unwrap(),
            "e2 is void"
        );
        assert!(
            !store.append(0, &appending(0, 2, &["e1", "e9"])).await.unwrap(),
            "there is no e9"
        );
        assert!(
            !store.append(0, &appending(0, 2, &["e1", "e1"])).await.unwrap(),
            "e1 twice"
        );
        assert_eq!(store.head().await.unwrap(), Head::default());
        assert!(store.leaf(0).await.unwrap().is_none());
        assert_eq!(store.nodes(&[(0, 0)]).await.unwrap_err().code, "store-corrupt");
        assert_eq!(store.pending().await.unwrap(), entries[..1]);
        assert!(store.append(0, &appending(0, 2, &["e1"])).await.unwrap());
        store.close().await.unwrap();
    });
}

#[test]
fn what_breaks_the_ledger_is_refused_and_the_store_goes_on() {
    let place = Place::new();
    run(async {
        let store = SqliteStore::open(&place.path()).await.unwrap();
        let fresh = entry("e1", "p", "main", 4);
        let refused = |outcome: Result<(), Outage>| assert_eq!(outcome.unwrap_err().code, "store-refused");
        let void = EntryRecord {
            state: EntryState::Void,
            ..fresh.clone()
        };
        refused(store.record(&decision("p"), &[void], &[], RULES).await);
        let foreign = EntryRecord {
            push_id: "q".to_owned(),
            ..fresh.clone()
        };
        refused(store.record(&decision("p"), &[foreign], &[], RULES).await);
        refused(
            store
                .record(&decision("p"), &[fresh.clone(), fresh.clone()], &[], RULES)
                .await,
        );
        assert!(store.decision("p").await.unwrap().is_none(), "all or nothing");
        store.record(&decision("p"), &[fresh], &[], RULES).await.unwrap();
        refused(store.record(&decision("p"), &[], &[], RULES).await);
        let mut wrong_head = appending(0, 2, &["e1"]);
        wrong_head.head.as_mut().unwrap().size = 3;
        let mut no_head = appending(0, 2, &["e1"]);
        no_head.head = None;
        let mut no_leaf = appending(0, 2, &["e1"]);
        no_leaf.published[0].log_index = 7;
        let mut too_large = appending(0, 2, &["e1"]);
        too_large.published[0].status_index = u64::MAX;
        for append in [wrong_head, no_head, no_leaf, too_large] {
            refused(store.append(0, &append).await.map(|_| ()));
        }
        assert_eq!(store.head().await.unwrap(), Head::default());
        assert!(store.append(0, &appending(0, 2, &["e1"])).await.unwrap());
        store.close().await.unwrap();
    });
}

#[test]
fn what_was_recorded_cannot_be_changed_by_a_stray_statement() {
    let place = Place::new();
    run(async {
        let store = SqliteStore::open(&place.path()).await.unwrap();
        let entries = [entry("e1", "p", "main", 4)];
        store.record(&decision("p"), &entries, &[], RULES).await.unwrap();
        assert!(store.append(0, &appending(0, 1, &["e1"])).await.unwrap());
        store.close().await.unwrap();
        let mut raw = raw(&place.path()).await;
        for stray in [
            "UPDATE entry SET state = 'void', log_index = NULL, status_index = NULL, provenance = NULL, vsa = NULL",
            "UPDATE decision SET allowed = 0",
            "UPDATE log_leaf SET data = x'00'",
            "DELETE FROM log_leaf",
            "UPDATE log_node SET hash = zeroblob(32)",
            "DELETE FROM log_node",
            "INSERT INTO log_head VALUES (2, 0, zeroblob(32), '')",
            "DELETE FROM decision",
        ] {
            assert!(sqlx::raw_sql(stray).execute(&mut raw).await.is_err(), "{stray}");
        }
        raw.close().await.unwrap();
    });
}

#[test]
fn a_dropped_call_changes_all_or_nothing_and_the_store_goes_on() {
    let place = Place::new();
    let store = place.store();
    for polls in 1..12 {
        let id = format!("push-{polls}");
        let entries = [entry(&format!("e-{polls}"), &id, "main", 4)];
        poll_and_drop(store.record(&decision(&id), &entries, &[oid(polls)], RULES), polls);
        run(async {
            let there = store.decision(&id).await.unwrap().is_some();
            assert_eq!(
                store.entry(&entries[0].id).await.unwrap().is_some(),
                there,
                "after {polls} polls"
            );
            assert_eq!(
                store.scanned(&[oid(polls)], RULES).await.unwrap().len(),
                usize::from(there)
            );
            let next = format!("next-{polls}");
            store.record(&decision(&next), &[], &[], RULES).await.unwrap();
        });
    }
    run(store.close()).unwrap();
}

/// Polls at most that often, with time for the work behind it to be done in between.
fn poll_and_drop(future: impl Future<Output = Result<(), Outage>>, polls: u64) {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return outcome.unwrap();
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn of_two_threads_that_append_over_one_head_exactly_one_wins() {
    let place = Place::new();
    let mut size = 0;
    for _ in 0..12 {
        let start = std::sync::Barrier::new(2);
        let wins: usize = std::thread::scope(|scope| {
            let racers = [(); 2].map(|()| {
                scope.spawn(|| {
                    let store = place.store();
                    start.wait();
                    let won = run(store.append(size, &appending(size, 2, &[]))).unwrap();
                    run(store.close()).unwrap();
                    usize::from(won)
                })
            });
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(wins, 1);
        size += 2;
    }
    assert_eq!(run(place.store().head()).unwrap().size, size);
}

#[test]
fn a_lock_held_too_long_is_busy_and_then_all_is_well() {
    let place = Place::new();
    run(async {
        let mut holder = raw(&place.path()).await;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut holder).await.unwrap();
        let store = SqliteStore::open(&place.path()).await.unwrap();
        let outage = store.record(&decision("p"), &[], &[], RULES).await.unwrap_err();
        assert_eq!(outage.code, "store-busy");
        assert!(
            outage.what.contains("ledger.db") && outage.next.contains("fuser"),
            "{outage:?}"
        );
        assert!(store.decision("p").await.unwrap().is_none(), "readers do not wait");
        sqlx::query("ROLLBACK").execute(&mut holder).await.unwrap();
        store.record(&decision("p"), &[], &[], RULES).await.unwrap();
        store.close().await.unwrap();
    });
}

#[test]
fn a_missing_ledger_is_named_and_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let outage = run(SqliteStore::open(&path)).err().unwrap();
    assert_eq!(outage.code, "store-missing");
    assert!(
        outage.what.contains(path.to_str().unwrap()) && outage.next.contains("lychgate init"),
        "{outage:?}"
    );
    assert!(!path.exists());
    let nowhere = run(SqliteStore::create(&dir.path().join("absent/ledger.db")))
        .err()
        .unwrap();
    assert_eq!(nowhere.code, "store-missing");
}

#[test]
fn a_file_that_is_no_ledger_is_corrupt_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    for content in [
        Vec::new(),
        b"not a database, but long enough to be read as one".repeat(200),
    ] {
        std::fs::write(&path, &content).unwrap();
        assert_eq!(run(SqliteStore::open(&path)).err().unwrap().code, "store-corrupt");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    assert_eq!(run(SqliteStore::create(&path)).err().unwrap().code, "store-corrupt");
    std::fs::remove_file(&path).unwrap();
    run(async {
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut other = options.connect().await.unwrap();
        sqlx::raw_sql("CREATE TABLE t (x)").execute(&mut other).await.unwrap();
        other.close().await.unwrap();
        assert_eq!(SqliteStore::open(&path).await.err().unwrap().code, "store-corrupt");
        assert_eq!(SqliteStore::create(&path).await.err().unwrap().code, "store-corrupt");
    });
    assert_eq!(
        run(SqliteStore::open(dir.path())).err().unwrap().code,
        "store-unreadable"
    );
}

#[test]
fn a_damaged_ledger_is_an_outage_and_never_an_empty_answer() {
    let place = Place::new();
    run(async {
        let store = SqliteStore::open(&place.path()).await.unwrap();
        store
            .record(&decision("p"), &[entry("e1", "p", "main", 4)], &[], RULES)
            .await
            .unwrap();
        store.close().await.unwrap();
    });
    let whole = std::fs::read(place.path()).unwrap();
    for damaged in [
        whole[..whole.len() / 2].to_vec(),
        [&whole[..4096], &vec![0x41; whole.len() - 4096]].concat(),
    ] {
        std::fs::write(place.path(), damaged).unwrap();
        let outcome: Result<_, Outage> = run(async {
            let store = SqliteStore::open(&place.path()).await?;
            let found = store.decision("p").await?;
            let entry = store.entry("e1").await?;
            store.close().await?;
            Ok((found, entry))
        });
        assert_eq!(outcome.unwrap_err().code, "store-corrupt");
    }
}

#[test]
fn a_damaged_document_is_corrupt() {
    let place = Place::new();
    run(place
        .store()
        .record(&decision("p"), &[entry("e1", "p", "main", 4)], &[], RULES))
    .unwrap();
    place.sql("DROP TRIGGER decision_is_final; UPDATE decision SET facts = CAST(x'789c00' || facts AS BLOB)");
    assert_eq!(run(place.store().decision("p")).unwrap_err().code, "store-corrupt");
    place.sql("UPDATE entry SET ref_name = 'refs/heads/a..b'");
    assert_eq!(run(place.store().pending()).unwrap_err().code, "store-corrupt");
    place.sql("INSERT INTO task (body) VALUES ('{\"kind\":\"unheard-of\"}')");
    assert_eq!(run(place.store().tasks(1)).unwrap_err().code, "store-corrupt");
}

#[test]
fn records_of_waivers_are_found_until_they_end_and_one_command_is_recorded_once() {
    let place = Place::new();
    let record = |event: &str, index: u64, expires: i64, source: Option<&str>| WaiverRecord {
        event: event.to_owned(),
        waiver: "w".to_owned(),
        expires: Timestamp::from_unix(expires),
        source: source.map(str::to_owned),
        log_index: index,
        envelope: format!("envelope of {event}"),
    };
    let first = [
        record("a", 0, 100, Some("hub/5/change/7/comment/1#0")),
        record("b", 1, 200, None),
    ];
    run(async {
        let store = SqliteStore::open(&place.path()).await.unwrap();
        let append = Append {
            waivers: first.to_vec(),
            ..appending(0, 2, &[])
        };
        assert!(store.append(0, &append).await.unwrap());
        let all = async |after| store.waivers(Timestamp::from_unix(after)).await.unwrap();
        assert_eq!(all(99).await, first);
        assert_eq!(all(100).await, first[1..], "it ends at that second");
        assert_eq!(all(200).await, []);
        let again = Append {
            waivers: vec![record("c", 2, 300, Some("hub/5/change/7/comment/1#0"))],
            ..appending(2, 1, &[])
        };
        assert!(store.append(2, &again).await.is_err());
        assert_eq!(store.head().await.unwrap().size, 2, "nothing of it stays");
        store.append(2, &appending(2, 1, &[])).await.unwrap();
    });
}

#[test]
fn a_later_schema_is_not_touched() {
    let place = Place::new();
    place.sql("PRAGMA user_version = 99");
    let outage = place.opening_fails();
    assert_eq!(outage.code, "store-newer-than-program");
    assert!(outage.why.contains("99"), "{outage:?}");
    assert_eq!(
        run(SqliteStore::create(&place.path())).err().unwrap().code,
        "store-newer-than-program"
    );
}

/// Makes a ledger of schema 1 with a decision, a published entry and a pending one in it.
async fn make_first_version(path: &Path) {
    const CONTENT: &str = "PRAGMA application_id = 0x4c796368; PRAGMA user_version = 1; \
        INSERT INTO policy VALUES (zeroblob(32), 'old policy'); \
        INSERT INTO decision VALUES (7, 'p', 1795000000, 1, zeroblob(32), x'789c030000000001', 0, x'789c030000000001', 0); \
        INSERT INTO log_leaf VALUES (0, x'00'); INSERT INTO log_node VALUES (0, 0, zeroblob(32)); \
        UPDATE log_head SET size = 1; \
        INSERT INTO entry VALUES (1, 'e1', 'p', 'refs/heads/main', zeroblob(20), zeroblob(20), NULL, NULL, 1795000000, \
            '[]', 'o', 'published', 0, 0, 'prov', 'vsa'); \
        INSERT INTO entry (id, push_id, ref_name, old_oid, new_oid, received_at, guarantees, owner, state) \
            VALUES ('e2', 'p', 'refs/heads/main', zeroblob(20), zeroblob(20), 1795000000, '[]', 'o', 'pending'); \
        INSERT INTO reopen VALUES ('v1', 'reopen', 'operator', 'actor', 'dev', 1795000000, 0, 'envelope'); \
        INSERT INTO reopen_entry VALUES ('v1', 0, 'e1');";
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut raw = options.connect().await.unwrap();
    let schema = include_str!("../../src/store/migrations/0001_ledger.sql");
    sqlx::raw_sql(schema).execute(&mut raw).await.unwrap();
    sqlx::raw_sql(CONTENT).execute(&mut raw).await.unwrap();
    raw.close().await.unwrap();
}

async fn store_events(raw: &mut SqliteConnection) -> Vec<(String, String)> {
    let joined = "SELECT r.event, e.entry FROM reopen r JOIN reopen_entry e ON e.event = r.event";
    let rows = sqlx::query(joined).fetch_all(raw).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[test]
fn an_older_ledger_with_content_is_brought_up_to_date_by_whoever_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    run(make_first_version(&path));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| run(async { SqliteStore::open(&path).await.unwrap().close().await.unwrap() }));
        }
    });
    run(async {
        let store = SqliteStore::open(&path).await.unwrap();
        let kept = store.decision("p").await.unwrap().unwrap();
        assert_eq!((kept.policy.as_str(), kept.facts.len()), ("old policy", 0));
        assert_eq!(store.latest(&ref_name("main")).await.unwrap().unwrap().id, "e1");
        assert_eq!(store.pending().await.unwrap()[0].id, "e2");
        store.record(&decision("q"), &[], &[oid(1)], RULES).await.unwrap();
        assert_eq!(store.scanned(&[oid(1)], RULES).await.unwrap(), [oid(1)]);
        assert!(store.append(1, &appending(1, 1, &["e2"])).await.unwrap());
        store.close().await.unwrap();
        let mut raw = raw(&path).await;
        let version = sqlx::query("PRAGMA user_version").fetch_one(&mut raw).await.unwrap();
        assert_eq!(version.get::<i64, _>(0), 5);
        let events = store_events(&mut raw).await;
        assert_eq!(
            events,
            [("v1".to_owned(), "e1".to_owned())],
            "events keep what they select"
        );
        raw.close().await.unwrap();
    });
}

#[test]
fn thousands_of_scanned_commits_are_noted_and_found() {
    let place = Place::new();
    let commits: Vec<Oid> = (0..12_000).map(oid).collect();
    run(async {
        let store = SqliteStore::open(&place.path()).await.unwrap();
        store.record(&decision("p"), &[], &commits, RULES).await.unwrap();
        // A plan that searched the list for each row would take half a minute here.
        let started = std::time::Instant::now();
        assert_eq!(store.scanned(&commits, RULES).await.unwrap(), commits);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        store.close().await.unwrap();
    });
}
