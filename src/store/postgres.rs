//! Adapter: the bot's inbox and outbox in PostgreSQL, for any number of replicas.
//!
//! In scope: [`PostgresQueue`], which makes and migrates its tables and serves
//! [`Queue`] from them. Out of scope: the ledger, which stays beside its
//! repository. Rows are leased under `FOR UPDATE SKIP LOCKED`; a lane is held by
//! an advisory lock of the transaction, so that two replicas that look at one
//! lane at the same time lease one row of it. The words are those of `queue`.
//!
//! <https://www.postgresql.org/docs/15/sql-select.html#SQL-FOR-UPDATE-SHARE>

use super::fault::Fault;
use super::lease::{
    Arrival, Columns, MAX_ATTEMPTS, arrival, bounded, dead_letter, depth, leased_delivery, leased_display, new_ones,
    parsed,
};
use super::log::json;
use crate::config::Retention;
use crate::forge::{Display, ForgeRepo};
use crate::port::{DeadLetter, Delivery, Depth, Leased, LetterBox, Outage, Queue};
use crate::push::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, PgConnection, PgTransaction, Row};
use std::time::Duration;

/// Version of the tables below.
const SCHEMA: &str = include_str!("migrations/postgres_0001_bot.sql");
/// `Lych` in ASCII: the lock under which the schema is made.
const SCHEMA_LOCK: i64 = 0x4c79_6368;
/// Connections of one replica: a few more than its workers use at once.
const CONNECTIONS: u32 = 16;
/// How long a call waits for a connection before it is an outage.
const PATIENCE: Duration = Duration::from_secs(5);
/// Candidates that a lease looks at, in case others hold the lanes of the first.
const CANDIDATES: i64 = 32;

/// A [`Queue`] in PostgreSQL 14 or later.
pub struct PostgresQueue {
    pool: PgPool,
    server: String,
}

impl PostgresQueue {
    /// Connects, and makes the tables where they are missing.
    ///
    /// * `url`: `postgres://user:password@host/database`; the password appears in no message.
    ///
    /// # Errors
    /// `store-unreadable` if the server cannot be reached, `store-refused` if the account may not make tables.
    pub async fn connect(url: &secrecy::SecretString) -> Result<Self, Outage> {
        let options: PgConnectOptions = secrecy::ExposeSecret::expose_secret(url)
            .parse()
            .map_err(|_| unreadable("the database", "its URL is not valid"))?;
        let server = format!("{}:{}", options.get_host(), options.get_port());
        let made = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE);
        let pool = made.connect_lazy_with(options.disable_statement_logging());
        let queue = Self { pool, server };
        queue
            .migrate()
            .await
            .map_err(|fault| queue.outage(fault, "make the tables"))?;
        Ok(queue)
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn migrate(&self) -> Result<(), Fault> {
        let mut work = self.pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(SCHEMA_LOCK)
            .execute(&mut *work)
            .await?;
        sqlx::raw_sql(SCHEMA).execute(&mut *work).await?;
        work.commit().await?;
        Ok(())
    }

    fn outage(&self, fault: Fault, doing: &str) -> Outage {
        let what = format!("could not {doing} (PostgreSQL at {})", self.server);
        match fault {
            Fault::Sql(sqlx::Error::Database(error)) => Outage {
                code: "store-failed",
                ..unreadable(&what, error.message())
            },
            Fault::Corrupt(why) => Outage {
                code: "store-corrupt",
                ..unreadable(&what, &why)
            },
            other => unreadable(&what, &other.to_string()),
        }
    }
}

fn unreadable(what: &str, why: &str) -> Outage {
    Outage {
        code: "store-unreadable",
        what: what.to_owned(),
        why: why.to_owned(),
        next: "check that PostgreSQL runs and takes this account: psql with the same URL".to_owned(),
    }
}

impl Queue for PostgresQueue {
    async fn accept_all(&self, deliveries: &[Delivery]) -> Result<Vec<bool>, Outage> {
        let done = accept_all(&self.pool, deliveries).await;
        done.map_err(|fault| self.outage(fault, "store deliveries"))
    }

