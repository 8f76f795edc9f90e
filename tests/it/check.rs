//! `lychgate check`: a developer hears before a push what the server says at the push.

use crate::support::{Gate, LYCHGATE, Run, Signing, WorkTree, token};
use crate::waiver::{obey, told, waivers};

/// A gate with one commit on `main`, and a work tree that tracks it.
fn begin(gate: &Gate) -> WorkTree<'_> {
    let dev = gate.work_tree(gate.bare.to_str().unwrap(), &[]);
    dev.commit("README", "hello\n", Signing::Ssh);
    dev.push(&["main"]).ok();
    dev
}

/// The codes in brackets after `word` that a text names, sorted.
fn codes(text: &str, word: &str) -> Vec<String> {
    let word = format!("{word}[");
    let parts = text.split(word.as_str()).skip(1);
    let mut codes: Vec<String> = parts.map(|rest| rest.split(']').next().unwrap().to_owned()).collect();
    codes.sort();
    codes
}

/// Checks and pushes: both must name these codes, or both must let it in.
#[track_caller]
fn same_verdict(dev: &WorkTree<'_>, args: &[&str], push: &[&str], wanted: &[&str]) {
    let said = dev.lychgate(&[&["check"], args].concat());
    assert_eq!(
        said.code,
        i32::from(!wanted.is_empty()),
        "{args:?}: {}{}",
        said.stdout,
        said.stderr
    );
    assert_eq!(codes(&said.stdout, "error"), wanted, "{}", said.stdout);
    assert!(
        !said.stdout.contains("log show"),
        "nothing is recorded: {}",
        said.stdout
    );
    let pushed = dev.push(push);
    assert_eq!(pushed.code == 0, wanted.is_empty(), "{}", pushed.stderr);
    assert_eq!(codes(&pushed.stderr, "error"), wanted, "{}", pushed.stderr);
}

#[test]
fn it_says_what_the_server_says() {
    let gate = Gate::new();
    let dev = begin(&gate);
    dev.commit("clean", "1\n", Signing::Openpgp);
    same_verdict(&dev, &[], &["main"], &[]);
    let entered = dev.git(&["rev-parse", "HEAD"]).ok();

    dev.commit("unsigned", "1\n", Signing::None);
    same_verdict(&dev, &[], &["main"], &["unsigned-commit"]);
    same_verdict(&dev, &["--ref", "topic"], &["HEAD:refs/heads/topic"], &[]);

    dev.git(&["reset", "-q", "--hard", &entered]).ok();
    let secret = token(21);
    dev.commit("config", &format!("k = {secret}\n"), Signing::Ssh);
    same_verdict(&dev, &[], &["main"], &["secret-found"]);
    same_verdict(&dev, &["--ref", "other"], &["HEAD:refs/heads/other"], &["secret-found"]);
    let said = dev.lychgate(&["check"]);
    assert!(!format!("{}{}", said.stdout, said.stderr).contains(&secret));

    dev.git(&["reset", "-q", "--hard", "HEAD~2"]).ok();
    dev.commit("elsewhere", "1\n", Signing::Ssh);
    let range = format!("{entered}..HEAD");
    same_verdict(&dev, &[&range], &["--force", "main"], &["non-fast-forward"]);
    same_verdict(
        &dev,
        &["--ref", "refs/heads/release/1"],
        &["HEAD:refs/heads/release/1"],
        &[],
    );
}

/// The policy lowers what stands in tests; a second path, in a later commit or of the same folder, does not hide there.
#[test]
fn severities_by_path_hold_for_every_path_that_a_push_brings() {
    let gate = Gate::new();
    let dev = begin(&gate);
    gate.edit_policy(
        "deny_severity = \"low\"",
        "deny_severity = \"low\"\n[[secrets.severity]]\npaths = [\"tests/**\"]\nseverity = \"info\"",
    );
    gate.scratch.settled(&gate.bare);
    gate.ask(&["settle"]).ok();
    let base = dev.git(&["rev-parse", "HEAD"]).ok();
    for (number, files) in [(31, &["tests/a"][..]), (32, &["tests/a/k", "tests/b/k"])] {
        let text = format!("k = {}\n", token(number));
        for file in files {
            dev.commit(file, &text, Signing::Ssh);
        }
        same_verdict(&dev, &[], &["main"], &[]);
        dev.git(&["rm", "-rq", "tests"]).ok();
        dev.commit("README", &format!("{number}\n"), Signing::Ssh);
        same_verdict(&dev, &[], &["main"], &[]);
    }
    let clean = dev.git(&["rev-parse", "HEAD"]).ok();
    assert_ne!(base, clean);
    // The same blob, the same folder, and a blob that a later commit of the push moves.
    for (number, first, second) in [
        (33, "tests/a", "src/b"),
        (34, "tests/a/k", "src/k"),
        (35, "src/a", "tests/b"),
    ] {
        let text = format!("k = {}\n", token(number));
        dev.commit(first, &text, Signing::Ssh);
        dev.commit(second, &text, Signing::Ssh);
        same_verdict(&dev, &[], &["main"], &["secret-found"]);
        dev.git(&["reset", "-q", "--hard", &clean]).ok();
    }
    dev.commit("tests/a", &format!("k = {}\n", token(36)), Signing::Ssh);
    dev.git(&["mv", "tests", "src"]).ok();
    dev.commit("README", "moved\n", Signing::Ssh);
    same_verdict(&dev, &[], &["main"], &["secret-found"]);
}

