//! The keyring: real OpenPGP and SSH keys, each state of a signature, revocation, and broken folders.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test cannot set up fails the test"
)]

pub(crate) mod kit;

mod command;
mod opinion;
mod ssh;

use kit::{Kit, RECEIVED, SKEW, YEAR, at, bound, commit_text, judge};
use lychgate::facts::{SignatureFact, SignatureState};
use lychgate::keyring::{FolderKeyring, Reason};
use lychgate::object::{self, SignatureFormat, SignatureParts};
use lychgate::port::{Keyring, Signed};
use lychgate::push::Timestamp;
use sequoia_openpgp as pgp;
use std::fs;

use pgp::cert::CertBuilder;
use pgp::packet::signature::SignatureBuilder;
use pgp::parse::Parse;
use pgp::policy::StandardPolicy;
use pgp::serialize::{Serialize, SerializeInto};
use pgp::types::{KeyFlags, SignatureType};

fn state(fact: &SignatureFact) -> SignatureState {
    fact.state
}

/// A signature over a fixed payload by a key of gpg's, as the keyring judges it.
fn by_gpg(kit: &Kit, key: &str, time: i64, options: &[&str]) -> SignatureFact {
    let payload = commit_text(RECEIVED);
    let armor = kit.gpg_sign(key, time, payload.as_bytes(), options);
    judge(&kit.keyring(), &armor, payload.as_bytes(), RECEIVED, RECEIVED)
}

#[test]
fn good_openpgp_keys_of_each_kind() {
    let kit = Kit::new();
    for algorithm in ["ed25519", "rsa2048", "nistp256"] {
        let fpr = kit.gpg_key(RECEIVED - YEAR, &format!("{algorithm}@Example.com"), algorithm, "never");
        let added = kit.trust_gpg(&fpr, algorithm);
        assert_eq!(added.key.unusable, None);
        let fact = by_gpg(&kit, &fpr, RECEIVED - 5, &[]);
        assert_eq!(fact.state, SignatureState::Good, "{}", fact.detail);
        assert_eq!(fact.key, Some(fpr));
        assert_eq!(fact.principal.as_deref(), Some(algorithm));
        assert_eq!(fact.emails, [format!("{algorithm}@example.com")]);
    }
}

/// The verdict about an object's signature, received when it claims to be made.
fn received_at_once(kit: &Kit, parts: Option<SignatureParts>, claimed_at: Timestamp) -> SignatureState {
    let parts = parts.unwrap();
    let signed = Signed {
        payload: &parts.payload,
        signature: &parts.signature,
        format: parts.format,
        claimed_at,
    };
    let fact = kit.keyring().verify(signed, claimed_at, SKEW).unwrap();
    assert!(kit.keyring().second_opinion(signed).unwrap());
    fact.state
}

#[test]
fn what_git_signs_itself_is_good() {
    let kit = Kit::new();
    let fpr = kit.gpg_key(RECEIVED - YEAR, "a@example.com", "ed25519", "never");
    kit.trust_gpg(&fpr, "a");
    let key = kit.ssh_key("key", &["ed25519"]);
    kit.trust_ssh(&key, &bound("a"));
    fs::create_dir(kit.path("w")).unwrap();
    for (format, key) in [("openpgp", fpr.as_str()), ("ssh", key.to_str().unwrap())] {
        let (format, key) = (format!("gpg.format={format}"), format!("user.signingKey={key}"));
        let config = [
            "core.bare=false",
            "user.name=A",
            "user.email=a@example.com",
            &format,
            &key,
        ];
        let config: Vec<&str> = config.iter().flat_map(|setting| ["-c", setting]).collect();
        let git = |args: &[&str]| kit.run("git", &[&config[..], &["--work-tree", "w"], args].concat(), b"");
        git(&["commit", "-q", "-S", "--allow-empty", "-m", "base"]);
        git(&["commit", "-q", "-S", "--allow-empty", "-m", "side"]);
        git(&["tag", "-f", "-s", "-m", "release", "v1"]);
        git(&["reset", "-q", "--soft", "HEAD^"]);
        git(&["commit", "-q", "-S", "--allow-empty", "-m", "main"]);
        git(&["merge", "-q", "--no-ff", "-S", "--no-edit", "v1"]);
        for revision in ["HEAD", "HEAD^", "v1^{}"] {
            let data = git(&["cat-file", "commit", revision]);
            let commit = object::commit(&data).unwrap();
            let state = received_at_once(&kit, commit.signature, commit.committer.time);
            assert_eq!(state, SignatureState::Good, "{revision}");
        }
        let merge = git(&["cat-file", "commit", "HEAD"]);
        assert!(String::from_utf8(merge).unwrap().contains("\nmergetag object "));
        let tag = object::tag(&git(&["cat-file", "tag", "v1"])).unwrap();
        let state = received_at_once(&kit, tag.signature, tag.tagger.unwrap().time);
        assert_eq!(state, SignatureState::Good);
    }
}

