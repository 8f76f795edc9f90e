//! Publication, recovery and re-opening over a store that can be made to break at each call.

mod waive;

use lychgate::attest::{Action, PublicKey, Reason, SelectorKind};
use lychgate::facts::{Ancestry, CommitFact, Fact, Facts, ScanFact, SignatureFact, SignatureState, UpdateFact};
use lychgate::guarantee::{Control, Guarantee};
use lychgate::port::{
    Append, DecisionRecord, Document, EntryRecord, EntryState, Outage, ReopenRecord, Signer, Store, Task, WaiverRecord,
};
use lychgate::push::{Actor, Oid, Push, RefName, RefUpdate, Server, Timestamp};
use lychgate::signer::FileSigner;
use lychgate::status::Status;
use lychgate::tlog::Head;
use lychgate::verify::{Evidence, Expectation, Report, TrustedKey, verify};
use lychgate::worker::{self, Event, Gate, Recovered, Reopened};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

pub(crate) const NOW: i64 = 1_700_000_000;
const MAIN: &str = "refs/heads/main";

/// A ledger in memory. Breaks at the call that the test names, before or after its effect.
#[derive(Default)]
pub(crate) struct MemoryStore {
    state: RefCell<State>,
    calls: Cell<u32>,
    breaks_at: Cell<Option<(u32, Broken)>>,
    /// How many appends are forestalled by another process, which appends a leaf of its own.
    rivals: Cell<u32>,
}

#[derive(Clone, Copy, PartialEq)]
enum Broken {
    Before,
    After,
}

#[derive(Default)]
struct State {
    decisions: BTreeMap<String, DecisionRecord>,
    entries: Vec<EntryRecord>,
    leaves: Vec<Vec<u8>>,
    nodes: BTreeMap<(u8, u64), [u8; 32]>,
    head: Head,
    reopens: Vec<ReopenRecord>,
    waivers: Vec<WaiverRecord>,
    tasks: Vec<Task>,
}

impl MemoryStore {
    fn call<T>(&self, act: impl FnOnce(&mut State) -> T) -> Result<T, Outage> {
        let call = self.calls.get();
        self.calls.set(call + 1);
        let broken = self.breaks_at.get().filter(|(at, _)| *at == call).map(|(_, how)| how);
        if broken == Some(Broken::Before) {
            return Err(broke());
        }
        let value = act(&mut self.state.borrow_mut());
        if broken == Some(Broken::After) {
            Err(broke())
        } else {
            Ok(value)
        }
    }

    fn break_at(&self, at: Option<(u32, Broken)>) {
        self.calls.set(0);
        self.breaks_at.set(at);
    }

    fn published(&self) -> Vec<EntryRecord> {
        let state = self.state.borrow();
        state
            .entries
            .iter()
            .filter(|e| e.state == EntryState::Published)
            .cloned()
            .collect()
    }
}

fn broke() -> Outage {
    Outage {
        code: "store-broken",
        what: "the store".into(),
        why: "the test broke it".into(),
        next: String::new(),
    }
}

impl State {
    fn append(&mut self, expected: u64, append: &Append) -> bool {
        let pending = |id: &String| {
            self.entries
                .iter()
                .any(|e| e.id == *id && e.state == EntryState::Pending)
        };
        if self.head.size != expected || !append.published.iter().all(|p| pending(&p.id)) {
            return false;
        }
        self.leaves.extend(append.leaves.iter().cloned());
        self.nodes.extend(append.nodes.iter().map(|(l, i, h)| ((*l, *i), *h)));
        self.head = append.head.clone().unwrap();
        assert_eq!(self.head.size, self.leaves.len() as u64);
        for published in &append.published {
            let entry = self.entries.iter_mut().find(|e| e.id == published.id).unwrap();
            entry.state = EntryState::Published;
            entry.log_index = Some(published.log_index);
            entry.status_index = Some(published.status_index);
            entry.provenance = Some(published.provenance.clone());
            entry.vsa = Some(published.vsa.clone());
        }
        self.reopens.extend(append.reopen.clone());
        self.waivers.extend(append.waivers.iter().cloned());
        self.tasks.extend(append.tasks.iter().cloned());
        true
    }

