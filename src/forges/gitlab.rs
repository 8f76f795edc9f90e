//! GitLab, as an account with an access token (project, group or personal).
//!
//! In scope: statuses and one note a merge request. Projects are addressed by
//! id, so a rename breaks nothing. Out of scope: webhooks and their resending
//! (the sweep of open changes mends what was lost); notes at lines, which
//! GitLab refuses outside of the diff: the note lists the findings.
//!
//! API: <https://docs.gitlab.com/api/rest/>

mod guard;

use super::board::{self, Board, Posted};
use super::client::{Answer, Call, Client, Credential, Manner, Session};
use super::fault::refused;
use super::lane::Lane;
use super::{path, text};
use crate::forge::guard::{Landing, Protection, Wanted};
use crate::forge::{Change, CheckState, Display, ForgeRepo, Permission};
use crate::port::{FetchSource, Forge, ForgeError};
use crate::push::{Oid, RefName, Timestamp};
use http::{HeaderName, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use std::fmt;
use tokio::sync::OnceCell;

/// Access level of a developer, the least that may push.
const DEVELOPER: u64 = 30;
/// Access levels above it. <https://docs.gitlab.com/api/members/#roles>
const MAINTAINER: u64 = 40;
const OWNER: u64 = 50;

/// The adapter. `Debug` shows its name and URL only.
pub struct Gitlab {
    forge: String,
    client: Client,
    lane: Lane,
    token: SecretString,
    account: OnceCell<User>,
}

impl fmt::Debug for Gitlab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gitlab({} at {})", self.forge, self.client.base)
    }
}

#[derive(Deserialize)]
struct User {
    id: u64,
    username: String,
}

#[derive(Deserialize)]
struct Project {
    id: u64,
    path_with_namespace: String,
}

#[derive(Deserialize)]
struct Numbered {
    iid: u64,
}

#[derive(Deserialize)]
struct Request {
    state: String,
    target_branch: String,
    /// Absent while GitLab still reads a push.
    sha: Option<Oid>,
    author: Option<User>,
    #[serde(default)]
    merge_commit_sha: Option<Oid>,
    #[serde(default)]
    squash_commit_sha: Option<Oid>,
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
struct Member {
    access_level: u64,
}

#[derive(Deserialize)]
struct Status {
    id: u64,
    status: String,
    #[serde(default)]
    description: Option<String>,
}

#[derive(Deserialize)]
struct Note {
    id: u64,
    #[serde(default)]
    body: String,
    author: Option<User>,
}

impl Session for Gitlab {
    async fn send(&self, call: &Call) -> Result<Answer, ForgeError> {
        let credential = Credential {
            name: HeaderName::from_static("private-token"),
            value: self.token.expose_secret().into(),
        };
        self.client.call(&self.lane, &credential, call).await
    }

    fn client(&self) -> &Client {
        &self.client
    }
}

impl Gitlab {
    /// Makes the adapter. Must be called within a Tokio runtime; opens no connection.
    ///
    /// * `forge`: its name in our configuration.
    /// * `api`: `https://HOST/api/v4`.
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

    async fn request(&self, repo: &ForgeRepo, number: u64) -> Result<Request, ForgeError> {
        self.get(&format!("/projects/{}/merge_requests/{number}", repo.id))
            .await
    }

    async fn is_head(&self, display: &Display) -> Result<bool, ForgeError> {
        match display.number {
            None => Ok(true),
            Some(number) => Ok(self.request(&display.repo, number).await?.sha == Some(display.head)),
        }
    }

    async fn tip(&self, repo: &ForgeRepo, branch: &RefName) -> Result<Oid, ForgeError> {
        let branch = path::encoded(branch.short());
        let path = format!("/projects/{}/repository/branches/{branch}", repo.id);
        Ok(self.get::<Branch>(&path).await?.commit.id)
    }

    /// GitLab refuses to set the state that stands, so it is looked at first.
    async fn show_status(&self, display: &Display) -> Result<(), ForgeError> {
        // GitLab has no state for "we failed": a cancelled one is no verdict, and lets nothing merge.
        let (state, shown) = match display.state {
            CheckState::Pending => ("pending", "pending"),
            CheckState::Success | CheckState::Neutral => ("success", "success"),
            CheckState::Failure => ("failed", "failed"),
            CheckState::Error => ("canceled", "canceled"),
        };
        let description = text::clipped(&display.title, 140);
        let project = display.repo.id;
        let path = format!("/projects/{project}/repository/commits/{}/statuses", display.head);
        let found: Vec<Status> = self.list(&format!("{path}?name={}&per_page=100", text::NAME)).await?;
        let latest = found.iter().max_by_key(|status| status.id);
        if latest.is_some_and(|now| now.status == shown && now.description.as_deref() == Some(&description)) {
            return Ok(());
        }
        let body = json!({ "state": state, "name": text::NAME, "description": description });
        let call = Call::write(
            Method::POST,
            format!("/projects/{project}/statuses/{}", display.head),
            body,
        );
        self.send(&call).await.map(drop)
    }

    async fn thread(&self, repo: &ForgeRepo, number: u64) -> Result<Thread<'_>, ForgeError> {
        Ok(Thread {
            forge: self,
            account: self.account().await?.id,
            notes: format!("/projects/{}/merge_requests/{number}/notes", repo.id),
        })
    }
}

