//! What forges enforce, how commits landed there, making them enforce more, and uploads; judged by their own
//! specifications.

use super::judged::{Prism, judges};
use super::{hasty, head, hub_at, other_head, repo, wait};
use crate::fake_forge::forgejo::ForgejoBrain;
use crate::fake_forge::github::{APP, GitHubBrain, REPO};
use crate::fake_forge::{Fake, laid_on};
use crate::support::LYCHGATE;
use axum::http::Method;
use base64::Engine;
use lychgate::feedback::change::Frame;
use lychgate::forge::guard::{Drift, Landing, Protection, Wanted, drift};
use lychgate::forge::{Change, ForgeRepo};
use lychgate::forges::{Forgejo, GitHub, GitHubApp};
use lychgate::port::Forge;
use lychgate::push::{Oid, RefName, Timestamp};
use serde_json::{Value, json};
use std::io::Read;

pub(super) const WANTED: Wanted = Wanted {
    deletion_blocked: true,
    force_push_blocked: true,
    move_blocked: false,
    creation_blocked: false,
    checked: true,
    approvals: 1,
};

pub(super) fn name(branch: &str) -> RefName {
    format!("refs/heads/{branch}").parse().unwrap()
}

pub(super) fn oid(digit: char) -> Oid {
    digit.to_string().repeat(40).parse().unwrap()
}

pub(super) fn token() -> &'static str {
    concat!("canary-token-", "of-a-test")
}

/// A GitHub with nothing in force on `main`.
pub(super) fn bare_hub(brain: GitHubBrain) -> Fake<GitHubBrain> {
    let fake = Fake::start(brain);
    {
        let mut brain = fake.brain.lock().unwrap();
        brain.public.clone_from(&fake.url);
        brain.canned.insert("rules/branches/main".into(), ("rule", json!([])));
        brain.canned.insert("rulesets".into(), ("rulesets", json!([])));
        brain.tokens.insert(token().to_owned(), true);
    }
    fake
}

pub(super) fn hub_of_admin(url: &str) -> GitHub {
    let app = GitHubApp {
        forge: "hub".to_owned(),
        api: url.to_owned(),
        app_id: APP,
        key: super::app_key().into(),
        admin: Some(token().into()),
        manner: hasty(),
    };
    GitHub::new(app).unwrap()
}

fn can(brain: &mut GitHubBrain, path: &str, like: &'static str, value: Value) {
    brain.canned.insert(path.to_owned(), (like, value));
}

