//! `lychgate keys` through its run function, and what it refuses to add.

use super::kit::{Kit, RECEIVED, YEAR, at, bound, commit_text, judge};
use clap::Parser;
use lychgate::cmd::error::CommandError;
use lychgate::cmd::home::Home;
use lychgate::cmd::keys::{self, KeysArgs};
use lychgate::cmd::output::Output;
use lychgate::facts::SignatureState;
use lychgate::keyring::{Binding, ChangeError, FolderKeyring, KeyInfo};
use lychgate::push::Timestamp;
use std::fs;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    keys: KeysArgs,
}

/// Runs `lychgate keys ARGS --repo r.git`.
fn keys(kit: &Kit, args: &[&str]) -> Result<(), CommandError> {
    let repo = kit.path("r.git");
    let all = [&["keys"], args, &["--repo", repo.to_str().unwrap()]].concat();
    let cli = Cli::try_parse_from(all).map_err(|e| CommandError::usage("arguments", e.to_string(), ""))?;
    keys::run(&cli.keys, at(RECEIVED), &mut Output::standard()).map(|_| ())
}

fn installed() -> Kit {
    let kit = Kit::new();
    fs::create_dir(kit.path("r.git/lychgate")).unwrap();
    kit
}

/// An installation with alice's OpenPGP key, whose fingerprint it gives, and bob's SSH key.
fn known() -> (Kit, String) {
    let kit = installed();
    let fpr = kit.gpg_key(RECEIVED - YEAR, "a@example.com", "ed25519", "never");
    let export = ["--batch", "--armor", "--output", "a.asc", "--export", &fpr];
    kit.run("gpg", &export, b"");
    kit.ssh_key("b", &["ed25519"]);
    let path = |name: &str| kit.path(name).to_str().unwrap().to_owned();
    keys(&kit, &["add", &path("a.asc"), "--account", "alice"]).unwrap();
    let bob = ["add", &path("b.pub"), "--account", "bob", "--email", "B@example.com"];
    keys(&kit, &bob).unwrap();
    (kit, fpr)
}

fn repository_keyring(kit: &Kit) -> FolderKeyring {
    FolderKeyring::open(&Home::of(&kit.path("r.git")).keyring())
}

#[test]
fn keys_are_added_listed_revoked_and_removed() {
    let (kit, fpr) = known();
    kit.ssh_key("ca", &["ed25519"]);
    keys(
        &kit,
        &[
            "add",
            kit.path("ca.pub").to_str().unwrap(),
            "--cert-authority",
            "--principal",
            "*@example.com",
        ],
    )
    .unwrap();
    keys(&kit, &["list"]).unwrap();
    keys(&kit, &["list", "--format", "json"]).unwrap();

    let payload = commit_text(RECEIVED);
    let armor = kit.gpg_sign(&fpr, RECEIVED, payload.as_bytes(), &[]);
    let keyring = repository_keyring(&kit);
    let judged = |received| judge(&keyring, &armor, payload.as_bytes(), RECEIVED, received).state;
    assert_eq!(judged(RECEIVED), SignatureState::Good);
    let from = at(RECEIVED + 60).to_string();
    keys(&kit, &["revoke", &fpr, "--reason", "superseded", "--from", &from]).unwrap();
    assert_eq!(judged(RECEIVED + 59), SignatureState::Good);
    assert_eq!(judged(RECEIVED + 60), SignatureState::Revoked);
    keys(&kit, &["revoke", &fpr, "--reason", "compromised"]).unwrap();
    assert_eq!(judged(RECEIVED), SignatureState::Revoked);
    // The fingerprint may be written as gpg prints it.
    let spaced = format!("{} {}", &fpr[..20], &fpr[20..]).to_lowercase();
    keys(&kit, &["remove", &spaced]).unwrap();
    assert_eq!(judged(RECEIVED), SignatureState::UnknownKey);
    assert_eq!(keyring.list(at(RECEIVED)).unwrap().0.len(), 2);
}

#[test]
fn a_key_that_cannot_be_read_hides_no_other() {
    let (kit, fpr) = known();
    let keyring = repository_keyring(&kit);
    let path = kit.path(&format!("r.git/lychgate/keyring/openpgp/{fpr}.pgp"));
    assert!(path.exists());
    fs::write(&path, "spoiled").unwrap();
    let (keys_left, unread) = keyring.list(at(RECEIVED)).unwrap();
    assert_eq!((keys_left.len(), unread.len()), (1, 1));
    assert_eq!(unread[0].code, "keyring-unreadable");
    assert!(unread[0].what.contains(&fpr), "{}", unread[0].what);
    assert_eq!(keys(&kit, &["list"]).unwrap_err().exit_code(), 3);
}

