//! GitLab: status and note once each.

use super::{all_signed, display, hasty, head, later, other_head, refused, repo, wait};
use crate::fake_forge::gitlab::GitlabBrain;
use crate::fake_forge::{Fake, Reply, Trouble};
use axum::http::Method;
use lychgate::forge::{CheckState, Permission};
use lychgate::forges::Gitlab;
use lychgate::port::Forge;

fn token() -> String {
    "canary".repeat(6)
}

fn gitlab() -> Fake<GitlabBrain> {
    let fake = Fake::start(GitlabBrain::new(&token()));
    fake.brain.lock().unwrap().public.clone_from(&fake.url);
    fake.brain.lock().unwrap().heads.insert(7, head());
    fake
}

fn hub_at(url: &str) -> Gitlab {
    Gitlab::new("hub", url, token().into(), hasty()).unwrap()
}

#[test]
fn everything_is_shown_once_whatever_answer_is_lost() {
    for path in ["/statuses/", "/notes"] {
        let fake = gitlab();
        fake.order(Method::POST, path, Trouble::LoseAnswer(502));
        wait(async {
            let hub = hub_at(&fake.url);
            let mut display = display(CheckState::Failure, 60);
            later(hub.show(&display).await);
            assert!(hub.show(&display).await.unwrap());
            let writes = fake.writes();
            assert_eq!(writes.len(), 2, "{path}: {writes:?}");
            assert!(hub.show(&display).await.unwrap());
            assert_eq!(fake.writes(), writes);
            display.comment = None;
            assert!(hub.show(&display).await.unwrap());
        });
        let brain = fake.brain.lock().unwrap();
        assert_eq!((brain.statuses.len(), brain.notes.len()), (1, 1));
        assert_eq!(brain.notes[0]["body"].as_str().unwrap().lines().count(), 2);
        all_signed(&fake);
    }
}

#[test]
fn every_state_has_its_word() {
    let fake = gitlab();
    wait(async {
        let hub = hub_at(&fake.url);
        for state in [
            CheckState::Pending,
            CheckState::Error,
            CheckState::Failure,
            CheckState::Success,
        ] {
            assert!(hub.show(&display(state, 0)).await.unwrap());
            assert!(hub.show(&display(state, 0)).await.unwrap());
        }
        hub.reply(&repo(), 7, "note 5", "Evaluated again.").await.unwrap();
        hub.reply(&repo(), 7, "note 5", "Evaluated again.").await.unwrap();
    });
    let brain = fake.brain.lock().unwrap();
    let states: Vec<&str> = brain
        .statuses
        .iter()
        .map(|status| status["status"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["pending", "canceled", "failed", "success"]);
    assert_eq!(brain.notes.len(), 2);
}

#[test]
fn a_moved_head_gets_nothing() {
    let fake = gitlab();
    fake.brain.lock().unwrap().heads.insert(7, other_head());
    wait(async { assert!(!hub_at(&fake.url).show(&display(CheckState::Success, 0)).await.unwrap()) });
    assert_eq!(fake.writes(), Vec::<String>::new());
}

#[test]
fn what_is_asked_is_answered() {
    let fake = gitlab();
    fake.brain
        .lock()
        .unwrap()
        .heads
        .extend((1..=250).map(|number| (number, head())));
    fake.brain.lock().unwrap().merged.insert(8, "d".repeat(40));
    for (who, id, level) in [("ann", 40, 40), ("dev", 30, 30), ("eve", 20, 20)] {
        fake.brain.lock().unwrap().members.insert(who.to_owned(), (id, level));
    }
    wait(async {
        let hub = hub_at(&fake.url);
        assert_eq!(hub.open_changes(&repo()).await.unwrap().len(), 250);
        let change = hub.change(&repo(), 7).await.unwrap();
        assert_eq!((change.base_oid.to_string(), change.merged_as), ("b".repeat(40), None));
        let merged = hub.change(&repo(), 8).await.unwrap();
        assert_eq!(
            (merged.open, merged.merged_as.unwrap().to_string()),
            (false, "d".repeat(40))
        );
        for (who, may) in [
            ("ann", Permission::Maintain),
            ("dev", Permission::Write),
            ("eve", Permission::Read),
            ("nobody", Permission::None),
        ] {
            assert_eq!(hub.permission(&repo(), who).await.unwrap(), may, "{who}");
        }
        assert_eq!(hub.repositories().await.unwrap()[0].full_name, "acme/tools/widget");
        let source = hub.fetch_source(&repo(), Some(7)).await.unwrap();
        assert_eq!(source.refspecs, ["+refs/merge-requests/7/*:refs/changes/7/*"]);
    });
    all_signed(&fake);
}

#[test]
fn a_refusal_has_a_code_and_no_secret() {
    let fake = gitlab();
    fake.order(
        Method::POST,
        "/statuses/",
        Trouble::Refuse(Reply::refuse(403, &token())),
    );
    wait(async {
        let hub = hub_at(&fake.url);
        let (code, why) = refused(hub.show(&display(CheckState::Failure, 1)).await);
        assert_eq!(code, "permission-missing");
        assert!(!format!("{why} {hub:?}").contains("canary"));
    });
}
