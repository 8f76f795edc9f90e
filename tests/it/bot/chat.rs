//! Commands in comments and by buttons: who may give them, what becomes of them, what the one comment says.

use super::stage::{Client, Stage, opened, run_kept as run};
use crate::support::{masked, token};
use lychgate::forge::{CheckState, Display, Permission};
use lychgate::push::{Oid, Timestamp};
use serde_json::Value;

/// A webhook's body: somebody wrote a comment on change 7.
fn said(by: &str, comment: u64, text: &str) -> String {
    let repository = r#""repository":{"id":5,"full_name":"acme/pay"}"#;
    format!(
        r#"{{"action":"created",{repository},"issue":{{"number":7,"pull_request":{{"url":"x"}}}},
        "comment":{{"id":{comment},"body":"/lychgate {text}","user":{{"login":"{by}"}}}}}}"#
    )
}

/// A webhook's body: somebody pressed a button of the check of a head, which names no change, as for a fork.
fn pressed(by: &str, head: Oid, button: &str) -> String {
    format!(
        r#"{{"action":"requested_action","repository":{{"id":5,"full_name":"acme/pay"}},
        "requested_action":{{"identifier":"{button}"}},
        "check_run":{{"id":11,"head_sha":"{head}","pull_requests":[]}},"sender":{{"login":"{by}"}}}}"#
    )
}

/// The stage with approvers: `carol` may maintain, `wim` may only write, `eve` only read.
fn staffed(stage: &Stage) {
    stage
        .gate
        .edit_policy("approvers = []", "approvers = [\"carol\", \"wim\", \"dev\", \"eve\"]");
    stage
        .gate
        .edit_policy("break_glass = []", "break_glass = [\"carol\", \"mia\"]");
    for (who, permission) in [
        ("carol", Permission::Maintain),
        ("mia", Permission::Admin),
        ("wim", Permission::Write),
        ("dev", Permission::Admin),
        ("eve", Permission::Read),
        ("ann", Permission::Write),
    ] {
        stage.forge.permit(who, permission);
    }
}

/// Delivers a comment and works until all is done; gives the last verdict.
async fn command(stage: &Stage, door: &Client, by: &str, comment: u64, text: &str) -> Display {
    let delivery = format!("comment-{comment}");
    let body = said(by, comment, text);
    assert_eq!(door.post_as("issue_comment", &body, &delivery).await, 202);
    stage.settle().await;
    stage.verdicts().pop().unwrap()
}

fn last_answer(display: &Display) -> &str {
    &display.answers.last().unwrap().text
}

/// Change 7 with one commit, judged; gives its head too.
async fn judged(stage: &Stage, signed: bool) -> (Oid, Client) {
    staffed(stage);
    let head = stage.propose(7, "a.txt", signed);
    let door = stage.open().await;
    door.post(&opened(7), "d1").await;
    stage.settle().await;
    (head, door)
}

fn waivers(stage: &Stage) -> Vec<Value> {
    let list = stage.gate.json(&["waiver", "list", "--all"]);
    list["waivers"].as_array().unwrap().clone()
}

