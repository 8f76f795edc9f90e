//! What somebody orders, turned into records, against the waivers that there are.

use super::rules::{self, Refusal};
use super::{Act, Ask, Standing, Waiver};
use crate::config::WaiverPolicy;
use crate::push::Timestamp;

/// What somebody orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ask for these, and approve them at once where an approver is named.
    Ask {
        /// One for each finding.
        asks: Vec<Ask>,
        /// Who approves at once.
        approver: Option<String>,
    },
    /// Approve one that was asked for.
    Approve {
        /// Its id.
        waiver: String,
        /// Who approves.
        by: String,
    },
    /// End one.
    Revoke {
        /// Its id.
        waiver: String,
        /// Who ends it.
        by: String,
        /// Why.
        reason: String,
    },
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It is recorded: the waivers that it was about, as they are now.
    Recorded(Vec<Waiver>),
    /// It was recorded before, or all of it was so already.
    Already(Vec<Waiver>),
    /// It is not allowed; nothing was recorded.
    Refused(Refusal),
}

impl Order {
    /// What people wrote in it, and what will be published.
    pub fn reasons(&self) -> Vec<&str> {
        match self {
            Self::Ask { asks, .. } => asks.iter().map(|ask| ask.reason.as_str()).collect(),
            Self::Approve { .. } => Vec::new(),
            Self::Revoke { reason, .. } => vec![reason],
        }
    }
}

/// One record to make, its ids and digests still to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The waiver that it belongs to; `None`: the one that the request before it begins.
    pub waiver: Option<String>,
    /// What it does. An approval of a request of the same plan has an empty digest.
    pub act: Act,
}

/// The records that an order leads to.
///
/// * `existing`: the waivers of the repository that are not over long ago.
///
/// What was asked for and still waits is not asked for again: an approver's order then approves that, and an
/// order without an approver leads to nothing.
///
/// # Errors
/// Why not; then nothing of the order is done.
pub fn plan(policy: &WaiverPolicy, existing: &[Waiver], order: &Order, now: Timestamp) -> Result<Vec<Step>, Refusal> {
    match order {
        Order::Ask { asks, approver } => {
            let steps = asks
                .iter()
                .map(|ask| asked(policy, existing, ask, approver.as_deref(), now));
            Ok(steps.collect::<Result<Vec<_>, _>>()?.concat())
        }
        Order::Approve { waiver, by } => {
            let waiver = find(existing, waiver)?;
            Ok(vec![approve(policy, waiver, by, now)?])
        }
        Order::Revoke { waiver, by, reason } => {
            let waiver = find(existing, waiver)?;
            alive(waiver, policy, now)?;
            let act = Act::Revoke {
                by: by.clone(),
                reason: reason.clone(),
            };
            Ok(vec![Step {
                waiver: Some(waiver.id.clone()),
                act,
            }])
        }
    }
}

fn asked(
    policy: &WaiverPolicy,
    existing: &[Waiver],
    ask: &Ask,
    approver: Option<&str>,
    now: Timestamp,
) -> Result<Vec<Step>, Refusal> {
    rules::may_ask(policy, ask)?;
    let same = |waiver: &&Waiver| {
        let known = &waiver.ask;
        let waits = matches!(waiver.standing(policy, now), Standing::Asked(_) | Standing::Active);
        waits
            && (&known.repository, &known.code, &known.target, known.break_glass)
                == (&ask.repository, &ask.code, &ask.target, ask.break_glass)
    };
    let known = existing.iter().find(same);
    match (known, approver) {
        (Some(_), None) => Ok(Vec::new()),
        (Some(known), Some(_)) if known.standing(policy, now) == Standing::Active => Ok(Vec::new()),
        (Some(known), Some(by)) => Ok(vec![approve(policy, known, by, now)?]),
        (None, by) => {
            let request = Step {
                waiver: None,
                act: Act::Request(Box::new(ask.clone())),
            };
            let Some(by) = by else { return Ok(vec![request]) };
            rules::may_approve(policy, ask, &[], by)?;
            let act = Act::Approve {
                by: by.to_owned(),
                request: String::new(),
            };
            Ok(vec![request, Step { waiver: None, act }])
        }
    }
}

fn approve(policy: &WaiverPolicy, waiver: &Waiver, by: &str, now: Timestamp) -> Result<Step, Refusal> {
    alive(waiver, policy, now)?;
    rules::may_ask(policy, &waiver.ask)?;
    let earlier: Vec<&str> = waiver.approvals.iter().map(|approval| approval.by.as_str()).collect();
    rules::may_approve(policy, &waiver.ask, &earlier, by)?;
    let act = Act::Approve {
        by: by.to_owned(),
        request: waiver.records.first().cloned().unwrap_or_default(),
    };
    Ok(Step {
        waiver: Some(waiver.id.clone()),
        act,
    })
}

/// A waiver by its id.
fn find<'a>(existing: &'a [Waiver], id: &str) -> Result<&'a Waiver, Refusal> {
    existing.iter().find(|waiver| waiver.id == id).ok_or(Refusal::Unknown)
}

fn alive(waiver: &Waiver, policy: &WaiverPolicy, now: Timestamp) -> Result<(), Refusal> {
    match waiver.standing(policy, now) {
        over @ (Standing::Expired | Standing::Revoked) => Err(Refusal::Over(waiver.id.clone(), over.word())),
        _ => Ok(()),
    }
}
