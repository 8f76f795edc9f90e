//! The log and the re-open events: the spine, which only grows.

use super::fault::Fault;
use super::row::{column, count, hash, integer};
use super::{ledger, work};
use crate::port::{Append, ReopenRecord, WaiverRecord};
use crate::push::Timestamp;
use crate::tlog::Head;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use std::fmt::Write;

/// Rows in one statement: 3 parameters each, of the 32,766 that SQLite takes.
const ROWS_AT_ONCE: usize = 1_000;

pub(super) async fn head(sql: &mut SqliteConnection) -> Result<Head, Fault> {
    let row = sqlx::query("SELECT size, root, checkpoint FROM log_head")
        .fetch_one(sql)
        .await?;
    Ok(Head {
        size: count(column(&row, 0)?)?,
        root: hash(column(&row, 1)?)?,
        checkpoint: column(&row, 2)?,
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

/// Appends, inside the caller's transaction.
///
/// # Errors
/// [`Fault::Lost`] if the head has moved or an entry is no longer pending, [`Fault::Refused`] if sizes do not add up.
pub(super) async fn append(sql: &mut SqliteConnection, expected_size: u64, append: &Append) -> Result<(), Fault> {
    move_head(sql, expected_size, append).await?;
    insert_leaves(sql, expected_size, &append.leaves).await?;
    insert_nodes(sql, &append.nodes).await?;
    for entry in &append.published {
        ledger::publish(sql, entry).await?;
    }
    if let Some(event) = &append.reopen {
        insert_reopen(sql, event).await?;
    }
    for record in &append.waivers {
        insert_waiver(sql, record).await?;
    }
    work::insert_tasks(sql, &append.tasks).await
}

/// Compares and swaps the head: the one place where two appends meet.
async fn move_head(sql: &mut SqliteConnection, expected_size: u64, append: &Append) -> Result<(), Fault> {
    let added = u64::try_from(append.leaves.len()).unwrap_or(u64::MAX);
    let present = head(sql).await?;
    if present.size != expected_size {
        return Err(Fault::Lost);
    }
    let Some(new) = &append.head else {
        return if append.leaves.is_empty() && append.nodes.is_empty() {
            Ok(())
        } else {
            Err(Fault::Refused("leaves without a new head".to_owned()))
        };
    };
    if expected_size.checked_add(added) != Some(new.size) {
        return Err(Fault::Refused(format!(
            "a head of size {} over {expected_size} + {added} leaves",
            new.size
        )));
    }
    sqlx::query("UPDATE log_head SET size = ?1, root = ?2, checkpoint = ?3")
        .bind(integer(new.size)?)
        .bind(new.root.as_slice())
        .bind(new.checkpoint.as_str())
        .execute(sql)
        .await?;
    Ok(())
}

async fn insert_leaves(sql: &mut SqliteConnection, first: u64, leaves: &[Vec<u8>]) -> Result<(), Fault> {
    let mut next = integer(first)?;
    for chunk in leaves.chunks(ROWS_AT_ONCE) {
        let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new("INSERT INTO log_leaf (idx, data) ");
        insert.push_values(chunk, |mut values, data| {
            values.push_bind(next).push_bind(data.as_slice());
            next += 1;
        });
        insert.build().execute(&mut *sql).await?;
    }
    Ok(())
}

async fn insert_nodes(sql: &mut SqliteConnection, nodes: &[(u8, u64, [u8; 32])]) -> Result<(), Fault> {
    for chunk in nodes.chunks(ROWS_AT_ONCE) {
        let rows: Vec<(i64, i64, &[u8])> = chunk
            .iter()
            .map(|(level, idx, hash)| Ok((i64::from(*level), integer(*idx)?, hash.as_slice())))
            .collect::<Result<_, Fault>>()?;
        let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new("INSERT INTO log_node (level, idx, hash) ");
        insert.push_values(rows, |mut values, (level, idx, hash)| {
            values.push_bind(level).push_bind(idx).push_bind(hash);
        });
        insert.build().execute(&mut *sql).await?;
    }
    Ok(())
}

async fn insert_reopen(sql: &mut SqliteConnection, event: &ReopenRecord) -> Result<(), Fault> {
    const EVENT: &str = "INSERT INTO reopen (event, action, reason, selector_kind, selector_value, effective_from, \
         log_index, envelope) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    sqlx::query(EVENT)
        .bind(event.event.as_str())
        .bind(event.action.as_str())
        .bind(event.reason.as_str())
        .bind(event.selector_kind.as_str())
        .bind(event.selector_value.as_str())
        .bind(event.effective_from.unix())
        .bind(integer(event.log_index)?)
        .bind(event.envelope.as_str())
        .execute(&mut *sql)
        .await?;
    let list = json(&event.entries)?;
    sqlx::query("INSERT INTO reopen_entry (event, position, entry) SELECT ?1, key, value FROM json_each(?2)")
        .bind(event.event.as_str())
        .bind(list)
        .execute(sql)
        .await?;
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

async fn insert_waiver(sql: &mut SqliteConnection, record: &WaiverRecord) -> Result<(), Fault> {
    const RECORD: &str = "INSERT INTO waiver (event, waiver, expires, source, log_index, envelope) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    sqlx::query(RECORD)
        .bind(record.event.as_str())
        .bind(record.waiver.as_str())
        .bind(record.expires.unix())
        .bind(record.source.as_deref())
        .bind(integer(record.log_index)?)
        .bind(record.envelope.as_str())
        .execute(sql)
        .await?;
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
