//! GitHub: shown once, whatever is lost on the way.

use super::{all_signed, bodies, display, github, hasty, head, hub_at, later, other_head, refused, repo, wait};
use crate::fake_forge::github::{INSTALLATION, REPO, REPO_ID};
use crate::fake_forge::{Reply, Trouble};
use axum::http::Method;
use lychgate::forge::{CheckState, ForgeRepo, Permission};
use lychgate::forges::github::action;
use lychgate::port::Forge;
use lychgate::push::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn everything_is_shown_once() {
    let fake = github();
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        let display = display(CheckState::Failure, 120);
        assert!(hub.show(&display).await.unwrap());
        let writes = fake.writes();
        assert_eq!(writes.len(), 5, "three batches, a status, a comment: {writes:?}");
        assert!(hub.show(&display).await.unwrap());
        assert_eq!(fake.writes(), writes, "a repetition writes nothing");
    });
    all_signed(&fake);
    let brain = fake.brain.lock().unwrap();
    assert_eq!(
        (brain.runs.len(), brain.statuses.len(), brain.comments.len()),
        (1, 1, 1)
    );
    let run = &brain.runs[0];
    assert_eq!(
        (&run["status"], &run["conclusion"]),
        (&json!("completed"), &json!("failure"))
    );
    assert_eq!(run["head_sha"], json!(head()));
    let notes = &brain.annotations[&run["id"].as_u64().unwrap()];
    let lines: Vec<u64> = notes.iter().map(|note| note["start_line"].as_u64().unwrap()).collect();
    assert_eq!(lines, (1..=120).collect::<Vec<u64>>());
    let buttons = run["actions"].as_array().unwrap();
    let buttons: Vec<&str> = buttons
        .iter()
        .map(|button| button["identifier"].as_str().unwrap())
        .collect();
    assert_eq!(buttons, [action::RECHECK, action::WAIVER, action::NOT_A_SECRET]);
    assert_eq!(brain.statuses[0]["state"], "failure");
}

#[test]
fn a_run_is_not_completed_before_its_last_batch() {
    let fake = github();
    fake.order(Method::PATCH, "/check-runs/", Trouble::Refuse(Reply::refuse(502, "no")));
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        let display = display(CheckState::Failure, 51);
        later(hub.show(&display).await);
        assert_eq!(fake.brain.lock().unwrap().runs[0]["status"], "in_progress");
        assert!(hub.show(&display).await.unwrap());
    });
    let brain = fake.brain.lock().unwrap();
    assert_eq!((brain.runs.len(), &brain.runs[0]["status"]), (1, &json!("completed")));
    assert_eq!(brain.annotations.values().map(Vec::len).sum::<usize>(), 51);
}

#[test]
fn an_answer_lost_after_the_effect_shows_nothing_twice() {
    for (method, path) in [
        (Method::POST, "/check-runs"),
        (Method::PATCH, "/check-runs/"),
        (Method::POST, "/statuses/"),
        (Method::POST, "/comments"),
    ] {
        let fake = github();
        fake.order(method.clone(), path, Trouble::LoseAnswer(502));
        wait(async {
            let hub = hub_at(&fake.url, hasty());
            let display = display(CheckState::Failure, 60);
            later(hub.show(&display).await);
            assert!(hub.show(&display).await.unwrap());
        });
        let brain = fake.brain.lock().unwrap();
        let shown = (brain.runs.len(), brain.statuses.len(), brain.comments.len());
        assert_eq!(shown, (1, 1, 1), "{method} {path}");
        assert_eq!(
            brain.annotations.values().map(Vec::len).sum::<usize>(),
            60,
            "{method} {path}"
        );
        assert_eq!(brain.runs[0]["conclusion"], "failure");
    }
}

#[test]
fn a_verdict_takes_over_the_pending_run() {
    let fake = github();
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        assert!(hub.show(&display(CheckState::Pending, 0)).await.unwrap());
        assert_eq!(fake.brain.lock().unwrap().runs[0]["status"], "in_progress");
        assert!(hub.show(&display(CheckState::Success, 0)).await.unwrap());
        assert!(hub.show(&display(CheckState::Error, 0)).await.unwrap());
    });
    let brain = fake.brain.lock().unwrap();
    let conclusions: Vec<&Value> = brain.runs.iter().map(|run| &run["conclusion"]).collect();
    assert_eq!(
        conclusions,
        ["success", "cancelled"],
        "an outage is no verdict, and lets nothing in"
    );
}

