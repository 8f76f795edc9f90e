//! What GitHub enforces on a branch, how commits came there, and making it enforce more.
//!
//! In scope: rulesets and classic protection read as one; merged pull requests with their reviews and checks;
//! one ruleset of our own. Out of scope: rulesets of others, which are read and never written.
//!
//! <https://docs.github.com/en/rest/repos/rules>, <https://docs.github.com/en/rest/branches/branch-protection>

use super::GitHub;
use super::session::AsInstallation;
use super::wire::{
    CheckRuns, Classic, CombinedStatus, LandedPull, Merged, Review, Rule, RuleSuite, Ruleset, StatusChecks,
};
use crate::forge::guard::{LandedChange, Landing, Protection, RequiredCheck, Wanted, drift};
use crate::forge::{ForgeRepo, Permission};
use crate::forges::client::{Call, Session};
use crate::forges::fault::{NOT_FOUND, refused};
use crate::forges::text::NAME;
use crate::forges::{MOST_STEPS, path};
use crate::port::{Forge, ForgeError};
use crate::push::{Oid, RefName};
use base64::Engine;
use flate2::{Compression, write::GzEncoder};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write;

/// Most bytes of a SARIF file that GitHub takes, compressed.
const MOST_SARIF: usize = 10 << 20;

/// Rulesets and classic protection together.
pub(super) async fn protection(
    session: &AsInstallation<'_>,
    app: u64,
    repo: &ForgeRepo,
    name: &RefName,
) -> Result<Protection, ForgeError> {
    let (at, branch) = (path::repo(repo)?, path::encoded(branch(name)?));
    let rules: Vec<Rule> = session
        .list(&format!("/repos/{at}/rules/branches/{branch}?per_page=100"))
        .await?;
    let mut all = Protection::default();
    rules.into_iter().for_each(|rule| add_rule(&mut all, app, rule));
    let classic: Option<Classic> = session
        .find(&format!("/repos/{at}/branches/{branch}/protection"))
        .await?;
    // Whoever is exempt can do what it forbids.
    if let Some(classic) = classic.filter(|it| it.enforce_admins.enabled) {
        add_classic(&mut all, app, classic);
    }
    all.checks.sort();
    all.checks.dedup();
    Ok(all)
}

fn add_rule(all: &mut Protection, app: u64, rule: Rule) {
    match rule.kind.as_str() {
        "deletion" => all.deletion_blocked = true,
        "non_fast_forward" => all.force_push_blocked = true,
        "pull_request" => {
            all.changes_only = true;
            all.approvals = all.approvals.max(rule.parameters.required_approving_review_count);
            all.stale_dismissed |= rule.parameters.dismiss_stale_reviews_on_push;
        }
        "required_status_checks" => {
            let checks = rule.parameters.required_status_checks.into_iter();
            all.checks.extend(checks.map(|check| RequiredCheck {
                ours: check.context == NAME && check.integration_id == Some(app),
                name: check.context,
            }));
        }
        _ => {}
    }
}

fn add_classic(all: &mut Protection, app: u64, classic: Classic) {
    all.deletion_blocked |= !classic.allow_deletions.enabled;
    all.force_push_blocked |= !classic.allow_force_pushes.enabled;
    if let Some(reviews) = classic.required_pull_request_reviews {
        all.changes_only = true;
        all.approvals = all.approvals.max(reviews.required_approving_review_count);
        all.stale_dismissed |= reviews.dismiss_stale_reviews;
    }
    let StatusChecks { checks } = classic.required_status_checks.unwrap_or_default();
    all.checks.extend(checks.into_iter().map(|check| RequiredCheck {
        ours: check.context == NAME && check.app_id == Some(app),
        name: check.context,
    }));
}

fn branch(name: &RefName) -> Result<&str, ForgeError> {
    let branch = name.as_str().strip_prefix("refs/heads/");
    branch.ok_or_else(|| {
        refused(
            "no-branch",
            format!("{name} is no branch: its protection cannot be asked for"),
        )
    })
}

/// How these commits came to a branch.
pub(super) async fn landing(
    session: &AsInstallation<'_>,
    hub: &GitHub,
    repo: &ForgeRepo,
    name: &RefName,
    steps: &[Oid],
) -> Result<Landing, ForgeError> {
    let at = path::repo(repo)?;
    let mut landing = Landing {
        protection: protection(session, hub.app_id, repo, name).await?,
        direct: steps.to_vec(),
        ..Landing::default()
    };
    if steps.len() > MOST_STEPS {
        return Ok(landing);
    }
    landing.bypassed = bypassed(session, &at, name, steps).await?;
    let mut known: BTreeMap<u64, LandedChange> = BTreeMap::new();
    for step in steps {
        let pulls: Vec<LandedPull> = session
            .list(&format!("/repos/{at}/commits/{step}/pulls?per_page=100"))
            .await?;
        let ours = |pull: &LandedPull| pull.merged_at.is_some() && name.short() == pull.base.name;
        let lands = |pull: &LandedPull| pull.merge_commit_sha.is_some_and(|oid| steps.contains(&oid));
        let Some(pull) = pulls.into_iter().find(|pull| ours(pull) && lands(pull)) else {
            continue;
        };
        landing.direct.retain(|oid| oid != step);
        if let Entry::Vacant(place) = known.entry(pull.number) {
            place.insert(change(session, hub, repo, pull, &landing.protection).await?);
        }
    }
    let place = |change: &LandedChange| steps.iter().position(|step| *step == change.merged_as);
    landing.changes = known.into_values().collect();
    landing.changes.sort_by_key(place);
    Ok(landing)
}

