//! Commits crafted to fool a verifier, each judged by git, git2, gix and us.
//!
//! The columns: `git verify-commit`; what git2 extracts, and what gix extracts,
//! verified by gpg (for SSH: `ssh-keygen -Y check-novalidate`, which knows no
//! time); the strict reader with the keyring. Ours lets none in.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up fails the test")]

use crate::keyring::kit::{self, Kit, RECEIVED, YEAR, bound, commit_text, folded, ours, signed_commit, with_header};
use lychgate::keyring::Binding;
use std::fs;

/// One judged commit.
struct Row {
    name: &'static str,
    git: String,
    git2: String,
    gix: String,
    ours: String,
}

#[test]
fn no_crafted_object_passes() {
    let kit = Kit::new();
    let fpr = kit.gpg_key(RECEIVED - 2 * YEAR, "author@example.com", "ed25519", "never");
    kit.trust_gpg(&fpr, "author");
    let plain = commit_text(RECEIVED);
    let armor = kit.gpg_sign(&fpr, RECEIVED, plain.as_bytes(), &[]);
    let good = signed_commit(&plain, &armor);
    let header = folded("gpgsig", &armor);

    let two_committers = plain.replacen(
        "committer",
        "committer B Evil <evil@example.com> 1717200000 +0000\ncommitter",
        1,
    );
    let over_two = kit.gpg_sign(&fpr, RECEIVED, two_committers.as_bytes(), &[]);
    let after_tree = plain.replacen("author", &format!("{header}author"), 1);
    let in_message = plain.replacen("\n\nsubject\n", &format!("\n\nsubject\n{header}"), 1);
    let rows = [
        ("well-signed", good.clone()),
        ("two gpgsig", with_header(&good, &header)),
        ("gpgsigX added", with_header(&good, "gpgsigX unsigned words\n")),
        (
            "gpgsig-sha256 added",
            with_header(&good, "gpgsig-sha256 unsigned words\n"),
        ),
        ("NUL, then a tail", format!("{good}\0unsigned tail\n")),
        ("gpgsig only in the message", in_message),
        ("gpgsig right after tree", after_tree),
        ("two committers", signed_commit(&two_committers, &over_two)),
    ]
    .map(|(name, data)| judged(&kit, name, data.as_bytes()));
    assert_only_first_is_good(&rows);
    insta::assert_snapshot!(table(&rows), @r"
    commit                               git          git2           gix          ours
    well-signed                          GOOD         GOOD           GOOD         good
    two gpgsig                           error        BAD            BAD          refused: duplicate-header
    gpgsigX added                        GOOD         BAD            BAD          refused: stray-signature-header
    gpgsig-sha256 added                  GOOD         BAD            BAD          refused: stray-signature-header
    NUL, then a tail                     BAD          GOOD           BAD          refused: nul-byte
    gpgsig only in the message           none         GOOD           none         unsigned
    gpgsig right after tree              GOOD         GOOD, unread   parse error  refused: misplaced-header
    two committers                       GOOD         GOOD           GOOD         refused: duplicate-header
    ");
}

#[test]
fn no_bad_key_or_time_passes() {
    let kit = Kit::new();
    let plain = commit_text(RECEIVED);
    let key = |email: &str, algorithm, expire| {
        let fpr = kit.gpg_key(RECEIVED - 2 * YEAR, email, algorithm, expire);
        // Named here, since the policy accepts no user id of a certificate as weak as RSA-1024.
        let binding = Binding {
            emails: vec![email.to_owned()],
            ..bound("author")
        };
        kit.keyring()
            .add(&kit.gpg_export(&fpr), &binding, kit::at(RECEIVED))
            .unwrap();
        fpr
    };
    let good = key("good@example.com", "rsa2048", "never");
    let expired = key("expired@example.com", "ed25519", "1y");
    let short = key("short@example.com", "rsa1024", "never");
    let revoked = key("revoked@example.com", "ed25519", "never");
    let by_revoked = kit.gpg_sign(&revoked, RECEIVED - 200, plain.as_bytes(), &[]);
    kit.gpg_revoke(&revoked);
    kit.trust_gpg(&revoked, "revoked");

    let sign =
        |key: &str, time, options: &[&str]| signed_commit(&plain, &kit.gpg_sign(key, time, plain.as_bytes(), options));
    let weak = "--allow-weak-digest-algos";
    let backdated = commit_text(RECEIVED - YEAR - YEAR / 2);
    let over_backdated = kit.gpg_sign(&expired, RECEIVED - YEAR - YEAR / 2, backdated.as_bytes(), &[]);
    let rows = [
        ("well-signed", sign(&good, RECEIVED, &[])),
        (
            "key expired, signature dated before",
            signed_commit(&backdated, &over_backdated),
        ),
        ("key revoked", signed_commit(&plain, &by_revoked)),
        ("SHA-1 digest", sign(&good, RECEIVED, &["--digest-algo", "SHA1", weak])),
        ("MD5 digest", sign(&good, RECEIVED, &["--digest-algo", "MD5", weak])),
        ("RSA-1024", sign(&short, RECEIVED, &[])),
        ("dated 2030", sign(&good, 1_893_456_000, &[])),
    ]
    .map(|(name, data)| judged(&kit, name, data.as_bytes()));
    assert_only_first_is_good(&rows);
    insta::assert_snapshot!(table(&rows), @r"
    commit                               git          git2           gix          ours
    well-signed                          GOOD         GOOD           GOOD         good
    key expired, signature dated before  expired key  expired key    expired key  expired
    key revoked                          revoked key  revoked key    revoked key  revoked
    SHA-1 digest                         GOOD         GOOD           GOOD         weak-algorithm
    MD5 digest                           error        error          error        weak-algorithm
    RSA-1024                             GOOD         GOOD           GOOD         weak-algorithm
    dated 2030                           GOOD         GOOD           GOOD         outside-time
    ");
}

#[test]
fn no_ssh_key_outlives_its_time_by_the_committer_date() {
    let kit = Kit::new();
    let (alive, ended) = (kit.ssh_key("alive", &["ed25519"]), kit.ssh_key("ended", &["ed25519"]));
    kit.trust_ssh(&alive, &bound("alive"));
    let until = Binding {
        valid_before: Some(kit::at(RECEIVED - YEAR)),
        ..bound("ended")
    };
    kit.trust_ssh(&ended, &until);
    let line = |key: &str| fs::read_to_string(kit.path(&format!("{key}.pub"))).unwrap();
    let signers = format!("a@b {}e@b valid-before=\"20230601\" {}", line("alive"), line("ended"));
    fs::write(kit.path("signers"), signers).unwrap();

    let signed = |key, time| {
        let plain = commit_text(time);
        signed_commit(&plain, &kit.ssh_sign(key, "git", plain.as_bytes()))
    };
    let rows = [
        ("well-signed", signed(&alive, RECEIVED)),
        ("valid-before passed", signed(&ended, RECEIVED)),
        ("the same, committer dated before", signed(&ended, RECEIVED - 2 * YEAR)),
    ]
    .map(|(name, data)| judged(&kit, name, data.as_bytes()));
    assert_only_first_is_good(&rows);
    insta::assert_snapshot!(table(&rows), @r"
    commit                               git          git2           gix          ours
    well-signed                          GOOD         GOOD           GOOD         good
    valid-before passed                  error        GOOD           GOOD         expired
    the same, committer dated before     GOOD         GOOD           GOOD         expired
    ");
}

fn assert_only_first_is_good(rows: &[Row]) {
    let (first, crafted) = rows.split_first().unwrap();
    for answer in [&first.git, &first.git2, &first.gix] {
        assert_eq!(answer, "GOOD");
    }
    assert_eq!(first.ours, "good");
    for row in crafted {
        assert_ne!(row.ours, "good", "{}", row.name);
    }
}

fn table(rows: &[Row]) -> String {
    let line = |name: &str, git: &str, git2: &str, gix: &str, ours: &str| {
        format!("{name:<36} {git:<12} {git2:<14} {gix:<12} {ours}\n")
    };
    let head = line("commit", "git", "git2", "gix", "ours");
    let rows = rows
        .iter()
        .map(|row| line(row.name, &row.git, &row.git2, &row.gix, &row.ours));
    std::iter::once(head).chain(rows).collect()
}

fn judged(kit: &Kit, name: &'static str, data: &[u8]) -> Row {
    let write = ["hash-object", "-t", "commit", "--literally", "-w", "--stdin"];
    let oid = String::from_utf8(kit.run("git", &write, data))
        .unwrap()
        .trim()
        .to_owned();
    Row {
        name,
        git: by_git(kit, &oid),
        git2: by_git2(kit, &oid),
        gix: by_gix(kit, data),
        ours: ours(&kit.keyring(), data),
    }
}

fn by_git(kit: &Kit, oid: &str) -> String {
    let signers = kit.path("signers");
    let config = format!("gpg.ssh.allowedSignersFile={}", signers.display());
    let verified = kit.output("git", &["-c", &config, "verify-commit", oid], b"");
    if verified.status.success() {
        return "GOOD".to_owned();
    }
    let letter = kit.run("git", &["-c", &config, "log", "-1", "--format=%G?", oid], b"");
    match letter.trim_ascii() {
        b"N" => "none",
        b"B" => "BAD",
        b"Y" => "expired key",
        b"R" => "revoked key",
        _ => "error",
    }
    .to_owned()
}

fn by_git2(kit: &Kit, oid: &str) -> String {
    let repo = git2::Repository::open_bare(kit.path("r.git")).unwrap();
    let id = git2::Oid::from_str(oid).unwrap();
    // It extracts a signature even from an object that it cannot read as a commit.
    let unread = if repo.find_commit(id).is_ok() { "" } else { ", unread" };
    match repo.extract_signature(&id, None) {
        Ok((signature, payload)) => fits(kit, &signature, &payload) + unread,
        Err(e) if e.code() == git2::ErrorCode::NotFound => "none".to_owned(),
        Err(_) => "parse error".to_owned(),
    }
}

fn by_gix(kit: &Kit, data: &[u8]) -> String {
    match gix::objs::CommitRefIter::signature(data, gix::hash::Kind::Sha1) {
        Ok(Some((signature, payload))) => fits(kit, &signature, &payload.to_bstring()),
        Ok(None) => "none".to_owned(),
        Err(_) => "parse error".to_owned(),
    }
}

/// What gpg or ssh-keygen says about an extracted signature.
fn fits(kit: &Kit, signature: &[u8], payload: &[u8]) -> String {
    fs::write(kit.path("sig"), signature).unwrap();
    if signature.starts_with(b"-----BEGIN SSH") {
        let fits = kit.output(
            "ssh-keygen",
            &["-Y", "check-novalidate", "-n", "git", "-s", "sig"],
            payload,
        );
        return if fits.status.success() { "GOOD" } else { "BAD" }.to_owned();
    }
    let status = kit
        .output("gpg", &["--batch", "--status-fd", "1", "--verify", "sig", "-"], payload)
        .stdout;
    let status = String::from_utf8(status).unwrap();
    let says = |word: &str| {
        status
            .lines()
            .any(|line| line.starts_with(&format!("[GNUPG:] {word} ")))
    };
    let answers = [
        ("GOODSIG", "GOOD"),
        ("BADSIG", "BAD"),
        ("EXPKEYSIG", "expired key"),
        ("REVKEYSIG", "revoked key"),
    ];
    answers
        .iter()
        .find(|(word, _)| says(word))
        .map_or("error", |(_, answer)| answer)
        .to_owned()
}
