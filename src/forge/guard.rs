//! Vocabulary of a forge's own guard: what it enforces on a ref, what it says about a landing, and drift.
//!
//! In scope: plain data, what our policy wants of a forge, and where the two differ. Pure. Out of scope:
//! reading and changing it (`forges`), what follows from it (`decision`, `pipeline::drift`).

use crate::push::{Oid, RefName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a forge enforces on one branch or tag, all of its mechanisms together. What somebody is exempt from, as far as
/// the forge tells, is not enforced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protection {
    /// Nobody may delete it.
    pub deletion_blocked: bool,
    /// Nobody may make it lose history.
    pub force_push_blocked: bool,
    /// Nobody may move it at all; told of tags.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub move_blocked: bool,
    /// Nobody may make it; told of tags.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub creation_blocked: bool,
    /// It moves only by changes.
    pub changes_only: bool,
    /// Approvals that a change needs, by others than its author.
    pub approvals: u32,
    /// Whether a push to the change takes its approvals back.
    pub stale_dismissed: bool,
    /// Checks that must have passed.
    pub checks: Vec<RequiredCheck>,
}

/// A check that a forge requires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequiredCheck {
    /// Its name or context.
    pub name: String,
    /// Whether it is ours: by this name, and where the forge can tell, from us alone.
    pub ours: bool,
}

impl Protection {
    /// Whether our check must have passed.
    pub fn requires_us(&self) -> bool {
        self.checks.iter().any(|check| check.ours)
    }
}

/// What a forge says about how a ref came to stand where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Landing {
    /// The account that moved the ref; `None`: the forge does not say.
    pub by: Option<String>,
    /// Whether somebody passed the forge's rules over, where the forge records it and lets us read it.
    pub bypassed: Option<bool>,
    /// The changes that landed, in the order of their landing.
    pub changes: Vec<LandedChange>,
    /// Commits of the ref's own line, that no change brought.
    pub direct: Vec<Oid>,
    /// What the forge enforced on the ref when it was asked.
    pub protection: Protection,
}

/// A change that landed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LandedChange {
    /// Its number.
    pub number: u64,
    /// Who opened it.
    pub author: String,
    /// Who had it merged.
    pub merged_by: Option<String>,
    /// Its last head.
    pub head: Oid,
    /// Where the ref stood after it: a merge, a squashed commit, or the last of rebased ones.
    pub merged_as: Oid,
    /// Accounts other than the author whose last word on exactly this head is an approval.
    pub approved_by: Vec<String>,
    /// Required checks that had passed on this head.
    pub passed: Vec<String>,
}

impl Landing {
    /// The part of it that concerns these commits of the ref's line.
    pub fn of(&self, steps: &[Oid]) -> Self {
        let changes: Vec<LandedChange> = self
            .changes
            .iter()
            .filter(|it| steps.contains(&it.merged_as))
            .cloned()
            .collect();
        let last = changes.last().filter(|it| steps.last() == Some(&it.merged_as));
        Self {
            by: last.and_then(|it| it.merged_by.clone()).or_else(|| self.by.clone()),
            direct: self.direct.iter().filter(|oid| steps.contains(oid)).copied().collect(),
            changes,
            ..self.clone()
        }
    }

    /// Whether everything landed by changes for which `holds`.
    pub fn each(&self, holds: impl Fn(&LandedChange) -> bool) -> bool {
        self.bypassed != Some(true)
            && self.direct.is_empty()
            && !self.changes.is_empty()
            && self.changes.iter().all(holds)
    }
}

/// The name of our check and status at every forge.
pub const OUR_CHECK: &str = "lychgate";

impl Landing {
    /// Whether the ref moved as the forge's rules say, our check among them: as recorded by the forge, or seen by
    /// that our check had passed on every change.
    pub fn by_the_rules(&self) -> bool {
        let ours = |change: &LandedChange| change.passed.iter().any(|name| name == OUR_CHECK);
        self.protection.requires_us() && (self.bypassed == Some(false) || self.each(ours))
    }
}