#[test]
fn subkeys_sign_for_their_certificate_while_they_are_alive() {
    let kit = Kit::new();
    let made = RECEIVED - 2 * YEAR;
    let fpr = kit.gpg_key(made, "a@example.com", "ed25519", "never");
    let alive = kit.gpg_subkey(made, &fpr, "ed25519", "sign", "never");
    let ended = kit.gpg_subkey(made + 1, &fpr, "ed25519", "sign", "1y");
    kit.trust_gpg(&fpr, "a");
    let good = by_gpg(&kit, &format!("{alive}!"), RECEIVED, &[]);
    assert_eq!((good.state, good.key), (SignatureState::Good, Some(fpr)));
    let backdated = by_gpg(&kit, &format!("{ended}!"), made + 100, &[]);
    assert_eq!(backdated.state, SignatureState::Expired, "{}", backdated.detail);
}

#[test]
fn each_openpgp_state_is_told_apart() {
    let kit = Kit::new();
    let fpr = kit.gpg_key(RECEIVED - YEAR, "a@example.com", "rsa2048", "never");
    let stranger = kit.gpg_key(RECEIVED - YEAR, "b@example.com", "ed25519", "never");
    kit.trust_gpg(&fpr, "a");
    let payload = commit_text(RECEIVED);
    let armor = kit.gpg_sign(&fpr, RECEIVED, payload.as_bytes(), &[]);
    let keyring = kit.keyring();
    let at_time = |claimed, received| judge(&keyring, &armor, payload.as_bytes(), claimed, received).state;

    assert_eq!(at_time(RECEIVED, RECEIVED), SignatureState::Good);
    assert_eq!(
        judge(&keyring, &armor, b"other", RECEIVED, RECEIVED).state,
        SignatureState::Bad
    );
    let unknown = by_gpg(&kit, &stranger, RECEIVED, &[]);
    assert_eq!(
        (unknown.state, unknown.key),
        (SignatureState::UnknownKey, Some(stranger))
    );
    // The skew is the last second that is not too late, for the signature and for the committer.
    assert_eq!(at_time(RECEIVED, RECEIVED - SKEW), SignatureState::Good);
    assert_eq!(
        at_time(RECEIVED - SKEW, RECEIVED - SKEW - 1),
        SignatureState::OutsideTime
    );
    assert_eq!(at_time(RECEIVED + SKEW, RECEIVED), SignatureState::Good);
    assert_eq!(at_time(RECEIVED + SKEW + 1, RECEIVED), SignatureState::OutsideTime);
    assert_eq!(at_time(RECEIVED, RECEIVED - 2 * YEAR), SignatureState::OutsideTime);
    let weak = ["--digest-algo", "MD5", "--allow-weak-digest-algos"];
    let md5 = by_gpg(&kit, &fpr, RECEIVED, &weak);
    assert_eq!(md5.state, SignatureState::WeakAlgorithm);
    assert!(md5.detail.contains("MD5"), "{}", md5.detail);
}

#[test]
fn only_one_binary_document_signature_is_read() {
    let kit = Kit::new();
    let fpr = kit.gpg_key(RECEIVED - YEAR, "a@example.com", "ed25519", "never");
    kit.trust_gpg(&fpr, "a");
    let payload = commit_text(RECEIVED);
    let armor = kit.gpg_sign(&fpr, RECEIVED, payload.as_bytes(), &[]);
    let packet = kit.run("gpg", &["--batch", "--dearmor"], armor.as_bytes());
    let armored = |bytes: &[u8]| {
        let text = String::from_utf8(kit.run("gpg", &["--batch", "--enarmor"], bytes)).unwrap();
        text.replace("ARMORED FILE", "SIGNATURE")
    };
    let judged = |armor: &str| judge(&kit.keyring(), armor, payload.as_bytes(), RECEIVED, RECEIVED);
    assert_eq!(state(&judged(&armored(&packet))), SignatureState::Good);
    assert_eq!(
        state(&judged(&armored(&[packet.clone(), packet.clone()].concat()))),
        SignatureState::Malformed
    );
    assert_eq!(
        state(&judged(&armored(&[&packet[..], b"tail"].concat()))),
        SignatureState::Malformed
    );
    assert_eq!(
        state(&judged(&armored(&packet[..packet.len() - 3]))),
        SignatureState::Malformed
    );
    assert_eq!(
        state(&judged(&armored(&kit.gpg_export(&fpr)))),
        SignatureState::Malformed
    );
    let at = armor.find("\n=").unwrap() + 2;
    let wrong_sum = format!("{}AAAA{}", &armor[..at], &armor[at + 4..]);
    assert_eq!(state(&judged(&wrong_sum)), SignatureState::Malformed);
    let text = kit.gpg_sign(&fpr, RECEIVED, payload.as_bytes(), &["--textmode"]);
    assert_eq!(state(&judged(&text)), SignatureState::Malformed);
}