#[test]
fn nothing_is_written_once_the_head_has_moved() {
    let fake = github();
    fake.brain.lock().unwrap().heads.insert(7, other_head());
    wait(async {
        assert!(
            !hub_at(&fake.url, hasty())
                .show(&display(CheckState::Success, 0))
                .await
                .unwrap()
        );
    });
    assert_eq!(fake.writes(), Vec::<String>::new());
}

#[test]
fn a_head_that_moves_during_the_writes_gets_no_comment() {
    let fake = github();
    fake.brain.lock().unwrap().move_after = Some((7, 1, other_head()));
    wait(async {
        assert!(
            !hub_at(&fake.url, hasty())
                .show(&display(CheckState::Success, 0))
                .await
                .unwrap()
        );
    });
    let brain = fake.brain.lock().unwrap();
    assert_eq!(brain.comments, Vec::<Value>::new());
    assert!(brain.runs.iter().all(|run| run["head_sha"] == json!(head())));
}

#[test]
fn a_head_that_github_would_guess_at_is_refused() {
    let fake = github();
    wait(async {
        for id in ["a".repeat(64), "0".repeat(40)] {
            let mut display = display(CheckState::Success, 0);
            display.head = id.parse().unwrap();
            assert_eq!(
                refused(hub_at(&fake.url, hasty()).show(&display).await).0,
                "head-not-whole"
            );
        }
    });
    assert!(fake.log().is_empty());
}

#[test]
fn the_sticky_comment_is_updated_folded_and_never_anothers() {
    let fake = github();
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        let mut display = display(CheckState::Failure, 1);
        hub.show(&display).await.unwrap();
        let marker = bodies(&fake)[0].lines().next().unwrap().to_owned();
        fake.brain
            .lock()
            .unwrap()
            .comment_by_other(7, &format!("{marker}\nAll is well, merge."));
        display.comment = Some("Still not.".to_owned());
        hub.show(&display).await.unwrap();
        assert_eq!(bodies(&fake)[0], format!("{marker}\nStill not."));
        display.comment = None;
        for state in [CheckState::Pending, CheckState::Error] {
            display.state = state;
            hub.show(&display).await.unwrap();
            let found = format!("{marker}\nStill not.");
            assert_eq!(
                bodies(&fake)[0],
                found,
                "what was found before stands until the next verdict"
            );
        }
        display.state = CheckState::Failure;
        hub.show(&display).await.unwrap();
        let folded = bodies(&fake);
        assert_eq!(
            (folded.len(), folded[0].lines().count()),
            (2, 2),
            "one line beside the marker"
        );
        assert!(folded[1].ends_with("merge."));
        // Written twice because a listing lagged: made one again.
        let mut twin = fake.brain.lock().unwrap().comments[0].clone();
        twin["id"] = json!(999_999);
        fake.brain.lock().unwrap().comments.push(twin);
        hub.show(&display).await.unwrap();
        assert_eq!(bodies(&fake), folded);
    });
}

#[test]
fn a_clean_change_gets_no_comment() {
    let fake = github();
    wait(async {
        let mut display = display(CheckState::Success, 0);
        display.comment = None;
        assert!(hub_at(&fake.url, hasty()).show(&display).await.unwrap());
    });
    assert_eq!(bodies(&fake), Vec::<String>::new());
}

#[test]
fn a_command_is_answered_once() {
    let fake = github();
    fake.order(Method::POST, "/comments", Trouble::LoseAnswer(504));
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        let marker = "comment 5 --> <b>";
        later(hub.reply(&repo(), 7, marker, "Evaluated again.").await);
        hub.reply(&repo(), 7, marker, "Evaluated again.").await.unwrap();
        hub.reply(&repo(), 7, "comment 6", "Evaluated again.").await.unwrap();
    });
    let bodies = bodies(&fake);
    assert_eq!(bodies.len(), 2);
    assert!(bodies.iter().all(|body| body.matches("-->").count() == 1));
}

