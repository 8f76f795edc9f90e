//! Deliveries on their way to the disk: what waits together is written together.
//!
//! One task writes. While one batch becomes durable the next one gathers, so that
//! the disk's own pace sets the size of a batch, and nobody waits for company.

use crate::port::{Delivery, Outage, Queue};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Most deliveries of one transaction: a few milliseconds of work beside the disk's.
const MOST: usize = 256;

/// One delivery that waits, and who waits for it.
struct Waiting {
    delivery: Delivery,
    answer: oneshot::Sender<Result<bool, Outage>>,
}

/// The way to the writer.
pub(super) struct Inbox(mpsc::Sender<Waiting>);

impl Inbox {
    /// Starts the writer; it ends with this value, once all that waits is written.
    pub(super) fn new<Q: Queue + 'static>(queue: Arc<Q>) -> Self {
        let (send, receive) = mpsc::channel(MOST);
        tokio::spawn(write(queue, receive));
        Self(send)
    }

    /// Stores a delivery; durable when this returns. `false`: it was there.
    ///
    /// # Errors
    /// The store's outage.
    pub(super) async fn put(&self, delivery: Delivery) -> Result<bool, Outage> {
        let (answer, answered) = oneshot::channel();
        // Both fail only if the writer's task has panicked.
        let sent = self.0.send(Waiting { delivery, answer }).await;
        sent.map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

fn ended() -> Outage {
    Outage {
        code: "inbox-ended",
        what: "could not store deliveries".to_owned(),
        why: "the task that writes them has ended".to_owned(),
        next: "restart the service, and report this with the log".to_owned(),
    }
}

async fn write<Q: Queue>(queue: Arc<Q>, mut receive: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::with_capacity(MOST);
    while receive.recv_many(&mut batch, MOST).await > 0 {
        let (deliveries, answers): (Vec<_>, Vec<_>) = batch.drain(..).map(|one| (one.delivery, one.answer)).unzip();
        let stored = queue.accept_all(&deliveries).await;
        for (position, answer) in answers.into_iter().enumerate() {
            let one = match &stored {
                Ok(all) => all.get(position).copied().ok_or_else(ended),
                Err(outage) => Err(outage.clone()),
            };
            // Whoever has gone meanwhile will deliver again, and be told that it was there.
            let _ = answer.send(one);
        }
    }
}
