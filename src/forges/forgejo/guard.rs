//! What Forgejo or Gitea enforces on a branch, how commits came there, and making it enforce more.
//!
//! In scope: branch protection, merged pull requests with reviews and statuses. Out of scope: tags (`tags`).

use super::{PAGE, Side, Status, User};
use crate::forge::ForgeRepo;
use crate::forge::guard::{LandedChange, Landing, OUR_CHECK, Protection, RequiredCheck, Wanted, drift};
use crate::forges::account::Account;
use crate::forges::client::{Call, Session};
use crate::forges::path;
use crate::port::ForgeError;
use crate::push::{Oid, RefName};
use http::Method;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Branch {
    #[serde(default)]
    protected: bool,
    #[serde(default)]
    effective_branch_protection_name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Rule {
    enable_push: bool,
    enable_force_push: bool,
    enable_status_check: bool,
    status_check_contexts: Option<Vec<String>>,
    required_approvals: u32,
    dismiss_stale_approvals: bool,
    /// Forgejo's word for it.
    apply_to_admins: bool,
    /// Gitea's word for it.
    block_admin_merge_override: bool,
}

#[derive(Deserialize)]
struct Pull {
    number: u64,
    #[serde(default)]
    merged: bool,
    #[serde(default)]
    merge_commit_sha: Option<Oid>,
    merged_by: Option<User>,
    user: Option<User>,
    base: Side,
    head: Side,
}

#[derive(Deserialize)]
struct Listed {
    sha: Oid,
}

#[derive(Deserialize)]
struct Review {
    user: Option<User>,
    #[serde(default)]
    state: String,
    #[serde(default)]
    commit_id: String,
    #[serde(default)]
    dismissed: bool,
    /// By an account whose approval counts.
    #[serde(default)]
    official: bool,
}

#[derive(Deserialize)]
struct Combined {
    #[serde(default)]
    statuses: Option<Vec<Status>>,
}

#[derive(Deserialize)]
struct Access {
    #[serde(default)]
    permissions: Permissions,
}

#[derive(Deserialize, Default)]
struct Permissions {
    #[serde(default)]
    admin: bool,
    #[serde(default)]
    push: bool,
}

/// Name and content of the rule that counts for a branch.
async fn rule(forge: &Account<User>, at: &str, name: &RefName) -> Result<Option<(String, Rule)>, ForgeError> {
    let branch = path::encoded(name.short());
    let branch: Option<Branch> = forge.find(&format!("/repos/{at}/branches/{branch}")).await?;
    let Some(branch) = branch.filter(|branch| branch.protected) else {
        return Ok(None);
    };
    let rule = branch.effective_branch_protection_name;
    let encoded = path::encoded(&rule);
    let found: Option<Rule> = forge.find(&format!("/repos/{at}/branch_protections/{encoded}")).await?;
    Ok(found.map(|found| (rule, found)))
}

pub(super) async fn protection(
    forge: &Account<User>,
    repo: &ForgeRepo,
    name: &RefName,
) -> Result<Protection, ForgeError> {
    let rule = rule(forge, &path::repo(repo)?, name).await?;
    Ok(rule.map_or_else(Protection::default, |(_, rule)| enforced(&rule)))
}

fn enforced(rule: &Rule) -> Protection {
    // A protected branch of these forges can be neither deleted nor, unless it says so, rewound.
    let for_all = rule.apply_to_admins || rule.block_admin_merge_override;
    // Statuses hold up merges, and never a push.
    let checked = rule.enable_status_check && !rule.enable_push && for_all;
    let contexts = rule.status_check_contexts.iter().flatten().filter(|_| checked);
    Protection {
        deletion_blocked: true,
        force_push_blocked: !rule.enable_force_push,
        changes_only: !rule.enable_push,
        approvals: if for_all { rule.required_approvals } else { 0 },
        stale_dismissed: rule.dismiss_stale_approvals,
        checks: contexts
            .map(|name| RequiredCheck {
                ours: name == OUR_CHECK,
                name: name.clone(),
            })
            .collect(),
        ..Protection::default()
    }
}

pub(super) async fn landing(
    forge: &Account<User>,
    repo: &ForgeRepo,
    name: &RefName,
    steps: &[Oid],
) -> Result<Landing, ForgeError> {
    let at = path::repo(repo)?;
    let mut landing = Landing {
        protection: protection(forge, repo, name).await?,
        direct: steps.to_vec(),
        ..Landing::default()
    };
    if steps.len() > crate::forges::MOST_STEPS {
        return Ok(landing);
    }
    // From the newest on: these forges know a change by where it ended.
    for step in steps.iter().rev() {
        if !landing.direct.contains(step) {
            continue;
        }
        let found: Option<Pull> = forge.find(&format!("/repos/{at}/commits/{step}/pull")).await?;
        let merged = |pull: &Pull| pull.merged && pull.base.name == name.short();
        let Some(pull) = found.filter(|pull| merged(pull) && pull.merge_commit_sha == Some(*step)) else {
            continue;
        };
        let commits = format!("/repos/{at}/pulls/{}/commits?{PAGE}", pull.number);
        let commits: Vec<Listed> = forge.list(&commits).await?;
        // A fast-forward brings the change's own commits.
        landing
            .direct
            .retain(|oid| oid != step && !commits.iter().any(|commit| commit.sha == *oid));
        landing
            .changes
            .insert(0, change(forge, &at, pull, *step, &landing.protection).await?);
    }
    Ok(landing)
}

async fn change(
    forge: &Account<User>,
    at: &str,
    pull: Pull,
    merged_as: Oid,
    protection: &Protection,
) -> Result<LandedChange, ForgeError> {
    let (number, head) = (pull.number, pull.head.sha);
    let author = pull.user.map_or_else(|| "ghost".to_owned(), |user| user.login);
    let reviews: Vec<Review> = forge
        .list(&format!("/repos/{at}/pulls/{number}/reviews?{PAGE}"))
        .await?;
    let combined: Combined = forge.get(&format!("/repos/{at}/commits/{head}/status?{PAGE}")).await?;
    let good: Vec<Status> = combined
        .statuses
        .into_iter()
        .flatten()
        .filter(|it| it.status == "success")
        .collect();
    let has = |check: &&RequiredCheck| good.iter().any(|status| status.context == check.name);
    let passed = protection.checks.iter().filter(has).map(|check| check.name.clone());
    Ok(LandedChange {
        number,
        approved_by: approvers(&reviews, &author, head),
        author,
        merged_by: pull.merged_by.map(|user| user.login),
        head,
        merged_as,
        passed: passed.collect(),
    })
}

/// Accounts other than the author whose last word, on this head, is an approval that counts.
fn approvers(reviews: &[Review], author: &str, head: Oid) -> Vec<String> {
    let mut last: BTreeMap<&str, &Review> = BTreeMap::new();
    for review in reviews
        .iter()
        .filter(|it| matches!(it.state.as_str(), "APPROVED" | "REQUEST_CHANGES"))
    {
        if let Some(user) = &review.user {
            last.insert(&user.login, review);
        }
    }
    let head = head.to_string();
    let approves = |it: &Review| it.state == "APPROVED" && it.official && !it.dismissed && it.commit_id == head;
    let others = last
        .into_iter()
        .filter(|(login, review)| *login != author && approves(review));
    others.map(|(login, _)| login.to_owned()).collect()
}

pub(super) async fn protect(
    forge: &Account<User>,
    repo: &ForgeRepo,
    name: &RefName,
    wanted: Wanted,
    dry_run: bool,
) -> Result<Vec<String>, ForgeError> {
    let at = path::repo(repo)?;
    let rule = rule(forge, &at, name).await?;
    let actual = rule
        .as_ref()
        .map_or_else(Protection::default, |(_, rule)| enforced(rule));
    if drift(wanted, &actual).is_empty() {
        return Ok(Vec::new());
    }
    let before = rule.as_ref().map(|(_, rule)| rule);
    let mut contexts = before
        .and_then(|rule| rule.status_check_contexts.clone())
        .unwrap_or_default();
    if !contexts.iter().any(|context| context == OUR_CHECK) {
        contexts.push(OUR_CHECK.to_owned());
    }
    let mut body = json!({
        "enable_push": false,
        "enable_status_check": true,
        "status_check_contexts": contexts,
        "apply_to_admins": true,
    });
    if wanted.force_push_blocked && before.is_some_and(|rule| rule.enable_force_push) {
        body["enable_force_push"] = json!(false);
    }
    if wanted.approvals > 0 {
        let approvals = before.map_or(0, |rule| rule.required_approvals).max(wanted.approvals);
        body["required_approvals"] = json!(approvals);
        body["dismiss_stale_approvals"] = json!(true);
    }
    let path = format!("/repos/{at}/branch_protections");
    let call = match rule {
        None => {
            body["rule_name"] = json!(name.short());
            Call::write(Method::POST, path, body)
        }
        Some((rule, _)) => Call::write(Method::PATCH, format!("{path}/{}", path::encoded(&rule)), body),
    };
    let told = call.told();
    if !dry_run {
        forge.send(&call).await?;
    }
    Ok(vec![told])
}

pub(super) async fn missing(forge: &Account<User>, repo: &ForgeRepo) -> Result<Vec<String>, ForgeError> {
    let Access { permissions } = forge.get(&format!("/repos/{}", path::repo(repo)?)).await?;
    let needs = [
        (permissions.push, "write access to the repository, for statuses"),
        (
            permissions.admin,
            "administration of the repository, to read its branch protection",
        ),
    ];
    Ok(needs
        .iter()
        .filter(|(has, _)| !has)
        .map(|(_, what)| (*what).to_owned())
        .collect())
}
