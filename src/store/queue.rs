//! The bot's inbox and outbox in SQLite: one process.
//!
//! A lease is a row's state with an end and a fence. What the fence of a later
//! lease has overtaken changes nothing any more, so a worker that was thought
//! dead and comes back does no harm.
//!
//! What a forge delivered is on the disk before it is told so. All else need only
//! outlive this process, not a power cut: then no worker is left that holds a
//! lease, and what was done since is done again, which has no other effect.

use super::fault::Fault;
use super::lease::{
    Columns, MAX_ATTEMPTS, arrival, bounded, dead_letter, depth, leased_delivery, leased_display, new_ones, parsed,
};
use super::log::json;
use super::{Link, SqliteStore, options};
use crate::config::Retention;
use crate::forge::{Display, ForgeRepo};
use crate::port::{DeadLetter, Delivery, Depth, Leased, LetterBox, Outage, Queue};
use crate::push::Timestamp;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::MutexGuard;

/// Begins a write that is on the disk once it is committed.
const DURABLE: &str = "BEGIN IMMEDIATE";
/// Lets a commit fold the log only once it has 64 MiB, should nobody else do it.
const FOLD_SELDOM: &str = "PRAGMA wal_autocheckpoint = 16384";
/// Begins a write that outlives this process.
/// <https://www.sqlite.org/pragma.html#pragma_synchronous>
const HANDY: &str = "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE";

impl SqliteStore {
    async fn begin(&self, how: &'static str) -> Result<MutexGuard<'_, Link>, Fault> {
        let mut link = self.link.lock().await;
        link.settle().await;
        link.unsettled = true;
        sqlx::query(how).execute(&mut link.sql).await?;
        Ok(link)
    }

    async fn fold_log(&self) -> Result<(), Fault> {
        let mut folder = self.folder.lock().await;
        let sql = match folder.as_mut() {
            Some(sql) => sql,
            None => {
                let mut link = self.link.lock().await;
                let sql = link.settle().await;
                sqlx::query(FOLD_SELDOM).execute(sql).await?;
                folder.insert(options(&self.path).connect().await?)
            }
        };
        sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(sql).await?;
        Ok(())
    }

    async fn end<T>(&self, mut link: MutexGuard<'_, Link>, outcome: Result<T, Fault>) -> Result<T, Fault> {
        let outcome = match outcome {
            Ok(value) => sqlx::query("COMMIT; PRAGMA synchronous = FULL")
                .execute(&mut link.sql)
                .await
                .map(|_| value)
                .map_err(Fault::from),
            failed => failed,
        };
        if outcome.is_ok() {
            link.unsettled = false;
        } else {
            link.settle().await;
        }
        outcome
    }
}

/// One transaction of the store: `$how` it begins, what it does on `$sql`.
macro_rules! within {
    ($store:expr, $how:expr, $doing:literal, |$sql:ident| $body:expr) => {{
        let outcome = async {
            let mut link = $store.begin($how).await?;
            let $sql = &mut link.sql;
            let done = $body.await;
            $store.end(link, done).await
        };
        outcome.await.map_err($store.words($doing))
    }};
}

/// A read of the store.
macro_rules! reading {
    ($store:expr, $doing:literal, |$sql:ident| $body:expr) => {{
        let outcome = async {
            let mut link = $store.link.lock().await;
            let $sql = link.settle().await;
            $body.await
        };
        outcome.await.map_err($store.words($doing))
    }};
}

impl Queue for SqliteStore {
    async fn accept_all(&self, deliveries: &[Delivery]) -> Result<Vec<bool>, Outage> {
        within!(self, DURABLE, "store deliveries", |sql| accept_all(sql, deliveries))
    }

    async fn ping(&self) -> Result<(), Outage> {
        reading!(self, "reach the store", |sql| ping(sql))
    }

    async fn lease_delivery(
        &self,
        now: Timestamp,
        until: Timestamp,
        owner: &str,
    ) -> Result<Option<Leased<Delivery>>, Outage> {
        within!(self, HANDY, "lease a delivery", |sql| lease_delivery(
            sql, now, until, owner
        ))
    }

    async fn finish_delivery(&self, lease: &Leased<Delivery>, displays: &[Display]) -> Result<bool, Outage> {
        within!(self, HANDY, "finish a delivery", |sql| finish_delivery(
            sql, lease, displays
        ))
    }