    async fn ping(&self) -> Result<(), Outage> {
        let done = sqlx::query("SELECT 1 FROM lychgate_inbox LIMIT 1")
            .fetch_optional(&self.pool)
            .await;
        done.map(|_| ())
            .map_err(|error| self.outage(error.into(), "reach the store"))
    }

    async fn lease_delivery(
        &self,
        now: Timestamp,
        until: Timestamp,
        owner: &str,
    ) -> Result<Option<Leased<Delivery>>, Outage> {
        let done = lease_delivery(&self.pool, now, until, owner).await;
        done.map_err(|fault| self.outage(fault, "lease a delivery"))
    }

    async fn finish_delivery(&self, lease: &Leased<Delivery>, displays: &[Display]) -> Result<bool, Outage> {
        let done = finish_delivery(&self.pool, lease, displays).await;
        done.map_err(|fault| self.outage(fault, "finish a delivery"))
    }

    async fn postpone_delivery(&self, lease: &Leased<Delivery>, again: Timestamp, why: &str) -> Result<(), Outage> {
        const POSTPONE: &str = "UPDATE lychgate_inbox SET state = CASE WHEN attempts >= $5 THEN 'dead' ELSE 'waiting' END, \
             due = $3, why = $4 WHERE row = $1 AND fence = $2 AND state = 'leased'";
        let done = postpone(&self.pool, POSTPONE, (lease.row, lease.fence), again, why).await;
        done.map_err(|fault| self.outage(fault, "postpone a delivery"))
    }

    async fn latest_display(&self, repo: &ForgeRepo, number: u64) -> Result<Option<Display>, Outage> {
        let done = latest_display(&self.pool, &repo.change_lane(number)).await;
        done.map_err(|fault| self.outage(fault, "read the latest display"))
    }

    async fn lease_display(
        &self,
        now: Timestamp,
        until: Timestamp,
        owner: &str,
    ) -> Result<Option<Leased<Display>>, Outage> {
        let done = lease_display(&self.pool, now, until, owner).await;
        done.map_err(|fault| self.outage(fault, "lease a display"))
    }

    async fn finish_display(&self, lease: &Leased<Display>) -> Result<bool, Outage> {
        const FINISH: &str =
            "UPDATE lychgate_outbox SET state = 'done', why = '' WHERE row = $1 AND fence = $2 AND state = 'leased'";
        let done = sqlx::query(FINISH)
            .bind(lease.row)
            .bind(lease.fence)
            .execute(&self.pool)
            .await;
        done.map(|done| done.rows_affected() == 1)
            .map_err(|error| self.outage(error.into(), "finish a display"))
    }

    async fn postpone_display(&self, lease: &Leased<Display>, again: Timestamp, why: &str) -> Result<(), Outage> {
        const POSTPONE: &str = "UPDATE lychgate_outbox SET state = CASE WHEN attempts >= $5 THEN 'dead' ELSE 'waiting' END, \
             due = $3, why = $4 WHERE row = $1 AND fence = $2 AND state = 'leased'";
        let done = postpone(&self.pool, POSTPONE, (lease.row, lease.fence), again, why).await;
        done.map_err(|fault| self.outage(fault, "postpone a display"))
    }

    async fn renew(&self, letter_box: LetterBox, lease: (i64, i64), until: Timestamp) -> Result<bool, Outage> {
        let text = match letter_box {
            LetterBox::Inbox => {
                "UPDATE lychgate_inbox SET until = $3 WHERE row = $1 AND fence = $2 AND state = 'leased'"
            }
            LetterBox::Outbox => {
                "UPDATE lychgate_outbox SET until = $3 WHERE row = $1 AND fence = $2 AND state = 'leased'"
            }
        };
        let query = sqlx::query(text).bind(lease.0).bind(lease.1).bind(until.unix());
        let done = query.execute(&self.pool).await;
        done.map(|done| done.rows_affected() == 1)
            .map_err(|error| self.outage(error.into(), "renew a lease"))
    }

    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>, Outage> {
        const DEAD: &str =
            "SELECT box, row, lane, attempts, why, content FROM lychgate_dead_letter ORDER BY row DESC, box LIMIT $1";
        let read = sqlx::query(DEAD).bind(i64::from(limit)).fetch_all(&self.pool).await;
        read.map_err(Fault::from)
            .and_then(|rows| rows.iter().map(dead_letter).collect())
            .map_err(|fault| self.outage(fault, "read the dead letters"))
    }

