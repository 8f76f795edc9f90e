//! A forge's alert about a secret: what it says is in use suspends the entries that hold it.
//!
//! In scope: asking the forge how the alert stands, and what is shown. Out of scope: which entries hold it and the
//! event in the log (the evaluator); alerts about a secret that is not known to be valid, since the policy has judged
//! what they point at already.

use super::landed::tip;
use super::lane::{Again, Answer, Bot, Evaluator};
use crate::feedback::change::Frame;
use crate::feedback::landed as feedback;
use crate::forge::{Display, ForgeRepo};
use crate::port::{Forge, Queue};
use crate::push::{Oid, RefName};

/// Entries that were suspended for a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspended {
    /// The id of the ledger's event.
    pub event: String,
    /// How many.
    pub entries: usize,
    /// The refs whose newest entry is among them, each with its commit.
    pub tips: Vec<(RefName, Oid)>,
}

impl<Q: Queue + 'static, F: Forge + 'static, E: Evaluator> Bot<Q, F, E> {
    /// Looks at an alert, and suspends what holds a secret that is in use. Idempotent by state.
    pub(super) async fn alerted(&self, repo: &ForgeRepo, alert: u64) -> Result<Vec<Display>, Again> {
        let Some(repo) = &self.found(repo).await? else {
            return Ok(Vec::new());
        };
        let Some(stamp) = self.evaluator.stamp(repo)? else {
            return Ok(Vec::new());
        };
        if !self.evaluator.keeps(repo)? {
            return Ok(Vec::new());
        }
        let place = [("repository", repo.full_name.clone()), ("alert", alert.to_string())];
        let leak = match self.call(&repo.forge, |forge| forge.leak(repo, alert)).await? {
            Answer::Yes(leak) => leak.filter(|leak| leak.in_use).unwrap_or_default(),
            Answer::No(code, why) => {
                let why = ("why", format!("{code}: {why}"));
                self.log("alert-unknown", &[&place[..], &[why]].concat());
                return Ok(Vec::new());
            }
        };
        let mut displays = Vec::new();
        for blob in leak.blobs {
            let now = (self.clock)();
            let suspended = self.evaluator.leaked(repo, blob, alert, now).await;
            let Some(suspended) = suspended.map_err(Again::from)? else {
                continue;
            };
            let entries = ("entries", suspended.entries.to_string());
            self.log("secret-in-use", &[&place[..], &[entries]].concat());
            for (name, head) in &suspended.tips {
                let change = tip(repo, name, *head);
                let frame = Frame {
                    change: &change,
                    evaluation: "",
                    policy: &stamp.policy,
                    at: now,
                };
                let display = feedback::leaked(frame, alert, blob, &suspended.event, suspended.entries);
                displays.push(stamp.shown(display));
            }
        }
        Ok(displays)
    }
}