/// A signature by the key of this usage in a certificate that has no signing key besides.
fn by_sequoia(kit: &Kit, usage: KeyFlags) -> SignatureFact {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(RECEIVED.unsigned_abs() - 1000);
    let (cert, _) = CertBuilder::new()
        .add_userid("A <a@example.com>")
        .set_creation_time(time)
        .add_subkey(usage.clone(), None, None)
        .generate()
        .unwrap();
    kit.keyring()
        .add(&cert.to_vec().unwrap(), &bound("a"), at(RECEIVED))
        .unwrap();
    let policy = StandardPolicy::new();
    let key = cert
        .keys()
        .with_policy(&policy, time)
        .key_flags(usage)
        .secret()
        .next()
        .unwrap();
    let mut signer = key.key().clone().into_keypair().unwrap();
    let payload = commit_text(RECEIVED);
    let signature = SignatureBuilder::new(SignatureType::Binary)
        .set_signature_creation_time(time)
        .unwrap()
        .sign_message(&mut signer, &payload)
        .unwrap();
    let mut armor = pgp::armor::Writer::new(Vec::new(), pgp::armor::Kind::Signature).unwrap();
    pgp::Packet::from(signature).serialize(&mut armor).unwrap();
    let armor = String::from_utf8(armor.finalize().unwrap()).unwrap();
    judge(&kit.keyring(), &armor, payload.as_bytes(), RECEIVED, RECEIVED)
}

#[test]
fn a_key_needs_the_flag_to_sign() {
    let kit = Kit::new();
    let authentication = by_sequoia(&kit, KeyFlags::empty().set_authentication());
    assert_eq!(
        authentication.state,
        SignatureState::WrongUsage,
        "{}",
        authentication.detail
    );
    let signing = by_sequoia(&kit, KeyFlags::empty().set_signing());
    assert_eq!(signing.state, SignatureState::Good, "{}", signing.detail);
}

#[test]
fn our_revocation_counts_from_its_time_or_always() {
    let kit = Kit::new();
    let fpr = kit.gpg_key(RECEIVED - YEAR, "a@example.com", "ed25519", "never");
    kit.trust_gpg(&fpr, "a");
    let payload = commit_text(RECEIVED);
    let armor = kit.gpg_sign(&fpr, RECEIVED - 1000, payload.as_bytes(), &[]);
    // One instance all along: it must see each change at once.
    let keyring = kit.keyring();
    let received = |time| judge(&keyring, &armor, payload.as_bytes(), RECEIVED - 1000, time).state;
    let revoke = |reason, from| kit.keyring().revoke(&fpr, reason, at(from), at(RECEIVED));

    assert_eq!(received(RECEIVED), SignatureState::Good);
    assert!(revoke(Reason::Superseded, RECEIVED).unwrap());
    assert_eq!(received(RECEIVED - 1), SignatureState::Good);
    assert_eq!(received(RECEIVED), SignatureState::Revoked);
    revoke(Reason::Retired, RECEIVED + 10).unwrap();
    assert_eq!(received(RECEIVED + 9), SignatureState::Good);
    revoke(Reason::Compromised, RECEIVED + 10).unwrap();
    assert_eq!(received(RECEIVED - 900), SignatureState::Revoked);
    // Neither a milder reason nor adding it again gives it back.
    assert!(revoke(Reason::Superseded, RECEIVED + 10).is_err());
    assert!(kit.trust_gpg(&fpr, "a").replaced);
    assert_eq!(received(RECEIVED), SignatureState::Revoked);
    assert_eq!(
        kit.keyring().list(at(RECEIVED)).unwrap().0[0].unusable.as_deref(),
        Some("revoked")
    );
}

#[test]
fn a_removed_key_is_unknown() {
    let kit = Kit::new();
    let fpr = kit.gpg_key(RECEIVED - YEAR, "a@example.com", "ed25519", "never");
    kit.trust_gpg(&fpr, "a");
    let payload = commit_text(RECEIVED);
    let armor = kit.gpg_sign(&fpr, RECEIVED, payload.as_bytes(), &[]);
    let keyring = kit.keyring();
    let judged = || judge(&keyring, &armor, payload.as_bytes(), RECEIVED, RECEIVED).state;
    assert_eq!(judged(), SignatureState::Good);
    kit.keyring().remove(&fpr).unwrap();
    assert_eq!(judged(), SignatureState::UnknownKey);
    assert!(kit.keyring().list(at(RECEIVED)).unwrap().0.is_empty());
    assert!(kit.keyring().remove(&fpr).is_err());
    kit.trust_gpg(&fpr, "a");
    assert_eq!(judged(), SignatureState::Good);
}