#[test]
fn a_remote_may_be_a_path_beside_the_work_tree() {
    let gate = Gate::new();
    let dev = begin(&gate);
    dev.git(&["remote", "add", "near", "../pay.git"]).ok();
    dev.git(&["fetch", "-q", "near"]).ok();
    dev.commit("clean", "1\n", Signing::Ssh);
    dev.lychgate(&["check", "--remote", "near"]).ends_with(0);
}

#[test]
fn json_is_the_decision() {
    let gate = Gate::new();
    let dev = begin(&gate);
    dev.commit("unsigned", "1\n", Signing::None);
    let run = dev.lychgate(&["check", "--format", "json"]).ends_with(1);
    let decision: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(decision["verdict"], "deny");
    assert_eq!(decision["findings"][0]["code"], "unsigned-commit");
}

#[test]
fn who_may_push_is_checked_for_a_named_account_only() {
    let gate = Gate::new();
    let dev = begin(&gate);
    gate.edit_policy("who = [\"*\"]", "who = [\"ann\"]");
    gate.scratch.settled(&gate.bare);
    gate.ask(&["settle"]).ok();
    dev.commit("clean", "1\n", Signing::Ssh);
    let said = dev.lychgate(&["check"]).ends_with(0).stdout;
    assert!(said.contains("not checked: who may push"), "{said}");
    let said = dev.lychgate(&["check", "--account", "bob"]).ends_with(1).stdout;
    assert_eq!(codes(&said, "error"), ["not-allowed-to-push"]);
    dev.lychgate(&["check", "--account", "ann"]).ends_with(0);
}

#[test]
fn a_key_that_the_server_revokes_is_seen_after_a_fetch() {
    let gate = Gate::new();
    let dev = begin(&gate);
    dev.commit("clean", "1\n", Signing::Ssh);
    dev.lychgate(&["check"]).ends_with(0);
    let keys = gate.json(&["keys", "list"]);
    let ssh = keys
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["kind"] == "ssh")
        .unwrap();
    let fingerprint = ssh["fingerprint"].as_str().unwrap();
    gate.ask(&["keys", "revoke", fingerprint, "--reason", "compromised"])
        .ok();
    dev.lychgate(&["check", "--offline"]).ends_with(0);
    let said = dev.lychgate(&["check"]).ends_with(1).stdout;
    assert_eq!(codes(&said, "error"), ["key-revoked"]);
    dev.lychgate(&["check", "--offline"]).ends_with(1);
    dev.push(&["main"]).refused("error[key-revoked]");

    gate.ask(&["keys", "remove", fingerprint]).ok();
    let said = dev.lychgate(&["check"]).ends_with(1).stdout;
    assert_eq!(codes(&said, "error"), ["unknown-key"]);
}

/// That `run` is a usage error with this code.
#[track_caller]
fn usage(run: Run, code: &str) {
    let run = run.ends_with(2);
    assert!(run.stderr.contains(&format!("error[{code}]")), "{}", run.stderr);
}

#[test]
fn what_cannot_be_checked_is_said() {
    let gate = Gate::new();
    let dev = begin(&gate);
    usage(dev.lychgate(&["check"]), "nothing-to-push");
    dev.commit("clean", "1\n", Signing::Ssh);
    usage(dev.lychgate(&["check", "--offline"]), "no-gate-at-remote");
    usage(dev.lychgate(&["check", "--remote", "nowhere"]), "no-gate-at-remote");
    usage(dev.lychgate(&["check", "main"]), "bad-range");
    usage(dev.lychgate(&["check", "nothing..HEAD"]), "bad-range");
    usage(gate.scratch.run(LYCHGATE, &["check"]), "not-a-work-tree");

    let ungated = gate.scratch.path("ungated.git");
    let ungated = ungated.to_str().unwrap();
    gate.scratch.run("git", &["init", "-q", "--bare", ungated]).ok();
    dev.git(&["remote", "add", "ungated", ungated]).ok();
    usage(dev.lychgate(&["check", "--remote", "ungated"]), "no-gate-at-remote");
}