    async fn postpone_delivery(&self, lease: &Leased<Delivery>, again: Timestamp, why: &str) -> Result<(), Outage> {
        let held = (lease.row, lease.fence);
        within!(self, HANDY, "postpone a delivery", |sql| postpone(
            sql,
            POSTPONE_DELIVERY,
            held,
            again,
            why
        ))
    }

    async fn latest_display(&self, repo: &ForgeRepo, number: u64) -> Result<Option<Display>, Outage> {
        reading!(self, "read the latest display", |sql| latest_display(sql, repo, number))
    }

    async fn lease_display(
        &self,
        now: Timestamp,
        until: Timestamp,
        owner: &str,
    ) -> Result<Option<Leased<Display>>, Outage> {
        within!(self, HANDY, "lease a display", |sql| lease_display(
            sql, now, until, owner
        ))
    }

    async fn finish_display(&self, lease: &Leased<Display>) -> Result<bool, Outage> {
        let held = (lease.row, lease.fence);
        within!(self, HANDY, "finish a display", |sql| finish(sql, FINISH_DISPLAY, held))
    }

    async fn postpone_display(&self, lease: &Leased<Display>, again: Timestamp, why: &str) -> Result<(), Outage> {
        let held = (lease.row, lease.fence);
        within!(self, HANDY, "postpone a display", |sql| postpone(
            sql,
            POSTPONE_DISPLAY,
            held,
            again,
            why
        ))
    }

    async fn renew(&self, letter_box: LetterBox, lease: (i64, i64), until: Timestamp) -> Result<bool, Outage> {
        within!(self, HANDY, "renew a lease", |sql| renew(sql, letter_box, lease, until))
    }

    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>, Outage> {
        reading!(self, "read the dead letters", |sql| dead_letters(sql, limit))
    }

    async fn replay(&self, letter_box: LetterBox, row: i64) -> Result<bool, Outage> {
        within!(self, DURABLE, "replay a dead letter", |sql| replay(
            sql, letter_box, row
        ))
    }

    /// SQLite folds its log into the file in the middle of a commit, which then waits for two more writes of the
    /// disk; here it is done beside the commits. <https://www.sqlite.org/wal.html#checkpointing>
    async fn tend(&self) -> Result<(), Outage> {
        self.fold_log().await.map_err(self.words("fold the log into the file"))
    }

    async fn forget(&self, now: Timestamp, kept: &Retention, most: u32) -> Result<u64, Outage> {
        within!(self, HANDY, "forget old deliveries", |sql| forget(sql, now, kept, most))
    }

