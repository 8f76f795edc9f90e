//! The commands that mend what a check found, for THIS branch, ready to be copied. Pure.
//!
//! In scope: one function a kind of finding; each returns lines as
//! [`Finding::remedy`](crate::finding::Finding::remedy) wants them: sentences begin with `#`, all else is a
//! command for a POSIX shell in the developer's work tree, with the branch checked out. A sentence that begins with
//! `if` or `or,` is followed by commands that only some need, up to the next sentence. Out of scope: which
//! finding needs which (`check`). Names that the pusher chose go into a command only quoted, and only if they
//! are short, printable ASCII; otherwise a placeholder stands there and a sentence says so.

use crate::finding::Code;
use crate::push::{Oid, RefName};

/// Signs each commit anew and leaves everything else; merges stay merges.
const SIGN_EACH: &str = "git rebase --rebase-merges --exec 'git commit --amend --no-edit -S'";
/// Names up to this length go into a command; a line of the terminal holds about 100 characters.
const LONGEST_NAME: usize = 80;

/// Unsigned commits: the set-up of SSH signing for whoever has none, and signing them.
///
/// * `base`: the last commit that stays as it is; `None`: the branch starts with the first commit.
/// * `count`: how many commits lack a signature.
pub fn unsigned(branch: &RefName, base: Option<Oid>, count: usize) -> Vec<String> {
    let which = if count == 1 {
        "the commit".to_owned()
    } else {
        format!("the {count} commits")
    };
    let mut lines =
        vec!["# if signing is not set up yet, do that first; your administrator must know the public key:".into()];
    lines.extend(ssh_signing());
    lines.push(format!("# then sign {which} and push again:"));
    lines.extend(sign_again(branch, base));
    lines
}

/// An unsigned or badly signed annotated tag, or a lightweight one: make it again, signed, at the same commit.
pub fn unsigned_tag(tag: &RefName) -> Vec<String> {
    let Some(name) = simple(tag.short()) else {
        return vec!["# make the tag again with a signature (git tag -s -f) and push it".into()];
    };
    vec![
        "# make the tag again, signed, at the same commit, and push it:".into(),
        format!("git tag -s -f -m {name} {name} '{name}^{{}}'"),
        push_ref(tag),
    ]
}

/// The set-up of signing with an SSH key: three lines.
pub fn ssh_signing() -> Vec<String> {
    vec![
        "git config --global gpg.format ssh".into(),
        "git config --global user.signingkey ~/.ssh/id_ed25519.pub".into(),
        "git config --global commit.gpgsign true".into(),
    ]
}

/// A signature that does not fit its bytes, or a commit that the strict reader refuses: make the commits anew.
///
/// A plain rebase writes each commit from its parts, so that odd headers and old signatures go.
pub fn malformed_commit(branch: &RefName, base: Option<Oid>) -> Vec<String> {
    vec![
        "# write the commits anew, well-formed and signed, and push again:".into(),
        format!("git rebase --rebase-merges --force-rebase -S {}", upstream(base)),
        push(branch),
    ]
}

/// A signature that does not fit the commit.
pub fn bad_signature(branch: &RefName, base: Option<Oid>) -> Vec<String> {
    let mut lines = vec!["# the commit was changed after it was signed; sign it again and push:".into()];
    lines.extend(sign_again(branch, base));
    lines
}

/// The committer's address is none of the signing key's.
///
/// * `emails`: the addresses that the keyring binds the key to.
pub fn wrong_committer(branch: &RefName, base: Option<Oid>, emails: &[String]) -> Vec<String> {
    let Some(email) = emails.iter().find_map(|email| quote(email)) else {
        return vec![
            "# the keyring binds this key to no address; ask your administrator to add yours, then:".into(),
            push(branch),
        ];
    };
    let mut lines = vec![
        "# commit under an address that belongs to the signing key, and push again:".into(),
        format!("git config user.email {email}"),
    ];
    lines.extend(sign_again(branch, base));
    lines
}

/// The signing key belongs to another account than the one that pushes.
pub fn wrong_pusher(branch: &RefName, base: Option<Oid>) -> Vec<String> {
    let mut lines = vec!["# let the signer push these commits, or sign them with your own key and push again:".into()];
    lines.extend(sign_again(branch, base));
    lines
}

