//! Adapter: the ledger in SQLite, one file beside the repository, no daemon.
//!
//! In scope: [`SqliteStore`], which makes, opens and migrates the file and
//! serves [`Store`] from it. Out of scope: what decisions, entries and leaves
//! mean (`decision`, `attest`, `tlog`), when to record and publish (`pipeline`).
//!
//! One connection, since one hook process serves one push. Write-ahead log and
//! `synchronous = FULL`: what a method wrote is on the disk when it returns.
//! Writers take the lock before they read (`BEGIN IMMEDIATE`), so that a
//! transaction never has to be tried again because of another.
//!
//! * `batch`: a transaction as one command.
//! * `schema`: versions of the file, the check at open, the way up.
//! * `ledger`: decisions and entries. `log`: the log and re-opens. `work`: caches and tasks.
//! * `queue` (with the bot): inbox and outbox; `postgres`: the same for many replicas; `lease`: what they share.
//! * `row`: columns ↔ port types. `fault`: errors → outages.

mod batch;
mod fault;
#[cfg(feature = "bot")]
mod lease;
mod ledger;
mod log;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "bot")]
mod queue;
mod row;
mod schema;
mod work;

use crate::port::{
    Append, DecisionRecord, Document, EntryRecord, Outage, ReopenRecord, Store, Task, Tip, WaiverRecord,
};
use crate::push::{Oid, RefName, Timestamp};
use crate::tlog::Head;
use batch::Batch;
use fault::Fault;
use schema::{Kind, STEPS};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a writer waits for another before it gives up with `store-busy`.
///
/// GHES gives all hooks together 5 s; the longest lock of ours is a migration.
const BUSY: Duration = Duration::from_secs(5);

/// Bytes of write-ahead log that a process may leave to the next, which reads it when it opens the ledger.
///
/// Reading 1 MiB takes about half a millisecond; folding it into the file takes more, but only every thirtieth push.
const LOG_LEFT_BEHIND: u64 = 1 << 20;

/// The embedded [`Store`]: one SQLite file, one connection.
///
/// Calls from several tasks wait for each other; several processes may have
/// the same file open. A call whose future is dropped changes nothing or all.
pub struct SqliteStore {
    path: PathBuf,
    link: Mutex<Link>,
    /// A second connection, which folds the write-ahead log into the file while the first one works.
    #[cfg(feature = "bot")]
    folder: Mutex<Option<SqliteConnection>>,
}

/// The connection, and whether a transaction on it may have been left open.
struct Link {
    sql: SqliteConnection,
    unsettled: bool,
}

impl Link {
    /// Takes back what a dropped future or a failed statement left open.
    async fn settle(&mut self) -> &mut SqliteConnection {
        if self.unsettled {
            // It fails where SQLite has rolled back already, which is as well.
            let _ = sqlx::query("ROLLBACK").execute(&mut self.sql).await;
            let _ = sqlx::query("PRAGMA synchronous = FULL").execute(&mut self.sql).await;
            self.unsettled = false;
        }
        &mut self.sql
    }
}

impl SqliteStore {
    /// Makes the ledger (mode 0600) and brings its schema up to date; keeps what is in one that exists.
    ///
    /// # Errors
    /// `store-missing` (no such folder), `store-unreadable`, `store-read-only`, `store-full`, `store-busy`,
    /// `store-corrupt` (the file is something else), `store-newer-than-program`.
    pub async fn create(path: &Path) -> Result<Self, Outage> {
        let path = absolute(path)?;
        touch_private(&path).map_err(|error| fault::unopened(&path, &error))?;
        let options = options(&path).journal_mode(SqliteJournalMode::Wal);
        Self::connect(path, options, |kind| kind != Kind::Current).await
    }

