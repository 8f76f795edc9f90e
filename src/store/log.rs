//! The log and the re-open events: the spine, which only grows.

use super::batch::Batch;
use super::fault::Fault;
use super::row::{column, count, hash, integer};
use super::{ledger, work};
use crate::port::{Append, PublishedEntry, ReopenRecord, Tip, WaiverRecord};
use crate::push::Timestamp;
use crate::tlog::Head;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use std::fmt::Write;

/// Rows in one statement: 3 parameters each, of the 32,766 that SQLite takes.
const ROWS_AT_ONCE: usize = 1_000;

pub(super) async fn head(sql: &mut SqliteConnection) -> Result<Head, Fault> {
    read_head(
        &sqlx::query("SELECT size, root, checkpoint FROM log_head")
            .fetch_one(sql)
            .await?,
    )
}

fn read_head(row: &SqliteRow) -> Result<Head, Fault> {
    Ok(Head {
        size: count(column(row, 0)?)?,
        root: hash(column(row, 1)?)?,
        checkpoint: column(row, 2)?,
    })
}

/// Head, next status index and right edge, by one statement, so that they fit together.
///
/// A bit of the size stands for a complete subtree of the edge; its place in its level is one less than what the
/// bits from there on say.
pub(super) async fn tip(sql: &mut SqliteConnection) -> Result<Tip, Fault> {
    const TIP: &str = concat!(
        "WITH RECURSIVE bit (level) AS (VALUES (62) UNION ALL SELECT level - 1 FROM bit WHERE level > 0) ",
        "SELECT h.size, h.root, h.checkpoint, (",
        ledger::select_next_status_index!(),
        "), b.level, n.hash FROM log_head h LEFT JOIN bit b ON (h.size >> b.level) & 1 ",
        "LEFT JOIN log_node n ON n.level = b.level AND n.idx = (h.size >> b.level) - 1 ORDER BY b.level DESC"
    );
    let rows = sqlx::query(TIP).fetch_all(sql).await?;
    let first = rows
        .first()
        .ok_or_else(|| Fault::Corrupt("the log has no head".to_owned()))?;
    let (head, next_status_index) = (read_head(first)?, count(column(first, 3)?)?);
    let mut edge = Vec::with_capacity(rows.len());
    for row in &rows {
        match (column::<Option<i64>>(row, 4)?, column::<Option<&[u8]>>(row, 5)?) {
            (None, _) => {}
            (Some(_), Some(found)) => edge.push(hash(found)?),
            (Some(level), None) => {
                let lacks = format!("the log lacks its hash at level {level} of its right edge");
                return Err(Fault::Corrupt(lacks));
            }
        }
    }
    Ok(Tip {
        head,
        edge,
        next_status_index,
    })
}

pub(super) async fn nodes(sql: &mut SqliteConnection, wanted: &[(u8, u64)]) -> Result<Vec<[u8; 32]>, Fault> {
    const NODES: &str = "SELECT n.hash FROM json_each(?1) w \
         LEFT JOIN log_node n ON n.level = w.value ->> 0 AND n.idx = w.value ->> 1 ORDER BY w.key";
    let mut list = String::from("[");
    for (position, (level, idx)) in wanted.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(list, "{comma}[{level},{}]", integer(*idx)?);
    }
    list.push(']');
    let rows = sqlx::query(NODES).bind(list).fetch_all(sql).await?;
    let hashes = rows.iter().zip(wanted).map(|(row, (level, idx))| {
        let found: Option<&[u8]> = column(row, 0)?;
        found.map_or_else(
            || {
                Err(Fault::Corrupt(format!(
                    "the log lacks its hash at level {level}, index {idx}"
                )))
            },
            hash,
        )
    });
    hashes.collect()
}

pub(super) async fn leaf(sql: &mut SqliteConnection, index: u64) -> Result<Option<Vec<u8>>, Fault> {
    // No column holds a larger index, so no leaf has one.
    let Ok(index) = i64::try_from(index) else {
        return Ok(None);
    };
    let found = sqlx::query("SELECT data FROM log_leaf WHERE idx = ?1")
        .bind(index)
        .fetch_optional(sql)
        .await?;
    found.map(|row| column(&row, 0)).transpose()
}