    fn newest_first(&self) -> Vec<EntryRecord> {
        let mut published: Vec<_> = self.entries.iter().filter(|e| e.log_index.is_some()).cloned().collect();
        published.sort_by_key(|e| std::cmp::Reverse(e.log_index));
        published
    }
}

impl Store for MemoryStore {
    async fn record<D: Document>(
        &self,
        d: &DecisionRecord<D>,
        p: &[EntryRecord],
        _: &[Oid],
        _: &str,
    ) -> Result<(), Outage> {
        let held = |document: &D| {
            let mut bytes = Vec::new();
            document.write_to(&mut bytes).unwrap();
            bytes
        };
        let record = DecisionRecord {
            push_id: d.push_id.clone(),
            received_at: d.received_at,
            allowed: d.allowed,
            policy: d.policy.clone(),
            facts: held(&d.facts),
            decision: held(&d.decision),
        };
        self.call(|s| {
            s.decisions.insert(record.push_id.clone(), record);
            s.entries.extend(p.iter().cloned());
        })
    }
    async fn decision(&self, push_id: &str) -> Result<Option<DecisionRecord>, Outage> {
        self.call(|s| s.decisions.get(push_id).cloned())
    }
    async fn decisions(&self, _: u32) -> Result<Vec<DecisionRecord>, Outage> {
        self.call(|s| s.decisions.values().cloned().collect())
    }
    async fn scanned(&self, _: &[Oid], _: &str) -> Result<Vec<Oid>, Outage> {
        self.call(|_| Vec::new())
    }
    async fn mark_scanned(&self, _: &[Oid], _: &str) -> Result<(), Outage> {
        self.call(|_| ())
    }
    async fn pending(&self) -> Result<Vec<EntryRecord>, Outage> {
        self.call(|s| {
            s.entries
                .iter()
                .filter(|e| e.state == EntryState::Pending)
                .cloned()
                .collect()
        })
    }
    async fn void(&self, ids: &[String]) -> Result<(), Outage> {
        self.call(|s| {
            let pending = s.entries.iter_mut().filter(|e| e.state == EntryState::Pending);
            pending
                .filter(|e| ids.contains(&e.id))
                .for_each(|e| e.state = EntryState::Void);
        })
    }
    async fn entry(&self, id: &str) -> Result<Option<EntryRecord>, Outage> {
        self.call(|s| s.entries.iter().find(|e| e.id == id).cloned())
    }
    async fn latest(&self, name: &RefName) -> Result<Option<EntryRecord>, Outage> {
        self.call(|s| s.newest_first().into_iter().find(|e| e.update.name == *name))
    }
    async fn entries_of(&self, commit: Oid) -> Result<Vec<EntryRecord>, Outage> {
        self.call(|s| {
            s.newest_first()
                .into_iter()
                .rev()
                .filter(|e| e.commit == Some(commit))
                .collect()
        })
    }
    async fn entries(&self, limit: u32) -> Result<Vec<EntryRecord>, Outage> {
        self.call(|s| s.newest_first().into_iter().take(limit as usize).collect())
    }
    async fn head(&self) -> Result<Head, Outage> {
        self.call(|s| s.head.clone())
    }
    async fn nodes(&self, wanted: &[(u8, u64)]) -> Result<Vec<[u8; 32]>, Outage> {
        self.call(|s| wanted.iter().map(|node| s.nodes[node]).collect())
    }
    async fn leaf(&self, index: u64) -> Result<Option<Vec<u8>>, Outage> {
        self.call(|s| s.leaves.get(index as usize).cloned())
    }
    async fn next_status_index(&self) -> Result<u64, Outage> {
        self.call(|s| {
            s.entries
                .iter()
                .filter_map(|e| e.status_index)
                .max()
                .map_or(0, |i| i + 1)
        })
    }
    async fn append(&self, expected_size: u64, append: &Append) -> Result<bool, Outage> {
        if self.rivals.get() > 0 {
            self.rivals.set(self.rivals.get() - 1);
            let mut state = self.state.borrow_mut();
            let edge: Vec<_> = lychgate::tlog::right_edge(state.head.size)
                .iter()
                .map(|n| state.nodes[n])
                .collect();
            let rival = vec![b"a rival's leaf".to_vec()];
            let grown = lychgate::tlog::append(state.head.size, &edge, &rival).unwrap();
            let (size, root) = (grown.size, grown.root);
            let head = Some(Head {
                size,
                root,
                checkpoint: String::new(),
            });
            let append = Append {
                leaves: rival,
                nodes: grown.nodes,
                head,
                ..Append::default()
            };
            let at = state.head.size;
            assert!(state.append(at, &append));
        }
        self.call(|s| s.append(expected_size, append))
    }
    async fn reopens(&self) -> Result<Vec<ReopenRecord>, Outage> {
        self.call(|s| s.reopens.clone())
    }
    async fn waivers(&self, end_after: Timestamp) -> Result<Vec<WaiverRecord>, Outage> {
        self.call(|s| s.waivers.iter().filter(|r| r.expires > end_after).cloned().collect())
    }
    async fn tasks(&self, _: u32) -> Result<Vec<(i64, Task)>, Outage> {
        self.call(|s| {
            s.tasks
                .iter()
                .cloned()
                .enumerate()
                .map(|(at, t)| (at as i64, t))
                .collect()
        })
    }
    async fn task_done(&self, _: i64) -> Result<(), Outage> {
        self.call(|_| ())
    }
    async fn mark_used(&self, _: &str) -> Result<(), Outage> {
        self.call(|_| ())
    }
    async fn used_keys(&self) -> Result<Vec<String>, Outage> {
        self.call(|_| Vec::new())
    }
}

