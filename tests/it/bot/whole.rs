//! The bot at the stateful GitHub, by the real adapter: commands, permissions, one comment, check runs.
//!
//! Only the fetching goes to a local repository, since that GitHub serves no Git.

use super::stage::{self, Stage, run_kept as run};
use crate::fake_forge::Fake;
use crate::fake_forge::github::{GitHubBrain, INSTALLATION, REPO, REPO_ID};
use crate::forges::{github, hasty, hub_at};
use axum::http::Method;
use lychgate::forge::guard::{GuardedTags, Landing, Protection, Wanted};
use lychgate::forge::{Change, Display, ForgeEvent, ForgeRepo, Permission};
use lychgate::forges::GitHub;
use lychgate::port::{Delivery, FetchSource, Forge, ForgeError, Queue};
use lychgate::push::{Oid, RefName, Timestamp};
use secrecy::SecretString;
use serde_json::Value;

/// The adapter, with another place to fetch from.
struct Served {
    hub: GitHub,
    url: String,
}

impl Forge for Served {
    async fn change(&self, repo: &ForgeRepo, number: u64) -> Result<Change, ForgeError> {
        self.hub.change(repo, number).await
    }

    async fn open_changes(&self, repo: &ForgeRepo) -> Result<Vec<u64>, ForgeError> {
        self.hub.open_changes(repo).await
    }

    async fn repositories(&self) -> Result<Vec<ForgeRepo>, ForgeError> {
        self.hub.repositories().await
    }

    async fn permission(&self, repo: &ForgeRepo, account: &str) -> Result<Permission, ForgeError> {
        self.hub.permission(repo, account).await
    }

    async fn fetch_source(&self, repo: &ForgeRepo, number: Option<u64>) -> Result<FetchSource, ForgeError> {
        let source = self.hub.fetch_source(repo, number).await?;
        Ok(FetchSource {
            url: self.url.clone(),
            password: SecretString::from(stage::PASSWORD.to_owned()),
            ..source
        })
    }

    async fn whereabouts(&self, repo: &ForgeRepo) -> Result<ForgeRepo, ForgeError> {
        self.hub.whereabouts(repo).await
    }

    async fn show(&self, display: &Display) -> Result<bool, ForgeError> {
        self.hub.show(display).await
    }

    async fn reply(&self, repo: &ForgeRepo, number: u64, marker: &str, text: &str) -> Result<(), ForgeError> {
        self.hub.reply(repo, number, marker, text).await
    }

    async fn redeliver(&self, since: Timestamp) -> Result<u32, ForgeError> {
        self.hub.redeliver(since).await
    }

    async fn protection(&self, repo: &ForgeRepo, name: &RefName) -> Result<Protection, ForgeError> {
        self.hub.protection(repo, name).await
    }

    async fn landing(&self, repo: &ForgeRepo, name: &RefName, steps: &[Oid]) -> Result<Landing, ForgeError> {
        self.hub.landing(repo, name, steps).await
    }

    async fn protect(
        &self,
        repo: &ForgeRepo,
        name: &RefName,
        wanted: Wanted,
        dry: bool,
    ) -> Result<Vec<String>, ForgeError> {
        self.hub.protect(repo, name, wanted, dry).await
    }

    async fn tag_protection(&self, repo: &ForgeRepo, names: &[RefName]) -> Result<Vec<Protection>, ForgeError> {
        self.hub.tag_protection(repo, names).await
    }

    async fn protect_tags(&self, repo: &ForgeRepo, tags: &GuardedTags, dry: bool) -> Result<Vec<String>, ForgeError> {
        self.hub.protect_tags(repo, tags, dry).await
    }

    async fn missing(&self, repo: &ForgeRepo) -> Result<Vec<String>, ForgeError> {
        self.hub.missing(repo).await
    }

    async fn upload(&self, repo: &ForgeRepo, name: &str, head: Oid, sarif: &str) -> Result<bool, ForgeError> {
        self.hub.upload(repo, name, head, sarif).await
    }
}

fn repo() -> ForgeRepo {
    ForgeRepo {
        forge: "hub".into(),
        id: REPO_ID,
        full_name: REPO.into(),
        installation: Some(INSTALLATION),
    }
}