    async fn replay(&self, letter_box: LetterBox, row: i64) -> Result<bool, Outage> {
        let text = match letter_box {
            LetterBox::Inbox => {
                "UPDATE lychgate_inbox SET state = 'waiting', attempts = 0, due = 0 WHERE row = $1 AND state = 'dead'"
            }
            LetterBox::Outbox => {
                "UPDATE lychgate_outbox SET state = 'waiting', attempts = 0, due = 0 WHERE row = $1 AND state = 'dead'"
            }
        };
        let done = sqlx::query(text).bind(row).execute(&self.pool).await;
        done.map(|done| done.rows_affected() == 1)
            .map_err(|error| self.outage(error.into(), "replay a dead letter"))
    }

    async fn forget(&self, now: Timestamp, kept: &Retention, most: u32) -> Result<u64, Outage> {
        let done = forget(&self.pool, now, kept, most).await;
        done.map_err(|fault| self.outage(fault, "forget old deliveries"))
    }

    async fn depth(&self) -> Result<Depth, Outage> {
        const DEPTH: &str = "SELECT (SELECT count(*) FROM lychgate_inbox WHERE state IN ('waiting', 'leased')), \
             (SELECT count(*) FROM lychgate_outbox WHERE state IN ('waiting', 'leased')), \
             (SELECT count(*) FROM lychgate_dead_letter), \
             coalesce((SELECT received_at FROM lychgate_inbox WHERE state IN ('waiting', 'leased') \
               ORDER BY row LIMIT 1), 0)";
        let read = sqlx::query(DEPTH).fetch_one(&self.pool).await;
        read.map_err(Fault::from)
            .and_then(|row| depth(&row))
            .map_err(|fault| self.outage(fault, "count what waits"))
    }
}

async fn accept_all(pool: &PgPool, deliveries: &[Delivery]) -> Result<Vec<bool>, Fault> {
    const ACCEPT: &str = "INSERT INTO lychgate_inbox (forge, delivery, lane, received_at, event, covers, state) \
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::boolean[], $7::text[]) \
         ON CONFLICT (forge, delivery) DO NOTHING RETURNING forge, delivery";
    let all = deliveries.iter().map(arrival).collect::<Result<Vec<_>, _>>()?;
    let texts = |of: fn(&Arrival) -> &str| all.iter().map(|it| of(it).to_owned()).collect::<Vec<_>>();
    let stored = sqlx::query(ACCEPT)
        .bind(texts(|it| &it.forge))
        .bind(texts(|it| &it.delivery))
        .bind(texts(|it| &it.lane))
        .bind(all.iter().map(|it| it.received_at).collect::<Vec<_>>())
        .bind(texts(|it| &it.event))
        .bind(all.iter().map(|it| it.covers).collect::<Vec<_>>())
        .bind(texts(|it| it.state))
        .fetch_all(pool)
        .await?;
    new_ones(deliveries, &stored)
}

/// Begins a write that need not be on the disk when it returns: after a crash of the server, what it did is done
/// again, which has no other effect. <https://www.postgresql.org/docs/15/wal-async-commit.html>
async fn begin(pool: &PgPool) -> Result<PgTransaction<'_>, Fault> {
    let begun = pool.begin_with("BEGIN; SET LOCAL synchronous_commit = off").await?;
    Ok(begun)
}

