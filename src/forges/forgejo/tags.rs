//! What Forgejo or Gitea enforces on tags, and making it enforce more.
//!
//! In scope: tag protection. It says who may make, move and delete a tag, all three as one, so that a tag which
//! somebody may make and nobody move cannot be had here: that is told, and left to a person.
//!
//! <https://forgejo.org/docs/latest/user/protection/#protected-tags>

use super::User;
use crate::forge::ForgeRepo;
use crate::forge::guard::{GuardedTags, Protection};
use crate::forges::account::Account;
use crate::forges::client::{Call, Session};
use crate::forges::glob::Glob;
use crate::forges::{by_hand, path};
use crate::port::ForgeError;
use crate::push::RefName;
use http::Method;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::json;

/// Most bytes of a compiled pattern.
const MOST_COMPILED: usize = 1 << 20;

#[derive(Deserialize)]
struct Rule {
    name_pattern: String,
    #[serde(default)]
    whitelist_usernames: Option<Vec<String>>,
    #[serde(default)]
    whitelist_teams: Option<Vec<String>>,
}

impl Rule {
    /// Whether it lets anybody make, move and delete what it covers.
    fn lets_somebody(&self) -> bool {
        [&self.whitelist_usernames, &self.whitelist_teams]
            .into_iter()
            .flatten()
            .any(|names| !names.is_empty())
    }
}

/// A pattern: between slashes a regular expression, found anywhere in the name; else a glob for the whole of it.
enum Names {
    Glob(Glob),
    Expression(Option<Regex>),
}

impl Names {
    fn of(pattern: &str) -> Self {
        let between = pattern.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        match between {
            Some(text) => Self::Expression(RegexBuilder::new(text).size_limit(MOST_COMPILED).build().ok()),
            None => Self::Glob(Glob::any_text("refs/tags/", pattern)),
        }
    }

    /// `None`: not known here.
    fn cover(&self, name: &RefName) -> Option<bool> {
        match self {
            Self::Glob(glob) => glob.covers(name),
            Self::Expression(expression) => Some(expression.as_ref()?.is_match(name.short())),
        }
    }
}

async fn rules(forge: &Account<User>, at: &str) -> Result<Vec<(Rule, Names)>, ForgeError> {
    let all: Vec<Rule> = forge.list(&format!("/repos/{at}/tag_protections")).await?;
    let read = |rule: Rule| {
        let names = Names::of(&rule.name_pattern);
        (rule, names)
    };
    Ok(all.into_iter().map(read).collect())
}

/// What is enforced on each of these tags.
pub(super) async fn protection(
    forge: &Account<User>,
    repo: &ForgeRepo,
    names: &[RefName],
) -> Result<Vec<Protection>, ForgeError> {
    let rules = rules(forge, &path::repo(repo)?).await?;
    Ok(names.iter().map(|name| enforced(&rules, name)).collect())
}

/// Of several rules, each lets its own accounts. One that cannot be read here guards nothing, and may let its own.
fn enforced(rules: &[(Rule, Names)], name: &RefName) -> Protection {
    let guarded = rules.iter().any(|(_, names)| names.cover(name) == Some(true));
    let let_in = |(rule, names): &(Rule, Names)| rule.lets_somebody() && names.cover(name) != Some(false);
    let closed = guarded && !rules.iter().any(let_in);
    Protection {
        deletion_blocked: closed,
        force_push_blocked: closed,
        move_blocked: closed,
        creation_blocked: closed,
        ..Protection::default()
    }
}

/// Closes a pattern to all where the policy lets nobody make such a tag; all else is for a person to do.
pub(super) async fn protect(
    forge: &Account<User>,
    repo: &ForgeRepo,
    tags: &GuardedTags,
    dry_run: bool,
) -> Result<Vec<String>, ForgeError> {
    let at = path::repo(repo)?;
    let rules = rules(forge, &at).await?;
    let actual: Vec<Protection> = tags.names.iter().map(|name| enforced(&rules, name)).collect();
    if tags.drift(&actual).is_empty() {
        return Ok(Vec::new());
    }
    let touched = |name: &RefName| rules.iter().any(|(_, names)| names.cover(name) != Some(false));
    let (true, Some(short)) = (tags.wanted.creation_blocked, tags.short()) else {
        return Ok(vec![format!(
            "{}, for as few accounts as make releases: whoever may make such a tag here may move and delete it",
            by_hand(tags)
        )]);
    };
    if tags.names.iter().any(touched) {
        return Ok(vec![format!("{}, and let nobody make them", by_hand(tags))]);
    }
    let body = json!({ "name_pattern": short.replace("**", "*"), "whitelist_usernames": [], "whitelist_teams": [] });
    let call = Call::write(Method::POST, format!("/repos/{at}/tag_protections"), body);
    let told = call.told();
    if !dry_run {
        forge.send(&call).await?;
    }
    Ok(vec![told])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(rules: &[(&str, &[&str])], name: &str) -> bool {
        let rule = |(pattern, accounts): &(&str, &[&str])| {
            let rule = json!({ "name_pattern": pattern, "whitelist_usernames": accounts, "whitelist_teams": null });
            (serde_json::from_value(rule).unwrap(), Names::of(pattern))
        };
        let rules: Vec<(Rule, Names)> = rules.iter().map(rule).collect();
        enforced(&rules, &format!("refs/tags/{name}").parse().unwrap()).move_blocked
    }

    #[test]
    fn a_tag_is_closed_only_if_no_rule_lets_anybody() {
        assert!(!closed(&[], "v1"));
        assert!(closed(&[("v*", &[])], "v1"));
        assert!(!closed(&[("v*", &[])], "w1"));
        assert!(!closed(&[("v*", &["ann"])], "v1"), "ann may move it");
        assert!(!closed(&[("v*", &[]), ("v1*", &["ann"])], "v1"), "by the second rule");
        assert!(closed(&[("v*", &[]), ("w*", &["ann"])], "v1"));
        assert!(closed(&[("/^v[0-9]/", &[])], "v1"));
        assert!(!closed(&[("/^v[0-9]/", &[])], "vx"));
        assert!(!closed(&[("v[0-9]", &[])], "v1"), "unknown here: it guards nothing");
        assert!(
            !closed(&[("v*", &[]), ("/(?P<broken/", &["ann"])], "v1"),
            "unknown here: it may let ann"
        );
    }
}