#[test]
fn a_waiver_is_asked_for_approved_and_lets_the_change_in() {
    run(async |stage: Stage| {
        let (head, door) = judged(&stage, false).await;
        let refused = stage.verdicts().pop().unwrap();
        insta::assert_snapshot!("refused", masked(refused.comment.as_deref().unwrap()));
        let asked = command(
            &stage,
            &door,
            "dev",
            1,
            "waive unsigned-commit the build machine has no key yet",
        )
        .await;
        assert_eq!(asked.state, CheckState::Failure);
        insta::assert_snapshot!("asked", masked(asked.comment.as_deref().unwrap()));
        let waiver = waivers(&stage).pop().unwrap();
        let approve = format!("approve {}", waiver["id"].as_str().unwrap());
        assert_eq!(
            (waiver["standing"].as_str(), waiver["requester"].as_str()),
            (Some("requested"), Some("dev"))
        );

        let own = command(&stage, &door, "dev", 2, &approve).await;
        assert!(last_answer(&own).contains("your own"), "{own:?}");
        let low = command(&stage, &door, "wim", 3, &approve).await;
        assert!(last_answer(&low).contains("takes the permission `maintain`"), "{low:?}");
        let unlisted = command(&stage, &door, "mia", 4, &approve).await;
        assert!(last_answer(&unlisted).contains("not-an-approver"), "{unlisted:?}");
        let before = stage.shown().len();
        command(&stage, &door, "eve", 5, &approve).await;
        assert_eq!(
            stage.shown().len(),
            before,
            "a stranger gets no work done and no answer"
        );
        assert!(stage.log().contains("no-permission"));

        let entered = command(&stage, &door, "carol", 6, &approve).await;
        assert_eq!((entered.state, entered.head), (CheckState::Success, head));
        insta::assert_snapshot!("approved", masked(entered.comment.as_deref().unwrap()));
        insta::assert_snapshot!("approved_title", entered.title);
        assert_eq!(waivers(&stage)[0]["standing"], "active");
        stage.gate.ask(&["log", "check"]).ok();
    });
}

#[test]
fn a_comment_that_comes_twice_is_done_and_answered_once() {
    run(async |stage: Stage| {
        let (_, door) = judged(&stage, false).await;
        let body = said("ann", 1, "waive unsigned-commit no key");
        for delivery in ["c1", "c2", "c3"] {
            assert_eq!(door.post_as("issue_comment", &body, delivery).await, 202);
            stage.settle().await;
        }
        let last = stage.verdicts().pop().unwrap();
        assert_eq!(last.answers.len(), 1);
        let again = command(&stage, &door, "ann", 2, "waive unsigned-commit again").await;
        assert!(last_answer(&again).contains("It was so already"), "{again:?}");
        assert_eq!(waivers(&stage).len(), 1);
        assert_eq!(waivers(&stage)[0]["records"].as_array().unwrap().len(), 1);
        for comment in 3..12 {
            command(&stage, &door, "ann", comment, "recheck").await;
        }
        let last = stage.verdicts().pop().unwrap();
        assert_eq!(last.answers.len(), 5, "the comment stays short");
    });
}

#[test]
fn a_force_push_voids_what_was_asked_for_the_old_commit() {
    run(async |stage: Stage| {
        staffed(&stage);
        let old = stage.propose(7, "a.txt", false);
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        stage.settle().await;
        command(&stage, &door, "dev", 1, "waive unsigned-commit no key").await;
        let id = waivers(&stage)[0]["id"].as_str().unwrap().to_owned();
        let entered = command(&stage, &door, "carol", 2, &format!("approve {id}")).await;
        assert_eq!(entered.state, CheckState::Success);
        // Another commit takes its place, and then the old one comes back.
        let new = stage.propose(7, "b.txt", false);
        door.post(&opened(7), "d2").await;
        stage.settle().await;
        let refused = stage.verdicts().pop().unwrap();
        assert_eq!((refused.state, refused.head), (CheckState::Failure, new));
        assert!(refused.answers.is_empty(), "answers are about a head");
        let over = waivers(&stage).pop().unwrap();
        assert_eq!(
            (over["standing"].as_str(), over["revoked"]["by"].as_str()),
            (Some("revoked"), Some("lychgate"))
        );
        stage.point(7, old);
        stage.forge.set_head(7, old);
        let back = command(&stage, &door, "dev", 3, "recheck").await;
        assert_eq!((back.state, back.head), (CheckState::Failure, old));
    });
}