/// The statements of an append.
///
/// The first of them fails when the head has moved or an entry to publish is not pending: see [`is_lost`].
///
/// # Errors
/// [`Fault::Refused`] if sizes do not add up.
pub(super) fn append(expected_size: u64, append: &Append) -> Result<Batch, Fault> {
    let mut batch = Batch::new();
    move_head(&mut batch, expected_size, append)?;
    insert_leaves(&mut batch, expected_size, &append.leaves)?;
    insert_nodes(&mut batch, &append.nodes)?;
    for entry in &append.published {
        ledger::publish(&mut batch, entry)?;
    }
    if let Some(event) = &append.reopen {
        insert_reopen(&mut batch, event)?;
    }
    for record in &append.waivers {
        insert_waiver(&mut batch, record)?;
    }
    work::insert_tasks(&mut batch, &append.tasks)?;
    Ok(batch)
}

/// Whether an append that failed came too late: the head has moved, or an entry is no longer pending.
pub(super) async fn is_lost(sql: &mut SqliteConnection, expected_size: u64, append: &Append) -> Result<bool, Fault> {
    let mut question: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT ");
    still_fits(&mut question, expected_size, &append.published)?;
    let row = question.push(" FROM log_head").build().fetch_one(sql).await?;
    Ok(column::<i64>(&row, 0)? == 0)
}

/// A condition on `log_head`: it has this size, and these entries are pending, each named once.
fn still_fits(query: &mut QueryBuilder<Sqlite>, size: u64, published: &[PublishedEntry]) -> Result<(), Fault> {
    let ids: Vec<&str> = published.iter().map(|entry| entry.id.as_str()).collect();
    query.push("(size = ").push_bind(integer(size)?);
    query.push(" AND (SELECT count(*) FROM entry WHERE state = 'pending' AND id IN (SELECT value FROM json_each(");
    query.push_bind(json(&ids)?).push("))) = ");
    query.push_bind(integer(ids.len() as u64)?).push(")");
    Ok(())
}

/// Compares and swaps the head: the one place where two appends meet. No size may be negative, so a head that does
/// not fit fails the transaction.
fn move_head(batch: &mut Batch, expected_size: u64, append: &Append) -> Result<(), Fault> {
    let added = u64::try_from(append.leaves.len()).unwrap_or(u64::MAX);
    let size = match &append.head {
        None if append.leaves.is_empty() && append.nodes.is_empty() => expected_size,
        None => return Err(Fault::Refused("leaves without a new head".to_owned())),
        Some(new) if expected_size.checked_add(added) == Some(new.size) => new.size,
        Some(new) => {
            let sizes = format!("a head of size {} over {expected_size} + {added} leaves", new.size);
            return Err(Fault::Refused(sizes));
        }
    };
    let update = batch.statement("UPDATE log_head SET size = CASE WHEN ");
    still_fits(update, expected_size, &append.published)?;
    update.push(" THEN ").push_bind(integer(size)?).push(" ELSE -1 END");
    if let Some(new) = &append.head {
        update.push(", root = ").push_bind(new.root.as_slice());
        update.push(", checkpoint = ").push_bind(new.checkpoint.as_str());
    }
    Ok(())
}

fn insert_leaves(batch: &mut Batch, first: u64, leaves: &[Vec<u8>]) -> Result<(), Fault> {
    let mut next = integer(first)?;
    for chunk in leaves.chunks(ROWS_AT_ONCE) {
        let insert = batch.statement("INSERT INTO log_leaf (idx, data) ");
        insert.push_values(chunk, |mut values, data| {
            values.push_bind(next).push_bind(data.as_slice());
            next += 1;
        });
    }
    Ok(())
}

