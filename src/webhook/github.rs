//! GitHub's events. <https://docs.github.com/en/webhooks/webhook-events-and-payloads>

use super::{Headers, Refused, commanded, ignored, json, oid, pushed};
use crate::forge::{ForgeEvent, ForgeRepo};
use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Payload {
    pub(super) action: Option<String>,
    number: Option<u64>,
    repository: Option<Repository>,
    installation: Option<Installation>,
    pull_request: Option<PullRequest>,
    issue: Option<Issue>,
    comment: Option<Comment>,
    sender: Option<Account>,
    merge_group: Option<MergeGroup>,
    check_run: Option<Check>,
    check_suite: Option<Check>,
    requested_action: Option<RequestedAction>,
    alert: Option<Alert>,
    #[serde(rename = "ref")]
    name: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    id: u64,
    full_name: String,
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PullRequest {
    number: Option<u64>,
    merged: Option<bool>,
    has_merged: Option<bool>,
    merge_commit_sha: Option<String>,
    merged_commit_id: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Issue {
    number: Option<u64>,
    pull_request: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Comment {
    id: Option<u64>,
    body: Option<String>,
    user: Option<Account>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Account {
    login: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MergeGroup {
    head_sha: Option<String>,
    base_sha: Option<String>,
    base_ref: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Check {
    id: Option<u64>,
    head_sha: Option<String>,
    pull_requests: Option<Vec<PullRequest>>,
}

/// Of an alert about a secret; the kinds of alert that we ignore may have any form.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Alert {
    number: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RequestedAction {
    identifier: Option<String>,
}

pub(super) fn event(forge: &str, headers: Headers<'_>, body: &[u8]) -> Result<ForgeEvent, Refused> {
    let name = headers("x-github-event").ok_or(Refused::Unreadable)?;
    // An event that we ignore may have any form.
    let payload = || json::<Payload>(body);
    match name.as_str() {
        "pull_request" => payload()?.change(forge),
        "pull_request_review" => payload()?.touched(forge),
        "issue_comment" => Ok(payload()?.command(forge).unwrap_or_else(|| ignored(&name))),
        "check_run" | "check_suite" => Ok(payload()?.recheck(forge).unwrap_or_else(|| ignored(&name))),
        "merge_group" => payload()?.queue(forge),
        "push" => Ok(payload()?.push(forge)?.unwrap_or_else(|| ignored(&name))),
        "secret_scanning_alert" | "secret_scanning_alert_location" => payload()?.alerted(forge),
        "installation" | "installation_repositories" => Ok(ForgeEvent::SettingsChanged { repo: None }),
        "repository" | "repository_ruleset" | "branch_protection_rule" => Ok(ForgeEvent::SettingsChanged {
            repo: payload()?.repo(forge).ok(),
        }),
        other => Ok(ignored(other)),
    }
}

impl Payload {
    pub(super) fn repo(&self, forge: &str) -> Result<ForgeRepo, Refused> {
        let repository = self.repository.as_ref().ok_or(Refused::Unreadable)?;
        Ok(ForgeRepo {
            forge: forge.to_owned(),
            id: repository.id,
            full_name: repository.full_name.chars().take(512).collect(),
            installation: self.installation.as_ref().map(|it| it.id),
        })
    }

    fn number(&self) -> Result<u64, Refused> {
        let inside = self.pull_request.as_ref().and_then(|it| it.number);
        inside.or(self.number).ok_or(Refused::Unreadable)
    }

    pub(super) fn touched(&self, forge: &str) -> Result<ForgeEvent, Refused> {
        Ok(ForgeEvent::ChangeTouched {
            repo: self.repo(forge)?,
            number: self.number()?,
        })
    }

    pub(super) fn change(&self, forge: &str) -> Result<ForgeEvent, Refused> {
        match self.action.as_deref().unwrap_or_default() {
            "closed" => self.closed(forge),
            "opened" | "synchronize" | "synchronized" | "reopened" | "edited" | "ready_for_review" => {
                self.touched(forge)
            }
            other => Ok(ignored(&format!("pull_request {other}"))),
        }
    }

    fn closed(&self, forge: &str) -> Result<ForgeEvent, Refused> {
        let change = self.pull_request.as_ref().ok_or(Refused::Unreadable)?;
        let merged = change.merged.or(change.has_merged).unwrap_or(false);
        let revision = change
            .merge_commit_sha
            .as_deref()
            .or(change.merged_commit_id.as_deref());
        Ok(ForgeEvent::ChangeClosed {
            repo: self.repo(forge)?,
            number: self.number()?,
            merged_as: oid(revision).filter(|_| merged),
        })
    }

    pub(super) fn command(&self, forge: &str) -> Option<ForgeEvent> {
        let (issue, comment) = (self.issue.as_ref()?, self.comment.as_ref()?);
        issue.pull_request.as_ref()?;
        // An edited or deleted comment commands nothing: it would run twice.
        if self.action.as_deref() != Some("created") {
            return None;
        }
        let by = comment.user.as_ref().and_then(|user| user.login.clone())?;
        let body = comment.body.as_deref()?;
        commanded(self.repo(forge).ok()?, issue.number?, by, comment.id?, body)
    }

    fn recheck(&self, forge: &str) -> Option<ForgeEvent> {
        let check = self.check_run.as_ref().or(self.check_suite.as_ref())?;
        let changes = check.pull_requests.as_deref().unwrap_or_default();
        let number = changes.first().and_then(|change| change.number);
        let head = oid(check.head_sha.as_deref());
        let by = self.sender.as_ref().and_then(|it| it.login.clone()).unwrap_or_default();
        let repo = self.repo(forge).ok()?;
        match self.action.as_deref()? {
            "rerequested" => Some(ForgeEvent::RecheckAsked { repo, number, head, by }),
            "requested_action" => Some(ForgeEvent::Pressed {
                repo,
                number,
                head: head?,
                by,
                run: check.id?,
                button: self
                    .requested_action
                    .as_ref()?
                    .identifier
                    .clone()?
                    .chars()
                    .take(64)
                    .collect(),
            }),
            _ => None,
        }
    }

    /// Whatever happened to it: what counts is what the alert says when it is looked at.
    fn alerted(&self, forge: &str) -> Result<ForgeEvent, Refused> {
        let number = self.alert.as_ref().and_then(|alert| alert.number);
        Ok(ForgeEvent::SecretAlerted {
            repo: self.repo(forge)?,
            alert: number.ok_or(Refused::Unreadable)?,
        })
    }

    fn queue(&self, forge: &str) -> Result<ForgeEvent, Refused> {
        if self.action.as_deref() != Some("checks_requested") {
            return Ok(ignored("merge_group"));
        }
        let group = self.merge_group.as_ref().ok_or(Refused::Unreadable)?;
        let base = group.base_ref.as_deref().and_then(|name| name.parse().ok());
        Ok(ForgeEvent::QueueChecked {
            repo: self.repo(forge)?,
            head: oid(group.head_sha.as_deref()).ok_or(Refused::Unreadable)?,
            base: base.ok_or(Refused::Unreadable)?,
            base_oid: oid(group.base_sha.as_deref()).ok_or(Refused::Unreadable)?,
        })
    }

    pub(super) fn push(&self, forge: &str) -> Result<Option<ForgeEvent>, Refused> {
        let ids = (self.before.as_deref(), self.after.as_deref());
        let by = self.sender.as_ref().and_then(|sender| sender.login.clone());
        Ok(pushed(self.repo(forge)?, self.name.as_deref(), ids, by))
    }
}
