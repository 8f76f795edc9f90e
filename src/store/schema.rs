//! The schema: its versions, the fast check of an opened file, and the way up from an older one.
//!
//! The version stands in the file's header (`user_version`), so that the
//! usual open costs one read of page 1 and no table of migrations.

use super::fault::Fault;
use sqlx::{Row, SqliteConnection};

/// All steps in order; a file of version n has had the first n.
pub(super) const STEPS: &[&str] = &[
    include_str!("migrations/0001_ledger.sql"),
    include_str!("migrations/0002_work.sql"),
    include_str!("migrations/0003_bot.sql"),
    include_str!("migrations/0004_waiver.sql"),
    include_str!("migrations/0005_ref_selector.sql"),
];

/// `Lych` in ASCII: tells a ledger from any other SQLite file.
/// <https://www.sqlite.org/pragma.html#pragma_application_id>
const APPLICATION_ID: i64 = 0x4c79_6368;

/// What an opened file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing is in it yet.
    Blank,
    /// A ledger of the schema of this program.
    Current,
    /// A ledger of an older schema.
    Older,
}

/// Looks at the file's header.
///
/// # Errors
/// [`Fault::Corrupt`] for another program's database, [`Fault::Newer`] for a later schema.
pub(super) async fn identify(sql: &mut SqliteConnection, steps: &[&'static str]) -> Result<Kind, Fault> {
    let (application, version) = header(sql).await?;
    let known = known(steps)?;
    match application {
        0 if version == 0 && is_empty(sql).await? => Ok(Kind::Blank),
        APPLICATION_ID if version > known => Err(Fault::Newer { found: version, known }),
        APPLICATION_ID if version == known => Ok(Kind::Current),
        APPLICATION_ID if version > 0 => Ok(Kind::Older),
        _ => Err(Fault::Corrupt(
            "it is an SQLite file, but no ledger of lychgate".to_owned(),
        )),
    }
}

/// Takes the steps that the file has not had, under a lock and all or none.
///
/// Two programs may call it at once: the second finds the work done.
pub(super) async fn migrate(sql: &mut SqliteConnection, steps: &[&'static str]) -> Result<(), Fault> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *sql).await?;
    let outcome = take_steps(sql, steps).await;
    let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = sqlx::query(end).execute(&mut *sql).await;
    outcome?;
    ended?;
    Ok(())
}

async fn take_steps(sql: &mut SqliteConnection, steps: &[&'static str]) -> Result<(), Fault> {
    let (_, version) = header(sql).await?;
    let known = known(steps)?;
    if version > known {
        return Err(Fault::Newer { found: version, known });
    }
    let had = usize::try_from(version).map_err(|_| Fault::Corrupt(format!("its schema has version {version}")))?;
    for step in &steps[had..] {
        sqlx::raw_sql(*step).execute(&mut *sql).await?;
    }
    // Pragmas take no parameters; both numbers are ours.
    let stamp = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {known};");
    sqlx::raw_sql(sqlx::AssertSqlSafe(stamp)).execute(&mut *sql).await?;
    Ok(())
}

/// Two statements that give the file's application id and schema version.
macro_rules! select_header {
    () => {
        "PRAGMA application_id; PRAGMA user_version"
    };
}
pub(super) use select_header;

/// The header of a file that has had all steps.
pub(super) fn current(steps: &[&str]) -> Result<(i64, i64), Fault> {
    Ok((APPLICATION_ID, known(steps)?))
}

/// Application id and schema version, in one round trip.
async fn header(sql: &mut SqliteConnection) -> Result<(i64, i64), Fault> {
    let rows = sqlx::query(select_header!()).fetch_all(sql).await?;
    match rows.as_slice() {
        [application, version] => Ok((application.try_get(0)?, version.try_get(0)?)),
        _ => Err(Fault::Corrupt("its header cannot be read".to_owned())),
    }
}

async fn is_empty(sql: &mut SqliteConnection) -> Result<bool, Fault> {
    let row = sqlx::query("SELECT count(*) FROM sqlite_schema").fetch_one(sql).await?;
    Ok(row.try_get::<i64, _>(0)? == 0)
}

fn known(steps: &[&str]) -> Result<i64, Fault> {
    i64::try_from(steps.len()).map_err(|_| Fault::Refused("more schema steps than a file can count".to_owned()))
}
