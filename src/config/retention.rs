//! How long the bot keeps deliveries that are done.

use crate::push::Timestamp;

/// Seconds for which a forge delivers again what it is asked for: GitHub three days, the others for less or never.
/// <https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks>
pub const REDELIVERED: i64 = 3 * 24 * 3600;

/// How long done deliveries are kept, so that a copy of one is known. None goes before [`REDELIVERED`] has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Seconds after which a done delivery goes.
    pub seconds: i64,
    /// Deliveries after whose number the oldest done ones go earlier.
    pub deliveries: i64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            seconds: 7 * 24 * 3600,
            deliveries: 2_000_000,
        }
    }
}

impl Retention {
    /// Before when a done delivery must have come to go now.
    ///
    /// * `surplus`: when the newest one came of those that are too many, seconds since 1970.
    pub fn before(&self, now: Timestamp, surplus: Option<i64>) -> i64 {
        let (aged, kept) = (now.unix() - self.seconds, now.unix() - REDELIVERED);
        surplus.map_or(aged, |surplus| aged.max(surplus)).min(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_and_number_end_it_and_neither_before_a_forge_stops_to_deliver_again() {
        let (now, day) = (Timestamp::from_unix(1_800_000_000), 24 * 3600);
        let kept = Retention::default();
        let ago = |before: i64| now.unix() - before;
        assert_eq!(ago(kept.before(now, None)), 7 * day);
        let surplus = |age: i64| Some(now.unix() - age);
        assert_eq!(ago(kept.before(now, surplus(5 * day))), 5 * day, "too many: earlier");
        assert_eq!(ago(kept.before(now, surplus(9 * day))), 7 * day, "by age anyway");
        assert_eq!(ago(kept.before(now, surplus(60))), REDELIVERED, "never that early");
    }
}
