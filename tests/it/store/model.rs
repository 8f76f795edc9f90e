//! Random sequences of calls, on the store and on a model that is plainly right.

use super::{Place, RULES, appending, decision, entry, is_published, oid, ref_name, run};
use lychgate::port::{Append, DecisionRecord, EntryRecord, EntryState, ReopenRecord, Store, Task};
use lychgate::push::Timestamp;
use lychgate::store::SqliteStore;
use lychgate::tlog::Head;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// One call, with numbers that are taken modulo what exists.
#[derive(Debug, Clone)]
enum Call {
    Record {
        branches: Vec<u8>,
        scanned: Vec<u8>,
    },
    Void {
        entries: Vec<u8>,
    },
    Append {
        behind: bool,
        more_leaves: u8,
        entries: Vec<u8>,
        reopens: Option<Vec<u8>>,
        task: bool,
    },
    TaskDone {
        task: u8,
    },
    MarkUsed {
        key: u8,
    },
    OpenAgain,
}

fn call() -> impl Strategy<Value = Call> {
    let few = || prop::collection::vec(any::<u8>(), 0..4);
    prop_oneof![
        4 => (few(), few()).prop_map(|(branches, scanned)| Call::Record { branches, scanned }),
        1 => few().prop_map(|entries| Call::Void { entries }),
        4 => (prop::bool::weighted(0.2), 0u8..3, few(), prop::option::weighted(0.3, few()), any::<bool>()).prop_map(
            |(behind, more_leaves, entries, reopens, task)| Call::Append { behind, more_leaves, entries, reopens, task }
        ),
        1 => any::<u8>().prop_map(|task| Call::TaskDone { task }),
        1 => any::<u8>().prop_map(|key| Call::MarkUsed { key }),
        1 => Just(Call::OpenAgain),
    ]
}

#[derive(Default)]
struct Model {
    decisions: Vec<DecisionRecord>,
    entries: Vec<EntryRecord>,
    scanned: BTreeSet<u64>,
    head: Head,
    leaves: Vec<Vec<u8>>,
    nodes: BTreeMap<(u8, u64), [u8; 32]>,
    reopens: Vec<ReopenRecord>,
    tasks: Vec<Task>,
    used: BTreeSet<String>,
}

impl Model {
    /// Ids of existing entries, picked by number; may repeat.
    fn pick(&self, numbers: &[u8]) -> Vec<String> {
        let all = self.entries.len();
        let picked = numbers.iter().filter(|_| all > 0);
        picked.map(|n| self.entries[usize::from(*n) % all].id.clone()).collect()
    }

    fn append(&mut self, expected_size: u64, append: &Append) -> bool {
        let mut entries = self.entries.clone();
        for by in &append.published {
            match entries
                .iter_mut()
                .find(|e| e.id == by.id && e.state == EntryState::Pending)
            {
                Some(entry) => *entry = is_published(entry, by),
                None => return false,
            }
        }
        if self.head.size != expected_size {
            return false;
        }
        self.entries = entries;
        self.head = append.head.clone().unwrap();
        self.leaves.extend(append.leaves.iter().cloned());
        self.nodes
            .extend(append.nodes.iter().map(|(level, idx, hash)| ((*level, *idx), *hash)));
        self.reopens.extend(append.reopen.clone());
        self.tasks.extend(append.tasks.iter().cloned());
        true
    }

    fn published(&self) -> Vec<EntryRecord> {
        let mut found: Vec<_> = self
            .entries
            .iter()
            .filter(|e| e.state == EntryState::Published)
            .cloned()
            .collect();
        found.sort_by_key(|entry| entry.log_index);
        found
    }
}

async fn apply(store: &SqliteStore, model: &mut Model, call: &Call) {
    match call {
        Call::Record { branches, scanned } => {
            let push = format!("push-{}", model.decisions.len());
            let decision = DecisionRecord {
                allowed: !branches.is_empty(),
                ..decision(&push)
            };
            let entries: Vec<_> = (model.entries.len()..)
                .zip(branches)
                .map(|(n, branch)| entry(&format!("e{n}"), &push, &format!("b{}", branch % 3), u64::from(*branch)))
                .collect();
            let oids: Vec<_> = scanned.iter().map(|n| oid(u64::from(*n))).collect();
            store.record(&decision, &entries, &oids, RULES).await.unwrap();
            model.decisions.push(decision);
            model.entries.extend(entries);
            model.scanned.extend(scanned.iter().map(|n| u64::from(*n)));
        }
        Call::Void { entries } => {
            let ids = model.pick(entries);
            store.void(&ids).await.unwrap();
            let hit = model
                .entries
                .iter_mut()
                .filter(|e| ids.contains(&e.id) && e.state == EntryState::Pending);
            hit.for_each(|entry| entry.state = EntryState::Void);
        }
        Call::Append {
            behind,
            more_leaves,
            entries,
            reopens,
            task,
        } => {
            let ids = model.pick(entries);
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let leaves = ids.len() as u64 + u64::from(*more_leaves) + 1;
            let expected = model.head.size.saturating_sub(u64::from(*behind));
            let mut append = appending(expected, leaves, &ids);
            append.reopen = reopens.as_ref().map(|numbers| reopen(expected, model.pick(numbers)));
            append.tasks.extend(task.then(|| Task::Note {
                entry: format!("task {expected}"),
            }));
            let won = store.append(expected, &append).await.unwrap();
            assert_eq!(won, model.append(expected, &append), "{append:?}");
        }
        Call::TaskDone { task } => {
            if let Some(index) = usize::from(*task).checked_rem(model.tasks.len()) {
                let rows = store.tasks(u32::MAX).await.unwrap();
                store.task_done(rows[index].0).await.unwrap();
                store.task_done(rows[index].0).await.unwrap();
                model.tasks.remove(index);
            }
        }
        Call::MarkUsed { key } => {
            store.mark_used(&format!("key {key}")).await.unwrap();
            model.used.insert(format!("key {key}"));
        }
        Call::OpenAgain => {}
    }
}

