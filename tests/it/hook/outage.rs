//! What the hooks need and cannot have: denied, the cause named, no verdict, the repository as it was.

use super::begin;
use crate::support::{Gate, LYCHGATE, Run, Signing, WorkTree};
use std::fs;
use std::path::Path;

/// Runs a hook as git does, with these bytes (as `printf` writes them) on standard input.
fn hook(gate: &Gate, name: &str, input: &str, variables: &[(&str, &str)]) -> Run {
    let mut command = gate.scratch.command("sh");
    command
        .current_dir(&gate.bare)
        .env("GIT_DIR", ".")
        .envs(variables.iter().copied());
    let script = format!("printf \"$1\" | '{LYCHGATE}' hook {name}");
    Run::of(command.args(["-c", &script, "sh", input]))
}

/// Every ref, and every object as `count-objects` counts them.
fn contents(gate: &Gate) -> String {
    gate.git(&["for-each-ref"]).ok() + &gate.git(&["count-objects", "-v"]).ok()
}

/// Pushes to `main`, and asks the hook itself: both must deny by this outage and say all of `parts`.
#[track_caller]
fn denies(gate: &Gate, dev: &WorkTree<'_>, code: &str, parts: &[&str]) {
    gate.scratch.settled(&gate.bare);
    let before = contents(gate);
    let said = dev.push(&["main"]).refused(&format!("outage[{code}]")).stderr;
    // As one text: a long line is broken between words.
    let joined = said
        .replace("remote:", " ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    for part in parts
        .iter()
        .chain(&["this says nothing about your work", "tell your administrator"])
    {
        assert!(joined.contains(part), "{code}: no {part:?} in:\n{said}");
    }
    assert!(!said.contains("remote: error["), "an outage is no verdict: {said}");
    assert_eq!(contents(gate), before, "{code}: the repository was touched");

    let main = gate.tip("refs/heads/main").unwrap();
    let tip = gate.tip("refs/heads/topic").unwrap();
    let run = hook(gate, "pre-receive", &format!("{main} {tip} refs/heads/main\\n"), &[]);
    assert_eq!(run.code, 3, "{code}: {}", run.stderr);
}

/// A gate and a work tree with a signed commit that could enter `main`, and is on `topic` already.
fn ready(gate: &Gate) -> WorkTree<'_> {
    let dev = begin(gate);
    dev.commit("next", "1\n", Signing::Ssh);
    dev.push(&["HEAD:refs/heads/topic"]).ok();
    dev
}

/// Breaks a file of the installation in each way, asks `denied`, and puts it back.
fn break_file(gate: &Gate, name: &str, content: Option<&str>, denied: impl FnOnce()) {
    let (path, kept) = (gate.home(name), gate.scratch.path("kept"));
    gate.scratch.settled(&gate.bare);
    fs::rename(&path, &kept).unwrap();
    if let Some(content) = content {
        fs::write(&path, content).unwrap();
    }
    denied();
    remove(&path);
    fs::rename(&kept, &path).unwrap();
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_dir_all(path);
}

/// A folder in a file's place: what even root cannot read as a file.
fn unreadable(gate: &Gate, name: &str, denied: impl FnOnce()) {
    break_file(gate, name, None, || {
        fs::create_dir(gate.home(name)).unwrap();
        denied();
    });
}

#[test]
fn files_that_are_missing_broken_or_unreadable() {
    let gate = Gate::new();
    let dev = ready(&gate);
    let cases = [
        ("policy.toml", "policy-unreadable", ("policy-invalid", "not = a policy")),
        (
            "gate.toml",
            "settings-unreadable",
            ("settings-invalid", "not a setting"),
        ),
        (
            "fingerprint.key",
            "fingerprint-key-unreadable",
            ("fingerprint-key-unreadable", "0123"),
        ),
        (
            "attestation.key",
            "signer-unavailable",
            ("signer-unavailable", "no key"),
        ),
    ];
    for (file, code, broken) in cases {
        break_file(&gate, file, None, || denies(&gate, &dev, code, &[file]));
        unreadable(&gate, file, || denies(&gate, &dev, code, &[file]));
        let (code, content) = broken;
        break_file(&gate, file, Some(content), || denies(&gate, &dev, code, &[file]));
    }
    dev.push(&["main"]).ok();
}

