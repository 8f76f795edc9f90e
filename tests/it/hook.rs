//! Real pushes through the hooks, and what a server's own git may still do beside them.
//!
//! In scope: refs, tags, objects that were there before, pushes of several refs and at once. [`outage`]: what
//! the hooks need and cannot have. [`mend`]: what a refusal tells to do, done. [`openpgp`]: first uses and second opinions. Out of scope: ways in
//! (`transport`), places of secrets (`places`), kills (`crash`).

pub(crate) mod mend;
mod openpgp;
mod outage;

use crate::support::{Gate, LYCHGATE, Run, Signing, WorkTree, token};

/// A gate with one signed commit on `main`, and a work tree that has it.
fn begin(gate: &Gate) -> WorkTree<'_> {
    let dev = gate.work_tree(gate.bare.to_str().unwrap(), &[]);
    dev.commit("README", "hello\n", Signing::Ssh);
    dev.push(&["main"]).ok();
    dev
}

/// The `key:` of a message's last line that names the report.
pub(super) fn push_id(said: &str) -> String {
    let (_, rest) = said.split_once("lychgate log show ").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_protected_ref_moves_by_a_push_only() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let main = gate.tip("refs/heads/main").unwrap();
    let other = dev.commit("other", "1\n", Signing::Ssh);
    dev.push(&["HEAD:refs/heads/topic"]).ok();
    let ways: [&[&str]; 5] = [
        &["update-ref", "refs/heads/main", &other],
        &["update-ref", "-d", "refs/heads/main"],
        &["branch", "-f", "main", &other],
        &["symbolic-ref", "refs/heads/main", "refs/heads/topic"],
        &["update-ref", "refs/tags/v9", &other],
    ];
    for way in ways {
        let said = gate.git(way).refused("error[not-through-the-gate]").stderr;
        assert!(said.contains("= help: push the change"), "{way:?}: {said}");
        assert_eq!(gate.tip("refs/heads/main").as_deref(), Some(main.as_str()), "{way:?}");
    }
    assert_eq!(gate.tip("refs/tags/v9"), None);
    gate.git(&["update-ref", "refs/heads/topic", &main]).ok();
    gate.git(&["branch", "-D", "topic"]).ok();
}

#[test]
fn a_pass_lets_its_own_push_make_the_moves_that_it_names() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let main = gate.tip("refs/heads/main").unwrap();
    let (there, elsewhere) = (dev.commit("next", "1\n", Signing::Ssh), "b".repeat(40));
    gate.scratch.settled(&gate.bare);
    // It goes by the name that the gate knows the mover of refs by.
    let text = format!(
        "#!/bin/bash\nset -- $1 $2 $(cut -d' ' -f22 /proc/$$/stat)\n\
         boot=$(cat /proc/sys/kernel/random/boot_id); owner=\"$boot $$ $3\"\n\
         [ $1 = own ] || owner=\"$boot 1 $3\"\nmkdir -p lychgate/passes\n\
         printf '%s\\n{main} {there} refs/heads/main\\n' \"$owner\" > lychgate/passes/$$-$3\n\
         printf '{main} %s refs/heads/main\\n{main} %s HEAD\\n' $2 $2 | \
         GIT_DIR=. {LYCHGATE} hook reference-transaction prepared\n"
    );
    let mover = gate.scratch.script("receive-pack", &text);
    let moves = |owner: &str, new: &str| {
        let mut command = gate.scratch.command(&mover);
        Run::of(command.current_dir(&gate.bare).args([owner, new]))
    };
    moves("own", &there).ok();
    moves("own", &elsewhere).refused("error[not-through-the-gate]");
    moves("other", &there).refused("error[not-through-the-gate]");
    gate.ask(&["settle"]).ok();
    assert_eq!(
        std::fs::read_dir(gate.home("passes")).unwrap().count(),
        0,
        "they are over"
    );
}

#[test]
fn a_lock_that_a_killed_git_left_on_the_notes_goes_once_it_is_old() {
    let gate = Gate::new();
    let dev = begin(&gate);
    gate.scratch.settled(&gate.bare);
    let lock = gate.bare.join("refs/notes/commits.lock");
    let file = std::fs::File::create(&lock).unwrap();
    let next = dev.commit("next", "1\n", Signing::Ssh);
    dev.push(&["main"]).ok();
    gate.scratch.settled(&gate.bare);
    gate.git(&["notes", "show", &next]).refused("no note found");
    assert!(lock.exists(), "whose it is, nobody can tell yet");
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    file.set_modified(old).unwrap();
    gate.ask(&["settle"]).ok();
    assert!(gate.git(&["notes", "show", &next]).ok().contains("dsseEnvelope"));
    assert!(!lock.exists());
}

