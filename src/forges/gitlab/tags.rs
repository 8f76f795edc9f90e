//! What GitLab enforces on tags, and making it enforce more.
//!
//! In scope: protected tags, which nobody can move, and nobody delete by a push. Out of scope: an instance's or
//! group's push rules.
//!
//! <https://docs.gitlab.com/user/project/protected_tags/>

use super::User;
use super::guard::{Level, NOBODY};
use crate::forge::ForgeRepo;
use crate::forge::guard::{GuardedTags, Protection};
use crate::forges::account::Account;
use crate::forges::by_hand;
use crate::forges::client::{Call, Session};
use crate::forges::glob::Glob;
use crate::port::ForgeError;
use crate::push::RefName;
use http::Method;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Rule {
    name: String,
    #[serde(default)]
    create_access_levels: Vec<Level>,
}

async fn rules(forge: &Account<User>, repo: &ForgeRepo) -> Result<Vec<(Rule, Glob)>, ForgeError> {
    let path = format!("/projects/{}/protected_tags?per_page=100", repo.id);
    let all: Vec<Rule> = forge.list(&path).await?;
    let read = |rule: Rule| {
        let glob = Glob::any_text("refs/tags/", &rule.name);
        (rule, glob)
    };
    Ok(all.into_iter().map(read).collect())
}

/// What is enforced on each of these tags.
pub(super) async fn protection(
    forge: &Account<User>,
    repo: &ForgeRepo,
    names: &[RefName],
) -> Result<Vec<Protection>, ForgeError> {
    let rules = rules(forge, repo).await?;
    Ok(names.iter().map(|name| enforced(&rules, name)).collect())
}

fn enforced(rules: &[(Rule, Glob)], name: &RefName) -> Protection {
    let guarded = rules.iter().any(|(_, glob)| glob.covers(name) == Some(true));
    // Of several rules for a tag, GitLab takes the most permissive.
    let lets = |(rule, glob): &(Rule, Glob)| {
        glob.covers(name) != Some(false) && rule.create_access_levels.iter().any(Level::lets_somebody)
    };
    Protection {
        deletion_blocked: guarded,
        force_push_blocked: guarded,
        move_blocked: guarded,
        creation_blocked: guarded && !rules.iter().any(lets),
        ..Protection::default()
    }
}

/// Protects a pattern; who may make such tags is narrowed only where the policy lets nobody.
pub(super) async fn protect(
    forge: &Account<User>,
    repo: &ForgeRepo,
    tags: &GuardedTags,
    dry_run: bool,
) -> Result<Vec<String>, ForgeError> {
    let rules = rules(forge, repo).await?;
    let actual: Vec<Protection> = tags.names.iter().map(|name| enforced(&rules, name)).collect();
    if tags.drift(&actual).is_empty() {
        return Ok(Vec::new());
    }
    let pattern = tags.short().map(|short| short.replace("**", "*"));
    // GitLab has no call that changes the rule of a pattern.
    let Some(pattern) = pattern.filter(|it| !rules.iter().any(|(rule, _)| rule.name == *it)) else {
        return Ok(vec![by_hand(tags)]);
    };
    let level = if tags.wanted.creation_blocked {
        NOBODY
    } else {
        super::DEVELOPER
    };
    let body = json!({ "name": pattern, "create_access_level": level });
    let call = Call::write(Method::POST, format!("/projects/{}/protected_tags", repo.id), body);
    let told = call.told();
    if !dry_run {
        forge.send(&call).await?;
    }
    Ok(vec![told])
}