#[test]
fn what_others_certified_is_not_kept() {
    let kit = Kit::new();
    let fpr = kit.gpg_key(RECEIVED - YEAR, "a@example.com", "ed25519", "never");
    let other = kit.gpg_key(RECEIVED - YEAR, "b@example.com", "ed25519", "never");
    let options = [
        "--batch",
        "--yes",
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        "",
        "-u",
        &other,
    ];
    kit.run("gpg", &[&options[..], &["--quick-sign-key", &fpr]].concat(), b"");
    kit.trust_gpg(&fpr, "a");
    let kept = fs::read(kit.path(&format!("keyring/openpgp/{fpr}.pgp"))).unwrap();
    let kept = pgp::Cert::from_bytes(&kept).unwrap();
    assert_eq!(kept.userids().map(|u| u.certifications().count()).sum::<usize>(), 0);
    assert_eq!(by_gpg(&kit, &fpr, RECEIVED, &[]).state, SignatureState::Good);
}

#[test]
fn one_keyring_serves_many_threads() {
    let kit = Kit::new();
    let fpr = kit.gpg_key(RECEIVED - YEAR, "a@example.com", "ed25519", "never");
    kit.trust_gpg(&fpr, "a");
    let payload = commit_text(RECEIVED);
    let armor = kit.gpg_sign(&fpr, RECEIVED, payload.as_bytes(), &[]);
    let keyring = kit.keyring();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let fact = judge(&keyring, &armor, payload.as_bytes(), RECEIVED, RECEIVED);
                    assert_eq!(fact.state, SignatureState::Good);
                }
            });
        }
    });
}

#[test]
fn folders_and_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let kit = Kit::new();
    let fpr = kit.gpg_key(RECEIVED - YEAR, "a@example.com", "ed25519", "never");
    kit.trust_gpg(&fpr, "a");
    let mode = |name: &str| fs::metadata(kit.path(name)).unwrap().permissions().mode() & 0o777;
    for folder in [
        "keyring",
        "keyring/openpgp",
        "keyring/openpgp/by-keyid",
        "keyring/ssh",
        "keyring/gnupg",
    ] {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }
    for file in [
        format!("{fpr}.pgp"),
        format!("{fpr}.json"),
        format!("by-keyid/{}", &fpr[24..]),
    ] {
        assert_eq!(mode(&format!("keyring/openpgp/{file}")), 0o600, "{file}");
    }
}

#[test]
fn what_cannot_be_read_is_an_outage_that_names_the_file() {
    let kit = Kit::new();
    let fpr = kit.gpg_key(RECEIVED - YEAR, "a@example.com", "ed25519", "never");
    kit.trust_gpg(&fpr, "a");
    let payload = commit_text(RECEIVED);
    let armor = kit.gpg_sign(&fpr, RECEIVED, payload.as_bytes(), &[]);
    let keyring = kit.keyring();
    assert_eq!(
        judge(&keyring, &armor, payload.as_bytes(), RECEIVED, RECEIVED).state,
        SignatureState::Good
    );
    let outage = |keyring: &FolderKeyring| {
        let signed = Signed {
            payload: payload.as_bytes(),
            signature: armor.as_bytes(),
            format: SignatureFormat::Openpgp,
            claimed_at: at(RECEIVED),
        };
        keyring.verify(signed, at(RECEIVED), SKEW).expect_err("an outage")
    };
    let cert = format!("{fpr}.pgp");
    let record = format!("{fpr}.json");
    let index = format!("by-keyid/{}", &fpr[24..]);
    let garbage: [(&str, &[u8]); 5] = [
        (&cert, b"garbage"),
        (&cert, b""),
        (&record, b"{"),
        (
            &record,
            b"{\"account\":\"a\",\"emails\":[],\"added_at\":\"2024-06-01T00:00:00Z\",\"revocation\":null,\"x\":1}",
        ),
        (&index, b"not a fingerprint\n"),
    ];
    for (name, bytes) in garbage {
        let path = kit.path("keyring/openpgp").join(name);
        let kept = fs::read(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        // The long-lived instance and a new one alike.
        for keyring in [&keyring, &kit.keyring()] {
            let outage = outage(keyring);
            assert_eq!(outage.code, "keyring-unreadable");
            assert!(outage.what.contains(name), "{outage}");
        }
        fs::write(&path, kept).unwrap();
    }
    fs::remove_file(kit.path("keyring/openpgp").join(&record)).unwrap();
    assert!(outage(&keyring).what.contains(&record));
    fs::remove_dir_all(kit.path("keyring")).unwrap();
    assert_eq!(outage(&kit.keyring()).code, "keyring-unreadable");
}
