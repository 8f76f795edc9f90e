//! `lychgate serve`: the bot of one or more forges.
//!
//! The only place that constructs its adapters, reads the clock for it and
//! writes its log: one JSON object a line on standard error. SIGTERM and SIGINT
//! drain: no new lease is taken, work under way is finished, and what does not
//! finish in time is taken over by another process once its lease ends.

pub mod bench;
mod custody;
mod desk;
mod leaks;
mod otlp;

use super::error::{CommandError, Outcome};
use super::output::Output;
use super::{open, process};
use crate::config::{BotConfig, ForgeConfig, StorePlace, render_errors};
use crate::forge::ForgeKind;
use crate::forges::{AnyForge, Forgejo, GitHub, GitHubApp, Gitlab, Manner};
use crate::mirror::{Mirrors, bound_silence};
use crate::pipeline::lane::{Bot, Breaker, Journal};
use crate::pipeline::metrics::Metrics;
use crate::port::{Forge, Outage, Queue};
use crate::server::{self, Door, Hook};
use crate::store::SqliteStore;
use bench::Bench;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// Arguments of `lychgate serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Check the configuration and the files that it names, and end.
    #[arg(long)]
    pub check_config: bool,
}

/// Longest that a drain waits for work under way; a service manager kills later than that (Kubernetes: 30 s).
const DRAIN: Duration = Duration::from_secs(25);
/// How long an idle worker waits before it looks whether another process stored something.
const IDLE: Duration = Duration::from_millis(500);

/// Serves until a signal.
///
/// # Errors
/// `config-invalid` with every error, and the outages of the adapters.
pub fn run(args: &ServeArgs, out: &mut Output) -> Result<Outcome, CommandError> {
    let config = read_config(&args.config)?;
    let loaded = Loaded::of(&config)?;
    if args.check_config {
        out.line(format!("{} is valid", args.config.display()));
        return Ok(Outcome::Yes);
    }
    // Before the runtime's threads.
    bound_silence()?;
    if let Err(outage) = process::empty_core_dumps() {
        log_line(
            outage.code,
            &[("why", outage.to_string()), ("next", outage.next.clone())],
        );
    }
    std::panic::set_hook(Box::new(|panic| log_line("panic", &panic_fields(panic))));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| unavailable("start the runtime", &error.to_string()))?;
    let served = runtime.block_on(serve(config, loaded));
    // Threads that still fetch or scan hold no lock of anybody's: their leases end by themselves.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served.map(|()| Outcome::Yes)
}

pub(super) fn read_config(path: &Path) -> Result<BotConfig, CommandError> {
    let text = open::read(path, "config-unreadable")?;
    let file = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    BotConfig::parse(&file, &text).map_err(|errors| {
        let what = format!("{} errors\n{}", errors.len(), render_errors(&file, &errors));
        CommandError::usage(
            "config-invalid",
            what,
            "correct it, then run: lychgate serve --check-config",
        )
    })
}

/// The secrets that the configuration names.
struct Loaded {
    hooks: BTreeMap<String, Hook>,
    keys: BTreeMap<String, SecretString>,
    postgres: Option<SecretString>,
}

impl Loaded {
    /// Reads every file that the configuration names, so that a missing one is told at the start.
    fn of(config: &BotConfig) -> Result<Self, CommandError> {
        let (mut hooks, mut keys) = (BTreeMap::new(), BTreeMap::new());
        for forge in &config.forges {
            let secrets = forge.webhook_secret_files.iter().map(|file| secret(file));
            let hook = Hook {
                kind: forge.kind,
                secrets: secrets.collect::<Result<_, _>>()?,
            };
            hooks.insert(forge.name.clone(), hook);
            keys.insert(forge.name.clone(), secret(&forge.key_file)?);
        }
        for repository in &config.repositories {
            open::policy(&repository.policy)?;
            desk::check(repository)?;
        }
        open::fingerprint_key(&config.fingerprint_key)?;
        let postgres = match &config.store {
            StorePlace::Postgres(file) => Some(secret(file)?),
            StorePlace::Sqlite(_) => None,
        };
        Ok(Self { hooks, keys, postgres })
    }

