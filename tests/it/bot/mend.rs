//! What the comment tells to copy, done as it stands in a clone of the change: afterwards the change may enter.

use super::stage::{Client, Stage, opened, run_kept as run};
use crate::hook::mend::{developer, sh};
use crate::support::{WorkTree, token};
use lychgate::forge::CheckState;

/// A developer's clone with the change's branch `topic` checked out, and no key set up for signing yet.
fn clone(stage: &Stage) -> WorkTree<'_> {
    let url = format!("file://{}", stage.gate.scratch.path("forge.git").display());
    let dev = developer(&stage.gate, &url);
    sh(&dev, "git switch -q -c topic origin/main", "").ok();
    dev
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

/// The blocks of the comment as they are, for who has a key; `set_up`: with what only some need, for who has none.
fn commands(comment: &str, set_up: bool) -> String {
    let blocks = comment.split("````sh\n").skip(1);
    let blocks: Vec<&str> = blocks.map(|block| block.split("````").next().unwrap()).collect();
    let text = blocks.concat();
    if set_up {
        text.replace("# git config", "git config")
    } else {
        text
    }
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
        let told = commands(&comment, sh(&dev, "git config user.signingkey", "").code != 0);
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

/// Who signs by other means keeps them: the block's first lines are for those who have none.
#[test]
fn what_is_set_up_for_signing_stays() {
    run(async |stage: Stage| {
        let dev = clone(&stage);
        let door = stage.open().await;
        let make = "git config user.signingkey ~/.ssh/id_ed25519.pub && git config gpg.format ssh\n\
                    echo 1 >a && git add a && git commit -q -m a && git push -q -u origin topic";
        sh(&dev, make, "").ok();
        let comment = judged(&stage, &door, "d1").await.comment.unwrap();
        let before = sh(&dev, "git config --global --list", "").ok();
        sh(&dev, &commands(&comment, false), "").ok();
        assert_eq!(sh(&dev, "git config --global --list", "").ok(), before);
        assert_eq!(judged(&stage, &door, "d2").await.state, CheckState::Success);
    });
}