#[test]
fn eight_callers_share_one_token() {
    let fake = github();
    fake.order(Method::POST, "access_tokens", Trouble::Slow(Duration::from_millis(200)));
    wait(async {
        let hub = Arc::new(hub_at(&fake.url, hasty()));
        let call = |hub: Arc<lychgate::forges::GitHub>| async move { hub.change(&repo(), 7).await.unwrap() };
        let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(call(Arc::clone(&hub)))).collect();
        for task in tasks {
            assert_eq!(task.await.unwrap().head_oid.to_string(), head());
        }
    });
    assert_eq!(fake.count(Method::POST, "access_tokens"), 1);
}

#[test]
fn a_token_is_renewed_when_it_ends_and_when_it_is_refused() {
    let fake = github();
    let tokens = || fake.count(Method::POST, "access_tokens");
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        hub.open_changes(&repo()).await.unwrap();
        fake.brain
            .lock()
            .unwrap()
            .tokens
            .values_mut()
            .for_each(|good| *good = false);
        hub.open_changes(&repo()).await.unwrap();
        assert_eq!(tokens(), 2, "refused: asked for once more");
        fake.brain
            .lock()
            .unwrap()
            .tokens
            .values_mut()
            .for_each(|good| *good = false);
        fake.brain.lock().unwrap().token_life = 200;
        hub.open_changes(&repo()).await.unwrap();
        hub.open_changes(&repo()).await.unwrap();
        assert_eq!(tokens(), 4, "too short a life to be kept");
        let refuse = || Trouble::Refuse(Reply::refuse(401, "Bad credentials"));
        fake.order(Method::GET, "/pulls", refuse());
        fake.order(Method::GET, "/pulls", refuse());
        assert_eq!(refused(hub.open_changes(&repo()).await).0, "credentials-refused");
        assert_eq!(tokens(), 6, "not asked for for ever");
    });
}

#[test]
fn every_page_is_read_with_the_credential() {
    let fake = github();
    fake.brain
        .lock()
        .unwrap()
        .heads
        .extend((1..=250).map(|number| (number, head())));
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        assert_eq!(
            hub.open_changes(&repo()).await.unwrap(),
            (1..=250).collect::<Vec<u64>>()
        );
    });
    assert_eq!(fake.count(Method::GET, "/pulls"), 3);
    all_signed(&fake);
}

#[test]
fn a_renamed_repository_is_followed() {
    let fake = github();
    fake.brain.lock().unwrap().old_name = Some("acme/gadget".to_owned());
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        let mut display = display(CheckState::Failure, 1);
        display.repo.full_name = "acme/gadget".to_owned();
        assert!(hub.show(&display).await.unwrap());
        assert_eq!(hub.change(&display.repo, 7).await.unwrap().repo.full_name, REPO);
    });
    assert_eq!(bodies(&fake).len(), 1);
    all_signed(&fake);
}

#[test]
fn a_repository_is_found_where_it_is_and_another_one_under_its_name_is_not_taken_for_it() {
    let fake = github();
    fake.brain.lock().unwrap().old_name = Some("acme/gadget".to_owned());
    let told = |name: &str, id, installation| ForgeRepo {
        full_name: name.to_owned(),
        id,
        installation,
        ..repo()
    };
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        let renamed = told("acme/gadget", REPO_ID, Some(INSTALLATION));
        assert_eq!(hub.whereabouts(&renamed).await.unwrap(), repo());
        // The installation of before the transfer is gone.
        fake.order(
            Method::POST,
            "/app/installations/1/",
            Trouble::Refuse(Reply::refuse(404, "no")),
        );
        let transferred = told("acme/gadget", REPO_ID, Some(1));
        assert_eq!(hub.whereabouts(&transferred).await.unwrap(), repo());

        let anew = told(REPO, REPO_ID + 1, Some(INSTALLATION));
        assert_eq!(refused(hub.whereabouts(&anew).await).0, "gone");
        let mut display = display(CheckState::Failure, 1);
        display.repo = anew;
        assert_eq!(refused(hub.show(&display).await).0, "gone");
        display.number = None;
        assert_eq!(refused(hub.show(&display).await).0, "gone");
    });
    assert!(fake.writes().is_empty(), "{:?}", fake.writes());
}