/// Two merged changes and one direct push: #7 squashed as `a…`, then `b…` pushed, then #8 rebased as `c…` and `d…`.
fn landed(brain: &mut GitHubBrain) {
    let pull = |number: u64, merged_as: Oid| {
        json!([{
            "number": number, "state": "closed", "merged_at": "2026-11-24T08:00:00Z",
            "merge_commit_sha": merged_as.to_string(), "user": { "login": "ann" },
            "base": { "ref": "main" }, "head": { "sha": head() },
        }])
    };
    can(
        brain,
        &format!("commits/{}/pulls", oid('a')),
        "commit_pulls",
        pull(7, oid('a')),
    );
    can(brain, &format!("commits/{}/pulls", oid('b')), "commit_pulls", json!([]));
    can(brain, &format!("commits/{}/pulls", oid('e')), "commit_pulls", json!([]));
    can(
        brain,
        &format!("commits/{}/pulls", oid('c')),
        "commit_pulls",
        pull(8, oid('d')),
    );
    can(
        brain,
        &format!("commits/{}/pulls", oid('d')),
        "commit_pulls",
        pull(8, oid('d')),
    );
    let review = |who: &str, at: String| json!({ "user": { "login": who, "type": "User" }, "state": "APPROVED", "commit_id": at });
    can(
        brain,
        "pulls/7/reviews",
        "reviews",
        json!([
            review("bob", head()),
            review("ann", head()),
            review("passer-by", head())
        ]),
    );
    can(
        brain,
        "pulls/8/reviews",
        "reviews",
        json!([review("bob", other_head())]),
    );
    for number in [7, 8] {
        let merged = json!({ "number": number, "state": "closed", "merged": true, "merged_by": { "login": "carl" } });
        can(brain, &format!("pulls/{number}"), "pull", merged);
    }
    brain.writers.insert("bob".to_owned(), "write".to_owned());
    brain.writers.insert("passer-by".to_owned(), "read".to_owned());
    let like = brain.like("combined", json!({}))["statuses"][0].clone();
    let build = laid_on(&like, json!({ "context": "build", "state": "success" }));
    let statuses = json!({ "state": "success", "statuses": [build] });
    can(brain, &format!("commits/{}/status", head()), "combined", statuses);
    let run = brain.like("check_run", json!({
        "id": 1, "name": "lychgate", "head_sha": head(), "status": "completed", "conclusion": "success", "app": { "id": APP },
    }));
    brain.runs.push(run);
    let suite = json!([{ "after_sha": oid('e').to_string(), "result": "bypass", "ref": "refs/heads/main" }]);
    can(brain, "rulesets/rule-suites", "suites", suite);
    let checks = json!({ "required_status_checks": [
        { "context": "lychgate", "integration_id": APP }, { "context": "build" }],
        "strict_required_status_checks_policy": false });
    let rules = json!([{ "type": "required_status_checks", "parameters": checks }, { "type": "deletion" }]);
    can(brain, "rules/branches/main", "rule", rules);
}

fn assert_landing(landing: &Landing) {
    assert_eq!(landing.direct, [oid('b')]);
    assert_eq!(landing.bypassed, Some(false));
    let told: Vec<_> = landing.changes.iter().map(|it| (it.number, it.merged_as)).collect();
    assert_eq!(told, [(7, oid('a')), (8, oid('d'))]);
    let first = &landing.changes[0];
    assert_eq!(first.approved_by, ["bob"], "neither the author nor who may not write");
    assert_eq!(first.passed, ["build", "lychgate"]);
    assert_eq!(first.merged_by.as_deref(), Some("carl"));
    assert!(landing.changes[1].approved_by.is_empty(), "another head was approved");
}

#[test]
fn github_tells_how_commits_landed() {
    let fake = bare_hub(GitHubBrain::new());
    landed(&mut fake.brain.lock().unwrap());
    let steps = [oid('a'), oid('b'), oid('c'), oid('d')];
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        assert_landing(&hub.landing(&repo(), &name("main"), &steps).await.unwrap());
        let passed_over = hub.landing(&repo(), &name("main"), &[oid('a'), oid('e')]).await;
        assert_eq!(passed_over.unwrap().bypassed, Some(true));
        // What may not be read is unknown, and claims nothing.
        fake.brain.lock().unwrap().canned.remove("rulesets/rule-suites");
        assert_eq!(
            hub.landing(&repo(), &name("main"), &[oid('a')]).await.unwrap().bypassed,
            None
        );
        // So many commits are not asked about one by one.
        let many = vec![oid('a'); 101];
        let many = hub.landing(&repo(), &name("main"), &many).await.unwrap();
        assert_eq!((many.changes.len(), many.direct.len()), (0, 101));
    });
}