    /// Opens a ledger that exists; an older schema is brought up to date first.
    ///
    /// The usual case reads the file's first page and nothing else.
    ///
    /// # Errors
    /// `store-missing`, `store-unreadable`, `store-corrupt` (no ledger, or damaged), `store-busy`,
    /// `store-newer-than-program`; on migration also those of a write.
    pub async fn open(path: &Path) -> Result<Self, Outage> {
        let path = absolute(path)?;
        // SQLite says "unable to open" for every cause; the system knows which.
        File::open(&path).map_err(|error| fault::unopened(&path, &error))?;
        let options = options(&path);
        Self::connect(path, options, |kind| kind == Kind::Older).await
    }

    /// Opens a ledger as [`SqliteStore::open`] does, and gives what [`Store::pending`] gives: what each hook asks first.
    ///
    /// # Errors
    /// As for [`SqliteStore::open`] and [`Store::pending`].
    pub async fn open_pending(path: &Path) -> Result<(Self, Vec<EntryRecord>), Outage> {
        let path = absolute(path)?;
        File::open(&path).map_err(|error| fault::unopened(&path, &error))?;
        let words = |fault: Fault| fault.outage(&path, "open the ledger");
        let mut sql = link(&options(&path)).await.map_err(words)?;
        let known = schema::current(STEPS).map_err(words)?;
        if let Ok(Some(pending)) = ledger::pending_if(&mut sql, known).await {
            return Ok((Self::of(path, sql), pending));
        }
        // An older schema, or a fault: the long way does what is to be done, or finds the words for it.
        let store = Self::ready(path, sql, |kind| kind == Kind::Older).await?;
        let pending = store.pending().await?;
        Ok((store, pending))
    }

    async fn connect(
        path: PathBuf,
        options: SqliteConnectOptions,
        migrates: impl Fn(Kind) -> bool,
    ) -> Result<Self, Outage> {
        let sql = link(&options)
            .await
            .map_err(|fault| fault.outage(&path, "open the ledger"))?;
        Self::ready(path, sql, migrates).await
    }

    async fn ready(path: PathBuf, mut sql: SqliteConnection, migrates: impl Fn(Kind) -> bool) -> Result<Self, Outage> {
        let words = |fault: Fault| fault.outage(&path, "open the ledger");
        let kind = schema::identify(&mut sql, STEPS).await.map_err(words)?;
        if migrates(kind) {
            schema::migrate(&mut sql, STEPS)
                .await
                .map_err(|fault| fault.outage(&path, "bring the ledger's schema up to date"))?;
        } else if kind == Kind::Blank {
            return Err(words(Fault::Corrupt("the file is empty".to_owned())));
        }
        Ok(Self::of(path, sql))
    }

    fn of(path: PathBuf, sql: SqliteConnection) -> Self {
        let link = Mutex::new(Link { sql, unsettled: false });
        Self {
            path,
            link,
            #[cfg(feature = "bot")]
            folder: Mutex::default(),
        }
    }

    /// Closes the ledger and, if no other process has it open, folds the write-ahead log into the file.
    ///
    /// # Errors
    /// Those of a write. All that was recorded is safe nonetheless.
    pub async fn close(self) -> Result<(), Outage> {
        let mut link = self.link.into_inner();
        link.settle().await;
        let closed = link.sql.close().await;
        closed.map_err(|error| Fault::from(error).outage(&self.path, "close the ledger"))
    }

    /// Folds the write-ahead log into the file as far as nobody reads it, without waiting. The next write of this
    /// process then begins the log anew.
    ///
    /// # Errors
    /// Those of a write. All that was recorded is safe nonetheless.
    pub async fn fold(&self) -> Result<(), Outage> {
        let doing = "fold the write-ahead log into the ledger";
        self.read(doing, async |sql| {
            sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(sql).await?;
            Ok(())
        })
        .await
    }

    /// Ends the use of the ledger in a process that ends now: a hook.
    ///
    /// [`SqliteStore::close`] costs about as much as the push's own write, so
    /// this leaves the write-ahead log to the next process while it is short,
    /// and closes once it is not. The connection and its thread then end with
    /// the process. Cannot fail: all that was recorded is on the disk.
    pub async fn leave(self) {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        let long = std::fs::metadata(log).is_ok_and(|log| log.len() > LOG_LEFT_BEHIND);
        if long {
            // What a failed close leaves undone, the next process does.
            let _ = self.close().await;
        } else {
            std::mem::forget(self.link);
        }
    }

