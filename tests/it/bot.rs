//! The bot from a webhook's bytes to what a forge shows, with a forge in this process and real git behind it.

mod canary;
#[cfg(feature = "postgres")]
mod chaos;
mod chat;
mod edges;
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "the chaos test uses the rest"))]
mod hub;
mod kills;
mod landed;
mod leaks;
mod mend;
mod payloads;
mod postgres;
mod queue;
mod silence;
mod stage;
mod texts;
mod traces;
mod whole;
mod yard;

use lychgate::forge::CheckState;
use lychgate::pipeline::metrics::Count;
use lychgate::push::Timestamp;
use sqlx::Connection;
use stage::{Stage, now, opened, run};

#[test]
fn a_change_is_pending_and_then_has_its_verdict() {
    run(async |stage: Stage| {
        let head = stage.propose(7, "a.txt", false);
        let door = stage.open().await;
        assert_eq!(door.post(&opened(7), "d1").await, 202);
        stage.settle().await;
        let shown = stage.shown();
        assert_eq!(
            shown.iter().map(|d| d.state).collect::<Vec<_>>(),
            [CheckState::Pending, CheckState::Failure]
        );
        assert!(shown.iter().all(|d| d.head == head && d.number == Some(7)));
        let verdict = &shown[1];
        let comment = verdict.comment.as_deref().unwrap();
        assert!(
            comment.contains("unsigned-commit") && comment.contains("git push --force-with-lease"),
            "{comment}"
        );
        assert!(comment.contains("git rebase"), "{comment}");

        let signed = stage.replace(7, "a.txt");
        assert_eq!(door.post(&opened(7), "d2").await, 202);
        stage.settle().await;
        let last = stage.shown().pop().unwrap();
        assert_eq!(
            (last.state, last.head, last.comment),
            (CheckState::Success, signed, None)
        );
    });
}

#[test]
fn duplicates_and_late_deliveries_have_one_effect() {
    run(async |stage: Stage| {
        stage.propose(7, "a.txt", true);
        let door = stage.open().await;
        assert_eq!(door.post(&opened(7), "d1").await, 202);
        assert_eq!(door.post(&opened(7), "d1").await, 200);
        assert_eq!(door.post(&opened(7), "d2").await, 202);
        stage.settle().await;
        assert_eq!(stage.shown().len(), 2, "pending and verdict, once");
        // A late copy and an older event change nothing: the head has its verdict.
        assert_eq!(door.post(&opened(7), "d1").await, 200);
        assert_eq!(door.post(&opened(7), "d0").await, 202);
        stage.settle().await;
        assert_eq!(stage.shown().len(), 2);
        assert_eq!(stage.bot.metrics.read(Count::Unchanged), 1);
    });
}

#[test]
fn a_head_that_moves_is_never_shown() {
    run(async |stage: Stage| {
        let first = stage.propose(7, "a.txt", false);
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        // The forge's API still tells the first head while its repository has the second.
        let second = stage.push(7, "b.txt", true);
        assert!(stage.bot.one_delivery().await.unwrap());
        assert!(stage.verdicts().is_empty(), "the head differs: no verdict");
        stage.forge.set_head(7, first);
        stage.point(7, first);
        stage.later();
        // Judged, but pushed to before it could be shown.
        assert!(stage.bot.one_delivery().await.unwrap());
        stage.point(7, second);
        stage.forge.set_head(7, second);
        while stage.bot.one_display().await.unwrap() {}
        assert!(stage.verdicts().is_empty(), "nothing for the overtaken head");
        door.post(&opened(7), "d2").await;
        stage.settle().await;
        let heads: Vec<_> = stage.verdicts().iter().map(|d| d.head).collect();
        assert_eq!(heads, [second]);
    });
}

