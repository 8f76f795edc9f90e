//! Publication, recovery, re-opening: what happens to entries after the decision.
//!
//! In scope: putting pending entries into the log once their ref has moved
//! ([`publish()`]), settling what a crash left ([`recover()`]), re-open events
//! ([`reopen()`]), who has which status ([`standing`]), proofs and the check of
//! the whole log ([`ledger`]), drift of a forge's protection ([`drift`]), the tasks of the outbox ([`tasks`]),
//! waivers ([`waive`]). Out of
//! scope: deciding (`pipeline`), storing and signing (adapters).
//!
//! Every change is one [`Store::append`](crate::port::Store::append), by
//! compare-and-swap on the log's size, so that two processes may do the same
//! work and only one has an effect.

pub mod drift;
pub mod ledger;
pub mod publish;
pub mod recover;
pub mod reopen;
pub mod standing;
pub mod tasks;
pub mod waive;

pub use ledger::{bundle, check, prove};
pub use publish::publish;
pub use recover::{Recovered, recover};
pub use reopen::{Event, Reopened, reopen, select};
pub use standing::{Standing, standings, status_list, status_of};
pub use tasks::settle;

use crate::attest::statement::Issuer;
use crate::port::Outage;

/// By which names a gate speaks in its attestations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The repository's resource URI.
    pub resource: String,
    /// The gate's URI: `verifier.id`.
    pub verifier_id: String,
    /// The log's name in checkpoints: no scheme, no white space, no `+`.
    pub origin: String,
    /// Where the policy can be read.
    pub policy_uri: String,
    /// Where the status list can be read.
    pub status_uri: String,
    /// Lychgate's version.
    pub version: &'static str,
    /// The highest SLSA source level that it claims, 1 to 4.
    pub max_level: u8,
}

impl Gate {
    pub(crate) fn issuer(&self) -> Issuer<'_> {
        Issuer {
            resource: &self.resource,
            verifier_id: &self.verifier_id,
            version: self.version,
            policy_uri: &self.policy_uri,
            status_uri: &self.status_uri,
            max_level: self.max_level,
        }
    }
}

/// How often an append that another process forestalled is tried again before it is an outage.
///
/// Each try is lost only to an append that succeeded, so this many hosts would have to publish at once.
const ATTEMPTS: u32 = 64;

fn corrupt(what: impl Into<String>, why: impl Into<String>) -> Outage {
    Outage {
        code: "store-corrupt",
        what: what.into(),
        why: why.into(),
        next: "Run: lychgate log check. Restore the ledger from a backup if it fails.".to_owned(),
    }
}

fn busy(what: &str) -> Outage {
    Outage {
        code: "store-busy",
        what: what.to_owned(),
        why: format!("other processes changed the log {ATTEMPTS} times meanwhile"),
        next: "Try again.".to_owned(),
    }
}