fn insert_nodes(batch: &mut Batch, nodes: &[(u8, u64, [u8; 32])]) -> Result<(), Fault> {
    for chunk in nodes.chunks(ROWS_AT_ONCE) {
        let rows: Vec<(i64, i64, &[u8])> = chunk
            .iter()
            .map(|(level, idx, hash)| Ok((i64::from(*level), integer(*idx)?, hash.as_slice())))
            .collect::<Result<_, Fault>>()?;
        let insert = batch.statement("INSERT INTO log_node (level, idx, hash) ");
        insert.push_values(rows, |mut values, (level, idx, hash)| {
            values.push_bind(level).push_bind(idx).push_bind(hash);
        });
    }
    Ok(())
}

fn insert_reopen(batch: &mut Batch, event: &ReopenRecord) -> Result<(), Fault> {
    const EVENT: &str = "INSERT INTO reopen (event, action, reason, selector_kind, selector_value, effective_from, \
         log_index, envelope) VALUES (";
    let mut row = batch.statement(EVENT).separated(", ");
    row.push_bind(event.event.as_str())
        .push_bind(event.action.as_str())
        .push_bind(event.reason.as_str())
        .push_bind(event.selector_kind.as_str())
        .push_bind(event.selector_value.as_str())
        .push_bind(event.effective_from.unix())
        .push_bind(integer(event.log_index)?)
        .push_bind(event.envelope.as_str())
        .push_unseparated(")");
    let entries = batch.statement("INSERT INTO reopen_entry (event, position, entry) SELECT ");
    entries
        .push_bind(event.event.as_str())
        .push(", key, value FROM json_each(");
    entries.push_bind(json(&event.entries)?).push(")");
    Ok(())
}

pub(super) async fn reopens(sql: &mut SqliteConnection) -> Result<Vec<ReopenRecord>, Fault> {
    const EVENTS: &str = "SELECT event, action, reason, selector_kind, selector_value, effective_from, log_index, \
         envelope, (SELECT json_group_array(e.entry ORDER BY e.position) FROM reopen_entry e WHERE e.event = r.event) \
         FROM reopen r ORDER BY log_index";
    let rows = sqlx::query(EVENTS).fetch_all(sql).await?;
    rows.iter().map(reopen).collect()
}

fn reopen(row: &SqliteRow) -> Result<ReopenRecord, Fault> {
    let entries: &str = column(row, 8)?;
    Ok(ReopenRecord {
        event: column(row, 0)?,
        action: column(row, 1)?,
        reason: column(row, 2)?,
        selector_kind: column(row, 3)?,
        selector_value: column(row, 4)?,
        effective_from: Timestamp::from_unix(column(row, 5)?),
        log_index: count(column(row, 6)?)?,
        envelope: column(row, 7)?,
        entries: serde_json::from_str(entries)
            .map_err(|error| Fault::Corrupt(format!("a re-open event's entries: {error}")))?,
    })
}

fn insert_waiver(batch: &mut Batch, record: &WaiverRecord) -> Result<(), Fault> {
    const RECORD: &str = "INSERT INTO waiver (event, waiver, expires, source, log_index, envelope) VALUES (";
    let mut row = batch.statement(RECORD).separated(", ");
    row.push_bind(record.event.as_str())
        .push_bind(record.waiver.as_str())
        .push_bind(record.expires.unix())
        .push_bind(record.source.as_deref())
        .push_bind(integer(record.log_index)?)
        .push_bind(record.envelope.as_str())
        .push_unseparated(")");
    Ok(())
}

pub(super) async fn waivers(sql: &mut SqliteConnection, end_after: Timestamp) -> Result<Vec<WaiverRecord>, Fault> {
    const RECORDS: &str = "SELECT event, waiver, expires, source, log_index, envelope FROM waiver \
         WHERE expires > ?1 ORDER BY log_index";
    let rows = sqlx::query(RECORDS).bind(end_after.unix()).fetch_all(sql).await?;
    let record = |row: &SqliteRow| {
        Ok(WaiverRecord {
            event: column(row, 0)?,
            waiver: column(row, 1)?,
            expires: Timestamp::from_unix(column(row, 2)?),
            source: column(row, 3)?,
            log_index: count(column(row, 4)?)?,
            envelope: column(row, 5)?,
        })
    };
    rows.iter().map(record).collect()
}

/// Writes a value of ours as JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::Refused(error.to_string()))
}