/// A key that the keyring does not hold.
///
/// * `key`: its fingerprint, where the signature tells it.
pub fn unknown_key(branch: &RefName, key: Option<&str>) -> Vec<String> {
    let named = key.and_then(quote).map_or(String::new(), |key| format!(" {key}"));
    let mut lines = vec![format!(
        "# ask your administrator to add your public key{named} to the keyring; it is printed by"
    )];
    match key {
        Some(key) if !is_ssh(key) => lines.push(format!("gpg --armor --export {}", quote(key).unwrap_or_default())),
        _ => lines.push("cat ~/.ssh/id_ed25519.pub".into()),
    }
    lines.push("# then push again, nothing need be rewritten:".into());
    lines.push(push(branch));
    lines
}

/// A key that had expired when the push arrived.
pub fn expired_key(branch: &RefName, base: Option<Oid>, key: Option<&str>) -> Vec<String> {
    let openpgp = key.filter(|key| !is_ssh(key)).and_then(quote);
    let Some(key) = openpgp else {
        let mut lines = vec!["# ask your administrator to prolong the key, or sign with a valid one and push:".into()];
        lines.extend(sign_again(branch, base));
        return lines;
    };
    vec![
        "# prolong the key, give its public half to your administrator, then push again:".into(),
        format!("gpg --quick-set-expire {key} 1y"),
        format!("gpg --armor --export {key}"),
        push(branch),
    ]
}

/// A revoked key.
pub fn revoked_key(branch: &RefName, base: Option<Oid>) -> Vec<String> {
    let mut lines = vec![
        "# a revoked key stays revoked: choose a valid one (git config user.signingkey), sign anew and push:".into(),
    ];
    lines.extend(sign_again(branch, base));
    lines
}

/// A digest or key that the verifier's policy refuses.
pub fn weak_algorithm(branch: &RefName, base: Option<Oid>) -> Vec<String> {
    let mut lines = vec![
        "# make a strong key, give its public half to your administrator, sign anew and push:".into(),
        // A name of its own: a key that is there must not be overwritten.
        "ssh-keygen -t ed25519 -f ~/.ssh/git_signing".into(),
        "git config --global gpg.format ssh".into(),
        "git config --global user.signingkey ~/.ssh/git_signing.pub".into(),
    ];
    lines.extend(sign_again(branch, base));
    lines
}

/// A key that may not sign commits, or an SSH certificate of an unknown authority or principal.
pub fn unfit_key(branch: &RefName, base: Option<Oid>) -> Vec<String> {
    let choose = "choose one that may (git config user.signingkey), or ask your administrator to admit it";
    let mut lines = vec![format!(
        "# this key may not sign commits here: {choose}; then sign anew and push:"
    )];
    lines.extend(sign_again(branch, base));
    lines
}

/// A signature or committer date too far after the receive time.
pub fn outside_time(branch: &RefName, base: Option<Oid>) -> Vec<String> {
    let mut lines = vec!["# set your machine's clock, sign again and push:".into()];
    lines.extend(sign_again(branch, base));
    lines
}

/// What is known about a secret's place.
#[derive(Debug, Clone, Copy)]
pub struct SecretPlace<'a> {
    /// The branch that the push would move.
    pub branch: &'a RefName,
    /// The last commit that stays as it is; `None`: the branch starts with the first commit.
    pub base: Option<Oid>,
    /// The commit that brings it.
    pub commit: Option<Oid>,
    /// Whether that commit is the branch's tip.
    pub tip: bool,
    /// The file, as [`Place::path`](crate::finding::Place::path) has it; `None`: it is in the commit's message.
    pub path: Option<&'a str>,
    /// Whether the ref requires signatures, so that rewriting must sign.
    pub sign: bool,
}

/// A secret: revoke it first, then take it out of the history that was not accepted.
///
/// * `revoke`: the provider's link, or a sentence that says how.
pub fn secret(revoke: Option<&str>, place: SecretPlace<'_>) -> Vec<String> {
    let mut lines = vec![revoke_first(revoke)];
    let sign = if place.sign { " -S" } else { "" };
    let Some(commit) = place.commit else {
        lines.push("# then take it out of what you push, and push again".into());
        return lines;
    };
    match (place.path, place.tip) {
        (Some(path), true) => {
            lines.extend(edit_file(path));
            lines.push(format!("git commit --amend --no-edit{sign}"));
        }
        (Some(path), false) => {
            lines.extend(edit_file(path));
            lines.push(format!("git commit --fixup={}", commit.short()));
            lines.push(format!(
                "git -c sequence.editor=: rebase -i --rebase-merges --autosquash{sign} {}",
                upstream(place.base)
            ));
            lines.push(push(place.branch));
            lines.extend(squashed(place.base, sign));
            return lines;
        }
        (None, true) => {
            lines.push("# then write the message without it, and push again:".into());
            lines.push(format!("git commit --amend{sign}"));
        }
        (None, false) => {
            lines.push(format!(
                "# then mark {} with reword, write its message without it, and push:",
                commit.short()
            ));
            lines.push(format!("git rebase -i{sign} {}", upstream(place.base)));
        }
    }
    lines.push(push(place.branch));
    lines
}

