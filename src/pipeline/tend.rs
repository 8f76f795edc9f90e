//! What is done now and then, beside the work: the store's upkeep, and a look at the configuration.
//!
//! In scope: when. Out of scope: how a store keeps itself up (adapters), what is wrong with a repository's
//! configuration (the evaluator).

use super::lane::{Bot, Evaluator, RepositoryFault};
use crate::port::{Forge, Outage, Queue};
use std::time::Duration;
use tokio::sync::watch;

/// How often the store is tended.
const TENDING: Duration = Duration::from_secs(1);
/// Old deliveries that are forgotten at once, and how often in a row: as many as come at the most, in steps so
/// small that nobody waits for one.
const FORGOTTEN: (u32, u32) = (500, 4);
/// How often it is looked whether the configuration can be used, in turns of tending.
const LOOKED_AT: u32 = 15;

impl<Q: Queue + 'static, F: Forge + 'static, E: Evaluator> Bot<Q, F, E> {
    /// Tends the store, and looks whether the configuration can be used, until told to stop.
    pub async fn tend(&self, mut stop: watch::Receiver<bool>) {
        let mut turns = (0..LOOKED_AT).cycle();
        while !*stop.borrow() {
            if turns.next() == Some(0) {
                self.look_at_faults().await;
            }
            if let Err(outage) = self.tended().await {
                self.store_down(&outage);
            }
            tokio::select! {
                () = tokio::time::sleep(TENDING) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Tends the store once.
    ///
    /// # Errors
    /// The store's outage.
    pub async fn tended(&self) -> Result<(), Outage> {
        self.queue.tend().await?;
        let (most, times) = FORGOTTEN;
        for _ in 0..times {
            if self.queue.forget((self.clock)(), &self.kept, most).await? < u64::from(most) {
                break;
            }
        }
        Ok(())
    }

    /// Looks which repositories cannot be judged as they are configured, and says so where that is new.
    pub async fn look_at_faults(&self) {
        let faults = self.evaluator.faults().await;
        let known = self.metrics.faults();
        let name = |fault: &RepositoryFault| format!("{} {}", fault.repository, fault.outage.code);
        for fault in faults.iter().filter(|fault| !known.contains(&name(fault))) {
            let why = fault.outage.to_string();
            let next = fault.outage.next.clone();
            let place = ("repository", fault.repository.clone());
            self.log("repository-unusable", &[place, ("why", why), ("next", next)]);
        }
        self.metrics.set_faults(faults.iter().map(name).collect());
    }
}