pub(crate) fn wait<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(call)
}

pub(crate) fn gate() -> Gate {
    Gate {
        resource: "git+https://git.example.com/acme/pay".into(),
        verifier_id: "https://entry.example.com/gate/v1".into(),
        origin: "git.example.com/acme/pay".into(),
        policy_uri: "https://entry.example.com/gate/v1/policy".into(),
        status_uri: "https://entry.example.com/gate/v1/status/1".into(),
        version: "0.1.0",
        max_level: 3,
    }
}

pub(crate) fn signer() -> (tempfile::TempDir, FileSigner) {
    let dir = tempfile::tempdir().unwrap();
    let signer = FileSigner::create(&dir.path().join("a.key"), &dir.path().join("a.pub")).unwrap();
    (dir, signer)
}

pub(crate) fn oid(n: u64) -> Oid {
    format!("{n:040x}").parse().unwrap()
}

fn good(key: &str, first_use: bool) -> Fact<SignatureFact> {
    Fact::Known(SignatureFact {
        state: SignatureState::Good,
        key: Some(key.into()),
        principal: Some("dev".into()),
        emails: vec!["dev@example.com".into()],
        detail: String::new(),
        first_use,
    })
}

/// All that a hook can see to hold.
fn guarantees(since: Oid, at: Timestamp) -> String {
    let guarantee = |control| Guarantee {
        control,
        since,
        since_time: at,
        evidence: "a test".into(),
    };
    serde_json::to_string(&Control::ALL.map(guarantee)[..4]).unwrap()
}

