//! Changes and repositories that today's bots stumble over: forks, size, renames, deletion, queues, SHA-256.
//!
//! A head that is pushed over while it is judged is in the parent module.

use super::stage::{Configured, PASSWORD, Stage, configured, guarded, opened, repo, run, run_kept, run_on, run_sha256};
use crate::support::{Gate, Signing, WorkTree};
use crate::transport::http_backend;
use lychgate::config::BotConfig;
use lychgate::forge::{CheckState, ForgeRepo};
use lychgate::pipeline::metrics::Count;
use lychgate::push::{Oid, Timestamp};
use std::fmt::Write;

/// Commits that git's own import makes at once, on top of the base; gives the last.
fn imported(stage: &Stage, number: u64, commits: usize, files: usize, text: impl Fn(usize) -> String) -> Oid {
    let work = stage.tree();
    let mut stream = String::new();
    for at in 0..commits {
        let from = if at == 0 {
            format!("from {}\n", stage.base)
        } else {
            String::new()
        };
        let _ = write!(
            stream,
            "commit refs/heads/big\ncommitter Dev <dev@example.com> {} +0000\ndata 4\nmore\n{from}",
            1_709_294_400 + at
        );
        for file in 0..files {
            let content = text(file);
            let _ = write!(
                stream,
                "M 100644 inline c{at:04}/f{file:05}\ndata {}\n{content}\n",
                content.len()
            );
        }
    }
    std::fs::write(stage.gate.scratch.path("stream"), stream).unwrap();
    let script = format!(
        "git fast-import --quiet < '{}'",
        stage.gate.scratch.path("stream").display()
    );
    work.shell(&script, "").ok();
    proposed(stage, &work, number, "big")
}

fn proposed(stage: &Stage, work: &WorkTree<'_>, number: u64, name: &str) -> Oid {
    work.push(&["-f", &format!("{name}:refs/pull/{number}/head")]).ok();
    let head: Oid = work.git(&["rev-parse", name]).ok().parse().unwrap();
    stage.propose_head(number, head);
    head
}

#[test]
fn more_commits_than_the_api_lists_are_all_judged() {
    run(async |stage: Stage| {
        let head = imported(&stage, 7, 300, 1, |file| format!("text {file}"));
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        stage.settle().await;
        let verdict = stage.verdicts().pop().unwrap();
        assert_eq!((verdict.state, verdict.head), (CheckState::Failure, head));
        assert!(
            verdict.summary.starts_with("**300 findings in 300 commits"),
            "{}",
            &verdict.summary[..200]
        );
    });
}

#[test]
fn more_files_than_the_api_lists_are_all_scanned() {
    run(async |stage: Stage| {
        let planted = crate::support::token(3_199);
        let text = |file| {
            if file == 3_199 {
                format!("TOKEN={planted}")
            } else {
                format!("text {file}")
            }
        };
        imported(&stage, 7, 1, 3_200, text);
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        stage.settle().await;
        let verdict = stage.verdicts().pop().unwrap();
        let found = verdict
            .annotations
            .iter()
            .find(|note| note.title == "secret-found")
            .unwrap();
        assert_eq!(found.path, "c0000/f03199");
    });
}

#[test]
fn a_forks_check_without_its_change_is_found_by_its_head() {
    run(async |stage: Stage| {
        stage.propose(7, "a.txt", true);
        let head = stage.propose(8, "b.txt", true);
        let door = stage.open().await;
        let asked = format!(
            r#"{{"action":"rerequested","check_run":{{"head_sha":"{head}","pull_requests":[]}},
                "sender":{{"login":"stranger"}},"repository":{{"id":5,"full_name":"acme/pay"}}}}"#
        );
        assert_eq!(door.deliver("check_run", &asked, "d1").await, 202);
        stage.settle().await;
        let verdicts = stage.verdicts();
        assert_eq!(
            verdicts.iter().map(|it| (it.number, it.head)).collect::<Vec<_>>(),
            [(Some(8), head)]
        );
        // Asked again it is judged again, though its head has a verdict.
        door.deliver("check_run", &asked, "d2").await;
        stage.settle().await;
        assert_eq!(stage.bot.metrics.read(Count::Success), 2);
    });
}

