//! `lychgate queue`: the bot's dead letters, for a person to look at and to send back to work.
//!
//! In scope: listing, showing, replaying. Out of scope: work that still waits:
//! the service's metrics count it, and it needs nobody.

use super::error::{CommandError, Outcome};
use super::open;
use super::output::{Format, Output};
#[cfg(not(feature = "postgres"))]
use super::serve::no_postgres;
use super::serve::{read_config, secret};
use crate::config::StorePlace;
use crate::port::{DeadLetter, LetterBox, Queue};
use crate::store::SqliteStore;
use serde_json::json;
use std::path::PathBuf;

/// Dead letters that one command looks at; there are more only after an outage of days.
const MOST: u32 = 10_000;

/// Arguments of `lychgate queue`.
#[derive(Debug, clap::Args)]
pub struct QueueArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: QueueCommand,
    /// The configuration of the service.
    #[arg(long, value_name = "FILE", global = true, default_value = "/etc/lychgate/bot.toml")]
    pub config: PathBuf,
    /// How to print.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub format: Format,
}

/// What `lychgate queue` can do.
#[derive(Debug, clap::Subcommand)]
pub enum QueueCommand {
    /// List what was tried too often and laid aside, newest first, each with its reason.
    List,
    /// Show one of them whole.
    Show {
        /// Its id, as `list` prints it: inbox/N or outbox/N.
        id: String,
    },
    /// Let the service try it again, as if for the first time.
    Replay {
        /// Its id, as `list` prints it.
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All of them.
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

/// Reads the service's store and does what was asked.
///
/// # Errors
/// `config-invalid`, `no-such-letter`, and the outages of the store.
pub fn run(args: &QueueArgs, out: &mut Output) -> Result<Outcome, CommandError> {
    let config = read_config(&args.config)?;
    let runtime = open::service_runtime()?;
    runtime.block_on(async {
        match &config.store {
            StorePlace::Sqlite(path) => on(&SqliteStore::open(path).await?, args, out).await,
            #[cfg(feature = "postgres")]
            StorePlace::Postgres(file) => {
                let queue = crate::store::postgres::PostgresQueue::connect(&secret(file)?).await?;
                on(&queue, args, out).await
            }
            #[cfg(not(feature = "postgres"))]
            StorePlace::Postgres(file) => secret(file).and_then(|_| Err(no_postgres(file))),
        }
    })
}

async fn on(queue: &impl Queue, args: &QueueArgs, out: &mut Output) -> Result<Outcome, CommandError> {
    let letters = queue.dead_letters(MOST).await?;
    match &args.command {
        QueueCommand::List => list(&letters, args.format, out),
        QueueCommand::Show { id } => show(find(&letters, id)?, args.format, out),
        QueueCommand::Replay { id: Some(id), .. } => replay(queue, &[find(&letters, id)?], args.format, out).await?,
        QueueCommand::Replay { id: None, .. } => {
            replay(queue, &letters.iter().collect::<Vec<_>>(), args.format, out).await?;
        }
    }
    Ok(Outcome::Yes)
}

fn id(letter: &DeadLetter) -> String {
    match letter.letter_box {
        LetterBox::Inbox => format!("inbox/{}", letter.row),
        LetterBox::Outbox => format!("outbox/{}", letter.row),
    }
}

fn find<'a>(letters: &'a [DeadLetter], wanted: &str) -> Result<&'a DeadLetter, CommandError> {
    letters.iter().find(|letter| id(letter) == wanted).ok_or_else(|| {
        CommandError::usage(
            "no-such-letter",
            format!("{wanted:?} is no dead letter (any more)"),
            "list them: lychgate queue list",
        )
    })
}

fn whole(letter: &DeadLetter) -> serde_json::Value {
    let content: serde_json::Value = serde_json::from_str(&letter.content).unwrap_or_default();
    json!({
        "id": id(letter),
        "lane": letter.lane,
        "attempts": letter.attempts,
        "why": letter.why,
        "content": content,
    })
}

fn list(letters: &[DeadLetter], format: Format, out: &mut Output) {
    if format == Format::Json {
        out.line(json!(letters.iter().map(whole).collect::<Vec<_>>()));
        return;
    }
    if letters.is_empty() {
        out.line("no dead letters");
    }
    for letter in letters {
        out.line(format!(
            "{}  {}  tried {} times",
            id(letter),
            letter.lane,
            letter.attempts
        ));
        out.line(format!("  {}", letter.why));
    }
}

fn show(letter: &DeadLetter, format: Format, out: &mut Output) {
    match format {
        Format::Json => out.line(whole(letter)),
        Format::Text => out.line(format!("{:#}", whole(letter))),
    }
}

async fn replay(
    queue: &impl Queue,
    letters: &[&DeadLetter],
    format: Format,
    out: &mut Output,
) -> Result<(), CommandError> {
    let mut replayed = Vec::new();
    for letter in letters {
        // One that somebody else replayed meanwhile is no error.
        if queue.replay(letter.letter_box, letter.row).await? {
            replayed.push(id(letter));
        }
    }
    match format {
        Format::Json => out.line(json!({ "replayed": replayed })),
        Format::Text => out.line(format!("{} to be tried again {}", replayed.len(), replayed.join(" "))),
    }
    Ok(())
}
