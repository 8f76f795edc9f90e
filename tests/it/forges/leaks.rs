//! What GitHub says of alerts about secrets, judged by its own specification; the secret is never asked for.

use super::guard::{bare_hub, hub_of_admin};
use super::judged::{Prism, judges};
use super::{repo, wait};
use crate::fake_forge::github::GitHubBrain;
use lychgate::forge::Leak;
use lychgate::port::Forge;
use serde_json::{Value, json};

#[test]
fn an_alert_counts_only_while_it_is_open_and_the_secret_valid() {
    let judges = judges();
    let fake = bare_hub(GitHubBrain::new().with_examples(&judges.join("github-examples.json")));
    let prism = Prism::before(&judges, "github.json", &fake.url);
    fake.brain.lock().unwrap().public.clone_from(&prism.url);
    let can = |path: &str, like: &'static str, value: Value| {
        let mut brain = fake.brain.lock().unwrap();
        brain
            .canned
            .insert(format!("secret-scanning/alerts/{path}"), (like, value));
    };
    let place =
        |kind: &str, blob: char| json!({ "type": kind, "details": { "blob_sha": blob.to_string().repeat(40) } });
    wait(async {
        let hub = hub_of_admin(&prism.url);
        assert_eq!(hub.leak(&repo(), 7).await.unwrap(), None, "there is no such alert");
        can(
            "7/locations",
            "alert_places",
            json!([place("commit", 'a'), place("wiki_commit", 'b'), place("commit", 'a')]),
        );
        for (state, validity, in_use) in [
            ("open", "active", true),
            ("open", "unknown", false),
            ("open", "inactive", false),
            ("resolved", "active", false),
        ] {
            let resolution = (state == "resolved").then_some("revoked");
            can(
                "7",
                "alert",
                json!({ "state": state, "validity": validity, "resolution": resolution }),
            );
            let blobs = if in_use {
                vec!["a".repeat(40).parse().unwrap()]
            } else {
                Vec::new()
            };
            let leak = hub.leak(&repo(), 7).await.unwrap();
            assert_eq!(leak, Some(Leak { in_use, blobs }), "{state} {validity}");
        }
    });
    let asked = |seen: &crate::fake_forge::Seen| seen.path.ends_with("/alerts/7");
    let log = fake.log();
    assert!(
        log.iter().any(asked)
            && log
                .iter()
                .filter(|seen| asked(seen))
                .all(|seen| seen.query == "hide_secret=true")
    );
}
