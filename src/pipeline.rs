//! The way of a push: facts, checks, decision, durable record.
//!
//! Sees core and ports only. [`receive`] is the whole way on one screen;
//! publication after the ref moved is `worker`'s.

#[cfg(feature = "bot")]
pub mod change;
#[cfg(feature = "bot")]
mod chat;
mod gather;
#[cfg(feature = "bot")]
pub mod landed;
#[cfg(feature = "bot")]
pub mod lane;
#[cfg(feature = "bot")]
pub mod leak;
#[cfg(feature = "bot")]
pub mod metrics;
mod paths;
#[cfg(feature = "bot")]
mod shown;
#[cfg(feature = "bot")]
pub mod survey;
#[cfg(feature = "bot")]
pub mod sweep;
#[cfg(feature = "bot")]
mod tend;
#[cfg(feature = "bot")]
pub mod trace;
#[cfg(feature = "bot")]
mod verdict;
mod visitor;
mod waived;

pub use gather::facts;
pub use visitor::Visitor;
pub use waived::Waivers;

use crate::check;
use crate::config::Policy;
use crate::decision::{self, Decision, Verdict};
use crate::facts::{Fact, Facts};
use crate::finding::Finding;
use crate::port::{
    Canonical, DecisionRecord, Document, EntryRecord, EntryState, Keyring, Outage, Repository, Store, Verdicts,
};
use crate::push::{Oid, Push};
use crate::scan::{RuleSet, Scanner};

/// What a push is judged with.
pub struct World<'a, R, K, S> {
    /// The repository, quarantine included.
    pub repository: &'a R,
    /// The keys that may sign.
    pub keyring: &'a K,
    /// The ledger.
    pub store: &'a S,
    /// The matching core.
    pub scanner: &'a Scanner<'a>,
    /// SHA-256 of the rule set, hex.
    pub rule_set: &'a str,
    /// The policy in force.
    pub policy: &'a Policy,
    /// Its text, stored with the decision.
    pub policy_text: &'a str,
    /// Where waivers are looked up.
    pub waivers: Waivers<'a>,
    /// What objects were found to be before, under the same rules; learns what they are found to be now.
    pub verdicts: Option<&'a dyn Verdicts>,
}

impl<'a, R, K, S> World<'a, R, K, S> {
    /// What a push is judged with.
    ///
    /// * `scanner`: of `rules`.
    /// * `policy`: the policy in force and its text.
    pub fn new(
        repository: &'a R,
        keyring: &'a K,
        store: &'a S,
        scanner: &'a Scanner<'a>,
        rules: &'a RuleSet,
        (policy, policy_text): &'a (Policy, String),
        waivers: Waivers<'a>,
    ) -> Self {
        Self {
            repository,
            keyring,
            store,
            scanner,
            rule_set: rules.digest(),
            policy,
            policy_text,
            waivers,
            verdicts: None,
        }
    }

    /// The same, with what objects were found to be before under the same rules.
    pub fn knowing(self, verdicts: &'a dyn Verdicts) -> Self {
        Self {
            verdicts: Some(verdicts),
            ..self
        }
    }
}

/// A decided push.
#[derive(Debug)]
pub struct Received {
    /// What was read.
    pub facts: Facts,
    /// What was decided.
    pub decision: Decision,
}

/// Decides one push and makes the decision and its pending entries durable before it returns.
///
/// * `owner`: the process that will move the refs, as [`EntryRecord::owner`].
///
/// # Errors
/// [`Outage`] if the decision could not be stored: then nothing may enter. What could not be read about the
/// push is no error here but an outage finding of a decision that denies.
pub async fn receive<R, K, S>(world: &World<'_, R, K, S>, push: Push, owner: &str) -> Result<Received, Outage>
where
    R: Repository,
    K: Keyring,
    S: Store,
{
    let facts = facts(world, push).await;
    record(world, facts, owner).await
}

/// Decides on facts that are read, as [`receive`] does.
///
/// # Errors
/// As [`receive`].
pub async fn record<R, K, S>(world: &World<'_, R, K, S>, facts: Facts, owner: &str) -> Result<Received, Outage>
where
    R: Repository,
    K: Keyring,
    S: Store,
{
    let (facts, decision) = judged(world, facts).await;
    let documents: [&dyn Document; 2] = [&Canonical(&facts), &Canonical(&decision)];
    let record = DecisionRecord {
        push_id: facts.push.id.clone(),
        received_at: facts.push.received_at,
        allowed: decision.verdict == Verdict::Allow,
        policy: world.policy_text.to_owned(),
        facts: documents[0],
        decision: documents[1],
    };
    let pending = pending(&facts, &decision, owner);
    let scanned = scanned_clean(&facts, &decision);
    world.store.record(&record, &pending, &scanned, world.rule_set).await?;
    Ok(Received { facts, decision })
}

/// Looks up waivers for what denies, and decides.
pub async fn judged<R, K, S>(world: &World<'_, R, K, S>, mut facts: Facts) -> (Facts, Decision)
where
    R: Repository,
    K: Keyring,
    S: Store,
{
    let findings = check::all(world.policy, &facts);
    waived::look_up(world, &mut facts, &findings).await;
    let now = facts.push.received_at;
    let decision = decision::decide(world.policy, &facts, findings, now);
    (facts, decision)
}

/// One pending entry for each accepted revision.
fn pending(facts: &Facts, decision: &Decision, owner: &str) -> Vec<EntryRecord> {
    let entry = |(at, accepted): (usize, &decision::Accepted)| EntryRecord {
        // The push's id is unique, and so is the place in its list of accepted revisions.
        id: format!("{}-{at}", facts.push.id),
        push_id: facts.push.id.clone(),
        update: accepted.update.clone(),
        commit: accepted.commit,
        tree: accepted.tree,
        received_at: facts.push.received_at,
        guarantees: String::from_utf8_lossy(&decision::canonical(&accepted.guarantees)).into_owned(),
        state: EntryState::Pending,
        owner: owner.to_owned(),
        log_index: None,
        status_index: None,
        provenance: None,
        vsa: None,
    };
    decision.accepted.iter().enumerate().map(entry).collect()
}

/// Commits all of whose objects were scanned in this push without any match: they need no second scan when
/// another ref reaches them. A push with a match clears none, so that no allowed match is forgotten.
fn scanned_clean(facts: &Facts, decision: &Decision) -> Vec<Oid> {
    match decision.verdict {
        Verdict::Deny => Vec::new(),
        Verdict::Allow => without_match(facts),
    }
}

/// The commits of the facts, if nothing at all matched in them.
fn without_match(facts: &Facts) -> Vec<Oid> {
    match &facts.scan {
        Fact::Known(scan) if scan.secrets.is_empty() && scan.bounds.is_empty() => {
            facts.commits.iter().map(|commit| commit.oid).collect()
        }
        _ => Vec::new(),
    }
}

/// The findings that deny.
pub fn denying(decision: &Decision) -> impl Iterator<Item = &Finding> {
    decision.findings.iter().filter(|finding| finding.denies)
}
