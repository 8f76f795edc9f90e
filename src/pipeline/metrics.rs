//! What the bot counts, as Prometheus text.
//!
//! In scope: a closed list of counters, and the two durations that have a goal.
//! Out of scope: labels that a forge or a developer chooses: none is ever written.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use super::trace::Traces;
use crate::port::Depth;
use crate::push::Timestamp;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What is counted. The order is that of `NAMES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "NAMES has the words")]
pub enum Count {
    Accepted,
    Duplicate,
    RefusedUnsigned,
    RefusedSignature,
    RefusedUnreadable,
    RefusedTooLarge,
    StoreDown,
    Success,
    Failure,
    NoVerdict,
    Unchanged,
    Postponed,
    LeaseLost,
    Shown,
    NotShown,
    Swept,
    BreakerOpen,
    CallFailed,
    CallRefused,
    Entered,
    PassedBy,
    Lapsed,
    Restored,
}

/// Name and help of each counter.
const NAMES: [(&str, &str); 23] = [
    ("deliveries_accepted_total", "Deliveries stored"),
    ("deliveries_duplicate_total", "Deliveries that were stored before"),
    ("deliveries_unsigned_total", "Deliveries without a signature"),
    (
        "deliveries_bad_signature_total",
        "Deliveries whose signature did not fit",
    ),
    (
        "deliveries_unreadable_total",
        "Signed deliveries that could not be read",
    ),
    ("deliveries_too_large_total", "Deliveries above the bound"),
    ("store_down_total", "Calls of the store that failed"),
    ("verdicts_success_total", "Heads that may enter"),
    ("verdicts_failure_total", "Heads that may not"),
    ("verdicts_none_total", "Evaluations that failed: no verdict"),
    (
        "verdicts_unchanged_total",
        "Deliveries about a head that has its verdict",
    ),
    ("work_postponed_total", "Work given back to be tried later"),
    ("leases_lost_total", "Work that another worker took over"),
    ("displays_shown_total", "Displays that a forge shows"),
    (
        "displays_overtaken_total",
        "Displays of a head that had moved: not written",
    ),
    ("changes_swept_total", "Changes that the sweep found without verdict"),
    ("breaker_opened_total", "Times that a forge was left alone for a while"),
    (
        "forge_failures_total",
        "Steps at a forge that failed for now: limits, outages, no answer",
    ),
    (
        "forge_refusals_total",
        "Steps that a forge refused: permissions, what is gone",
    ),
    ("revisions_entered_total", "Landed revisions that got their entry"),
    ("revisions_passed_by_total", "Landed revisions that the policy refuses"),
    ("protection_lapsed_total", "Refs whose protection at the forge lapsed"),
    (
        "protection_restored_total",
        "Refs whose protection at the forge was restored",
    ),
];

/// Upper bounds of the durations' buckets, in milliseconds.
const BUCKETS: [u64; 12] = [1, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 15_000, 60_000];

/// All counters of one process.
#[derive(Debug, Default)]
pub struct Metrics {
    counts: [AtomicU64; NAMES.len()],
    accept: Histogram,
    verdict: Histogram,
    forge: Histogram,
    /// Where spans go.
    pub traces: Traces,
    /// What keeps repositories from being judged as configured: a line each.
    faults: Mutex<Vec<String>>,
}

/// A cumulative histogram.
#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    milliseconds: AtomicU64,
}

impl Metrics {
    /// Counts one.
    pub fn count(&self, what: Count) {
        if let Some(counter) = self.counts.get(what as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// How often it was counted.
    pub fn read(&self, what: Count) -> u64 {
        self.counts
            .get(what as usize)
            .map_or(0, |counter| counter.load(Relaxed))
    }

    /// What keeps repositories from being judged as they are configured: repository and code, a line each.
    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the place of the faults that were known.
    pub fn set_faults(&self, faults: Vec<String>) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Notes how long a delivery took until it was durable.
    pub fn accepted_in(&self, time: Duration) {
        self.accept.note(time);
    }

    /// Notes how long an evaluation took.
    pub fn judged_in(&self, time: Duration) {
        self.verdict.note(time);
    }

    /// Notes how long a step at a forge took, waiting for its limits included.
    pub fn called_in(&self, time: Duration) {
        self.forge.note(time);
    }

    /// The exposition text.
    pub fn text(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let mut text = format!(
            "# HELP lychgate_build_info The program.\n# TYPE lychgate_build_info gauge\n\
             lychgate_build_info{{version=\"{version}\"}} 1\n"
        );
        for ((name, help), counter) in NAMES.iter().zip(&self.counts) {
            let value = counter.load(Relaxed);
            let _ = write!(
                text,
                "# HELP lychgate_{name} {help}.\n# TYPE lychgate_{name} counter\nlychgate_{name} {value}\n"
            );
        }
        let _ = write!(
            text,
            "# HELP lychgate_repository_faults Repositories that cannot be judged as configured: /readyz names them.\n\
             # TYPE lychgate_repository_faults gauge\nlychgate_repository_faults {}\n",
            self.faults().len()
        );
        self.accept
            .write(&mut text, "accept_seconds", "Time until a delivery is durable");
        self.verdict
            .write(&mut text, "verdict_seconds", "Time of an evaluation, fetch included");
        self.forge.write(
            &mut text,
            "forge_seconds",
            "Time of a step at a forge, waits for its limits included",
        );
        text
    }
}

/// The gauges of the queue.
pub fn depth_text(depth: &Depth, now: Timestamp) -> String {
    let waits = match depth.oldest {
        0 => 0,
        since => u64::try_from(now.unix() - since).unwrap_or(0),
    };
    let mut text = String::new();
    for (name, help, value) in [
        ("queue_deliveries", "Deliveries that wait or are worked on", depth.inbox),
        ("queue_displays", "Displays that wait or are being sent", depth.outbox),
        (
            "queue_dead_letters",
            "Work that was laid aside: lychgate queue list",
            depth.dead,
        ),
        (
            "queue_oldest_seconds",
            "How long the oldest waiting delivery has waited",
            waits,
        ),
    ] {
        let _ = write!(
            text,
            "# HELP lychgate_{name} {help}.\n# TYPE lychgate_{name} gauge\nlychgate_{name} {value}\n"
        );
    }
    text
}

impl Histogram {
    fn note(&self, time: Duration) {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let fitting = BUCKETS
            .iter()
            .zip(&self.buckets)
            .filter(|(bound, _)| milliseconds <= **bound);
        for (_, bucket) in fitting {
            bucket.fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.milliseconds.fetch_add(milliseconds, Relaxed);
    }

    fn write(&self, text: &mut String, name: &str, help: &str) {
        let (count, sum) = (self.count.load(Relaxed), self.milliseconds.load(Relaxed));
        let _ = write!(
            text,
            "# HELP lychgate_{name} {help}.\n# TYPE lychgate_{name} histogram\n"
        );
        for (bound, bucket) in BUCKETS.iter().zip(&self.buckets) {
            let bound = format!("{}.{:03}", bound / 1000, bound % 1000);
            let _ = writeln!(
                text,
                "lychgate_{name}_bucket{{le=\"{bound}\"}} {}",
                bucket.load(Relaxed)
            );
        }
        let _ = writeln!(text, "lychgate_{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "lychgate_{name}_sum {}.{:03}", sum / 1000, sum % 1000);
        let _ = writeln!(text, "lychgate_{name}_count {count}");
    }
}
