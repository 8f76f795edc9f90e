//! The bot's inbox and outbox in SQLite: one process.
//!
//! A lease is a row's state with an end and a fence. What the fence of a later
//! lease has overtaken changes nothing any more, so a worker that was thought
//! dead and comes back does no harm.

use super::fault::Fault;
use super::log::json;
use super::{Link, SqliteStore};
use crate::forge::{Display, ForgeRepo};
use crate::port::{Delivery, Leased, Outage, Queue};
use crate::push::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use tokio::sync::MutexGuard;

/// Leases after which a row goes to the dead letters: with the workers' backoff, about six hours of failures.
pub(super) const MAX_ATTEMPTS: i64 = 40;
/// Seconds that a done delivery is kept, so that a late copy of it is still known.
pub(super) const KEPT: i64 = 30 * 24 * 3600;
/// Most bytes of a reason.
const MAX_WHY: usize = 500;

impl SqliteStore {
    async fn begin(&self) -> Result<MutexGuard<'_, Link>, Fault> {
        let mut link = self.link.lock().await;
        link.settle().await;
        link.unsettled = true;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut link.sql).await?;
        Ok(link)
    }

    async fn end<T>(&self, mut link: MutexGuard<'_, Link>, outcome: Result<T, Fault>) -> Result<T, Fault> {
        let outcome = match outcome {
            Ok(value) => sqlx::query("COMMIT")
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

impl Queue for SqliteStore {
    async fn accept(&self, delivery: &Delivery) -> Result<bool, Outage> {
        let outcome = async {
            let mut link = self.begin().await?;
            let done = accept(&mut link.sql, delivery).await;
            self.end(link, done).await
        };
        outcome.await.map_err(self.words("store a delivery"))
    }

    async fn ping(&self) -> Result<(), Outage> {
        let outcome = async {
            let mut link = self.link.lock().await;
            let sql = link.settle().await;
            sqlx::query("SELECT 1 FROM inbox LIMIT 1")
                .fetch_optional(sql)
                .await
                .map_err(Fault::from)
        };
        outcome.await.map(|_| ()).map_err(self.words("reach the store"))
    }

    async fn lease_delivery(
        &self,
        now: Timestamp,
        until: Timestamp,
        owner: &str,
    ) -> Result<Option<Leased<Delivery>>, Outage> {
        let outcome = async {
            let mut link = self.begin().await?;
            let done = lease_delivery(&mut link.sql, now, until, owner).await;
            self.end(link, done).await
        };
        outcome.await.map_err(self.words("lease a delivery"))
    }

    async fn finish_delivery(&self, lease: &Leased<Delivery>, displays: &[Display]) -> Result<bool, Outage> {
        let outcome = async {
            let mut link = self.begin().await?;
            let done = finish_delivery(&mut link.sql, lease, displays).await;
            self.end(link, done).await
        };
        outcome.await.map_err(self.words("finish a delivery"))
    }

    async fn postpone_delivery(&self, lease: &Leased<Delivery>, again: Timestamp, why: &str) -> Result<(), Outage> {
        let outcome = async {
            let mut link = self.begin().await?;
            let done = postpone(&mut link.sql, POSTPONE_DELIVERY, (lease.row, lease.fence), again, why).await;
            self.end(link, done).await
        };
        outcome.await.map_err(self.words("postpone a delivery"))
    }

    async fn latest_display(&self, repo: &ForgeRepo, number: u64) -> Result<Option<Display>, Outage> {
        let outcome = async {
            let mut link = self.link.lock().await;
            latest_display(link.settle().await, repo, number).await
        };
        outcome.await.map_err(self.words("read the latest display"))
    }

    async fn lease_display(
        &self,
        now: Timestamp,
        until: Timestamp,
        owner: &str,
    ) -> Result<Option<Leased<Display>>, Outage> {
        let outcome = async {
            let mut link = self.begin().await?;
            let done = lease_display(&mut link.sql, now, until, owner).await;
            self.end(link, done).await
        };
        outcome.await.map_err(self.words("lease a display"))
    }

    async fn finish_display(&self, lease: &Leased<Display>) -> Result<bool, Outage> {
        let outcome = async {
            let mut link = self.begin().await?;
            let done = finish(&mut link.sql, FINISH_DISPLAY, lease.row, lease.fence).await;
            self.end(link, done).await
        };
        outcome.await.map_err(self.words("finish a display"))
    }

    async fn postpone_display(&self, lease: &Leased<Display>, again: Timestamp, why: &str) -> Result<(), Outage> {
        let outcome = async {
            let mut link = self.begin().await?;
            let done = postpone(&mut link.sql, POSTPONE_DISPLAY, (lease.row, lease.fence), again, why).await;
            self.end(link, done).await
        };
        outcome.await.map_err(self.words("postpone a display"))
    }
}

async fn accept(sql: &mut SqliteConnection, delivery: &Delivery) -> Result<bool, Fault> {
    let done = sqlx::query(
        "INSERT INTO inbox (forge, delivery, lane, received_at, event, covers) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (forge, delivery) DO NOTHING",
    )
    .bind(&delivery.forge)
    .bind(&delivery.delivery)
    .bind(delivery.event.lane(&delivery.forge))
    .bind(delivery.received_at.unix())
    .bind(json(&delivery.event)?)
    .bind(i64::from(delivery.event.covers_its_lane()))
    .execute(sql)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn lease_delivery(
    sql: &mut SqliteConnection,
    now: Timestamp,
    until: Timestamp,
    owner: &str,
) -> Result<Option<Leased<Delivery>>, Fault> {
    // What ends its worker again and again is laid aside: it must not end all of them.
    const BURY: &str = "UPDATE inbox SET state = 'dead', why = 'its worker ended each time' \
         WHERE state = 'leased' AND until <= ?1 AND attempts >= ?2";
    const LEASE: &str = "UPDATE inbox SET state = 'leased', until = ?2, owner = ?3, fence = fence + 1, \
         attempts = attempts + 1 WHERE row = ( \
           SELECT i.row FROM inbox i WHERE i.state IN ('waiting', 'leased') \
             AND ((i.state = 'waiting' AND i.due <= ?1) OR (i.state = 'leased' AND i.until <= ?1)) \
             AND NOT EXISTS (SELECT 1 FROM inbox o WHERE o.lane = i.lane AND o.row <> i.row \
               AND o.state IN ('waiting', 'leased') AND o.state = 'leased' AND o.until > ?1) \
           ORDER BY i.row LIMIT 1) \
         RETURNING row, fence, attempts, forge, delivery, received_at, event, covers, lane";
    const COVER: &str = "UPDATE inbox SET state = 'done', why = 'covered by a later reading' \
         WHERE lane = ?1 AND row <> ?2 AND covers = 1 AND state = 'waiting'";
    sqlx::query(BURY)
        .bind(now.unix())
        .bind(MAX_ATTEMPTS)
        .execute(&mut *sql)
        .await?;
    let row = sqlx::query(LEASE)
        .bind(now.unix())
        .bind(until.unix())
        .bind(owner)
        .fetch_optional(&mut *sql)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let lease = leased_delivery(&row)?;
    if row.try_get::<i64, _>(7)? == 1 {
        let lane: String = row.try_get(8)?;
        sqlx::query(COVER).bind(lane).bind(lease.row).execute(sql).await?;
    }
    Ok(Some(lease))
}

fn leased_delivery(row: &SqliteRow) -> Result<Leased<Delivery>, Fault> {
    let event: &str = row.try_get(6)?;
    Ok(Leased {
        row: row.try_get(0)?,
        fence: row.try_get(1)?,
        attempts: attempts(row.try_get(2)?),
        work: Delivery {
            forge: row.try_get(3)?,
            delivery: row.try_get(4)?,
            received_at: Timestamp::from_unix(row.try_get(5)?),
            event: parsed(event)?,
        },
    })
}

/// Tries before this lease.
pub(super) fn attempts(leases: i64) -> u32 {
    u32::try_from(leases - 1).unwrap_or(0)
}

pub(super) fn parsed<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::Corrupt(format!("a row of the queue: {error}")))
}

async fn finish_delivery(
    sql: &mut SqliteConnection,
    lease: &Leased<Delivery>,
    displays: &[Display],
) -> Result<bool, Fault> {
    const FINISH: &str = "UPDATE inbox SET state = 'done', why = '' WHERE row = ?1 AND fence = ?2 AND state = 'leased'";
    const FORGET: &str = "DELETE FROM inbox WHERE row IN \
         (SELECT row FROM inbox WHERE state = 'done' AND received_at < ?1 LIMIT 100)";
    if !finish(sql, FINISH, lease.row, lease.fence).await? {
        return Ok(false);
    }
    for display in displays {
        sqlx::query("INSERT INTO outbox (lane, display) VALUES (?1, ?2)")
            .bind(display.lane())
            .bind(json(display)?)
            .execute(&mut *sql)
            .await?;
    }
    let old = lease.work.received_at.unix() - KEPT;
    sqlx::query(FORGET).bind(old).execute(sql).await?;
    Ok(true)
}

async fn finish(sql: &mut SqliteConnection, text: &'static str, row: i64, fence: i64) -> Result<bool, Fault> {
    let done = sqlx::query(text).bind(row).bind(fence).execute(sql).await?;
    Ok(done.rows_affected() == 1)
}

const FINISH_DISPLAY: &str =
    "UPDATE outbox SET state = 'done', why = '' WHERE row = ?1 AND fence = ?2 AND state = 'leased'";
const POSTPONE_DELIVERY: &str = "UPDATE inbox SET state = CASE WHEN attempts >= ?5 THEN 'dead' ELSE 'waiting' END, \
     due = ?3, why = ?4 WHERE row = ?1 AND fence = ?2 AND state = 'leased'";
const POSTPONE_DISPLAY: &str = "UPDATE outbox SET state = CASE WHEN attempts >= ?5 THEN 'dead' ELSE 'waiting' END, \
     due = ?3, why = ?4 WHERE row = ?1 AND fence = ?2 AND state = 'leased'";

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

pub(super) fn bounded(why: &str) -> &str {
    &why[..why.floor_char_boundary(MAX_WHY)]
}

async fn latest_display(sql: &mut SqliteConnection, repo: &ForgeRepo, number: u64) -> Result<Option<Display>, Fault> {
    let row = sqlx::query("SELECT display FROM outbox WHERE lane = ?1 ORDER BY row DESC LIMIT 1")
        .bind(repo.change_lane(number))
        .fetch_optional(sql)
        .await?;
    row.map(|row| parsed(row.try_get::<&str, _>(0)?)).transpose()
}

async fn lease_display(
    sql: &mut SqliteConnection,
    now: Timestamp,
    until: Timestamp,
    owner: &str,
) -> Result<Option<Leased<Display>>, Fault> {
    const SUPERSEDE: &str = "UPDATE outbox SET state = 'superseded' WHERE state = 'waiting' AND EXISTS \
         (SELECT 1 FROM outbox n WHERE n.lane = outbox.lane AND n.row > outbox.row)";
    const LEASE: &str = "UPDATE outbox SET state = 'leased', until = ?2, owner = ?3, fence = fence + 1, \
         attempts = attempts + 1 WHERE row = ( \
           SELECT i.row FROM outbox i WHERE i.state IN ('waiting', 'leased') \
             AND ((i.state = 'waiting' AND i.due <= ?1) OR (i.state = 'leased' AND i.until <= ?1)) \
             AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.lane = i.lane AND o.row <> i.row \
               AND o.state IN ('waiting', 'leased') AND o.state = 'leased' AND o.until > ?1) \
             AND NOT EXISTS (SELECT 1 FROM outbox n WHERE n.lane = i.lane AND n.row > i.row) \
           ORDER BY i.row LIMIT 1) \
         RETURNING row, fence, attempts, display";
    // A lease that ran out and is not the newest any more is not taken over either.
    const OVERTAKEN: &str = "UPDATE outbox SET state = 'superseded' WHERE state = 'leased' AND until <= ?1 AND EXISTS \
         (SELECT 1 FROM outbox n WHERE n.lane = outbox.lane AND n.row > outbox.row)";
    sqlx::query(SUPERSEDE).execute(&mut *sql).await?;
    sqlx::query(OVERTAKEN).bind(now.unix()).execute(&mut *sql).await?;
    let row = sqlx::query(LEASE)
        .bind(now.unix())
        .bind(until.unix())
        .bind(owner)
        .fetch_optional(sql)
        .await?;
    row.map(|row| {
        Ok(Leased {
            row: row.try_get(0)?,
            fence: row.try_get(1)?,
            attempts: attempts(row.try_get(2)?),
            work: parsed(row.try_get::<&str, _>(3)?)?,
        })
    })
    .transpose()
}
