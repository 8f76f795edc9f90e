//! A transaction as one command.
//!
//! sqlx runs SQLite on a thread of its own, and each call waits for that thread and back. In a hook these turns cost
//! more than the statements do, so a transaction whose statements are known beforehand goes there as a whole.

use super::fault::Fault;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

/// The statements of one transaction.
pub(super) struct Batch(QueryBuilder<Sqlite>);

impl Batch {
    /// A transaction that takes the lock for writing before it reads.
    pub(super) fn new() -> Self {
        Self(QueryBuilder::new("BEGIN IMMEDIATE"))
    }

    /// Begins the next statement; the caller adds its values and the rest of it.
    pub(super) fn statement(&mut self, start: &'static str) -> &mut QueryBuilder<Sqlite> {
        self.0.push("; ").push(start)
    }

    /// Runs all of it and commits.
    ///
    /// # Errors
    /// That of the first statement that fails. What went before it is then done and not yet taken back.
    pub(super) async fn run(mut self, sql: &mut SqliteConnection) -> Result<(), Fault> {
        self.0.push("; COMMIT");
        self.0.build().persistent(false).execute(sql).await?;
        Ok(())
    }
}
