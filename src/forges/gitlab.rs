//! GitLab, as an account with an access token (project, group or personal).
//!
//! In scope: statuses and one note a merge request. Projects are addressed by
//! id, so a rename breaks nothing. Out of scope: webhooks and their resending
//! (the sweep of open changes mends what was lost); notes at lines, which
//! GitLab refuses outside of the diff: the note lists the findings.
//!
//! API: <https://docs.gitlab.com/api/rest/>

mod guard;
mod tags;

use super::account::{Account, Thread};
use super::board;
use super::client::{Call, Credential, Manner, Session};
use super::fault::{self, later, refused};
use super::{path, text};
use crate::forge::guard::{GuardedTags, Landing, Protection, Wanted};
use crate::forge::{Change, CheckState, Display, ForgeRepo, Permission};
use crate::port::{FetchSource, Forge, ForgeError};
use crate::push::{Oid, RefName, Timestamp};
use http::{HeaderName, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use std::fmt;

/// Access level of a developer, the least that may push.
const DEVELOPER: u64 = 30;
/// Access levels above it. <https://docs.gitlab.com/api/members/#roles>
const MAINTAINER: u64 = 40;
const OWNER: u64 = 50;

/// The adapter. `Debug` shows its name and URL only.
pub struct Gitlab {
    account: Account<User>,
}

impl fmt::Debug for Gitlab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.account.shown("Gitlab"))
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
    source_branch: String,
    /// Absent if the fork was deleted.
    source_project_id: Option<u64>,
    #[serde(default)]
    head_pipeline: Option<Pipeline>,
    author: Option<User>,
    #[serde(default)]
    merge_commit_sha: Option<Oid>,
    #[serde(default)]
    squash_commit_sha: Option<Oid>,
}

#[derive(Deserialize)]
struct Pipeline {
    sha: Oid,
    #[serde(rename = "ref")]
    name: String,
    project_id: u64,
}

impl Request {
    /// Under which ref a status of the head counts for this merge request.
    ///
    /// GitLab puts each status into a pipeline, the newest of that commit and ref. Not told which, it takes a branch of
    /// the project that holds the commit: any one, so that the merge request may not show it, and none for a fork's.
    /// <https://docs.gitlab.com/api/commits/#set-commit-pipeline-status>
    fn status_ref(&self, project: u64, number: u64) -> String {
        let ours = |it: &&Pipeline| it.project_id == project && Some(it.sha) == self.sha;
        match self.head_pipeline.as_ref().filter(ours) {
            Some(pipeline) => pipeline.name.clone(),
            None if self.source_project_id == Some(project) => self.source_branch.clone(),
            None => format!("refs/merge-requests/{number}/head"),
        }
    }
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

impl Gitlab {
    /// Makes the adapter. Must be called within a Tokio runtime; opens no connection.
    ///
    /// * `forge`: its name in our configuration.
    /// * `api`: `https://HOST/api/v4`.
    ///
    /// # Errors
    /// `base-url-wrong`, `client-unavailable`.
    pub fn new(forge: &str, api: &str, token: SecretString, manner: Manner) -> Result<Self, ForgeError> {
        let credential = |token: &SecretString| Credential {
            name: HeaderName::from_static("private-token"),
            value: token.expose_secret().into(),
        };
        Ok(Self {
            account: Account::new(forge, api, token, manner, credential)?,
        })
    }

    async fn request(&self, repo: &ForgeRepo, number: u64) -> Result<Request, ForgeError> {
        self.account
            .get(&format!("/projects/{}/merge_requests/{number}", repo.id))
            .await
    }

    /// The merge request, if its head is still the one that was evaluated.
    async fn at_head(&self, display: &Display, number: u64) -> Result<Option<Request>, ForgeError> {
        let request = self.request(&display.repo, number).await?;
        Ok(Some(request).filter(|request| request.sha == Some(display.head)))
    }

    async fn tip(&self, repo: &ForgeRepo, branch: &RefName) -> Result<Oid, ForgeError> {
        let branch = path::encoded(branch.short());
        let path = format!("/projects/{}/repository/branches/{branch}", repo.id);
        Ok(self.account.get::<Branch>(&path).await?.commit.id)
    }

