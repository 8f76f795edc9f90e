//! Checks and decision over hand-made facts: each rule denies what it should, and nothing else.

use lychgate::config::Policy;
use lychgate::decision::{self, Decision, Verdict};
use lychgate::facts::{
    Ancestry, CommitFact, Fact, Facts, Identity, ScanFact, SecretFact, SignatureFact, SignatureState, UpdateFact,
};
use lychgate::finding::{Confidence, Place, Severity};
use lychgate::guarantee::{Control, Guarantee, source_level};
use lychgate::push::{Actor, Oid, Push, RefUpdate, Server, Timestamp, read_updates};
use lychgate::waiver::{Approval, Ask, Target, Waiver};

const POLICY: &str = r#"
version = 1
[[ref]]
pattern = "refs/heads/main"
who = ["ann", "bob"]
[[ref]]
pattern = "refs/tags/v*"
[secrets]
refs = ["refs/**"]
deny_confidence = "high"
deny_severity = "medium"
"#;

fn policy() -> Policy {
    Policy::parse("policy.toml", POLICY).unwrap()
}

fn oid(digit: char) -> Oid {
    digit.to_string().repeat(40).parse().unwrap()
}

fn signature(state: SignatureState) -> Fact<SignatureFact> {
    Fact::Known(SignatureFact {
        state,
        key: Some("SHA256:abc".into()),
        principal: Some("ann".into()),
        emails: vec!["ann@example.com".into()],
        detail: String::new(),
        first_use: false,
    })
}

fn commit(state: SignatureState, email: &str) -> CommitFact {
    let who = Identity {
        name: "Ann".into(),
        email: email.into(),
        time: Timestamp::from_unix(1_700_000_000),
    };
    CommitFact {
        oid: oid('c'),
        tree: oid('d'),
        parents: vec![oid('a')],
        author: Some(who.clone()),
        committer: Some(who),
        malformed: None,
        signature: signature(state),
        in_quarantine: true,
    }
}

/// A push by `ann` of one well signed commit, ref and ids as given.
fn facts(name: &str, old: Oid, new: Oid) -> Facts {
    let update = RefUpdate {
        name: name.parse().unwrap(),
        old,
        new,
    };
    let deleted = new.is_zero();
    Facts {
        push: Push {
            id: "01J".into(),
            repository: "git+https://git.example.com/a/b".into(),
            received_at: Timestamp::from_unix(1_800_000_000),
            actor: Actor {
                server: Server::Plain,
                name: "ann".into(),
                protocol: None,
            },
            options: vec![],
            updates: vec![update.clone()],
        },
        commits: vec![commit(SignatureState::Good, "ann@example.com")],
        updates: vec![UpdateFact {
            update,
            ancestry: Fact::Known(if old.is_zero() || deleted {
                Ancestry::None
            } else {
                Ancestry::FastForward
            }),
            commits: Fact::Known(if deleted { vec![] } else { vec![0] }),
            tag: None,
            commit: (!deleted).then_some(oid('c')),
            tree: (!deleted).then_some(oid('d')),
            previous: Fact::Known(None),
        }],
        landing: None,
        scan: Fact::Known(ScanFact {
            rule_set: "r".repeat(64),
            objects: 3,
            bytes: 300,
            secrets: vec![],
            bounds: vec![],
        }),
        waivers: lychgate::facts::no_waivers(),
    }
}

fn main_push() -> Facts {
    facts("refs/heads/main", oid('a'), oid('c'))
}

fn codes(decision: &Decision) -> Vec<&str> {
    decision
        .findings
        .iter()
        .filter(|f| f.denies)
        .map(|f| f.code.as_ref())
        .collect()
}

