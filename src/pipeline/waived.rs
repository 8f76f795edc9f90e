//! The waivers that are about a push: looked up only where something denies.

use super::World;
use crate::attest::PublicKey;
use crate::facts::{Fact, Facts};
use crate::finding::{Cause, Finding};
use crate::port::{Outage, Store};
use crate::waiver::Waiver;
use crate::worker::waive;

/// Where waivers are looked up.
#[derive(Clone, Copy)]
pub enum Waivers<'a> {
    /// Nowhere: a dry run against a gate that publishes none.
    Nowhere,
    /// In the world's store; the key that they must be signed by is read only then.
    Ledger(&'a dyn Fn() -> Result<PublicKey, Outage>),
    /// They were read before.
    Read(&'a Fact<Vec<Waiver>>),
}

/// Adds to the facts the waivers that are about what denies.
pub(super) async fn look_up<R, K, S: Store>(world: &World<'_, R, K, S>, facts: &mut Facts, findings: &[Finding]) {
    let work = |finding: &&Finding| finding.denies && finding.cause == Cause::Work;
    let denying: Vec<&Finding> = findings.iter().filter(work).collect();
    if denying.is_empty() {
        return;
    }
    let mut found = match world.waivers {
        Waivers::Nowhere => return,
        Waivers::Read(fact) => fact.clone(),
        Waivers::Ledger(key) => match read(world, facts, key).await {
            Ok(all) => Fact::Known(all),
            Err(outage) => Fact::Unavailable {
                code: outage.code.to_owned(),
                why: outage.to_string(),
            },
        },
    };
    if let Fact::Known(all) = &mut found {
        all.retain(|waiver| denying.iter().any(|finding| waiver.covers(&facts.push, finding)));
    }
    facts.waivers = found;
}

async fn read<R, K, S: Store>(
    world: &World<'_, R, K, S>,
    facts: &Facts,
    key: &dyn Fn() -> Result<PublicKey, Outage>,
) -> Result<Vec<Waiver>, Outage> {
    waive::read(world.store, &key()?, facts.push.received_at).await
}
