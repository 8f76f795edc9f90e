//! Repair: what no webhook told us, found by asking.
//!
//! In scope: asking a forge to deliver again what it failed to deliver, and
//! finding open changes whose newest head has no verdict. Out of scope: judging
//! them: the sweep only puts deliveries of our own into the inbox, under ids that
//! any replica makes alike, so that many sweeps have one effect.

use super::lane::{Again, Answer, Bot, Evaluator, MOST_CHANGES, Stamp};
use super::metrics::Count;
use super::verdict::{is_verdict_at, is_verdict_on};
use crate::forge::{ForgeEvent, ForgeRepo};
use crate::port::{Forge, OpenChange, Outage, Queue};
use crate::push::Timestamp;
use std::time::Duration;
use tokio::sync::watch;

/// Seconds by which a redelivery looks back further than the last one that succeeded.
const OVERLAP: i64 = 600;
/// Seconds in which a head without verdict is put into the inbox once.
const ONCE_IN: i64 = 3600;

impl<Q: Queue + 'static, F: Forge + 'static, E: Evaluator> Bot<Q, F, E> {
    /// Sweeps all forges, at once and then again and again, until told to stop.
    ///
    /// * `every`: the pause between two sweeps; at most 240 s mends a missed webhook within 5 minutes.
    pub async fn sweeps(&self, every: Duration, mut stop: watch::Receiver<bool>) {
        let mut since = Timestamp::from_unix((self.clock)().unix() - ONCE_IN);
        while !*stop.borrow() {
            let begun = (self.clock)();
            if self.sweep(since).await {
                since = Timestamp::from_unix(begun.unix() - OVERLAP);
            }
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Sweeps all forges once; `false` if some forge or the store could not be asked.
    pub async fn sweep(&self, since: Timestamp) -> bool {
        let mut whole = true;
        for name in self.forges.keys() {
            let swept = async {
                self.call(name, |forge| forge.redeliver(since)).await?;
                self.sweep_some(name, None).await
            };
            if let Err(again) = swept.await {
                self.log("sweep-failed", &[("forge", name.clone()), ("why", again.why)]);
                whole = false;
            }
        }
        whole
    }

    /// Sweeps one repository, or all of a forge.
    pub(super) async fn sweep_some(&self, forge: &str, repo: Option<&ForgeRepo>) -> Result<(), Again> {
        let repos = match repo {
            Some(repo) => vec![repo.clone()],
            None => match self.call(forge, |forge| forge.repositories()).await? {
                Answer::Yes(repos) => repos,
                Answer::No(code, why) => {
                    let why = format!("{code}: {why}");
                    return Err(Again { after: None, why });
                }
            },
        };
        let mut failed = None;
        for repo in repos {
            // One repository that cannot be asked must not hide the others.
            if let Err(again) = self.sweep_repository(&repo).await {
                failed = Some(again);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn sweep_repository(&self, repo: &ForgeRepo) -> Result<(), Again> {
        let stamp: Result<_, Outage> = self.evaluator.stamp(repo);
        let Some(stamp) = stamp? else { return Ok(()) };
        // A gate that cannot be used must not hide what is proposed.
        let landed = self.look_after(repo, false).await;
        self.sweep_changes(repo, &stamp).await?;
        landed.map(drop)
    }

    async fn sweep_changes(&self, repo: &ForgeRepo, stamp: &Stamp) -> Result<(), Again> {
        let open = self.call(&repo.forge, |forge| forge.open_heads(repo)).await?;
        let Answer::Yes(open) = open else { return Ok(()) };
        for OpenChange { number, at } in open.into_iter().take(MOST_CHANGES) {
            let latest = self.queue.latest_display(repo, number).await?;
            if let Some(((head, base), latest)) = at.as_ref().zip(latest.as_ref())
                && is_verdict_at(latest, *head, base, stamp)
            {
                continue;
            }
            let change = self.call(&repo.forge, |forge| forge.change(repo, number)).await?;
            let Answer::Yes(change) = change else { continue };
            if !change.open || latest.is_some_and(|display| is_verdict_on(&display, &change, stamp)) {
                continue;
            }
            let hour = (self.clock)().unix() / ONCE_IN;
            let id = format!("sweep/{}/{number}/{}/{}/{hour}", repo.id, change.head_oid, stamp.all);
            let touched = ForgeEvent::ChangeTouched {
                repo: repo.clone(),
                number,
            };
            if self.put(repo.forge.clone(), id, touched).await? {
                self.metrics.count(Count::Swept);
            }
        }
        Ok(())
    }
}