#[test]
fn githubs_protection_is_rulesets_and_classic_together() {
    let fake = bare_hub(GitHubBrain::new());
    let classic = |admins: bool| {
        json!({
            "enforce_admins": { "enabled": admins }, "allow_deletions": { "enabled": false },
            "allow_force_pushes": { "enabled": false },
            "required_pull_request_reviews": { "required_approving_review_count": 2, "dismiss_stale_reviews": true },
            "required_status_checks": { "contexts": [], "checks": [{ "context": "lychgate", "app_id": APP }] },
        })
    };
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        let now = async || hub.protection(&repo(), &name("main")).await.unwrap();
        assert_eq!(now().await, Protection::default());
        can(
            &mut fake.brain.lock().unwrap(),
            "branches/main/protection",
            "protection",
            classic(false),
        );
        assert_eq!(now().await, Protection::default(), "administrators are exempt");
        can(
            &mut fake.brain.lock().unwrap(),
            "branches/main/protection",
            "protection",
            classic(true),
        );
        assert!(drift(WANTED, &now().await).is_empty());
        let imitated = json!([{ "type": "required_status_checks", "parameters": {
            "required_status_checks": [{ "context": "lychgate", "integration_id": APP + 1 }] } }]);
        fake.brain.lock().unwrap().canned.remove("branches/main/protection");
        can(&mut fake.brain.lock().unwrap(), "rules/branches/main", "rule", imitated);
        assert!(
            drift(WANTED, &now().await).contains(&Drift::CheckNotRequired),
            "another App's check of our name"
        );
    });
}

#[test]
fn githubs_own_specification_accepts_guarding_and_uploading() {
    let judges = judges();
    let fake = bare_hub(GitHubBrain::new().with_examples(&judges.join("github-examples.json")));
    let prism = Prism::before(&judges, "github.json", &fake.url);
    fake.brain.lock().unwrap().public.clone_from(&prism.url);
    wait(async {
        let hub = hub_of_admin(&prism.url);
        let before = fake.writes();
        let told = hub.protect(&repo(), &name("main"), WANTED, true).await.unwrap();
        assert!(
            told[0].starts_with(&format!("POST /repos/{REPO}/rulesets {{")),
            "{told:?}"
        );
        assert_eq!(fake.writes(), before, "a dry run writes nothing");
        assert_eq!(hub.protect(&repo(), &name("main"), WANTED, false).await.unwrap(), told);
        assert_eq!(
            hub.protect(&repo(), &name("main"), WANTED, false).await.unwrap(),
            Vec::<String>::new()
        );
        // Ours is there and says less than is wanted by now: it is changed, not doubled.
        let lax = json!([{ "type": "deletion" }]);
        can(&mut fake.brain.lock().unwrap(), "rules/branches/main", "rule", lax);
        let listed = json!([{ "id": 77, "name": "lychgate: refs/heads/main" }]);
        can(&mut fake.brain.lock().unwrap(), "rulesets", "rulesets", listed);
        let told = hub.protect(&repo(), &name("main"), WANTED, false).await.unwrap();
        assert!(
            told[0].starts_with(&format!("PUT /repos/{REPO}/rulesets/77 {{")),
            "{told:?}"
        );
        let admin = |seen: &&crate::fake_forge::Seen| seen.path.contains("/rulesets") && seen.method != Method::GET;
        for seen in fake.log().iter().filter(admin) {
            assert_eq!(
                seen.header("authorization"),
                format!("Bearer {}", token()),
                "as the administrator"
            );
        }

        landed(&mut fake.brain.lock().unwrap());
        let steps = [oid('a'), oid('b'), oid('c'), oid('d')];
        assert_landing(&hub.landing(&repo(), &name("main"), &steps).await.unwrap());

        let lacking = hub.missing(&repo()).await.unwrap();
        assert!(lacking.contains(&"permission checks: write".to_owned()), "{lacking:?}");
        assert!(lacking.contains(&"event merge_group".to_owned()), "{lacking:?}");

        let sarif = r#"{"version":"2.1.0"}"#;
        let uploaded = async || {
            hub.upload(&repo(), "refs/pull/7/head", head().parse().unwrap(), sarif)
                .await
                .unwrap()
        };
        assert!(!uploaded().await, "code scanning is not enabled");
        fake.brain.lock().unwrap().sarifs = Some(Vec::new());
        assert!(uploaded().await);
    });
    let brain = fake.brain.lock().unwrap();
    let body = &brain.sarifs.as_ref().unwrap()[0];
    assert_eq!(
        (body["ref"].as_str(), body["commit_sha"].as_str()),
        (Some("refs/pull/7/head"), Some(head().as_str()))
    );
    let packed = base64::engine::general_purpose::STANDARD
        .decode(body["sarif"].as_str().unwrap())
        .unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.as_slice())
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, r#"{"version":"2.1.0"}"#);
}

