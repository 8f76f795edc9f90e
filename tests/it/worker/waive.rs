//! Orders about waivers against a ledger that breaks, and that others append to meanwhile.

use super::{Broken, MemoryStore, gate, key, signer, sound, wait};
use lychgate::config::{Policy, WaiverPolicy};
use lychgate::port::Store;
use lychgate::push::{Oid, Timestamp};
use lychgate::signer::FileSigner;
use lychgate::waiver::{Ask, Order, Standing, Target, Waiver};
use lychgate::worker::waive::{Desk, Done, Ordered, order, read};
use lychgate::{port::Outage, worker};

fn policy() -> WaiverPolicy {
    let text = "version = 1\n[waivers]\napprovers = [\"carol\", \"dave\"]\nbreak_glass = [\"erin\", \"frank\"]\n";
    Policy::parse("policy.toml", text).unwrap().waivers
}

fn at(hours: i64) -> Timestamp {
    Timestamp::from_unix(1_800_000_000 + hours * 3_600)
}

fn ask(digit: char, break_glass: bool) -> Ask {
    let commit: Oid = digit.to_string().repeat(40).parse().unwrap();
    Ask {
        repository: gate().resource,
        code: "unsigned-commit".into(),
        target: Target::Commit(commit),
        reason: "no key yet".into(),
        requester: "ann".into(),
        authors: vec!["ann".into()],
        break_glass,
        change: None,
        created: at(0),
        expires: at(10),
    }
}

fn asking(digits: &str, approver: Option<&str>) -> Order {
    Order::Ask {
        asks: digits.chars().map(|digit| ask(digit, false)).collect(),
        approver: approver.map(str::to_owned),
    }
}

fn do_it(
    store: &MemoryStore,
    signer: &FileSigner,
    id: &str,
    what: &Order,
    source: Option<&str>,
) -> Result<Done, Outage> {
    let (gate, key, policy) = (gate(), key(signer), policy());
    let desk = Desk {
        store,
        signer,
        gate: &gate,
        key: &key,
        policy: &policy,
    };
    let ordered = Ordered {
        id: id.to_owned(),
        order: what,
        via: "test",
        source,
        now: at(1),
    };
    wait(order(&desk, &ordered))
}

fn all(store: &MemoryStore, signer: &FileSigner) -> Vec<Waiver> {
    wait(read(store, &key(signer), at(1))).unwrap()
}

#[test]
fn a_command_is_recorded_once_wherever_the_ledger_breaks() {
    let (_dir, signer) = signer();
    let order = asking("ab", None);
    for call in 0..12 {
        for how in [Broken::Before, Broken::After] {
            let store = MemoryStore::default();
            store.break_at(Some((call, how)));
            let first = do_it(&store, &signer, "O1", &order, Some("hub/5/change/7/comment 1"));
            store.break_at(None);
            let again = do_it(&store, &signer, "O2", &order, Some("hub/5/change/7/comment 1")).unwrap();
            let done = matches!(first, Ok(Done::Recorded(_)));
            assert!(matches!(again, Done::Recorded(_) | Done::Already(_)), "{again:?}");
            assert!(!done || matches!(again, Done::Already(_)), "call {call}: {again:?}");
            let waivers = all(&store, &signer);
            assert_eq!(waivers.len(), 2, "call {call}");
            assert!(waivers.iter().all(|waiver| waiver.records.len() == 1));
            sound(&store, &signer);
        }
    }
}

#[test]
fn rivals_for_the_log_delay_an_order_and_lose_nothing_of_it() {
    let (_dir, signer) = signer();
    let store = MemoryStore::default();
    store.rivals.set(3);
    let done = do_it(&store, &signer, "O1", &asking("ab", Some("carol")), None).unwrap();
    let Done::Recorded(waivers) = done else {
        panic!("{done:?}")
    };
    assert!(
        waivers
            .iter()
            .all(|it| it.standing(&policy(), at(2)) == Standing::Active)
    );
    let records = wait(store.waivers(at(0))).unwrap();
    let indices: Vec<u64> = records.iter().map(|record| record.log_index).collect();
    assert_eq!(indices, [3, 4, 5, 6], "after the rivals' leaves");
    for record in records {
        let leaf = wait(store.leaf(record.log_index)).unwrap().unwrap();
        assert_eq!(leaf, record.envelope.as_bytes());
    }
}

#[test]
fn of_two_approvals_by_one_person_the_second_is_refused() {
    let (_dir, signer) = signer();
    let store = MemoryStore::default();
    let asks = vec![ask('a', true)];
    do_it(&store, &signer, "O1", &Order::Ask { asks, approver: None }, None).unwrap();
    let id = all(&store, &signer)[0].id.clone();
    let by = |order: &str, by: &str| {
        let approve = Order::Approve {
            waiver: id.clone(),
            by: by.into(),
        };
        do_it(&store, &signer, order, &approve, None).unwrap()
    };
    assert!(matches!(by("O2", "erin"), Done::Recorded(_)));
    assert!(matches!(by("O3", "Erin"), Done::Refused(refusal) if refusal.code() == "not-an-approver"));
    assert!(matches!(by("O4", "erin"), Done::Refused(refusal) if refusal.code() == "approved-already"));
    assert!(matches!(by("O5", "frank"), Done::Recorded(_)));
    assert_eq!(all(&store, &signer)[0].standing(&policy(), at(2)), Standing::Active);
    sound(&store, &signer);
}

#[test]
fn a_record_by_another_key_is_not_believed() {
    let ((_dir, ours), (_other, theirs)) = (signer(), signer());
    let store = MemoryStore::default();
    do_it(&store, &theirs, "O1", &asking("a", Some("carol")), None).unwrap();
    let refused = wait(read(&store, &key(&ours), at(1))).unwrap_err();
    assert_eq!(refused.code, "waiver-unverified");
    let refused = do_it(&store, &ours, "O2", &asking("b", None), None).unwrap_err();
    assert_eq!(refused.code, "waiver-unverified");
}

#[test]
fn a_record_that_is_hidden_is_missed() {
    let (_dir, signer) = signer();
    let store = MemoryStore::default();
    do_it(&store, &signer, "O1", &asking("a", Some("carol")), None).unwrap();
    let id = all(&store, &signer)[0].id.clone();
    let revoke = Order::Revoke {
        waiver: id,
        by: "carol".into(),
        reason: "the key came".into(),
    };
    do_it(&store, &signer, "O2", &revoke, None).unwrap();
    sound(&store, &signer);
    // Whoever takes the revocation out of the list, and cannot take it out of the log.
    store.state.borrow_mut().waivers.pop();
    let checked = wait(worker::check(&store, &key(&signer), &gate().origin)).unwrap();
    assert_eq!(
        checked.problems,
        ["leaf 2 is a record of a waiver that the list of waivers lacks"]
    );
}
