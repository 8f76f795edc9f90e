//! `lychgate settle`: finishes what is outstanding.
//!
//! Recovery of a crash (also run first by every command that opens the store), then the work after pushes:
//! gpgme's second opinions and the notes for interchange. Started by `post-receive` in the background.

use super::error::{CommandError, Outcome};
use super::home::Home;
use super::output::{Format, Output};
use super::{open, process};
use crate::git::{Gate as GitGate, notes::FastImportNotes};
use crate::port::{Outage, Repository};
use crate::push::Timestamp;
use crate::store::SqliteStore;
use crate::worker;
use std::path::PathBuf;
use std::process::Stdio;

/// Arguments of `lychgate settle`.
#[derive(Debug, clap::Args)]
pub struct SettleArgs {
    /// The repository; by default the one of the current directory.
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Finishes what is outstanding, and says how much that was.
///
/// # Errors
/// `not-installed`, and the outages of store, keyring, signer and repository. What was done stays done.
pub fn run(args: &SettleArgs, now: Timestamp, out: &mut Output) -> Result<Outcome, CommandError> {
    let home = Home::find(args.repo.as_deref())?;
    let done = open::runtime()?.block_on(async {
        let store = open::store(&home).await?;
        let repository = open::repository(&home, None)?;
        recover(&home, &store, &repository, now).await?;
        let keyring = open::keyring(&home);
        let signer = open::signer(&home)?;
        let notes = FastImportNotes::new(&home.git_dir);
        worker::settle(&store, &signer, &keyring, &repository, &notes, &gate(&home)?, now).await
    })?;
    match args.format {
        Format::Text => out.line(format!("settled: {done} tasks done")),
        Format::Json => out.line(serde_json::json!({ "done": done })),
    }
    Ok(Outcome::Yes)
}

/// Settles what a crash left between a decision and its publication. Costs one query when nothing was left.
///
/// # Errors
/// The outages of store, repository and signer.
pub async fn recover(home: &Home, store: &SqliteStore, repository: &GitGate, now: Timestamp) -> Result<(), Outage> {
    let pending = crate::port::Store::pending(store).await?;
    if pending.is_empty() {
        return Ok(());
    }
    let signer = open::signer(home)?;
    let gate = gate(home)?;
    worker::recover(
        store,
        &signer,
        &gate,
        |name| repository.ref_target(name),
        process::is_alive,
        now,
    )
    .await?;
    Ok(())
}

/// What statements say about this gate.
///
/// # Errors
/// `settings-unreadable`, `settings-invalid`.
pub fn gate(home: &Home) -> Result<worker::Gate, Outage> {
    let settings = open::settings(home)?;
    Ok(worker::Gate {
        resource: settings.resource,
        verifier_id: settings.verifier_id,
        origin: settings.origin,
        policy_uri: settings.policy_uri,
        status_uri: settings.status_uri,
        version: env!("CARGO_PKG_VERSION"),
        max_level: 3,
    })
}

/// Starts `lychgate settle` in the background, detached from the pusher's connection.
///
/// # Errors
/// `settle-not-started`; the next push or command does the work then.
pub fn start(home: &Home) -> Result<(), Outage> {
    use std::os::unix::process::CommandExt;
    let fail = |e: std::io::Error| Outage {
        code: "settle-not-started",
        what: "the work after the push did not start".into(),
        why: e.to_string(),
        next: "run: lychgate settle --repo <this repository>".into(),
    };
    let program = std::env::current_exe().map_err(fail)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the command starts itself again, in the background"
    )]
    let mut command = std::process::Command::new(program);
    // Its own process group: a signal to the pusher's session does not end it. No inherited streams: the
    // connection would stay open for it.
    command.args(["settle", "--repo"]).arg(&home.git_dir);
    command
        .env_remove("GIT_QUARANTINE_PATH")
        .env_remove("GIT_OBJECT_DIRECTORY")
        .env_remove("GIT_DIR");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    command.spawn().map(|_| ()).map_err(fail)
}
