//! SSH signatures: keys of each kind, certificates, time limits, revocation, and keys on hardware.

use super::kit::{Kit, RECEIVED, SKEW, YEAR, at, bound, commit_text, judge};
use base64::Engine;
use lychgate::facts::{SignatureFact, SignatureState};
use lychgate::keyring::{Binding, Reason};
use sha2::{Digest, Sha256, Sha512};
use signature::Signer;
use std::path::Path;

fn by_ssh(kit: &Kit, key: &Path, namespace: &str, received: i64) -> SignatureFact {
    let payload = commit_text(RECEIVED - 1000);
    let armor = kit.ssh_sign(key, namespace, payload.as_bytes());
    judge(&kit.keyring(), &armor, payload.as_bytes(), RECEIVED - 1000, received)
}

#[test]
fn good_ssh_keys_of_each_kind() {
    let kit = Kit::new();
    let kinds: [(&str, &[&str]); 5] = [
        ("ed25519", &["ed25519"]),
        ("rsa", &["rsa", "-b", "2048"]),
        ("p256", &["ecdsa", "-b", "256"]),
        ("p384", &["ecdsa", "-b", "384"]),
        ("p521", &["ecdsa", "-b", "521"]),
    ];
    for (name, kind) in kinds {
        let key = kit.ssh_key(name, kind);
        let binding = Binding {
            emails: vec![format!("{name}@Example.com")],
            ..bound(name)
        };
        let added = kit.trust_ssh(&key, &binding);
        let fact = by_ssh(&kit, &key, "git", RECEIVED);
        assert_eq!(fact.state, SignatureState::Good, "{name}: {}", fact.detail);
        assert_eq!(fact.key, Some(added.key.fingerprint));
        assert_eq!(fact.principal.as_deref(), Some(name));
        assert_eq!(fact.emails, [format!("{name}@example.com")]);
    }
}

#[test]
fn each_ssh_state_is_told_apart() {
    let kit = Kit::new();
    let key = kit.ssh_key("key", &["ed25519"]);
    assert_eq!(by_ssh(&kit, &key, "git", RECEIVED).state, SignatureState::UnknownKey);
    kit.trust_ssh(&key, &bound("a"));
    assert_eq!(by_ssh(&kit, &key, "git", RECEIVED).state, SignatureState::Good);
    assert_eq!(by_ssh(&kit, &key, "file", RECEIVED).state, SignatureState::WrongUsage);
    let armor = kit.ssh_sign(&key, "git", b"payload");
    let judged = |armor: &str, payload: &[u8], claimed| judge(&kit.keyring(), armor, payload, claimed, RECEIVED).state;
    assert_eq!(judged(&armor, b"payload", RECEIVED + SKEW), SignatureState::Good);
    assert_eq!(
        judged(&armor, b"payload", RECEIVED + SKEW + 1),
        SignatureState::OutsideTime
    );
    assert_eq!(judged(&armor, b"other", RECEIVED), SignatureState::Bad);
    let (begin, rest) = armor.split_once('\n').unwrap();
    assert_eq!(
        judged(&format!("{begin}\nAAAA\n{rest}"), b"payload", RECEIVED),
        SignatureState::Malformed
    );
    let short = kit.ssh_key("short", &["rsa", "-b", "1024"]);
    assert_eq!(
        by_ssh(&kit, &short, "git", RECEIVED).state,
        SignatureState::WeakAlgorithm
    );
}

#[test]
fn time_limits_count_at_the_receive_time() {
    let kit = Kit::new();
    let key = kit.ssh_key("key", &["ed25519"]);
    let limits = Binding {
        valid_after: Some(at(RECEIVED - 500)),
        valid_before: Some(at(RECEIVED)),
        ..bound("a")
    };
    kit.trust_ssh(&key, &limits);
    assert_eq!(
        by_ssh(&kit, &key, "git", RECEIVED - 501).state,
        SignatureState::OutsideTime
    );
    assert_eq!(by_ssh(&kit, &key, "git", RECEIVED - 500).state, SignatureState::Good);
    assert_eq!(by_ssh(&kit, &key, "git", RECEIVED - 1).state, SignatureState::Good);
    assert_eq!(by_ssh(&kit, &key, "git", RECEIVED).state, SignatureState::Expired);
}