/// A webhook's body about the repository with this number and name.
fn about(id: u64, name: &str, action: &str) -> String {
    format!(r#"{{"action":"{action}","number":7,"repository":{{"id":{id},"full_name":"{name}"}}}}"#)
}

fn by_number(gate: &Gate) -> Configured {
    configured(gate, &format!("id = 5\ngate = \"{}\"\n", gate.bare.display()))
}

fn by_name(gate: &Gate) -> Configured {
    configured(gate, &format!("gate = \"{}\"\n", gate.bare.display()))
}

#[test]
fn a_renamed_repository_is_the_same_one() {
    is_renamed(by_number);
    // By its name it is known after the first sight, which bound the gate to its number.
    is_renamed(by_name);
}

fn is_renamed(config: fn(&Gate) -> Configured) {
    run_on(config, async |stage: Stage| {
        stage.forge.enforce(guarded());
        assert!(stage.bot.sweep(Timestamp::from_unix(0)).await, "{}", stage.log());
        stage.propose(7, "a.txt", true);
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        stage.settle().await;
        door.post(&about(5, "other-owner/money", "opened"), "d2").await;
        stage.settle().await;
        assert_eq!(stage.bot.metrics.read(Count::Unchanged), 1, "its verdict is known");
        assert_eq!(stage.verdicts().len(), 1);
        let mirrors: Vec<_> = std::fs::read_dir(stage.gate.scratch.path("mirrors/hub"))
            .unwrap()
            .collect();
        assert_eq!(mirrors.len(), 1, "and so is its mirror");
    });
}

#[test]
fn a_transferred_repository_keeps_its_verdicts_and_nothing_is_written_to_its_old_place() {
    is_transferred(by_number);
    is_transferred(by_name);
}

fn is_transferred(config: fn(&Gate) -> Configured) {
    run_on(config, async |stage: Stage| {
        stage.forge.enforce(guarded());
        let old = ForgeRepo {
            installation: Some(1),
            ..repo()
        };
        stage.forge.place(&old);
        assert!(stage.bot.sweep(Timestamp::from_unix(0)).await, "{}", stage.log());
        stage.propose(7, "a.txt", true);
        stage.bot.sweep(Timestamp::from_unix(0)).await;
        stage.settle().await;
        assert_eq!(stage.verdicts().len(), 1);
        // What was judged before the transfer and not yet sent when it happened.
        stage.propose(8, "b.txt", false);
        stage.bot.sweep(Timestamp::from_unix(0)).await;
        while stage.bot.one_delivery().await.unwrap() {}
        let there = stage.shown().len();
        let new = ForgeRepo {
            full_name: "new-owner/money".into(),
            installation: Some(2),
            ..repo()
        };
        stage.forge.place(&new);
        let door = stage.open().await;
        assert_eq!(
            door.deliver("repository", &about(5, "new-owner/money", "transferred"), "t1")
                .await,
            202
        );
        // A delivery from before, with the name and the installation of then.
        let late = about(5, "acme/pay", "synchronize").replace(r#""action""#, r#""installation":{"id":1},"action""#);
        let head = stage.push(7, "c.txt", false);
        stage.forge.set_head(7, head);
        door.post(&late, "d9").await;
        stage.settle().await;
        let after: Vec<_> = stage.shown().split_off(there);
        assert!(after.iter().all(|display| display.repo == new), "{after:?}");
        let verdicts: Vec<_> = stage.verdicts().iter().map(|it| (it.number, it.state)).collect();
        assert_eq!(
            verdicts,
            [
                (Some(7), CheckState::Success),
                (Some(8), CheckState::Failure),
                (Some(7), CheckState::Failure)
            ],
            "each once: {}",
            stage.log()
        );
        // What lands has its entry in the same gate, whichever name the push was told under.
        let work = stage.tree();
        work.git(&["checkout", "-q", &stage.base]).ok();
        work.commit("d.txt", "d\n", Signing::Ssh);
        work.push(&["HEAD:refs/heads/main"]).ok();
        let tip = work.git(&["rev-parse", "HEAD"]).ok();
        let pushed = format!(
            r#"{{"ref":"refs/heads/main","before":"{}","after":"{tip}","installation":{{"id":1}},
                "repository":{{"id":5,"full_name":"acme/pay"}}}}"#,
            stage.base
        );
        door.deliver("push", &pushed, "p1").await;
        stage.settle().await;
        assert_eq!(stage.bot.metrics.read(Count::Entered), 1, "{}", stage.log());
        assert_eq!(stage.shown().pop().unwrap().repo, new);
    });
}

