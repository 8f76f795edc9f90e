//! What forges enforce on tags, and making them enforce more; judged by their own specifications.

use super::guard::{bare_hub, hub_of_admin, token, widget};
use super::judged::{Prism, judges};
use super::{hasty, hub_at, refused, repo, wait};
use crate::fake_forge::forgejo::ForgejoBrain;
use crate::fake_forge::github::{GitHubBrain, REPO};
use crate::fake_forge::gitlab::GitlabBrain;
use crate::fake_forge::{Fake, Reply, Trouble};
use axum::http::Method;
use lychgate::forge::ForgeRepo;
use lychgate::forge::guard::{Drift, GuardedTags, Wanted};
use lychgate::forges::{Forgejo, Gitlab};
use lychgate::port::Forge;
use serde_json::{Value, json};

/// As the default policy: made by whoever may, and then they stay.
fn tags() -> GuardedTags {
    GuardedTags {
        pattern: "refs/tags/v*".into(),
        wanted: Wanted {
            deletion_blocked: true,
            move_blocked: true,
            ..Wanted::default()
        },
        names: vec!["refs/tags/v1".parse().unwrap(), "refs/tags/v2-rc".parse().unwrap()],
    }
}

/// Nobody makes any more of them.
fn closed() -> GuardedTags {
    let mut tags = tags();
    tags.wanted.creation_blocked = true;
    tags
}

async fn drifts(forge: &impl Forge, repo: &ForgeRepo, tags: &GuardedTags) -> Vec<Drift> {
    tags.drift(&forge.tag_protection(repo, &tags.names).await.unwrap())
}

fn ruleset(id: u64, include: &str, rules: Value) -> Value {
    json!({
        "id": id, "name": "somebody else's", "target": "tag", "enforcement": "active", "bypass_actors": [],
        "conditions": { "ref_name": { "include": [include], "exclude": [] } }, "rules": rules,
    })
}