#[test]
fn an_app_of_our_manifest_lacks_nothing_and_each_thing_that_it_lacks_is_told() {
    let manifest: Value = serde_json::from_str(include_str!("../../../deploy/github-app.json")).unwrap();
    let (permissions, events) = (&manifest["default_permissions"], &manifest["default_events"]);
    let fake = bare_hub(GitHubBrain::new());
    let install = |permissions: &Value, events: &Value| {
        let installed = json!({ "permissions": permissions, "events": events });
        fake.brain.lock().unwrap().installed = installed;
    };
    wait(async {
        let hub = hub_at(&fake.url, hasty());
        install(permissions, events);
        assert_eq!(hub.missing(&repo()).await.unwrap(), Vec::<String>::new());
        for (name, access) in permissions.as_object().unwrap() {
            let mut fewer = permissions.clone();
            fewer.as_object_mut().unwrap().remove(name);
            install(&fewer, events);
            // Findings go to code scanning only where that is asked for.
            let told = (name != "security_events").then(|| format!("permission {name}: {}", access.as_str().unwrap()));
            assert_eq!(hub.missing(&repo()).await.unwrap(), Vec::from_iter(told));
        }
        for (at, name) in events.as_array().unwrap().iter().enumerate() {
            let mut fewer = events.clone();
            fewer.as_array_mut().unwrap().remove(at);
            install(permissions, &fewer);
            let told = hub.missing(&repo()).await.unwrap();
            assert_eq!(told, [format!("event {}", name.as_str().unwrap())]);
        }
    });
}

pub(super) fn widget(forge: &str) -> ForgeRepo {
    ForgeRepo {
        forge: forge.to_owned(),
        id: 9001,
        full_name: "acme/widget".to_owned(),
        installation: None,
    }
}

fn forgejo_landed(brain: &mut ForgejoBrain) {
    let mut can = |path: &str, value: Value| brain.shelf.canned.insert(path.to_owned(), value);
    can(
        "branches/main",
        json!({ "name": "main", "protected": true, "effective_branch_protection_name": "main" }),
    );
    can(
        "branch_protections/main",
        json!({
        "rule_name": "main", "enable_push": false, "enable_status_check": true, "apply_to_admins": true,
        "status_check_contexts": ["lychgate"], "required_approvals": 1, "dismiss_stale_approvals": true }),
    );
    let user = |login: &str| json!({ "id": 9, "login": login });
    can(
        &format!("commits/{}/pull", oid('b')),
        json!({
        "number": 7, "state": "closed", "merged": true, "merge_commit_sha": oid('b').to_string(),
        "user": user("ann"), "merged_by": user("carl"),
        "base": { "ref": "main", "sha": "a".repeat(40) }, "head": { "ref": "topic", "sha": oid('b').to_string() } }),
    );
    can(
        "pulls/7/commits",
        json!([{ "sha": oid('a').to_string() }, { "sha": oid('b').to_string() }]),
    );
    can(
        &format!("commits/{}/status", oid('b')),
        json!({
        "state": "success", "statuses": [{ "id": 1, "context": "lychgate", "status": "success" }] }),
    );
    let review = |who: &str, official: bool| {
        json!({
        "id": 1, "user": user(who), "state": "APPROVED", "commit_id": oid('b').to_string(), "official": official })
    };
    brain.reviews = vec![review("bob", true), review("ann", true), review("passer-by", false)];
}