#[test]
fn a_repository_that_is_made_anew_under_the_name_of_one_that_is_gone_is_another_one() {
    run_kept(async |stage: Stage| {
        stage.gate.edit_policy("approvers = []", "approvers = [\"carol\"]");
        stage.forge.enforce(guarded());
        stage.propose(7, "a.txt", true);
        stage.bot.sweep(Timestamp::from_unix(0)).await;
        while stage.bot.one_delivery().await.unwrap() {}
        let anew = ForgeRepo { id: 6, ..repo() };
        stage.forge.place(&anew);
        let door = stage.open().await;
        door.deliver("repository", &about(5, "acme/pay", "deleted"), "d1").await;
        door.post(&opened(7), "d2").await;
        let begun = stage.shown().len();
        stage.settle().await;
        assert_eq!(
            stage.shown().len(),
            begun,
            "what was about the old one is shown nowhere"
        );
        assert!(stage.log().contains("repository-gone") && stage.log().contains("display-gone"));

        // The new one is judged as itself, and the gate of the old one is not its gate.
        door.post(&about(6, "acme/pay", "opened"), "d3").await;
        stage.settle().await;
        assert_eq!(stage.verdicts().pop().unwrap().repo, anew);
        let before = stage.gate.tip("refs/heads/main");
        assert!(!stage.bot.sweep(Timestamp::from_unix(0)).await);
        assert!(stage.log().contains("gate-of-another-repository"), "{}", stage.log());
        assert_eq!(stage.gate.tip("refs/heads/main"), before);

        // Who has the old name asks for no waiver there, and is let in by none that is there.
        stage.propose(8, "b.txt", false);
        door.post(&about(6, "acme/pay", "opened").replace(":7,", ":8,"), "d4")
            .await;
        let asked = r#"{"action":"created","issue":{"number":8,"pull_request":{}},
            "comment":{"id":1,"body":"/lychgate waive unsigned-commit I have the name","user":{"login":"ann"}},
            "repository":{"id":6,"full_name":"acme/pay"}}"#;
        assert_eq!(door.deliver("issue_comment", asked, "d5").await, 202);
        stage.settle().await;
        assert_eq!(stage.verdicts().pop().unwrap().state, CheckState::Failure);
        assert!(
            stage.gate.json(&["waiver", "list"])["waivers"]
                .as_array()
                .unwrap()
                .is_empty()
        );
    });
}

#[test]
fn a_gate_follows_its_repository_and_leaves_the_name() {
    let by_star = |gate: &Gate| {
        let (_, text) = by_name(gate);
        let home = gate.bare.join("lychgate");
        let more = format!(
            "[[repository]]\nforge = \"hub\"\nname = \"*\"\nresource = \"git+https://example.com/rest\"\n\
             policy = \"{0}/policy.toml\"\nkeyring = \"{0}/keyring\"\nmode = \"report\"\n",
            home.display()
        );
        let text = format!("{text}{more}");
        (BotConfig::parse("bot.toml", &text).unwrap(), text)
    };
    run_on(by_star, async |stage: Stage| {
        stage.forge.enforce(guarded());
        assert!(stage.bot.sweep(Timestamp::from_unix(0)).await, "{}", stage.log());
        let renamed = ForgeRepo {
            full_name: "acme/money".into(),
            ..repo()
        };
        stage.forge.place(&renamed);
        // The bound gate goes before the entry for all others, which only reports.
        stage.propose(7, "a.txt", false);
        assert!(stage.bot.sweep(Timestamp::from_unix(0)).await, "{}", stage.log());
        stage.settle().await;
        assert_eq!(stage.verdicts().pop().unwrap().state, CheckState::Failure);
        // Another repository is not served by it.
        let other = ForgeRepo {
            id: 6,
            full_name: "acme/other".into(),
            ..repo()
        };
        stage.forge.place(&other);
        stage.bot.sweep(Timestamp::from_unix(0)).await;
        stage.settle().await;
        let last = stage.shown().pop().unwrap();
        assert_eq!((last.repo, last.state), (other, CheckState::Neutral));
    });
}

#[test]
fn a_change_that_is_gone_and_a_head_that_is_gone_end_quietly() {
    run(async |stage: Stage| {
        stage.propose(7, "a.txt", true);
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        stage.forge.forget(7);
        stage.settle().await;
        assert!(
            stage.shown().is_empty() && stage.lease().await.is_none(),
            "{}",
            stage.log()
        );
        // The branch of the change is deleted; the forge keeps what was proposed.
        let head = stage.propose(8, "b.txt", true);
        stage.forge.close(8);
        door.post(&opened(8), "d2").await;
        stage.settle().await;
        assert!(stage.shown().is_empty(), "a closed change gets no verdict");
        stage.propose_head(8, head);
        door.post(&opened(8), "d3").await;
        stage.settle().await;
        assert_eq!(stage.verdicts().len(), 1);
    });
}

