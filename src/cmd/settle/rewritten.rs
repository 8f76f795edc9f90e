//! Ends waivers whose commit was let in and has left again, by a force-push or with its branch.
//!
//! Who rewrites history has another commit then, and asks anew; the old one shall not come back by a permission
//! that was given for its place in the old history.

use crate::cmd::error::CommandError;
use crate::cmd::home::Home;
use crate::cmd::{git, open, process};
use crate::decision::Decision;
use crate::port::{Outage, Signer, Store};
use crate::push::{Oid, Timestamp};
use crate::waiver::{Order, Target, Waiver};
use crate::worker::Gate;
use crate::worker::waive::{self, Desk, Ordered};

/// What a revocation says that nobody ordered.
const REASON: &str = "its commit left every ref: history was rewritten";

/// Ends them; gives how many.
///
/// # Errors
/// The store's, the signer's and git's.
pub(super) async fn end<S: Store, G: Signer>(
    home: &Home,
    store: &S,
    signer: &G,
    gate: &Gate,
    now: Timestamp,
) -> Result<u32, CommandError> {
    let key = open::public_key(home)?;
    let waivers = waive::read(store, &key, now).await?;
    let mut ended = 0;
    for waiver in waivers
        .iter()
        .filter(|it| it.revoked.is_none() && !it.approvals.is_empty())
    {
        let Target::Commit(oid) = &waiver.ask.target else {
            continue;
        };
        if !has_left(home, *oid)? || !was_used(store, waiver).await? {
            continue;
        }
        let (policy, _) = open::policy(&home.policy())?;
        let desk = Desk {
            store,
            signer,
            gate,
            key: &key,
            policy: &policy.waivers,
        };
        let order = Order::Revoke {
            waiver: waiver.id.clone(),
            by: "lychgate".to_owned(),
            reason: REASON.to_owned(),
        };
        let ordered = Ordered {
            id: process::fresh_id(now)?,
            order: &order,
            via: "settle",
            source: None,
            now,
        };
        waive::order(&desk, &ordered).await?;
        ended += 1;
    }
    Ok(ended)
}

/// Whether the repository has the object, and no ref leads to it.
fn has_left(home: &Home, oid: Oid) -> Result<bool, CommandError> {
    let oid = oid.to_string();
    let args = ["for-each-ref", "--count=1", "--format=%(refname)", "--contains", &oid];
    // git fails for a commit that was never let in: then nothing has left.
    Ok(git::ask(&home.git_dir, &args)?.is_some_and(|refs| refs.is_empty()))
}

/// Whether something entered under the waiver. Asked only about a commit that is on no ref, which is rare.
async fn was_used<S: Store>(store: &S, waiver: &Waiver) -> Result<bool, Outage> {
    for entry in store.entries(u32::MAX).await? {
        if entry.received_at < waiver.ask.created {
            continue;
        }
        let Some(record) = store.decision(&entry.push_id).await? else {
            continue;
        };
        let decision: Option<Decision> = serde_json::from_slice(&record.decision).ok();
        let used = |decision: Decision| {
            let all = decision.accepted.into_iter().flat_map(|accepted| accepted.waivers);
            all.into_iter().any(|waived| waived.id == waiver.id)
        };
        if decision.is_some_and(used) {
            return Ok(true);
        }
    }
    Ok(false)
}
