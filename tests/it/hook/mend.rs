//! What a refusal tells in git's terminal, done as it stands in the developer's clone: afterwards the push enters.

use super::begin;
use crate::support::{EMAIL, Gate, Run, WorkTree, token};

/// A developer's clone, whose key lies where keys lie and is not set up for signing yet.
pub(crate) fn developer<'a>(gate: &'a Gate, url: &str) -> WorkTree<'a> {
    let scratch = &gate.scratch;
    // A configuration that only this clone's commands see: they write into it.
    let config = scratch.write("developer.gitconfig", "[user]\nname = Dev\n");
    let dev = gate.work_tree(url, &[("GIT_CONFIG_GLOBAL", config.to_str().unwrap())]);
    let ssh = scratch.path("home").join(".ssh");
    std::fs::create_dir_all(&ssh).unwrap();
    for end in ["", ".pub"] {
        let from = format!("{}{end}", gate.ssh_key().display());
        std::fs::copy(from, ssh.join(format!("id_ed25519{end}"))).unwrap();
    }
    sh(
        &dev,
        &format!("git config --global user.email {EMAIL} && git fetch -q"),
        "",
    )
    .ok();
    dev
}

/// A shell as a developer has it: who they are stands in git's configuration.
pub(crate) fn sh(dev: &WorkTree<'_>, script: &str, token: &str) -> Run {
    let names = "GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL";
    dev.shell(&format!("unset {names}\n{script}"), token)
}

/// The commands of a refusal; `set_up`: with those that set up signing, for who has no key. A way that begins with
/// "or" is another one.
fn commands(said: &str, set_up: bool) -> String {
    let mut wanted = true;
    let mut script = String::new();
    for line in said.lines().filter_map(|line| line.strip_prefix("remote: ")) {
        let line = line.trim_end();
        if let Some(command) = line.strip_prefix("      ") {
            script.extend(wanted.then(|| format!("{command}\n")));
        } else {
            let sentence = line.trim_start().trim_start_matches("= help: ");
            wanted = !sentence.starts_with("or, ") && (set_up || !sentence.starts_with("if "));
            // The rest is an administrator's.
            if line.starts_with("lychgate: if") {
                break;
            }
        }
    }
    script
}

const SIGNS: &str = "git config gpg.format ssh && git config user.signingkey ~/.ssh/id_ed25519.pub && \
                     git config commit.gpgsign true";

/// Does `make`, is refused for `code`, does `edit` and then what the refusal says; then the push has entered.
#[track_caller]
fn mends(code: &str, make: &str, push: &str, edit: &str) {
    let gate = Gate::new();
    begin(&gate);
    let dev = developer(&gate, gate.bare.to_str().unwrap());
    sh(&dev, "git switch -q -C main --track origin/main", "").ok();
    let secret = token(98);
    sh(&dev, make, &secret).ok();
    let said = sh(&dev, push, "").refused(&format!("error[{code}]")).stderr;
    let set_up = sh(&dev, "git config user.signingkey", "").code != 0;
    let told = commands(&said, set_up);
    sh(&dev, &format!("{edit}\n{told}"), &secret).ok();
    let head = sh(&dev, "git rev-parse HEAD", "").ok();
    assert_eq!(gate.tip("refs/heads/main"), Some(head), "{said}\n{told}");
}

#[test]
fn unsigned_commits_are_mended() {
    let make = "echo 1 >a && git add a && git commit -q -m a && echo 2 >b && git add b && git commit -q -m b";
    mends("unsigned-commit", make, "git push", ":");
    mends("unsigned-commit", &format!("{make}\n{SIGNS}"), "git push", ":");
}

#[test]
fn a_committer_who_is_not_the_signer_is_mended() {
    let make = format!("{SIGNS}\necho 1 >a && git add a && git -c user.email=private@example.org commit -q -m a");
    mends("committer-not-signer", &make, "git push", ":");
}

#[test]
fn secrets_are_mended() {
    let make = format!("{SIGNS}\necho \"key = $TOKEN\" >a && git add a && git commit -q -m a");
    let edit = "echo 'key = from-the-vault' >a";
    mends("secret-found", &make, "git push", edit);
    let later = format!("{make}\necho 2 >b && git add b && git commit -q -m b");
    mends("secret-found", &later, "git push", edit);
}

#[test]
fn lost_history_is_mended() {
    let make = format!(
        "{SIGNS}\necho 1 >a && git add a && git commit -q -m a && git push -q\n\
         git reset -q --hard HEAD~1 && echo 2 >b && git add b && git commit -q -m b"
    );
    mends("non-fast-forward", &make, "git push --force", ":");
}
