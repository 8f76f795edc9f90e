//! The command line as a user meets it: help, exit codes, completions, the manual page, JSON.
//!
//! Help texts are snapshots: a change of one is a change that a user sees, and
//! is reviewed as such (`cargo insta review`, or `INSTA_UPDATE=always`).

use crate::support::{Gate, LYCHGATE, Scratch, Signing};

/// Every subcommand, in the order of the help.
const SUBCOMMANDS: [&str; 14] = [
    "init",
    "hook",
    "check",
    "scan",
    "rules",
    "verify",
    "reopen",
    "waiver",
    "keys",
    "log",
    "settle",
    "completions",
    "man",
    "help",
];

/// Those of a build with the bot.
const BOT_SUBCOMMANDS: [&str; 3] = ["forge", "serve", "queue"];

#[test]
fn help_is_as_reviewed() {
    let scratch = Scratch::new();
    let bot = cfg!(feature = "bot");
    let whole = if bot { "help-with-bot" } else { "help" };
    insta::assert_snapshot!(whole, scratch.run(LYCHGATE, &["--help"]).ok());
    if bot {
        for name in BOT_SUBCOMMANDS {
            insta::assert_snapshot!(format!("help-{name}"), scratch.run(LYCHGATE, &[name, "--help"]).ok());
        }
    }
    for name in SUBCOMMANDS.into_iter().filter(|name| *name != "help") {
        insta::assert_snapshot!(format!("help-{name}"), scratch.run(LYCHGATE, &[name, "--help"]).ok());
    }
}

#[test]
fn help_lists_every_subcommand() {
    let help = Scratch::new().run(LYCHGATE, &["--help"]).ok();
    let listed: Vec<&str> = help
        .split("Commands:")
        .nth(1)
        .unwrap()
        .lines()
        .map_while(|line| if line.starts_with("Options:") { None } else { Some(line) })
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect();
    let unknown: Vec<_> = listed
        .iter()
        .filter(|name| !SUBCOMMANDS.contains(name) && !BOT_SUBCOMMANDS.contains(name))
        .collect();
    assert!(unknown.is_empty(), "no snapshot of {unknown:?}");
}

#[test]
fn wrong_usage_ends_with_2_and_says_why() {
    let scratch = Scratch::new();
    let missing = scratch.path("missing");
    let missing = missing.to_str().unwrap();
    let wrong: [&[&str]; 9] = [
        &["no-such-command"],
        &["--no-such-option"],
        &["init"],
        &["init", missing],
        &["verify"],
        &["scan", missing],
        &["scan", ".", "--format", "yaml"],
        &["reopen", "--repo", "."],
        &["completions", "tcsh-of-1983"],
    ];
    for args in wrong {
        let run = scratch.run(LYCHGATE, args).ends_with(2);
        assert!(run.stderr.contains("error"), "{args:?}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "{args:?} printed: {}", run.stdout);
    }
}

#[test]
fn completions_and_the_manual_come_from_the_same_definitions() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = scratch.run(LYCHGATE, &["completions", shell]).ok();
        assert!(script.contains("reopen"), "{shell} completes no reopen");
    }
    let manual = scratch.run(LYCHGATE, &["man"]).ok();
    assert!(manual.contains(".TH"), "not a manual page: {manual}");
    let completed = scratch.run(LYCHGATE, &["completions", "bash"]).ok();
    let parsed = scratch.run("bash", &["-n", scratch.write("c.bash", completed).to_str().unwrap()]);
    parsed.ends_with(0);
}

#[test]
fn every_report_is_also_json() {
    let gate = Gate::new();
    let repository = gate.bare.to_str().unwrap();
    let dev = gate.work_tree(repository, &[]);
    let revision = dev.commit("README", "hello\n", Signing::Openpgp);
    dev.push(&["main"]).ok();
    gate.scratch.write("clean.txt", "nothing here\n");

    let exported = gate.scratch.path("exported");
    let exported = exported.to_str().unwrap();
    let reports: [&[&str]; 11] = [
        &["init", repository, "--check"],
        &["scan", "clean.txt"],
        &["keys", "list", "--repo", repository],
        &["verify", &revision, "--ref", "refs/heads/main", "--repo", repository],
        &["log", "--repo", repository],
        &["log", "--repo", repository, "show", "1"],
        &["log", "--repo", repository, "check"],
        &["log", "--repo", repository, "checkpoint"],
        &["log", "--repo", repository, "replay", "--all"],
        &["log", "--repo", repository, "export", &revision, "--out", exported],
        &[
            "reopen",
            "--repo",
            repository,
            "--commit",
            &revision,
            "--reason",
            "leaked_secret_in_use",
        ],
    ];
    for args in reports {
        let text = gate.lychgate(&[args, &["--format", "json"]].concat()).ok();
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
        assert!(parsed.is_ok(), "{args:?} is no JSON: {text}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let scratch = Scratch::new();
    let line = format!("'{LYCHGATE}' --help | head -n 1; '{LYCHGATE}' man | head -n 1");
    let run = scratch.run("sh", &["-c", &line]).ends_with(0);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}