#[test]
fn forgejos_own_specification_accepts_guarding() {
    let judges = judges();
    let fake = Fake::start(ForgejoBrain::new(token()));
    let prism = Prism::before(&judges, "forgejo.json", &fake.url);
    fake.brain.lock().unwrap().shelf.public.clone_from(&prism.url);
    let repo = widget("forge");
    wait(async {
        let forge = Forgejo::new("forge", &prism.url, token().into(), hasty()).unwrap();
        fake.brain
            .lock()
            .unwrap()
            .shelf
            .canned
            .insert("branches/main".into(), json!({ "name": "main", "protected": false }));
        assert_eq!(
            forge.protection(&repo, &name("main")).await.unwrap(),
            Protection::default()
        );
        let told = forge.protect(&repo, &name("main"), WANTED, true).await.unwrap();
        assert!(
            told[0].starts_with("POST /repos/acme/widget/branch_protections {"),
            "{told:?}"
        );
        assert!(fake.writes().is_empty(), "a dry run writes nothing");
        forge.protect(&repo, &name("main"), WANTED, false).await.unwrap();
        assert_eq!(fake.writes(), ["POST /repos/acme/widget/branch_protections"]);

        forgejo_landed(&mut fake.brain.lock().unwrap());
        // A fast-forward of two commits.
        let landing = forge
            .landing(&repo, &name("main"), &[oid('a'), oid('b')])
            .await
            .unwrap();
        assert!(landing.direct.is_empty());
        let change = &landing.changes[0];
        assert_eq!(
            (change.number, change.merged_as, change.merged_by.as_deref()),
            (7, oid('b'), Some("carl"))
        );
        assert_eq!(
            (change.approved_by.clone(), change.passed.clone()),
            (vec!["bob".into()], vec!["lychgate".into()])
        );
        assert!(drift(WANTED, &landing.protection).is_empty());
        assert!(
            forge
                .protect(&repo, &name("main"), WANTED, false)
                .await
                .unwrap()
                .is_empty()
        );

        // Others' contexts stay when ours is added.
        let lax = json!({ "rule_name": "main", "enable_push": true, "enable_status_check": true,
            "status_check_contexts": ["build"], "required_approvals": 2, "apply_to_admins": true });
        fake.brain
            .lock()
            .unwrap()
            .shelf
            .canned
            .insert("branch_protections/main".into(), lax);
        let told = forge.protect(&repo, &name("main"), WANTED, false).await.unwrap();
        assert!(
            told[0].contains(r#"["build","lychgate"]"#) && told[0].contains(r#""required_approvals":2"#),
            "{told:?}"
        );
        assert!(drift(WANTED, &forge.protection(&repo, &name("main")).await.unwrap()).is_empty());
        fake.brain.lock().unwrap().shelf.canned.insert(
            String::new(),
            json!({ "permissions": { "push": true, "admin": false } }),
        );
        assert_eq!(forge.missing(&repo).await.unwrap().len(), 1);
    });
}

/// A configuration and its files, for the program itself.
fn installed(dir: &std::path::Path, url: &str) -> std::path::PathBuf {
    let here = dir.display();
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write("app.pem", super::app_key());
    write("hook", concat!("canary-hook-", "secret-of-a-test"));
    write("admin", token());
    write("fingerprint.key", &"ab".repeat(32));
    write("policy.toml", lychgate::config::DEFAULT_POLICY);
    std::fs::create_dir_all(dir.join("keyring")).unwrap();
    let text = format!(
        "version = 1\nstore = \"{here}/bot.db\"\nmirrors = \"{here}/mirrors\"\nfingerprint_key = \"{here}/fingerprint.key\"\n\
         [[forge]]\nname = \"hub\"\nkind = \"github\"\napi = \"{url}\"\napp_id = {APP}\nkey_file = \"{here}/app.pem\"\n\
         webhook_secret_files = [\"{here}/hook\"]\n\
         [[repository]]\nforge = \"hub\"\nname = \"{REPO}\"\nresource = \"git+https://example.com/acme/widget\"\n\
         policy = \"{here}/policy.toml\"\nkeyring = \"{here}/keyring\"\n"
    );
    write("bot.toml", &text);
    dir.join("bot.toml")
}

/// The commands that the text about a lapse has.
fn lapse_commands() -> [String; 2] {
    let change = Change {
        repo: repo(),
        number: 0,
        open: true,
        base: name("main"),
        base_oid: oid('a'),
        head_oid: oid('a'),
        author: String::new(),
        merged_as: None,
    };
    let frame = Frame {
        change: &change,
        evaluation: "",
        policy: "",
        at: Timestamp::from_unix(0),
    };
    let told = lychgate::feedback::landed::protection(frame, &[Drift::DeletionAllowed], "01KC", true);
    let lines = told.summary.lines().filter(|line| line.starts_with("lychgate "));
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.try_into().unwrap()
}

#[test]
fn the_command_shows_drift_and_mends_it() {
    let fake = bare_hub(GitHubBrain::new());
    fake.brain.lock().unwrap().refs = vec![
        ("refs/heads/main", "a".repeat(40)),
        ("refs/heads/topic", "b".repeat(40)),
        ("refs/tags/v1", "c".repeat(40)),
    ];
    let scratch = crate::support::Scratch::new();
    let config = installed(&scratch.path(""), &fake.url);
    let (config, admin) = (config.to_str().unwrap(), scratch.path("admin"));
    let forge = |args: &[&str]| scratch.run(LYCHGATE, &[&["forge"], args, &["--config", config]].concat());
    let said = forge(&["drift"]).ends_with(1).stdout;
    assert!(
        said.contains("refs/heads/main: force-push-allowed") && !said.contains("topic"),
        "{said}"
    );
    assert!(
        said.contains("refs/tags/v*: move-allowed: ") && said.contains("refs/tags/v*: deletion-allowed: "),
        "{said}"
    );
    let said = forge(&["apply"]).ends_with(1).stdout;
    assert!(
        said.contains("would do: POST /repos/acme/widget/rulesets") && said.contains("--yes"),
        "{said}"
    );
    assert!(fake.writes().is_empty(), "nothing was changed");
    // As they are shown where a lapse is told.
    let (bot, file) = (
        format!("--config {config}"),
        format!("--token-file {}", admin.display()),
    );
    let shown = |line: String| {
        line.replace("--config bot.toml", &bot)
            .replace("--token-file FILE", &file)
    };
    let [first, second] = lapse_commands().map(shown);
    let program = std::path::Path::new(LYCHGATE).parent().unwrap().display().to_string();
    let shell = |line: &str| scratch.run("sh", &["-c", &format!("PATH={program}:$PATH; {line}")]);
    shell(&first).ends_with(1);
    assert!(fake.writes().is_empty(), "it only shows");
    let said = shell(&second).ok();
    assert_eq!(said.matches("left to mend: nothing").count(), 2, "{said}");
    assert_eq!(fake.writes().len(), 2, "one ruleset for the branch, one for the tags");
    let said = forge(&["drift", "--format", "json"]).ok();
    assert!(
        said.contains(r#""drift":[],"forge":"hub","left":[],"ref":"refs/tags/v*""#),
        "{said}"
    );
    let everything = format!("{said}{}", forge(&["apply"]).ok());
    assert!(!everything.contains(token()));
    forge(&["apply", "--token-file", admin.to_str().unwrap(), "--yes"]).ok();
    assert_eq!(fake.writes().len(), 2, "applied again it changes nothing");
    forge(&["drift", "--repository", "acme/other"]).ends_with(2);

    // A forge that tells nothing of tags hides nothing else, and is not taken for one that guards them.
    fake.brain.lock().unwrap().canned.remove("rulesets");
    for (format, told) in [
        ("text", "refs/tags/v*: protection-unknown: "),
        ("json", r#""unknown":"not-found: "#),
    ] {
        let said = forge(&["drift", "--format", format]).ends_with(1).stdout;
        assert!(said.contains("refs/heads/main") && said.contains(told), "{said}");
    }
}