#[test]
fn every_error_of_a_policy_is_told_at_once() {
    let gate = Gate::new();
    let dev = ready(&gate);
    gate.edit_policy("delete = false  ", "delete = 7  ");
    gate.edit_policy("deny_confidence = \"high\"", "deny_confidence = \"sure\"");
    gate.edit_policy("\nseconds = 30", "\nsecconds = 30");
    let parts = ["3 errors", "delete = 7", "sure", "secconds", "policy.toml:"];
    denies(&gate, &dev, "policy-invalid", &parts);
    let text = fs::read_to_string(gate.home("policy.toml")).unwrap();
    let many: String = (0..60).map(|n| format!("wrong{n} = 1\n")).collect();
    fs::write(gate.home("policy.toml"), many + &text).unwrap();
    let said = dev.push(&["main"]).refused("...").stderr;
    let ours = said.lines().filter(|line| line.starts_with("remote:")).count();
    assert!(ours <= 41, "more than a screen: {said}");
    assert!(said.contains("says nothing about your work"), "{said}");
}

#[test]
fn a_store_that_is_missing_broken_or_unreadable() {
    let gate = Gate::new();
    let dev = ready(&gate);
    gate.scratch.settled(&gate.bare);
    gate.ask(&["settle"]).ok();
    break_file(&gate, "ledger.db", None, || {
        denies(&gate, &dev, "store-missing", &["ledger.db"]);
        assert!(!gate.home("ledger.db").exists(), "a hook made an empty ledger");
    });
    unreadable(&gate, "ledger.db", || {
        denies(&gate, &dev, "store-unreadable", &["ledger.db"])
    });
    let garbage = "this is no database ".repeat(500);
    break_file(&gate, "ledger.db", Some(&garbage), || {
        denies(&gate, &dev, "store-corrupt", &["ledger.db"]);
    });
    dev.push(&["main"]).ok();
    gate.ask(&["log", "check"]).ok();
}

#[test]
fn a_keyring_that_is_missing_or_unreadable() {
    let gate = Gate::new();
    let dev = ready(&gate);
    break_file(&gate, "keyring", None, || {
        denies(&gate, &dev, "keyring-unreadable", &["keyring"])
    });
    break_file(&gate, "keyring", Some("a file"), || {
        denies(&gate, &dev, "keyring-unreadable", &["keyring"]);
    });
    dev.push(&["main"]).ok();
}

#[test]
fn an_installation_that_is_gone() {
    let gate = Gate::new();
    let dev = ready(&gate);
    gate.scratch.settled(&gate.bare);
    fs::rename(gate.home(""), gate.scratch.path("moved")).unwrap();
    let before = contents(&gate);
    dev.push(&["main"]).refused("outage[settings-unreadable]");
    assert_eq!(contents(&gate), before);
}

#[test]
fn hook_input_that_git_never_writes() {
    let gate = Gate::new();
    begin(&gate);
    let (a, b) = ("a".repeat(40), "b".repeat(40));
    let long = "c".repeat(64);
    let inputs = [
        String::new(),
        "\\n".to_owned(),
        format!("{a} {b} refs/heads/main"),
        format!("{a} {b}\\n"),
        format!("{a} {b} main\\n"),
        format!("{a} {long} refs/heads/main\\n"),
        format!("{a} xyz refs/heads/main\\n"),
        format!("{a} {b} refs/heads/main\\n{a} {b} refs/heads/main\\n"),
        format!("{a} {b} refs/heads/\\377\\n"),
        "\\000\\001\\002".to_owned(),
    ];
    for input in &inputs {
        let run = hook(&gate, "pre-receive", input, &[]).ends_with(3);
        assert!(
            run.stderr.contains("outage[malformed-hook-input]"),
            "{input:?}: {}",
            run.stderr
        );
        assert!(
            run.stderr.contains("says nothing about your work"),
            "{input:?}: {}",
            run.stderr
        );
        assert!(run.stdout.is_empty());
    }
    let run = hook(&gate, "reference-transaction prepared", "refs/heads/main\\n", &[]);
    assert_eq!(run.code, 0, "no ref in sight: {}", run.stderr);
    let run = hook(&gate, "reference-transaction prepared", "x refs/heads/main\\n", &[]).ends_with(3);
    assert!(run.stderr.contains("outage[malformed-hook-input]"), "{}", run.stderr);
    hook(&gate, "no-such-hook", "", &[]).ends_with(2);
}