#[test]
fn the_hook_honours_what_was_approved_at_the_forge() {
    run(async |stage: Stage| {
        let (head, door) = judged(&stage, false).await;
        let dev = stage.gate.work_tree(stage.gate.bare.to_str().unwrap(), &[]);
        let from = stage.gate.scratch.path("forge.git").display().to_string();
        dev.git(&["fetch", "-q", &from, &format!("{head}:refs/heads/change")])
            .ok();
        dev.push(&["change:refs/heads/main"]).refused("unsigned-commit");
        command(&stage, &door, "dev", 1, "waive unsigned-commit no key").await;
        let id = waivers(&stage)[0]["id"].as_str().unwrap().to_owned();
        command(&stage, &door, "carol", 2, &format!("approve {id}")).await;
        let entered = dev.push(&["change:refs/heads/main"]).ends_with(0).stderr;
        assert!(entered.contains("waived[unsigned-commit]"), "{entered}");
        stage.gate.ask(&["log", "replay", "--all"]).ok();
    });
}

#[test]
fn what_is_granted_or_ended_in_the_shell_reaches_the_change_by_the_sweep() {
    run(async |stage: Stage| {
        let (head, _door) = judged(&stage, false).await;
        let grant = [
            "waiver",
            "grant",
            "--code",
            "unsigned-commit",
            "--commit",
            &head.to_string(),
            "--reason",
            "no key",
        ];
        let who = ["--author", "dev", "--requester", "dev", "--approver", "carol"];
        stage.gate.ask(&[&grant[..], &who].concat()).ok();
        let swept = async || {
            assert!(stage.bot.sweep(Timestamp::from_unix(0)).await);
            stage.settle().await;
            stage.verdicts().pop().unwrap().state
        };
        assert_eq!(swept().await, CheckState::Success);
        let shown = stage.shown().len();
        swept().await;
        assert_eq!(stage.shown().len(), shown, "a verdict of now is left alone");
        let id = waivers(&stage)[0]["id"].as_str().unwrap().to_owned();
        stage
            .gate
            .ask(&["waiver", "revoke", &id, "--reason", "the key came"])
            .ok();
        assert_eq!(swept().await, CheckState::Failure, "green no longer than its waiver");
    });
}

#[test]
fn break_glass_takes_two_at_the_forge_too() {
    run(async |stage: Stage| {
        let (_, door) = judged(&stage, false).await;
        command(
            &stage,
            &door,
            "dev",
            1,
            "break-glass unsigned-commit production is down",
        )
        .await;
        let id = waivers(&stage)[0]["id"].as_str().unwrap().to_owned();
        let one = command(&stage, &door, "carol", 2, &format!("approve {id}")).await;
        assert_eq!(one.state, CheckState::Failure);
        let twice = command(&stage, &door, "carol", 3, &format!("approve {id}")).await;
        assert!(last_answer(&twice).contains("approved-already"), "{twice:?}");
        let two = command(&stage, &door, "mia", 4, &format!("approve {id}")).await;
        assert_eq!(two.state, CheckState::Success);
        assert!(
            two.comment
                .as_deref()
                .unwrap()
                .contains("waived under break-glass until")
        );
        assert!(stage.log().contains("break-glass-recorded"));
    });
}

#[test]
fn buttons_are_the_same_commands_and_forks_have_them_too() {
    run(async |stage: Stage| {
        staffed(&stage);
        let text = format!("TOKEN={}\n", token(4711));
        let head = stage.propose_text(7, "sample.sh", &text);
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        stage.settle().await;
        let body = pressed("ann", head, "not-a-secret");
        assert_eq!(door.post_as("check_run", &body, "b1").await, 202);
        stage.settle().await;
        let waiver = waivers(&stage).pop().unwrap();
        assert_eq!(
            (waiver["code"].as_str(), waiver["requester"].as_str()),
            (Some("secret-found"), Some("ann"))
        );
        assert_eq!(waiver["target"]["kind"], "fingerprint");
        let asked = stage.verdicts().pop().unwrap();
        insta::assert_snapshot!("button", masked(asked.comment.as_deref().unwrap()));
        let id = waiver["id"].as_str().unwrap().to_owned();
        let entered = command(&stage, &door, "carol", 2, &format!("approve {id}")).await;
        assert_eq!(entered.state, CheckState::Success);
        let body = pressed("ann", head, "recheck");
        assert_eq!(door.post_as("check_run", &body, "b2").await, 202);
        stage.settle().await;
        let last = stage.verdicts().pop().unwrap();
        assert!(last_answer(&last).contains("Judged again"));
        assert_eq!(last.state, CheckState::Success);
    });
}

