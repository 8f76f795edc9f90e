//! `lychgate forge`: what forges enforce, compared with the policy; and making them enforce it.
//!
//! In scope: the arguments and what is printed. A dry run is the default:
//! only `apply --yes` changes anything. Out of scope: what the bot does by itself (`serve`).

use super::error::{CommandError, Outcome};
use super::output::{Format, Output};
use super::process;
use super::serve::{self, bench::Bench};
use crate::config::{BotConfig, ForgeConfig};
use crate::feedback::onboarding::FirstReport;
use crate::forge::ForgeRepo;
use crate::forge::guard::{Drift, GuardedTags, Wanted, drift};
use crate::forges::AnyForge;
use crate::mirror::Mirrors;
use crate::pipeline::landed::Keeper;
use crate::pipeline::lane::Unable;
use crate::pipeline::survey::{NoReport, first_report};
use crate::port::{Forge, ForgeError, Outage};
use crate::push::RefName;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Arguments of `lychgate forge`.
#[derive(Debug, clap::Args)]
pub struct ForgeArgs {
    #[command(subcommand)]
    command: ForgeCommand,
    /// The bot's configuration.
    #[arg(long, value_name = "FILE", global = true, default_value = "/etc/lychgate/bot.toml")]
    config: PathBuf,
    /// Only this repository, as the forge names it; by default all that the configuration names.
    #[arg(long, value_name = "OWNER/NAME", global = true)]
    repository: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t, global = true)]
    format: Format,
}

#[derive(Debug, clap::Subcommand)]
enum ForgeCommand {
    /// Show where the forge enforces less than the policy wants; exit code 1 if it does.
    Drift,
    /// Show what would make the forge enforce what the policy wants; with --yes do it.
    Apply(ApplyArgs),
    /// Show what would be held up in open changes and the default branch, and what is missing.
    Report,
}

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    /// Change the forge's settings; without it they are only shown.
    #[arg(long)]
    yes: bool,
    /// A file with the token of an administrator of the repository: the bot's own needs no right to change settings.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Runs `lychgate forge`.
///
/// # Errors
/// `config-invalid`, `secret-unreadable`, `forge-unusable`; outages of the forge. Drift is no error but
/// [`Outcome::No`].
pub fn run(args: &ForgeArgs, out: &mut Output) -> Result<Outcome, CommandError> {
    let config = serve::read_config(&args.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| serve::unavailable("start the runtime", &error.to_string()))?;
    runtime.block_on(all(args, &config, out))
}

async fn all(args: &ForgeArgs, config: &BotConfig, out: &mut Output) -> Result<Outcome, CommandError> {
    let bench = Bench::new(Mirrors::new(&config.mirrors, config.mirror_bytes), config.clone());
    let (mut clean, mut seen, mut told) = (true, 0, Vec::new());
    for forge in &config.forges {
        let adapter = adapter(args, forge)?;
        for repo in adapter.repositories().await.map_err(|error| outage(forge, error))? {
            let named = args.repository.as_ref().is_none_or(|name| *name == repo.full_name);
            if !named || !bench.knows(&repo) {
                continue;
            }
            seen += 1;
            let work = Work {
                args,
                forge,
                adapter: &adapter,
                bench: &bench,
                repo: &repo,
            };
            clean &= work.run(out, &mut told).await?;
        }
    }
    if args.format == Format::Json {
        out.line(Value::Array(told));
    }
    if seen == 0 {
        return Err(CommandError::usage(
            "no-such-repository",
            "no repository that the forges show us is in the configuration",
            "check [[repository]] in bot.toml, --repository, and on which repositories the App is installed",
        ));
    }
    Ok(if clean { Outcome::Yes } else { Outcome::No })
}

fn adapter(args: &ForgeArgs, forge: &ForgeConfig) -> Result<AnyForge, CommandError> {
    let token = match &args.command {
        ForgeCommand::Apply(ApplyArgs {
            token_file: Some(file), ..
        }) => Some(serve::secret(file)?),
        _ => None,
    };
    serve::adapter(forge, serve::secret(&forge.key_file)?, token)
}

/// The work on one repository.
struct Work<'a> {
    args: &'a ForgeArgs,
    forge: &'a ForgeConfig,
    adapter: &'a AnyForge,
    bench: &'a Bench,
    repo: &'a ForgeRepo,
}