    async fn depth(&self) -> Result<Depth, Outage> {
        reading!(self, "count what waits", |sql| read_depth(sql))
    }
}

// A partial index serves only a query that repeats its condition word for word: hence `state IN (…)` beside a
// narrower state. <https://www.sqlite.org/partialindex.html>
const ACCEPT: &str = "INSERT INTO inbox (forge, delivery, lane, received_at, event, covers, state) \
     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6 \
     FROM json_each(?1) WHERE true ON CONFLICT (forge, delivery) DO NOTHING RETURNING forge, delivery";
// What ends its worker again and again is laid aside, once there is time: it must not end all of them.
const BURY: &str = "UPDATE inbox SET state = 'dead', why = 'its worker ended each time' \
     WHERE state IN ('waiting', 'leased') AND state = 'leased' AND until <= ?1 AND attempts >= ?2";
const LEASE_DELIVERY: &str = "UPDATE inbox SET state = 'leased', until = ?2, owner = ?3, fence = fence + 1, \
     attempts = attempts + 1 WHERE row = ( \
       SELECT i.row FROM inbox i WHERE i.state IN ('waiting', 'leased') \
         AND ((i.state = 'waiting' AND i.due <= ?1) OR (i.state = 'leased' AND i.until <= ?1 AND i.attempts < ?4)) \
         AND NOT EXISTS (SELECT 1 FROM inbox o WHERE o.lane = i.lane AND o.row <> i.row \
           AND o.state IN ('waiting', 'leased') AND o.state = 'leased' AND o.until > ?1) \
       ORDER BY i.row LIMIT 1) \
     RETURNING row, fence, attempts, forge, delivery, received_at, event, covers, lane";
const COVER: &str = "UPDATE inbox SET state = 'done', why = 'covered by a later reading' WHERE lane = ?1 \
     AND row <> ?2 AND covers = 1 AND state IN ('waiting', 'leased') AND state = 'waiting'";
const FINISH_DELIVERY: &str =
    "UPDATE inbox SET state = 'done', why = '' WHERE row = ?1 AND fence = ?2 AND state = 'leased'";
// Rows are numbered one after the other and the oldest go first, so the numbers tell how many there are at most.
const SURPLUS: &str = "SELECT received_at FROM inbox WHERE row <= (SELECT max(row) FROM inbox) - ?1 \
     ORDER BY row DESC LIMIT 1";
const FORGET: &str = "DELETE FROM inbox WHERE row IN (SELECT row FROM inbox WHERE state = 'done' AND received_at < ?1 \
     ORDER BY received_at LIMIT ?2)";
// What was shown and is followed by another display of its lane tells nobody anything any more.
const REPLACE: &str = "DELETE FROM outbox WHERE lane = ?1 AND state IN ('done', 'superseded')";
const POSTPONE_DELIVERY: &str = "UPDATE inbox SET state = CASE WHEN attempts >= ?5 THEN 'dead' ELSE 'waiting' END, \
     due = ?3, why = ?4 WHERE row = ?1 AND fence = ?2 AND state = 'leased'";
const LATEST_DISPLAY: &str = "SELECT display FROM outbox WHERE lane = ?1 ORDER BY row DESC LIMIT 1";
// A lease that ran out and is not the newest any more is not taken over either.
const SUPERSEDE: &str = "UPDATE outbox SET state = 'superseded' WHERE state IN ('waiting', 'leased') \
     AND (state = 'waiting' OR until <= ?1) \
     AND EXISTS (SELECT 1 FROM outbox n WHERE n.lane = outbox.lane AND n.row > outbox.row)";
const LEASE_DISPLAY: &str = "UPDATE outbox SET state = 'leased', until = ?2, owner = ?3, fence = fence + 1, \
     attempts = attempts + 1 WHERE row = ( \
       SELECT i.row FROM outbox i WHERE i.state IN ('waiting', 'leased') \
         AND ((i.state = 'waiting' AND i.due <= ?1) OR (i.state = 'leased' AND i.until <= ?1)) \
         AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.lane = i.lane AND o.row <> i.row \
           AND o.state IN ('waiting', 'leased') AND o.state = 'leased' AND o.until > ?1) \
         AND NOT EXISTS (SELECT 1 FROM outbox n WHERE n.lane = i.lane AND n.row > i.row) \
       ORDER BY i.row LIMIT 1) \
     RETURNING row, fence, attempts, display";
const FINISH_DISPLAY: &str =
    "UPDATE outbox SET state = 'done', why = '' WHERE row = ?1 AND fence = ?2 AND state = 'leased'";
const POSTPONE_DISPLAY: &str = "UPDATE outbox SET state = CASE WHEN attempts >= ?5 THEN 'dead' ELSE 'waiting' END, \
     due = ?3, why = ?4 WHERE row = ?1 AND fence = ?2 AND state = 'leased'";
const RENEW_DELIVERY: &str = "UPDATE inbox SET until = ?3 WHERE row = ?1 AND fence = ?2 AND state = 'leased'";
const RENEW_DISPLAY: &str = "UPDATE outbox SET until = ?3 WHERE row = ?1 AND fence = ?2 AND state = 'leased'";
const DEAD_LETTERS: &str =
    "SELECT box, row, lane, attempts, why, content FROM dead_letter ORDER BY row DESC, box LIMIT ?1";
const REPLAY_DELIVERY: &str =
    "UPDATE inbox SET state = 'waiting', attempts = 0, due = 0 WHERE row = ?1 AND state = 'dead'";
const REPLAY_DISPLAY: &str =
    "UPDATE outbox SET state = 'waiting', attempts = 0, due = 0 WHERE row = ?1 AND state = 'dead'";
const DEPTH: &str = "SELECT (SELECT count(*) FROM inbox WHERE state IN ('waiting', 'leased')), \
     (SELECT count(*) FROM outbox WHERE state IN ('waiting', 'leased')), \
     (SELECT count(*) FROM inbox WHERE state = 'dead') + (SELECT count(*) FROM outbox WHERE state = 'dead'), \
     coalesce((SELECT received_at FROM inbox WHERE state IN ('waiting', 'leased') ORDER BY row LIMIT 1), 0)";

async fn accept_all(sql: &mut SqliteConnection, deliveries: &[Delivery]) -> Result<Vec<bool>, Fault> {
    let mut rows = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let it = arrival(delivery)?;
        let covers = i64::from(it.covers);
        rows.push((
            it.forge,
            it.delivery,
            it.lane,
            it.received_at,
            it.event,
            covers,
            it.state,
        ));
    }
    let stored = sqlx::query(ACCEPT).bind(json(&rows)?).fetch_all(sql).await?;
    new_ones(deliveries, &stored)
}

