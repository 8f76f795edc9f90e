//! Where secrets hide: every place is found, or README says that it is not and why.
//!
//! One token a place. In scope: places in a push, through the hook, and kinds
//! of files, through `scan`. Out of scope: kinds of secrets (`rules`).

use crate::support::{Gate, LYCHGATE, Run, Scratch, Signing, WorkTree, token};
use crate::tidy::read;
use std::collections::BTreeSet;

/// Files of `make_places.py` that are not found yet, and the row of README's table that says so.
const NOT_YET: [(&str, &str); 1] = [("reversed.txt", "| a text written backwards |")];

#[test]
fn every_kind_of_file_is_found_or_in_the_table() {
    let scratch = Scratch::new();
    let folder = scratch.path("places");
    let folder = folder.to_str().unwrap();
    let maker = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/make_places.py");
    let secret = token(7);
    scratch.run("python3", &[maker, folder, &secret]).ok();

    let run = scratch
        .run(LYCHGATE, &["scan", folder, "--format", "jsonl"])
        .ends_with(1);
    assert!(!run.stdout.contains(&secret), "the report repeats the secret");
    let found: BTreeSet<String> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|finding| Some(finding["path"].as_str()?.trim_start_matches(folder).to_owned()))
        .map(|path| path.trim_start_matches(['.', '/']).to_owned())
        .collect();

    let list = scratch.run("find", &[folder, "-type", "f", "-printf", "%P\\n"]).ok();
    let readme = read("README.md");
    let mut wrong = Vec::new();
    for path in list.lines() {
        let is_found = found.contains(path.trim_start_matches('.'));
        match NOT_YET.iter().find(|(name, _)| *name == path) {
            None if !is_found => wrong.push(format!("{path} is not found")),
            Some(_) if is_found => wrong.push(format!("{path} is found: README need not excuse it")),
            Some((_, row)) if !readme.contains(row) => wrong.push(format!("{path}: README has no row {row}")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A place in a push: its name, how it is made (in a work tree, with `$TOKEN`), and the refspec.
///
/// What follows `TOKEN` in a refspec is the token.
const PUSHED: [(&str, &str, &str); 21] = [
    (
        "plain file",
        "echo \"k=$TOKEN\" >a.txt; git add .; git commit -qm a",
        "HEAD:refs/heads/topic",
    ),
    (
        "file deleted in the same push",
        "echo \"k=$TOKEN\" >a.txt; git add .; git commit -qm add; git rm -q a.txt; git commit -qm remove",
        "HEAD:refs/heads/topic",
    ),
    (
        "commit message",
        "git commit -q --allow-empty -m \"msg $TOKEN\"",
        "HEAD:refs/heads/topic",
    ),
    (
        "merged branch whose content was dropped",
        "git checkout -qb side; echo \"k=$TOKEN\" >s.txt; git add .; git commit -qm side; git checkout -q --detach main
         git commit -q --allow-empty -m m; git merge -q -s ours -m merge side; git branch -qD side",
        "HEAD:refs/heads/topic",
    ),
    (
        "evil merge, new file",
        "git checkout -qb side; echo s >s.txt; git add .; git commit -qm side; git checkout -q --detach main
         git commit -q --allow-empty -m m; git merge -q --no-commit --no-ff side; git branch -qD side
         echo \"k=$TOKEN\" >evil.txt; git add .; git commit -qm merge",
        "HEAD:refs/heads/topic",
    ),
    (
        "evil merge, changed file",
        "git checkout -qb side; echo s >s.txt; git add .; git commit -qm side; git checkout -q --detach main
         echo 1 >m.txt; git add .; git commit -qm m; git merge -q --no-commit --no-ff side; git branch -qD side
         echo \"k=$TOKEN\" >>m.txt; git add .; git commit -qm merge",
        "HEAD:refs/heads/topic",
    ),
    ("annotated tag", "git tag -a t -m \"tag $TOKEN\"", "refs/tags/t"),
    (
        "note",
        "git notes --ref review add -m \"note $TOKEN\"",
        "refs/notes/review",
    ),
    (
        "file name",
        "mkdir -p dir; echo x >\"dir/$TOKEN.txt\"; git add .; git commit -qm name",
        "HEAD:refs/heads/topic",
    ),
    (
        "branch name",
        "git commit -q --allow-empty -m b",
        "HEAD:refs/heads/b-TOKEN",
    ),
    ("tag name", "git tag -a \"t-$TOKEN\" -m t", "refs/tags/t-TOKEN"),
    (
        "author name",
        "GIT_AUTHOR_NAME=\"n $TOKEN\" git commit -q --allow-empty -m author",
        "HEAD:refs/heads/topic",
    ),
    (
        "committer name",
        "GIT_COMMITTER_NAME=\"n $TOKEN\" git commit -q --allow-empty -m committer",
        "HEAD:refs/heads/topic",
    ),
    (
        "tagger name",
        "GIT_COMMITTER_NAME=\"n $TOKEN\" git tag -a tagged -m tag",
        "refs/tags/tagged",
    ),
    (
        "archive",
        "python3 -c 'import sys, zipfile; zipfile.ZipFile(\"a.zip\", \"w\", 8).writestr(\"a.txt\", sys.argv[1])' \"$TOKEN\"
         git add .; git commit -qm zip",
        "HEAD:refs/heads/topic",
    ),
    (
        "symlink target",
        "ln -s \"/x/$TOKEN\" link; git add .; git commit -qm link",
        "HEAD:refs/heads/topic",
    ),
    (
        ".gitmodules",
        "printf '[submodule \"x\"]\\n\\tpath = x\\n\\turl = https://%s@github.com/x/y\\n' \"$TOKEN\" >.gitmodules
         git add .; git commit -qm sub",
        "HEAD:refs/heads/topic",
    ),
    (
        "UTF-16",
        "printf '\\377\\376' >u.txt; printf 'k=%s' \"$TOKEN\" | sed 's/./&\\n/g' | tr '\\n' '\\0' >>u.txt
         git add .; git commit -qm utf16",
        "HEAD:refs/heads/topic",
    ),
    (
        "binary file",
        "printf '\\000\\001\\002%s\\000\\003' \"$TOKEN\" >bin.dat; git add .; git commit -qm bin",
        "HEAD:refs/heads/topic",
    ),
    (
        "file that .gitattributes hides from diffs",
        "echo '*.lock -diff' >.gitattributes; echo \"k=$TOKEN\" >x.lock; git add .; git commit -qm attributes",
        "HEAD:refs/heads/topic",
    ),
    (
        "line with comments that ask scanners to look away",
        "echo \"k=$TOKEN # gitleaks:allow kingfisher:ignore nosec lychgate:ignore\" >g.txt; git add .; git commit -qm g",
        "HEAD:refs/heads/topic",
    ),
];

/// A gate with one clean commit on `main`, and a work tree that has it.
fn begin(gate: &Gate) -> WorkTree<'_> {
    let dev = gate.work_tree(gate.bare.to_str().unwrap(), &[]);
    dev.commit("README", "hello\n", Signing::Openpgp);
    dev.push(&["main"]).ok();
    dev
}

/// What is wrong with the answer to a push that holds `secret`; `None`: refused as it should be.
fn complaint(run: &Run, secret: &str) -> Option<String> {
    let ours: String = run.stderr.lines().filter(|line| line.starts_with("remote:")).collect();
    if run.code == 0 {
        Some("was let in".into())
    } else if !ours.contains("error[secret") {
        Some(format!("was refused for something else:\n{}", run.stderr))
    } else if ours.contains(secret) {
        Some("was refused by a message that repeats the secret".into())
    } else {
        None
    }
}

#[test]
fn every_place_in_a_push_is_found() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let mut wrong = Vec::new();
    for (seed, (place, make, refspec)) in (100..).zip(PUSHED) {
        let secret = token(seed);
        dev.git(&["checkout", "-qf", "--detach", "main"]).ok();
        dev.shell(make, &secret).ok();
        let run = dev.push(&[&refspec.replace("TOKEN", &secret)]);
        wrong.extend(complaint(&run, &secret).map(|why| format!("{place}: {why}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let refs = gate
        .scratch
        .run("git", &["--git-dir=pay.git", "for-each-ref", "--format=%(refname)"])
        .ok();
    let moved: Vec<&str> = refs.lines().filter(|name| !name.starts_with("refs/notes/")).collect();
    assert_eq!(moved, ["refs/heads/main", "refs/lychgate/gate"]);
}

#[test]
fn an_object_that_no_ref_reaches_is_found() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let secret = token(200);
    // What git's own client never sends: a pack with a blob beside the commit's objects.
    dev.shell(
        "git commit -q --allow-empty -m clean
         blob=$(echo \"k=$TOKEN\" | git hash-object -w --stdin)
         line=\"0000000000000000000000000000000000000000 $(git rev-parse HEAD) refs/heads/topic\"
         { printf '%04x%s\\000report-status' $((${#line} + 4 + 14)) \"$line\"; printf 0000
           { git rev-list --objects HEAD | cut -d' ' -f1; echo $blob; } | git pack-objects -q --stdout
         } >request",
        &secret,
    )
    .ok();
    let run = dev.shell("git receive-pack ../pay.git <request", &secret);
    assert!(run.stdout.contains("ng refs/heads/topic"), "it was let in: {run:?}");
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("error[secret"), "{said}");
    assert!(!said.contains(&secret), "the message repeats the secret");
    assert_eq!(gate.tip("refs/heads/topic"), None);
}