/// Whether GitHub recorded that somebody passed its rules over with one of these commits.
async fn bypassed(
    session: &AsInstallation<'_>,
    at: &str,
    name: &RefName,
    steps: &[Oid],
) -> Result<Option<bool>, ForgeError> {
    let name = path::encoded(name.as_str());
    let query = format!("ref={name}&time_period=month&rule_suite_result=bypass&per_page=100");
    let suites = session.list(&format!("/repos/{at}/rulesets/rule-suites?{query}")).await;
    let suites: Vec<RuleSuite> = match suites {
        Ok(suites) => suites,
        // Not every installation may read them.
        Err(ForgeError::Refused {
            code: NOT_FOUND | "permission-missing",
            ..
        }) => return Ok(None),
        Err(why) => return Err(why),
    };
    let here = |suite: &RuleSuite| suite.after_sha.is_some_and(|oid| steps.contains(&oid));
    Ok(Some(suites.iter().any(|suite| suite.result == "bypass" && here(suite))))
}

async fn change(
    session: &AsInstallation<'_>,
    hub: &GitHub,
    repo: &ForgeRepo,
    pull: LandedPull,
    protection: &Protection,
) -> Result<LandedChange, ForgeError> {
    let (at, number, head) = (path::repo(repo)?, pull.number, pull.head.sha);
    let whole: Merged = session.get(&format!("/repos/{at}/pulls/{number}")).await?;
    let author = pull.user.map_or_else(|| "ghost".to_owned(), |user| user.login);
    let reviews: Vec<Review> = session
        .list(&format!("/repos/{at}/pulls/{number}/reviews?per_page=100"))
        .await?;
    let mut approved_by = Vec::new();
    for account in approvers(&reviews, &author, head) {
        // Anybody may review a public repository: only those count who could have pushed.
        if hub.permission(repo, &account).await? >= Permission::Write {
            approved_by.push(account);
        }
    }
    Ok(LandedChange {
        number,
        author,
        merged_by: whole.merged_by.map(|user| user.login),
        head,
        merged_as: pull.merge_commit_sha.unwrap_or(head),
        approved_by,
        passed: passed(session, hub.app_id, &at, head, protection).await?,
    })
}

/// Persons other than the author whose last word, on this head, is an approval.
fn approvers(reviews: &[Review], author: &str, head: Oid) -> Vec<String> {
    let mut last: BTreeMap<&str, &Review> = BTreeMap::new();
    for review in reviews
        .iter()
        .filter(|review| review.state != "COMMENTED" && review.state != "PENDING")
    {
        if let Some(user) = review.user.as_ref().filter(|user| user.kind != "Bot") {
            last.insert(&user.login, review);
        }
    }
    let approves = |review: &Review| review.state == "APPROVED" && review.commit_id == Some(head);
    let others = last
        .into_iter()
        .filter(|(login, review)| *login != author && approves(review));
    others.map(|(login, _)| login.to_owned()).collect()
}

/// Which of the required checks had passed on a head.
async fn passed(
    session: &AsInstallation<'_>,
    app: u64,
    at: &str,
    head: Oid,
    protection: &Protection,
) -> Result<Vec<String>, ForgeError> {
    if protection.checks.is_empty() {
        return Ok(Vec::new());
    }
    let mut good: Vec<(String, Option<u64>)> = Vec::new();
    let path = format!("/repos/{at}/commits/{head}/check-runs?filter=latest&per_page=100");
    session
        .pages(&path, |page: CheckRuns| {
            let fine = |it: &str| matches!(it, "success" | "neutral" | "skipped");
            let runs = page.check_runs.into_iter();
            let runs = runs.filter(|run| run.conclusion.as_deref().is_some_and(fine));
            good.extend(runs.map(|run| (run.name, run.app.map(|app| app.id))));
            true
        })
        .await?;
    let combined: CombinedStatus = session
        .get(&format!("/repos/{at}/commits/{head}/status?per_page=100"))
        .await?;
    let statuses = combined.statuses.into_iter().filter(|status| status.state == "success");
    good.extend(statuses.map(|status| (status.context, None)));
    let has = |check: &RequiredCheck| {
        good.iter()
            .any(|(name, from)| *name == check.name && (!check.ours || *from == Some(app)))
    };
    let names = protection.checks.iter().filter(|check| has(check));
    Ok(names.map(|check| check.name.clone()).collect())
}