    /// Runs reads that belong together only by the connection's lock.
    async fn read<T>(
        &self,
        doing: &str,
        body: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Fault>,
    ) -> Result<T, Outage> {
        let mut link = self.link.lock().await;
        let outcome = body(link.settle().await).await;
        outcome.map_err(|fault| fault.outage(&self.path, doing))
    }

    /// Runs a write: one transaction, durable when this returns `Ok`, without trace otherwise.
    async fn write<T>(&self, body: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut link = self.link.lock().await;
        link.settle().await;
        link.unsettled = true;
        let outcome = transact(&mut link.sql, body).await;
        if outcome.is_ok() {
            link.unsettled = false;
        } else {
            link.settle().await;
        }
        outcome
    }

    /// Runs a transaction whose statements are all known, as [`SqliteStore::write`] does, in one turn.
    async fn run(&self, batch: Batch) -> Result<(), Fault> {
        let mut link = self.link.lock().await;
        link.settle().await;
        link.unsettled = true;
        let outcome = batch.run(&mut link.sql).await;
        if outcome.is_ok() {
            link.unsettled = false;
        } else {
            link.settle().await;
        }
        outcome
    }

    fn words<'a>(&'a self, doing: &'a str) -> impl FnOnce(Fault) -> Outage + 'a {
        move |fault| fault.outage(&self.path, doing)
    }
}

async fn transact<T>(
    sql: &mut SqliteConnection,
    body: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *sql).await?;
    let value = body(sql).await?;
    sqlx::query("COMMIT").execute(sql).await?;
    Ok(value)
}

async fn link(options: &SqliteConnectOptions) -> Result<SqliteConnection, Fault> {
    Ok(options.connect().await?)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
}

/// The whole path: SQLite would read a relative one that starts with `file:` as a URI.
fn absolute(path: &Path) -> Result<PathBuf, Outage> {
    std::path::absolute(path).map_err(|error| fault::unopened(path, &error))
}

/// Makes the file if there is none, readable by its owner alone; SQLite gives the same mode to what it puts beside it.
fn touch_private(path: &Path) -> std::io::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        // The name must outlive a power cut as the content does.
        Ok(_) => File::open(path.parent().unwrap_or(path))?.sync_all(),
    }
}

impl Store for SqliteStore {
    async fn record<D: Document>(
        &self,
        decision: &DecisionRecord<D>,
        pending: &[EntryRecord],
        scanned: &[Oid],
        rule_set: &str,
    ) -> Result<(), Outage> {
        let words = self.words("record the decision");
        let record = match ledger::Recording::of(decision, pending) {
            Ok(record) => record,
            Err(fault) => return Err(words(fault)),
        };
        let mut batch = Batch::new();
        record.insert(&mut batch);
        work::insert_scanned(&mut batch, scanned, rule_set);
        self.run(batch).await.map_err(words)
    }

    async fn decision(&self, push_id: &str) -> Result<Option<DecisionRecord>, Outage> {
        let doing = "read a decision";
        self.read(doing, async |sql| ledger::decision(sql, push_id).await).await
    }

    async fn decisions(&self, limit: u32) -> Result<Vec<DecisionRecord>, Outage> {
        let doing = "read the decisions";
        self.read(doing, async |sql| ledger::decisions(sql, limit).await).await
    }

    async fn scanned(&self, commits: &[Oid], rule_set: &str) -> Result<Vec<Oid>, Outage> {
        let doing = "read which commits were scanned";
        self.read(doing, async |sql| work::scanned(sql, commits, rule_set).await)
            .await
    }

    async fn mark_scanned(&self, commits: &[Oid], rule_set: &str) -> Result<(), Outage> {
        let mut batch = Batch::new();
        work::insert_scanned(&mut batch, commits, rule_set);
        self.run(batch).await.map_err(self.words("note what was scanned"))
    }