#[test]
fn a_waiver_counts_as_on_the_server() {
    let gate = Gate::new();
    gate.edit_policy("approvers = []", "approvers = [\"carol\"]");
    let dev = begin(&gate);
    gate.scratch.settled(&gate.bare);
    let head = dev.commit("unsigned", "1\n", Signing::None);
    same_verdict(&dev, &[], &["main"], &["unsigned-commit"]);
    let command = told(&dev.push(&["main"]).refused("unsigned-commit").stderr)
        .pop()
        .unwrap();
    obey(&gate, &command, "carol").ok();
    let offline = dev.lychgate(&["check", "--offline"]).ends_with(1).stdout;
    assert!(
        !offline.contains("waive"),
        "it was not fetched, and no waiver of a value is open: {offline}"
    );
    let said = dev.lychgate(&["check"]).ends_with(0).stdout;
    assert!(said.contains("waived[unsigned-commit]"), "{said}");

    // Revoked, it is over here too; and granted again, it lets in on both sides.
    let id = waivers(&gate, "--active")[0]["id"].as_str().unwrap().to_owned();
    gate.ask(&["waiver", "revoke", &id, "--reason", "the key came"]).ok();
    same_verdict(&dev, &[], &["main"], &["unsigned-commit"]);
    obey(&gate, &command, "carol").ok();
    same_verdict(&dev, &[], &["main"], &[]);
    assert_eq!(gate.tip("refs/heads/main").as_deref(), Some(head.as_str()));
    // It is for this commit alone.
    dev.commit("more", "1\n", Signing::None);
    same_verdict(&dev, &[], &["main"], &["unsigned-commit"]);
}

#[test]
fn a_waiver_of_a_value_is_the_servers_to_compare() {
    let gate = Gate::new();
    gate.edit_policy("approvers = []", "approvers = [\"carol\"]");
    let dev = begin(&gate);
    dev.commit("sample", &format!("key = {}\n", token(73)), Signing::Ssh);
    let command = told(&dev.push(&["main"]).refused("secret-found").stderr).pop().unwrap();
    let said = dev.lychgate(&["check"]).ends_with(1).stdout;
    assert!(!said.contains("not checked: whether"), "{said}");
    obey(&gate, &command, "carol").ok();
    let said = dev.lychgate(&["check"]).ends_with(1).stdout;
    assert!(
        said.contains("not checked: whether one of 1 waivers of found values is about this"),
        "{said}"
    );
    dev.push(&["main"]).ok();
}

/// One of the gate's published files is replaced in the clone by `text`; `None`: it is not there.
fn forge(dev: &WorkTree<'_>, name: &str, text: Option<&str>) {
    let entry = text.map_or(String::new(), |text| {
        let blob = dev
            .shell("printf '%s' \"$TOKEN\" | git hash-object -w --stdin", text)
            .ok();
        format!("100644 blob {}\\t{name}\\n", blob.trim())
    });
    let tree = format!(
        "set -e; tree=$( (git ls-tree refs/lychgate/gate | grep -v {name}; printf '{entry}') | git mktree); \
         git update-ref refs/lychgate/gate $(git commit-tree $tree -m forged)"
    );
    dev.shell(&tree, "").ok();
}

#[test]
fn waivers_that_the_gate_did_not_sign_are_no_waivers() {
    let gate = Gate::new();
    gate.edit_policy("approvers = []", "approvers = [\"carol\"]");
    let dev = begin(&gate);
    dev.commit("unsigned", "1\n", Signing::None);
    let command = told(&dev.push(&["main"]).refused("unsigned-commit").stderr)
        .pop()
        .unwrap();
    obey(&gate, &command, "carol").ok();
    dev.lychgate(&["check"]).ends_with(0);
    let signed = dev.git(&["cat-file", "blob", "refs/lychgate/gate:waivers.json"]).ok();
    let stranger = Gate::new();
    let foreign = std::fs::read_to_string(stranger.home("attestation.pub")).unwrap();
    let cases = [
        ("not json".to_owned(), "waivers-unreadable"),
        ("{}".to_owned(), "waivers-unreadable"),
        (r#"["{}"]"#.to_owned(), "waiver-unverified"),
        (
            signed.replacen("payload\\\":\\\"", "payload\\\":\\\"A", 1),
            "waiver-unverified",
        ),
        (signed.replacen("sig\\\":\\\"", "sig\\\":\\\"A", 1), "waiver-unverified"),
    ];
    for (text, code) in cases {
        assert_ne!(text, signed);
        forge(&dev, "waivers.json", Some(&text));
        let run = dev.lychgate(&["check", "--offline"]);
        assert!(
            run.code > 1 && run.stderr.contains(&format!("[{code}]")),
            "{text}: {}{}",
            run.stdout,
            run.stderr
        );
    }
    forge(&dev, "waivers.json", None);
    let said = dev.lychgate(&["check", "--offline"]).ends_with(1).stdout;
    assert!(
        said.contains("not checked: waivers, which this gate does not publish"),
        "{said}"
    );
    // Another gate's key verifies none of them.
    dev.lychgate(&["check"]).ends_with(0);
    forge(&dev, "attestation.pub", Some(&foreign));
    let run = dev.lychgate(&["check", "--offline"]);
    assert!(
        run.stderr.contains("[waiver-unverified]"),
        "{}{}",
        run.stdout,
        run.stderr
    );
}
