//! The pace of one identity at a forge: one mutation at a time, few in a row without a gap, closed while limited.
//!
//! In scope: an installation's or account's own budget, so that a limit of one
//! stops no other. Out of scope: what is called.

use super::fault::later;
use crate::port::ForgeError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

/// The pace of one identity.
pub(super) struct Lane {
    gap: Duration,
    /// How far mutations may run ahead of one each gap.
    ahead: Duration,
    closed_until: Mutex<Option<Instant>>,
    /// When the next mutation would be due if there were no running ahead.
    due: tokio::sync::Mutex<Option<Instant>>,
}

impl Lane {
    /// A lane with one mutation each `gap`, of which `burst` (at least 1) may come at once after a rest.
    pub(super) fn new(gap: Duration, burst: u32) -> Self {
        Self {
            gap,
            ahead: gap * burst.saturating_sub(1),
            closed_until: Mutex::default(),
            due: tokio::sync::Mutex::default(),
        }
    }

    /// Whether calls may be made now.
    ///
    /// # Errors
    /// [`ForgeError::Later`] with the remaining time, rounded up, while a limit holds.
    pub(super) fn open(&self, call: &str) -> Result<(), ForgeError> {
        let until = *self.closed_until.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(());
        }
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Err(later(seconds, format!("{call}: not asked, a rate limit holds")))
    }

    /// Closes the lane for a limit; never opens it earlier than an earlier limit said.
    pub(super) fn close_for(&self, time: Duration) {
        let mut until = self.closed_until.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Instant::now() + time;
        *until = Some(until.map_or(new, |old| old.max(new)));
    }

    /// Waits for the turn of a mutation; hold it until the call is done.
    pub(super) async fn turn(&self) -> MutexGuard<'_, Option<Instant>> {
        let mut due = self.due.lock().await;
        let mut now = Instant::now();
        if let Some(opens) = due
            .and_then(|due| due.checked_sub(self.ahead))
            .filter(|opens| *opens > now)
        {
            tokio::time::sleep_until(opens).await;
            now = Instant::now();
        }
        *due = Some(due.map_or(now, |due| due.max(now)) + self.gap);
        due
    }
}