    async fn pending(&self) -> Result<Vec<EntryRecord>, Outage> {
        let doing = "read the pending entries";
        self.read(doing, async |sql| ledger::pending(sql).await).await
    }

    async fn void(&self, ids: &[String]) -> Result<(), Outage> {
        self.write(async |sql| ledger::void(sql, ids).await)
            .await
            .map_err(self.words("mark entries void"))
    }

    async fn entry(&self, id: &str) -> Result<Option<EntryRecord>, Outage> {
        let doing = "read an entry";
        self.read(doing, async |sql| ledger::entry(sql, id).await).await
    }

    async fn latest(&self, name: &RefName) -> Result<Option<EntryRecord>, Outage> {
        let doing = "read a ref's latest entry";
        self.read(doing, async |sql| ledger::latest(sql, name).await).await
    }

    async fn entries_of(&self, commit: Oid) -> Result<Vec<EntryRecord>, Outage> {
        let doing = "read a commit's entries";
        self.read(doing, async |sql| ledger::entries_of(sql, commit).await)
            .await
    }

    async fn entries(&self, limit: u32) -> Result<Vec<EntryRecord>, Outage> {
        let doing = "read the entries";
        self.read(doing, async |sql| ledger::entries(sql, limit).await).await
    }

    async fn head(&self) -> Result<Head, Outage> {
        let doing = "read the log's head";
        self.read(doing, async |sql| log::head(sql).await).await
    }

    async fn nodes(&self, wanted: &[(u8, u64)]) -> Result<Vec<[u8; 32]>, Outage> {
        let doing = "read the log's hashes";
        self.read(doing, async |sql| log::nodes(sql, wanted).await).await
    }

    async fn leaf(&self, index: u64) -> Result<Option<Vec<u8>>, Outage> {
        let doing = "read a leaf of the log";
        self.read(doing, async |sql| log::leaf(sql, index).await).await
    }

    async fn next_status_index(&self) -> Result<u64, Outage> {
        let doing = "read the next status list index";
        self.read(doing, async |sql| ledger::next_status_index(sql).await).await
    }

    async fn tip(&self) -> Result<Tip, Outage> {
        let doing = "read the log's head";
        self.read(doing, async |sql| log::tip(sql).await).await
    }

    async fn append(&self, expected_size: u64, append: &Append) -> Result<bool, Outage> {
        let doing = "append to the log";
        let batch = log::append(expected_size, append).map_err(self.words(doing))?;
        let Err(fault) = self.run(batch).await else {
            return Ok(true);
        };
        // What the schema refuses came too late, or is a mistake of ours.
        let late = fault.is_constraint()
            && self
                .read(doing, async |sql| log::is_lost(sql, expected_size, append).await)
                .await?;
        if late {
            Ok(false)
        } else {
            Err(fault.outage(&self.path, doing))
        }
    }

    async fn reopens(&self) -> Result<Vec<ReopenRecord>, Outage> {
        let doing = "read the re-open events";
        self.read(doing, async |sql| log::reopens(sql).await).await
    }

    async fn waivers(&self, end_after: Timestamp) -> Result<Vec<WaiverRecord>, Outage> {
        let doing = "read the waivers";
        self.read(doing, async |sql| log::waivers(sql, end_after).await).await
    }

    async fn tasks(&self, limit: u32) -> Result<Vec<(i64, Task)>, Outage> {
        let doing = "read the tasks";
        self.read(doing, async |sql| work::tasks(sql, limit).await).await
    }

    async fn task_done(&self, row: i64) -> Result<(), Outage> {
        self.write(async |sql| work::task_done(sql, row).await)
            .await
            .map_err(self.words("remove a done task"))
    }

    async fn mark_used(&self, key: &str) -> Result<(), Outage> {
        self.write(async |sql| work::mark_used(sql, key).await)
            .await
            .map_err(self.words("note a key's second opinion"))
    }

    async fn used_keys(&self) -> Result<Vec<String>, Outage> {
        let doing = "read which keys had their second opinion";
        self.read(doing, async |sql| work::used_keys(sql).await).await
    }
}
