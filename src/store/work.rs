//! What may be lost without loss of evidence: verdict cache, second opinions, tasks.

use super::batch::Batch;
use super::fault::Fault;
use super::log::json;
use super::row::column;
use crate::port::Task;
use crate::push::Oid;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

/// Notes commits as scanned clean.
pub(super) fn insert_scanned(batch: &mut Batch, commits: &[Oid], rule_set: &str) {
    if commits.is_empty() {
        return;
    }
    let mut sorted = commits.to_vec();
    // In the table's order, each page is written once.
    sorted.sort_unstable();
    let set = batch.statement("INSERT INTO rule_set (digest) VALUES (");
    set.push_bind(rule_set).push(") ON CONFLICT DO NOTHING");
    let list =
        batch.statement("INSERT INTO scanned_commit (rule_set, oid) SELECT r.id, unhex(c.value) FROM json_each(");
    list.push_bind(hex_list(&sorted))
        .push(") c, rule_set r WHERE r.digest = ");
    list.push_bind(rule_set).push(" ON CONFLICT DO NOTHING");
}

/// Which of the commits are noted, in the order given. One row comes back, whatever the number.
pub(super) async fn scanned(sql: &mut SqliteConnection, commits: &[Oid], rule_set: &str) -> Result<Vec<Oid>, Fault> {
    // CROSS JOIN keeps the order of the tables: a look-up for each id, never a search of the list for each row.
    const WHICH: &str = "SELECT json_group_array(c.key) FROM json_each(?2) c \
         CROSS JOIN scanned_commit s ON s.oid = unhex(c.value) \
         WHERE s.rule_set = (SELECT id FROM rule_set WHERE digest = ?1)";
    if commits.is_empty() {
        return Ok(Vec::new());
    }
    let row = sqlx::query(WHICH)
        .bind(rule_set)
        .bind(hex_list(commits))
        .fetch_one(sql)
        .await?;
    let mut found: Vec<usize> = serde_json::from_str(column(&row, 0)?)
        .map_err(|error| Fault::Corrupt(format!("the list of scanned commits: {error}")))?;
    found.sort_unstable();
    Ok(found
        .into_iter()
        .filter_map(|index| commits.get(index).copied())
        .collect())
}

/// A JSON array of hex ids. By hand: this is on the path of large pushes.
fn hex_list(commits: &[Oid]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut list = String::with_capacity(commits.len() * 67 + 2);
    list.push('[');
    for (position, commit) in commits.iter().enumerate() {
        list.push_str(if position == 0 { "\"" } else { ",\"" });
        for byte in commit.as_bytes() {
            list.push(char::from(DIGITS[usize::from(byte >> 4)]));
            list.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        list.push('"');
    }
    list.push(']');
    list
}

pub(super) fn insert_tasks(batch: &mut Batch, tasks: &[Task]) -> Result<(), Fault> {
    for task in tasks {
        let insert = batch.statement("INSERT INTO task (body) VALUES (");
        insert.push_bind(json(task)?).push(")");
    }
    Ok(())
}

pub(super) async fn tasks(sql: &mut SqliteConnection, limit: u32) -> Result<Vec<(i64, Task)>, Fault> {
    let rows = sqlx::query("SELECT id, body FROM task ORDER BY id LIMIT ?1")
        .bind(i64::from(limit))
        .fetch_all(sql)
        .await?;
    rows.iter().map(task).collect()
}

fn task(row: &SqliteRow) -> Result<(i64, Task), Fault> {
    let id = row.try_get(0)?;
    let body = serde_json::from_str(column(row, 1)?)
        .map_err(|error| Fault::Corrupt(format!("task {id} cannot be read: {error}")))?;
    Ok((id, body))
}

pub(super) async fn task_done(sql: &mut SqliteConnection, id: i64) -> Result<(), Fault> {
    sqlx::query("DELETE FROM task WHERE id = ?1")
        .bind(id)
        .execute(sql)
        .await?;
    Ok(())
}

pub(super) async fn mark_used(sql: &mut SqliteConnection, key: &str) -> Result<(), Fault> {
    sqlx::query("INSERT INTO used_key (key) VALUES (?1) ON CONFLICT DO NOTHING")
        .bind(key)
        .execute(sql)
        .await?;
    Ok(())
}

pub(super) async fn used_keys(sql: &mut SqliteConnection) -> Result<Vec<String>, Fault> {
    let rows = sqlx::query("SELECT key FROM used_key ORDER BY key")
        .fetch_all(sql)
        .await?;
    rows.iter().map(|row| column(row, 0)).collect()
}
