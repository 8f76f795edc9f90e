//! The closed vocabulary of re-open events: actions, reasons, selectors.

use std::fmt;
use std::str::FromStr;

/// A text that is no member of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what}: write one of {members}")]
pub struct Unknown {
    what: &'static str,
    members: String,
}

/// Declares an enum with one fixed text a member, read and written by it.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, $($(#[$member_doc:meta])* $member:ident = $text:literal,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$member_doc])* $member,)* }

        impl $name {
            /// Every text.
            pub const WORDS: &'static [&'static str] = &[$($text),*];

            /// Its text.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$member => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Unknown;

            fn from_str(text: &str) -> Result<Self, Unknown> {
                match text {
                    $($text => Ok(Self::$member),)*
                    _ => Err(Unknown { what: $what, members: Self::WORDS.join(", ") }),
                }
            }
        }
    };
}

words! {
    /// What an event does to the entries that it selects.
    Action, "action",
    /// Suspends them until it is closed.
    Reopen = "reopen",
    /// Ends them for good.
    Revoke = "revoke",
    /// Ends a suspension: new attestations are issued, the old ones stay suspended.
    Close = "close",
}

words! {
    /// Why.
    Reason, "reason",
    /// A secret that entered was seen in use.
    LeakedSecretInUse = "leaked_secret_in_use",
    /// A key that signed is no longer its owner's alone.
    KeyCompromised = "key_compromised",
    /// A rule that did not exist then matches now.
    NewDetectionRule = "new_detection_rule",
    /// Something that should not be, such as two verifiers that disagree.
    Anomaly = "anomaly",
    /// What was allowed then is not allowed now.
    PolicyChange = "policy_change",
    /// An operator says so.
    Operator = "operator",
    /// The forge enforces less than the policy wants.
    ProtectionDrift = "protection_drift",
}

words! {
    /// By what an event selects entries.
    SelectorKind, "selector",
    /// A commit, and what descends from it.
    Commit = "commit",
    /// A blob: entries whose new commits or tree hold it.
    Blob = "blob",
    /// A signing key's fingerprint.
    Key = "key",
    /// A detection rule.
    Rule = "rule",
    /// The account that pushed.
    Actor = "actor",
    /// A ref: its newest entry, while the forge's protection of it has lapsed.
    Ref = "ref",
}
