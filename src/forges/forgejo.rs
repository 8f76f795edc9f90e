//! Forgejo and Gitea, as an account with an access token.
//!
//! In scope: statuses, the sticky comment, and a review with notes at lines in
//! place of check runs. Out of scope: webhooks; redelivery, for which these
//! forges have no API (the sweep of open changes mends what was lost).
//!
//! API: `https://HOST/api/swagger` of each server.

mod guard;
mod tags;

use super::account::{Account, Thread, Written};
use super::board;
use super::client::{Call, Credential, Manner, Session};
use super::fault::refused;
use super::{path, text};
use crate::forge::guard::{GuardedTags, Landing, Protection, Wanted};
use crate::forge::{self, Annotation, Change, CheckState, Display, ForgeRepo};
use crate::port::{FetchSource, Forge, ForgeError};
use crate::push::{Oid, RefName, Timestamp};
use http::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;

/// Notes in one review; the comment and the status tell of the rest.
const MOST_NOTES: usize = 50;
/// Items on a page; servers give 50 at most unless set up otherwise.
const PAGE: &str = "limit=50";

/// The adapter. `Debug` shows its name and URL only.
pub struct Forgejo {
    account: Account<User>,
}

impl fmt::Debug for Forgejo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.account.shown("Forgejo"))
    }
}

#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
}

#[derive(Deserialize)]
struct Repository {
    id: u64,
    full_name: String,
    #[serde(default)]
    archived: bool,
}

#[derive(Deserialize)]
struct Numbered {
    number: u64,
}

#[derive(Deserialize)]
struct Pull {
    state: String,
    #[serde(default)]
    merged: bool,
    #[serde(default)]
    merge_commit_sha: Option<String>,
    user: Option<User>,
    base: Side,
    head: Side,
}

#[derive(Deserialize)]
struct Side {
    #[serde(rename = "ref")]
    name: String,
    sha: Oid,
    repo: Option<Repository>,
}

#[derive(Deserialize)]
struct Branch {
    commit: Commit,
}

#[derive(Deserialize)]
struct Commit {
    id: Oid,
}

#[derive(Deserialize)]
struct Permission {
    permission: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    status: String,
    #[serde(default)]
    context: String,
    #[serde(default)]
    description: String,
}

impl Forgejo {
    /// Makes the adapter. Must be called within a Tokio runtime; opens no connection.
    ///
    /// * `forge`: its name in our configuration.
    /// * `api`: `https://HOST/api/v1`.
    ///
    /// # Errors
    /// `base-url-wrong`, `client-unavailable`.
    pub fn new(forge: &str, api: &str, token: SecretString, manner: Manner) -> Result<Self, ForgeError> {
        let credential = |token: &SecretString| Credential::with_scheme("token", token);
        Ok(Self {
            account: Account::new(forge, api, token, manner, credential)?,
        })
    }

    async fn pull(&self, repo: &ForgeRepo, number: u64) -> Result<Pull, ForgeError> {
        self.account
            .get(&format!("/repos/{}/pulls/{number}", path::repo(repo)?))
            .await
    }

    async fn is_head(&self, display: &Display) -> Result<bool, ForgeError> {
        match display.number {
            None => self.whereabouts(&display.repo).await.map(|_| true),
            Some(number) => {
                let pull = self.pull(&display.repo, number).await?;
                let at = pull.base.repo.map_or(display.repo.id, |repo| repo.id);
                path::same(&display.repo, at)?;
                Ok(pull.head.sha == display.head)
            }
        }
    }

