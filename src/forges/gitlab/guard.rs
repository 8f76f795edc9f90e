//! What GitLab enforces on a branch, how commits came there, and making it enforce more.
//!
//! In scope: protected branches, the project's merge checks and approvals, merged merge requests. Out of scope:
//! tags (`tags`); who may approve, which GitLab enforces by its own rules.

use super::User;
use crate::forge::ForgeRepo;
use crate::forge::guard::{LandedChange, Landing, OUR_CHECK, Protection, RequiredCheck, Wanted, drift};
use crate::forges::account::Account;
use crate::forges::client::{Call, Session};
use crate::forges::glob::Glob;
use crate::forges::path;
use crate::port::ForgeError;
use crate::push::{Oid, RefName};
use http::Method;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Rule {
    name: String,
    #[serde(default)]
    push_access_levels: Vec<Level>,
    #[serde(default)]
    allow_force_push: bool,
}

#[derive(Deserialize)]
pub(super) struct Level {
    #[serde(default)]
    access_level: Option<u64>,
}

impl Level {
    /// Whether it lets anybody: a role, an account, a group or a key.
    pub(super) fn lets_somebody(&self) -> bool {
        self.access_level != Some(NOBODY)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Project {
    only_allow_merge_if_pipeline_succeeds: bool,
    allow_merge_on_skipped_pipeline: Option<bool>,
    permissions: Permissions,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Permissions {
    project_access: Option<Access>,
    group_access: Option<Access>,
}

#[derive(Deserialize)]
struct Access {
    access_level: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Approvals {
    reset_approvals_on_push: bool,
    merge_requests_author_approval: bool,
}

#[derive(Deserialize)]
struct ApprovalRule {
    #[serde(default)]
    approvals_required: u32,
    /// Empty: all branches.
    #[serde(default)]
    protected_branches: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Request {
    iid: u64,
    #[serde(default)]
    state: String,
    target_branch: String,
    sha: Option<Oid>,
    #[serde(default)]
    merge_commit_sha: Option<Oid>,
    #[serde(default)]
    squash_commit_sha: Option<Oid>,
    author: Option<User>,
    #[serde(default)]
    merge_user: Option<User>,
}

impl Request {
    fn merged_as(&self) -> Option<Oid> {
        self.merge_commit_sha.or(self.squash_commit_sha).or(self.sha)
    }
}

#[derive(Deserialize)]
struct Commit {
    id: Oid,
}

#[derive(Deserialize)]
struct Approved {
    #[serde(default)]
    approved_by: Vec<ApprovedBy>,
}

#[derive(Deserialize)]
struct ApprovedBy {
    user: User,
}

#[derive(Deserialize)]
struct Status {
    name: String,
    status: String,
}

/// Access level of nobody.
pub(super) const NOBODY: u64 = 0;
/// Access level of a maintainer, the least that reads protection.
const MAINTAINER: u64 = 40;

async fn rules(forge: &Account<User>, repo: &ForgeRepo, name: &RefName) -> Result<Vec<Rule>, ForgeError> {
    let path = format!("/projects/{}/protected_branches?per_page=100", repo.id);
    let all: Vec<Rule> = forge.list(&path).await?;
    Ok(all.into_iter().filter(|rule| matches(&rule.name, name)).collect())
}

fn matches(pattern: &str, name: &RefName) -> bool {
    Glob::any_text("refs/heads/", pattern).covers(name) == Some(true)
}

pub(super) async fn protection(
    forge: &Account<User>,
    repo: &ForgeRepo,
    name: &RefName,
) -> Result<Protection, ForgeError> {
    let rules = rules(forge, repo, name).await?;
    let project: Project = forge.get(&format!("/projects/{}", repo.id)).await?;
    let approvals: Option<Approvals> = forge.find(&format!("/projects/{}/approvals", repo.id)).await?;
    let demanded: Option<Vec<ApprovalRule>> = forge
        .find(&format!("/projects/{}/approval_rules?per_page=100", repo.id))
        .await?;
    Ok(enforced(
        &rules,
        &project,
        &approvals.unwrap_or_default(),
        &demanded.unwrap_or_default(),
        name,
    ))
}

fn enforced(
    rules: &[Rule],
    project: &Project,
    approvals: &Approvals,
    demanded: &[ApprovalRule],
    name: &RefName,
) -> Protection {
    // Of several rules for a branch, GitLab takes the most permissive.
    let pushes = |rule: &Rule| rule.push_access_levels.iter().any(Level::lets_somebody);
    let changes_only = !rules.is_empty() && !rules.iter().any(pushes);
    // Our status is part of the pipeline, which holds up merges, and never a push.
    let skipped = project.allow_merge_on_skipped_pipeline.unwrap_or(false);
    let checked = changes_only && project.only_allow_merge_if_pipeline_succeeds && !skipped;
    let here = |rule: &&ApprovalRule| {
        rule.protected_branches.is_empty() || rule.protected_branches.iter().any(|it| matches(&it.name, name))
    };
    let most = demanded.iter().filter(here).map(|rule| rule.approvals_required).max();
    // An author's own approval is no other's.
    let counts = changes_only && !approvals.merge_requests_author_approval;
    let ours = RequiredCheck {
        name: OUR_CHECK.to_owned(),
        ours: true,
    };
    Protection {
        // Maintainers can delete a protected branch, by its settings alone and never by a push.
        deletion_blocked: !rules.is_empty(),
        force_push_blocked: !rules.is_empty() && rules.iter().all(|rule| !rule.allow_force_push),
        changes_only,
        approvals: most.filter(|_| counts).unwrap_or(0),
        stale_dismissed: approvals.reset_approvals_on_push,
        checks: checked.then_some(ours).into_iter().collect(),
        ..Protection::default()
    }
}

pub(super) async fn landing(
    forge: &Account<User>,
    repo: &ForgeRepo,
    name: &RefName,
    steps: &[Oid],
) -> Result<Landing, ForgeError> {
    let mut landing = Landing {
        protection: protection(forge, repo, name).await?,
        direct: steps.to_vec(),
        ..Landing::default()
    };
    if steps.len() > crate::forges::MOST_STEPS {
        return Ok(landing);
    }
    for step in steps.iter().rev() {
        if !landing.direct.contains(step) {
            continue;
        }
        let path = format!(
            "/projects/{}/repository/commits/{step}/merge_requests?per_page=100",
            repo.id
        );
        let all: Option<Vec<Request>> = forge.find(&path).await?;
        let lands =
            |it: &Request| it.state == "merged" && it.target_branch == name.short() && it.merged_as() == Some(*step);
        let Some(request) = all.unwrap_or_default().into_iter().find(lands) else {
            continue;
        };
        let commits = format!(
            "/projects/{}/merge_requests/{}/commits?per_page=100",
            repo.id, request.iid
        );
        let commits: Vec<Commit> = forge.list(&commits).await?;
        // A fast-forward brings the change's own commits.
        landing
            .direct
            .retain(|oid| oid != step && !commits.iter().any(|commit| commit.id == *oid));
        landing
            .changes
            .insert(0, change(forge, repo, request, *step, &landing.protection).await?);
    }
    Ok(landing)
}

async fn change(
    forge: &Account<User>,
    repo: &ForgeRepo,
    request: Request,
    merged_as: Oid,
    protection: &Protection,
) -> Result<LandedChange, ForgeError> {
    let (number, head) = (request.iid, request.sha.unwrap_or(merged_as));
    let author = request.author.map_or_else(|| "ghost".to_owned(), |user| user.username);
    let path = format!("/projects/{}/merge_requests/{number}/approvals", repo.id);
    let approved: Option<Approved> = forge.find(&path).await?;
    let names = approved
        .into_iter()
        .flat_map(|it| it.approved_by)
        .map(|by| by.user.username);
    let path = format!("/projects/{}/repository/commits/{head}/statuses?per_page=100", repo.id);
    let statuses: Vec<Status> = forge.list(&path).await?;
    let has = |check: &&RequiredCheck| {
        statuses
            .iter()
            .any(|it| it.name == check.name && it.status == "success")
    };
    Ok(LandedChange {
        number,
        // GitLab does not say which head was approved; only where a push takes approvals back it is the last.
        approved_by: names
            .filter(|name| protection.stale_dismissed && *name != author)
            .collect(),
        author,
        merged_by: request.merge_user.map(|user| user.username),
        head,
        merged_as,
        passed: protection
            .checks
            .iter()
            .filter(has)
            .map(|check| check.name.clone())
            .collect(),
    })
}

pub(super) async fn protect(
    forge: &Account<User>,
    repo: &ForgeRepo,
    name: &RefName,
    wanted: Wanted,
    dry_run: bool,
) -> Result<Vec<String>, ForgeError> {
    let (rules, actual) = (rules(forge, repo, name).await?, protection(forge, repo, name).await?);
    if drift(wanted, &actual).is_empty() {
        return Ok(Vec::new());
    }
    let (branches, mut calls, mut by_hand) = (
        format!("/projects/{}/protected_branches", repo.id),
        Vec::new(),
        Vec::new(),
    );
    if rules.is_empty() {
        let body = json!({ "name": name.short(), "push_access_level": NOBODY, "allow_force_push": false });
        calls.push(Call::write(Method::POST, branches, body));
    } else {
        for rule in rules
            .iter()
            .filter(|rule| rule.allow_force_push && wanted.force_push_blocked)
        {
            let path = format!("{branches}/{}", path::encoded(&rule.name));
            calls.push(Call::write(Method::PATCH, path, json!({ "allow_force_push": false })));
        }
        if !actual.changes_only {
            by_hand.push(format!(
                "by hand: let nobody push to {}, in the project's protected branches",
                name.short()
            ));
        }
    }
    if !actual.requires_us() {
        let body = json!({ "only_allow_merge_if_pipeline_succeeds": true, "allow_merge_on_skipped_pipeline": false });
        calls.push(Call::write(Method::PUT, format!("/projects/{}", repo.id), body));
    }
    if actual.approvals < wanted.approvals || (wanted.approvals > 0 && !actual.stale_dismissed) {
        let most = wanted.approvals;
        by_hand.push(format!(
            "by hand: an approval rule with {most} approvals, taken back by a push, none by the author"
        ));
    }
    let told: Vec<String> = calls.iter().map(Call::told).chain(by_hand).collect();
    for call in calls.iter().filter(|_| !dry_run) {
        forge.send(call).await?;
    }
    Ok(told)
}

pub(super) async fn missing(forge: &Account<User>, repo: &ForgeRepo) -> Result<Vec<String>, ForgeError> {
    let project: Project = forge.get(&format!("/projects/{}", repo.id)).await?;
    let levels = [project.permissions.project_access, project.permissions.group_access];
    let level = levels
        .into_iter()
        .flatten()
        .map(|access| access.access_level)
        .max()
        .unwrap_or(0);
    let needs = [
        (super::DEVELOPER, "the role Developer, for statuses"),
        (
            MAINTAINER,
            "the role Maintainer, to read protected branches and approval rules",
        ),
    ];
    Ok(needs
        .iter()
        .filter(|(least, _)| level < *least)
        .map(|(_, what)| (*what).to_owned())
        .collect())
}