/// A push that moves `name` from `old` to `new` (0: none), as the pipeline records it.
pub(crate) fn push(store: &MemoryStore, id: &str, name: &str, old: u64, new: u64) -> EntryRecord {
    let at = Timestamp::from_unix(NOW + id.bytes().map(i64::from).sum::<i64>());
    let update = RefUpdate {
        name: name.parse().unwrap(),
        old: oid(old),
        new: oid(new),
    };
    let deletes = new == 0;
    let commit = CommitFact {
        oid: oid(new),
        tree: oid(new + 0x1000),
        parents: vec![oid(old)],
        author: None,
        committer: None,
        malformed: None,
        signature: good("ABCDEF", false),
        in_quarantine: true,
    };
    let facts = Facts {
        push: Push {
            id: id.into(),
            repository: gate().resource,
            received_at: at,
            actor: Actor {
                server: Server::Plain,
                name: "dev".into(),
                protocol: None,
            },
            options: Vec::new(),
            updates: vec![update.clone()],
        },
        commits: vec![commit],
        updates: vec![UpdateFact {
            update: update.clone(),
            ancestry: Fact::Known(Ancestry::FastForward),
            commits: Fact::Known(if deletes { vec![] } else { vec![0] }),
            tag: None,
            commit: (!deletes).then(|| oid(new)),
            tree: (!deletes).then(|| oid(new + 0x1000)),
            previous: Fact::Known(None),
        }],
        landing: None,
        scan: Fact::Known(ScanFact {
            rule_set: "ab".repeat(32),
            objects: 1,
            bytes: 1,
            secrets: Vec::new(),
            bounds: Vec::new(),
        }),
        waivers: lychgate::facts::no_waivers(),
    };
    let entry = EntryRecord {
        id: format!("E{id}"),
        push_id: id.into(),
        update,
        commit: (!deletes).then(|| oid(new)),
        tree: (!deletes).then(|| oid(new + 0x1000)),
        received_at: at,
        guarantees: guarantees(oid(new), at),
        state: EntryState::Pending,
        owner: "boot 1 2".into(),
        log_index: None,
        status_index: None,
        provenance: None,
        vsa: None,
    };
    let decision = DecisionRecord {
        push_id: id.into(),
        received_at: at,
        allowed: true,
        policy: "version = 1\n".into(),
        facts: serde_json::to_vec(&facts).unwrap(),
        decision: b"{\"accepted\":[]}".to_vec(),
    };
    wait(store.record(&decision, std::slice::from_ref(&entry), &[], "")).unwrap();
    entry
}

fn key(signer: &FileSigner) -> PublicKey {
    PublicKey::from_der(signer.public_key()).unwrap()
}

fn sound(store: &MemoryStore, signer: &FileSigner) {
    let checked = wait(worker::check(store, &key(signer), &gate().origin)).unwrap();
    assert_eq!(checked.problems, Vec::<String>::new());
}

fn judge(store: &MemoryStore, signer: &FileSigner, entry: &str) -> Report {
    let entry = wait(store.entry(entry)).unwrap().unwrap();
    let head = wait(store.head()).unwrap();
    let now = Timestamp::from_unix(NOW + 5000);
    let status = wait(worker::status_list(store, signer, &gate(), now)).unwrap();
    let proof = wait(worker::prove(store, &head, entry.log_index.unwrap()))
        .unwrap()
        .to_text();
    let bundle = worker::bundle(&entry).unwrap().unwrap();
    let evidence = Evidence {
        bundle: bundle.as_bytes(),
        proof: Some(&proof),
        status: Some(&status),
        ..Evidence::default()
    };
    let trusted = TrustedKey {
        key: key(signer),
        verifier_id: Some(gate().verifier_id),
        max_level: 3,
    };
    let expected = Expectation {
        resource_uri: Some(gate().resource),
        commit: entry.commit,
        ref_name: Some(entry.update.name),
        min_level: 3,
        origin: Some(gate().origin),
    };
    verify(evidence, &[trusted], &expected, now)
}

fn status(store: &MemoryStore, signer: &FileSigner, entry: &str) -> Option<Status> {
    let report = judge(store, signer, entry);
    let status = report.claim.as_ref().unwrap().status;
    let failed: Vec<&str> = report.failures().map(|c| c.name).collect();
    let expected: &[&str] = if status == Some(Status::Valid) {
        &[]
    } else {
        &["status"]
    };
    assert_eq!(failed, expected, "{report:?}");
    status
}