#[test]
fn gitlab_shows_every_line_of_a_failure() {
    let gate = Gate::new();
    begin(&gate);
    let gitlab = [("GL_ID", "key-1"), ("GL_USERNAME", "ann")];
    let main = gate.tip("refs/heads/main").unwrap();
    let missing = "b".repeat(40);
    fs::remove_file(gate.home("policy.toml")).unwrap();
    let input = format!("{main} {missing} refs/heads/main\\n");
    for (name, code) in [("pre-receive", 3), ("reference-transaction prepared", 3)] {
        let run = hook(&gate, name, &input, &gitlab).ends_with(code);
        assert!(run.stderr.contains("policy-unreadable"), "{}", run.stderr);
        let bare = run.stderr.lines().find(|line| !line.starts_with("GL-HOOK-ERR: "));
        assert_eq!(bare, None, "{}", run.stderr);
    }
    // Two servers' names at once: nobody knows whom to believe.
    let both = [("GL_ID", "1"), ("GL_USERNAME", "ann"), ("GITEA_PUSHER_NAME", "bob")];
    let run = hook(&gate, "pre-receive", &input, &both).ends_with(3);
    assert!(
        run.stderr.starts_with("GL-HOOK-ERR: ") && run.stderr.contains("actor-ambiguous"),
        "{}",
        run.stderr
    );
}

/// The bytes of a push that git's client would send, with the pack changed by `spoil` (a shell command).
fn spoiled_push(gate: &Gate, dev: &WorkTree<'_>, spoil: &str) -> Run {
    let script = format!(
        "old=$(git rev-parse HEAD~1); new=$(git rev-parse HEAD); line=\"$old $new refs/heads/main\"
         printf '%s\\n^%s\\n' $new $old | git pack-objects -q --revs --stdout >good.pack
         {spoil} <good.pack >bad.pack
         {{ printf '%04x%s\\000report-status' $((${{#line}} + 4 + 14)) \"$line\"; printf 0000; cat bad.pack; }} >request
         git receive-pack {} <request",
        gate.bare.display()
    );
    dev.shell(&script, "")
}

#[test]
fn a_pack_that_is_cut_or_changed() {
    let gate = Gate::new();
    let dev = begin(&gate);
    dev.commit("next", "1\n", Signing::Ssh);
    gate.scratch.settled(&gate.bare);
    let before = contents(&gate);
    for spoil in ["head -c 100", "head -c -5", "head -c -30", "sed s/PACK/PECK/", ":"] {
        for limit in ["1", "100"] {
            gate.git(&["config", "receive.unpackLimit", limit]).ok();
            let run = spoiled_push(&gate, &dev, spoil);
            assert!(!run.stdout.contains("ok refs/heads/main"), "{spoil}: {run:?}");
            assert_eq!(contents(&gate), before, "{spoil}, limit {limit}");
        }
    }
    gate.ask(&["log", "check"]).ok();
    let run = spoiled_push(&gate, &dev, "cat");
    assert!(
        run.stdout.contains("ok refs/heads/main"),
        "the request itself is wrong: {run:?}"
    );
}

/// Stands in for the reference-transaction hook; at `committed` it does something first.
fn at_committed(gate: &Gate, first: &str) {
    // The work after an earlier push moves refs of its own.
    gate.scratch.settled(&gate.bare);
    let path = gate.bare.join("hooks/reference-transaction");
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = committed ]; then {first}; fi\nexec '{LYCHGATE}' hook reference-transaction \"$@\"\n"
    );
    fs::remove_file(&path).unwrap();
    gate.scratch.script("pay.git/hooks/reference-transaction", &text);
}

#[test]
fn a_key_that_goes_away_once_the_ref_has_moved() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let key = gate.home("attestation.key");
    at_committed(&gate, &format!("mv {0} {0}.away 2>/dev/null", key.display()));
    let next = dev.commit("next", "1\n", Signing::Ssh);
    let run = dev.push(&["main"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("the push entered"), "{}", run.stderr);
    assert!(run.stderr.contains("outage[signer-unavailable]"), "{}", run.stderr);
    assert!(!run.stderr.contains("push refused"), "{}", run.stderr);
    gate.scratch.settled(&gate.bare);
    gate.ask(&["verify", &next, "--ref", "main"]).ends_with(1);

    fs::rename(key.with_extension("key.away"), &key).unwrap();
    gate.ask(&["verify", &next, "--ref", "main"]).ok();
    gate.ask(&["log", "check"]).ok();
}

#[test]
fn a_committed_that_never_ran_is_made_up_for() {
    let gate = Gate::new();
    let dev = begin(&gate);
    at_committed(&gate, "kill -KILL $$");
    let next = dev.commit("next", "1\n", Signing::Ssh);
    dev.push(&["main"]).ok();
    assert_eq!(gate.tip("refs/heads/main").as_deref(), Some(next.as_str()));
    gate.ask(&["verify", &next, "--ref", "main"]).ok();
    assert_eq!(gate.json(&["log"])["total"], 2);
    gate.ask(&["log", "check"]).ok();
}
