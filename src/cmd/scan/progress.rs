//! How far a scan is: a line on a terminal with rate and estimate, nothing elsewhere.

use super::super::output::Output;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts what is done, from all threads.
pub(super) struct Progress {
    unit: &'static str,
    /// 0 where nobody knows.
    total: u64,
    done: AtomicU64,
    bytes: AtomicU64,
    since: Instant,
}

impl Progress {
    pub(super) fn new(unit: &'static str, total: u64) -> Self {
        Self {
            unit,
            total,
            done: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            since: Instant::now(),
        }
    }

    /// One more is done, of so many bytes.
    pub(super) fn add(&self, bytes: u64) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Shows the line until it is finished, on a terminal; returns at once elsewhere.
    pub(super) fn watch(&self, out: &mut Output, finished: impl Fn() -> bool) {
        while out.interactive && !finished() {
            out.progress(&self.line(self.since.elapsed()));
            std::thread::sleep(Duration::from_millis(100));
        }
        out.progress("");
    }

    fn line(&self, elapsed: Duration) -> String {
        let (done, bytes) = (self.done.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let seconds = elapsed.as_secs_f64().max(0.001);
        let rate = bytes as f64 / 1e6 / seconds;
        if self.total == 0 {
            return format!("scanning: {done} {}, {rate:.0} MB/s", self.unit);
        }
        let left = seconds / done.max(1) as f64 * self.total.saturating_sub(done) as f64;
        format!(
            "scanning: {done} of {} {}, {rate:.0} MB/s, about {left:.0} s left",
            self.total, self.unit
        )
    }
}

#[cfg(test)]
mod tests {
    //! The line itself; that it appears on terminals only is the integration tests' part.

    use super::*;

    #[test]
    fn the_line_has_rate_and_estimate() {
        let progress = Progress::new("files", 10);
        progress.add(30_000_000);
        assert_eq!(
            progress.line(Duration::from_secs(2)),
            "scanning: 1 of 10 files, 15 MB/s, about 18 s left"
        );
        assert_eq!(
            Progress::new("objects", 0).line(Duration::from_secs(1)),
            "scanning: 0 objects, 0 MB/s"
        );
    }
}