#[test]
fn what_is_published_verifies_in_every_check() {
    let (store, (_dir, signer)) = (MemoryStore::default(), signer());
    let entries: Vec<_> = (1..=20)
        .map(|n| push(&store, &format!("P{n:02}"), MAIN, n - 1, n))
        .collect();
    let (first, rest) = entries.split_at(1);
    wait(worker::publish(&store, &signer, &gate(), first.to_vec())).unwrap();
    let published = wait(worker::publish(&store, &signer, &gate(), rest.to_vec())).unwrap();
    assert_eq!(published.len(), 19);
    assert_eq!(published[0].log_index, 3, "provenance leaf 2, VSA leaf 3");
    for entry in &entries {
        assert!(judge(&store, &signer, &entry.id).verified());
    }
    sound(&store, &signer);
    let again = wait(worker::publish(&store, &signer, &gate(), entries)).unwrap();
    assert_eq!(again, Vec::new(), "stale copies are left out");
}

#[test]
fn tasks_come_with_the_entry() {
    let (store, (_dir, signer)) = (MemoryStore::default(), signer());
    let entry = push(&store, "P1", MAIN, 0, 1);
    wait(worker::publish(&store, &signer, &gate(), vec![entry])).unwrap();
    let opinion = Task::SecondOpinion {
        entry: "EP1".into(),
        objects: vec![oid(1)],
    };
    assert_eq!(
        store.state.borrow().tasks,
        [opinion, Task::Note { entry: "EP1".into() }]
    );
}

#[test]
fn a_deletion_has_a_provenance_only() {
    let (store, (_dir, signer)) = (MemoryStore::default(), signer());
    let made = push(&store, "P1", MAIN, 0, 1);
    let gone = push(&store, "P2", MAIN, 1, 0);
    let published = wait(worker::publish(&store, &signer, &gate(), vec![made, gone])).unwrap();
    assert_eq!((published[1].log_index, published[1].vsa.as_str()), (2, ""));
    sound(&store, &signer);
}

/// Runs `act` with the store broken at each of its calls in turn, then whole; `settled` must hold at the end.
fn broken_at_each_call(
    prepare: impl Fn(&MemoryStore),
    act: impl Fn(&MemoryStore, &FileSigner) -> Result<(), Outage>,
    settled: impl Fn(&MemoryStore, &FileSigner),
) {
    let (_dir, signer) = signer();
    for how in [Broken::Before, Broken::After] {
        for call in 0.. {
            assert!(call < 200, "it does not end");
            let store = MemoryStore::default();
            prepare(&store);
            store.break_at(Some((call, how)));
            let done = act(&store, &signer).is_ok();
            let reached = store.calls.get() > call;
            store.break_at(None);
            sound(&store, &signer);
            act(&store, &signer).unwrap();
            settled(&store, &signer);
            sound(&store, &signer);
            if !reached {
                assert!(done);
                break;
            }
        }
    }
}

#[test]
fn publication_survives_a_break_at_each_call() {
    broken_at_each_call(
        |store| {
            push(store, "P1", MAIN, 0, 1);
            push(store, "P2", MAIN, 1, 2);
        },
        |store, signer| {
            let pending = wait(store.pending())?;
            wait(worker::publish(store, signer, &gate(), pending)).map(|_| ())
        },
        |store, _| {
            assert_eq!(store.published().len(), 2);
            assert_eq!(store.state.borrow().leaves.len(), 4);
        },
    );
}

