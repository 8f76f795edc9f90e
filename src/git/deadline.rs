//! The end of the time that one inspection may take.

use super::outage;
use crate::port::Outage;
use std::time::{Duration, Instant};

/// A moment on the monotonic clock.
pub(super) struct Deadline {
    end: Option<Instant>,
    seconds: u64,
}

impl Deadline {
    /// Ends after so many seconds from now; a number too large for the clock never ends.
    pub(super) fn after(seconds: u64) -> Self {
        Self {
            end: Instant::now().checked_add(Duration::from_secs(seconds)),
            seconds,
        }
    }

    /// Fails with `deadline-passed` once the moment has come.
    pub(super) fn check(&self) -> Result<(), Outage> {
        if self.end.is_none_or(|end| Instant::now() < end) {
            return Ok(());
        }
        Err(outage(
            "deadline-passed",
            "cannot finish the inspection of the push",
            format!("it took longer than {} s", self.seconds),
            "push fewer commits at once, or raise the policy's bound on seconds",
        ))
    }
}