#[test]
fn revoked_ssh_keys_are_refused() {
    let kit = Kit::new();
    let key = kit.ssh_key("key", &["ed25519"]);
    let fingerprint = kit.trust_ssh(&key, &bound("a")).key.fingerprint;
    assert!(
        kit.keyring()
            .revoke(&fingerprint, Reason::Superseded, at(RECEIVED), at(RECEIVED))
            .unwrap()
    );
    assert_eq!(by_ssh(&kit, &key, "git", RECEIVED - 1).state, SignatureState::Good);
    assert_eq!(by_ssh(&kit, &key, "git", RECEIVED).state, SignatureState::Revoked);
    kit.keyring()
        .revoke(&fingerprint, Reason::Compromised, at(RECEIVED), at(RECEIVED))
        .unwrap();
    assert_eq!(by_ssh(&kit, &key, "git", RECEIVED - 1).state, SignatureState::Revoked);
    kit.keyring().remove(&fingerprint).unwrap();
    assert_eq!(by_ssh(&kit, &key, "git", RECEIVED).state, SignatureState::UnknownKey);
}

/// A key certified with these options by an authority of the keyring for `*@example.com`.
fn certified(kit: &Kit, options: &[&str]) -> SignatureFact {
    let (authority, key) = (kit.path("authority"), kit.path("member"));
    kit.ssh_certify(&authority, &key, options);
    // ssh-keygen signs with the certificate when it is given in place of the key.
    by_ssh(kit, &kit.path("member-cert.pub"), "git", RECEIVED)
}

fn with_authority(kind: &[&str]) -> (Kit, String) {
    let kit = Kit::new();
    let authority = kit.ssh_key("authority", kind);
    kit.ssh_key("member", &["ed25519"]);
    let binding = Binding {
        principals: vec!["*@example.com".to_owned()],
        ..Binding::default()
    };
    let fingerprint = kit.trust_ssh(&authority, &binding).key.fingerprint;
    (kit, fingerprint)
}

#[test]
fn certificates_of_known_authorities_are_good() {
    for kind in [&["ed25519"][..], &["rsa", "-b", "2048"], &["ecdsa"]] {
        let (kit, _) = with_authority(kind);
        let fact = certified(&kit, &["-n", "A@example.com"]);
        assert_eq!(fact.state, SignatureState::Good, "{}", fact.detail);
        assert_eq!(fact.principal.as_deref(), Some("A@example.com"));
        assert_eq!(fact.emails, ["a@example.com"]);
        let bounded = certified(&kit, &["-n", "A@example.com", "-V", "20240501:20240701"]);
        assert_eq!(bounded.state, SignatureState::Good, "{}", bounded.detail);
    }
}

#[test]
fn certified_keys_of_each_kind_are_read() {
    let (kit, _) = with_authority(&["ed25519"]);
    for (name, kind) in [("rsa", &["rsa", "-b", "2048"][..]), ("p256", &["ecdsa", "-b", "256"])] {
        let key = kit.ssh_key(name, kind);
        kit.ssh_certify(&kit.path("authority"), &key, &["-n", "a@example.com"]);
        let fact = by_ssh(&kit, &kit.path(&format!("{name}-cert.pub")), "git", RECEIVED);
        assert_eq!(fact.state, SignatureState::Good, "{name}: {}", fact.detail);
    }
}

#[test]
fn certificates_that_say_too_little_or_too_much_are_refused() {
    let (kit, _) = with_authority(&["ed25519"]);
    for (options, state) in [
        (&["-n", "a@other.org"][..], SignatureState::Untrusted),
        (&[], SignatureState::Untrusted),
        (&["-n", "a@example.com,b@example.com"], SignatureState::Untrusted),
        (
            &["-n", "a@example.com", "-O", "force-command=true"],
            SignatureState::Untrusted,
        ),
        (
            &["-n", "a@example.com", "-V", "20230101:20240101"],
            SignatureState::Expired,
        ),
        (
            &["-n", "a@example.com", "-V", "20250101:20260101"],
            SignatureState::Expired,
        ),
    ] {
        let fact = certified(&kit, options);
        assert_eq!(fact.state, state, "{options:?}: {}", fact.detail);
    }
    let host = certified(&kit, &["-h", "-n", "a@example.com"]);
    assert_eq!(host.state, SignatureState::WrongUsage, "{}", host.detail);
    let own = by_ssh(&kit, &kit.path("authority"), "git", RECEIVED);
    assert_eq!(own.state, SignatureState::Untrusted, "{}", own.detail);
}

#[test]
fn a_certificate_by_someone_else_is_untrusted() {
    let (kit, fingerprint) = with_authority(&["ed25519"]);
    kit.keyring().remove(&fingerprint).unwrap();
    assert_eq!(
        certified(&kit, &["-n", "a@example.com"]).state,
        SignatureState::Untrusted
    );
    // As a plain key of the keyring it certifies no one.
    kit.trust_ssh(&kit.path("authority"), &bound("a"));
    assert_eq!(
        certified(&kit, &["-n", "a@example.com"]).state,
        SignatureState::Untrusted
    );
}