#[test]
fn a_worker_that_dies_loses_nothing_and_doubles_nothing() {
    run(async |stage: Stage| {
        stage.propose(7, "a.txt", true);
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        // It dies with the delivery in its hands; another process opens the same store.
        let held = stage.lease().await.unwrap();
        assert!(stage.lease().await.is_none(), "it is leased");
        stage.later();
        let bot = stage.second_process().await;
        while bot.one_delivery().await.unwrap() || bot.one_display().await.unwrap() {}
        assert_eq!(stage.verdicts().len(), 1);
        assert!(!stage.finish(&held).await, "the first one's fence is old");
        stage.settle().await;
        assert_eq!(stage.verdicts().len(), 1);
    });
}

#[test]
fn the_door_refuses_what_it_must() {
    run(async |stage: Stage| {
        let door = stage.open().await;
        assert_eq!(door.send("/hooks/hub", &opened(7), "d1", Some("sha256=00")).await, 401);
        assert_eq!(door.send("/hooks/hub", &opened(7), "d1", None).await, 401);
        assert_eq!(door.send("/hooks/other", &opened(7), "d1", None).await, 404);
        assert_eq!(door.announce("/hooks/hub", (25 << 20) + 1).await, 413);
        assert_eq!(door.post("{", "d2").await, 400);
        assert!(stage.lease().await.is_none(), "nothing of it was stored");
        assert_eq!(door.get("/healthz").await.0, 200);
        assert_eq!(door.get("/readyz").await.0, 200);
        let metrics = door.get("/metrics").await.1;
        assert!(
            metrics.contains("lychgate_deliveries_bad_signature_total 1"),
            "{metrics}"
        );
    });
}

#[test]
fn a_store_that_is_down_accepts_nothing_and_loses_nothing() {
    run(async |stage: Stage| {
        stage.propose(7, "a.txt", true);
        let door = stage.open().await;
        let mut other = sqlx::SqliteConnection::connect(&format!("sqlite://{}", stage.store.display()))
            .await
            .unwrap();
        sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
        assert_eq!(door.post(&opened(7), "d1").await, 503);
        sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
        assert_eq!(door.post(&opened(7), "d1").await, 202, "the forge's next try is new");
        stage.settle().await;
        assert_eq!(stage.verdicts().len(), 1);
    });
}

#[test]
fn an_outage_is_no_verdict_and_mends_itself() {
    run(async |stage: Stage| {
        stage.propose(7, "a.txt", true);
        stage.forge.break_source(true);
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        stage.settle().await;
        let last = stage.shown().pop().unwrap();
        assert_eq!(last.state, CheckState::Error);
        assert!(
            last.summary.contains("says nothing about your work"),
            "{}",
            last.summary
        );
        assert!(stage.verdicts().is_empty());
        stage.forge.break_source(false);
        stage.later();
        stage.settle().await;
        assert_eq!(
            stage.verdicts().iter().map(|d| d.state).collect::<Vec<_>>(),
            [CheckState::Success]
        );
    });
}

#[test]
fn a_missed_webhook_is_found_by_the_sweep() {
    run(async |stage: Stage| {
        stage.propose(7, "a.txt", true);
        assert!(stage.bot.sweep(Timestamp::from_unix(0)).await);
        assert!(stage.bot.sweep(Timestamp::from_unix(0)).await);
        assert_eq!(stage.bot.metrics.read(Count::Swept), 1, "two sweeps, one delivery");
        stage.settle().await;
        assert_eq!(stage.verdicts().len(), 1);
        assert!(stage.bot.sweep(Timestamp::from_unix(0)).await);
        stage.settle().await;
        assert_eq!(stage.verdicts().len(), 1, "a head with its verdict is left alone");
    });
}

#[test]
fn a_forge_that_fails_again_and_again_is_left_alone() {
    run(async |stage: Stage| {
        stage.propose(7, "a.txt", true);
        stage.forge.fail(100);
        for _ in 0..12 {
            stage.bot.sweep(Timestamp::from_unix(0)).await;
        }
        let calls = stage.forge.calls();
        assert!(calls <= 8, "{calls} calls");
        assert_eq!(stage.bot.metrics.read(Count::BreakerOpen), 1);
    });
}