#[test]
fn housekeeping_moves_nothing_and_works() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let main = gate.tip("refs/heads/main");
    gate.git(&["pack-refs", "--all"]).ok();
    assert!(!gate.bare.join("refs/heads/main").exists(), "it is packed");
    gate.git(&["gc", "--quiet", "--prune=now"]).ok();
    assert_eq!(gate.tip("refs/heads/main"), main);
    // What looks much like it in the hook is a deletion.
    let old = main.clone().unwrap();
    let ways: [&[&str]; 3] = [
        &["update-ref", "-d", "refs/heads/main"],
        &["update-ref", "-d", "refs/heads/main", &old],
        &["branch", "-D", "main"],
    ];
    for way in ways {
        gate.git(way).refused("");
        assert_eq!(gate.tip("refs/heads/main"), main, "{way:?}");
    }
    dev.commit("more", "1\n", Signing::Ssh);
    dev.push(&["main"]).ok();
    gate.git(&["pack-refs", "--all"]).ok();
    gate.ask(&["log", "check"]).ok();
}

#[test]
fn nobody_pushes_to_reserved_refs() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let main = gate.tip("refs/heads/main").unwrap();
    for name in ["refs/lychgate/x", &format!("refs/replace/{main}")] {
        dev.push(&[&format!("HEAD:{name}")]).refused("error[reserved-ref]");
        assert_eq!(gate.tip(name), None);
    }
    dev.push(&["--force", "HEAD:refs/lychgate/gate"])
        .refused("error[reserved-ref]");
    dev.push(&[":refs/lychgate/gate"]).refused("error[reserved-ref]");
}

#[test]
fn what_was_there_before_is_judged_when_it_reaches_main() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let main = gate.tip("refs/heads/main");
    dev.commit("unsigned", "1\n", Signing::None);
    dev.push(&["HEAD:refs/heads/topic"]).ok();
    dev.push(&["main"]).refused("error[unsigned-commit]");

    dev.git(&["reset", "-q", "--hard", "HEAD~1"]).ok();
    gate.edit_policy("refs = [\"refs/**\"]", "refs = [\"refs/heads/main\"]");
    let secret = token(11);
    dev.commit("config", &format!("k = {secret}\n"), Signing::Ssh);
    dev.git(&["rm", "-q", "config"]).ok();
    dev.git_ssh(&["commit", "-q", "-S", "-m", "Remove it"]).ok();
    dev.push(&["HEAD:refs/heads/lax"]).ok();
    let said = dev.push(&["main"]).refused("error[secret-found]").stderr;
    assert!(said.contains("config:1") && !said.contains(&secret), "{said}");
    assert_eq!(gate.tip("refs/heads/main"), main);
}

