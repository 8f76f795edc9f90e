//! Forgejo and Gitea, as an account with an access token.
//!
//! In scope: statuses, the sticky comment, and a review with notes at lines in
//! place of check runs. Out of scope: webhooks; redelivery, for which these
//! forges have no API (the sweep of open changes mends what was lost).
//!
//! API: `https://HOST/api/swagger` of each server.

mod guard;

use super::board::{self, Board, Posted};
use super::client::{Answer, Call, Client, Credential, Manner, Session};
use super::fault::refused;
use super::lane::Lane;
use super::{path, text};
use crate::forge::guard::{Landing, Protection, Wanted};
use crate::forge::{self, Annotation, Change, CheckState, Display, ForgeRepo};
use crate::port::{FetchSource, Forge, ForgeError};
use crate::push::{Oid, RefName, Timestamp};
use http::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;
use tokio::sync::OnceCell;

/// Notes in one review; the comment and the status tell of the rest.
const MOST_NOTES: usize = 50;
/// Items on a page; servers give 50 at most unless set up otherwise.
const PAGE: &str = "limit=50";

/// The adapter. `Debug` shows its name and URL only.
pub struct Forgejo {
    forge: String,
    client: Client,
    lane: Lane,
    token: SecretString,
    account: OnceCell<User>,
}

impl fmt::Debug for Forgejo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forgejo({} at {})", self.forge, self.client.base)
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

#[derive(Deserialize)]
struct Written {
    id: u64,
    #[serde(default)]
    body: String,
    user: Option<User>,
}

impl Session for Forgejo {
    async fn send(&self, call: &Call) -> Result<Answer, ForgeError> {
        let credential = Credential::with_scheme("token", &self.token);
        self.client.call(&self.lane, &credential, call).await
    }

