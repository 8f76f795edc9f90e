//! What we read of GitHub's answers: the fewest fields that do, so that a new field breaks nothing.
//!
//! In scope: shapes. Out of scope: meaning.

use crate::push::Oid;
use secrecy::SecretString;
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct AccessToken {
    pub(super) token: SecretString,
    #[serde(default)]
    pub(super) expires_at: String,
}

#[derive(Deserialize)]
pub(super) struct InstallationRef {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) suspended_at: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Repositories {
    pub(super) repositories: Vec<Repository>,
}

#[derive(Deserialize)]
pub(super) struct Repository {
    pub(super) id: u64,
    pub(super) full_name: String,
    #[serde(default)]
    pub(super) archived: bool,
}

#[derive(Deserialize)]
pub(super) struct Pull {
    pub(super) number: u64,
    pub(super) state: String,
    #[serde(default)]
    pub(super) merged: bool,
    #[serde(default)]
    pub(super) merge_commit_sha: Option<Oid>,
    pub(super) user: Option<User>,
    pub(super) base: Base,
    pub(super) head: Head,
}

#[derive(Deserialize)]
pub(super) struct User {
    pub(super) login: String,
    /// `User` or `Bot`.
    #[serde(rename = "type", default)]
    pub(super) kind: String,
}

#[derive(Deserialize)]
pub(super) struct Base {
    #[serde(rename = "ref")]
    pub(super) name: String,
    pub(super) sha: Oid,
    pub(super) repo: Repository,
}

#[derive(Deserialize)]
pub(super) struct Head {
    pub(super) sha: Oid,
}

#[derive(Deserialize)]
pub(super) struct Branch {
    pub(super) commit: Head,
}

#[derive(Deserialize)]
pub(super) struct Permission {
    permission: String,
    /// Finer than `permission`, which calls `maintain` write and `triage` read; a role of the organisation's own
    /// has any name, and then only `permission` says what it may.
    #[serde(default)]
    role_name: Option<String>,
}

impl Permission {
    pub(super) fn meaning(&self) -> crate::forge::Permission {
        use crate::forge::Permission;
        match (self.permission.as_str(), self.role_name.as_deref()) {
            ("admin", _) => Permission::Admin,
            ("write", Some("maintain")) => Permission::Maintain,
            ("write", _) => Permission::Write,
            ("read", _) => Permission::Read,
            _ => Permission::None,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct CheckRuns {
    pub(super) check_runs: Vec<CheckRun>,
}

#[derive(Deserialize)]
pub(super) struct CheckRun {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) app: Option<InstallationRef>,
    #[serde(default)]
    pub(super) external_id: Option<String>,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) conclusion: Option<String>,
    #[serde(default)]
    pub(super) output: Output,
}

#[derive(Deserialize, Default)]
pub(super) struct Output {
    #[serde(default)]
    pub(super) title: Option<String>,
    #[serde(default)]
    pub(super) summary: Option<String>,
    #[serde(default)]
    pub(super) annotations_count: usize,
}

#[derive(Deserialize)]
pub(super) struct Status {
    pub(super) state: String,
    #[serde(default)]
    pub(super) context: String,
    #[serde(default)]
    pub(super) description: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Comment {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) body: Option<String>,
    #[serde(default)]
    pub(super) performed_via_github_app: Option<InstallationRef>,
}

#[derive(Deserialize)]
pub(super) struct HookDelivery {
    pub(super) id: u64,
    pub(super) guid: String,
    pub(super) delivered_at: String,
    pub(super) status_code: i64,
}

#[derive(Deserialize)]
pub(super) struct Rule {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) parameters: Parameters,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Parameters {
    pub(super) required_approving_review_count: u32,
    pub(super) dismiss_stale_reviews_on_push: bool,
    pub(super) required_status_checks: Vec<RuleCheck>,
}

#[derive(Deserialize)]
pub(super) struct RuleCheck {
    pub(super) context: String,
    #[serde(default)]
    pub(super) integration_id: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Classic {
    #[serde(default)]
    pub(super) enforce_admins: Flag,
    #[serde(default)]
    pub(super) allow_deletions: Flag,
    #[serde(default)]
    pub(super) allow_force_pushes: Flag,
    #[serde(default)]
    pub(super) required_pull_request_reviews: Option<ClassicReviews>,
    #[serde(default)]
    pub(super) required_status_checks: Option<StatusChecks>,
}

#[derive(Deserialize, Default)]
pub(super) struct Flag {
    #[serde(default)]
    pub(super) enabled: bool,
}

#[derive(Deserialize)]
pub(super) struct ClassicReviews {
    #[serde(default)]
    pub(super) required_approving_review_count: u32,
    #[serde(default)]
    pub(super) dismiss_stale_reviews: bool,
}

#[derive(Deserialize, Default)]
pub(super) struct StatusChecks {
    #[serde(default)]
    pub(super) checks: Vec<ClassicCheck>,
}

#[derive(Deserialize)]
pub(super) struct ClassicCheck {
    pub(super) context: String,
    #[serde(default)]
    pub(super) app_id: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct RuleSuite {
    #[serde(default)]
    pub(super) after_sha: Option<Oid>,
    #[serde(default)]
    pub(super) result: String,
}

#[derive(Deserialize)]
pub(super) struct Ruleset {
    pub(super) id: u64,
    pub(super) name: String,
    #[serde(default)]
    pub(super) target: String,
    #[serde(default)]
    pub(super) enforcement: String,
}

#[derive(Deserialize)]
pub(super) struct WholeRuleset {
    /// Told only to those who may change it.
    #[serde(default)]
    pub(super) bypass_actors: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(default)]
    pub(super) conditions: Option<Conditions>,
    #[serde(default)]
    pub(super) rules: Vec<Rule>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Conditions {
    pub(super) ref_name: RefNames,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct RefNames {
    pub(super) include: Vec<String>,
    pub(super) exclude: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct LandedPull {
    pub(super) number: u64,
    #[serde(default)]
    pub(super) merged_at: Option<String>,
    #[serde(default)]
    pub(super) merge_commit_sha: Option<Oid>,
    pub(super) user: Option<User>,
    pub(super) base: NamedSide,
    pub(super) head: Head,
}

#[derive(Deserialize)]
pub(super) struct NamedSide {
    #[serde(rename = "ref")]
    pub(super) name: String,
}

#[derive(Deserialize)]
pub(super) struct Review {
    pub(super) user: Option<User>,
    #[serde(default)]
    pub(super) state: String,
    #[serde(default)]
    pub(super) commit_id: Option<Oid>,
}

#[derive(Deserialize)]
pub(super) struct CombinedStatus {
    #[serde(default)]
    pub(super) statuses: Vec<Status>,
}

#[derive(Deserialize)]
pub(super) struct Installed {
    #[serde(default)]
    pub(super) permissions: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    pub(super) events: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct Merged {
    #[serde(default)]
    pub(super) merged_by: Option<User>,
}