impl Forge for Gitlab {
    async fn change(&self, repo: &ForgeRepo, number: u64) -> Result<Change, ForgeError> {
        let request = self.request(repo, number).await?;
        let base: RefName = format!("refs/heads/{}", request.target_branch)
            .parse()
            .map_err(|_| refused("base-unreadable", "the change's base is no branch that Git accepts"))?;
        let head_oid = request
            .sha
            .ok_or_else(|| super::fault::later(5, "GitLab has not read the merge request's head yet"))?;
        let merged = request.state == "merged";
        let landed = request
            .merge_commit_sha
            .or(request.squash_commit_sha)
            .unwrap_or(head_oid);
        Ok(Change {
            repo: repo.clone(),
            number,
            open: matches!(request.state.as_str(), "opened" | "locked"),
            base_oid: self.tip(repo, &base).await?,
            base,
            head_oid,
            author: request.author.map_or_else(|| "ghost".to_owned(), |user| user.username),
            merged_as: merged.then_some(landed),
        })
    }

    async fn open_changes(&self, repo: &ForgeRepo) -> Result<Vec<u64>, ForgeError> {
        let path = format!("/projects/{}/merge_requests?state=opened&per_page=100", repo.id);
        let all: Vec<Numbered> = self.list(&path).await?;
        Ok(all.into_iter().map(|one| one.iid).collect())
    }

    async fn repositories(&self) -> Result<Vec<ForgeRepo>, ForgeError> {
        let query = format!("membership=true&archived=false&min_access_level={DEVELOPER}&simple=true&per_page=100");
        let all: Vec<Project> = self.list(&format!("/projects?{query}")).await?;
        let named = |project: Project| ForgeRepo {
            forge: self.forge.clone(),
            id: project.id,
            full_name: project.path_with_namespace,
            installation: None,
        };
        Ok(all.into_iter().map(named).collect())
    }

    async fn whereabouts(&self, repo: &ForgeRepo) -> Result<ForgeRepo, ForgeError> {
        let found: Project = self.get(&format!("/projects/{}", repo.id)).await?;
        Ok(ForgeRepo {
            full_name: found.path_with_namespace,
            ..repo.clone()
        })
    }

    async fn permission(&self, repo: &ForgeRepo, account: &str) -> Result<Permission, ForgeError> {
        let users: Vec<User> = self.get(&format!("/users?username={}", path::encoded(account))).await?;
        let Some(user) = users.iter().find(|user| user.username.eq_ignore_ascii_case(account)) else {
            return Ok(Permission::None);
        };
        let path = format!("/projects/{}/members/all/{}", repo.id, user.id);
        let member: Option<Member> = self.find(&path).await?;
        Ok(match member.map_or(0, |member| member.access_level) {
            OWNER.. => Permission::Admin,
            MAINTAINER.. => Permission::Maintain,
            DEVELOPER.. => Permission::Write,
            1.. => Permission::Read,
            0 => Permission::None,
        })
    }

    async fn fetch_source(&self, repo: &ForgeRepo, number: Option<u64>) -> Result<FetchSource, ForgeError> {
        let web = self.client.base.strip_suffix("/api/v4").unwrap_or(&self.client.base);
        let parts: Vec<String> = repo.full_name.split('/').map(path::encoded).collect();
        Ok(FetchSource {
            url: format!("{web}/{}.git", parts.join("/")),
            user: "oauth2".to_owned(),
            password: self.token.clone(),
            refspecs: text::refspecs("refs/merge-requests", number),
        })
    }

    async fn show(&self, display: &Display) -> Result<bool, ForgeError> {
        if display.head.is_zero() {
            return Err(refused("head-not-whole", "there is no commit with the id zero"));
        }
        if !self.is_head(display).await? {
            return Ok(false);
        }
        self.show_status(display).await?;
        let Some(number) = display.number else { return Ok(true) };
        // The note is seen on the change, whatever its head is by now: look again.
        if !self.is_head(display).await? {
            return Ok(false);
        }
        let thread = self.thread(&display.repo, number).await?;
        let marker = text::sticky_marker(&format!("account-{}", thread.account), &display.repo, number);
        board::stick(&thread, &marker, display).await?;
        Ok(true)
    }

    async fn reply(&self, repo: &ForgeRepo, number: u64, marker: &str, text: &str) -> Result<(), ForgeError> {
        let thread = self.thread(repo, number).await?;
        board::reply(&thread, &text::marker("reply", marker), text).await
    }

    /// Not asked for: each project's hooks keep their own record, and the sweep mends the same. Always 0.
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

/// The notes of one merge request.
struct Thread<'a> {
    forge: &'a Gitlab,
    account: u64,
    notes: String,
}

impl Board for Thread<'_> {
    async fn ours(&self, marker: &str) -> Result<Vec<Posted>, ForgeError> {
        let path = format!("{}?sort=asc&order_by=created_at&per_page=100", self.notes);
        let all: Vec<Note> = self.forge.list(&path).await?;
        let ours = |note: &Note| note.author.as_ref().is_some_and(|author| author.id == self.account);
        Ok(all
            .into_iter()
            .filter(|note| ours(note) && note.body.starts_with(marker))
            .map(|note| Posted {
                id: note.id,
                body: note.body,
            })
            .collect())
    }

    async fn create(&self, body: String) -> Result<(), ForgeError> {
        let call = Call::write(Method::POST, self.notes.clone(), json!({ "body": body }));
        self.forge.send(&call).await.map(drop)
    }

    async fn update(&self, id: u64, body: String) -> Result<(), ForgeError> {
        let call = Call::write(Method::PUT, format!("{}/{id}", self.notes), json!({ "body": body }));
        self.forge.send(&call).await.map(drop)
    }

    async fn delete(&self, id: u64) -> Result<(), ForgeError> {
        self.forge
            .send(&Call::delete(format!("{}/{id}", self.notes)))
            .await
            .map(drop)
    }
}