/// What our policy wants a forge to enforce on a ref.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// No rule lets it be deleted.
    pub deletion_blocked: bool,
    /// No rule lets it lose history.
    pub force_push_blocked: bool,
    /// No rule lets it be moved; of tags.
    pub move_blocked: bool,
    /// No rule lets it be made; of tags.
    pub creation_blocked: bool,
    /// It moves only if our check has passed; of branches.
    pub checked: bool,
    /// Approvals that a change needs; of branches.
    pub approvals: u32,
}

/// The tags that one rule of the policy protects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardedTags {
    /// The rule's pattern: a full ref name where `*` is any text without `/`, and `**` any text.
    pub pattern: String,
    /// What the rule wants on each of them.
    pub wanted: Wanted,
    /// Those that there are, and one that there may be: to guard only the former leaves the next one unguarded.
    pub names: Vec<RefName>,
}

impl GuardedTags {
    /// The pattern of the tags' own names; `None`: it is not told from the pattern which tags it means.
    pub fn short(&self) -> Option<&str> {
        match self.pattern.as_str() {
            "refs/**" => Some("**"),
            other => other.strip_prefix("refs/tags/"),
        }
    }

    /// Where less is enforced on any of them than is wanted; `actual` in the order of the names.
    pub fn drift(&self, actual: &[Protection]) -> Vec<Drift> {
        let all: BTreeSet<Drift> = actual.iter().flat_map(|one| drift(self.wanted, one)).collect();
        all.into_iter().collect()
    }
}

/// One way in which a forge enforces less than our policy wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drift {
    /// The forge lets it be deleted.
    DeletionAllowed,
    /// The forge lets it lose history.
    ForcePushAllowed,
    /// The forge lets a tag be moved.
    MoveAllowed,
    /// The forge lets a tag be made.
    CreationAllowed,
    /// The forge merges without our check.
    CheckNotRequired,
    /// The forge asks for fewer approvals.
    TooFewApprovals,
    /// A push after an approval leaves the approval standing.
    StaleApprovals,
}

impl Drift {
    /// Its code.
    pub fn code(self) -> &'static str {
        match self {
            Self::DeletionAllowed => "deletion-allowed",
            Self::ForcePushAllowed => "force-push-allowed",
            Self::MoveAllowed => "move-allowed",
            Self::CreationAllowed => "creation-allowed",
            Self::CheckNotRequired => "check-not-required",
            Self::TooFewApprovals => "too-few-approvals",
            Self::StaleApprovals => "stale-approvals",
        }
    }

    /// What it means, for people.
    pub fn what(self) -> &'static str {
        match self {
            Self::DeletionAllowed => "the forge lets it be deleted",
            Self::ForcePushAllowed => "the forge lets it lose history",
            Self::MoveAllowed => "the forge lets the tag be moved to another commit",
            Self::CreationAllowed => "the forge lets such a tag be made",
            Self::CheckNotRequired => {
                "the forge lets changes in without the check lychgate, or lets somebody pass it over"
            }
            Self::TooFewApprovals => "the forge asks for fewer approvals than the policy",
            Self::StaleApprovals => "an approval stands although the change was pushed to after it",
        }
    }
}

