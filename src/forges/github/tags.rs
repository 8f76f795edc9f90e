//! What GitHub enforces on tags, and making it enforce more.
//!
//! In scope: rulesets for tags, of the repository and of its organisation, matched here, since GitHub tells the rules
//! in force of branches alone; one ruleset of our own for each pattern. Out of scope: signatures: GitHub's rule is
//! about the commits below a tag and ours about the tag itself.
//!
//! <https://docs.github.com/en/rest/repos/rules>

use super::guard::set_ruleset;
use super::wire::{Conditions, Ruleset, WholeRuleset};
use crate::forge::ForgeRepo;
use crate::forge::guard::{GuardedTags, Protection, Wanted};
use crate::forges::client::Session;
use crate::forges::glob::Glob;
use crate::forges::{by_hand, path};
use crate::port::ForgeError;
use crate::push::RefName;
use serde_json::{Value, json};

/// What is enforced on each of these tags.
pub(super) async fn protection(
    session: &impl Session,
    repo: &ForgeRepo,
    names: &[RefName],
) -> Result<Vec<Protection>, ForgeError> {
    let at = path::repo(repo)?;
    let query = "includes_parents=true&targets=tag&per_page=100";
    let listed: Vec<Ruleset> = session.list(&format!("/repos/{at}/rulesets?{query}")).await?;
    let mut active = Vec::new();
    for ruleset in listed
        .iter()
        .filter(|it| it.target == "tag" && it.enforcement == "active")
    {
        let path = format!("/repos/{at}/rulesets/{}?includes_parents=true", ruleset.id);
        let whole: Option<WholeRuleset> = session.find(&path).await?;
        active.extend(whole.map(InForce::of));
    }
    Ok(names.iter().map(|name| enforced(&active, name)).collect())
}

/// A ruleset with its patterns read.
struct InForce {
    kinds: Vec<String>,
    include: Vec<Glob>,
    exclude: Vec<Glob>,
}

impl InForce {
    fn of(ruleset: WholeRuleset) -> Self {
        let exempt = ruleset.bypass_actors.is_some_and(|actors| !actors.is_empty());
        let Conditions { ref_name } = ruleset.conditions.unwrap_or_default();
        let globs = |patterns: Vec<String>| patterns.iter().map(|pattern| glob(pattern)).collect();
        Self {
            // What somebody is exempt from is not enforced.
            kinds: match exempt {
                true => Vec::new(),
                false => ruleset.rules.into_iter().map(|rule| rule.kind).collect(),
            },
            include: globs(ref_name.include),
            exclude: globs(ref_name.exclude),
        }
    }

    /// A pattern that cannot be read here takes nothing in, and may take out anything.
    fn covers(&self, name: &RefName) -> bool {
        self.include.iter().any(|glob| glob.covers(name) == Some(true))
            && self.exclude.iter().all(|glob| glob.covers(name) == Some(false))
    }
}

fn glob(pattern: &str) -> Glob {
    match pattern {
        "~ALL" => Glob::any_text("refs/tags/", "*"),
        other => Glob::by_parts(other),
    }
}

fn enforced(active: &[InForce], name: &RefName) -> Protection {
    let here: Vec<&InForce> = active.iter().filter(|ruleset| ruleset.covers(name)).collect();
    let has = |kind: &str| here.iter().any(|ruleset| ruleset.kinds.iter().any(|it| it == kind));
    Protection {
        deletion_blocked: has("deletion"),
        force_push_blocked: has("non_fast_forward") || has("update"),
        move_blocked: has("update"),
        creation_blocked: has("creation"),
        ..Protection::default()
    }
}

/// Makes our own ruleset for a pattern have what is wanted; others' rulesets stay as they are.
pub(super) async fn protect(
    session: &impl Session,
    repo: &ForgeRepo,
    tags: &GuardedTags,
    actual: &[Protection],
    dry_run: bool,
) -> Result<Vec<String>, ForgeError> {
    if tags.drift(actual).is_empty() {
        return Ok(Vec::new());
    }
    let Some(include) = include(tags) else {
        return Ok(vec![by_hand(tags)]);
    };
    set_ruleset(
        session,
        repo,
        (&tags.pattern, "tag"),
        json!(include),
        rules(tags.wanted),
        dry_run,
    )
    .await
}

/// The policy's pattern in GitHub's words: there only `**/` reaches over slashes.
fn include(tags: &GuardedTags) -> Option<Vec<String>> {
    let short = tags.short()?;
    match short.strip_suffix("**") {
        None if !short.contains("**") => Some(vec![format!("refs/tags/{short}")]),
        Some(start) if !start.contains("**") => {
            Some(vec![format!("refs/tags/{start}*"), format!("refs/tags/{start}*/**/*")])
        }
        _ => None,
    }
}

fn rules(wanted: Wanted) -> Value {
    let all = [
        (wanted.deletion_blocked, "deletion"),
        (wanted.force_push_blocked, "non_fast_forward"),
        (wanted.move_blocked, "update"),
        (wanted.creation_blocked, "creation"),
    ];
    let wanted = all.into_iter().filter(|(wanted, _)| *wanted);
    wanted.map(|(_, kind)| json!({ "type": kind })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pattern: &str) -> GuardedTags {
        GuardedTags {
            pattern: pattern.to_owned(),
            wanted: Wanted::default(),
            names: Vec::new(),
        }
    }

    #[test]
    fn a_pattern_of_the_policy_covers_at_github_what_it_covers_here() {
        assert_eq!(include(&tags("refs/tags/v*")), Some(vec!["refs/tags/v*".to_owned()]));
        for (pattern, name) in [
            ("refs/tags/v*", "refs/tags/v1"),
            ("refs/tags/v**", "refs/tags/v1/2/3"),
            ("refs/tags/rel/**", "refs/tags/rel/1"),
            ("refs/**", "refs/tags/a/b"),
        ] {
            let name = name.parse().unwrap();
            let include = include(&tags(pattern)).unwrap();
            assert!(
                include.iter().any(|one| glob(one).covers(&name) == Some(true)),
                "{pattern} {include:?}"
            );
        }
        assert_eq!(include(&tags("refs/tags/**/v*")), None);
        assert_eq!(include(&tags("refs/*/v*")), None);
    }

    #[test]
    fn what_cannot_be_read_or_exempts_somebody_enforces_nothing() {
        let ruleset = |include: &str, exclude: &[&str], actors: Value| {
            let whole = json!({ "rules": [{ "type": "update" }], "bypass_actors": actors,
                "conditions": { "ref_name": { "include": [include], "exclude": exclude } } });
            InForce::of(serde_json::from_value(whole).unwrap())
        };
        let name = "refs/tags/v1".parse().unwrap();
        let moves = |ruleset: InForce| !enforced(&[ruleset], &name).move_blocked;
        assert!(!moves(ruleset("~ALL", &[], Value::Null)));
        assert!(!moves(ruleset("refs/tags/v*", &["refs/tags/v2"], json!([]))));
        assert!(moves(ruleset("refs/tags/v?", &[], Value::Null)), "an unknown include");
        assert!(
            moves(ruleset("~ALL", &["refs/tags/[a-z]*"], Value::Null)),
            "an unknown exclude"
        );
        assert!(moves(ruleset("~ALL", &["refs/tags/v1"], Value::Null)));
        let actor = json!([{ "actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always" }]);
        assert!(moves(ruleset("~ALL", &[], actor)), "somebody is exempt");
    }
}