/// A secret in the name of a ref: revoke it, then push the same under another name.
pub fn secret_in_name(revoke: Option<&str>, name: &RefName) -> Vec<String> {
    let mut lines = vec![revoke_first(revoke)];
    if name.is_tag() {
        lines.push("# then give the tag another name, and push that:".into());
        lines.push("git tag -s -m NEW-NAME NEW-NAME && git push origin NEW-NAME".into());
    } else {
        lines.push("# then push under another name:".into());
        lines.push("git push origin HEAD:refs/heads/NEW-NAME".into());
    }
    lines
}

fn revoke_first(link: Option<&str>) -> String {
    match link {
        Some(link) => format!("# first revoke it, it has left your machine: {link}"),
        None => "# first revoke it where it was issued: it has left your machine".into(),
    }
}

/// The way out where a later commit already removed the secret: one commit of all that was not accepted.
fn squashed(base: Option<Oid>, sign: &str) -> Vec<String> {
    let Some(base) = base else {
        return Vec::new();
    };
    vec![
        "# or, if a later commit removed it already, make one commit of all of them instead:".into(),
        format!("git reset --soft {} && git commit{sign} && git push", base.short()),
    ]
}

/// An update that would lose history: put the new work on top of what is there.
pub fn non_fast_forward(branch: &RefName) -> Vec<String> {
    if !branch.is_branch() {
        return vec!["# it stays where it is; choose another name for the new place".into()];
    }
    let Some(upstream) = quote(&format!("origin/{}", branch.short())) else {
        return vec!["# fetch, rebase your work onto the branch as it is on the server, and push again".into()];
    };
    vec![
        "# its history is kept: put your work on top of it and push without force:".into(),
        "git fetch origin".into(),
        format!("git rebase {upstream}"),
        push(branch),
    ]
}

/// A deletion that the policy forbids.
pub fn protected_deletion(name: &RefName) -> Vec<String> {
    let what = if name.is_tag() { "tag" } else { "branch" };
    vec![format!(
        "# it stays: push without deleting this {what}; an administrator can loosen the policy if it must go"
    )]
}

/// A creation that the policy forbids.
pub fn creation_denied(name: &RefName) -> Vec<String> {
    let mut lines = vec!["# push under another name, or ask an administrator to allow it:".into()];
    lines.push(format!("git push origin HEAD:refs/heads/{}", topic(name)));
    lines
}

/// A move that the policy forbids: a tag that stays, or a frozen branch.
pub fn update_denied(name: &RefName) -> Vec<String> {
    if name.is_tag() {
        return vec![
            "# a published tag stays where it is: choose the next version, and push that".into(),
            "git tag -s -m NEXT-VERSION NEXT-VERSION && git push origin NEXT-VERSION".into(),
        ];
    }
    vec![
        "# the branch is frozen: push to another one, and ask for it to be merged later:".into(),
        format!("git push origin HEAD:refs/heads/{}", topic(name)),
    ]
}

/// An account that may not move the ref: push elsewhere, ask someone who may.
pub fn not_allowed_actor(name: &RefName) -> Vec<String> {
    vec![
        "# push to a branch of your own, and ask someone who may to merge it:".into(),
        format!("git push origin HEAD:refs/heads/{}", topic(name)),
    ]
}

/// A bound that the push reached; empty for a code that has no remedy of the developer's.
///
/// * `code`: the bound's code as the inspection tells it.
pub fn bound(code: &Code, branch: &RefName) -> Vec<String> {
    match code.as_ref() {
        "object-too-large" => vec![
            "# take the file out of the commits that bring it, and keep it outside the repository (Git LFS does)"
                .into(),
        ],
        "too-many-commits" | "too-many-objects" | "deadline-passed" => vec![
            "# push in steps, oldest commits first; for each of some commits in between:".into(),
            match quote(branch.as_str()) {
                Some(name) => format!("git push origin COMMIT:{name}"),
                None => "git push origin COMMIT:THE-BRANCH".into(),
            },
        ],
        _ => Vec::new(),
    }
}

