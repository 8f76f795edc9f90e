//! What any inbox and outbox must do: the same tests for SQLite and PostgreSQL.

use lychgate::config::Retention;
use lychgate::forge::{CheckState, Display, ForgeEvent, ForgeRepo};
use lychgate::port::{Delivery, Depth, Leased, LetterBox, Queue};
use lychgate::push::{Oid, Timestamp};
use lychgate::store::SqliteStore;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

fn repo(id: u64) -> ForgeRepo {
    ForgeRepo {
        forge: "hub".into(),
        id,
        full_name: format!("acme/r{id}"),
        installation: Some(1),
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(1_800_000_000 + seconds)
}

fn touched(id: u64, number: u64, delivery: &str) -> Delivery {
    Delivery {
        forge: "hub".into(),
        delivery: delivery.into(),
        received_at: at(0),
        event: ForgeEvent::ChangeTouched { repo: repo(id), number },
    }
}

pub(crate) fn closed(number: u64, delivery: &str) -> Delivery {
    let event = ForgeEvent::ChangeClosed {
        repo: repo(1),
        number,
        merged_as: None,
    };
    Delivery {
        event,
        ..touched(1, number, delivery)
    }
}

fn display(number: u64, evaluation: &str) -> Display {
    Display {
        repo: repo(1),
        number: Some(number),
        head: Oid::from_bytes(&[7; 20]).unwrap(),
        evaluation: evaluation.into(),
        state: CheckState::Success,
        title: String::new(),
        summary: String::new(),
        annotations: Vec::new(),
        comment: None,
        answers: Vec::new(),
        at: at(0),
    }
}

pub(crate) async fn lease(queue: &impl Queue, now: i64) -> Option<Leased<Delivery>> {
    queue.lease_delivery(at(now), at(now + 100), "me").await.unwrap()
}

async fn lease_display(queue: &impl Queue, now: i64) -> Option<Leased<Display>> {
    queue.lease_display(at(now), at(now + 100), "me").await.unwrap()
}

/// An empty queue does all that the port promises.
pub(crate) async fn conforms(queue: &impl Queue) {
    queue.ping().await.unwrap();
    inbox(queue).await;
    outbox(queue).await;
    leases_are_renewed(queue).await;
    dead_letters(queue).await;
    batches(queue).await;
    retention(queue).await;
}

async fn retention(queue: &impl Queue) {
    const DAY: i64 = 24 * 3600;
    let came = |n: i64| Delivery {
        received_at: at(n * 60),
        ..closed(100, &format!("k{n}"))
    };
    for n in 0..10 {
        queue.accept(&came(n)).await.unwrap();
        let lease = lease(queue, 9000).await.unwrap();
        assert!(queue.finish_delivery(&lease, &[]).await.unwrap());
    }
    queue.accept(&closed(101, "waits")).await.unwrap();
    let few = Retention {
        seconds: 7 * DAY,
        deliveries: 4,
    };
    let forget = async |days, kept: &Retention, most| queue.forget(at(days * DAY), kept, most).await.unwrap();
    assert_eq!(forget(3, &few, 1000).await, 0, "a forge may deliver them again");
    assert_eq!(forget(4, &Retention::default(), 1000).await, 0, "neither old nor many");
    assert_eq!(forget(4, &few, 3).await, 3, "in small steps");
    while forget(4, &few, 3).await == 3 {}
    assert!(
        !queue.accept(&came(6)).await.unwrap(),
        "one of the newest is still known"
    );
    assert!(queue.accept(&came(5)).await.unwrap(), "an old one is not");
    while forget(9, &Retention::default(), 3).await == 3 {}
    assert!(queue.accept(&came(6)).await.unwrap(), "too old");
    assert!(
        !queue.accept(&closed(101, "waits")).await.unwrap(),
        "what is not done is never forgotten"
    );
    while let Some(rest) = lease(queue, 9000).await {
        assert!(queue.finish_delivery(&rest, &[]).await.unwrap());
    }
}

async fn leases_are_renewed(queue: &impl Queue) {
    queue.accept(&closed(3, "r")).await.unwrap();
    let held = lease(queue, 1000).await.unwrap();
    let renew = async |fence, until| {
        let lease = (held.row, fence);
        queue.renew(LetterBox::Inbox, lease, at(until)).await.unwrap()
    };
    assert!(renew(held.fence, 1200).await);
    assert!(lease(queue, 1150).await.is_none(), "it is still held");
    let taken = lease(queue, 1201).await.unwrap();
    assert!(!renew(held.fence, 1500).await, "it was lost");
    assert!(queue.finish_delivery(&taken, &[display(3, "r")]).await.unwrap());
    let held = lease_display(queue, 1201).await.unwrap();
    let outbox = (held.row, held.fence);
    assert!(queue.renew(LetterBox::Outbox, outbox, at(1400)).await.unwrap());
    assert!(lease_display(queue, 1350).await.is_none());
    assert!(queue.finish_display(&held).await.unwrap());
    assert!(!queue.renew(LetterBox::Outbox, outbox, at(1400)).await.unwrap());
}

async fn dead_letters(queue: &impl Queue) {
    assert_eq!(queue.dead_letters(9).await.unwrap(), []);
    assert_eq!(queue.depth().await.unwrap(), Depth::default());
    queue.accept(&closed(4, "poison")).await.unwrap();
    assert_eq!(queue.depth().await.unwrap().oldest, at(0).unix());
    let mut row = 0;
    while let Some(lease) = lease(queue, 2000).await {
        row = lease.row;
        queue.postpone_delivery(&lease, at(0), "gone: 404").await.unwrap();
    }
    let dead = queue.dead_letters(9).await.unwrap();
    let [letter] = dead.as_slice() else { panic!("{dead:?}") };
    let seen = (letter.letter_box, letter.row, letter.attempts, letter.why.as_str());
    assert_eq!(seen, (LetterBox::Inbox, row, 40, "gone: 404"));
    assert!(
        letter.content.contains("change-closed") && letter.lane == "hub/1/change/4",
        "{letter:?}"
    );
    assert_eq!(queue.depth().await.unwrap().dead, 1);
    assert!(!queue.replay(LetterBox::Outbox, row + 1000).await.unwrap());
    assert!(queue.replay(LetterBox::Inbox, row).await.unwrap());
    assert!(!queue.replay(LetterBox::Inbox, row).await.unwrap(), "replayed once");
    let again = lease(queue, 2000).await.unwrap();
    assert_eq!((again.row, again.attempts), (row, 0));
    assert!(queue.finish_delivery(&again, &[]).await.unwrap());
}

async fn batches(queue: &impl Queue) {
    let ignored = ForgeEvent::Ignored { event: "star".into() };
    let star = Delivery {
        event: ignored,
        ..touched(1, 1, "b3")
    };
    let batch = [
        touched(1, 1, "b1"),
        touched(1, 1, "b2"),
        touched(1, 1, "b1"),
        star,
        touched(1, 1, "a"),
    ];
    let stored = queue.accept_all(&batch).await.unwrap();
    assert_eq!(
        stored,
        [true, true, false, true, false],
        "copies are known, also within one batch"
    );
    assert_eq!(queue.accept_all(&[]).await.unwrap(), [false; 0]);
    let one = lease(queue, 3000).await.unwrap();
    assert_eq!(one.work.delivery, "b1");
    assert!(queue.finish_delivery(&one, &[]).await.unwrap());
    assert!(lease(queue, 3000).await.is_none(), "what asks for nothing is no work");
}

async fn inbox(queue: &impl Queue) {
    assert!(lease(queue, 0).await.is_none());
    assert!(queue.accept(&closed(1, "a")).await.unwrap());
    assert!(!queue.accept(&closed(1, "a")).await.unwrap(), "stored once");
    assert!(queue.accept(&closed(1, "b")).await.unwrap());
    assert!(queue.accept(&closed(2, "c")).await.unwrap());

    let a = lease(queue, 0).await.unwrap();
    assert_eq!((a.work.clone(), a.attempts), (closed(1, "a"), 0));
    let c = lease(queue, 0).await.unwrap();
    assert_eq!(c.work.delivery, "c", "the first lane is busy");
    assert!(lease(queue, 0).await.is_none());

    // The lease ends: another takes over, and the first one's fence is old.
    let again = lease(queue, 101).await.unwrap();
    assert_eq!((again.row, again.attempts), (a.row, 1));
    assert!(again.fence > a.fence);
    assert!(!queue.finish_delivery(&a, &[display(1, "x")]).await.unwrap());
    assert_eq!(
        queue.latest_display(&repo(1), 1).await.unwrap(),
        None,
        "nothing of the old lease is kept"
    );
    queue.postpone_delivery(&a, at(500), "late").await.unwrap();
    assert!(queue.finish_delivery(&again, &[]).await.unwrap());
    assert!(!queue.finish_delivery(&again, &[]).await.unwrap(), "finished once");

    let b = lease(queue, 101).await.unwrap();
    assert_eq!(b.work.delivery, "b");
    queue.postpone_delivery(&b, at(300), "later").await.unwrap();
    let c = lease(queue, 102).await.unwrap();
    assert_eq!(c.work.delivery, "c");
    assert!(queue.finish_delivery(&c, &[]).await.unwrap());
    assert!(lease(queue, 299).await.is_none(), "not before its time");
    let b = lease(queue, 300).await.unwrap();
    assert!(queue.finish_delivery(&b, &[]).await.unwrap());

    for id in ["t1", "t2", "t3"] {
        assert!(queue.accept(&touched(1, 9, id)).await.unwrap());
    }
    let t = lease(queue, 300).await.unwrap();
    assert!(queue.finish_delivery(&t, &[]).await.unwrap());
    assert!(lease(queue, 300).await.is_none(), "one reading covers all that waited");
    assert!(
        !queue.accept(&touched(1, 9, "t2")).await.unwrap(),
        "and they are still known"
    );
}

async fn outbox(queue: &impl Queue) {
    for (id, evaluations) in [("o1", ["e1", "e2"]), ("o2", ["e3", "e4"])] {
        assert!(queue.accept(&touched(1, 5, id)).await.unwrap());
        let lease = lease(queue, 300).await.unwrap();
        let displays = evaluations.map(|evaluation| display(5, evaluation));
        assert!(queue.finish_delivery(&lease, &displays).await.unwrap());
    }
    assert_eq!(
        queue.latest_display(&repo(1), 5).await.unwrap().unwrap().evaluation,
        "e4"
    );
    let newest = lease_display(queue, 300).await.unwrap();
    assert_eq!(newest.work, display(5, "e4"));
    assert!(
        lease_display(queue, 300).await.is_none(),
        "the older ones are superseded"
    );
    queue.postpone_display(&newest, at(400), "502").await.unwrap();
    assert!(lease_display(queue, 399).await.is_none());
    let again = lease_display(queue, 400).await.unwrap();
    assert_eq!(again.attempts, 1);
    assert!(!queue.finish_display(&newest).await.unwrap(), "an old fence");
    assert!(queue.finish_display(&again).await.unwrap());
    assert!(lease_display(queue, 900).await.is_none());
}

/// Many workers at once: each delivery is worked on once, and no lane by two at a time.
pub(crate) async fn holds_its_lanes<Q: Queue + 'static>(queues: Vec<Arc<Q>>) {
    for n in 0..60 {
        let mut delivery = closed(n % 6, &format!("n{n}"));
        delivery.received_at = at(n.try_into().unwrap());
        queues[0].accept(&delivery).await.unwrap();
    }
    let (busy, done) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(Mutex::new(Vec::new())));
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let (queue, busy, done) = (Arc::clone(&queues[worker % queues.len()]), busy.clone(), done.clone());
        tasks.spawn(async move {
            while done.lock().unwrap().len() < 60 {
                let Some(lease) = lease(&*queue, 1000).await else {
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                    continue;
                };
                let lane = lease.work.event.lane("hub");
                assert!(busy.lock().unwrap().insert(lane.clone()), "two in {lane}");
                tokio::time::sleep(std::time::Duration::from_millis(3)).await;
                assert!(busy.lock().unwrap().remove(&lane));
                assert!(queue.finish_delivery(&lease, &[]).await.unwrap());
                done.lock().unwrap().push(lease.work.delivery);
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let mut done = done.lock().unwrap().clone();
    done.sort();
    done.dedup();
    assert_eq!(done.len(), 60, "each once");
}

#[test]
fn sqlite_keeps_the_promises() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let queue = SqliteStore::create(&folder.path().join("a.db")).await.unwrap();
        conforms(&queue).await;
        let (one, two) = (folder.path().join("b.db"), folder.path().join("b.db"));
        let queues = vec![
            Arc::new(SqliteStore::create(&one).await.unwrap()),
            Arc::new(SqliteStore::open(&two).await.unwrap()),
        ];
        holds_its_lanes(queues).await;
    });
}

#[test]
fn what_fails_too_often_is_laid_aside() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let queue = SqliteStore::create(&folder.path().join("a.db")).await.unwrap();
        queue.accept(&closed(1, "poison")).await.unwrap();
        let mut tries = 0;
        while let Some(lease) = lease(&queue, tries * 200).await {
            tries += 1;
            assert!(tries < 100, "it never ends");
            if tries % 2 == 0 {
                queue.postpone_delivery(&lease, at(0), "again").await.unwrap();
            }
        }
        assert_eq!(tries, 40);
    });
}