    /// The comments of one pull request. Their listing has no pages: it gives all of them.
    async fn thread(&self, at: &str, number: u64) -> Result<Thread<'_, User>, ForgeError> {
        Ok(Thread {
            session: &self.account,
            account: self.account.user().await?.id,
            all: format!("/repos/{at}/issues/{number}/comments"),
            query: "",
            each: format!("/repos/{at}/issues/comments"),
            edit: Method::PATCH,
        })
    }

    async fn show_status(&self, at: &str, display: &Display) -> Result<(), ForgeError> {
        let state = match display.state {
            CheckState::Pending => "pending",
            CheckState::Success | CheckState::Neutral => "success",
            CheckState::Failure => "failure",
            CheckState::Error => "error",
        };
        let description = text::clipped(&display.title, 140);
        let path = format!("/repos/{at}/statuses/{}", display.head);
        let mut latest: Option<Status> = None;
        self.account
            .pages(&format!("{path}?sort=highestindex&{PAGE}"), |page: Vec<Status>| {
                latest = page.into_iter().find(|status| status.context == text::NAME);
                latest.is_none()
            })
            .await?;
        if latest.is_some_and(|now| now.status == state && now.description == description) {
            return Ok(());
        }
        let body = json!({ "state": state, "context": text::NAME, "description": description });
        self.account
            .send(&Call::write(Method::POST, path, body))
            .await
            .map(drop)
    }

    /// One review an evaluation, as a comment: the status is what holds the merge up, and needs no dismissal.
    async fn show_review(&self, at: &str, number: u64, display: &Display) -> Result<(), ForgeError> {
        if display.annotations.is_empty() {
            return Ok(());
        }
        let marker = text::marker("review", &display.evaluation);
        let path = format!("/repos/{at}/pulls/{number}/reviews");
        let account = self.account.user().await?.id;
        let reviews: Vec<Written> = self.account.list(&format!("{path}?{PAGE}")).await?;
        if reviews.iter().any(|review| review.is(account, &marker)) {
            return Ok(());
        }
        let notes = display.annotations.iter().take(MOST_NOTES);
        let body = json!({
            "event": "COMMENT",
            "commit_id": display.head.to_string(),
            "body": text::marked(&marker, &display.title, 65_000),
            "comments": notes.map(note).collect::<Vec<_>>(),
        });
        self.account
            .send(&Call::write(Method::POST, path, body))
            .await
            .map(drop)
    }
}

fn note(annotation: &Annotation) -> Value {
    let message = text::clipped(&annotation.message, 16_000);
    json!({
        "path": annotation.path,
        "new_position": annotation.start_line.max(1),
        "body": format!("**{}**\n\n{message}", text::clipped(&annotation.title, 255)),
    })
}

impl Forge for Forgejo {
    async fn change(&self, repo: &ForgeRepo, number: u64) -> Result<Change, ForgeError> {
        let pull = self.pull(repo, number).await?;
        let base: RefName = format!("refs/heads/{}", pull.base.name)
            .parse()
            .map_err(|_| refused("base-unreadable", "the change's base is no branch that Git accepts"))?;
        let branch = path::encoded(base.short());
        let tip: Option<Branch> = self
            .account
            .find(&format!("/repos/{}/branches/{branch}", path::repo(repo)?))
            .await?;
        Ok(Change {
            repo: pull
                .base
                .repo
                .map_or_else(|| repo.clone(), |repo| self.account.repo(repo.id, repo.full_name)),
            number,
            open: pull.state == "open",
            base,
            base_oid: tip.map_or(pull.base.sha, |tip| tip.commit.id),
            head_oid: pull.head.sha,
            author: pull.user.map_or_else(|| "ghost".to_owned(), |user| user.login),
            merged_as: pull
                .merge_commit_sha
                .filter(|_| pull.merged)
                .and_then(|sha| sha.parse().ok()),
        })
    }

    async fn open_changes(&self, repo: &ForgeRepo) -> Result<Vec<u64>, ForgeError> {
        let path = format!("/repos/{}/pulls?state=open&{PAGE}", path::repo(repo)?);
        let pulls: Vec<Numbered> = self.account.list(&path).await?;
        Ok(pulls.into_iter().map(|pull| pull.number).collect())
    }

    async fn repositories(&self) -> Result<Vec<ForgeRepo>, ForgeError> {
        let all: Vec<Repository> = self.account.list(&format!("/user/repos?{PAGE}")).await?;
        let served = all.into_iter().filter(|repo| !repo.archived);
        Ok(served.map(|repo| self.account.repo(repo.id, repo.full_name)).collect())
    }