    fn key(&self, forge: &ForgeConfig) -> Result<SecretString, CommandError> {
        let key = self.keys.get(&forge.name).cloned();
        key.ok_or_else(|| unusable(forge, &"it has no key"))
    }
}

/// A secret in a file of its own, without the line's end.
pub(super) fn secret(path: &Path) -> Result<SecretString, CommandError> {
    let text = zeroize::Zeroizing::new(open::read(path, "secret-unreadable")?);
    let trimmed = text.trim();
    if trimmed.len() < 16 {
        let what = format!("{} holds fewer than 16 characters", path.display());
        return Err(CommandError::usage(
            "secret-too-short",
            what,
            "make one: openssl rand -hex 32",
        ));
    }
    Ok(SecretString::from(trimmed.to_owned()))
}

pub(super) fn unavailable(what: &str, why: &str) -> Outage {
    Outage {
        code: "service-unavailable",
        what: format!("cannot {what}"),
        why: why.to_owned(),
        next: "check the address, the limits and the rights of this account".to_owned(),
    }
}

async fn serve(config: BotConfig, loaded: Loaded) -> Result<(), CommandError> {
    match (&config.store, &loaded.postgres) {
        (StorePlace::Sqlite(path), _) => {
            let queue = SqliteStore::create(path).await?;
            serve_with(queue, config, loaded).await
        }
        #[cfg(feature = "postgres")]
        (StorePlace::Postgres(_), Some(url)) => {
            let queue = crate::store::postgres::PostgresQueue::connect(url).await?;
            serve_with(queue, config, loaded).await
        }
        (StorePlace::Postgres(file), _) => Err(no_postgres(file)),
    }
}

/// A store that this program cannot open.
pub(super) fn no_postgres(file: &Path) -> CommandError {
    CommandError::usage(
        "no-postgres",
        format!(
            "this program was built without PostgreSQL, and {} names a database",
            file.display()
        ),
        "build it with --features postgres",
    )
}

async fn serve_with<Q: Queue + 'static>(queue: Q, config: BotConfig, loaded: Loaded) -> Result<(), CommandError> {
    let journal: Journal = Arc::new(log_line);
    let mut forges = BTreeMap::new();
    for forge in &config.forges {
        forges.insert(
            forge.name.clone(),
            (adapter(forge, loaded.key(forge)?, None)?, Breaker::default()),
        );
    }
    let listener = TcpListener::bind(&config.listen).await;
    let listener =
        listener.map_err(|error| unavailable(&format!("listen on {}", config.listen), &error.to_string()))?;
    let (queue, metrics, bell) = (Arc::new(queue), Arc::new(Metrics::default()), Arc::new(Notify::new()));
    let door = Door {
        queue: Arc::clone(&queue),
        hooks: loaded.hooks,
        clock: process::now,
        metrics: Arc::clone(&metrics),
        bell: Arc::clone(&bell),
        journal: Arc::clone(&journal),
    };
    let kept = config.kept;
    let pace = Pace {
        workers: config.workers,
        sweep: Duration::from_secs(config.sweep_seconds),
    };
    let (tell, stop) = watch::channel(false);
    let owner = owner()?;
    let collector = config.otlp.clone();
    let exporter = collector.map(|endpoint| {
        otlp::start(
            &metrics.traces,
            endpoint,
            owner.clone(),
            Arc::clone(&journal),
            stop.clone(),
        )
    });
    let bot = Bot {
        queue,
        forges,
        evaluator: Bench::new(Mirrors::new(&config.mirrors, config.mirror_bytes), config),
        clock: process::now,
        journal: Arc::clone(&journal),
        metrics,
        bell,
        outgoing: Notify::new(),
        owner,
        idle: IDLE,
        kept,
    };
    let mut tasks = start(Arc::new(bot), door, listener, &pace, &stop);
    if let Some(exporter) = exporter {
        tasks.spawn(exporter);
    }
    let at = ("workers", pace.workers.to_string());
    journal("serving", &[at]);
    told_to_stop().await?;
    journal("draining", &[]);
    // Nobody listens any more only if all tasks have ended.
    let _ = tell.send(true);
    drain(tasks, &journal).await;
    Ok(())
}