#[test]
fn githubs_own_specification_accepts_guarding_tags() {
    let judges = judges();
    let fake = bare_hub(GitHubBrain::new().with_examples(&judges.join("github-examples.json")));
    let prism = Prism::before(&judges, "github.json", &fake.url);
    fake.brain.lock().unwrap().public.clone_from(&prism.url);
    let others = |value: Value| fake.brain.lock().unwrap().set_ruleset(value);
    wait(async {
        let hub = hub_of_admin(&prism.url);
        let all = [Drift::DeletionAllowed, Drift::MoveAllowed];
        assert_eq!(drifts(&hub, &repo(), &tags()).await, all);
        // One that covers a part, one that only rehearses, one for branches.
        others(ruleset(
            50,
            "refs/tags/v1*",
            json!([{ "type": "update" }, { "type": "deletion" }]),
        ));
        let mut rehearsed = ruleset(51, "~ALL", json!([{ "type": "update" }, { "type": "deletion" }]));
        rehearsed["enforcement"] = json!("disabled");
        others(rehearsed);
        let mut branches = ruleset(52, "~ALL", json!([{ "type": "update" }, { "type": "deletion" }]));
        branches["target"] = json!("branch");
        others(branches);
        assert_eq!(drifts(&hub, &repo(), &tags()).await, all, "v2-rc is not covered");

        let before = fake.writes();
        let told = hub.protect_tags(&repo(), &tags(), true).await.unwrap();
        let expected = format!("POST /repos/{REPO}/rulesets {{");
        assert!(
            told[0].starts_with(&expected) && told[0].contains(r#""target":"tag""#),
            "{told:?}"
        );
        assert_eq!(fake.writes(), before, "a dry run writes nothing");
        assert_eq!(hub.protect_tags(&repo(), &tags(), false).await.unwrap(), told);
        assert!(drifts(&hub, &repo(), &tags()).await.is_empty());
        let twice = hub.protect_tags(&repo(), &tags(), false).await.unwrap();
        assert_eq!(twice, Vec::<String>::new());
        // The policy wants more by now: ours is changed, not doubled.
        assert_eq!(drifts(&hub, &repo(), &closed()).await, [Drift::CreationAllowed]);
        let told = hub.protect_tags(&repo(), &closed(), false).await.unwrap();
        assert!(told[0].starts_with(&format!("PUT /repos/{REPO}/rulesets/")), "{told:?}");
        assert!(drifts(&hub, &repo(), &closed()).await.is_empty());
        let admin = |seen: &&crate::fake_forge::Seen| seen.method != Method::GET && seen.path.contains("/rulesets");
        for seen in fake.log().iter().filter(admin) {
            assert_eq!(seen.header("authorization"), format!("Bearer {}", token()));
        }
    });
}

#[test]
fn a_forge_that_may_not_or_cannot_tell_of_tags_says_so() {
    let hub = bare_hub(GitHubBrain::new());
    let forgejo = Fake::start(ForgejoBrain::new(token()));
    wait(async {
        let github = hub_at(&hub.url, hasty());
        let trouble = Trouble::Refuse(Reply::refuse(403, "Resource not accessible by integration"));
        hub.order(Method::GET, "/rulesets", trouble);
        let asked = github.tag_protection(&repo(), &tags().names).await;
        assert_eq!(refused(asked).0, "permission-missing");
        // A server from before rulesets; a Gitea from before its API for tags.
        hub.brain.lock().unwrap().canned.remove("rulesets");
        assert_eq!(
            refused(github.tag_protection(&repo(), &tags().names).await).0,
            "not-found"
        );
        let forge = Forgejo::new("forge", &forgejo.url, token().into(), hasty()).unwrap();
        let asked = forge.tag_protection(&widget("forge"), &tags().names).await;
        assert_eq!(refused(asked).0, "not-found");
        let asked = forge.protect_tags(&widget("forge"), &closed(), false).await;
        assert_eq!(refused(asked).0, "not-found");
    });
}

#[test]
fn forgejos_own_specification_accepts_guarding_tags() {
    let judges = judges();
    let fake = Fake::start(ForgejoBrain::new(token()));
    let prism = Prism::before(&judges, "forgejo.json", &fake.url);
    fake.brain.lock().unwrap().shelf.public.clone_from(&prism.url);
    let set = |rules: Value| {
        let mut brain = fake.brain.lock().unwrap();
        brain.shelf.canned.insert("tag_protections".into(), rules);
    };
    let repo = widget("forge");
    wait(async {
        let forge = Forgejo::new("forge", &prism.url, token().into(), hasty()).unwrap();
        set(json!([]));
        assert_eq!(
            drifts(&forge, &repo, &tags()).await,
            [Drift::DeletionAllowed, Drift::MoveAllowed]
        );
        // Whoever may make a tag may move it there: that is nothing to be set by a program.
        let told = forge.protect_tags(&repo, &tags(), false).await.unwrap();
        assert!(
            told[0].starts_with("by hand: protect the tags v* ") && told[0].contains("move and delete"),
            "{told:?}"
        );
        assert!(fake.writes().is_empty());
        set(json!([{ "id": 1, "name_pattern": "v*", "whitelist_usernames": ["ann"], "whitelist_teams": [] }]));
        assert_eq!(drifts(&forge, &repo, &tags()).await.len(), 2, "ann may move it");
        let told = forge.protect_tags(&repo, &closed(), false).await.unwrap();
        assert!(told[0].starts_with("by hand: ") && fake.writes().is_empty(), "{told:?}");

        set(json!([]));
        let told = forge.protect_tags(&repo, &closed(), true).await.unwrap();
        assert!(
            told[0].starts_with("POST /repos/acme/widget/tag_protections {"),
            "{told:?}"
        );
        assert!(fake.writes().is_empty(), "a dry run writes nothing");
        assert_eq!(forge.protect_tags(&repo, &closed(), false).await.unwrap(), told);
        assert!(drifts(&forge, &repo, &closed()).await.is_empty());
        let twice = forge.protect_tags(&repo, &closed(), false).await.unwrap();
        assert_eq!((twice, fake.writes().len()), (Vec::new(), 1));
    });
}

/// Called with all else that is asked of GitLab: its description is to be used up.
pub(super) async fn are_guarded(fake: &Fake<GitlabBrain>, lab: &Gitlab) {
    let (repo, before) = (widget("lab"), fake.writes().len());
    let set = |rules: Value| {
        let mut brain = fake.brain.lock().unwrap();
        brain.shelf.canned.insert("protected_tags".into(), rules);
    };
    set(json!([]));
    assert_eq!(
        drifts(lab, &repo, &tags()).await,
        [Drift::DeletionAllowed, Drift::MoveAllowed]
    );
    let told = lab.protect_tags(&repo, &tags(), true).await.unwrap();
    let expected = r#"POST /projects/9001/protected_tags {"create_access_level":30,"name":"v*"}"#;
    assert_eq!(told, [expected]);
    assert_eq!(fake.writes().len(), before, "a dry run writes nothing");
    assert_eq!(lab.protect_tags(&repo, &tags(), false).await.unwrap(), told);
    assert!(drifts(lab, &repo, &tags()).await.is_empty());
    let twice = lab.protect_tags(&repo, &tags(), false).await.unwrap();
    assert_eq!((twice, fake.writes().len()), (Vec::new(), before + 1));
    // The rule of a pattern cannot be changed by a call.
    assert_eq!(drifts(lab, &repo, &closed()).await, [Drift::CreationAllowed]);
    let told = lab.protect_tags(&repo, &closed(), false).await.unwrap();
    assert_eq!(told, ["by hand: protect the tags v* in the repository's settings"]);
    set(json!([]));
    let told = lab.protect_tags(&repo, &closed(), false).await.unwrap();
    assert!(told[0].contains(r#""create_access_level":0"#), "{told:?}");
    assert!(drifts(lab, &repo, &closed()).await.is_empty());
}