#[test]
fn codes_are_explained_and_unknown_words_are_answered() {
    run(async |stage: Stage| {
        staffed(&stage);
        stage.propose(7, "a.txt", false);
        let door = stage.open().await;
        let mut answers = String::new();
        let asked = [
            "explain unsigned-commit",
            "explain key-expired",
            "explain nonsense",
            "waive unsigned-commit",
            "waive key-expired why",
            "approve 01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "please",
        ];
        for (text, comment) in asked.iter().zip(1..) {
            let by = if text.starts_with("approve") { "carol" } else { "ann" };
            let shown = command(&stage, &door, by, comment, text).await;
            answers.push_str(&format!("> {text}\n\n{}\n\n", last_answer(&shown)));
        }
        insta::assert_snapshot!("answers", masked(&answers));
        assert!(waivers(&stage).is_empty());
    });
}

#[test]
fn a_secret_that_somebody_pastes_into_a_command_goes_nowhere() {
    run(async |stage: Stage| {
        staffed(&stage);
        stage.propose(7, "a.txt", false);
        let door = stage.open().await;
        let pasted = token(4712);
        for (text, comment) in [
            format!("waive unsigned-commit the token is {pasted}"),
            format!("explain {}", pasted.replace('_', "-")),
            format!("approve {}", pasted.replace('_', "-")),
            format!("please {pasted}"),
        ]
        .iter()
        .zip(1..)
        {
            let by = if text.starts_with("approve") { "carol" } else { "ann" };
            let shown = command(&stage, &door, by, comment, text).await;
            let body = &pasted[5..];
            assert!(!format!("{shown:?}").contains(body), "{shown:?}");
            assert!(!stage.log().contains(body));
        }
        assert!(waivers(&stage).is_empty());
    });
}

#[test]
fn what_is_copied_from_the_comment_lets_the_change_in() {
    run(async |stage: Stage| {
        let (_, door) = judged(&stage, false).await;
        let comment = stage.verdicts().pop().unwrap().comment.unwrap();
        let line = |comment: &str, start: &str| {
            let at = comment.find(start).unwrap_or_else(|| panic!("no {start} in {comment}"));
            comment[at + "/lychgate ".len()..]
                .split(['\n', '`'])
                .next()
                .unwrap()
                .to_owned()
        };
        let copied = line(&comment, "/lychgate waive ");
        let unsaid = command(&stage, &door, "dev", 1, &copied).await;
        assert!(
            last_answer(&unsaid).contains("needs a reason"),
            "WHY is none: {unsaid:?}"
        );
        let asked = command(&stage, &door, "dev", 3, &copied.replace("WHY", "no key yet")).await;
        let comment = asked.comment.unwrap();
        let entered = command(&stage, &door, "carol", 2, &line(&comment, "/lychgate approve ")).await;
        assert_eq!(entered.state, CheckState::Success);
    });
}

#[test]
fn each_documented_code_can_be_explained() {
    let readme = crate::tidy::read("README.md");
    for (code, meaning) in lychgate::feedback::answer::MEANINGS {
        let outage = ["outage", "waiver-unverified"].contains(&code);
        let found = readme
            .lines()
            .any(|line| line.contains(&format!("`{code}`")) && line.contains(meaning));
        assert!(found || outage, "{code}: {meaning}");
    }
}

#[test]
fn where_nothing_denies_there_is_nothing_to_waive() {
    run(async |stage: Stage| {
        let (_, door) = judged(&stage, true).await;
        assert_eq!(stage.verdicts().pop().unwrap().comment, None, "nothing to say");
        let shown = command(&stage, &door, "ann", 1, "waive unsigned-commit just in case").await;
        assert!(last_answer(&shown).contains("nothing to waive"));
        assert!(shown.comment.is_some(), "who asks gets an answer");
    });
}