/// How much at once, and how often.
struct Pace {
    workers: usize,
    sweep: Duration,
}

fn start<Q, F>(
    bot: Arc<Bot<Q, F, Bench>>,
    door: Door<Q>,
    listener: TcpListener,
    pace: &Pace,
    stop: &watch::Receiver<bool>,
) -> JoinSet<()>
where
    Q: Queue + 'static,
    F: Forge + 'static,
{
    let mut tasks = JoinSet::new();
    for _ in 0..pace.workers {
        let (bot, stop) = (Arc::clone(&bot), stop.clone());
        tasks.spawn(async move { bot.deliveries(stop).await });
        // As many senders: a forge that is slow about one change must not hold up the others.
    }
    for _ in 0..pace.workers {
        let (bot, stop) = (Arc::clone(&bot), stop.clone());
        tasks.spawn(async move { bot.displays(stop).await });
    }
    let (tended, told) = (Arc::clone(&bot), stop.clone());
    tasks.spawn(async move { tended.tend(told).await });
    let (every, told) = (pace.sweep, stop.clone());
    tasks.spawn(async move { bot.sweeps(every, told).await });
    let (journal, told) = (Arc::clone(&door.journal), stop.clone());
    tasks.spawn(async move {
        if let Err(error) = server::serve(door, listener, told).await {
            journal("listener-failed", &[("why", error.to_string())]);
        }
    });
    tasks
}

async fn told_to_stop() -> Result<(), Outage> {
    let failed = |error: std::io::Error| unavailable("wait for signals", &error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn drain(mut tasks: JoinSet<()>, journal: &Journal) {
    let all = async { while tasks.join_next().await.is_some() {} };
    let in_time = tokio::time::timeout(DRAIN, all).await.is_ok();
    journal("drained", &[("whole", in_time.to_string())]);
}

fn unusable(forge: &ForgeConfig, error: &dyn std::fmt::Display) -> CommandError {
    let what = format!("the forge {} cannot be used: {error}", forge.name);
    CommandError::usage("forge-unusable", what, "correct its [[forge]] in bot.toml")
}

/// The adapter of a forge.
///
/// * `key`: the App's private key, or an access token.
/// * `admin`: an administrator's token, for changing settings.
///
/// # Errors
/// `forge-unusable`.
pub(super) fn adapter(
    forge: &ForgeConfig,
    key: SecretString,
    admin: Option<SecretString>,
) -> Result<AnyForge, CommandError> {
    let token = || admin.as_ref().unwrap_or(&key).expose_secret().trim().to_owned().into();
    let adapter = match forge.kind {
        ForgeKind::Github => GitHub::new(GitHubApp {
            forge: forge.name.clone(),
            api: forge.api.clone(),
            app_id: forge.app_id,
            key: key.clone(),
            admin: admin.clone(),
            manner: Manner::default(),
        })
        .map(AnyForge::GitHub),
        ForgeKind::Forgejo => Forgejo::new(&forge.name, &forge.api, token(), Manner::default()).map(AnyForge::Forgejo),
        ForgeKind::Gitlab => Gitlab::new(&forge.name, &forge.api, token(), Manner::default()).map(AnyForge::Gitlab),
    };
    adapter.map_err(|error| unusable(forge, &error))
}

/// Names this process in leases: random, since a pid means nothing to another host.
fn owner() -> Result<String, Outage> {
    let random = process::random()?;
    Ok(random.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Where a panic was, not what it said: that may quote what was worked on.
fn panic_fields(panic: &std::panic::PanicHookInfo<'_>) -> [(&'static str, String); 1] {
    let place = panic
        .location()
        .map_or_else(|| "unknown".to_owned(), ToString::to_string);
    [("at", place)]
}

/// One JSON object a line.
fn log_line(what: &'static str, fields: &[(&'static str, String)]) {
    let mut line = serde_json::Map::new();
    line.insert("time".to_owned(), process::now().to_string().into());
    line.insert("event".to_owned(), what.into());
    line.extend(
        fields
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_str().into())),
    );
    // A closed log is no reason to stop working.
    let _ = writeln!(std::io::stderr(), "{}", serde_json::Value::Object(line));
}