fn queued(action: &str, head: Oid, base: Oid) -> String {
    format!(
        r#"{{"action":"{action}","merge_group":{{"head_sha":"{head}","base_sha":"{base}","base_ref":"refs/heads/main"}},
            "repository":{{"id":5,"full_name":"acme/pay"}}}}"#
    )
}

#[test]
fn a_merge_queue_gets_the_verdict_on_its_own_commit_and_what_lands_its_entry() {
    run_kept(async |stage: Stage| {
        stage.forge.enforce(guarded());
        assert!(stage.bot.sweep(Timestamp::from_unix(0)).await);
        let change = stage.propose(7, "a.txt", true);
        let base: Oid = stage.base.parse().unwrap();
        let work = stage.tree();
        work.git(&["checkout", "-q", &stage.base]).ok();
        work.git_ssh(&["merge", "-q", "-S", "--no-ff", "-m", "Queue", &change.to_string()])
            .ok();
        work.push(&["HEAD:refs/heads/gh-readonly-queue/main/pr-7"]).ok();
        let group: Oid = work.git(&["rev-parse", "HEAD"]).ok().parse().unwrap();
        let door = stage.open().await;
        assert_eq!(
            door.deliver("merge_group", &queued("checks_requested", group, base), "q1")
                .await,
            202
        );
        stage.settle().await;
        let verdict = stage.verdicts().pop().unwrap();
        assert_eq!(
            (verdict.number, verdict.head, verdict.state),
            (None, group, CheckState::Success)
        );

        // A group that is given up asks for nothing; one that cannot enter is told so.
        assert_eq!(
            door.deliver("merge_group", &queued("destroyed", group, base), "q2")
                .await,
            202
        );
        work.commit("unsigned.txt", "x\n", Signing::None);
        work.push(&["HEAD:refs/heads/gh-readonly-queue/main/pr-8"]).ok();
        let bad: Oid = work.git(&["rev-parse", "HEAD"]).ok().parse().unwrap();
        door.deliver("merge_group", &queued("checks_requested", bad, base), "q3")
            .await;
        stage.settle().await;
        let verdicts = stage.verdicts();
        assert_eq!(verdicts.len(), 2);
        assert_eq!((verdicts[1].head, verdicts[1].state), (bad, CheckState::Failure));

        // The queue moves main to its commit.
        work.push(&[&format!("{group}:refs/heads/main")]).ok();
        stage.forge.land(7, group);
        let pushed = format!(
            r#"{{"ref":"refs/heads/main","before":"{base}","after":"{group}","repository":{{"id":5,"full_name":"acme/pay"}}}}"#
        );
        door.deliver("push", &pushed, "q4").await;
        stage.settle().await;
        assert_eq!(stage.bot.metrics.read(Count::Entered), 1, "{}", stage.log());
        stage
            .gate
            .ask(&["verify", &group.to_string(), "--ref", "main", "--level", "4"])
            .ok();
    });
}