    /// GitLab refuses to set the state that stands, so it is looked at first.
    ///
    /// * `name`: the ref that it shall count for; `None`: any branch that holds the commit.
    async fn show_status(&self, display: &Display, name: Option<&str>) -> Result<(), ForgeError> {
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
        let of_ref = name.map_or_else(String::new, |name| format!("&ref={}", path::encoded(name)));
        let query = format!("name={}{of_ref}&per_page=100", text::NAME);
        let found: Vec<Status> = self.account.list(&format!("{path}?{query}")).await?;
        let latest = found.iter().max_by_key(|status| status.id);
        if latest.is_some_and(|now| now.status == shown && now.description.as_deref() == Some(&description)) {
            return Ok(());
        }
        let mut body = json!({ "state": state, "name": text::NAME, "description": description });
        if let Some(name) = name {
            body["ref"] = name.into();
        }
        let call = Call::write(
            Method::POST,
            format!("/projects/{project}/statuses/{}", display.head),
            body,
        );
        match self.account.send(&call).await {
            // Another writer of a status of this commit holds GitLab's lock.
            Err(ForgeError::Refused {
                code: fault::CONFLICT,
                why,
            }) => Err(later(5, why)),
            done => done.map(drop),
        }
    }

    /// The notes of one merge request.
    async fn thread(&self, repo: &ForgeRepo, number: u64) -> Result<Thread<'_, User>, ForgeError> {
        let notes = format!("/projects/{}/merge_requests/{number}/notes", repo.id);
        Ok(Thread {
            session: &self.account,
            account: self.account.user().await?.id,
            all: notes.clone(),
            query: "?sort=asc&order_by=created_at&per_page=100",
            each: notes,
            edit: Method::PUT,
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
            .ok_or_else(|| later(5, "GitLab has not read the merge request's head yet"))?;
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
        let all: Vec<Numbered> = self.account.list(&path).await?;
        Ok(all.into_iter().map(|one| one.iid).collect())
    }

    async fn repositories(&self) -> Result<Vec<ForgeRepo>, ForgeError> {
        let query = format!("membership=true&archived=false&min_access_level={DEVELOPER}&simple=true&per_page=100");
        let all: Vec<Project> = self.account.list(&format!("/projects?{query}")).await?;
        let named = |project: Project| self.account.repo(project.id, project.path_with_namespace);
        Ok(all.into_iter().map(named).collect())
    }

    async fn whereabouts(&self, repo: &ForgeRepo) -> Result<ForgeRepo, ForgeError> {
        let found: Project = self.account.get(&format!("/projects/{}", repo.id)).await?;
        Ok(ForgeRepo {
            full_name: found.path_with_namespace,
            ..repo.clone()
        })
    }

    async fn permission(&self, repo: &ForgeRepo, account: &str) -> Result<Permission, ForgeError> {
        let users: Vec<User> = self
            .account
            .get(&format!("/users?username={}", path::encoded(account)))
            .await?;
        let Some(user) = users.iter().find(|user| user.username.eq_ignore_ascii_case(account)) else {
            return Ok(Permission::None);
        };
        let path = format!("/projects/{}/members/all/{}", repo.id, user.id);
        let member: Option<Member> = self.account.find(&path).await?;
        Ok(match member.map_or(0, |member| member.access_level) {
            OWNER.. => Permission::Admin,
            MAINTAINER.. => Permission::Maintain,
            DEVELOPER.. => Permission::Write,
            1.. => Permission::Read,
            0 => Permission::None,
        })
    }

    async fn fetch_source(&self, repo: &ForgeRepo, number: Option<u64>) -> Result<FetchSource, ForgeError> {
        let web = self.account.web("/api/v4");
        let parts: Vec<String> = repo.full_name.split('/').map(path::encoded).collect();
        Ok(FetchSource {
            url: format!("{web}/{}.git", parts.join("/")),
            user: "oauth2".to_owned(),
            password: self.account.token.clone(),
            refspecs: text::refspecs("refs/merge-requests", number),
        })
    }

    async fn show(&self, display: &Display) -> Result<bool, ForgeError> {
        if display.head.is_zero() {
            return Err(refused("head-not-whole", "there is no commit with the id zero"));
        }
        let Some(number) = display.number else {
            self.show_status(display, None).await?;
            return Ok(true);
        };
        let Some(request) = self.at_head(display, number).await? else {
            return Ok(false);
        };
        let name = request.status_ref(display.repo.id, number);
        self.show_status(display, Some(&name)).await?;
        // The note is seen on the change, whatever its head is by now: look again.
        if self.at_head(display, number).await?.is_none() {
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
