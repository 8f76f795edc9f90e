//! Forgejo: status, review and comment once each; its own swagger as judge.

use super::judged::{Prism, idle_operations, judges};
use super::{
    all_signed, display, hasty, head, later, moved_head_gets_nothing, no_secret_is_told, other_head, repo, token, wait,
};
use crate::fake_forge::forgejo::ForgejoBrain;
use crate::fake_forge::{Fake, Trouble};
use axum::http::Method;
use lychgate::forge::{CheckState, Permission};
use lychgate::forges::Forgejo;
use lychgate::port::Forge;
use lychgate::push::Timestamp;
use secrecy::ExposeSecret;

fn forgejo() -> Fake<ForgejoBrain> {
    let fake = Fake::start(ForgejoBrain::new(&token()));
    fake.brain.lock().unwrap().shelf.public.clone_from(&fake.url);
    fake.brain.lock().unwrap().heads.insert(7, head());
    fake
}

fn hub_at(url: &str) -> Forgejo {
    Forgejo::new("hub", url, token().into(), hasty()).unwrap()
}

#[test]
fn everything_is_shown_once_whatever_answer_is_lost() {
    for (method, path) in [
        (Method::POST, "/statuses/"),
        (Method::POST, "/reviews"),
        (Method::POST, "/comments"),
    ] {
        let fake = forgejo();
        fake.order(method, path, Trouble::LoseAnswer(502));
        wait(async {
            let hub = hub_at(&fake.url);
            let mut display = display(CheckState::Failure, 60);
            later(hub.show(&display).await);
            assert!(hub.show(&display).await.unwrap());
            let writes = fake.writes();
            assert_eq!(writes.len(), 3, "{path}: {writes:?}");
            assert!(hub.show(&display).await.unwrap());
            assert_eq!(fake.writes(), writes);
            display.comment = None;
            assert!(hub.show(&display).await.unwrap());
        });
        let brain = fake.brain.lock().unwrap();
        assert_eq!(
            (brain.statuses.len(), brain.reviews.len(), brain.comments.len()),
            (1, 1, 1)
        );
        assert_eq!(
            (&brain.statuses[0]["status"], &brain.reviews[0]["commit_id"]),
            (&"failure".into(), &head().into())
        );
        assert_eq!(brain.reviews[0]["comments_count"], 50);
        assert_eq!(brain.comments[0]["body"].as_str().unwrap().lines().count(), 2);
        all_signed(&fake);
    }
}

#[test]
fn a_moved_head_gets_nothing() {
    let fake = forgejo();
    fake.brain.lock().unwrap().heads.insert(7, other_head());
    wait(async { moved_head_gets_nothing(&fake, &hub_at(&fake.url)).await });
}

#[test]
fn a_refusal_has_a_code_and_no_secret() {
    let fake = forgejo();
    wait(async {
        let stranger = Forgejo::new("hub", &fake.url, "another-canary".into(), hasty()).unwrap();
        no_secret_is_told(&fake, &hub_at(&fake.url), &stranger).await;
    });
}

#[test]
fn forgejos_own_swagger_accepts_adapter_and_fake() {
    let fake = forgejo();
    let judges = judges();
    let prism = Prism::before(&judges, "forgejo.json", &fake.url);
    fake.brain.lock().unwrap().shelf.public.clone_from(&prism.url);
    fake.brain
        .lock()
        .unwrap()
        .heads
        .extend((1..=120).map(|number| (number, head())));
    fake.brain
        .lock()
        .unwrap()
        .writers
        .extend([("ann", "admin"), ("eve", "read")].map(|(who, what)| (who.into(), what.into())));
    wait(async {
        let hub = hub_at(&prism.url);
        assert_eq!(
            hub.repositories().await.unwrap().len(),
            1,
            "an archived one is left out"
        );
        assert_eq!(
            hub.open_changes(&repo()).await.unwrap(),
            (1..=120).collect::<Vec<u64>>()
        );
        let change = hub.change(&repo(), 7).await.unwrap();
        assert_eq!(
            (change.base_oid.to_string(), change.head_oid.to_string()),
            ("b".repeat(40), head())
        );
        assert_eq!(hub.permission(&repo(), "ann").await.unwrap(), Permission::Admin);
        assert_eq!(hub.permission(&repo(), "eve").await.unwrap(), Permission::Read);
        for state in [
            CheckState::Pending,
            CheckState::Error,
            CheckState::Failure,
            CheckState::Success,
        ] {
            let mut display = display(state, usize::from(state == CheckState::Failure));
            display.comment = display.comment.filter(|_| state != CheckState::Success);
            assert!(hub.show(&display).await.unwrap());
        }
        hub.reply(&repo(), 7, "comment 5", "Evaluated again.").await.unwrap();
        assert_eq!(hub.redeliver(Timestamp::from_unix(0)).await.unwrap(), 0);
        let source = hub.fetch_source(&repo(), Some(7)).await.unwrap();
        assert_eq!(
            (source.user.as_str(), source.password.expose_secret()),
            ("lychgate", token().as_str())
        );
    });
    let idle = idle_operations(&fake, &judges.join("forgejo.json"));
    assert!(
        idle.iter()
            .all(|it| !it.contains("/statuses/") && !it.contains("/reviews")),
        "{idle:?}"
    );
    let brain = fake.brain.lock().unwrap();
    let states: Vec<&str> = brain
        .statuses
        .iter()
        .map(|status| status["status"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["pending", "error", "failure", "success"]);
    assert_eq!((brain.reviews.len(), brain.comments.len()), (1, 2));
}