impl Work<'_> {
    /// `false` if something is to be done.
    async fn run(&self, out: &mut Output, told: &mut Vec<Value>) -> Result<bool, CommandError> {
        if matches!(self.args.command, ForgeCommand::Report) {
            return self.report(out, told).await;
        }
        let source = self
            .adapter
            .fetch_source(self.repo, None)
            .await
            .map_err(|error| outage(self.forge, error))?;
        let survey = self.bench.survey(self.repo, source).await.map_err(unable)?;
        let mut clean = true;
        for (name, _, wanted) in survey.branches {
            let found = self.drift(&name, wanted).await?;
            let (calls, left) = match &self.args.command {
                ForgeCommand::Apply(apply) if !found.is_empty() => self.apply(&name, wanted, apply.yes).await?,
                _ => (Vec::new(), found.clone()),
            };
            clean &= left.is_empty();
            self.tell(out, told, name.as_str(), &found, &calls, &left);
        }
        for tags in survey.tags {
            clean &= self.tags(&tags, out, told).await?;
        }
        Ok(clean)
    }

    /// The tags of one rule. A forge that tells nothing of its tags' protection hides nothing else.
    async fn tags(&self, tags: &GuardedTags, out: &mut Output, told: &mut Vec<Value>) -> Result<bool, CommandError> {
        let found = match self.tag_drift(tags).await {
            Ok(found) => found,
            Err(ForgeError::Refused { code, why }) => {
                self.tell_unknown(out, told, &tags.pattern, &format!("{code}: {why}"));
                return Ok(false);
            }
            Err(later) => return Err(outage(self.forge, later)),
        };
        let (calls, left) = match &self.args.command {
            ForgeCommand::Apply(apply) if !found.is_empty() => {
                let calls = self.adapter.protect_tags(self.repo, tags, !apply.yes).await;
                let calls = calls.map_err(|error| outage(self.forge, error))?;
                let left = self.tag_drift(tags).await;
                (calls, left.map_err(|error| outage(self.forge, error))?)
            }
            _ => (Vec::new(), found.clone()),
        };
        self.tell(out, told, &tags.pattern, &found, &calls, &left);
        Ok(left.is_empty())
    }

    async fn tag_drift(&self, tags: &GuardedTags) -> Result<Vec<Drift>, ForgeError> {
        let actual = self.adapter.tag_protection(self.repo, &tags.names).await?;
        Ok(tags.drift(&actual))
    }

    fn tell_unknown(&self, out: &mut Output, told: &mut Vec<Value>, name: &str, why: &str) {
        let (forge, repository) = (&self.forge.name, &self.repo.full_name);
        match self.args.format {
            Format::Json => told.push(json!({
                "forge": forge, "repository": repository, "ref": name, "unknown": why,
            })),
            Format::Text => out.line(format!(
                "{forge} {repository} {name}: protection-unknown: the forge does not tell what it enforces: {why}"
            )),
        }
    }

    async fn drift(&self, name: &RefName, wanted: Wanted) -> Result<Vec<Drift>, CommandError> {
        let actual = self.adapter.protection(self.repo, name).await;
        Ok(drift(wanted, &actual.map_err(|error| outage(self.forge, error))?))
    }

    /// The calls, and the drift that is left after them.
    async fn apply(
        &self,
        name: &RefName,
        wanted: Wanted,
        yes: bool,
    ) -> Result<(Vec<String>, Vec<Drift>), CommandError> {
        let calls = self.adapter.protect(self.repo, name, wanted, !yes).await;
        let calls = calls.map_err(|error| outage(self.forge, error))?;
        Ok((calls, self.drift(name, wanted).await?))
    }

    fn tell(
        &self,
        out: &mut Output,
        told: &mut Vec<Value>,
        name: &str,
        found: &[Drift],
        calls: &[String],
        left: &[Drift],
    ) {
        let codes = |drift: &[Drift]| drift.iter().map(|one| one.code()).collect::<Vec<_>>();
        if self.args.format == Format::Json {
            told.push(json!({
                "forge": self.forge.name, "repository": self.repo.full_name, "ref": name,
                "drift": codes(found), "calls": calls, "left": codes(left),
            }));
            return;
        }
        let place = format!("{} {} {name}", self.forge.name, self.repo.full_name);
        if found.is_empty() {
            out.line(format!("{place}: as the policy wants"));
        }
        for one in found {
            out.line(format!("{place}: {}: {}", one.code(), one.what()));
        }
        let verb = if self.is_dry() { "would do" } else { "did" };
        for call in calls {
            out.line(format!("  {verb}: {call}"));
        }
        if !self.is_dry() && !found.is_empty() {
            let left = if left.is_empty() {
                "nothing".to_owned()
            } else {
                codes(left).join(", ")
            };
            out.line(format!("  left to mend: {left}"));
        } else if !calls.is_empty() {
            out.line("  = help: to do it, add --yes");
        }
    }

    fn is_dry(&self) -> bool {
        !matches!(&self.args.command, ForgeCommand::Apply(apply) if apply.yes)
    }

    async fn report(&self, out: &mut Output, told: &mut Vec<Value>) -> Result<bool, CommandError> {
        let report = first_report(self.adapter, self.bench, self.repo, process::now()).await;
        let report: FirstReport = match report {
            Ok((report, _)) => report,
            Err(NoReport::Forge(error)) => return Err(outage(self.forge, error)),
            Err(NoReport::Outage(outage)) => return Err(outage.into()),
        };
        match self.args.format {
            Format::Json => told.push(json!(report)),
            Format::Text => out.line(report.markdown().trim_end()),
        }
        Ok(report.is_clean())
    }
}

fn unable(unable: Unable) -> CommandError {
    match unable {
        Unable::Outage(outage) => outage.into(),
        Unable::Moved => serve::unavailable("read the refs", "they move").into(),
    }
}

fn outage(forge: &ForgeConfig, error: ForgeError) -> CommandError {
    let (code, next) = match &error {
        ForgeError::Refused { code, .. } => (*code, "check the token, its permissions and the name"),
        ForgeError::Later { .. } => ("forge-unreachable", "try again later"),
    };
    CommandError::Outage(Outage {
        code,
        what: format!("the forge {} gives no answer to use", forge.name),
        why: error.to_string(),
        next: next.to_owned(),
    })
}
