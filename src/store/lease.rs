//! What the queue's two stores share: its numbers, and rows of leases read back from either.

use super::fault::Fault;
use super::log::json;
use crate::forge::Display;
use crate::port::{DeadLetter, Delivery, Depth, Leased, LetterBox};
use crate::push::Timestamp;
use sqlx::{ColumnIndex, Database, Decode, Row, Type};
use std::collections::HashSet;

/// Leases after which a row goes to the dead letters: with the workers' backoff, about six hours of failures.
pub(super) const MAX_ATTEMPTS: i64 = 40;
/// Most bytes of a reason.
const MAX_WHY: usize = 500;

/// A row of any database, whose columns are numbers and texts.
pub(super) trait Columns {
    fn number(&self, index: usize) -> Result<i64, Fault>;
    fn text(&self, index: usize) -> Result<String, Fault>;
}

impl<R: Row> Columns for R
where
    usize: ColumnIndex<R>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    R::Database: Database,
{
    fn number(&self, index: usize) -> Result<i64, Fault> {
        Ok(self.try_get(index)?)
    }

    fn text(&self, index: usize) -> Result<String, Fault> {
        Ok(self.try_get(index)?)
    }
}

/// Reads `row, fence, attempts, forge, delivery, received_at, event`.
pub(super) fn leased_delivery(row: &impl Columns) -> Result<Leased<Delivery>, Fault> {
    leased(
        row,
        Delivery {
            forge: row.text(3)?,
            delivery: row.text(4)?,
            received_at: Timestamp::from_unix(row.number(5)?),
            event: parsed(&row.text(6)?)?,
        },
    )
}

/// Reads `row, fence, attempts, display`.
pub(super) fn leased_display(row: &impl Columns) -> Result<Leased<Display>, Fault> {
    leased(row, parsed(&row.text(3)?)?)
}

fn leased<T>(row: &impl Columns, work: T) -> Result<Leased<T>, Fault> {
    Ok(Leased {
        row: row.number(0)?,
        fence: row.number(1)?,
        // Tries before this lease.
        attempts: u32::try_from(row.number(2)? - 1).unwrap_or(0),
        work,
    })
}

/// Reads `box, row, lane, attempts, why, content`.
pub(super) fn dead_letter(row: &impl Columns) -> Result<DeadLetter, Fault> {
    Ok(DeadLetter {
        letter_box: match row.text(0)?.as_str() {
            "inbox" => LetterBox::Inbox,
            _ => LetterBox::Outbox,
        },
        row: row.number(1)?,
        lane: row.text(2)?,
        attempts: u32::try_from(row.number(3)?).unwrap_or(u32::MAX),
        why: row.text(4)?,
        content: row.text(5)?,
    })
}

/// Reads the counts of inbox, outbox and dead letters, and when the oldest delivery came.
pub(super) fn depth(row: &impl Columns) -> Result<Depth, Fault> {
    let count = |index| row.number(index).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(Depth {
        inbox: count(0)?,
        outbox: count(1)?,
        dead: count(2)?,
        oldest: row.number(3)?,
    })
}

/// A delivery's columns.
pub(super) struct Arrival {
    pub(super) forge: String,
    pub(super) delivery: String,
    pub(super) lane: String,
    pub(super) received_at: i64,
    pub(super) event: String,
    pub(super) covers: bool,
    /// What asks for nothing is done when it comes, and kept to know its copies.
    pub(super) state: &'static str,
}

pub(super) fn arrival(delivery: &Delivery) -> Result<Arrival, Fault> {
    Ok(Arrival {
        forge: delivery.forge.clone(),
        delivery: delivery.delivery.clone(),
        lane: delivery.event.lane(&delivery.forge),
        received_at: delivery.received_at.unix(),
        event: json(&delivery.event)?,
        covers: delivery.event.covers_its_lane(),
        state: if delivery.event.asks_for_nothing() {
            "done"
        } else {
            "waiting"
        },
    })
}

/// Which deliveries are new, by the (forge, delivery id) of the rows that were stored. Of copies in one batch, the
/// first is.
pub(super) fn new_ones(deliveries: &[Delivery], stored: &[impl Columns]) -> Result<Vec<bool>, Fault> {
    let mut stored: HashSet<(String, String)> = stored
        .iter()
        .map(|row| Ok((row.text(0)?, row.text(1)?)))
        .collect::<Result<_, Fault>>()?;
    let each = deliveries.iter();
    Ok(each
        .map(|delivery| stored.remove(&(delivery.forge.clone(), delivery.delivery.clone())))
        .collect())
}

pub(super) fn parsed<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::Corrupt(format!("a row of the queue: {error}")))
}

pub(super) fn bounded(why: &str) -> &str {
    &why[..why.floor_char_boundary(MAX_WHY)]
}