#[test]
fn a_repository_of_sha_256_is_judged_and_kept_as_any_other() {
    run_sha256(async |stage: Stage| {
        let (_server, port) = http_backend(&stage.gate, &format!("x:{PASSWORD}"));
        stage.forge.serve(&format!("http://127.0.0.1:{port}/forge.git"));
        stage.forge.enforce(guarded());
        assert!(stage.bot.sweep(Timestamp::from_unix(0)).await, "{}", stage.log());
        stage.settle().await;
        let door = stage.open().await;
        let good = stage.propose(7, "a.txt", true);
        let bad = stage.propose(8, "b.txt", false);
        assert_eq!(good.as_bytes().len(), 32);
        for number in [7, 8] {
            door.post(&opened(number), &format!("d{number}")).await;
        }
        stage.settle().await;
        let verdicts: Vec<_> = stage.verdicts().iter().map(|it| (it.head, it.state)).collect();
        assert_eq!(
            verdicts,
            [(good, CheckState::Success), (bad, CheckState::Failure)],
            "{}",
            stage.log()
        );
        assert!(stage.verdicts()[1].summary.contains("unsigned-commit"));

        // What lands has its entry, and the gate's ref moves along; so do a new branch and its end.
        let work = stage.tree();
        work.git(&["checkout", "-q", &stage.base]).ok();
        work.git_ssh(&["merge", "-q", "-S", "--no-ff", "-m", "Merge", &good.to_string()])
            .ok();
        work.push(&["HEAD:refs/heads/main"]).ok();
        let merged: Oid = work.git(&["rev-parse", "HEAD"]).ok().parse().unwrap();
        stage.forge.land(7, merged);
        let pushed = format!(
            r#"{{"ref":"refs/heads/main","before":"{}","after":"{merged}","repository":{{"id":5,"full_name":"acme/pay"}}}}"#,
            stage.base
        );
        assert_eq!(door.deliver("push", &pushed, "p1").await, 202);
        stage.settle().await;
        assert_eq!(stage.bot.metrics.read(Count::Entered), 1, "{}", stage.log());
        let verify = ["verify", &merged.to_string(), "--ref", "main", "--level", "4"];
        stage.gate.ask(&verify).ok();
        assert_eq!(stage.gate.tip("refs/heads/main"), Some(merged.to_string()));
        let unrelated = stage.forge.calls();
        assert!(stage.bot.sweep(Timestamp::from_unix(0)).await);
        stage.settle().await;
        assert!(stage.forge.calls() > unrelated && stage.bot.metrics.read(Count::Entered) == 1);
    });
}

#[test]
fn a_wrong_credential_for_a_repository_of_sha_256_is_an_outage_that_names_no_credential() {
    run_sha256(async |stage: Stage| {
        let (_server, port) = http_backend(&stage.gate, "x:another-password");
        stage.propose(7, "a.txt", true);
        stage.forge.serve(&format!("http://127.0.0.1:{port}/forge.git"));
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        stage.settle().await;
        assert!(stage.verdicts().is_empty());
        assert_eq!(stage.shown().pop().unwrap().state, CheckState::Error);
        let log = stage.log();
        assert!(log.contains("fetch-failed") && !log.contains(PASSWORD), "{log}");
    });
}

#[test]
fn a_policy_that_cannot_be_used_is_told_at_the_change_and_mends_itself() {
    run(async |stage: Stage| {
        stage.propose(7, "a.txt", true);
        stage.gate.edit_policy("version = 1", "version = \"one\"");
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        stage.settle().await;
        let last = stage.shown().pop().unwrap();
        assert_eq!(last.state, CheckState::Error);
        assert!(last.summary.contains("policy-invalid"), "{}", last.summary);
        assert!(
            stage.log().contains("policy.toml:"),
            "the log says where: {}",
            stage.log()
        );
        // It is told who looks after the service, and holds nobody else up.
        stage.bot.look_at_faults().await;
        let (status, text) = door.get("/readyz").await;
        assert_eq!(status, 200);
        assert!(
            text.ends_with("ready\nunusable: hub:acme/pay policy-invalid\n"),
            "{text}"
        );
        assert!(door.get("/metrics").await.1.contains("lychgate_repository_faults 1\n"));
        assert!(stage.log().contains("repository-unusable"));
        stage.gate.edit_policy("version = \"one\"", "version = 1");
        stage.later();
        stage.settle().await;
        assert_eq!(stage.verdicts().pop().unwrap().state, CheckState::Success);
        stage.bot.look_at_faults().await;
        assert!(door.get("/readyz").await.1.ends_with("\r\n\r\nready\n"));
    });
}

#[test]
fn a_gate_that_cannot_be_used_hides_no_change() {
    let nowhere = |gate: &Gate| configured(gate, &format!("gate = \"{}\"\n", gate.bare.display()));
    run_on(nowhere, async |stage: Stage| {
        stage.propose(7, "a.txt", true);
        std::fs::rename(stage.gate.home("ledger.db"), stage.gate.home("ledger.gone")).unwrap();
        assert!(
            !stage.bot.sweep(Timestamp::from_unix(0)).await,
            "it says that something is wrong"
        );
        stage.settle().await;
        assert_eq!(stage.verdicts().pop().unwrap().state, CheckState::Success);
        assert!(stage.log().contains("store-missing"), "{}", stage.log());
        stage.bot.look_at_faults().await;
        assert_eq!(stage.bot.metrics.faults(), ["hub:acme/pay store-missing"]);
    });
}