/// Takes the lane's lock until the transaction ends; `false` if another replica has it.
async fn lock_lane(work: &mut PgConnection, lane: &str) -> Result<bool, Fault> {
    let row = sqlx::query("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(lane)
        .fetch_one(work)
        .await?;
    Ok(row.try_get(0)?)
}

async fn lease_delivery(
    pool: &PgPool,
    now: Timestamp,
    until: Timestamp,
    owner: &str,
) -> Result<Option<Leased<Delivery>>, Fault> {
    const BURY: &str = "UPDATE lychgate_inbox SET state = 'dead', why = 'its worker ended each time' \
         WHERE state = 'leased' AND until <= $1 AND attempts >= $2";
    const CANDIDATE: &str = "SELECT i.row, i.lane FROM lychgate_inbox i WHERE \
         ((i.state = 'waiting' AND i.due <= $1) OR (i.state = 'leased' AND i.until <= $1 AND i.attempts < $3)) \
         AND NOT EXISTS (SELECT 1 FROM lychgate_inbox o WHERE o.lane = i.lane AND o.row <> i.row \
           AND o.state = 'leased' AND o.until > $1) \
         ORDER BY i.row LIMIT $2 FOR UPDATE OF i SKIP LOCKED";
    // Asked again under the lane's lock: the candidates were seen before it.
    const LEASE: &str = "UPDATE lychgate_inbox i SET state = 'leased', until = $2, owner = $3, fence = fence + 1, \
         attempts = attempts + 1 WHERE i.row = $4 AND NOT EXISTS (SELECT 1 FROM lychgate_inbox o \
           WHERE o.lane = i.lane AND o.row <> i.row AND o.state = 'leased' AND o.until > $1) \
         RETURNING row, fence, attempts, forge, delivery, received_at, event, covers::int::bigint";
    const COVER: &str = "UPDATE lychgate_inbox SET state = 'done', why = 'covered by a later reading' \
         WHERE row IN (SELECT row FROM lychgate_inbox WHERE lane = $1 AND row <> $2 AND covers AND state = 'waiting' \
           FOR UPDATE SKIP LOCKED)";
    let mut work = begin(pool).await?;
    let candidates = sqlx::query(CANDIDATE)
        .bind(now.unix())
        .bind(CANDIDATES)
        .bind(MAX_ATTEMPTS)
        .fetch_all(&mut *work)
        .await?;
    for candidate in candidates {
        let (row, lane): (i64, String) = (candidate.number(0)?, candidate.text(1)?);
        if !lock_lane(&mut work, &lane).await? {
            continue;
        }
        let query = sqlx::query(LEASE)
            .bind(now.unix())
            .bind(until.unix())
            .bind(owner)
            .bind(row);
        let Some(leased) = query.fetch_optional(&mut *work).await? else {
            continue;
        };
        let lease = leased_delivery(&leased)?;
        if leased.number(7)? == 1 {
            sqlx::query(COVER).bind(&lane).bind(row).execute(&mut *work).await?;
        }
        work.commit().await?;
        return Ok(Some(lease));
    }
    let bury = sqlx::query(BURY).bind(now.unix()).bind(MAX_ATTEMPTS);
    bury.execute(&mut *work).await?;
    work.commit().await?;
    Ok(None)
}

async fn finish_delivery(pool: &PgPool, lease: &Leased<Delivery>, displays: &[Display]) -> Result<bool, Fault> {
    const FINISH: &str =
        "UPDATE lychgate_inbox SET state = 'done', why = '' WHERE row = $1 AND fence = $2 AND state = 'leased'";
    const REPLACE: &str = "DELETE FROM lychgate_outbox WHERE lane = $1 AND state IN ('done', 'superseded')";
    let mut work = begin(pool).await?;
    let done = sqlx::query(FINISH)
        .bind(lease.row)
        .bind(lease.fence)
        .execute(&mut *work)
        .await?;
    if done.rows_affected() != 1 {
        return Ok(false);
    }
    for display in displays {
        sqlx::query(REPLACE).bind(display.lane()).execute(&mut *work).await?;
        sqlx::query("INSERT INTO lychgate_outbox (lane, display) VALUES ($1, $2)")
            .bind(display.lane())
            .bind(json(display)?)
            .execute(&mut *work)
            .await?;
    }
    work.commit().await?;
    Ok(true)
}

async fn forget(pool: &PgPool, now: Timestamp, kept: &Retention, most: u32) -> Result<u64, Fault> {
    // As in `queue`.
    const SURPLUS: &str = "SELECT received_at FROM lychgate_inbox \
         WHERE row <= (SELECT max(row) FROM lychgate_inbox) - $1 ORDER BY row DESC LIMIT 1";
    const FORGET: &str = "DELETE FROM lychgate_inbox WHERE row IN (SELECT row FROM lychgate_inbox \
         WHERE state = 'done' AND received_at < $1 ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED)";
    let mut work = begin(pool).await?;
    let surplus = sqlx::query(SURPLUS).bind(kept.deliveries);
    let surplus = surplus.fetch_optional(&mut *work).await?;
    let surplus = surplus.map(|row| row.number(0)).transpose()?;
    let gone = sqlx::query(FORGET)
        .bind(kept.before(now, surplus))
        .bind(i64::from(most));
    let gone = gone.execute(&mut *work).await?.rows_affected();
    work.commit().await?;
    Ok(gone)
}

async fn postpone(
    pool: &PgPool,
    text: &'static str,
    (row, fence): (i64, i64),
    again: Timestamp,
    why: &str,
) -> Result<(), Fault> {
    let query = sqlx::query(text).bind(row).bind(fence).bind(again.unix());
    query.bind(bounded(why)).bind(MAX_ATTEMPTS).execute(pool).await?;
    Ok(())
}

async fn latest_display(pool: &PgPool, lane: &str) -> Result<Option<Display>, Fault> {
    let row = sqlx::query("SELECT display FROM lychgate_outbox WHERE lane = $1 ORDER BY row DESC LIMIT 1")
        .bind(lane)
        .fetch_optional(pool)
        .await?;
    row.map(|row| parsed(&row.text(0)?)).transpose()
}

async fn lease_display(
    pool: &PgPool,
    now: Timestamp,
    until: Timestamp,
    owner: &str,
) -> Result<Option<Leased<Display>>, Fault> {
    const SUPERSEDE: &str = "UPDATE lychgate_outbox SET state = 'superseded' WHERE row IN ( \
         SELECT d.row FROM lychgate_outbox d WHERE (d.state = 'waiting' OR (d.state = 'leased' AND d.until <= $1)) \
           AND EXISTS (SELECT 1 FROM lychgate_outbox n WHERE n.lane = d.lane AND n.row > d.row) \
         FOR UPDATE OF d SKIP LOCKED)";
    const CANDIDATE: &str = "SELECT i.row, i.lane FROM lychgate_outbox i WHERE \
         ((i.state = 'waiting' AND i.due <= $1) OR (i.state = 'leased' AND i.until <= $1)) \
         AND NOT EXISTS (SELECT 1 FROM lychgate_outbox o WHERE o.lane = i.lane AND o.row <> i.row \
           AND (o.row > i.row OR (o.state = 'leased' AND o.until > $1))) \
         ORDER BY i.row LIMIT $2 FOR UPDATE OF i SKIP LOCKED";
    const LEASE: &str = "UPDATE lychgate_outbox i SET state = 'leased', until = $2, owner = $3, fence = fence + 1, \
         attempts = attempts + 1 WHERE i.row = $4 AND NOT EXISTS (SELECT 1 FROM lychgate_outbox o \
           WHERE o.lane = i.lane AND o.row <> i.row AND (o.row > i.row OR (o.state = 'leased' AND o.until > $1))) \
         RETURNING row, fence, attempts, display";
    let mut work = begin(pool).await?;
    sqlx::query(SUPERSEDE).bind(now.unix()).execute(&mut *work).await?;
    let candidates = sqlx::query(CANDIDATE)
        .bind(now.unix())
        .bind(CANDIDATES)
        .fetch_all(&mut *work)
        .await?;
    let mut leased = None;
    for candidate in candidates {
        let (row, lane): (i64, String) = (candidate.number(0)?, candidate.text(1)?);
        if !lock_lane(&mut work, &lane).await? {
            continue;
        }
        let query = sqlx::query(LEASE)
            .bind(now.unix())
            .bind(until.unix())
            .bind(owner)
            .bind(row);
        leased = query.fetch_optional(&mut *work).await?;
        if leased.is_some() {
            break;
        }
    }
    work.commit().await?;
    leased.map(|row| leased_display(&row)).transpose()
}
