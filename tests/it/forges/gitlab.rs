//! GitLab: status and note once each, where the merge request shows them; a description of its API as judge.

use super::guard::{WANTED, name, oid, widget};
use super::judged::{Prism, idle_operations, judges, post};
use super::{
    all_signed, display, hasty, head, later, moved_head_gets_nothing, no_secret_is_told, other_head, repo, tags, token,
    wait,
};
use crate::fake_forge::gitlab::{GitlabBrain, commit, status, user};
use crate::fake_forge::{Fake, Reply, Trouble};
use axum::http::Method;
use lychgate::forge::guard::{Protection, RequiredCheck, drift};
use lychgate::forge::{CheckState, Permission};
use lychgate::forges::Gitlab;
use lychgate::port::Forge;
use serde_json::{Value, json};
use std::path::Path;

fn gitlab() -> Fake<GitlabBrain> {
    let fake = Fake::start(GitlabBrain::new(&token()));
    fake.brain.lock().unwrap().shelf.public.clone_from(&fake.url);
    fake.brain.lock().unwrap().heads.insert(7, head());
    fake
}

fn hub_at(url: &str) -> Gitlab {
    Gitlab::new("hub", url, token().into(), hasty()).unwrap()
}

/// Behind the description of GitLab's API, which refuses what GitLab would.
fn judged(fake: &Fake<GitlabBrain>) -> (Prism, std::path::PathBuf) {
    let description = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gitlab_api.json");
    let prism = Prism::before(&judges(), description.to_str().unwrap(), &fake.url);
    fake.brain.lock().unwrap().shelf.public.clone_from(&prism.url);
    (prism, description)
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
    wait(async { moved_head_gets_nothing(&fake, &hub_at(&fake.url)).await });
}