    async fn whereabouts(&self, repo: &ForgeRepo) -> Result<ForgeRepo, ForgeError> {
        let found: Repository = self.account.get(&format!("/repos/{}", path::repo(repo)?)).await?;
        path::same(repo, found.id)?;
        Ok(self.account.repo(found.id, found.full_name))
    }

    /// Forgejo has no `maintain`: its administrators stand for that too.
    async fn permission(&self, repo: &ForgeRepo, account: &str) -> Result<forge::Permission, ForgeError> {
        let account = path::encoded(account);
        let path = format!("/repos/{}/collaborators/{account}/permission", path::repo(repo)?);
        let found: Option<Permission> = self.account.find(&path).await?;
        Ok(match found.as_ref().map(|found| found.permission.as_str()) {
            Some("owner" | "admin") => forge::Permission::Admin,
            Some("write") => forge::Permission::Write,
            Some("read") => forge::Permission::Read,
            _ => forge::Permission::None,
        })
    }

    async fn fetch_source(&self, repo: &ForgeRepo, number: Option<u64>) -> Result<FetchSource, ForgeError> {
        path::repo(repo)?;
        let web = self.account.web("/api/v1");
        Ok(FetchSource {
            url: format!("{web}/{}.git", repo.full_name),
            user: self.account.user().await?.login.clone(),
            password: self.account.token.clone(),
            refspecs: text::refspecs("refs/pull", number),
        })
    }

    async fn show(&self, display: &Display) -> Result<bool, ForgeError> {
        if display.head.is_zero() {
            return Err(refused("head-not-whole", "there is no commit with the id zero"));
        }
        let at = path::repo(&display.repo)?;
        if !self.is_head(display).await? {
            return Ok(false);
        }
        self.show_status(&at, display).await?;
        let Some(number) = display.number else { return Ok(true) };
        // Review and comment are seen on the change, whatever its head is by now: look again.
        if !self.is_head(display).await? {
            return Ok(false);
        }
        self.show_review(&at, number, display).await?;
        let thread = self.thread(&at, number).await?;
        let marker = text::sticky_marker(&format!("account-{}", thread.account), &display.repo, number);
        board::stick(&thread, &marker, display).await?;
        Ok(true)
    }

    async fn reply(&self, repo: &ForgeRepo, number: u64, marker: &str, text: &str) -> Result<(), ForgeError> {
        let thread = self.thread(&path::repo(repo)?, number).await?;
        board::reply(&thread, &text::marker("reply", marker), text).await
    }

    /// These forges cannot be asked: always 0.
    async fn redeliver(&self, _since: Timestamp) -> Result<u32, ForgeError> {
        Ok(0)
    }

    async fn protection(&self, repo: &ForgeRepo, name: &RefName) -> Result<Protection, ForgeError> {
        guard::protection(&self.account, repo, name).await
    }

    async fn landing(&self, repo: &ForgeRepo, name: &RefName, steps: &[Oid]) -> Result<Landing, ForgeError> {
        guard::landing(&self.account, repo, name, steps).await
    }

    async fn protect(
        &self,
        repo: &ForgeRepo,
        name: &RefName,
        wanted: Wanted,
        dry_run: bool,
    ) -> Result<Vec<String>, ForgeError> {
        guard::protect(&self.account, repo, name, wanted, dry_run).await
    }

    async fn tag_protection(&self, repo: &ForgeRepo, names: &[RefName]) -> Result<Vec<Protection>, ForgeError> {
        tags::protection(&self.account, repo, names).await
    }

    async fn protect_tags(
        &self,
        repo: &ForgeRepo,
        tags: &GuardedTags,
        dry_run: bool,
    ) -> Result<Vec<String>, ForgeError> {
        tags::protect(&self.account, repo, tags, dry_run).await
    }

    async fn missing(&self, repo: &ForgeRepo) -> Result<Vec<String>, ForgeError> {
        guard::missing(&self.account, repo).await
    }

    /// There is no place for findings in SARIF.
    async fn upload(&self, _: &ForgeRepo, _: &str, _: Oid, _: &str) -> Result<bool, ForgeError> {
        Ok(false)
    }
}
