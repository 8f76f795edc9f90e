//! What lands on a forge: an entry for each revision, none for what passed the gate by, and drift.

use super::stage::{Stage, configured, guarded, guarded_tag, opened, run, run_kept, run_on, run_sha256};
use crate::support::{Gate, Run, Signing};
use lychgate::feedback::change::Frame;
use lychgate::feedback::landed as texts;
use lychgate::finding::{Finding, Place, Severity};
use lychgate::forge::guard::{Drift, Protection};
use lychgate::forge::{Change, CheckState};
use lychgate::pipeline::metrics::Count;
use lychgate::port::{DecisionRecord, Store};
use lychgate::push::{Oid, RefName, RefUpdate, Timestamp};
use lychgate::store::SqliteStore;

/// How a forge merges.
#[derive(Debug, Clone, Copy)]
enum Way {
    Merge,
    Squash,
    Rebase,
}

impl Stage {
    /// Begins where the forge stands.
    async fn begin(&self) {
        assert!(self.bot.sweep(Timestamp::from_unix(0)).await, "{}", self.log());
        self.settle().await;
    }

    /// Where the forge's main stands.
    fn main(&self) -> Oid {
        let served = format!("--git-dir={}", self.gate.scratch.path("forge.git").display());
        let said = self
            .gate
            .scratch
            .run("git", &[&served, "rev-parse", "refs/heads/main"])
            .ok();
        said.parse().unwrap()
    }

    /// The forge merges a change; gives the revision.
    fn merge(&self, number: u64, way: Way) -> Oid {
        let work = self.tree();
        work.git(&["checkout", "-q", "refs/remotes/all/heads/main"]).ok();
        let head = format!("refs/remotes/all/pull/{number}/head");
        match way {
            Way::Merge => work
                .git_ssh(&["merge", "-q", "-S", "--no-ff", "-m", "Merge", &head])
                .ok(),
            Way::Rebase => work.git_ssh(&["cherry-pick", "-S", &head]).ok(),
            Way::Squash => {
                work.git(&["merge", "-q", "--squash", &head]).ok();
                work.git_ssh(&["commit", "-q", "-S", "-m", "Squashed"]).ok()
            }
        };
        work.push(&["HEAD:refs/heads/main"]).ok();
        let revision = self.main();
        self.forge.land(number, revision);
        revision
    }

    /// Somebody pushes a commit to main, past the forge's rules.
    fn direct(&self, file: &str, signing: Signing) -> Oid {
        let work = self.tree();
        work.git(&["checkout", "-q", "refs/remotes/all/heads/main"]).ok();
        work.commit(file, "direct\n", signing);
        work.push(&["HEAD:refs/heads/main"]).ok();
        self.main()
    }

    fn direct_text(&self, file: &str, text: &str) -> Oid {
        let work = self.tree();
        work.git(&["checkout", "-q", "refs/remotes/all/heads/main"]).ok();
        work.commit(file, text, Signing::Ssh);
        work.push(&["HEAD:refs/heads/main"]).ok();
        self.main()
    }

    /// Exports the revision's attestation and verifies it, as one who has nothing but the files.
    fn verify(&self, revision: Oid, level: &str) -> Run {
        let out = self.gate.scratch.path(&format!("{revision}-{level}"));
        let out = out.to_str().unwrap();
        let revision = revision.to_string();
        let exported = self.gate.ask(&["log", "export", &revision, "--out", out]);
        if exported.code != 0 {
            return exported;
        }
        let (bundle, key) = (format!("{out}/bundle.json"), format!("{out}/attestation.pub"));
        self.gate.lychgate(&[
            "verify", "--bundle", &bundle, "--key", &key, "--commit", &revision, "--ref", "main", "--level", level,
        ])
    }

    async fn decisions(&self) -> Vec<DecisionRecord> {
        let store = SqliteStore::open(&self.gate.home("ledger.db")).await.unwrap();
        store.decisions(100).await.unwrap()
    }