/// GitLab puts a status into a pipeline: for a fork's merge request it finds none unless it is told the ref, and
/// a status in another branch's pipeline is not the merge request's.
#[test]
fn the_merge_request_shows_the_status() {
    let fake = gitlab();
    fake.brain.lock().unwrap().heads.insert(8, other_head());
    fake.brain.lock().unwrap().heads.insert(9, "9".repeat(40));
    fake.brain.lock().unwrap().forks.extend([8, 9]);
    fake.brain
        .lock()
        .unwrap()
        .pipelines
        .insert(9, "refs/merge-requests/9/head".into());
    let elsewhere = json!({ "state": "failed", "name": "lychgate", "description": "0 findings" });
    fake.brain
        .lock()
        .unwrap()
        .statuses
        .push(status(1, &head(), "another-branch", &elsewhere));
    let show = |number: u64, head: String| {
        let mut display = display(CheckState::Failure, 0);
        (display.number, display.head) = (Some(number), head.parse().unwrap());
        wait(async { assert!(hub_at(&fake.url).show(&display).await.unwrap()) });
        let brain = fake.brain.lock().unwrap();
        (
            brain.statuses.len(),
            brain.statuses.last().unwrap()["ref"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(show(7, head()), (2, "topic/7".to_owned()));
    assert_eq!(show(7, head()), (2, "topic/7".to_owned()), "once");
    assert_eq!(show(8, other_head()), (3, "refs/merge-requests/8/head".to_owned()));
    assert_eq!(show(9, "9".repeat(40)), (4, "refs/merge-requests/9/head".to_owned()));
    // CI ran for the head meanwhile: the status belongs to that pipeline.
    fake.brain
        .lock()
        .unwrap()
        .pipelines
        .insert(7, "refs/merge-requests/7/head".into());
    assert_eq!(show(7, head()), (5, "refs/merge-requests/7/head".to_owned()));
    // A push is shown at the commit.
    let mut display = display(CheckState::Success, 0);
    display.number = None;
    wait(async { assert!(hub_at(&fake.url).show(&display).await.unwrap()) });
}

/// GitLab lets one writer a commit at a time, and answers others with 409.
#[test]
fn a_lock_that_another_holds_is_waited_for() {
    let fake = gitlab();
    fake.order(
        Method::POST,
        "/statuses/",
        Trouble::Refuse(Reply::refuse(409, "in progress")),
    );
    wait(async {
        let hub = hub_at(&fake.url);
        assert_eq!(later(hub.show(&display(CheckState::Failure, 1)).await), 5);
        assert!(hub.show(&display(CheckState::Failure, 1)).await.unwrap());
    });
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
    wait(async {
        let stranger = Gitlab::new("hub", &fake.url, "another-canary".into(), hasty()).unwrap();
        no_secret_is_told(&fake, &hub_at(&fake.url), &stranger).await;
    });
}

fn project(level: u64, checked: bool) -> Value {
    json!({ "id": 9001, "path_with_namespace": "acme/tools/widget", "only_allow_merge_if_pipeline_succeeds": checked,
        "allow_merge_on_skipped_pipeline": null,
        "permissions": { "project_access": { "access_level": level, "notification_level": 3 }, "group_access": null } })
}

fn protected(name: &str, force: bool) -> Value {
    let nobody = json!({ "id": 1, "access_level": 0, "access_level_description": "No one" });
    json!([{ "id": 1, "name": name, "push_access_levels": [nobody], "merge_access_levels": [], "allow_force_push": force }])
}

/// Merge request 7 of `ann`, squashed as `a…`, approved by herself and `bob`.
fn landed(brain: &mut GitlabBrain) {
    let mut request = json!({ "id": 607, "iid": 7, "project_id": 9001, "state": "merged", "target_branch": "main",
        "source_branch": "topic/7", "target_project_id": 9001, "source_project_id": 9001, "sha": head(),
        "author": user(9, "ann"), "merge_user": user(8, "carl"), "merge_commit_sha": null });
    request["squash_commit_sha"] = json!(oid('a').to_string());
    let approved = json!({ "approved": true, "approved_by": [{ "user": user(9, "ann") }, { "user": user(7, "bob") }] });
    let rule = json!({ "id": 1, "name": "Any", "rule_type": "any_approver", "approvals_required": 1,
        "protected_branches": [], "applies_to_all_protected_branches": false });
    let approvals = json!({ "reset_approvals_on_push": true, "merge_requests_author_approval": false,
        "disable_overriding_approvers_per_merge_request": true });
    brain.shelf.canned.extend([
        ("protected_branches".to_owned(), protected("ma*", false)),
        (String::new(), project(40, true)),
        ("approvals".to_owned(), approvals),
        ("approval_rules".to_owned(), json!([rule])),
        (
            format!("repository/commits/{}/merge_requests", oid('a')),
            json!([request]),
        ),
        (format!("repository/commits/{}/merge_requests", oid('b')), json!([])),
        ("merge_requests/7/commits".to_owned(), json!([commit(&head())])),
        ("merge_requests/7/approvals".to_owned(), approved),
    ]);
    let passed = json!({ "state": "success", "name": "lychgate" });
    brain.statuses.push(status(1, &head(), "topic/7", &passed));
}

async fn is_guarded(fake: &Fake<GitlabBrain>, lab: &Gitlab) {
    let (repo, main) = (widget("lab"), name("main"));
    let set = |path: &str, value: Value| fake.brain.lock().unwrap().shelf.canned.insert(path.to_owned(), value);
    set("protected_branches", json!([]));
    set("", project(30, false));
    assert_eq!(lab.protection(&repo, &main).await.unwrap(), Protection::default());
    assert_eq!(
        lab.missing(&repo).await.unwrap().len(),
        1,
        "a Developer reads no protection"
    );
    let told = lab.protect(&repo, &main, WANTED, true).await.unwrap();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[2].starts_with("by hand: an approval rule"), "{told:?}");
    let before = fake.writes().len();
    lab.protect(&repo, &main, WANTED, false).await.unwrap();
    let wrote = ["POST /projects/9001/protected_branches", "PUT /projects/9001"];
    assert_eq!(fake.writes()[before..], wrote);
    set("protected_branches", protected("ma*", true));
    lab.protect(&repo, &main, WANTED, false).await.unwrap();
    assert_eq!(
        fake.writes()[before + 2..],
        ["PATCH /projects/9001/protected_branches/ma%2A"]
    );

    landed(&mut fake.brain.lock().unwrap());
    let ours = RequiredCheck {
        name: "lychgate".into(),
        ours: true,
    };
    let protection = lab.protection(&repo, &main).await.unwrap();
    assert_eq!(protection.checks, [ours]);
    assert!(drift(WANTED, &protection).is_empty());
    let landing = lab.landing(&repo, &main, &[oid('a'), oid('b')]).await.unwrap();
    assert_eq!(landing.direct, [oid('b')]);
    let change = &landing.changes[0];
    assert_eq!(
        (change.number, change.merged_as, change.merged_by.as_deref()),
        (7, oid('a'), Some("carl"))
    );
    assert_eq!(
        (&*change.approved_by, &*change.passed),
        (&["bob".to_owned()][..], &["lychgate".to_owned()][..])
    );
}

#[test]
fn the_description_of_gitlab_accepts_adapter_and_fake() {
    let fake = gitlab();
    let (prism, description) = judged(&fake);
    let path = format!("/projects/9001/statuses/{}", head());
    for wrong in [
        r#"{"name":"x"}"#,
        r#"{"state":"failure"}"#,
        r#"{"state":"failed","context":"x"}"#,
    ] {
        assert_eq!(post(&prism.url, &path, wrong), 422, "the judge is awake");
    }
    let heads = (1..=120).map(|number| (number, head()));
    fake.brain.lock().unwrap().heads.extend(heads);
    fake.brain.lock().unwrap().members.insert("ann".to_owned(), (40, 40));
    fake.brain
        .lock()
        .unwrap()
        .pipelines
        .insert(7, "refs/merge-requests/7/head".into());
    wait(async {
        let hub = hub_at(&prism.url);
        assert_eq!(hub.repositories().await.unwrap().len(), 1);
        assert_eq!(hub.open_changes(&repo()).await.unwrap().len(), 120);
        assert_eq!(hub.change(&repo(), 7).await.unwrap().head_oid.to_string(), head());
        assert_eq!(hub.permission(&repo(), "ann").await.unwrap(), Permission::Maintain);
        for state in [
            CheckState::Pending,
            CheckState::Error,
            CheckState::Failure,
            CheckState::Success,
        ] {
            let mut display = display(state, 3);
            display.title = "é".repeat(300);
            display.summary = "é".repeat(70_000);
            assert!(hub.show(&display).await.unwrap());
        }
        hub.reply(&repo(), 7, "note 5", "Evaluated again.").await.unwrap();
        hub.reply(&repo(), 7, "note 5", "Evaluated once more.").await.unwrap();
        // A twin makes the adapter delete one.
        let twin = fake.brain.lock().unwrap().notes[0].clone();
        fake.brain.lock().unwrap().notes.push(twin);
        assert!(hub.show(&display(CheckState::Success, 0)).await.unwrap());
        fake.brain.lock().unwrap().statuses.clear();
        is_guarded(&fake, &hub).await;
        tags::are_guarded(&fake, &hub).await;
    });
    assert_eq!(
        idle_operations(&fake, &description),
        [].into(),
        "each call that is described was made"
    );
    all_signed(&fake);
}
