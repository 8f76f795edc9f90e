//! Decisions and entries: rows in, rows out. Transactions are the caller's.

use super::batch::Batch;
use super::fault::Fault;
use super::row::{self, column, count, deflate, integer, select_decision, select_entry};
use super::schema::select_header;
use crate::port::{DecisionRecord, Document, EntryRecord, EntryState, PublishedEntry};
use crate::push::{Oid, RefName};
use sha2::{Digest, Sha256};
use sqlx::SqliteConnection;

/// Rows in one statement: 10 parameters each, of the 32,766 that SQLite takes.
const ROWS_AT_ONCE: usize = 500;

/// A decision and its entries, checked and deflated before the ledger is locked.
pub(super) struct Recording<'a, D> {
    decision: &'a DecisionRecord<D>,
    pending: &'a [EntryRecord],
    policy_digest: Vec<u8>,
    facts: Vec<u8>,
    facts_len: i64,
    judgement: Vec<u8>,
    judgement_len: i64,
}

impl<'a, D: Document> Recording<'a, D> {
    /// Prepares the rows.
    ///
    /// # Errors
    /// [`Fault::Refused`] for an entry that is not pending, already has what publication adds, or is of another push.
    pub(super) fn of(decision: &'a DecisionRecord<D>, pending: &'a [EntryRecord]) -> Result<Self, Fault> {
        if let Some(entry) = pending.iter().find(|entry| !is_fresh(entry, decision)) {
            return Err(Fault::Refused(format!(
                "entry {} is no pending entry of this push",
                entry.id
            )));
        }
        let (facts, facts_len) = deflate(&decision.facts)?;
        let (judgement, judgement_len) = deflate(&decision.decision)?;
        Ok(Self {
            decision,
            pending,
            policy_digest: Sha256::digest(decision.policy.as_bytes()).to_vec(),
            facts,
            facts_len: integer(facts_len)?,
            judgement,
            judgement_len: integer(judgement_len)?,
        })
    }

    /// Inserts policy, decision and entries.
    pub(super) fn insert(self, batch: &mut Batch) {
        let mut policy = batch
            .statement("INSERT INTO policy (digest, text) VALUES (")
            .separated(", ");
        policy
            .push_bind(self.policy_digest.clone())
            .push_bind(self.decision.policy.as_str());
        policy.push_unseparated(") ON CONFLICT DO NOTHING");
        let mut decision = batch
            .statement(
                "INSERT INTO decision (push_id, received_at, allowed, policy, facts, facts_len, decision, decision_len) \
                 VALUES (",
            )
            .separated(", ");
        decision
            .push_bind(self.decision.push_id.as_str())
            .push_bind(self.decision.received_at.unix())
            .push_bind(i64::from(self.decision.allowed))
            .push_bind(self.policy_digest)
            .push_bind(self.facts)
            .push_bind(self.facts_len)
            .push_bind(self.judgement)
            .push_bind(self.judgement_len)
            .push_unseparated(")");
        for chunk in self.pending.chunks(ROWS_AT_ONCE) {
            insert_pending(batch, chunk);
        }
    }
}

fn is_fresh<D>(entry: &EntryRecord, decision: &DecisionRecord<D>) -> bool {
    let unpublished =
        entry.log_index.is_none() && entry.status_index.is_none() && entry.provenance.is_none() && entry.vsa.is_none();
    entry.state == EntryState::Pending && entry.push_id == decision.push_id && unpublished
}

fn insert_pending(batch: &mut Batch, entries: &[EntryRecord]) {
    let insert = batch.statement(
        "INSERT INTO entry (id, push_id, ref_name, old_oid, new_oid, commit_oid, tree_oid, received_at, \
         guarantees, owner, state) ",
    );
    insert.push_values(entries, |mut values, entry| {
        values
            .push_bind(entry.id.as_str())
            .push_bind(entry.push_id.as_str())
            .push_bind(entry.update.name.as_str())
            .push_bind(entry.update.old.as_bytes())
            .push_bind(entry.update.new.as_bytes())
            .push_bind(entry.commit.as_ref().map(Oid::as_bytes))
            .push_bind(entry.tree.as_ref().map(Oid::as_bytes))
            .push_bind(entry.received_at.unix())
            .push_bind(entry.guarantees.as_str())
            .push_bind(entry.owner.as_str())
            .push("'pending'");
    });
}

macro_rules! select_pending {
    () => {
        select_entry!("WHERE state = 'pending' ORDER BY seq")
    };
}