/// Makes our own ruleset for a branch have what is wanted; others' rulesets stay as they are.
pub(super) async fn protect(
    session: &impl Session,
    app: u64,
    repo: &ForgeRepo,
    name: &RefName,
    wanted: Wanted,
    actual: &Protection,
    dry_run: bool,
) -> Result<Vec<String>, ForgeError> {
    if drift(wanted, actual).is_empty() {
        return Ok(Vec::new());
    }
    let about = (name.as_str(), "branch");
    let include = json!([name.as_str()]);
    set_ruleset(session, repo, about, include, rules(app, wanted), dry_run).await
}

/// Makes our own ruleset about this pattern and target (`branch`, `tag`) so; gives the call.
pub(super) async fn set_ruleset(
    session: &impl Session,
    repo: &ForgeRepo,
    (pattern, target): (&str, &str),
    include: Value,
    rules: Value,
    dry_run: bool,
) -> Result<Vec<String>, ForgeError> {
    let (at, title) = (path::repo(repo)?, format!("lychgate: {pattern}"));
    let all: Vec<Ruleset> = session
        .list(&format!("/repos/{at}/rulesets?includes_parents=false&per_page=100"))
        .await?;
    let ours = all.into_iter().find(|ruleset| ruleset.name == title);
    let body = json!({
        "name": title,
        "target": target,
        "enforcement": "active",
        "bypass_actors": [],
        "conditions": { "ref_name": { "include": include, "exclude": [] } },
        "rules": rules,
    });
    let call = match ours {
        None => Call::write(Method::POST, format!("/repos/{at}/rulesets"), body),
        Some(ours) => Call::write(Method::PUT, format!("/repos/{at}/rulesets/{}", ours.id), body),
    };
    let told = call.told();
    if !dry_run {
        session.send(&call).await?;
    }
    Ok(vec![told])
}

fn rules(app: u64, wanted: Wanted) -> Value {
    let checks = json!({ "type": "required_status_checks", "parameters": {
        "strict_required_status_checks_policy": false,
        "required_status_checks": [{ "context": NAME, "integration_id": app }],
    }});
    let reviews = json!({ "type": "pull_request", "parameters": {
        "required_approving_review_count": wanted.approvals,
        "dismiss_stale_reviews_on_push": true,
        "require_code_owner_review": false,
        "require_last_push_approval": true,
        "required_review_thread_resolution": false,
    }});
    let all = [
        (wanted.deletion_blocked, json!({ "type": "deletion" })),
        (wanted.force_push_blocked, json!({ "type": "non_fast_forward" })),
        (wanted.checked, checks),
        (wanted.approvals > 0, reviews),
    ];
    all.into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, rule)| rule)
        .collect()
}

/// Uploads to code scanning; `false` where the repository has none, or the App may not.
///
/// <https://docs.github.com/en/rest/code-scanning/code-scanning#upload-an-analysis-as-sarif-data>
pub(super) async fn upload(
    session: &AsInstallation<'_>,
    repo: &ForgeRepo,
    name: &str,
    head: Oid,
    sarif: &str,
) -> Result<bool, ForgeError> {
    let mut zipped = GzEncoder::new(Vec::new(), Compression::default());
    let packed = zipped.write_all(sarif.as_bytes()).and_then(|()| zipped.finish());
    let packed = packed.map_err(|_| refused("sarif-unwritable", "the findings cannot be compressed"))?;
    if packed.len() > MOST_SARIF || head.as_bytes().len() != 20 {
        return Ok(false);
    }
    let body = json!({
        "commit_sha": head.to_string(),
        "ref": name,
        "sarif": base64::engine::general_purpose::STANDARD.encode(packed),
        "tool_name": NAME,
    });
    let path = format!("/repos/{}/code-scanning/sarifs", path::repo(repo)?);
    match session.send(&Call::write(Method::POST, path, body)).await {
        Ok(_) => Ok(true),
        // Not enabled for this repository, or not granted to the App: the check run has the same findings.
        Err(ForgeError::Refused {
            code: NOT_FOUND | "permission-missing",
            ..
        }) => Ok(false),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(login: &str, state: &str, head: char) -> Review {
        let head = head.to_string().repeat(40);
        let kind = if login.ends_with("[bot]") { "Bot" } else { "User" };
        serde_json::from_value(json!({ "user": { "login": login, "type": kind }, "state": state, "commit_id": head }))
            .unwrap()
    }

    #[test]
    fn only_a_last_word_on_the_last_head_approves() {
        let head: Oid = "b".repeat(40).parse().unwrap();
        let reviews = [
            review("old", "APPROVED", 'a'),
            review("back", "APPROVED", 'b'),
            review("back", "CHANGES_REQUESTED", 'b'),
            review("gone", "DISMISSED", 'b'),
            review("author", "APPROVED", 'b'),
            review("robot[bot]", "APPROVED", 'b'),
            review("good", "CHANGES_REQUESTED", 'a'),
            review("good", "APPROVED", 'b'),
            review("good", "COMMENTED", 'b'),
        ];
        assert_eq!(approvers(&reviews, "author", head), ["good"]);
    }
}