#[test]
fn recovery_survives_a_break_at_each_call() {
    let recover = |store: &MemoryStore, signer: &FileSigner| {
        let target = |_: &RefName| Ok(Some(oid(2)));
        let now = Timestamp::from_unix(NOW + 5000);
        wait(worker::recover(store, signer, &gate(), target, |_| Some(false), now)).map(|_| ())
    };
    broken_at_each_call(
        |store| {
            push(store, "P1", MAIN, 0, 1);
            push(store, "P2", MAIN, 1, 2);
            push(store, "P3", MAIN, 2, 3);
        },
        recover,
        |store, _| {
            let states: Vec<_> = store.state.borrow().entries.iter().map(|e| e.state).collect();
            assert_eq!(states, [EntryState::Published, EntryState::Published, EntryState::Void]);
        },
    );
}

#[test]
fn reopening_survives_a_break_at_each_call() {
    broken_at_each_call(
        |store| {
            push(store, "P1", MAIN, 0, 1);
        },
        |store, signer| {
            let pending = wait(store.pending())?;
            wait(worker::publish(store, signer, &gate(), pending))?;
            reopen(
                store,
                signer,
                Action::Reopen,
                SelectorKind::Commit,
                &oid(1).to_string(),
                "V1",
            )
            .map(|_| ())
        },
        |store, signer| {
            assert_eq!(store.state.borrow().reopens.len(), 1);
            assert_eq!(status(store, signer, "EP1"), Some(Status::Reopened));
        },
    );
}

#[test]
fn appends_that_others_forestall_are_made_again() {
    let (store, (_dir, signer)) = (MemoryStore::default(), signer());
    let entry = push(&store, "P1", MAIN, 0, 1);
    store.rivals.set(3);
    let published = wait(worker::publish(&store, &signer, &gate(), vec![entry])).unwrap();
    assert_eq!(published[0].log_index, 4);
    assert!(judge(&store, &signer, "EP1").verified());
    let entry = push(&store, "P2", MAIN, 1, 2);
    store.rivals.set(1000);
    let outage = wait(worker::publish(&store, &signer, &gate(), vec![entry])).unwrap_err();
    assert_eq!(outage.code, "store-busy");
}

fn recover(store: &MemoryStore, at: Option<u64>, alive: Option<bool>, later: i64) -> Recovered {
    let (_dir, signer) = signer();
    let target = |_: &RefName| Ok(at.map(oid));
    let now = Timestamp::from_unix(NOW + later);
    wait(worker::recover(store, &signer, &gate(), target, |_| alive, now)).unwrap()
}

#[test]
fn recovery_publishes_what_moved_and_voids_what_cannot_move_any_more() {
    let settle = |at, alive, later| {
        let store = MemoryStore::default();
        push(&store, "P1", MAIN, 0, 1);
        let done = recover(&store, at, alive, later);
        (done.published.len(), done.voided.len(), done.left.len())
    };
    assert_eq!(settle(Some(1), Some(true), 0), (1, 0, 0));
    assert_eq!(settle(Some(1), None, 0), (1, 0, 0));
    assert_eq!(settle(None, Some(true), 99 * 86400), (0, 0, 1));
    assert_eq!(settle(None, Some(false), 0), (0, 1, 0));
    assert_eq!(settle(Some(7), None, 3600), (0, 0, 1));
    assert_eq!(settle(Some(7), None, 2 * 86400), (0, 1, 0));
}

#[test]
fn a_revision_that_later_pushes_built_on_gets_its_entry() {
    let store = MemoryStore::default();
    push(&store, "P1", MAIN, 0, 1);
    push(&store, "P2", MAIN, 1, 2);
    push(&store, "P3", MAIN, 2, 0);
    let done = recover(&store, None, Some(false), 0);
    assert_eq!((done.published.len(), done.voided.len()), (3, 0));
    let store = MemoryStore::default();
    push(&store, "P1", MAIN, 0, 1);
    let second = push(&store, "P2", MAIN, 1, 2);
    let (_dir, signer) = signer();
    wait(worker::publish(&store, &signer, &gate(), vec![second])).unwrap();
    let target = |_: &RefName| Ok(Some(oid(9)));
    let now = Timestamp::from_unix(NOW);
    let done = wait(worker::recover(&store, &signer, &gate(), target, |_| Some(false), now)).unwrap();
    assert_eq!(done.published.len(), 1, "P2, which is published, started from it");
}