#[test]
fn advice_becomes_a_denial_with_the_policy_though_nothing_is_new() {
    let gate = Gate::new();
    let dev = begin(&gate);
    // Nothing but entropy and a telling name: a match of medium confidence.
    let value = token(12)[4..].to_owned();
    dev.commit("config.py", &format!("password = \"{value}\"\n"), Signing::Ssh);
    let run = dev.push(&["HEAD:refs/heads/topic"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("advice[secret-found]"), "{}", run.stderr);
    gate.edit_policy("deny_confidence = \"high\"", "deny_confidence = \"low\"");
    dev.push(&["main"]).refused("error[secret-found]");
}

#[test]
fn a_push_of_several_refs_enters_whole_or_not_at_all() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let main = gate.tip("refs/heads/main");
    dev.commit("good", "1\n", Signing::Ssh);
    dev.git(&["branch", "release/1"]).ok();
    dev.git(&["checkout", "-q", "-b", "release/2"]).ok();
    dev.commit("bad", "1\n", Signing::None);
    let both = ["main", "release/1", "release/2"];
    dev.push(&both).refused("error[unsigned-commit]");
    for name in ["release/1", "release/2"] {
        assert_eq!(gate.tip(&format!("refs/heads/{name}")), None);
    }
    assert_eq!(gate.tip("refs/heads/main"), main);

    dev.push(&["--atomic", "main", "release/1"]).ok();
    let entries = gate.json(&["log"]);
    let entries = entries["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 3, "{entries:?}");
    assert_eq!(entries[0]["push_id"], entries[1]["push_id"]);
    gate.ask(&["log", "check"]).ok();
}

#[test]
fn what_git_itself_aborts_is_void_and_can_enter_later() {
    let gate = Gate::new();
    let dev = begin(&gate);
    dev.push(&["HEAD:refs/heads/topic"]).ok();
    let main = gate.tip("refs/heads/main");
    gate.git(&["config", "receive.denyDeletes", "true"]).ok();
    let next = dev.commit("next", "1\n", Signing::Ssh);
    dev.push(&["--atomic", "main", ":refs/heads/topic"])
        .refused("deletion prohibited");
    assert_eq!(gate.tip("refs/heads/main"), main);
    assert_eq!(gate.json(&["log"])["total"], 1, "what did not move has no entry");
    gate.ask(&["verify", &main.unwrap(), "--ref", "main"]).ok();

    // Without --atomic git moves what it may.
    dev.push(&["main", ":refs/heads/topic"]).refused("deletion prohibited");
    assert_eq!(gate.tip("refs/heads/main").as_deref(), Some(next.as_str()));
    gate.ask(&["verify", &next, "--ref", "main"]).ok();
    gate.ask(&["log", "check"]).ok();
}

#[test]
fn a_version_tag_is_annotated_and_signed() {
    let gate = Gate::new();
    let dev = begin(&gate);
    dev.git(&["tag", "v1"]).ok();
    let said = dev.push(&["refs/tags/v1"]).refused("error[unsigned-tag]").stderr;
    assert!(said.contains("no annotated tag"), "{said}");
    dev.git(&["tag", "-f", "-a", "-m", "One", "v1"]).ok();
    dev.push(&["refs/tags/v1"]).refused("error[unsigned-tag]");
    assert_eq!(gate.tip("refs/tags/v1"), None);
    dev.git_ssh(&["tag", "-f", "-s", "-m", "One", "v1"]).ok();
    dev.push(&["refs/tags/v1"]).ok();
    gate.ask(&["verify", "v1", "--ref", "refs/tags/v1"]).ok();
    dev.git_ssh(&["tag", "-f", "-s", "-m", "Again", "v1"]).ok();
    dev.push(&["--force", "refs/tags/v1"]).refused("error[tag-moved]");
}

#[test]
fn eight_pushes_at_once_all_enter() {
    let gate = Gate::new();
    begin(&gate);
    let url = gate.bare.to_str().unwrap();
    let trees: Vec<WorkTree<'_>> = (0..8)
        .map(|n| {
            let tree = gate.work_tree(url, &[]);
            tree.commit(&format!("file{n}"), "1\n", Signing::Ssh);
            tree
        })
        .collect();
    std::thread::scope(|scope| {
        for (n, tree) in trees.iter().enumerate() {
            scope.spawn(move || tree.push(&[&format!("HEAD:refs/heads/release/{n}")]).ok());
        }
    });
    assert_eq!(gate.json(&["log"])["total"], 9);
    gate.ask(&["log", "check"]).ok();
    for n in 0..8 {
        let name = format!("refs/heads/release/{n}");
        gate.ask(&["verify", &gate.tip(&name).unwrap(), "--ref", &name]).ok();
    }
}

#[test]
fn a_base_that_git_appends_to_a_thin_pack_is_not_the_pushers() {
    let gate = Gate::new();
    // Packs stay packs, so that git appends what a thin pack lacks.
    gate.git(&["config", "receive.unpackLimit", "1"]).ok();
    let dev = begin(&gate);
    let secret = token(13);
    let lines: String = (0..3000).map(|n| format!("line {n} of a long file\n")).collect();
    gate.edit_policy("refs = [\"refs/**\"]", "refs = []");
    let old = dev.commit("long", &format!("k = {secret}\n{lines}"), Signing::Ssh);
    dev.push(&["main"]).ok();
    gate.edit_policy("refs = []", "refs = [\"refs/**\"]");

    dev.commit("long", &lines, Signing::Ssh);
    dev.push(&["--thin", "main"]).ok();
    assert!(
        appended(&gate, &old),
        "no pack has the old blob appended: nothing was tested"
    );
    dev.git_ssh(&["revert", "--no-edit", "-S", "HEAD"]).ok();
    let said = dev.push(&["--thin", "main"]).refused("error[secret-found]").stderr;
    assert!(said.contains("long:1") && !said.contains(&secret), "{said}");
}

/// Whether more than one pack of the repository has the blob `long` of a commit.
fn appended(gate: &Gate, commit: &str) -> bool {
    let blob = gate.git(&["rev-parse", &format!("{commit}:long")]).ok();
    let indices = std::fs::read_dir(gate.bare.join("objects/pack")).unwrap();
    let paths = indices.map(|entry| entry.unwrap().path());
    let indices = paths.filter(|path| path.extension().is_some_and(|e| e == "idx"));
    let holding = indices.filter(|path| {
        let listed = gate.git(&["verify-pack", "-v", path.to_str().unwrap()]).ok();
        listed.lines().any(|line| line.starts_with(&blob))
    });
    holding.count() > 1
}

#[test]
fn a_refusal_is_shown_in_full_by_the_id_that_its_last_line_names() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let secret = token(14);
    let tip = dev.commit("config", &format!("k = {secret}\n"), Signing::None);
    let refused = dev.push(&["main"]).refused("error[").stderr;
    let id = push_id(&refused);
    let text = gate.ask(&["log", "show", &id]).ok();
    for part in [
        "DENIED",
        "error[secret-found]",
        "error[unsigned-commit]",
        &tip,
        "refs/heads/main",
        "facts  sha256:",
        "[secret]",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    assert!(!text.contains(&secret), "{text}");
    let json = gate.json(&["log", "show", &id]);
    assert_eq!(json["verdict"], "deny");
    assert_eq!(json["findings"].as_array().unwrap().len(), 2);
    assert_eq!(json["facts_sha256"].as_str().unwrap().len(), 64);
    assert!(json["entries"].as_array().unwrap().is_empty());
    assert!(!json.to_string().contains(&secret));

    let entered = gate.json(&["log"])["entries"][0]["push_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let text = gate.ask(&["log", "show", &entered]).ok();
    assert!(
        text.contains(": allowed") && text.contains("published, leaf 1"),
        "{text}"
    );
    gate.ask(&["log", "show", "01NOTHING"]).ends_with(2);
}

#[test]
fn a_secret_in_a_name_hides_that_name_and_no_other() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let secret = token(15);
    dev.commit("unsigned", "1\n", Signing::None);
    let names = ["main".to_owned(), format!("HEAD:refs/heads/release/{secret}")];
    let said = dev.push(&[&names[0], &names[1]]).refused("error[secret-found]").stderr;
    let ours: String = said.lines().filter(|line| line.starts_with("remote:")).collect();
    assert!(!ours.contains(&secret), "{ours}");
    assert!(ours.contains("refs/heads/release/(hidden)"), "{said}");
    assert!(ours.contains("on refs/heads/main has no signature"), "{said}");
    let id = push_id(&said);
    for shown in [
        gate.ask(&["log", "show", &id]).ok(),
        gate.json(&["log", "show", &id]).to_string(),
    ] {
        assert!(!shown.contains(&secret), "{shown}");
        assert!(
            shown.contains("refs/heads/release/(hidden)") && shown.contains("refs/heads/main"),
            "{shown}"
        );
    }
    gate.ask(&["log", "replay", &id]).ok();
}

#[test]
fn controls_continue_across_a_close() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let first = gate.tip("refs/heads/main").unwrap();
    dev.commit("second", "2\n", Signing::Ssh);
    dev.push(&["main"]).ok();
    // Issue the older entry anew: it becomes the latest of the ref, though not the tip's.
    let event = ["--commit", &first, "--reason", "anomaly"];
    gate.ask(&[&["reopen"], &event[..]].concat()).ok();
    let close = ["--action", "close", "--evidence", "looked at"];
    gate.ask(&[&["reopen"], &event[..], &close].concat()).ok();
    let third = dev.commit("third", "3\n", Signing::Ssh);
    dev.push(&["main"]).ok();
    let entries = gate.json(&["log"]);
    let entry = &entries["entries"][0];
    assert_eq!(entry["commit"], third.as_str());
    let shown = gate.json(&["log", "show", entry["id"].as_str().unwrap()]);
    let controls = shown["provenance"].to_string();
    assert!(
        controls.contains(&first),
        "the controls begin at {first}, the first revision, not anew: {controls}"
    );
}