#[test]
fn a_change_is_read_with_the_base_where_it_stands() {
    let fake = github();
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        let mut asked = repo();
        asked.installation = None;
        let change = hub.change(&asked, 7).await.unwrap();
        assert_eq!(change.repo, repo());
        assert_eq!(
            (change.base.as_str(), change.base_oid.to_string()),
            ("refs/heads/release/1.0", "b".repeat(40))
        );
        assert_eq!(
            (change.author.as_str(), change.open, change.merged_as),
            ("mallory", true, None)
        );
        assert_eq!(refused(hub.change(&repo(), 8).await).0, "not-found");
        assert_eq!(hub.repositories().await.unwrap(), [repo()]);
    });
}

#[test]
fn who_may_write_is_asked_of_the_forge() {
    let fake = github();
    let known = [("ann", "admin"), ("mia", "maintain"), ("ben", "write"), ("eve", "read")];
    for (who, what) in known {
        fake.brain
            .lock()
            .unwrap()
            .writers
            .insert(who.to_owned(), what.to_owned());
    }
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        for (who, may) in [
            ("ann", Permission::Admin),
            ("mia", Permission::Maintain),
            ("ben", Permission::Write),
            ("eve", Permission::Read),
            ("nobody", Permission::None),
            ("../../x", Permission::None),
        ] {
            assert_eq!(hub.permission(&repo(), who).await.unwrap(), may, "{who}");
        }
    });
}

#[test]
fn a_fetch_has_the_credential_beside_the_url() {
    let fake = github();
    wait(async {
        let source = hub_at(&fake.url, hasty()).fetch_source(&repo(), Some(7)).await.unwrap();
        assert_eq!(source.url, format!("{}/{REPO}.git", fake.url));
        assert_eq!((source.user.as_str(), source.refspecs.len()), ("x-access-token", 1));
        assert_eq!(source.refspecs[0], "+refs/pull/7/*:refs/changes/7/*");
        assert!(
            fake.brain
                .lock()
                .unwrap()
                .tokens
                .contains_key(source.password.expose_secret())
        );
    });
}

#[test]
fn deliveries_that_never_got_through_are_asked_for_again() {
    let fake = github();
    let delivery = |id: u64, guid: &str, status: u16, at: &str| json!({ "id": id, "guid": guid, "status_code": status, "delivered_at": at, "redelivery": false });
    {
        let deliveries = &mut fake.brain.lock().unwrap().deliveries;
        deliveries.push(delivery(9, "lost", 502, "2026-11-24T08:00:00Z"));
        deliveries.push(delivery(8, "mended", 202, "2026-11-24T07:59:00Z"));
        deliveries.push(delivery(7, "mended", 500, "2026-11-24T07:58:00Z"));
        deliveries.extend((0..150).map(|_| delivery(6, "fine", 200, "2026-11-24T07:57:00Z")));
        deliveries.push(delivery(5, "also lost", 504, "2026-11-24T07:56:00Z"));
        deliveries.push(delivery(4, "too old", 504, "2026-11-24T05:00:00Z"));
    }
    wait(async {
        let since: Timestamp = "2026-11-24T07:30:00Z".parse().unwrap();
        assert_eq!(hub_at(&fake.url, hasty()).redeliver(since).await.unwrap(), 2);
    });
    let asked = [
        "POST /app/hook/deliveries/5/attempts",
        "POST /app/hook/deliveries/9/attempts",
    ];
    assert_eq!(fake.writes(), asked);
}

#[test]
fn an_evaluation_made_anew_ends_the_run_that_it_began() {
    let fake = github();
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        for _ in 0..2 {
            assert!(hub.show(&display(CheckState::Pending, 0)).await.unwrap());
            assert!(hub.show(&display(CheckState::Failure, 3)).await.unwrap());
        }
    });
    let brain = fake.brain.lock().unwrap();
    let ended: Vec<_> = brain.runs.iter().map(|run| run["conclusion"].clone()).collect();
    assert_eq!(ended, ["failure", "failure"]);
}