/// Where a forge enforces less than is wanted; empty: it enforces all. More than is wanted is no drift.
pub fn drift(wanted: Wanted, actual: &Protection) -> Vec<Drift> {
    let found = [
        (
            wanted.deletion_blocked && !actual.deletion_blocked,
            Drift::DeletionAllowed,
        ),
        (
            wanted.force_push_blocked && !actual.force_push_blocked,
            Drift::ForcePushAllowed,
        ),
        (wanted.move_blocked && !actual.move_blocked, Drift::MoveAllowed),
        (
            wanted.creation_blocked && !actual.creation_blocked,
            Drift::CreationAllowed,
        ),
        (wanted.checked && !actual.requires_us(), Drift::CheckNotRequired),
        (actual.approvals < wanted.approvals, Drift::TooFewApprovals),
        (wanted.approvals > 0 && !actual.stale_dismissed, Drift::StaleApprovals),
    ];
    found
        .into_iter()
        .filter(|(differs, _)| *differs)
        .map(|(_, what)| what)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(digit: char) -> Oid {
        digit.to_string().repeat(40).parse().unwrap()
    }

    #[test]
    fn less_is_drift_and_more_is_not() {
        let wanted = Wanted {
            deletion_blocked: true,
            force_push_blocked: true,
            checked: true,
            approvals: 1,
            ..Wanted::default()
        };
        let all = [
            Drift::DeletionAllowed,
            Drift::ForcePushAllowed,
            Drift::CheckNotRequired,
            Drift::TooFewApprovals,
            Drift::StaleApprovals,
        ];
        assert_eq!(drift(wanted, &Protection::default()), all);
        let ours = RequiredCheck {
            name: "lychgate".into(),
            ours: true,
        };
        let more = Protection {
            deletion_blocked: true,
            force_push_blocked: true,
            changes_only: true,
            approvals: 2,
            stale_dismissed: true,
            checks: vec![ours],
            ..Protection::default()
        };
        assert!(drift(wanted, &more).is_empty());
        let foreign = RequiredCheck {
            name: "lychgate".into(),
            ours: false,
        };
        let imitated = Protection {
            checks: vec![foreign],
            ..more
        };
        assert_eq!(drift(wanted, &imitated), [Drift::CheckNotRequired]);
    }

    #[test]
    fn tags_drift_if_any_of_them_does() {
        let closed = Protection {
            deletion_blocked: true,
            force_push_blocked: true,
            move_blocked: true,
            creation_blocked: true,
            ..Protection::default()
        };
        let movable = Protection {
            move_blocked: false,
            ..closed.clone()
        };
        let tags = GuardedTags {
            pattern: "refs/tags/v*".into(),
            wanted: Wanted {
                deletion_blocked: true,
                move_blocked: true,
                creation_blocked: true,
                ..Wanted::default()
            },
            names: Vec::new(),
        };
        assert!(
            tags.drift(&[closed.clone(), closed.clone()]).is_empty(),
            "no check, no approvals"
        );
        assert_eq!(tags.drift(&[closed, movable]), [Drift::MoveAllowed]);
        let all = [Drift::DeletionAllowed, Drift::MoveAllowed, Drift::CreationAllowed];
        assert_eq!(tags.drift(&[Protection::default()]), all);
    }

    #[test]
    fn what_was_recorded_of_a_branch_keeps_its_bytes() {
        let text = r#"{"deletionBlocked":true,"forcePushBlocked":true,"changesOnly":false,"approvals":0,"staleDismissed":false,"checks":[]}"#;
        let read: Protection = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }

    #[test]
    fn a_part_of_a_landing_has_only_its_own_changes() {
        let change = |number, digit: char| LandedChange {
            number,
            author: "ann".into(),
            merged_by: Some(format!("merger-{number}")),
            head: oid('9'),
            merged_as: oid(digit),
            approved_by: vec!["bob".into()],
            passed: Vec::new(),
        };
        let landing = Landing {
            by: Some("pusher".into()),
            changes: vec![change(1, 'a'), change(2, 'c')],
            direct: vec![oid('b')],
            ..Landing::default()
        };
        let first = landing.of(&[oid('a')]);
        assert_eq!((first.changes.len(), first.direct.len()), (1, 0));
        assert_eq!(first.by.as_deref(), Some("merger-1"));
        assert!(first.each(|it| !it.approved_by.is_empty()));
        let second = landing.of(&[oid('b'), oid('c')]);
        assert_eq!(second.by.as_deref(), Some("merger-2"));
        assert!(!second.each(|_| true), "a direct push was among it");
        assert_eq!(landing.of(&[oid('b')]).by.as_deref(), Some("pusher"));
    }
}