fn reopen(size: u64, entries: Vec<String>) -> ReopenRecord {
    ReopenRecord {
        event: format!("event {size}"),
        action: "revoke".to_owned(),
        reason: "key_compromised".to_owned(),
        selector_kind: "key".to_owned(),
        selector_value: "SHA256:x".to_owned(),
        effective_from: Timestamp::from_unix(1_795_000_000),
        log_index: size,
        entries,
        envelope: "{}".to_owned(),
    }
}

async fn compare(store: &SqliteStore, model: &Model) {
    let newest: Vec<_> = model.decisions.iter().rev().cloned().collect();
    assert_eq!(store.decisions(u32::MAX).await.unwrap(), newest);
    let pending: Vec<_> = model
        .entries
        .iter()
        .filter(|e| e.state == EntryState::Pending)
        .cloned()
        .collect();
    assert_eq!(store.pending().await.unwrap(), pending);
    for entry in &model.entries {
        assert_eq!(store.entry(&entry.id).await.unwrap().as_ref(), Some(entry));
        let commit = entry.commit.unwrap();
        let of_commit: Vec<_> = model
            .published()
            .into_iter()
            .filter(|e| e.commit == Some(commit))
            .collect();
        assert_eq!(store.entries_of(commit).await.unwrap(), of_commit);
    }
    for name in ["b0", "b1", "b2"].map(ref_name) {
        let latest = model.published().into_iter().rfind(|e| e.update.name == name);
        assert_eq!(store.latest(&name).await.unwrap(), latest);
    }
    let newest: Vec<_> = model.published().into_iter().rev().collect();
    assert_eq!(store.entries(u32::MAX).await.unwrap(), newest);
    let next = model
        .published()
        .iter()
        .filter_map(|e| e.status_index)
        .max()
        .map_or(0, |max| max + 1);
    assert_eq!(store.next_status_index().await.unwrap(), next);
    let asked: Vec<_> = (0..=255).map(oid).collect();
    let scanned: Vec<_> = (0..=255).filter(|n| model.scanned.contains(n)).map(oid).collect();
    assert_eq!(store.scanned(&asked, RULES).await.unwrap(), scanned);
    compare_log(store, model).await;
}

async fn compare_log(store: &SqliteStore, model: &Model) {
    assert_eq!(store.head().await.unwrap(), model.head);
    for (index, leaf) in (0..).zip(&model.leaves) {
        assert_eq!(store.leaf(index).await.unwrap().as_ref(), Some(leaf));
    }
    assert!(store.leaf(model.head.size).await.unwrap().is_none());
    let wanted: Vec<_> = model.nodes.keys().copied().collect();
    let hashes: Vec<_> = model.nodes.values().copied().collect();
    assert_eq!(store.nodes(&wanted).await.unwrap(), hashes);
    assert_eq!(store.reopens().await.unwrap(), model.reopens);
    let tasks: Vec<_> = store
        .tasks(u32::MAX)
        .await
        .unwrap()
        .into_iter()
        .map(|(_, task)| task)
        .collect();
    assert_eq!(tasks, model.tasks);
    assert_eq!(
        store.used_keys().await.unwrap(),
        Vec::from_iter(model.used.iter().cloned())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_store_agrees_with_a_model(calls in prop::collection::vec(call(), 1..24)) {
        let place = Place::new();
        let mut model = Model::default();
        let mut store = place.store();
        for call in &calls {
            if matches!(call, Call::OpenAgain) {
                run(store.close()).unwrap();
                store = place.store();
            }
            run(apply(&store, &mut model, call));
        }
        run(compare(&store, &model));
        run(store.close()).unwrap();
    }
}
