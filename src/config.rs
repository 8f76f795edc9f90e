//! The policy: spanned TOML in, a valid [`Policy`] or every error at once out.
//!
//! In scope: reading and validating the text. Out of scope: reading the file
//! (`cmd`), judging (`check`). The commented default is `rules/policy.toml`.
//! `gate.toml`, the installation's [`Settings`], is read by the same means.

#[cfg(feature = "bot")]
mod bot;
mod pattern;
mod policy;
mod reader;
mod render;
mod retention;
mod settings;
mod waivers;

#[cfg(feature = "bot")]
pub use bot::{BotConfig, ForgeConfig, RepositoryConfig, StorePlace};
pub use pattern::Pattern;
pub use render::render_errors;
pub use retention::{REDELIVERED, Retention};
pub use settings::Settings;

use crate::finding::{Confidence, PolicyLine, Severity};
use crate::forge::Permission;
use crate::forge::guard::{GuardedTags, Wanted};
use crate::push::{RefName, Timestamp};
use crate::rule::PathSeverity;
use serde::{Deserialize, Serialize};

/// The bounds of one inspection, each with the reason in `config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Most objects that one push may bring.
    pub objects: u64,
    /// Most bytes that one object may inflate to; larger ones are a finding and are not read.
    pub object_bytes: u64,
    /// Most commits that become newly reachable.
    pub commits: u64,
    /// Most whole seconds that the inspection may take.
    pub seconds: u64,
    /// Worker threads; 0 = one per core.
    pub threads: usize,
}

impl Default for Bounds {
    /// Far above an honest push, far below what takes a server down.
    fn default() -> Self {
        Self {
            // The whole history of a large project (849,000 objects of a 17-year repository) passes with room.
            objects: 2_000_000,
            // What the large forges refuse too; one such object inflates into memory per thread.
            object_bytes: 100 << 20,
            // Ten times the largest real push measured; each commit costs a signature, about 0.1 to 1 ms.
            commits: 100_000,
            // Below the 50 s after which servers give up, so that the developer hears why.
            seconds: 30,
            threads: 0,
        }
    }
}

/// The commented default policy, which `init` writes; a test asserts what it means.
pub const DEFAULT_POLICY: &str = include_str!("../rules/policy.toml");

/// A value with the policy line that sets it, so that a finding can say why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lined<T> {
    /// The value.
    pub value: T,
    /// Where it is set.
    pub line: PolicyLine,
}

/// What holds for the refs that one pattern matches. A ref under several rules must satisfy all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefRule {
    /// Which refs.
    pub pattern: Lined<Pattern>,
    /// Accounts that may move the ref; `*` alone: any account that the server authenticated.
    pub who: Lined<Vec<String>>,
    /// Whether it may be created.
    pub create: Lined<bool>,
    /// Whether it may be moved.
    pub update: Lined<bool>,
    /// Whether it may be deleted.
    pub delete: Lined<bool>,
    /// Whether it may lose history.
    pub non_fast_forward: Lined<bool>,
    /// Whether every new commit (or the tag object) needs a good signature.
    pub require_signed: Lined<bool>,
    /// Whether the committer's e-mail address must be one that the keyring binds the signing key to.
    /// Unless set, as `require_signed`.
    pub committer_is_signer: Lined<bool>,
    /// Whether the signing key's principal must be the account that pushes.
    pub pusher_is_signer: Lined<bool>,
    /// Approvals by others than its author that a forge must demand of a change; what a hook sees has none.
    pub approvals: Lined<u32>,
}

/// A finding that the server allows: by its keyed fingerprint, with a reason and an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The fingerprint, 64 hex digits.
    pub fingerprint: String,
    /// Why.
    pub reason: String,
    /// Until when.
    pub expires: Timestamp,
}

/// What holds for secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPolicy {
    /// Refs whose pushes are scanned (the default: all).
    pub refs: Lined<Vec<Pattern>>,
    /// From which confidence on a match denies.
    pub deny_confidence: Lined<Confidence>,
    /// From which severity on a match denies.
    pub deny_severity: Lined<Severity>,
    /// Severities in some files, in place of what the rules give.
    pub severity: Vec<Lined<PathSeverity>>,
    /// Findings that the server allows.
    pub allow: Vec<Lined<Allowed>>,
}

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// SHA-256 of its text, hex.
    pub digest: String,
    /// Rules for refs, in the file's order. A ref that none matches is not protected.
    pub refs: Vec<RefRule>,
    /// Rules for secrets.
    pub secrets: SecretPolicy,
    /// Seconds by which a claimed time may lie after the receive time.
    pub skew_seconds: Lined<i64>,
    /// Bounds of one inspection.
    pub bounds: Bounds,
    /// Who may loosen a rule, and what nobody may.
    pub waivers: WaiverPolicy,
}

