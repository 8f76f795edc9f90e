//! OpenPGP in pushes: gpgme at a key's first use, and after the push from then on; dates that lie.

use super::begin;
use crate::support::{ACCOUNT, EMAIL, Gate, Signing};
use lychgate::facts::{Fact, Facts};
use lychgate::port::Store;
use lychgate::store::SqliteStore;
use std::path::PathBuf;

/// Whether the newest decision's only commit was the first use of its key.
fn first_use(gate: &Gate) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let record = runtime.block_on(async {
        let store = SqliteStore::open(&gate.home("ledger.db")).await.unwrap();
        store.decisions(1).await.unwrap().remove(0)
    });
    let facts: Facts = serde_json::from_slice(&record.facts).unwrap();
    let [commit] = facts.commits.as_slice() else {
        panic!("{:?}", facts.commits)
    };
    match &commit.signature {
        Fact::Known(signature) => signature.first_use,
        Fact::Unavailable { why, .. } => panic!("{why}"),
    }
}

/// Takes every key out of the keyring's own GnuPG, as a hand that knows only that would.
fn empty_gnupg(gate: &Gate) {
    let home = gate.home("keyring/gnupg");
    for file in ["pubring.kbx", "pubring.kbx~", "pubring.gpg"] {
        let _ = std::fs::remove_file(home.join(file));
    }
}

#[test]
fn a_first_use_asks_gpgme_in_the_push() {
    let gate = Gate::new();
    let dev = begin(&gate);
    dev.commit("one", "1\n", Signing::Openpgp);
    dev.push(&["main"]).ok();
    assert!(first_use(&gate));
    dev.commit("two", "2\n", Signing::Openpgp);
    dev.push(&["main"]).ok();
    assert!(!first_use(&gate));
}

#[test]
fn a_disagreement_at_the_first_use_denies() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let main = gate.tip("refs/heads/main");
    empty_gnupg(&gate);
    dev.commit("one", "1\n", Signing::Openpgp);
    dev.push(&["main"]).refused("error[verifiers-disagree]");
    assert_eq!(gate.tip("refs/heads/main"), main);
}

#[test]
fn a_later_disagreement_reopens_what_entered() {
    let gate = Gate::new();
    let dev = begin(&gate);
    dev.commit("one", "1\n", Signing::Openpgp);
    dev.push(&["main"]).ok();
    let agreed = gate.tip("refs/heads/main").unwrap();
    gate.scratch.settled(&gate.bare);
    gate.ask(&["settle"]).ok();
    gate.ask(&["verify", &agreed, "--ref", "main"]).ok();

    empty_gnupg(&gate);
    let doubted = dev.commit("two", "2\n", Signing::Openpgp);
    dev.push(&["main"]).ok();
    gate.scratch.settled(&gate.bare);
    gate.ask(&["settle"]).ok();
    let said = gate.ask(&["verify", &doubted, "--ref", "main"]).ends_with(1).stdout;
    assert!(said.contains("FAIL      status") && said.contains("anomaly"), "{said}");
    gate.ask(&["verify", &agreed, "--ref", "main"]).ok();
    gate.ask(&["log", "check"]).ok();
}

/// A key that was valid in January 2024 only, and a gpg that believes that it is still then.
fn expired_key(gate: &Gate) -> (String, PathBuf) {
    let faked = "--faked-system-time=20240110T000000!";
    let gpg = ["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""];
    let user = format!("Old <{EMAIL}>");
    let make = [
        faked,
        "--quick-generate-key",
        &user,
        "ed25519",
        "sign",
        "20240201T000000",
    ];
    gate.scratch.run("gpg", &[&gpg[..], &make].concat()).ok();
    let listed = gate
        .scratch
        .run("gpg", &["--batch", "--with-colons", "--list-keys", "Old"])
        .ok();
    let key = listed.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap();
    let key = key.trim_matches(':').to_owned();
    let public = gate.scratch.run("gpg", &["--batch", "--armor", "--export", &key]).ok();
    let file = gate.scratch.write("old.asc", public);
    gate.ask(&[
        "keys",
        "add",
        file.to_str().unwrap(),
        "--account",
        ACCOUNT,
        "--email",
        EMAIL,
    ])
    .ok();
    let script = format!("#!/bin/sh\nexec gpg {faked} \"$@\"\n");
    (key, gate.scratch.script("old-gpg", &script))
}

#[test]
fn a_date_before_its_end_does_not_revive_a_key() {
    let gate = Gate::new();
    let dev = begin(&gate);
    let main = gate.tip("refs/heads/main");
    let (key, program) = expired_key(&gate);
    dev.git(&["config", "gpg.program", program.to_str().unwrap()]).ok();
    dev.git(&["config", "user.signingKey", &key]).ok();
    let script = "GIT_COMMITTER_DATE='2024-01-10T00:00:00Z' git commit -q -S --allow-empty -m backdated";
    dev.shell(script, "").ok();
    dev.push(&["main"]).refused("error[key-expired]");
    assert_eq!(gate.tip("refs/heads/main"), main);
}