#[test]
fn an_unreadable_ref_settles_nothing() {
    let (store, (_dir, signer)) = (MemoryStore::default(), signer());
    push(&store, "P1", MAIN, 0, 1);
    let target = |_: &RefName| Err(broke());
    let (gate, now) = (gate(), Timestamp::from_unix(NOW));
    let result = worker::recover(&store, &signer, &gate, target, |_| Some(false), now);
    assert!(wait(result).is_err());
    assert_eq!(wait(store.pending()).unwrap().len(), 1);
}

fn reopen(
    store: &MemoryStore,
    signer: &FileSigner,
    action: Action,
    kind: SelectorKind,
    value: &str,
    id: &str,
) -> Result<Reopened, Outage> {
    let entries = wait(worker::select(store, kind, value, |_| Ok(false)))?;
    let event = Event {
        id: id.into(),
        action,
        reason: Reason::LeakedSecretInUse,
        authority: "authoritative",
        kind,
        value: value.into(),
        signals: Vec::new(),
        entries,
        now: Timestamp::from_unix(NOW + 4000),
        owner: "boot 1 2".into(),
    };
    wait(worker::reopen(store, signer, &gate(), event))
}

/// Three entries on main, published, and one of the same commit as the second on a release branch.
fn history() -> (MemoryStore, tempfile::TempDir, FileSigner) {
    let (store, (dir, signer)) = (MemoryStore::default(), signer());
    let entries = vec![
        push(&store, "P1", MAIN, 0, 1),
        push(&store, "P2", MAIN, 1, 2),
        push(&store, "P3", MAIN, 2, 3),
    ];
    wait(worker::publish(&store, &signer, &gate(), entries)).unwrap();
    (store, dir, signer)
}

#[test]
fn a_reopened_commit_is_refused_with_what_descends_from_it_until_closed() {
    let (store, _dir, signer) = history();
    let commit = oid(2).to_string();
    let first = reopen(&store, &signer, Action::Reopen, SelectorKind::Commit, &commit, "V1").unwrap();
    assert!(matches!(first, Reopened::Appended(_)));
    let again = reopen(&store, &signer, Action::Reopen, SelectorKind::Commit, &commit, "V2").unwrap();
    assert!(matches!(again, Reopened::Already(r) if r.event == "V1"));
    assert_eq!(status(&store, &signer, "EP1"), Some(Status::Valid));
    assert_eq!(status(&store, &signer, "EP2"), Some(Status::Reopened));
    assert_eq!(status(&store, &signer, "EP3"), Some(Status::Inherited));
    // What enters meanwhile is no way around it: a descendant, and the same commit on another ref.
    let more = vec![
        push(&store, "P4", MAIN, 3, 4),
        push(&store, "P5", "refs/heads/release", 0, 2),
    ];
    wait(worker::publish(&store, &signer, &gate(), more)).unwrap();
    assert_eq!(status(&store, &signer, "EP4"), Some(Status::Inherited));
    assert_eq!(status(&store, &signer, "EP5"), Some(Status::Reopened));
    let closed = reopen(&store, &signer, Action::Close, SelectorKind::Commit, &commit, "V3").unwrap();
    assert!(matches!(closed, Reopened::Appended(_)));
    for old in ["EP2", "EP3", "EP4", "EP5"] {
        assert_ne!(
            status(&store, &signer, old),
            Some(Status::Valid),
            "{old} never flips back"
        );
    }
    let fresh: Vec<EntryRecord> = store
        .published()
        .into_iter()
        .filter(|e| !e.id.starts_with('E'))
        .collect();
    assert_eq!(fresh.len(), 4);
    for entry in fresh {
        assert_eq!(status(&store, &signer, &entry.id), Some(Status::Valid));
    }
    let nothing = reopen(&store, &signer, Action::Close, SelectorKind::Commit, &commit, "V4").unwrap();
    assert_eq!(nothing, Reopened::NothingOpen);
    let anew = reopen(&store, &signer, Action::Reopen, SelectorKind::Commit, &commit, "V5").unwrap();
    assert!(matches!(anew, Reopened::Appended(_)), "closed, so it is no repetition");
    sound(&store, &signer);
}