#[test]
fn a_certificate_with_a_changed_name_is_untrusted() {
    let (kit, _) = with_authority(&["ed25519"]);
    kit.ssh_certify(&kit.path("authority"), &kit.path("member"), &["-n", "a@example.com"]);
    let payload = commit_text(RECEIVED);
    let armor = kit.ssh_sign(&kit.path("member-cert.pub"), "git", payload.as_bytes());
    let mut blob = unarmored(&armor);
    let at = blob.windows(13).position(|w| w == b"a@example.com").unwrap();
    blob[at] = b'b';
    let fact = judge(&kit.keyring(), &armored(&blob), payload.as_bytes(), RECEIVED, RECEIVED);
    assert_eq!(fact.state, SignatureState::Untrusted, "{}", fact.detail);
}

#[test]
fn certified_keys_are_revoked_by_key_by_serial_and_with_their_authority() {
    let (kit, authority) = with_authority(&["ed25519"]);
    let options = ["-n", "a@example.com", "-z", "7"];
    let fact = certified(&kit, &options);
    assert_eq!(fact.state, SignatureState::Good);
    kit.keyring().revoke_serial(&authority, 8).unwrap();
    assert_eq!(certified(&kit, &options).state, SignatureState::Good);
    kit.keyring().revoke_serial(&authority, 7).unwrap();
    assert_eq!(certified(&kit, &options).state, SignatureState::Revoked);

    let other = ["-n", "a@example.com", "-z", "9"];
    let member = fact.key.unwrap();
    assert!(
        !kit.keyring()
            .revoke(&member, Reason::Compromised, at(RECEIVED), at(RECEIVED))
            .unwrap()
    );
    assert_eq!(certified(&kit, &other).state, SignatureState::Revoked);
    kit.keyring().remove(&member).unwrap();
    assert_eq!(certified(&kit, &other).state, SignatureState::Good);
    kit.keyring()
        .revoke(&authority, Reason::Retired, at(RECEIVED), at(RECEIVED - YEAR))
        .unwrap();
    assert_eq!(certified(&kit, &other).state, SignatureState::Revoked);
}

fn unarmored(armor: &str) -> Vec<u8> {
    let lines = armor.lines().filter(|line| !line.starts_with('-'));
    base64::engine::general_purpose::STANDARD
        .decode(lines.collect::<String>())
        .unwrap()
}

fn armored(blob: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(blob);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(70)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
        lines.join("\n")
    )
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// What a security key would send, made in software: the touch is a bit that it signs.
/// <https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.u2f>
fn by_security_key(seed: [u8; 32], flags: u8, payload: &[u8]) -> (String, String) {
    let pair = ssh_key::private::Ed25519Keypair::from_seed(&seed);
    let name = b"sk-ssh-ed25519@openssh.com";
    let public = [framed(name), framed(&pair.public.0), framed(b"ssh:")].concat();
    let digest = Sha512::digest(payload);
    let message = [
        &b"SSHSIG"[..],
        &framed(b"git"),
        &framed(b""),
        &framed(b"sha512"),
        &framed(&digest),
    ]
    .concat();
    let counted = [&[flags][..], &1_u32.to_be_bytes()].concat();
    let signed = [&Sha256::digest(b"ssh:")[..], &counted, &Sha256::digest(&message)[..]].concat();
    let raw: ssh_key::Signature = pair.try_sign(&signed).unwrap();
    let signature = [framed(name), framed(raw.as_bytes()), counted].concat();
    let start = [
        &b"SSHSIG"[..],
        &1_u32.to_be_bytes(),
        &framed(&public),
        &framed(b"git"),
        &framed(b""),
    ]
    .concat();
    let blob = [start, framed(b"sha512"), framed(&signature)].concat();
    let line = base64::engine::general_purpose::STANDARD.encode(&public);
    (format!("sk-ssh-ed25519@openssh.com {line} a key"), armored(&blob))
}

#[test]
fn a_security_key_must_be_touched() {
    let kit = Kit::new();
    let payload = commit_text(RECEIVED);
    let (line, touched) = by_security_key([7; 32], 1, payload.as_bytes());
    let (_, untouched) = by_security_key([7; 32], 0, payload.as_bytes());
    kit.keyring().add(line.as_bytes(), &bound("a"), at(RECEIVED)).unwrap();
    let judged = |armor: &str, payload: &[u8]| judge(&kit.keyring(), armor, payload, RECEIVED, RECEIVED).state;
    assert_eq!(judged(&touched, payload.as_bytes()), SignatureState::Good);
    assert_eq!(judged(&untouched, payload.as_bytes()), SignatureState::WrongUsage);
    assert_eq!(judged(&touched, b"other"), SignatureState::Bad);
}