async fn ping(sql: &mut SqliteConnection) -> Result<(), Fault> {
    sqlx::query("SELECT 1 FROM inbox LIMIT 1").fetch_optional(sql).await?;
    Ok(())
}

async fn lease_delivery(
    sql: &mut SqliteConnection,
    now: Timestamp,
    until: Timestamp,
    owner: &str,
) -> Result<Option<Leased<Delivery>>, Fault> {
    let query = sqlx::query(LEASE_DELIVERY)
        .bind(now.unix())
        .bind(until.unix())
        .bind(owner)
        .bind(MAX_ATTEMPTS);
    let Some(row) = query.fetch_optional(&mut *sql).await? else {
        let bury = sqlx::query(BURY).bind(now.unix()).bind(MAX_ATTEMPTS);
        bury.execute(sql).await?;
        return Ok(None);
    };
    let lease = leased_delivery(&row)?;
    if row.number(7)? == 1 {
        sqlx::query(COVER)
            .bind(row.text(8)?)
            .bind(lease.row)
            .execute(sql)
            .await?;
    }
    Ok(Some(lease))
}

async fn finish_delivery(
    sql: &mut SqliteConnection,
    lease: &Leased<Delivery>,
    displays: &[Display],
) -> Result<bool, Fault> {
    if !finish(sql, FINISH_DELIVERY, (lease.row, lease.fence)).await? {
        return Ok(false);
    }
    for display in displays {
        sqlx::query(REPLACE).bind(display.lane()).execute(&mut *sql).await?;
        sqlx::query("INSERT INTO outbox (lane, display) VALUES (?1, ?2)")
            .bind(display.lane())
            .bind(json(display)?)
            .execute(&mut *sql)
            .await?;
    }
    Ok(true)
}

async fn forget(sql: &mut SqliteConnection, now: Timestamp, kept: &Retention, most: u32) -> Result<u64, Fault> {
    let surplus = sqlx::query(SURPLUS).bind(kept.deliveries);
    let surplus = surplus.fetch_optional(&mut *sql).await?;
    let surplus = surplus.map(|row| row.number(0)).transpose()?;
    let gone = sqlx::query(FORGET)
        .bind(kept.before(now, surplus))
        .bind(i64::from(most));
    Ok(gone.execute(sql).await?.rows_affected())
}

async fn finish(sql: &mut SqliteConnection, text: &'static str, (row, fence): (i64, i64)) -> Result<bool, Fault> {
    let done = sqlx::query(text).bind(row).bind(fence).execute(sql).await?;
    Ok(done.rows_affected() == 1)
}

async fn postpone(
    sql: &mut SqliteConnection,
    text: &'static str,
    (row, fence): (i64, i64),
    again: Timestamp,
    why: &str,
) -> Result<(), Fault> {
    let query = sqlx::query(text).bind(row).bind(fence).bind(again.unix());
    query.bind(bounded(why)).bind(MAX_ATTEMPTS).execute(sql).await?;
    Ok(())
}

async fn latest_display(sql: &mut SqliteConnection, repo: &ForgeRepo, number: u64) -> Result<Option<Display>, Fault> {
    let query = sqlx::query(LATEST_DISPLAY).bind(repo.change_lane(number));
    let row = query.fetch_optional(sql).await?;
    row.map(|row| parsed(&row.text(0)?)).transpose()
}