    fn client(&self) -> &Client {
        &self.client
    }
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
        Ok(Self {
            forge: forge.to_owned(),
            client: Client::new(api, "application/json", manner)?,
            lane: Lane::new(manner.mutation_gap, manner.mutation_burst),
            token,
            account: OnceCell::new(),
        })
    }

    async fn account(&self) -> Result<&User, ForgeError> {
        self.account.get_or_try_init(|| self.get("/user")).await
    }

    async fn pull(&self, repo: &ForgeRepo, number: u64) -> Result<Pull, ForgeError> {
        self.get(&format!("/repos/{}/pulls/{number}", path::repo(repo)?)).await
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

    fn named(&self, repo: Repository) -> ForgeRepo {
        ForgeRepo {
            forge: self.forge.clone(),
            id: repo.id,
            full_name: repo.full_name,
            installation: None,
        }
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
        self.pages(&format!("{path}?sort=highestindex&{PAGE}"), |page: Vec<Status>| {
            latest = page.into_iter().find(|status| status.context == text::NAME);
            latest.is_none()
        })
        .await?;
        if latest.is_some_and(|now| now.status == state && now.description == description) {
            return Ok(());
        }
        let body = json!({ "state": state, "context": text::NAME, "description": description });
        self.send(&Call::write(Method::POST, path, body)).await.map(drop)
    }

    /// One review an evaluation, as a comment: the status is what holds the merge up, and needs no dismissal.
    async fn show_review(&self, at: &str, number: u64, display: &Display) -> Result<(), ForgeError> {
        if display.annotations.is_empty() {
            return Ok(());
        }
        let marker = text::marker("review", &display.evaluation);
        let path = format!("/repos/{at}/pulls/{number}/reviews");
        let account = self.account().await?.id;
        let reviews: Vec<Written> = self.list(&format!("{path}?{PAGE}")).await?;
        let ours = |review: &Written| review.user.as_ref().is_some_and(|user| user.id == account);
        if reviews
            .iter()
            .any(|review| ours(review) && review.body.starts_with(&marker))
        {
            return Ok(());
        }
        let notes = display.annotations.iter().take(MOST_NOTES);
        let body = json!({
            "event": "COMMENT",
            "commit_id": display.head.to_string(),
            "body": text::marked(&marker, &display.title, 65_000),
            "comments": notes.map(note).collect::<Vec<_>>(),
        });
        self.send(&Call::write(Method::POST, path, body)).await.map(drop)
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
            .find(&format!("/repos/{}/branches/{branch}", path::repo(repo)?))
            .await?;
        Ok(Change {
            repo: pull.base.repo.map_or_else(|| repo.clone(), |repo| self.named(repo)),
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
        let pulls: Vec<Numbered> = self.list(&path).await?;
        Ok(pulls.into_iter().map(|pull| pull.number).collect())
    }

    async fn repositories(&self) -> Result<Vec<ForgeRepo>, ForgeError> {
        let all: Vec<Repository> = self.list(&format!("/user/repos?{PAGE}")).await?;
        let served = all.into_iter().filter(|repo| !repo.archived);
        Ok(served.map(|repo| self.named(repo)).collect())
    }

    async fn whereabouts(&self, repo: &ForgeRepo) -> Result<ForgeRepo, ForgeError> {
        let found: Repository = self.get(&format!("/repos/{}", path::repo(repo)?)).await?;
        path::same(repo, found.id)?;
        Ok(self.named(found))
    }

    /// Forgejo has no `maintain`: its administrators stand for that too.
    async fn permission(&self, repo: &ForgeRepo, account: &str) -> Result<forge::Permission, ForgeError> {
        let account = path::encoded(account);
        let path = format!("/repos/{}/collaborators/{account}/permission", path::repo(repo)?);
        let found: Option<Permission> = self.find(&path).await?;
        Ok(match found.as_ref().map(|found| found.permission.as_str()) {
            Some("owner" | "admin") => forge::Permission::Admin,
            Some("write") => forge::Permission::Write,
            Some("read") => forge::Permission::Read,
            _ => forge::Permission::None,
        })
    }

    async fn fetch_source(&self, repo: &ForgeRepo, number: Option<u64>) -> Result<FetchSource, ForgeError> {
        path::repo(repo)?;
        let web = self.client.base.strip_suffix("/api/v1").unwrap_or(&self.client.base);
        Ok(FetchSource {
            url: format!("{web}/{}.git", repo.full_name),
            user: self.account().await?.login.clone(),
            password: self.token.clone(),
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
        let account = self.account().await?.id;
        let marker = text::sticky_marker(&format!("account-{account}"), &display.repo, number);
        let thread = Thread {
            forge: self,
            account,
            at,
            number,
        };
        board::stick(&thread, &marker, display).await?;
        Ok(true)
    }

    async fn reply(&self, repo: &ForgeRepo, number: u64, marker: &str, text: &str) -> Result<(), ForgeError> {
        let thread = Thread {
            forge: self,
            account: self.account().await?.id,
            at: path::repo(repo)?,
            number,
        };
        board::reply(&thread, &text::marker("reply", marker), text).await
    }

    /// These forges cannot be asked: always 0.
    async fn redeliver(&self, _since: Timestamp) -> Result<u32, ForgeError> {
        Ok(0)
    }

    async fn protection(&self, repo: &ForgeRepo, name: &RefName) -> Result<Protection, ForgeError> {
        guard::protection(self, repo, name).await
    }

    async fn landing(&self, repo: &ForgeRepo, name: &RefName, steps: &[Oid]) -> Result<Landing, ForgeError> {
        guard::landing(self, repo, name, steps).await
    }

    async fn protect(
        &self,
        repo: &ForgeRepo,
        name: &RefName,
        wanted: Wanted,
        dry_run: bool,
    ) -> Result<Vec<String>, ForgeError> {
        guard::protect(self, repo, name, wanted, dry_run).await
    }

    async fn missing(&self, repo: &ForgeRepo) -> Result<Vec<String>, ForgeError> {
        guard::missing(self, repo).await
    }

    /// There is no place for findings in SARIF.
    async fn upload(&self, _: &ForgeRepo, _: &str, _: Oid, _: &str) -> Result<bool, ForgeError> {
        Ok(false)
    }
}

/// The comments of one pull request.
struct Thread<'a> {
    forge: &'a Forgejo,
    account: u64,
    at: String,
    number: u64,
}

impl Board for Thread<'_> {
    async fn ours(&self, marker: &str) -> Result<Vec<Posted>, ForgeError> {
        // This listing has no pages: it gives all comments.
        let path = format!("/repos/{}/issues/{}/comments", self.at, self.number);
        let all: Vec<Written> = self.forge.list(&path).await?;
        let ours = |comment: &Written| comment.user.as_ref().is_some_and(|user| user.id == self.account);
        Ok(all
            .into_iter()
            .filter(|comment| ours(comment) && comment.body.starts_with(marker))
            .map(|comment| Posted {
                id: comment.id,
                body: comment.body,
            })
            .collect())
    }

    async fn create(&self, body: String) -> Result<(), ForgeError> {
        let path = format!("/repos/{}/issues/{}/comments", self.at, self.number);
        self.forge
            .send(&Call::write(Method::POST, path, json!({ "body": body })))
            .await
            .map(drop)
    }

    async fn update(&self, id: u64, body: String) -> Result<(), ForgeError> {
        let path = format!("/repos/{}/issues/comments/{id}", self.at);
        self.forge
            .send(&Call::write(Method::PATCH, path, json!({ "body": body })))
            .await
            .map(drop)
    }

    async fn delete(&self, id: u64) -> Result<(), ForgeError> {
        let path = format!("/repos/{}/issues/comments/{id}", self.at);
        self.forge.send(&Call::delete(path)).await.map(drop)
    }
}
