//! A forge's alert about a secret that is in use suspends what holds it, once, until a person closes it.

use super::stage::{Stage, guarded, run, run_kept};
use crate::support::Signing;
use lychgate::forge::{CheckState, Leak};
use lychgate::push::{Oid, Timestamp};

fn alerted(alert: u64) -> String {
    format!(
        r#"{{"action":"created","alert":{{"number":{alert}}},"location":{{"type":"commit"}},
            "repository":{{"id":5,"full_name":"acme/pay"}}}}"#
    )
}

/// Two revisions that land on main; the first brings the blob, and the second still has it.
async fn landed(stage: &Stage) -> (Oid, [Oid; 2]) {
    stage.forge.enforce(guarded());
    assert!(stage.bot.sweep(Timestamp::from_unix(0)).await, "{}", stage.log());
    let mut revisions = Vec::new();
    let work = stage.tree();
    work.git(&["checkout", "-q", "refs/remotes/all/heads/main"]).ok();
    for file in ["key.txt", "other.txt"] {
        revisions.push(work.commit(file, "held\n", Signing::Ssh).parse().unwrap());
        work.push(&["HEAD:refs/heads/main"]).ok();
        assert!(stage.bot.sweep(Timestamp::from_unix(0)).await, "{}", stage.log());
        stage.settle().await;
    }
    let blob = work.git(&["rev-parse", "HEAD:key.txt"]).ok().parse().unwrap();
    (blob, revisions.try_into().unwrap())
}

#[test]
fn a_secret_in_use_suspends_each_entry_that_holds_it_until_it_is_closed() {
    run_kept(async |stage: Stage| {
        let (blob, revisions) = landed(&stage).await;
        let verify = |expected: i32| {
            for revision in revisions {
                stage.gate.ask(&["verify", &revision.to_string()]).ends_with(expected);
            }
        };
        verify(0);
        let door = stage.open().await;
        let before = stage.shown().len();
        let leaks = [
            None,
            Some(Leak::default()),
            // In use, and nothing of it has entered.
            Some(Leak {
                in_use: true,
                blobs: vec!["e".repeat(40).parse().unwrap()],
            }),
        ];
        for (at, leak) in leaks.into_iter().enumerate() {
            stage.forge.alert(leak);
            let delivery = format!("a{at}");
            assert_eq!(
                door.deliver("secret_scanning_alert", &alerted(12), &delivery).await,
                202
            );
            stage.settle().await;
        }
        assert_eq!(stage.shown().len(), before, "{}", stage.log());
        verify(0);

        stage.forge.alert(Some(Leak {
            in_use: true,
            blobs: vec![blob],
        }));
        for delivery in ["l1", "l2"] {
            door.deliver("secret_scanning_alert_location", &alerted(12), delivery)
                .await;
            stage.settle().await;
        }
        verify(1);
        let told = &stage.shown()[before..];
        assert_eq!(told.len(), 1, "once, at the tip");
        assert_eq!((told[0].head, told[0].state), (revisions[1], CheckState::Failure));
        assert!(
            told[0].summary.contains("the 2 entries that hold it"),
            "{}",
            told[0].summary
        );

        // The command that is shown, where it is said to run.
        let command = told[0].summary.lines().find(|line| line.starts_with("lychgate reopen"));
        let command = format!("cd {} && {}", stage.gate.bare.display(), command.unwrap());
        let program = std::path::Path::new(crate::support::LYCHGATE).parent().unwrap();
        let command = format!("PATH={}:$PATH; {command}", program.display());
        stage.gate.scratch.run("sh", &["-c", &command]).ok();
        verify(0);
        stage.gate.ask(&["log", "check"]).ok();
    });
}

#[test]
fn without_a_ledger_an_alert_is_about_nothing() {
    run(async |stage: Stage| {
        stage.forge.alert(Some(Leak {
            in_use: true,
            blobs: vec!["e".repeat(40).parse().unwrap()],
        }));
        let door = stage.open().await;
        door.deliver("secret_scanning_alert", &alerted(12), "a1").await;
        stage.settle().await;
        assert!(stage.shown().is_empty(), "{}", stage.log());
    });
}