/// What holds for waivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaiverPolicy {
    /// Accounts that may approve one; `*` alone: any. Empty: there are none.
    pub approvers: Vec<String>,
    /// Most days that one lasts, 1 to 90.
    pub max_days: i64,
    /// Codes that nobody waives.
    pub never: Vec<String>,
    /// Accounts two of which may approve a break-glass waiver; empty: there are none.
    pub break_glass: Vec<String>,
    /// Most hours that a break-glass waiver lasts, 1 to 72.
    pub break_glass_hours: i64,
    /// The least that an approver on a forge must be allowed there.
    pub permission: Permission,
}

impl WaiverPolicy {
    /// Most seconds that a waiver lasts.
    pub fn longest(&self, break_glass: bool) -> i64 {
        match break_glass {
            true => self.break_glass_hours * 3_600,
            false => self.max_days * 86_400,
        }
    }

    /// Seconds that one lasts unless somebody says otherwise: a week, or as long as it may.
    pub fn usual(&self, break_glass: bool) -> i64 {
        self.longest(break_glass).min(7 * 86_400)
    }

    /// The accounts that may approve.
    pub fn list(&self, break_glass: bool) -> &[String] {
        if break_glass {
            &self.break_glass
        } else {
            &self.approvers
        }
    }

    /// The longest for people.
    pub fn longest_in_words(&self, break_glass: bool) -> String {
        let (count, unit) = match break_glass {
            true => (self.break_glass_hours, "hour"),
            false => (self.max_days, "day"),
        };
        let ending = if count == 1 { "" } else { "s" };
        format!("{count} {unit}{ending}")
    }
}

/// One error in a policy text, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// Stable kebab-case code, such as `unknown-key`.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
    /// Line from 1.
    pub line: u32,
    /// Column from 1, in characters.
    pub column: u32,
    /// The line's text, at most 160 characters.
    pub source: String,
    /// How many characters to underline, at least 1.
    pub length: u32,
}

impl Policy {
    /// Reads and validates a policy text.
    ///
    /// * `file`: the file's name, for [`PolicyLine`]s.
    ///
    /// Keys that are absent have safe values, whose [`PolicyLine`] is that of the table's header (line 1 if the
    /// table is absent too).
    ///
    /// ```
    /// use lychgate::config::Policy;
    /// let policy = Policy::parse("policy.toml", "version = 1\n[[ref]]\npattern = \"refs/heads/main\"\n").unwrap();
    /// assert!(policy.refs[0].require_signed.value);
    /// assert_eq!(policy.refs[0].require_signed.line.line, 2);
    /// ```
    ///
    /// # Errors
    /// Every error of the text, in the order of their places.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<PolicyError>> {
        policy::parse(file, text)
    }

    /// The rules whose pattern matches the ref. Empty: the ref is not protected.
    pub fn rules_for<'a>(&'a self, name: &'a RefName) -> impl Iterator<Item = &'a RefRule> {
        self.refs.iter().filter(move |rule| rule.pattern.value.matches(name))
    }

    /// What a forge must enforce on the branch or tag, so that our word about it holds; `None`: the ref is not
    /// protected, or is neither.
    pub fn wants_of_forge(&self, name: &RefName) -> Option<Wanted> {
        let rules: Vec<&RefRule> = self.rules_for(name).collect();
        let some = !rules.is_empty() && (name.is_branch() || name.is_tag());
        some.then(|| wanted(&rules, name.is_tag()))
    }

    /// What a forge must enforce on tags, rule by rule.
    ///
    /// * `known`: the forge's refs.
    pub fn tags_to_guard<'a>(&self, known: impl Iterator<Item = &'a RefName> + Clone) -> Vec<GuardedTags> {
        let guarded = |rule: &RefRule| {
            let pattern = &rule.pattern.value;
            let next = pattern.a_tag()?;
            let there = known.clone().filter(|name| name.is_tag() && pattern.matches(name));
            Some(GuardedTags {
                pattern: pattern.to_string(),
                wanted: wanted(&[rule], true),
                names: there.cloned().chain([next]).collect(),
            })
        };
        self.refs.iter().filter_map(guarded).collect()
    }

    /// Whether any rule protects the ref.
    pub fn protects(&self, name: &RefName) -> bool {
        self.rules_for(name).next().is_some()
    }
}

/// What rules want of a forge together. Only a branch can be made to wait for a check or an approval.
fn wanted(rules: &[&RefRule], tag: bool) -> Wanted {
    let forbids = |allowed: fn(&RefRule) -> bool| rules.iter().any(|rule| !allowed(rule));
    let move_blocked = tag && forbids(|rule| rule.update.value);
    let approvals = rules.iter().map(|rule| rule.approvals.value).max().unwrap_or(0);
    Wanted {
        deletion_blocked: forbids(|rule| rule.delete.value),
        // What may not move at all loses no history.
        force_push_blocked: !move_blocked && forbids(|rule| rule.non_fast_forward.value),
        move_blocked,
        creation_blocked: tag && forbids(|rule| rule.create.value),
        checked: !tag,
        approvals: if tag { 0 } else { approvals },
    }
}