#[test]
fn the_list_says_who_may_sign_and_why_not() {
    let kit = installed();
    let keyring = kit.keyring();
    let expired = kit.gpg_key(RECEIVED - 2 * YEAR, "a@example.com", "ed25519", "1y");
    let added = kit.trust_gpg(&expired, "alice");
    kit.trust_ssh(&kit.ssh_key("b", &["ed25519"]), &bound("bob"));
    let mut listed = keyring.list(at(RECEIVED)).unwrap().0;
    for key in &mut listed {
        key.fingerprint = "FINGERPRINT".to_owned();
    }
    let hidden = KeyInfo {
        fingerprint: "FINGERPRINT".to_owned(),
        ..added.key
    };
    insta::assert_snapshot!(keys::added_text(&lychgate::keyring::Added { key: hidden, replaced: false }), @r#"
    added FINGERPRINT for alice <a@example.com>
    warning: no signature by it is accepted at present: the certificate expired at 2023-06-02T00:00:00Z
    "#);
    insta::assert_snapshot!(keys::list_text(&listed), @r#"
    openpgp        FINGERPRINT  alice <a@example.com>  cannot sign: the certificate expired at 2023-06-02T00:00:00Z
    ssh            FINGERPRINT  bob  may sign
    "#);
    insta::assert_snapshot!(keys::list_text(&[]), @"no keys; add one: lychgate keys add FILE --account NAME");
    insta::assert_snapshot!(serde_json::to_string_pretty(&listed[1]).unwrap(), @r#"
    {
      "fingerprint": "FINGERPRINT",
      "kind": "ssh",
      "account": "bob",
      "emails": [],
      "principals": [],
      "added_at": "2024-06-01T00:00:00Z",
      "revocation": null,
      "unusable": null
    }
    "#);
}

/// The code with which a file is refused.
fn refused(kit: &Kit, file: &[u8], binding: &Binding) -> String {
    match kit.keyring().add(file, binding, at(RECEIVED)) {
        Err(ChangeError::Refused { code, .. }) => code.to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_one_public_key_is_refused() {
    let kit = Kit::new();
    let fpr = kit.gpg_key(RECEIVED - YEAR, "a@example.com", "ed25519", "never");
    let other = kit.gpg_key(RECEIVED - YEAR, "b@example.com", "ed25519", "never");
    let key = kit.ssh_key("b", &["ed25519"]);
    let short = kit.ssh_key("short", &["rsa", "-b", "1024"]);
    let long = kit.ssh_key("long", &["rsa", "-b", "4104"]);
    let secret = |armor: &[&str]| {
        let options = [
            "--batch",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
            "--export-secret-keys",
            &fpr,
        ];
        kit.run("gpg", &[armor, &options].concat(), b"")
    };
    let public = |path: &std::path::Path| fs::read(path.with_extension("pub")).unwrap();
    let both = [kit.gpg_export(&fpr), kit.gpg_export(&other)].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (secret(&["--armor"]), "private-key"),
        (secret(&[]), "private-key"),
        (fs::read(&key).unwrap(), "private-key"),
        (both, "several-keys"),
        ([public(&key), public(&short)].concat(), "no-key"),
        (b"".to_vec(), "no-key"),
        (b" \n".to_vec(), "no-key"),
        (b"garbage".to_vec(), "no-key"),
        (b"ssh-ed25519 garbage".to_vec(), "no-key"),
        (vec![0xff; 4096], "no-key"),
        (vec![b'a'; 1024 * 1024 + 1], "no-key"),
        (public(&short), "weak-key"),
        (public(&long), "weak-key"),
    ];
    for (file, code) in cases {
        assert_eq!(
            refused(&kit, &file, &bound("a")),
            code,
            "{}",
            String::from_utf8_lossy(&file)
        );
    }
    assert_eq!(refused(&kit, &public(&key), &Binding::default()), "no-account");
    let authority = Binding {
        principals: vec!["*".to_owned()],
        ..bound("a")
    };
    assert_eq!(refused(&kit, &kit.gpg_export(&fpr), &authority), "not-an-ssh-key");
    assert!(kit.keyring().list(at(RECEIVED)).unwrap().0.is_empty());
    let gnupg = kit.path("keyring/gnupg");
    let listed = kit.run(
        "gpg",
        &[
            "--homedir",
            gnupg.to_str().unwrap(),
            "--batch",
            "--with-colons",
            "--list-keys",
        ],
        b"",
    );
    assert!(
        !String::from_utf8(listed).unwrap().contains(&fpr),
        "nothing of a refused file is stored"
    );
}

fn code(result: Result<(), CommandError>) -> &'static str {
    match result {
        Err(CommandError::Usage { code, .. }) => code,
        Err(CommandError::Outage(outage)) => outage.code,
        Err(CommandError::Finding { code, .. }) => code,
        Err(CommandError::Denied) => "denied",
        Ok(()) => "none",
    }
}

#[test]
fn wrong_arguments_and_states_are_named() {
    let kit = installed();
    let none = "0".repeat(40);
    let file = kit.path("x");
    fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(
        code(keys(&kit, &["add", "/no/such/file", "--account", "a"])),
        "unreadable-file"
    );
    assert_eq!(code(keys(&kit, &["add", "/no/such/file"])), "arguments");
    assert_eq!(code(keys(&kit, &["add", "x", "--cert-authority"])), "arguments");
    let both = ["add", file, "--account", "a", "--principal", "p"];
    assert_eq!(code(keys(&kit, &both)), "not-an-authority");
    assert_eq!(code(keys(&kit, &["add", file, "--account", "a"])), "no-key");
    assert_eq!(code(keys(&kit, &["list"])), "none");
    fs::remove_dir_all(Home::of(&kit.path("r.git")).keyring()).unwrap();
    assert_eq!(code(keys(&kit, &["list"])), "keyring-unreadable");
    FolderKeyring::create(&Home::of(&kit.path("r.git")).keyring()).unwrap();
    assert_eq!(code(keys(&kit, &["remove", &none])), "unknown-key");
    assert_eq!(code(keys(&kit, &["remove", "../../x"])), "unknown-key");
    assert_eq!(
        code(keys(&kit, &["revoke", &none, "--reason", "retired"])),
        "unknown-key"
    );
    assert_eq!(code(keys(&kit, &["revoke", &none])), "arguments");
    assert_eq!(
        code(keys(&kit, &["revoke", &none, "--reason", "retired", "--serial", "1"])),
        "unknown-key"
    );
    assert_eq!(
        code(keys(&kit, &["revoke", &none, "--reason", "retired", "--from", "soon"])),
        "arguments"
    );
}

#[test]
fn the_installation_is_found_from_below() {
    let kit = installed();
    let found = |path: &str| {
        Home::find(Some(&kit.path(path)))
            .map(|home| home.git_dir)
            .map_err(|e| e.to_string())
    };
    let bare = fs::canonicalize(kit.path("r.git")).unwrap();
    assert_eq!(found("r.git").unwrap(), bare);
    assert_eq!(found("r.git/objects").unwrap(), bare);

    fs::create_dir_all(kit.path("w/deep/er")).unwrap();
    kit.run("git", &["--git-dir", "w/.git", "init", "-q"], b"");
    assert!(found("w/deep/er").unwrap_err().contains("error[not-installed]"));
    fs::create_dir(kit.path("w/.git/lychgate")).unwrap();
    let work = fs::canonicalize(kit.path("w/.git")).unwrap();
    for path in ["w", "w/deep/er", "w/.git"] {
        assert_eq!(found(path).unwrap(), work, "{path}");
    }
    // A linked work tree: a .git file, whose folder names the common one.
    fs::create_dir_all(kit.path("w/.git/worktrees/l")).unwrap();
    fs::write(kit.path("w/.git/worktrees/l/HEAD"), "ref: refs/heads/l\n").unwrap();
    fs::write(kit.path("w/.git/worktrees/l/commondir"), "../..\n").unwrap();
    fs::create_dir(kit.path("l")).unwrap();
    fs::write(
        kit.path("l/.git"),
        format!("gitdir: {}\n", kit.path("w/.git/worktrees/l").display()),
    )
    .unwrap();
    assert_eq!(found("l").unwrap(), work);

    let outside = tempfile::tempdir().unwrap();
    let error = Home::find(Some(outside.path())).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("error[no-repository]"), "{error}");
    assert!(found("missing").unwrap_err().contains("error[no-repository]"));
}

#[test]
fn times_are_read_as_rfc_3339() {
    let time: Timestamp = "2024-06-01T00:00:00Z".parse().unwrap();
    assert_eq!(time.unix(), RECEIVED);
}