fn command(by: &str, comment: u64, text: &str) -> ForgeEvent {
    ForgeEvent::Command {
        repo: repo(),
        number: 7,
        by: by.into(),
        comment,
        text: text.into(),
    }
}

/// The one comment of ours, by its text.
fn comment(fake: &Fake<GitHubBrain>) -> String {
    let brain = fake.brain.lock().unwrap();
    let bodies: Vec<&str> = brain.comments.iter().map(|it| it["body"].as_str().unwrap()).collect();
    assert_eq!(bodies.len(), 1, "never a second comment: {bodies:?}");
    bodies[0].to_owned()
}

fn last_run(fake: &Fake<GitHubBrain>) -> Value {
    fake.brain.lock().unwrap().runs.last().unwrap().clone()
}

#[test]
fn a_waiver_from_the_comment_to_the_green_check() {
    run(async |stage: Stage| {
        stage.gate.edit_policy("approvers = []", "approvers = [\"carol\"]");
        let head = stage.propose(7, "a.txt", false);
        let base = stage.branch("release/1.0");
        let fake = github();
        {
            let mut brain = fake.brain.lock().unwrap();
            brain.heads.insert(7, head.to_string());
            brain.base_tip = base;
            for (who, role) in [("mallory", "write"), ("carol", "maintain"), ("eve", "read")] {
                brain.writers.insert(who.into(), role.into());
            }
        }
        let served = Served {
            hub: hub_at(&fake.url, hasty()),
            url: stage.url(),
        };
        let bot = stage.bot_at(served, REPO).await;
        let deliver = async |id: &str, event: ForgeEvent| {
            let delivery = Delivery {
                forge: "hub".into(),
                delivery: id.into(),
                received_at: stage::now(),
                event,
            };
            assert!(bot.queue.accept(&delivery).await.unwrap());
            while bot.one_delivery().await.unwrap() || bot.one_display().await.unwrap() {}
        };
        deliver(
            "d1",
            ForgeEvent::ChangeTouched {
                repo: repo(),
                number: 7,
            },
        )
        .await;
        let refused = last_run(&fake);
        assert_eq!(refused["conclusion"], "failure");
        assert_eq!(refused["actions"].as_array().unwrap().len(), 3);
        assert!(comment(&fake).contains("/lychgate waive unsigned-commit"));

        deliver("c1", command("mallory", 1, "waive unsigned-commit no key yet")).await;
        assert_eq!(
            last_run(&fake)["conclusion"],
            "failure",
            "the same verdict, and not a check that stays pending"
        );
        let asked = comment(&fake);
        let (_, id) = asked.split_once("/lychgate approve ").unwrap();
        let id = &id[..26];
        deliver("c1-again", command("mallory", 1, "waive unsigned-commit no key yet")).await;
        assert_eq!(comment(&fake), asked, "answered once");

        let writes = fake.writes().len();
        deliver("c2", command("eve", 2, &format!("approve {id}"))).await;
        assert_eq!(fake.writes().len(), writes, "a stranger's comment costs one question");
        deliver("c3", command("carol", 3, &format!("approve {id}"))).await;
        assert!(comment(&fake).contains("this change may enter"), "{}", comment(&fake));
        let entered = last_run(&fake);
        assert_eq!(
            (entered["conclusion"].as_str(), entered["head_sha"].as_str()),
            (Some("success"), Some(&*head.to_string()))
        );
        assert_eq!(fake.brain.lock().unwrap().statuses.last().unwrap()["state"], "success");
        assert_eq!(fake.count(Method::GET, "/collaborators/carol/permission"), 1);

        // What ends makes the change red again, by the very evaluation that was overtaken.
        stage
            .gate
            .ask(&["waiver", "revoke", id, "--reason", "the key came"])
            .ok();
        deliver("c4", command("carol", 4, "recheck")).await;
        assert_eq!(last_run(&fake)["conclusion"], "failure");
        assert_eq!(fake.brain.lock().unwrap().statuses.last().unwrap()["state"], "failure");
        assert!(comment(&fake).contains("may not enter yet"));
    });
}
