//! `lychgate settle`: finishes what is outstanding.
//!
//! Publishes the entries whose refs have moved, and settles what a crash left (also done first by every command that
//! opens the store); then the work after pushes: gpgme's second opinions and the notes for interchange. Started by
//! `post-receive` in the background.

mod rewritten;

use super::error::{CommandError, Outcome};
use super::home::Home;
use super::output::{Format, Output};
use super::{open, pass, process, publish};
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

/// Finishes what is outstanding, and says how much that was. While another process does so, it has nothing to
/// do: that one looks again before it ends.
///
/// # Errors
/// `not-installed`, and the outages of store, keyring, signer and repository. What was done stays done.
pub fn run(args: &SettleArgs, now: Timestamp, out: &mut Output) -> Result<Outcome, CommandError> {
    let home = Home::find(args.repo.as_deref())?;
    let done = open::runtime()?.block_on(async {
        let store = open::store(&home).await?;
        // Before the work and not after it: the next push then finds a short log, and need not make a new one.
        store.fold().await?;
        let done = rounds(&home, &store, now).await;
        store.leave().await;
        done
    })?;
    merge(&home)?;
    match args.format {
        Format::Text => out.line(format!("settled: {done} tasks done")),
        Format::Json => out.line(serde_json::json!({ "done": done })),
    }
    Ok(Outcome::Yes)
}

/// Works in rounds under the lock until nothing is left. What another process would have done, had the lock been
/// free, came in before it was free again; so that is when to look once more: nothing is nobody's to forget.
pub(crate) async fn rounds(home: &Home, store: &SqliteStore, now: Timestamp) -> Result<u32, CommandError> {
    let (lock, repository) = (lock(home)?, open::repository(home, None)?);
    let mut done = 0;
    while lock.try_lock().is_ok() {
        let round = round(home, store, &repository, now).await;
        lock.unlock().map_err(|e| unlockable(home, &e))?;
        done += round?;
        recover(home, store, &repository, now).await?;
        if crate::port::Store::tasks(store, 1).await?.is_empty() {
            break;
        }
    }
    Ok(done)
}

/// Puts in order what pushes have learned of objects.
fn merge(home: &Home) -> Result<(), Outage> {
    let key = open::fingerprint_key(&home.fingerprint_key())?;
    let merged = open::verdicts(home, &key).merge();
    merged.map_err(|why| Outage {
        code: "verdicts-not-kept",
        what: format!("cannot put {} in order", home.verdicts().display()),
        why: why.to_string(),
        next: "let this account write there, or remove the folder: later pushes only take longer".into(),
    })
}

async fn round(home: &Home, store: &SqliteStore, repository: &GitGate, now: Timestamp) -> Result<u32, CommandError> {
    recover(home, store, repository, now).await?;
    pass::clear(home);
    // Developers' dry runs depend on it, entries do not: it fails after the work, not instead of it.
    let waivers = crate::port::Store::waivers(store, now).await;
    let published = waivers
        .map_err(CommandError::Outage)
        .and_then(|records| publish::write_waivers(home, &records));
    let (keyring, signer) = (open::keyring(home), open::signer(home)?);
    let notes = FastImportNotes::new(&home.git_dir);
    let gate = gate(home)?;
    let done = worker::settle(store, &signer, &keyring, repository, &notes, &gate, now).await?;
    let ended = rewritten::end(home, store, &signer, &gate, now).await;
    published?;
    Ok(done + ended?)
}

fn lock(home: &Home) -> Result<std::fs::File, Outage> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(false).write(true);
    options
        .open(home.dir.join("settle.lock"))
        .map_err(|e| unlockable(home, &e))
}

fn unlockable(home: &Home, why: &std::io::Error) -> Outage {
    Outage {
        code: "settle-not-started",
        what: format!("cannot lock {}", home.dir.join("settle.lock").display()),
        why: why.to_string(),
        next: "let this account write there, or run it as the account that runs the hooks".into(),
    }
}

/// Publishes entries whose refs have moved, and voids what a crash left. Costs one query when there are none.
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
        max_level: 4,
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
    let own = std::env::current_exe().map_err(fail)?;
    // `lychgate-hook` stands beside `lychgate`, which has all that this work needs.
    let program = own.with_file_name("lychgate");
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
