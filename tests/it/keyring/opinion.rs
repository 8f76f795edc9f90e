//! The second opinion by gpgme: agreement, disagreement, and when it cannot be had.

use super::kit::{Kit, RECEIVED, YEAR, at, bound, commit_text};
use lychgate::keyring::FolderKeyring;
use lychgate::object::SignatureFormat;
use lychgate::port::{Keyring, Outage, Signed};
use std::fs;

fn opinion(keyring: &FolderKeyring, armor: &str, payload: &str, format: SignatureFormat) -> Result<bool, Outage> {
    keyring.second_opinion(Signed {
        payload: payload.as_bytes(),
        signature: armor.as_bytes(),
        format,
        claimed_at: at(RECEIVED),
    })
}

#[test]
fn gpgme_agrees_about_primary_keys_and_subkeys() {
    let kit = Kit::new();
    let fpr = kit.gpg_key(RECEIVED - YEAR, "a@example.com", "ed25519", "never");
    let subkey = kit.gpg_subkey(RECEIVED - YEAR, &fpr, "ed25519", "sign", "never");
    kit.trust_gpg(&fpr, "a");
    let payload = commit_text(RECEIVED);
    let keyring = kit.keyring();
    for key in [format!("{fpr}!"), format!("{subkey}!")] {
        let armor = kit.gpg_sign(&key, RECEIVED, payload.as_bytes(), &[]);
        assert!(opinion(&keyring, &armor, &payload, SignatureFormat::Openpgp).unwrap());
        assert!(!opinion(&keyring, &armor, "other", SignatureFormat::Openpgp).unwrap());
    }
}

#[test]
fn gpgme_disagrees_about_keys_that_only_we_hold_and_weak_digests() {
    let kit = Kit::new();
    let fpr = kit.gpg_key(RECEIVED - YEAR, "a@example.com", "rsa2048", "never");
    kit.trust_gpg(&fpr, "a");
    let payload = commit_text(RECEIVED);
    let sign = |options: &[&str]| kit.gpg_sign(&fpr, RECEIVED, payload.as_bytes(), options);
    let ask = |armor: &str| opinion(&kit.keyring(), armor, &payload, SignatureFormat::Openpgp).unwrap();
    assert!(ask(&sign(&[])));
    assert!(!ask(&sign(&["--digest-algo", "SHA1", "--allow-weak-digest-algos"])));
    let home = kit.path("keyring/gnupg");
    let delete = [
        "--homedir",
        home.to_str().unwrap(),
        "--batch",
        "--yes",
        "--delete-keys",
        &fpr,
    ];
    kit.run("gpg", &delete, b"");
    assert!(!ask(&sign(&[])));
}

#[test]
fn an_expired_or_revoked_key_gets_no_agreement() {
    let kit = Kit::new();
    let expired = kit.gpg_key(RECEIVED - 2 * YEAR, "a@example.com", "ed25519", "1y");
    let revoked = kit.gpg_key(RECEIVED - YEAR, "b@example.com", "ed25519", "never");
    let payload = commit_text(RECEIVED);
    let by_expired = kit.gpg_sign(&expired, RECEIVED - 2 * YEAR + 100, payload.as_bytes(), &[]);
    let by_revoked = kit.gpg_sign(&revoked, RECEIVED - 200, payload.as_bytes(), &[]);
    kit.gpg_revoke(&revoked);
    for (fpr, armor) in [(expired, by_expired), (revoked, by_revoked)] {
        let added = kit.trust_gpg(&fpr, "a");
        assert!(added.key.unusable.is_some());
        assert!(!opinion(&kit.keyring(), &armor, &payload, SignatureFormat::Openpgp).unwrap());
    }
}

#[test]
fn ssh_has_no_second_verifier_and_a_missing_home_is_an_outage() {
    let kit = Kit::new();
    let payload = commit_text(RECEIVED);
    let key = kit.ssh_key("key", &["ed25519"]);
    kit.trust_ssh(&key, &bound("a"));
    let armor = kit.ssh_sign(&key, "git", payload.as_bytes());
    assert!(opinion(&kit.keyring(), &armor, &payload, SignatureFormat::Ssh).unwrap());

    let fpr = kit.gpg_key(RECEIVED - YEAR, "a@example.com", "ed25519", "never");
    kit.trust_gpg(&fpr, "a");
    let armor = kit.gpg_sign(&fpr, RECEIVED, payload.as_bytes(), &[]);
    fs::remove_dir_all(kit.path("keyring/gnupg")).unwrap();
    let outage = opinion(&kit.keyring(), &armor, &payload, SignatureFormat::Openpgp).expect_err("an outage");
    assert_eq!(outage.code, "keyring-unreadable");
}