async fn lease_display(
    sql: &mut SqliteConnection,
    now: Timestamp,
    until: Timestamp,
    owner: &str,
) -> Result<Option<Leased<Display>>, Fault> {
    sqlx::query(SUPERSEDE).bind(now.unix()).execute(&mut *sql).await?;
    let query = sqlx::query(LEASE_DISPLAY)
        .bind(now.unix())
        .bind(until.unix())
        .bind(owner);
    let row = query.fetch_optional(sql).await?;
    row.map(|row| leased_display(&row)).transpose()
}

async fn dead_letters(sql: &mut SqliteConnection, limit: u32) -> Result<Vec<DeadLetter>, Fault> {
    let rows = sqlx::query(DEAD_LETTERS).bind(i64::from(limit)).fetch_all(sql).await?;
    rows.iter().map(dead_letter).collect()
}

async fn renew(
    sql: &mut SqliteConnection,
    letter_box: LetterBox,
    (row, fence): (i64, i64),
    until: Timestamp,
) -> Result<bool, Fault> {
    let text = match letter_box {
        LetterBox::Inbox => RENEW_DELIVERY,
        LetterBox::Outbox => RENEW_DISPLAY,
    };
    let query = sqlx::query(text).bind(row).bind(fence).bind(until.unix());
    Ok(query.execute(sql).await?.rows_affected() == 1)
}

async fn replay(sql: &mut SqliteConnection, letter_box: LetterBox, row: i64) -> Result<bool, Fault> {
    let text = match letter_box {
        LetterBox::Inbox => REPLAY_DELIVERY,
        LetterBox::Outbox => REPLAY_DISPLAY,
    };
    let done = sqlx::query(text).bind(row).execute(sql).await?;
    Ok(done.rows_affected() == 1)
}

async fn read_depth(sql: &mut SqliteConnection) -> Result<Depth, Fault> {
    depth(&sqlx::query(DEPTH).fetch_one(sql).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Row;

    /// What a forge is told to be stored is on the disk, whatever was written before it.
    #[test]
    fn deliveries_wait_for_the_disk_and_the_log_is_folded_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = SqliteStore::create(&folder.path().join("a.db")).await.unwrap();
            let at = Timestamp::from_unix(0);
            store.lease_delivery(at, at, "me").await.unwrap();
            let mut link = store.link.lock().await;
            let level = sqlx::query("PRAGMA synchronous")
                .fetch_one(&mut link.sql)
                .await
                .unwrap();
            assert_eq!(level.number(0).unwrap(), 2, "FULL again");
            drop(link);
            let dropped = store.begin(HANDY).await.unwrap();
            drop(dropped);
            let mut link = store.link.lock().await;
            let sql = link.settle().await;
            let level = sqlx::query("PRAGMA synchronous").fetch_one(sql).await.unwrap();
            assert_eq!(level.number(0).unwrap(), 2, "also after a future that was dropped");
            drop(link);
            store.tend().await.unwrap();
            store.tend().await.unwrap();
        });
    }

    /// The boxes may hold millions of rows that are done: no statement may walk over them.
    #[test]
    fn every_statement_finds_its_rows_by_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = SqliteStore::create(&folder.path().join("a.db")).await.unwrap();
            let mut link = store.link.lock().await;
            for text in [
                BURY,
                LEASE_DELIVERY,
                COVER,
                FINISH_DELIVERY,
                SURPLUS,
                FORGET,
                REPLACE,
                POSTPONE_DELIVERY,
                LATEST_DISPLAY,
                SUPERSEDE,
                LEASE_DISPLAY,
                FINISH_DISPLAY,
                POSTPONE_DISPLAY,
                RENEW_DELIVERY,
                RENEW_DISPLAY,
                DEAD_LETTERS,
                REPLAY_DELIVERY,
                REPLAY_DISPLAY,
                DEPTH,
            ] {
                let plan = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
                for row in sqlx::query(plan).fetch_all(&mut link.sql).await.unwrap() {
                    let step: String = row.try_get("detail").unwrap();
                    let walks = step.starts_with("SCAN") && !step.contains("USING") && !step.contains("CONSTANT");
                    assert!(!walks || step.contains("dead_letter"), "{step}: {text}");
                }
            }
        });
    }
}
