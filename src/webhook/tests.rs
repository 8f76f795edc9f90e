//! Tests of the receiver's parsing and signatures.

use super::*;
use proptest::prelude::*;

fn with<'a>(pairs: &'a [(&'a str, String)]) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| {
        pairs
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.clone())
    }
}

fn tag(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

static NOW: std::sync::LazyLock<Timestamp> = std::sync::LazyLock::new(|| Timestamp::from_unix(0));

fn secrets(all: &[&str]) -> Vec<SecretString> {
    all.iter().map(|text| SecretString::from((*text).to_owned())).collect()
}

#[test]
fn github_accepts_any_secret_of_a_rotation_and_nothing_else() {
    let body = b"{}";
    let good = format!("sha256={}", hex(&tag(b"new", &[body])));
    let headers = [("x-hub-signature-256", good.clone())];
    let check = |known: &[&str]| verify(ForgeKind::Github, &with(&headers), body, &secrets(known), *NOW);
    assert_eq!(check(&["old", "new"]), Ok(()));
    assert_eq!(check(&["old"]), Err(Refused::BadSignature));
    assert_eq!(check(&[]), Err(Refused::BadSignature));
    assert_eq!(
        verify(ForgeKind::Github, &with(&[]), body, &secrets(&["new"]), *NOW),
        Err(Refused::Unsigned)
    );
    let changed = verify(ForgeKind::Github, &with(&headers), b"{ }", &secrets(&["new"]), *NOW);
    assert_eq!(changed, Err(Refused::BadSignature));
}

#[test]
fn forgejo_refuses_when_any_copy_is_bad() {
    let body = b"{}";
    let good = hex(&tag(b"s", &[body]));
    let bad = hex(&tag(b"other", &[body]));
    let check = |pairs: &[(&str, String)]| verify(ForgeKind::Forgejo, &with(pairs), body, &secrets(&["s"]), *NOW);
    assert_eq!(check(&[("x-gitea-signature", good.clone())]), Ok(()));
    let mixed = [("x-gitea-signature", good), ("x-forgejo-signature", bad)];
    assert_eq!(check(&mixed), Err(Refused::BadSignature));
}

#[test]
fn gitlab_checks_token_signature_and_skew() {
    use base64::Engine;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let body = b"{}";
    let known = secrets(&["tok", &format!("whsec_{}", encode(b"key"))]);
    let check = |pairs: &[(&str, String)], now| verify(ForgeKind::Gitlab, &with(pairs), body, &known, now);
    assert_eq!(check(&[("x-gitlab-token", "tok".into())], *NOW), Ok(()));
    assert_eq!(
        check(&[("x-gitlab-token", "toc".into())], *NOW),
        Err(Refused::BadSignature)
    );
    assert_eq!(check(&[], *NOW), Err(Refused::Unsigned));
    let signature = format!("v1,{}", encode(&tag(b"key", &[b"m.0.", body])));
    let signed = [
        ("webhook-id", "m".to_owned()),
        ("webhook-timestamp", "0".to_owned()),
        ("webhook-signature", signature),
    ];
    assert_eq!(check(&signed, *NOW), Ok(()));
    assert_eq!(check(&signed, Timestamp::from_unix(301)), Err(Refused::Stale));
    let mut both = signed.to_vec();
    both.push(("x-gitlab-token", "wrong".into()));
    assert_eq!(check(&both, *NOW), Err(Refused::BadSignature));
}

fn github(event: &str, body: &str) -> Result<ForgeEvent, Refused> {
    let headers = [
        ("x-github-event", event.to_owned()),
        ("x-github-delivery", "d1".to_owned()),
    ];
    read(ForgeKind::Github, "hub", &with(&headers), body.as_bytes()).map(|incoming| incoming.event)
}

const REPO: &str = r#""repository":{"id":5,"full_name":"acme/pay"},"installation":{"id":9}"#;

fn repo() -> ForgeRepo {
    ForgeRepo {
        forge: "hub".into(),
        id: 5,
        full_name: "acme/pay".into(),
        installation: Some(9),
    }
}

#[test]
fn github_events_mean_what_they_should() {
    let touched = ForgeEvent::ChangeTouched {
        repo: repo(),
        number: 7,
    };
    for action in ["opened", "synchronize", "reopened", "edited", "ready_for_review"] {
        let body = format!(r#"{{"action":"{action}","number":7,{REPO}}}"#);
        assert_eq!(github("pull_request", &body), Ok(touched.clone()), "{action}");
    }
    let body = format!(r#"{{"action":"labeled","number":7,{REPO}}}"#);
    assert!(matches!(github("pull_request", &body), Ok(ForgeEvent::Ignored { .. })));
    let comment = |text: &str| {
        format!(
            r#"{{"action":"created",{REPO},"issue":{{"number":7,"pull_request":{{"url":"x"}}}},
            "comment":{{"id":3,"body":"{text}","user":{{"login":"ann"}}}}}}"#
        )
    };
    for command in ["recheck", "waive x"] {
        let event = github("issue_comment", &comment(&format!("/lychgate {command}")));
        assert!(
            matches!(&event, Ok(ForgeEvent::Command { text, comment: 3, .. }) if text == command),
            "{event:?}"
        );
    }
    for (event, action) in [
        ("secret_scanning_alert", "created"),
        ("secret_scanning_alert", "validated"),
        ("secret_scanning_alert_location", "created"),
    ] {
        let body = format!(r#"{{"action":"{action}",{REPO},"alert":{{"number":12,"secret_type":"x"}}}}"#);
        let told = ForgeEvent::SecretAlerted {
            repo: repo(),
            alert: 12,
        };
        assert_eq!(github(event, &body), Ok(told), "{event}");
    }
    let edited = comment("/lychgate waive x").replace("created", "edited");
    assert!(matches!(
        github("issue_comment", &edited),
        Ok(ForgeEvent::Ignored { .. })
    ));
    let button = |changes: &str| {
        let head = "c".repeat(40);
        format!(
            r#"{{"action":"requested_action",{REPO},"requested_action":{{"identifier":"not-a-secret"}},
            "check_run":{{"id":11,"head_sha":"{head}","pull_requests":[{changes}]}},"sender":{{"login":"ann"}}}}"#
        )
    };
    for (changes, wanted) in [(r#"{"number":7}"#, Some(7)), ("", None)] {
        let event = github("check_run", &button(changes));
        assert!(
            matches!(&event, Ok(ForgeEvent::Pressed { number, run: 11, by, button, .. })
                if *number == wanted && by == "ann" && button == "not-a-secret"),
            "{event:?}"
        );
    }
    assert!(matches!(
        github("issue_comment", &comment("/lychgates")),
        Ok(ForgeEvent::Ignored { .. })
    ));
    assert_eq!(github("pull_request", "{}"), Ok(ignored("pull_request ")));
    assert_eq!(github("pull_request_review", "{}"), Err(Refused::Unreadable));
    assert_eq!(github("push", "[]"), Err(Refused::Unreadable));
}

#[test]
fn a_delivery_needs_a_usable_id() {
    let headers = [("x-github-event", "ping".to_owned())];
    let missing = read(ForgeKind::Github, "hub", &with(&headers), b"{}");
    assert_eq!(missing, Err(Refused::NoDelivery));
}

/// A change's event of each forge, with `more` among its members.
fn odd(kind: ForgeKind, more: &[u8]) -> Result<ForgeEvent, Refused> {
    let headers = ["github", "gitea", "gitlab"].map(|forge| {
        let event = (format!("x-{forge}-event"), "pull_request".to_owned());
        [event, (format!("x-{forge}-delivery"), "d".to_owned())]
    });
    let headers = headers.concat();
    let header = |name: &str| {
        headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    let body: &[u8] = match kind {
        ForgeKind::Gitlab => {
            br#"{"object_kind":"merge_request","project":{"id":5,"path_with_namespace":"acme/pay"},"object_attributes":{"iid":7}"#
        }
        _ => br#"{"action":"opened","number":7,"repository":{"id":5,"full_name":"acme/pay"}"#,
    };
    read(kind, "hub", &header, &[body, more, b"}"].concat()).map(|incoming| incoming.event)
}

#[test]
fn odd_json_is_refused_or_does_nothing() {
    let nested = |name: &str, depth: usize| format!(",\"{name}\":{}{}", "[".repeat(depth), "]".repeat(depth));
    for kind in [ForgeKind::Github, ForgeKind::Forgejo, ForgeKind::Gitlab] {
        let reads = |more: &[u8]| matches!(odd(kind, more), Ok(ForgeEvent::ChangeTouched { number: 7, .. }));
        let twice = match kind {
            ForgeKind::Gitlab => r#","project":{"id":6,"path_with_namespace":"acme/other"}"#,
            _ => r#","repository":{"id":6,"full_name":"acme/other"}"#,
        };
        assert!(reads(b""), "{kind:?}");
        assert!(reads(b",\"x\":1,\"x\":2"), "what is not read may come twice");
        assert!(reads(b",\"x\":\"\xff\""), "and is not looked at");
        for refused in [
            twice.as_bytes(),
            nested("ref", 100_000).as_bytes(),
            b",\"ref\":\"\xff\"",
            b",\"ref\":\"\\ud800\"",
            b",\"x\":",
            b"}",
            b",\"ref\":NaN",
        ] {
            let more = String::from_utf8_lossy(&refused[..refused.len().min(60)]);
            assert_eq!(odd(kind, refused), Err(Refused::Unreadable), "{kind:?} {more}");
        }
        // Deeper than any stack, and never descended into.
        assert!(matches!(
            odd(kind, nested("x", 1_000_000).as_bytes()),
            Ok(_) | Err(Refused::Unreadable)
        ));
    }
    // What nobody asked for may have any form.
    assert_eq!(github("workflow_run", "[1, 2"), Ok(ignored("workflow_run")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No bytes make the readers panic, and what they read is bounded.
    #[test]
    fn any_bytes_are_read_or_refused(body in ".{0,200}", event in "[a-z_]{0,20}", kind in 0..3usize) {
        let kind = [ForgeKind::Github, ForgeKind::Forgejo, ForgeKind::Gitlab][kind];
        let headers = [
            ("x-github-event", event.clone()),
            ("x-gitea-event", event),
            ("x-github-delivery", "d".to_owned()),
            ("x-gitea-delivery", "d".to_owned()),
        ];
        if let Ok(incoming) = read(kind, "f", &with(&headers), body.as_bytes()) {
            prop_assert!(incoming.event.lane("f").len() < 2000);
        }
    }
}
