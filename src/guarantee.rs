//! Vocabulary of what may be relied on later: controls, their start, the SLSA source level.

use crate::push::{Oid, Timestamp};
use serde::{Deserialize, Serialize};

/// One thing that the gate enforces on a ref.
///
/// The `ORG_SOURCE_*` names go into `verifiedLevels` of the Source VSA:
/// <https://slsa.dev/spec/v1.2/source-requirements>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// The ref can only move forward and cannot be deleted; tags cannot move.
    HistoryKept,
    /// Only named accounts may move the ref, and the server authenticated them.
    RefProtected,
    /// Every new commit carries a good signature by a known key.
    Signed,
    /// Every new object was scanned for secrets, and none denied.
    SecretsScanned,
    /// All of it came by changes that somebody other than their author approved, as the forge demands.
    Reviewed,
    /// All of it came by changes on which every check had passed that the forge demands.
    ChecksPassed,
}

impl Control {
    /// All controls, in their order.
    pub const ALL: [Control; 6] = [
        Control::HistoryKept,
        Control::RefProtected,
        Control::Signed,
        Control::SecretsScanned,
        Control::Reviewed,
        Control::ChecksPassed,
    ];

    /// The name under which a VSA states it.
    pub fn level_name(self) -> &'static str {
        match self {
            Control::HistoryKept => "ORG_SOURCE_HISTORY_KEPT",
            Control::RefProtected => "ORG_SOURCE_REF_PROTECTED",
            Control::Signed => "ORG_SOURCE_SIGNED",
            Control::SecretsScanned => "ORG_SOURCE_SECRETS_SCANNED",
            Control::Reviewed => "ORG_SOURCE_REVIEWED",
            Control::ChecksPassed => "ORG_SOURCE_CHECKS_PASSED",
        }
    }
}

/// A control that held for a revision, without a gap, since a start revision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Guarantee {
    /// What held.
    pub control: Control,
    /// The revision from which on it has held; a lapse resets it to the present one.
    pub since: Oid,
    /// The receive time of that revision.
    pub since_time: Timestamp,
    /// One sentence: by what it was established for this revision.
    pub evidence: String,
}

/// The SLSA source level that a set of guarantees earns: 1 to 4.
///
/// * 1: it is in version control and has a VSA.
/// * 2: history is kept and the ref protected.
/// * 3: 2, and the organisation's technical controls (signed, secrets scanned) held too.
///
/// * 4: 3, and two persons agreed to it (author and approver), which only a forge can tell.
pub fn source_level(guarantees: &[Guarantee]) -> u8 {
    let holds = |control| guarantees.iter().any(|g| g.control == control);
    let two = holds(Control::HistoryKept) && holds(Control::RefProtected);
    let three = two && holds(Control::Signed) && holds(Control::SecretsScanned);
    let four = three && holds(Control::Reviewed);
    1 + u8::from(two) + u8::from(three) + u8::from(four)
}
