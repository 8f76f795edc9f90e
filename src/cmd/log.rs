//! `lychgate log`: reads, exports, checks and replays the ledger.
//!
//! * [`ledger`]: an installation opened for a command, shared with `verify` and `reopen`.
//! * [`show`]: lists and single entries. [`decision`]: one push. [`export`]: evidence as files.
//! * [`replay`]: decides stored pushes again.

pub mod decision;
pub mod export;
pub mod ledger;
pub mod replay;
pub mod show;

use super::error::{CommandError, Outcome};
use super::output::{Format, Output};
use crate::port::Store;
use crate::push::Timestamp;
use crate::worker;
use ledger::Ledger;
use std::path::PathBuf;

/// Arguments of `lychgate log`.
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// What to do; lists entries if not given.
    #[command(subcommand)]
    pub command: Option<LogCommand>,
    /// The repository; by default the one of the current directory.
    #[arg(long, value_name = "DIR", global = true)]
    pub repo: Option<PathBuf>,
    /// How to print.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub format: Format,
    /// List at most this many entries, newest first.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: u32,
}

/// What `lychgate log` can do.
#[derive(Debug, clap::Subcommand)]
pub enum LogCommand {
    /// Show a push with the decision on it, an entry, or a re-open event.
    Show {
        /// The id of a push (a refusal's last line names it), an entry or an event; or an index of the log.
        id: String,
    },
    /// Write a revision's attestation with all that is needed to verify it elsewhere.
    Export {
        /// The revision: a commit, branch or tag.
        rev: String,
        /// The folder; made if it is not there.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The ref on which it entered, if it entered on several.
        #[arg(long = "ref", value_name = "REF")]
        ref_name: Option<String>,
    },
    /// Print the signed checkpoint.
    Checkpoint,
    /// Print a fresh signed status list.
    Status,
    /// Recompute the whole log and compare everything with it.
    Check,
    /// Decide stored pushes again and compare the decisions byte for byte.
    Replay {
        /// The pushes.
        #[arg(value_name = "PUSH_ID", required_unless_present = "all")]
        push_ids: Vec<String>,
        /// Replay every stored push.
        #[arg(long, conflicts_with = "push_ids")]
        all: bool,
    },
}

/// Runs `lychgate log`.
///
/// # Errors
/// `not-installed`, `unknown-entry`, `unknown-revision`, `unknown-push`, `cannot-write`; outages of the store, the
/// settings and the signer.
pub fn run(args: &LogArgs, now: Timestamp, out: &mut Output) -> Result<Outcome, CommandError> {
    let ledger = Ledger::open(args.repo.as_deref(), now, out)?;
    match &args.command {
        None => show::list(&ledger, args.limit, args.format, out),
        Some(LogCommand::Show { id }) => show::one(&ledger, id, args.format, out),
        Some(LogCommand::Export {
            rev,
            out: dir,
            ref_name,
        }) => {
            let wanted = ledger::Wanted::new(rev, ref_name.as_deref())?;
            export::run(&ledger, &wanted, dir, now, args.format, out)
        }
        Some(LogCommand::Checkpoint) => checkpoint(&ledger, args.format, out),
        Some(LogCommand::Status) => status(&ledger, now, args.format, out),
        Some(LogCommand::Check) => check(&ledger, args.format, out),
        Some(LogCommand::Replay { push_ids, .. }) => replay::run(&ledger, push_ids, args.format, out),
    }
}

fn checkpoint(ledger: &Ledger, format: Format, out: &mut Output) -> Result<Outcome, CommandError> {
    let head = ledger.wait(ledger.store.head())?;
    if head.size == 0 {
        return Err(CommandError::usage(
            "empty-log",
            "nothing has entered yet: the log is empty",
            "",
        ));
    }
    match format {
        Format::Text => out.line(head.checkpoint.trim_end_matches('\n')),
        Format::Json => out.line(serde_json::json!({ "size": head.size, "checkpoint": head.checkpoint })),
    }
    Ok(Outcome::Yes)
}

fn status(ledger: &Ledger, now: Timestamp, format: Format, out: &mut Output) -> Result<Outcome, CommandError> {
    let signer = ledger.signer()?;
    let list = ledger.wait(worker::status_list(&ledger.store, &signer, &ledger.gate, now))?;
    match format {
        Format::Text => out.line(list),
        Format::Json => out.line(serde_json::json!({ "status_list": list })),
    }
    Ok(Outcome::Yes)
}

fn check(ledger: &Ledger, format: Format, out: &mut Output) -> Result<Outcome, CommandError> {
    let found = ledger.wait(worker::check(&ledger.store, &ledger.key, &ledger.gate.origin))?;
    let sound = found.problems.is_empty();
    match format {
        Format::Json => out.line(serde_json::json!({ "sound": sound, "checked": found })),
        Format::Text => {
            let counts = format!(
                "{} leaves, {} entries, {} events",
                found.leaves, found.entries, found.reopens
            );
            let verdict = if sound { "sound" } else { "NOT SOUND" };
            out.line(format!("{verdict}: {counts} recomputed"));
            for problem in &found.problems {
                out.line(format!("  {problem}"));
            }
            if !sound {
                out.line("  = help: keep the file as it is for inspection, and restore the ledger from a backup");
            }
        }
    }
    Ok(if sound { Outcome::Yes } else { Outcome::No })
}