#[test]
fn a_revocation_is_final() {
    let (store, _dir, signer) = history();
    let commit = oid(3).to_string();
    reopen(&store, &signer, Action::Reopen, SelectorKind::Commit, &commit, "V1").unwrap();
    reopen(&store, &signer, Action::Revoke, SelectorKind::Commit, &commit, "V2").unwrap();
    assert_eq!(status(&store, &signer, "EP3"), Some(Status::Revoked));
    reopen(&store, &signer, Action::Close, SelectorKind::Commit, &commit, "V3").unwrap();
    assert_eq!(status(&store, &signer, "EP3"), Some(Status::Revoked));
    assert_eq!(store.published().len(), 3, "nothing is issued anew");
    let nothing = reopen(&store, &signer, Action::Close, SelectorKind::Commit, &commit, "V4").unwrap();
    assert_eq!(nothing, Reopened::NothingOpen);
}

#[test]
fn keys_and_actors_select_what_they_signed_and_pushed() {
    let (store, _dir, signer) = history();
    for (kind, value) in [(SelectorKind::Key, "ABCDEF"), (SelectorKind::Actor, "dev")] {
        assert_eq!(
            wait(worker::select(&store, kind, value, |_| Ok(false))).unwrap().len(),
            3
        );
        assert_eq!(
            wait(worker::select(&store, kind, "other", |_| Ok(false)))
                .unwrap()
                .len(),
            0
        );
    }
    let none = reopen(&store, &signer, Action::Reopen, SelectorKind::Key, "other", "V1").unwrap();
    assert_eq!(none, Reopened::NothingSelected);
    reopen(&store, &signer, Action::Reopen, SelectorKind::Key, "ABCDEF", "V2").unwrap();
    for entry in ["EP1", "EP2", "EP3"] {
        assert_eq!(status(&store, &signer, entry), Some(Status::Reopened));
    }
    let same = push(&store, "P9", "refs/heads/other", 0, 2);
    wait(worker::publish(&store, &signer, &gate(), vec![same])).unwrap();
    assert_eq!(
        status(&store, &signer, "EP9"),
        Some(Status::Reopened),
        "the same commit on a new ref"
    );
}

#[test]
fn a_changed_ledger_is_found_out() {
    type Change = fn(&mut State);
    let tamper: [(&str, Change); 6] = [
        ("leaf", |s| s.leaves[3][40] ^= 1),
        ("node", |s| s.nodes.get_mut(&(1, 0)).unwrap()[0] ^= 1),
        ("root", |s| s.head.root[0] ^= 1),
        ("entry", |s| s.entries[1].vsa = s.entries[0].vsa.clone()),
        ("provenance", |s| {
            s.entries[1].provenance = s.entries[0].provenance.clone()
        }),
        ("checkpoint", |s| s.head.checkpoint.clear()),
    ];
    for (what, change) in tamper {
        let (store, _dir, signer) = history();
        change(&mut store.state.borrow_mut());
        let checked = wait(worker::check(&store, &key(&signer), &gate().origin)).unwrap();
        assert!(!checked.problems.is_empty(), "{what}");
    }
    let (store, _dir, signer) = history();
    store.state.borrow_mut().head.root[0] ^= 1;
    let entry = push(&store, "P4", MAIN, 3, 4);
    let outage = wait(worker::publish(&store, &signer, &gate(), vec![entry])).unwrap_err();
    assert_eq!(outage.code, "store-corrupt", "nothing is signed on a wrong head");
}