fn sign_again(branch: &RefName, base: Option<Oid>) -> [String; 2] {
    [format!("{SIGN_EACH} {}", upstream(base)), push(branch)]
}

fn upstream(base: Option<Oid>) -> String {
    base.map_or("--root".to_owned(), |base| base.short())
}

fn push(branch: &RefName) -> String {
    match branch.is_tag() {
        true => push_ref(branch),
        false => "git push".to_owned(),
    }
}

fn push_ref(name: &RefName) -> String {
    match quote(name.as_str()) {
        Some(name) => format!("git push origin {name}"),
        None => "git push".to_owned(),
    }
}

/// A branch name for work that waits: safe, and it shows what it is for.
fn topic(name: &RefName) -> String {
    match simple(name.short()) {
        Some(short) => format!("for-review/{short}"),
        None => "for-review/change".to_owned(),
    }
}

fn edit_file(path: &str) -> Vec<String> {
    match pathspec(path) {
        Some(path) => vec![
            "# then take it out of the file, and of the commits that were not accepted:".into(),
            format!("git add -- {path}"),
        ],
        None => vec![
            "# then take it out of the file (its name is not safe to paste: write it for FILE), and of the commits:"
                .into(),
            "git add -- FILE".into(),
        ],
    }
}

fn is_ssh(key: &str) -> bool {
    key.starts_with("SHA256:")
}

/// A name of letters, digits, `.`, `_`, `/` and inner dashes: it needs no quotes and is no option.
fn simple(name: &str) -> Option<&str> {
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME && !name.starts_with('-');
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"._/-".contains(&b);
    (fits && name.bytes().all(letters)).then_some(name)
}

/// A path as a pathspec that means this file alone.
fn pathspec(path: &str) -> Option<String> {
    match path.contains(['*', '?', '[']) || path.starts_with(':') {
        true => quote(&format!(":(literal,top){path}")),
        // From anywhere in the work tree; as a pathspec it cannot be an option.
        false => quote(&format!(":/{path}")),
    }
}

/// A word for a POSIX shell, or `None` if it is long, empty or not printable ASCII, would be an option, or has a
/// backslash, which shells read differently and by which our paths escape what they cannot print.
fn quote(word: &str) -> Option<String> {
    let fits = !word.is_empty() && word.len() <= LONGEST_NAME && !word.starts_with('-');
    if !fits || !word.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'\\') {
        return None;
    }
    let bare = |b: u8| b.is_ascii_alphanumeric() || b"._/-+@:,".contains(&b);
    if word.bytes().all(bare) {
        return Some(word.to_owned());
    }
    Some(format!("'{}'", word.replace('\'', "'\\''")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_act_is_quoted_or_refused() {
        assert_eq!(quote("refs/heads/main").as_deref(), Some("refs/heads/main"));
        assert_eq!(quote("a b").as_deref(), Some("'a b'"));
        assert_eq!(quote("$(rm -rf ~)").as_deref(), Some("'$(rm -rf ~)'"));
        assert_eq!(quote("it's").as_deref(), Some("'it'\\''s'"));
        for refused in ["", "-rf", "a\nb", "caf\u{e9}", "a\\x0ab", "\u{202e}"] {
            assert_eq!(quote(refused), None, "{refused:?}");
        }
        assert_eq!(quote(&"x".repeat(81)), None);
        assert_eq!(pathspec("a*.txt").as_deref(), Some("':(literal,top)a*.txt'"));
        assert_eq!(pathspec("-rf").as_deref(), Some(":/-rf"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Read back by a shell's rules for single quotes, a quoted word is the word.
        #[test]
        fn a_quoted_word_is_one_word(word in "[ -~]{1,30}") {
            if let Some(quoted) = quote(&word) {
                let mut read = String::new();
                let (mut inside, mut escaped) = (false, false);
                for c in quoted.chars() {
                    match c {
                        _ if escaped => { read.push(c); escaped = false; }
                        '\'' => inside = !inside,
                        '\\' if !inside => escaped = true,
                        c => {
                            prop_assert!(inside || c.is_ascii_alphanumeric() || "._/-+@:,".contains(c));
                            read.push(c);
                        }
                    }
                }
                prop_assert!(!inside && !escaped);
                prop_assert_eq!(read, word);
            }
        }
    }
}
