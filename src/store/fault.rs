//! How the store fails: what went wrong inside, and the one mapping to an [`Outage`].
//!
//! In scope: stable codes, words for an operator. Out of scope: deciding what
//! an outage means for a push (it denies; see `pipeline`).

use crate::port::Outage;
use std::path::Path;

/// What went wrong inside the store, before it is put into words.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// SQLite or the driver failed.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// A row holds what this program never writes.
    #[error("{0}")]
    Corrupt(String),
    /// The caller asked for what would break the ledger.
    #[error("{0}")]
    Refused(String),
    /// The schema is of a later program.
    #[error("its schema has version {found}, this program knows {known}")]
    Newer {
        /// Version of the file.
        found: i64,
        /// Newest version that this program can read.
        known: i64,
    },
}

impl Fault {
    /// Puts the fault into an operator's words.
    ///
    /// * `doing`: what was tried, as it follows "could not".
    pub(super) fn outage(self, path: &Path, doing: &str) -> Outage {
        let code = self.code();
        Outage {
            code,
            what: format!("could not {doing} ({})", path.display()),
            why: self.why(),
            next: next_step(code, path),
        }
    }

    /// Whether the schema refused what was to be written.
    pub(super) fn is_constraint(&self) -> bool {
        self.code() == "store-refused"
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Sql(error) => sql_code(error),
            Self::Corrupt(_) => "store-corrupt",
            Self::Refused(_) => "store-refused",
            Self::Newer { .. } => "store-newer-than-program",
        }
    }

    /// The layer's own message: SQLite's names tables and columns, never values.
    fn why(&self) -> String {
        match self {
            Self::Sql(sqlx::Error::Database(error)) => error.message().to_owned(),
            other => other.to_string(),
        }
    }
}

/// The stable code of a driver error, by SQLite's primary result code.
///
/// <https://www.sqlite.org/rescode.html>
fn sql_code(error: &sqlx::Error) -> &'static str {
    let database = match error {
        sqlx::Error::Database(database) => database,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => {
            return "store-corrupt";
        }
        sqlx::Error::Io(_) | sqlx::Error::Configuration(_) => return "store-unreadable",
        _ => return "store-failed",
    };
    let extended: i32 = database.code().and_then(|code| code.parse().ok()).unwrap_or(1);
    match extended & 0xff {
        5 | 6 => "store-busy",
        8 => "store-read-only",
        3 | 14 | 23 => "store-unreadable",
        11 | 26 => "store-corrupt",
        13 => "store-full",
        19 => "store-refused",
        _ => "store-failed",
    }
}

fn next_step(code: &str, path: &Path) -> String {
    let (file, folder) = (path.display(), path.parent().unwrap_or(path).display());
    match code {
        "store-missing" => "run `lychgate init` on the repository, or restore the file from a backup".to_owned(),
        "store-unreadable" | "store-read-only" => {
            format!("let the account that runs the hooks read and write {file} and its folder: ls -la {folder}")
        }
        "store-corrupt" => {
            format!(
                "keep a copy of {file}, look at it with `sqlite3 {file} 'PRAGMA integrity_check'`, and restore a backup"
            )
        }
        "store-busy" => format!("find what holds {file}: fuser -v {file}; then push again"),
        "store-newer-than-program" => "install the version of lychgate that last used this repository".to_owned(),
        "store-full" => format!("make room on the file system: df -h {folder}; then push again"),
        "store-refused" => "this is a fault of lychgate: report it with this message".to_owned(),
        _ => format!("look at the file system and the kernel's log: df -h {folder}; dmesg | tail"),
    }
}

/// The outage of a path that cannot be opened at all.
pub(super) fn unopened(path: &Path, error: &std::io::Error) -> Outage {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => "store-missing",
        std::io::ErrorKind::StorageFull => "store-full",
        std::io::ErrorKind::ReadOnlyFilesystem => "store-read-only",
        _ => "store-unreadable",
    };
    Outage {
        code,
        what: format!("could not open the ledger ({})", path.display()),
        why: error.to_string(),
        next: next_step(code, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_next_step_that_names_the_file_or_a_command() {
        for code in [
            "store-missing",
            "store-unreadable",
            "store-read-only",
            "store-corrupt",
            "store-busy",
            "store-newer-than-program",
            "store-full",
            "store-refused",
            "store-failed",
        ] {
            assert!(
                !next_step(code, Path::new("/r.git/lychgate/ledger.db")).is_empty(),
                "{code}"
            );
        }
    }

    #[test]
    fn an_outage_names_the_file_and_what_was_tried() {
        let outage = Fault::Newer { found: 9, known: 2 }.outage(Path::new("/x/ledger.db"), "open the ledger");
        assert_eq!(outage.code, "store-newer-than-program");
        assert_eq!(
            outage.to_string(),
            "could not open the ledger (/x/ledger.db): its schema has version 9, this program knows 2"
        );
    }
}