    fn last(&self, head: Oid) -> lychgate::forge::Display {
        let shown = self.shown();
        let here = shown
            .into_iter()
            .rfind(|display| display.head == head && display.number.is_none());
        here.unwrap_or_else(|| panic!("nothing is shown at {head}: {}", self.log()))
    }
}

fn closed(number: u64, revision: Oid) -> String {
    format!(
        r#"{{"action":"closed","number":{number},"repository":{{"id":5,"full_name":"acme/pay"}},
            "pull_request":{{"number":{number},"merged":true,"merge_commit_sha":"{revision}"}}}}"#
    )
}

fn pushed(old: Oid, new: Oid) -> String {
    format!(
        r#"{{"ref":"refs/heads/main","before":"{old}","after":"{new}","sender":{{"login":"pusher"}},
            "repository":{{"id":5,"full_name":"acme/pay"}}}}"#
    )
}

#[test]
fn each_way_of_merging_has_its_entry_and_verifies() {
    run_kept(async |stage: Stage| {
        stage.forge.enforce(guarded());
        stage.begin().await;
        let door = stage.open().await;
        for (number, way) in [(7, Way::Merge), (8, Way::Squash), (9, Way::Rebase)] {
            stage.propose(number, &format!("{number}.txt"), true);
            let before = stage.main();
            let revision = stage.merge(number, way);
            assert_eq!(door.post(&closed(number, revision), &format!("c{number}")).await, 202);
            assert_eq!(
                door.deliver("push", &pushed(before, revision), &format!("p{number}"))
                    .await,
                202
            );
            stage.settle().await;
            let told = stage.last(revision);
            assert_eq!(told.state, CheckState::Success, "{way:?}: {}", told.summary);
            assert!(told.title.contains("source level 4"), "{way:?}: {}", told.title);
            stage.verify(revision, "4").ok();
            // The command that is shown, where it is said to run.
            let command = told
                .summary
                .lines()
                .find_map(|line| line.strip_prefix("lychgate "))
                .unwrap();
            stage.gate.ask(&command.split(' ').collect::<Vec<_>>()).ok();
            assert_eq!(stage.gate.tip("refs/heads/main"), Some(revision.to_string()));
        }
        assert_eq!(stage.bot.metrics.read(Count::Entered), 3, "once each: {}", stage.log());
        // What came in by the bot is as what came in by the hooks: it replays, and the log holds together.
        stage.gate.ask(&["log", "check"]).ok();
        stage.gate.ask(&["log", "replay", "--all"]).ok();
        let entry = stage.gate.json(&["log"])["entries"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let said = stage.gate.json(&["log", "show", &entry]).to_string();
        assert!(
            said.contains("merger") && said.contains("approved by reviewer"),
            "{said}"
        );
    });
}

#[test]
fn merges_that_come_together_have_an_entry_each() {
    run_kept(async |stage: Stage| {
        stage.forge.enforce(guarded());
        stage.begin().await;
        stage.propose(7, "7.txt", true);
        stage.propose(8, "8.txt", true);
        let revisions = [stage.merge(7, Way::Squash), stage.merge(8, Way::Merge)];
        let door = stage.open().await;
        // The second one's delivery comes first, and the first one's never.
        door.post(&closed(8, revisions[1]), "c8").await;
        stage.settle().await;
        for revision in revisions {
            stage.verify(revision, "4").ok();
        }
    });
}

#[test]
fn what_passed_the_gate_by_has_no_entry_and_is_told() {
    run_kept(async |stage: Stage| {
        stage.forge.enforce(guarded());
        stage.begin().await;
        let good = stage.main();
        let door = stage.open().await;
        let unsigned = stage.direct("a.txt", Signing::None);
        door.deliver("push", &pushed(good, unsigned), "p1").await;
        stage.settle().await;
        let told = stage.last(unsigned);
        assert_eq!(told.state, CheckState::Failure);
        assert!(
            told.summary.contains("unsigned-commit") && told.summary.contains("no entry"),
            "{}",
            told.summary
        );
        stage.verify(unsigned, "1").ends_with(1);
        assert_eq!(stage.gate.tip("refs/heads/main"), Some(good.to_string()));
        let refused = stage
            .decisions()
            .await
            .into_iter()
            .find(|record| !record.allowed)
            .unwrap();
        assert!(String::from_utf8(refused.decision).unwrap().contains("unsigned-commit"));

        // What is built on it is judged with it.
        stage.propose(7, "7.txt", true);
        let merged = stage.merge(7, Way::Merge);
        door.post(&closed(7, merged), "c7").await;
        stage.settle().await;
        assert_eq!(stage.last(merged).state, CheckState::Failure);

        // Once it is gone, what remains enters; the forge was rewound, the gate was not.
        let work = stage.tree();
        work.git(&["checkout", "-q", &good.to_string()]).ok();
        work.commit("b.txt", "good\n", Signing::Ssh);
        work.push(&["-f", "HEAD:refs/heads/main"]).ok();
        let mended = stage.main();
        door.deliver("push", &pushed(merged, mended), "p3").await;
        stage.settle().await;
        assert_eq!(stage.last(mended).state, CheckState::Success);
        // Nobody reviewed it, and nothing says that our check had passed before: no level above 1.
        stage.verify(mended, "1").ok();
        stage.verify(mended, "2").ends_with(1);
    });
}

#[test]
fn a_landing_that_nobody_told_of_is_found_by_the_sweep() {
    run_kept(async |stage: Stage| {
        stage.forge.enforce(guarded());
        stage.begin().await;
        stage.propose(7, "7.txt", true);
        let revision = stage.merge(7, Way::Rebase);
        stage.begin().await;
        stage.verify(revision, "4").ok();
        stage.begin().await;
        assert_eq!(stage.bot.metrics.read(Count::Entered), 1);
    });
}

#[test]
fn a_gate_that_cannot_move_its_ref_leaves_nothing_half_done() {
    run_kept(async |stage: Stage| {
        stage.forge.enforce(guarded());
        stage.begin().await;
        stage.propose(7, "7.txt", true);
        let revision = stage.merge(7, Way::Merge);
        let lock = stage.gate.bare.join("refs/heads/main.lock");
        std::fs::write(&lock, "").unwrap();
        let door = stage.open().await;
        door.post(&closed(7, revision), "c7").await;
        stage.settle().await;
        assert!(stage.log().contains("gate-not-moved"), "{}", stage.log());
        stage.verify(revision, "1").ends_with(1);
        std::fs::remove_file(lock).unwrap();
        stage.later();
        stage.settle().await;
        stage.verify(revision, "4").ok();
        assert_eq!(stage.bot.metrics.read(Count::Entered), 1);
    });
}

#[test]
fn drift_suspends_and_restoration_begins_again() {
    run_kept(async |stage: Stage| {
        stage.forge.enforce(guarded());
        stage.begin().await;
        stage.propose(7, "7.txt", true);
        let revision = stage.merge(7, Way::Merge);
        stage.begin().await;
        stage.verify(revision, "4").ok();
        let lax = Protection {
            force_push_blocked: false,
            ..guarded()
        };
        stage.forge.enforce(lax);
        let door = stage.open().await;
        let ruleset = r#"{"action":"edited","repository":{"id":5,"full_name":"acme/pay"}}"#;
        assert_eq!(door.deliver("repository_ruleset", ruleset, "r1").await, 202);
        stage.settle().await;
        let told = stage.last(revision);
        assert_eq!(told.state, CheckState::Failure, "{}", stage.log());
        assert!(
            told.summary.contains("force-push-allowed") && told.summary.contains("forge apply"),
            "{}",
            told.summary
        );
        stage.gate.ask(&["verify", &revision.to_string()]).ends_with(1);
        // Seen again, it is the same lapse.
        door.deliver("repository_ruleset", ruleset, "r2").await;
        stage.settle().await;
        stage.begin().await;
        assert_eq!(stage.bot.metrics.read(Count::Lapsed), 1);

        // What lands meanwhile does not claim what nobody enforces.
        stage.propose(8, "8.txt", true);
        let meanwhile = stage.merge(8, Way::Merge);
        stage.begin().await;
        stage.verify(meanwhile, "1").ok();
        stage.verify(meanwhile, "2").ends_with(1);

        // No webhook tells that it is restored.
        stage.forge.enforce(guarded());
        stage.later();
        stage.begin().await;
        assert_eq!(stage.bot.metrics.read(Count::Restored), 1, "{}", stage.log());
        stage.gate.ask(&["verify", &revision.to_string(), "--level", "4"]).ok();
        assert_eq!(stage.last(meanwhile).state, CheckState::Success);
        stage.gate.ask(&["log", "check"]).ok();
    });
}

#[test]
fn report_only_tells_and_holds_nothing_up() {
    let mode = |gate: &Gate| {
        configured(
            gate,
            &format!("gate = \"{}\"\nmode = \"report\"\n", gate.bare.display()),
        )
    };
    run_on(mode, async |stage: Stage| {
        stage.forge.enforce(guarded());
        stage.begin().await;
        stage.propose(7, "a.txt", false);
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        stage.settle().await;
        let verdict = stage
            .shown()
            .into_iter()
            .rfind(|display| display.number == Some(7))
            .unwrap();
        assert_eq!(verdict.state, CheckState::Neutral);
        assert!(
            verdict.title.starts_with("Would have been refused: "),
            "{}",
            verdict.title
        );
        assert!(verdict.comment.unwrap().contains("unsigned-commit"));
        assert!(verdict.annotations.iter().all(|note| !note.denies));
        // It is the verdict on that head: no second one.
        door.post(&opened(7), "d2").await;
        stage.settle().await;
        assert_eq!(stage.bot.metrics.read(Count::Unchanged), 1);
        let before = stage.main();
        let unsigned = stage.direct("b.txt", Signing::None);
        door.deliver("push", &pushed(before, unsigned), "p1").await;
        stage.settle().await;
        assert_eq!(stage.last(unsigned).state, CheckState::Neutral);
        stage.verify(unsigned, "1").ends_with(1);
    });
}

#[test]
fn an_installation_gets_its_first_report_once() {
    run_kept(async |stage: Stage| {
        stage.forge.enforce(Protection::default());
        stage.forge.lack("permission checks: write");
        stage.propose(7, "a.txt", false);
        stage.propose(8, "b.txt", true);
        let planted = crate::support::token(stage.main().as_bytes()[0].into());
        let tip = stage.direct_text("c.txt", &planted);
        let door = stage.open().await;
        for delivery in ["i1", "i2"] {
            door.deliver("installation", r#"{"action":"created"}"#, delivery).await;
            stage.settle().await;
        }
        let reports: Vec<_> = stage
            .shown()
            .into_iter()
            .filter(|it| it.title.contains("first report"))
            .collect();
        assert_eq!(reports.len(), 1);
        assert_eq!((reports[0].state, reports[0].head), (CheckState::Neutral, tip));
        let text = &reports[0].summary;
        assert!(!text.contains(&planted));
        insta::assert_snapshot!(
            text.replace(&tip.short(), "TIP")
                .lines()
                .filter(|line| !line.contains("<sub>"))
                .collect::<Vec<_>>()
                .join("\n")
        );
    });
}

#[test]
fn findings_are_uploaded_where_that_is_wanted() {
    let with = |gate: &Gate| configured(gate, &format!("gate = \"{}\"\nsarif = true\n", gate.bare.display()));
    run_on(with, async |stage: Stage| {
        let planted = crate::support::token(77);
        let head = stage.propose_text(7, "a b.sh", &format!("TOKEN={planted}\n"));
        let door = stage.open().await;
        door.post(&opened(7), "d1").await;
        stage.settle().await;
        let uploads = stage.forge.uploads();
        assert_eq!(uploads.len(), 1, "a verdict, once");
        let (name, at, sarif) = &uploads[0];
        assert_eq!((name.as_str(), *at), ("refs/pull/7/head", head));
        let log: serde_json::Value = serde_json::from_str(sarif).unwrap();
        let result = &log["runs"][0]["results"][0];
        assert_eq!(result["ruleId"], "secret-found");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.sh");
        assert_eq!(place["region"]["startLine"], 1);
        assert!(!sarif.contains(&planted));
    });
}

#[test]
fn new_branches_tags_and_deletions_are_judged_as_pushes() {
    run_kept(async |stage: Stage| {
        stage.forge.enforce(guarded());
        stage.begin().await;
        let main = stage.main();
        let work = stage.tree();
        work.git(&["checkout", "-q", &main.to_string()]).ok();
        work.git_ssh(&["tag", "-s", "-m", "one", "v1.0"]).ok();
        work.git(&["tag", "-a", "-m", "two", "v2.0"]).ok();
        work.push(&["HEAD:refs/heads/release/1", "HEAD:refs/heads/topic", "v1.0", "v2.0"])
            .ok();
        stage.begin().await;
        let tip = |name: &str| stage.gate.tip(name);
        assert_eq!(tip("refs/heads/release/1"), Some(main.to_string()));
        assert!(tip("refs/tags/v1.0").is_some());
        assert_eq!(tip("refs/tags/v2.0"), None, "it is not signed");
        assert_eq!(tip("refs/heads/topic"), None, "nothing protects it");
        assert_eq!(stage.bot.metrics.read(Count::Entered), 2, "{}", stage.log());
        stage.gate.ask(&["verify", "v1.0", "--ref", "refs/tags/v1.0"]).ok();

        // A deletion that the policy refuses is recorded, and the gate keeps what entered.
        work.push(&["--delete", "release/1"]).ok();
        stage.begin().await;
        assert_eq!(tip("refs/heads/release/1"), Some(main.to_string()));
        let refused = stage.decisions().await;
        let refused = refused
            .iter()
            .find(|record| String::from_utf8_lossy(&record.decision).contains("ref-deletion-denied"));
        assert!(refused.is_some_and(|record| !record.allowed));
        // Seen again it is not recorded again.
        let before = stage.decisions().await.len();
        stage.later();
        stage.later();
        stage.later();
        stage.later();
        stage.begin().await;
        assert_eq!(stage.decisions().await.len(), before);
    });
}

#[test]
fn drift_of_a_tag_suspends_its_entry_and_restoration_begins_again() {
    run_kept(async |stage: Stage| {
        stage.forge.enforce(guarded());
        stage.forge.enforce_on_tags(Some(guarded_tag()));
        stage.begin().await;
        let work = stage.tree();
        work.git(&["checkout", "-q", &stage.main().to_string()]).ok();
        let commit: Oid = work.commit("a.txt", "a\n", Signing::Ssh).parse().unwrap();
        work.git_ssh(&["tag", "-s", "-m", "one", "v1.0"]).ok();
        work.push(&["v1.0"]).ok();
        stage.begin().await;
        let verify = |expected: i32| {
            let run = stage.gate.ask(&["verify", "v1.0", "--ref", "refs/tags/v1.0"]);
            run.ends_with(expected);
        };
        verify(0);
        // It is shown at the commit: a forge shows nothing at the tag itself. The command is right as it stands.
        let told = stage.last(commit);
        assert!(told.title.starts_with("Entered v1.0"), "{}", told.title);
        let command = told.summary.lines().find_map(|line| line.strip_prefix("lychgate "));
        stage.gate.ask(&command.unwrap().split(' ').collect::<Vec<_>>()).ok();

        stage.forge.enforce_on_tags(Some(Protection {
            move_blocked: false,
            ..guarded_tag()
        }));
        stage.later();
        stage.begin().await;
        let told = stage.last(commit);
        assert_eq!(told.state, CheckState::Failure, "{}", stage.log());
        assert!(told.title.contains("no longer guards v1.0") && told.summary.contains("move-allowed"));
        verify(1);
        stage.begin().await;
        assert_eq!(stage.bot.metrics.read(Count::Lapsed), 1, "once");

        // Not to be told is neither a lapse nor its end.
        stage.forge.enforce_on_tags(None);
        stage.later();
        stage.begin().await;
        assert_eq!(stage.bot.metrics.read(Count::Restored), 0);
        assert!(stage.log().contains("protection-unknown"), "{}", stage.log());
        verify(1);

        stage.forge.enforce_on_tags(Some(guarded_tag()));
        stage.later();
        stage.begin().await;
        assert_eq!(stage.bot.metrics.read(Count::Restored), 1, "{}", stage.log());
        assert_eq!(stage.last(commit).state, CheckState::Success);
        verify(0);
        stage.gate.ask(&["log", "check"]).ok();
        stage.gate.ask(&["log", "replay", "--all"]).ok();
    });
}

#[test]
fn a_tag_that_the_forge_does_not_guard_claims_nothing_of_it_and_has_nothing_to_suspend() {
    run_kept(async |stage: Stage| {
        stage.forge.enforce(guarded());
        stage.forge.enforce_on_tags(None);
        stage.begin().await;
        let work = stage.tree();
        work.git(&["checkout", "-q", &stage.main().to_string()]).ok();
        work.git_ssh(&["tag", "-s", "-m", "one", "v1.0"]).ok();
        work.push(&["v1.0"]).ok();
        stage.begin().await;
        stage.forge.enforce_on_tags(Some(Protection::default()));
        stage.later();
        stage.begin().await;
        assert_eq!(stage.bot.metrics.read(Count::Lapsed), 0, "{}", stage.log());
        stage.gate.ask(&["verify", "v1.0", "--ref", "refs/tags/v1.0"]).ok();
        let [_, vsa] = statements(&stage, stage.main()).await;
        let levels = vsa["predicate"]["verifiedLevels"].to_string();
        assert!(
            levels.contains("SOURCE_SIGNED") && !levels.contains("LEVEL_2"),
            "{levels}"
        );
    });
}

#[test]
fn a_repository_without_a_gate_records_nothing() {
    run(async |stage: Stage| {
        stage.begin().await;
        let before = stage.main();
        let revision = stage.direct("a.txt", Signing::Ssh);
        let door = stage.open().await;
        door.deliver("push", &pushed(before, revision), "p1").await;
        stage.settle().await;
        assert!(stage.shown().is_empty() && stage.decisions().await.is_empty());
    });
}

#[test]
fn a_long_way_is_entered_in_parts() {
    run_kept(async |stage: Stage| {
        stage.forge.enforce(guarded());
        stage.begin().await;
        let work = stage.tree();
        work.git(&["checkout", "-q", "refs/remotes/all/heads/main"]).ok();
        for at in 0..51 {
            work.commit("a.txt", &format!("{at}\n"), Signing::Ssh);
        }
        work.push(&["HEAD:refs/heads/main"]).ok();
        stage.begin().await;
        let tip = stage.main();
        assert_eq!(
            stage.gate.tip("refs/heads/main"),
            Some(tip.to_string()),
            "{}",
            stage.log()
        );
        assert_eq!(stage.bot.metrics.read(Count::Entered), 2);
        stage.gate.ask(&["verify", &tip.to_string()]).ok();
    });
}

/// Proposes two signed commits, moves main on meanwhile, and lands the two rebased; `touch` meddles with the first.
async fn rebased(stage: &Stage, number: u64, touch: bool) -> Oid {
    let work = stage.tree();
    work.git(&["checkout", "-q", "refs/remotes/all/heads/main"]).ok();
    let base: Oid = work.git(&["rev-parse", "HEAD"]).ok().parse().unwrap();
    work.commit(&format!("{number}a.txt"), "a\n", Signing::Ssh);
    let head: Oid = work
        .commit(&format!("{number}b.txt"), "b\n", Signing::Ssh)
        .parse()
        .unwrap();
    work.push(&[&format!("HEAD:refs/pull/{number}/head")]).ok();
    stage.propose_head(number, head);
    work.git(&["checkout", "-q", &base.to_string()]).ok();
    work.commit(&format!("{number}c.txt"), "c\n", Signing::Ssh);
    work.push(&["HEAD:refs/heads/main"]).ok();
    stage.begin().await;
    work.git_ssh(&["cherry-pick", "-S", &format!("{head}^")]).ok();
    if touch {
        work.shell(&format!("echo more >> {number}a.txt; git add ."), "").ok();
        work.git_ssh(&["commit", "-q", "-S", "--amend", "--no-edit"]).ok();
    }
    work.git_ssh(&["cherry-pick", "-S", &head.to_string()]).ok();
    work.push(&["HEAD:refs/heads/main"]).ok();
    let revision = stage.main();
    stage.forge.land(number, revision);
    stage.begin().await;
    revision
}

#[test]
fn a_rebase_of_several_commits_is_reviewed_if_they_are_the_reviewed_ones() {
    run_kept(async |stage: Stage| {
        stage.forge.enforce(guarded());
        stage.begin().await;
        let revision = rebased(&stage, 7, false).await;
        stage.verify(revision, "4").ok();
        let meddled = rebased(&stage, 8, true).await;
        stage.verify(meddled, "1").ok();
        stage.verify(meddled, "4").ends_with(1);
    });
}

#[test]
fn a_rebase_of_several_commits_is_known_in_a_repository_of_sha_256_too() {
    run_sha256(async |stage: Stage| {
        stage.forge.enforce(guarded());
        stage.begin().await;
        let revision = rebased(&stage, 7, false).await;
        // An older git cannot tell: then no review is claimed.
        let knows = stage.gate.scratch.run("git", &["merge-tree", "-h"]);
        let knows = format!("{}{}", knows.stdout, knows.stderr).contains("merge-base");
        match knows {
            true => stage.verify(revision, "4").ok(),
            false => stage.verify(revision, "4").ends_with(1).stderr,
        };
        let meddled = rebased(&stage, 8, true).await;
        stage.verify(meddled, "4").ends_with(1);
    });
}

/// What the attestation says of a landed revision: provenance and summary.
async fn statements(stage: &Stage, revision: Oid) -> [serde_json::Value; 2] {
    use base64::Engine;
    let store = SqliteStore::open(&stage.gate.home("ledger.db")).await.unwrap();
    let entry = store.entries_of(revision).await.unwrap().pop().unwrap();
    [entry.provenance, entry.vsa].map(|envelope| {
        let envelope: serde_json::Value = serde_json::from_str(&envelope.unwrap()).unwrap();
        let payload = envelope["payload"].as_str().unwrap();
        serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(payload).unwrap()).unwrap()
    })
}

#[test]
fn a_waiver_covers_what_lands_and_the_entry_says_so() {
    run_kept(async |stage: Stage| {
        stage.gate.edit_policy("approvers = []", "approvers = [\"carol\"]");
        stage.forge.enforce(guarded());
        stage.begin().await;
        let good = stage.main();
        let head = stage.propose(7, "7.txt", false);
        let work = stage.tree();
        work.git(&["checkout", "-q", &good.to_string()]).ok();
        work.git_ssh(&["merge", "-q", "-S", "--no-ff", "-m", "Merge", &head.to_string()])
            .ok();
        work.push(&["HEAD:refs/heads/main"]).ok();
        let landed = stage.main();
        stage.forge.land(7, landed);
        stage.begin().await;
        assert_eq!(stage.last(landed).state, CheckState::Failure);
        assert_eq!(stage.gate.tip("refs/heads/main"), Some(good.to_string()));

        let refused = stage
            .decisions()
            .await
            .into_iter()
            .find(|record| !record.allowed)
            .unwrap();
        let commit = head.to_string();
        let grant = [
            "waiver",
            "grant",
            "--push",
            &refused.push_id,
            "--code",
            "unsigned-commit",
        ];
        let why = [
            "--commit",
            &commit,
            "--reason",
            "the key is on its way",
            "--approver",
            "carol",
        ];
        stage.gate.ask(&[&grant[..], &why[..]].concat()).ok();
        stage.begin().await;
        assert_eq!(stage.bot.metrics.read(Count::Entered), 1, "{}", stage.log());
        let told = stage.last(landed);
        assert_eq!(told.state, CheckState::Success, "{}", told.summary);
        assert_eq!(stage.gate.tip("refs/heads/main"), Some(landed.to_string()));

        let waiver = stage.gate.json(&["waiver", "list", "--active"])["waivers"][0].clone();
        let [provenance, vsa] = statements(&stage, landed).await;
        let levels = vsa["predicate"]["verifiedLevels"].to_string();
        assert!(
            !levels.contains("ORG_SOURCE_SIGNED") && levels.contains("ORG_SOURCE_SECRETS_SCANNED"),
            "{levels}"
        );
        let inputs = vsa["predicate"]["inputAttestations"].to_string();
        for record in waiver["records"].as_array().unwrap() {
            assert!(inputs.contains(record.as_str().unwrap()), "{inputs}");
        }
        assert_eq!(provenance["predicate"]["waivers"].as_array().unwrap().len(), 1);
        stage.verify(landed, "1").ok();
        stage.gate.ask(&["log", "check"]).ok();
        stage.gate.ask(&["log", "replay", "--all"]).ok();

        // What lands after it is signed, and says so again from there on.
        stage.propose(8, "8.txt", true);
        let after = stage.merge(8, Way::Merge);
        stage.begin().await;
        let [_, vsa] = statements(&stage, after).await;
        assert!(
            vsa["predicate"]["verifiedLevels"]
                .to_string()
                .contains("ORG_SOURCE_SIGNED")
        );
    });
}

#[test]
fn the_texts_are_as_reviewed() {
    let oid = |digit: char| digit.to_string().repeat(40).parse::<Oid>().unwrap();
    let name: RefName = "refs/heads/main".parse().unwrap();
    let change = Change {
        repo: super::stage::repo(),
        number: 0,
        open: true,
        base: name.clone(),
        base_oid: oid('b'),
        head_oid: oid('b'),
        author: String::new(),
        merged_as: None,
    };
    let frame = Frame {
        change: &change,
        evaluation: "",
        policy: "0123456789ab",
        at: Timestamp::from_unix(1_795_000_000),
    };
    let update = RefUpdate {
        name,
        old: oid('a'),
        new: oid('b'),
    };
    let place = Place {
        commit: Some(oid('c')),
        ..Place::default()
    };
    let unsigned = Finding::new(
        "unsigned-commit",
        Severity::High,
        place,
        "it has no signature".to_owned(),
    );
    let tag = RefUpdate {
        name: "refs/tags/v1.0".parse().unwrap(),
        ..update.clone()
    };
    let displays = [
        texts::landed(frame, &tag, std::slice::from_ref(&unsigned), 1, None),
        texts::leaked(frame, 12, oid('d'), "01KE", 2),
        texts::landed(frame, &update, &[], 3, Some(("01KB-0", 4))),
        texts::landed(frame, &update, std::slice::from_ref(&unsigned), 1, None),
        texts::protection(frame, &[Drift::ForcePushAllowed, Drift::CheckNotRequired], "01KC", true),
        texts::protection(frame, &[], "01KD", false),
    ];
    let shown = displays.map(|display| format!("{:?} {}\n\n{}", display.state, display.title, display.summary));
    insta::assert_snapshot!(shown.join("\n----\n"));
}