pub(super) async fn decision(sql: &mut SqliteConnection, push_id: &str) -> Result<Option<DecisionRecord>, Fault> {
    let found = sqlx::query(select_decision!("WHERE d.push_id = ?1"))
        .bind(push_id)
        .fetch_optional(sql)
        .await?;
    found.as_ref().map(row::decision).transpose()
}

pub(super) async fn decisions(sql: &mut SqliteConnection, limit: u32) -> Result<Vec<DecisionRecord>, Fault> {
    let rows = sqlx::query(select_decision!("ORDER BY d.seq DESC LIMIT ?1"))
        .bind(i64::from(limit))
        .fetch_all(sql)
        .await?;
    rows.iter().map(row::decision).collect()
}

pub(super) async fn pending(sql: &mut SqliteConnection) -> Result<Vec<EntryRecord>, Fault> {
    let rows = sqlx::query(select_pending!()).fetch_all(sql).await?;
    rows.iter().map(row::entry).collect()
}

/// The pending entries, if the file's header is that of the ledger that this program knows; all in one turn.
pub(super) async fn pending_if(
    sql: &mut SqliteConnection,
    known: (i64, i64),
) -> Result<Option<Vec<EntryRecord>>, Fault> {
    const GLANCE: &str = concat!(select_header!(), "; ", select_pending!());
    let rows = sqlx::query(GLANCE).fetch_all(sql).await?;
    match rows.as_slice() {
        [application, version, pending @ ..] if (column(application, 0)?, column(version, 0)?) == known => {
            pending.iter().map(row::entry).collect::<Result<_, _>>().map(Some)
        }
        _ => Ok(None),
    }
}

pub(super) async fn void(sql: &mut SqliteConnection, ids: &[String]) -> Result<(), Fault> {
    for id in ids {
        sqlx::query("UPDATE entry SET state = 'void' WHERE id = ?1 AND state = 'pending'")
            .bind(id.as_str())
            .execute(&mut *sql)
            .await?;
    }
    Ok(())
}

pub(super) async fn entry(sql: &mut SqliteConnection, id: &str) -> Result<Option<EntryRecord>, Fault> {
    let found = sqlx::query(select_entry!("WHERE id = ?1"))
        .bind(id)
        .fetch_optional(sql)
        .await?;
    found.as_ref().map(row::entry).transpose()
}

pub(super) async fn latest(sql: &mut SqliteConnection, name: &RefName) -> Result<Option<EntryRecord>, Fault> {
    const LATEST: &str = select_entry!("WHERE ref_name = ?1 AND state = 'published' ORDER BY log_index DESC LIMIT 1");
    let found = sqlx::query(LATEST).bind(name.as_str()).fetch_optional(sql).await?;
    found.as_ref().map(row::entry).transpose()
}

pub(super) async fn entries_of(sql: &mut SqliteConnection, commit: Oid) -> Result<Vec<EntryRecord>, Fault> {
    const OF_COMMIT: &str = select_entry!("WHERE commit_oid = ?1 AND state = 'published' ORDER BY log_index");
    let rows = sqlx::query(OF_COMMIT).bind(commit.as_bytes()).fetch_all(sql).await?;
    rows.iter().map(row::entry).collect()
}

pub(super) async fn entries(sql: &mut SqliteConnection, limit: u32) -> Result<Vec<EntryRecord>, Fault> {
    const NEWEST: &str = select_entry!("WHERE state = 'published' ORDER BY log_index DESC LIMIT ?1");
    let rows = sqlx::query(NEWEST).bind(i64::from(limit)).fetch_all(sql).await?;
    rows.iter().map(row::entry).collect()
}

/// One more than the highest that is taken: an index is never given twice, since no entry is ever unpublished.
macro_rules! select_next_status_index {
    () => {
        "SELECT coalesce(max(status_index) + 1, 0) FROM entry WHERE state = 'published'"
    };
}
pub(super) use select_next_status_index;

pub(super) async fn next_status_index(sql: &mut SqliteConnection) -> Result<u64, Fault> {
    let row = sqlx::query(select_next_status_index!()).fetch_one(sql).await?;
    count(column(&row, 0)?)
}

/// Marks an entry published. The schema refuses this for one that is not pending.
pub(super) fn publish(batch: &mut Batch, entry: &PublishedEntry) -> Result<(), Fault> {
    let update = batch.statement("UPDATE entry SET state = 'published', log_index = ");
    update.push_bind(integer(entry.log_index)?).push(", status_index = ");
    update.push_bind(integer(entry.status_index)?).push(", provenance = ");
    update.push_bind(entry.provenance.as_str()).push(", vsa = ");
    update
        .push_bind(entry.vsa.as_str())
        .push(" WHERE id = ")
        .push_bind(entry.id.as_str());
    Ok(())
}
