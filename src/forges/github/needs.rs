//! What the App needs of GitHub: the one table by which onboarding checks an installation.
//!
//! In scope: permissions and events, and what an installation lacks of them. Out of scope: asking for them, which
//! `deploy/github-app.json` does; a test holds it, and the calls that the adapter makes, to this table.

use super::session::AsApp;
use super::wire::Installed;
use crate::forges::client::Session;
use crate::port::ForgeError;

/// Permissions, each with the access that is needed.
/// <https://docs.github.com/en/rest/authentication/permissions-required-for-github-apps>
const PERMISSIONS: [(&str, &str); 9] = [
    ("administration", "read"),
    ("checks", "write"),
    ("contents", "read"),
    // For the event issue_comment alone, which brings the commands: no call needs it.
    ("issues", "read"),
    ("merge_queues", "read"),
    ("metadata", "read"),
    ("pull_requests", "write"),
    ("secret_scanning_alerts", "read"),
    ("statuses", "write"),
];

/// Events, each with the permission that it takes to be sent it. Those about installations are sent unasked.
/// <https://docs.github.com/en/webhooks/webhook-events-and-payloads>
const EVENTS: [(&str, &str); 12] = [
    ("branch_protection_rule", "administration"),
    ("check_run", "checks"),
    ("check_suite", "checks"),
    ("issue_comment", "issues"),
    ("merge_group", "merge_queues"),
    ("pull_request", "pull_requests"),
    ("pull_request_review", "pull_requests"),
    ("push", "contents"),
    ("repository", "metadata"),
    ("repository_ruleset", "metadata"),
    ("secret_scanning_alert", "secret_scanning_alerts"),
    ("secret_scanning_alert_location", "secret_scanning_alerts"),
];

/// What the installation lacks of what we need.
pub(super) async fn missing(app: &AsApp<'_>, installation: u64) -> Result<Vec<String>, ForgeError> {
    let installed: Installed = app.get(&format!("/app/installations/{installation}")).await?;
    let has = |name: &str, wanted: &str| {
        let given = installed.permissions.get(name).map(String::as_str);
        given == Some(wanted) || given == Some("write") || given == Some("admin")
    };
    let permissions = PERMISSIONS.iter().filter(|(name, wanted)| !has(name, wanted));
    let permissions = permissions.map(|(name, wanted)| format!("permission {name}: {wanted}"));
    let sent = |name: &str| installed.events.iter().any(|event| event == name);
    let events = EVENTS.iter().filter(|(name, _)| !sent(name));
    Ok(permissions
        .chain(events.map(|(name, _)| format!("event {name}")))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    /// What only some calls of some installations need: findings are uploaded only where that is asked for.
    const OPTIONAL: [(&str, &str); 1] = [("security_events", "write")];

    /// What each of our calls needs; `app`: the App's own key, `administrator`: the token of `forge apply`.
    /// <https://docs.github.com/en/rest/authentication/permissions-required-for-github-apps>
    const CALLS: &str = "\
get /app/installations app
post /app/installations/{installation_id}/access_tokens app
get /app/hook/deliveries app
post /app/hook/deliveries/{delivery_id}/attempts app
get /app/installations/{installation_id} app
get REPO/installation app
get /installation/repositories metadata read
get REPO metadata read
get REPO/collaborators/{username}/permission metadata read
get REPO/rules/branches/{branch} metadata read
get REPO/rulesets metadata read
get REPO/rulesets/{ruleset_id} metadata read
get REPO/branches/{branch} contents read
get REPO/branches/{branch}/protection administration read
get REPO/rulesets/rule-suites administration read
post REPO/rulesets administrator
put REPO/rulesets/{ruleset_id} administrator
post REPO/check-runs checks write
patch REPO/check-runs/{check_run_id} checks write
get REPO/commits/{ref}/check-runs checks read
get REPO/commits/{ref}/statuses statuses read
get REPO/commits/{ref}/status statuses read
post REPO/statuses/{sha} statuses write
get REPO/pulls pull_requests read
get REPO/pulls/{pull_number} pull_requests read
get REPO/pulls/{pull_number}/reviews pull_requests read
get REPO/commits/{commit_sha}/pulls pull_requests read
get REPO/issues/{issue_number}/comments pull_requests read
post REPO/issues/{issue_number}/comments pull_requests write
patch REPO/issues/comments/{comment_id} pull_requests write
delete REPO/issues/comments/{comment_id} pull_requests write
get REPO/secret-scanning/alerts/{alert_number} secret_scanning_alerts read
get REPO/secret-scanning/alerts/{alert_number}/locations secret_scanning_alerts read
post REPO/code-scanning/sarifs security_events write";
    /// The calls that the judge of the specification knows; it refuses all others.
    fn judged() -> Vec<String> {
        let script = include_str!("../../../tests/fixtures/prune_specs.js");
        let (_, list) = script.split_once("const GITHUB = [\n").unwrap();
        let (list, _) = list.split_once("\n];").unwrap();
        let call = |line: &str| {
            let parts: Vec<&str> = line.trim().trim_matches(['[', ']', ',']).split(", ").collect();
            let path = parts[1].trim_matches(['`', '"']).replace("${REPO}", "REPO");
            format!("{} {path}", parts[0].trim_matches('"'))
        };
        list.lines().map(call).collect()
    }

    fn table(all: impl Iterator<Item = (&'static str, &'static str)>) -> BTreeMap<&'static str, &'static str> {
        let mut table: BTreeMap<&str, &str> = BTreeMap::new();
        for (permission, access) in all {
            let most = table.entry(permission).or_insert(access);
            *most = access.max(*most);
        }
        table
    }

    #[test]
    fn the_table_has_what_our_calls_and_events_need_and_no_more() {
        let words = || CALLS.lines().map(|line| line.split(' ').collect::<Vec<&str>>());
        let (mut known, mut called): (Vec<String>, _) = (words().map(|call| call[..2].join(" ")).collect(), judged());
        known.sort();
        called.sort();
        assert_eq!(known, called);
        let of_call = |call: Vec<&'static str>| (call.len() == 4).then(|| (call[2], call[3]));
        let of_event = EVENTS.iter().map(|(_, permission)| (*permission, "read"));
        let needed = table(words().filter_map(of_call).chain(of_event));
        assert_eq!(needed, table(PERMISSIONS.into_iter().chain(OPTIONAL)));
    }

    #[test]
    fn the_manifest_asks_for_the_table() {
        let manifest: Value = serde_json::from_str(include_str!("../../../deploy/github-app.json")).unwrap();
        let permissions = table(PERMISSIONS.into_iter().chain(OPTIONAL));
        assert_eq!(manifest["default_permissions"], json!(permissions));
        assert_eq!(manifest["default_events"], json!(EVENTS.map(|(name, _)| name)));
    }
}
