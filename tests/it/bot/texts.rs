//! Every status, check run and comment as it is shown, as a snapshot: read them as a tired developer would.

use lychgate::config::{Policy, WaiverPolicy};
use lychgate::feedback::change::{Frame, Seen, pending, unable, verdict};
use lychgate::feedback::remedy::{self, SecretPlace};
use lychgate::finding::{Finding, Place, PolicyLine, Severity, Span};
use lychgate::forge::{Change, CheckState, Display, ForgeRepo};
use lychgate::push::{Oid, RefName, Timestamp};

fn oid(digit: char) -> Oid {
    digit.to_string().repeat(40).parse().unwrap()
}

fn main() -> RefName {
    "refs/heads/main".parse().unwrap()
}

fn change() -> Change {
    Change {
        repo: ForgeRepo {
            forge: "hub".into(),
            id: 5,
            full_name: "acme/pay".into(),
            installation: None,
        },
        number: 7,
        open: true,
        base: main(),
        base_oid: oid('b'),
        head_oid: oid('c'),
        author: "ann".into(),
        merged_as: None,
    }
}

fn waivers() -> WaiverPolicy {
    let text = "version = 1\n[waivers]\napprovers = [\"ann\", \"carol\", \"dave\"]\n";
    Policy::parse("policy.toml", text).unwrap().waivers
}

fn frame(change: &Change) -> Frame<'_> {
    Frame {
        change,
        evaluation: "0123456789abcdef-fedcba9876543210",
        policy: "abcdef012345",
        at: Timestamp::from_unix(1_800_000_000),
    }
}

fn finding(code: &'static str, severity: Severity, message: &str, remedy: Vec<String>) -> Finding {
    let place = Place {
        ref_name: Some(main()),
        commit: Some(oid('c')),
        ..Place::default()
    };
    Finding {
        required_by: Some(PolicyLine {
            file: "policy.toml".into(),
            line: 22,
        }),
        remedy,
        ..Finding::new(code, severity, place, message)
    }
}

fn secret() -> Finding {
    let place = SecretPlace {
        branch: &main(),
        base: Some(oid('b')),
        commit: Some(oid('c')),
        tip: false,
        path: Some("src/pay.rs"),
        sign: true,
    };
    let remedy = remedy::secret(Some("https://github.com/settings/tokens"), place);
    let mut found = finding(
        "secret-found",
        Severity::Critical,
        "this push contains a GitHub personal access token (classic)",
        remedy,
    );
    found.place.path = Some("src/pay.rs".into());
    found.place.span = Some(Span {
        start: 120,
        end: 160,
        start_line: 12,
        end_line: 12,
        start_column: 9,
    });
    found.fingerprint = Some("5f".repeat(32));
    found
}

/// All that is seen, in the order in which it is seen.
fn shown(display: &Display) -> String {
    let notes: Vec<String> = display
        .annotations
        .iter()
        .map(|note| format!("{}:{} [{}] {}", note.path, note.start_line, note.title, note.message))
        .collect();
    let verdict = matches!(display.state, CheckState::Success | CheckState::Failure);
    let without = if verdict { "(folded)" } else { "(as it is)" };
    format!(
        "state: {:?}\ntitle: {}\n--- check\n{}\n--- notes\n{}\n--- comment\n{}",
        display.state,
        display.title,
        display.summary,
        notes.join("\n"),
        display.comment.as_deref().unwrap_or(without)
    )
}

fn judged(findings: &[Finding]) -> Display {
    judged_from(findings, Some(oid('b')))
}

fn judged_from(findings: &[Finding], merge_base: Option<Oid>) -> Display {
    let (change, policy) = (change(), waivers());
    let seen = Seen {
        findings,
        merge_base,
        commits: 2,
        waivers: &[],
        policy: Some(&policy),
        answers: &[],
    };
    verdict(frame(&change), &seen)
}

#[test]
fn while_and_without_a_verdict() {
    let change = change();
    insta::assert_snapshot!("pending", shown(&pending(frame(&change))));
    insta::assert_snapshot!("unable", shown(&unable(frame(&change), "keyring-unreadable")));
}

#[test]
fn each_main_kind_of_finding() {
    let (main, base) = (main(), Some(oid('b')));
    let kinds = [
        (
            "unsigned-commit",
            "commit cccccccccccc on refs/heads/main has no signature",
            remedy::unsigned(&main, base, 2),
        ),
        (
            "bad-signature",
            "commit cccccccccccc on refs/heads/main has a signature that does not fit its bytes",
            remedy::bad_signature(&main, base),
        ),
        (
            "unknown-key",
            "commit cccccccccccc on refs/heads/main is signed by a key that this server does not know",
            remedy::unknown_key(&main, Some("SHA256:abc")),
        ),
        (
            "key-expired",
            "commit cccccccccccc on refs/heads/main is signed by a key that has expired",
            remedy::expired_key(&main, base, Some("ABCDEF0123456789")),
        ),
        (
            "key-revoked",
            "commit cccccccccccc on refs/heads/main is signed by a key that is revoked",
            remedy::revoked_key(&main, base),
        ),
        (
            "committer-not-signer",
            "commit cccccccccccc names the committer x@example.com, whose signing key belongs to ann@example.com",
            remedy::wrong_committer(&main, base, &["ann@example.com".into()]),
        ),
    ];
    for (code, message, remedy) in kinds {
        let display = judged(&[finding(code, Severity::High, message, remedy)]);
        insta::assert_snapshot!(format!("kind-{code}"), shown(&display));
    }
    let unrelated = finding(
        "non-fast-forward",
        Severity::High,
        "refs/heads/main would lose commits that it has now (bbbbbbbbbbbb)",
        remedy::non_fast_forward(&main),
    );
    insta::assert_snapshot!("kind-unrelated", shown(&judged_from(&[unrelated], None)));
    insta::assert_snapshot!("kind-secret-found", shown(&judged(&[secret()])));
}

#[test]
fn a_clean_change_with_and_without_advice() {
    insta::assert_snapshot!("clean", shown(&judged(&[])));
    let mut advice = secret();
    advice.denies = false;
    insta::assert_snapshot!("advice", shown(&judged(&[advice])));
}

#[test]
fn what_people_write_does_nothing_in_the_comment() {
    let nasty = "@everyone `</code>` <img src=x> | [link](http://x) \u{202e}txt";
    let mut found = secret();
    found.place.path = Some(nasty.into());
    found.message = nasty.into();
    let comment = judged(&[found]).comment.unwrap();
    let outside: String = comment.split('`').step_by(2).collect();
    for part in ["@everyone", "<img", "](http", "\u{202e}"] {
        assert!(!outside.contains(part), "{part} in {outside}");
    }
}