#[test]
fn a_drain_finishes_what_is_under_way() {
    run(async |stage: Stage| {
        stage.propose(7, "a.txt", true);
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        let (tell, stop) = tokio::sync::watch::channel(false);
        let bot = stage.bot.clone();
        let worker = tokio::spawn(async move { bot.deliveries(stop).await });
        stage.forge.wait_for_a_call().await;
        tell.send(true).unwrap();
        worker.await.unwrap();
        assert!(stage.lease().await.is_none(), "it was finished, not dropped");
        while stage.bot.one_display().await.unwrap() {}
        assert_eq!(stage.verdicts().len(), 1);
    });
}

#[test]
fn a_secret_in_the_change_is_named_and_never_shown() {
    run(async |stage: Stage| {
        let planted = crate::support::token(now().unix().unsigned_abs());
        stage.propose_text(7, "deploy.sh", &format!("TOKEN={planted}\n"));
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        stage.settle().await;
        let verdict = stage.verdicts().pop().unwrap();
        assert_eq!(verdict.state, CheckState::Failure);
        assert!(
            verdict
                .annotations
                .iter()
                .any(|a| a.path == "deploy.sh" && a.title == "secret-found")
        );
        let metrics = door.get("/metrics").await.1;
        let stored = std::fs::read(&stage.store).unwrap();
        let everything = format!(
            "{:?}\n{}\n{metrics}\n{}",
            stage.shown(),
            stage.log(),
            String::from_utf8_lossy(&stored)
        );
        for canary in [planted.as_str(), stage::SECRET, stage::PASSWORD] {
            assert!(!everything.contains(canary), "a secret went out");
        }
    });
}

#[test]
fn clean_commits_are_noted_and_others_are_scanned_each_time() {
    run(async |stage: Stage| {
        let clean = stage.propose(7, "a.txt", true);
        let planted = crate::support::token(now().unix().unsigned_abs());
        stage.propose_text(8, "deploy.sh", &format!("TOKEN={planted}\n"));
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        door.post(&opened(8), "d2").await;
        stage.settle().await;
        assert_eq!(stage.noted().await, [clean]);
        // A new commit on the old one: only the new one is left to scan, and both are noted.
        let next = stage.push(7, "b.txt", true);
        stage.forge.set_head(7, next);
        door.post(&opened(7), "d3").await;
        stage.settle().await;
        let mut wanted = [clean, next];
        wanted.sort();
        assert_eq!(stage.noted().await, wanted);
    });
}

#[test]
fn a_missed_webhook_is_mended_within_five_minutes() {
    run(async |stage: Stage| {
        // Nothing tells of the change; the sweep before it saw nothing, the next one is due after the default pause.
        assert!(stage.bot.sweep(Timestamp::from_unix(0)).await);
        let missed = now().unix();
        stage.propose(7, "a.txt", true);
        stage.pass(stage.sweep_seconds());
        assert!(stage.bot.sweep(Timestamp::from_unix(0)).await);
        stage.settle().await;
        let verdict = stage.verdicts().pop().unwrap();
        assert!(verdict.at.unix() - missed <= 300, "{} s", verdict.at.unix() - missed);
    });
}

#[test]
fn what_was_laid_aside_is_listed_with_its_reason_and_can_be_replayed() {
    run(async |stage: Stage| {
        stage.propose(7, "a.txt", true);
        stage.forge.break_source(true);
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        for _ in 0..40 {
            stage.later();
            stage.settle().await;
        }
        let metrics = door.get("/metrics").await.1;
        assert!(metrics.contains("lychgate_queue_dead_letters 1"), "{metrics}");
        let listed = stage.queue(&["list"]);
        assert!(
            listed.contains("inbox/1") && listed.contains("fetch-failed"),
            "{listed}"
        );
        let shown = stage.queue(&["show", "inbox/1", "--format", "json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["content"]["number"], 7);
        assert_eq!(shown["attempts"], 40);
        stage.forge.break_source(false);
        assert!(stage.queue(&["replay", "--all"]).contains("inbox/1"));
        assert_eq!(stage.queue(&["list"]).trim(), "no dead letters");
        stage.settle().await;
        assert_eq!(stage.verdicts().len(), 1);
    });
}