fn denied_with(facts: &Facts) -> Vec<String> {
    let decision = decision::judge(&policy(), facts);
    assert_eq!(decision.verdict, Verdict::Deny);
    assert!(decision.accepted.is_empty(), "a denied push accepts nothing");
    codes(&decision).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_clean_signed_push_enters_with_its_guarantees() {
    let decision = decision::judge(&policy(), &main_push());
    assert_eq!(decision.verdict, Verdict::Allow);
    assert_eq!(decision.findings, vec![]);
    let controls: Vec<Control> = decision.accepted[0].guarantees.iter().map(|g| g.control).collect();
    assert_eq!(controls, Control::ALL[..4], "what a hook sees");
    assert_eq!(source_level(&decision.accepted[0].guarantees), 3);
}

#[test]
fn each_signature_state_but_good_denies_with_its_code() {
    let cases = [
        (SignatureState::Unsigned, "unsigned-commit"),
        (SignatureState::NotAsked, "signature-not-judged"),
        (SignatureState::Bad, "bad-signature"),
        (SignatureState::Expired, "key-expired"),
        (SignatureState::Revoked, "key-revoked"),
        (SignatureState::UnknownKey, "unknown-key"),
        (SignatureState::WeakAlgorithm, "weak-signature"),
        (SignatureState::WrongUsage, "wrong-key-usage"),
        (SignatureState::Untrusted, "untrusted-key"),
        (SignatureState::Malformed, "malformed-signature"),
        (SignatureState::OutsideTime, "signature-time"),
        (SignatureState::Disagreement, "verifiers-disagree"),
    ];
    for (state, code) in cases {
        let mut facts = main_push();
        facts.commits[0].signature = signature(state);
        assert_eq!(denied_with(&facts), [code]);
    }
}

#[test]
fn protection_denies_each_forbidden_move() {
    let zero = "0".repeat(40).parse().unwrap();
    assert_eq!(
        denied_with(&facts("refs/heads/main", oid('a'), zero)),
        ["ref-deletion-denied"]
    );
    assert_eq!(
        denied_with(&facts("refs/lychgate/gate", oid('a'), oid('c'))),
        ["reserved-ref"]
    );
    assert_eq!(denied_with(&facts("refs/replace/x", zero, oid('c'))), ["reserved-ref"]);
    let mut stranger = main_push();
    stranger.push.actor.name = "mallory".into();
    assert_eq!(denied_with(&stranger), ["not-allowed-to-push"]);
    let mut rewound = main_push();
    rewound.updates[0].ancestry = Fact::Known(Ancestry::Diverged);
    assert_eq!(denied_with(&rewound), ["non-fast-forward"]);
    let mut tree = main_push();
    tree.updates[0].commit = None;
    assert_eq!(denied_with(&tree), ["not-a-commit"]);
    let moved = facts("refs/tags/v1", oid('a'), oid('c'));
    assert_eq!(denied_with(&moved), ["tag-moved", "unsigned-tag"]);
}

#[test]
fn an_unprotected_ref_asks_for_no_signature() {
    let mut feature = facts("refs/heads/feature", oid('a'), oid('c'));
    feature.commits[0].signature = signature(SignatureState::Unsigned);
    feature.updates[0].ancestry = Fact::Known(Ancestry::Diverged);
    let decision = decision::judge(&policy(), &feature);
    assert_eq!(decision.verdict, Verdict::Allow);
    assert!(decision.accepted.is_empty(), "only protected refs have entries");
}

#[test]
fn the_committer_must_own_the_key() {
    let mut facts = main_push();
    facts.commits[0] = commit(SignatureState::Good, "eve@example.com");
    assert_eq!(denied_with(&facts), ["committer-not-signer"]);
    facts.commits[0] = commit(SignatureState::Good, "ANN@example.com");
    assert_eq!(decision::judge(&policy(), &facts).verdict, Verdict::Allow);
}

#[test]
fn a_malformed_commit_denies_on_a_protected_ref() {
    let mut facts = main_push();
    facts.commits[0].malformed = Some("two committer lines".into());
    assert_eq!(denied_with(&facts), ["malformed-commit"]);
}

fn secret(confidence: Confidence) -> SecretFact {
    SecretFact {
        rule: "r".into(),
        title: "Example token".into(),
        severity: Severity::High,
        confidence,
        place: Place {
            object: Some(oid('e')),
            ..Place::default()
        },
        excerpt: "token = [secret]".into(),
        fingerprint: "f".repeat(64),
        revoke: None,
        paths: None,
    }
}

fn with_secret(confidence: Confidence) -> Facts {
    let mut facts = facts("refs/heads/feature", oid('a'), oid('c'));
    if let Fact::Known(scan) = &mut facts.scan {
        scan.secrets.push(secret(confidence));
    }
    facts
}

#[test]
fn secrets_deny_at_high_confidence_and_advise_below() {
    assert_eq!(denied_with(&with_secret(Confidence::High)), ["secret-found"]);
    let advice = decision::judge(&policy(), &with_secret(Confidence::Medium));
    assert_eq!((advice.verdict, advice.findings.len()), (Verdict::Allow, 1));
}

#[test]
fn an_allowed_fingerprint_enters_until_it_expires() {
    let with = |expires: &str| {
        let text = format!(
            "{POLICY}\n[[secrets.allow]]\nfingerprint = \"{}\"\nreason = \"test key\"\nexpires = \"{expires}\"\n",
            "f".repeat(64)
        );
        Policy::parse("policy.toml", &text).unwrap()
    };
    let facts = with_secret(Confidence::High);
    assert_eq!(
        decision::judge(&with("2100-01-01T00:00:00Z"), &facts).verdict,
        Verdict::Allow
    );
    assert_eq!(
        decision::judge(&with("2020-01-01T00:00:00Z"), &facts).verdict,
        Verdict::Deny
    );
}

/// What a policy decides that judges by path, of a match first seen at `shown` and known to be at `paths`.
fn by_path(shown: Option<&str>, paths: Option<&[&str]>) -> Decision {
    let text = format!(
        "{POLICY}\n[[secrets.severity]]\npaths = ['tests/**', '**/testdata/**']\nseverity = 'low'\n\
         [[secrets.severity]]\npaths = ['deploy/**']\nrules = ['r']\nseverity = 'critical'\n\
         [[secrets.severity]]\npaths = ['**']\nrules = ['other']\nseverity = 'critical'\n\
         [[secrets.severity]]\npaths = ['tests/real/**']\nseverity = 'high'\n"
    );
    let mut facts = with_secret(Confidence::High);
    if let Fact::Known(scan) = &mut facts.scan {
        scan.secrets[0].severity = Severity::Medium;
        scan.secrets[0].place.path = shown.map(str::to_owned);
        scan.secrets[0].paths = paths.map(|paths| paths.iter().map(|path| (*path).to_owned()).collect());
    }
    let policy = Policy::parse("policy.toml", &text).unwrap();
    let decision = decision::judge(&policy, &facts);
    let again = decision::replay(&text, &decision::canonical(&facts)).unwrap();
    assert_eq!(decision::canonical(&decision), again);
    decision
}

#[test]
fn the_policy_says_how_bad_a_secret_is_by_its_path() {
    for (path, severity, denies) in [
        ("tests/a.txt", Severity::Low, false),
        ("svc/testdata/a.txt", Severity::Low, false),
        ("testdata/a.txt", Severity::Low, false),
        ("deploy/key.env", Severity::Critical, true),
        ("src/tests/a.txt", Severity::Medium, true),
        // Of several, the highest.
        ("tests/real/a.txt", Severity::High, true),
    ] {
        let decision = by_path(Some(path), Some(&[path]));
        let finding = &decision.findings[0];
        assert_eq!((finding.severity, finding.denies), (severity, denies), "{path}");
    }
    let line = |path| {
        by_path(Some(path), Some(&[path])).findings[0]
            .required_by
            .clone()
            .unwrap()
            .line
    };
    assert_eq!(
        (line("deploy/key.env"), line("src/a.txt")),
        (16, 10),
        "the line that says so"
    );
}

#[test]
fn a_second_path_or_an_unknown_one_lowers_nothing() {
    let severity = |shown, paths| by_path(shown, paths).findings[0].severity;
    assert_eq!(severity(Some("tests/a"), Some(&["src/b", "tests/a"])), Severity::Medium);
    assert_eq!(
        severity(Some("tests/a"), Some(&["deploy/b", "tests/a"])),
        Severity::Critical
    );
    assert_eq!(severity(Some("tests/a"), Some(&["tests/a", "tests/b"])), Severity::Low);
    // Not all of its paths are known, or it is at none.
    assert_eq!(severity(Some("tests/a"), None), Severity::Medium);
    assert_eq!(severity(Some("deploy/a"), None), Severity::Critical);
    assert_eq!(severity(Some("tests/a"), Some(&[])), Severity::Medium);
    assert_eq!(severity(None, None), Severity::Medium);
}

#[test]
fn what_could_not_be_read_denies_as_an_outage() {
    let unavailable = || Fact::Unavailable {
        code: "pack-unreadable".into(),
        why: "broken".into(),
    };
    let mut facts = main_push();
    facts.scan = Fact::Unavailable {
        code: "scan-unavailable".into(),
        why: "broken".into(),
    };
    let decision = decision::judge(&policy(), &facts);
    assert_eq!((decision.verdict, decision.outage), (Verdict::Deny, true));
    facts.updates[0].commits = unavailable();
    facts.updates[0].commit = None;
    let decision = decision::judge(&policy(), &facts);
    assert!(
        decision.outage,
        "an outage never reads as a verdict about the work: {:?}",
        codes(&decision)
    );
    facts.push.actor.name = "mallory".into();
    assert!(
        !decision::judge(&policy(), &facts).outage,
        "a real finding beside it is a verdict"
    );
}

#[test]
fn guarantees_continue_from_the_previous_entry_and_restart_after_a_lapse() {
    let since = Guarantee {
        control: Control::Signed,
        since: oid('1'),
        since_time: Timestamp::from_unix(1),
        evidence: "then".into(),
    };
    let mut facts = main_push();
    facts.updates[0].previous = Fact::Known(Some(vec![since]));
    let decision = decision::judge(&policy(), &facts);
    let start = |control| {
        decision.accepted[0]
            .guarantees
            .iter()
            .find(|g| g.control == control)
            .unwrap()
            .since
    };
    assert_eq!(start(Control::Signed), oid('1'));
    assert_eq!(start(Control::SecretsScanned), oid('c'));
}

#[test]
fn replay_gives_the_same_bytes() {
    for facts in [main_push(), with_secret(Confidence::High)] {
        let first = decision::canonical(&decision::judge(&policy(), &facts));
        let again = decision::replay(POLICY, &decision::canonical(&facts)).unwrap();
        assert_eq!(first, again);
    }
    assert!(decision::replay("version = 9", b"{}").is_err());
    assert!(decision::replay(POLICY, b"{}").is_err());
}

const WAIVING: &str = "[waivers]\napprovers = [\"carol\"]\n";

/// An active waiver for `code` at the commit of [`main_push`], approved by `by`.
fn waiver(code: &'static str, by: &str) -> Waiver {
    let at = |hours: i64| Timestamp::from_unix(1_800_000_000 + hours * 3_600);
    Waiver {
        id: "W".into(),
        ask: Ask {
            repository: main_push().push.repository,
            code: code.into(),
            target: Target::Commit(oid('c')),
            reason: "no key yet".into(),
            requester: "ann".into(),
            authors: vec!["ann".into()],
            break_glass: false,
            change: None,
            created: at(-1),
            expires: at(1),
        },
        approvals: vec![Approval {
            by: by.into(),
            at: at(-1),
        }],
        revoked: None,
        records: vec!["d1".into(), "d2".into()],
    }
}

fn unsigned_push(waivers: Fact<Vec<Waiver>>) -> Facts {
    let mut facts = main_push();
    facts.commits[0].signature = signature(SignatureState::Unsigned);
    facts.waivers = waivers;
    facts
}

fn waiving() -> Policy {
    Policy::parse("policy.toml", &format!("{POLICY}{WAIVING}")).unwrap()
}

#[test]
fn a_waived_finding_stays_and_does_not_deny() {
    let facts = unsigned_push(Fact::Known(vec![waiver("unsigned-commit", "carol")]));
    let decision = decision::judge(&waiving(), &facts);
    assert_eq!(decision.verdict, Verdict::Allow);
    let finding = &decision.findings[0];
    assert_eq!((finding.denies, finding.waiver.as_deref()), (false, Some("W")));
    let accepted = &decision.accepted[0];
    assert_eq!(accepted.waivers[0].records, ["d1", "d2"]);
    let controls: Vec<Control> = accepted.guarantees.iter().map(|g| g.control).collect();
    assert_eq!(
        controls,
        [Control::HistoryKept, Control::RefProtected, Control::SecretsScanned]
    );
    assert_eq!(source_level(&accepted.guarantees), 2);
    let bytes = decision::canonical(&decision);
    let again = decision::replay(&format!("{POLICY}{WAIVING}"), &decision::canonical(&facts));
    assert_eq!(again.unwrap(), bytes);
}

#[test]
fn a_waiver_that_does_not_fit_changes_nothing() {
    let good = || waiver("unsigned-commit", "carol");
    let mut of_another_repository = good();
    of_another_repository.ask.repository.push('x');
    let mut of_another_commit = good();
    of_another_commit.ask.target = Target::Commit(oid('e'));
    let mut over = good();
    over.ask.expires = main_push().push.received_at;
    let mut by_the_author = good();
    by_the_author.approvals[0].by = "carol".into();
    let mut unfit = vec![
        of_another_repository,
        of_another_commit,
        over,
        waiver("unknown-key", "carol"),
        waiver("unsigned-commit", "mallory"),
    ];
    for waiver in unfit.drain(..) {
        let facts = unsigned_push(Fact::Known(vec![waiver.clone()]));
        let decision = decision::judge(&waiving(), &facts);
        assert_eq!(codes(&decision), ["unsigned-commit"], "{waiver:?}");
    }
    // The approver wrote the commit, whatever the request said of its authors.
    let mut facts = unsigned_push(Fact::Known(vec![by_the_author]));
    facts.commits[0].author.as_mut().unwrap().email = "Carol@example.com".into();
    assert_eq!(codes(&decision::judge(&waiving(), &facts)), ["unsigned-commit"]);
    // Without the section nobody may approve.
    let facts = unsigned_push(Fact::Known(vec![good()]));
    assert_eq!(codes(&decision::judge(&policy(), &facts)), ["unsigned-commit"]);
}

#[test]
fn waivers_that_cannot_be_read_are_an_outage_where_they_matter() {
    let unread = || Fact::Unavailable {
        code: "waiver-unverified".into(),
        why: "a record is not signed".into(),
    };
    let decision = decision::judge(&waiving(), &unsigned_push(unread()));
    assert_eq!(codes(&decision), ["unsigned-commit", "waiver-unverified"]);
    let mut clean = main_push();
    clean.waivers = unread();
    assert_eq!(decision::judge(&waiving(), &clean).verdict, Verdict::Allow);
}

#[test]
fn facts_of_before_there_were_waivers_replay() {
    let facts = decision::canonical(&main_push());
    assert!(
        !String::from_utf8_lossy(&facts).contains("waiver"),
        "their bytes are as they were"
    );
    let decision = decision::canonical(&decision::judge(&policy(), &main_push()));
    assert!(!String::from_utf8_lossy(&decision).contains("waiver"));
    assert_eq!(decision::replay(POLICY, &facts).unwrap(), decision);
}

#[test]
fn hook_input_is_read_strictly() {
    let a = "a".repeat(40);
    let good = format!("{a} {} refs/heads/main\n", "b".repeat(40));
    assert_eq!(read_updates(good.as_bytes()).unwrap().len(), 1);
    let bad = [
        String::new(),
        "\n".into(),
        good.trim_end().into(),
        format!("{good}{good}"),
        format!("{a} refs/heads/main\n"),
        format!("{a} {} refs/heads/main\n", "b".repeat(64)),
        format!("{a} {} refs/heads/../x\n", "b".repeat(40)),
        format!("{a} {} main\n", "b".repeat(40)),
        format!("{} {a} refs/heads/main\n", "G".repeat(40)),
    ];
    for text in bad {
        assert!(read_updates(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(read_updates(b"\xff\xfe\n").is_err());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]
    #[test]
    fn hook_input_of_any_bytes_never_panics(bytes: Vec<u8>) {
        let _ = read_updates(&bytes);
    }

    #[test]
    fn names_survive_their_text(text in "refs/[a-z./@{~]{1,20}") {
        if let Ok(name) = text.parse::<lychgate::push::RefName>() {
            proptest::prop_assert_eq!(name.as_str(), text.as_str());
        }
    }
}
