//! What the comment tells to copy, done as it stands in a clone of the change: afterwards the change may enter.

use super::stage::{Client, Stage, opened, run_kept as run};
use crate::support::{EMAIL, Run, WorkTree, token};
use lychgate::forge::CheckState;

/// A developer's clone with the change's branch `topic` checked out, and no key set up for signing yet.
fn clone(stage: &Stage) -> WorkTree<'_> {
    let scratch = &stage.gate.scratch;
    let url = format!("file://{}", scratch.path("forge.git").display());
    // A configuration that only this clone's commands see: they write into it.
    let config = scratch.write("developer.gitconfig", "[user]\nname = Dev\n");
    let dev = stage
        .gate
        .work_tree(&url, &[("GIT_CONFIG_GLOBAL", config.to_str().unwrap())]);
    let ssh = scratch.path("home").join(".ssh");
    std::fs::create_dir_all(&ssh).unwrap();
    for end in ["", ".pub"] {
        let from = format!("{}{end}", stage.gate.ssh_key().display());
        std::fs::copy(from, ssh.join(format!("id_ed25519{end}"))).unwrap();
    }
    sh(&dev, &format!("git config --global user.email {EMAIL}"), "").ok();
    sh(&dev, "git fetch -q && git switch -q -c topic origin/main", "").ok();
    dev
}

/// A shell as a developer has it: who they are stands in git's configuration.
fn sh(dev: &WorkTree<'_>, script: &str, token: &str) -> Run {
    let names = "GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL";
    dev.shell(&format!("unset {names}\n{script}"), token)
}

/// Brings the forge's change 7 to where the branch is, and gives the verdict on it.
async fn judged(stage: &Stage, door: &Client, delivery: &str) -> lychgate::forge::Display {
    let served = format!("--git-dir={}", stage.gate.scratch.path("forge.git").display());
    let head = stage
        .gate
        .scratch
        .run("git", &[&served, "rev-parse", "refs/heads/topic"])
        .ok();
    stage.change_at(7, head.parse().unwrap());
    assert_eq!(door.post(&opened(7), delivery).await, 202);
    stage.settle().await;
    stage.verdicts().pop().unwrap()
}

/// The commands of the comment; those that set up signing first, as someone without a key needs them.
fn commands(comment: &str) -> String {
    let blocks = comment.split("````sh\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("````").next().unwrap_or_default().lines());
    let (first, then): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("git config --global"));
    [first, then].concat().join("\n")
}

/// Makes a change by `make`, is refused for `code`, does `edit` and then what the comment says, and may enter.
fn mends(code: &'static str, make: &'static str, edit: &'static str) {
    run(async |stage: Stage| {
        let dev = clone(&stage);
        let secret = token(99);
        let door = stage.open().await;
        sh(&dev, make, &secret).ok();
        sh(&dev, "git push -q -u origin topic", "").ok();
        let refused = judged(&stage, &door, "d1").await;
        assert_eq!(refused.state, CheckState::Failure);
        let comment = refused.comment.unwrap();
        assert!(comment.contains(&format!("**{code}**")), "{comment}");
        // The edit is the developer's own.
        let told = commands(&comment);
        sh(&dev, &format!("{edit}\n{told}"), &secret).ok();
        let mended = judged(&stage, &door, "d2").await;
        assert_eq!(mended.state, CheckState::Success, "{told}\n{:?}", mended.comment);
        assert_eq!(mended.comment, None, "the comment folds");
    });
}

#[test]
fn unsigned_commits_are_mended() {
    let make = "echo 1 >a && git add a && git commit -q -m a && echo 2 >b && git add b && git commit -q -m b";
    mends("unsigned-commit", make, ":");
}

#[test]
fn a_committer_who_is_not_the_signer_is_mended() {
    let make = concat!(
        "git config gpg.format ssh && git config user.signingkey ~/.ssh/id_ed25519.pub\n",
        "git config commit.gpgsign true && echo 1 >a && git add a\n",
        "git -c user.email=private@example.org commit -q -m a"
    );
    mends("committer-not-signer", make, ":");
}

#[test]
fn a_secret_at_the_tip_is_mended() {
    let make = concat!(
        "git config gpg.format ssh && git config user.signingkey ~/.ssh/id_ed25519.pub\n",
        "git config commit.gpgsign true && echo \"key = $TOKEN\" >a && git add a && git commit -q -m a"
    );
    mends("secret-found", make, "echo 'key = from-the-vault' >a");
}

#[test]
fn a_secret_in_an_earlier_commit_is_mended() {
    let make = concat!(
        "git config gpg.format ssh && git config user.signingkey ~/.ssh/id_ed25519.pub\n",
        "git config commit.gpgsign true && echo \"key = $TOKEN\" >a && git add a && git commit -q -m a\n",
        "echo 2 >b && git add b && git commit -q -m b"
    );
    mends("secret-found", make, "echo 'key = from-the-vault' >a");
}
