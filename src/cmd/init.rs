//! `lychgate init`: installs the gate in a repository, and audits an installation.
//!
//! In scope: the arguments and what is printed. `install` makes what is
//! missing and keeps what is there; `hook_file` writes the hooks; `audit` reads
//! everything by which a push could pass the gate; `git` asks git. Out of
//! scope: keys that may sign (`keys`).

mod audit;
mod client;
mod git;
mod hook_file;
mod install;

use super::error::{CommandError, Outcome};
use super::home::Home;
use super::output::{Format, Output};
use super::publish;
use crate::push::Timestamp;
use audit::{Item, Level};
use git::Git;
use install::{Installed, Plan};
use serde_json::json;
use std::ffi::OsString;
use std::path::PathBuf;

/// Installs the gate in a bare repository, or audits an installation.
///
/// Can be run again: it makes what is missing and never overwrites the policy, the settings, a key or the ledger.
#[derive(Debug, Clone, clap::Args)]
pub struct InitArgs {
    /// The repository's folder on the server, such as /srv/git/pay.git
    pub repository: PathBuf,
    /// Install the developer's hooks, pre-commit and pre-push, into a clone instead
    #[arg(long, conflicts_with_all = ["check", "resource", "verifier_id", "chain", "no_hooks", "format"])]
    pub client: bool,
    /// Change nothing; audit the installation and every way around it
    #[arg(long, conflicts_with_all = ["resource", "verifier_id", "program", "chain"])]
    pub check: bool,
    /// The repository's public name, a resource URI; made of its path by default.
    #[arg(
        long,
        value_name = "URI",
        help = "The repository's public name, such as git+https://git.example.com/acme/pay [default: its path]"
    )]
    pub resource: Option<String>,
    /// Who verifies, as consumers will trust it [default: made of the resource]
    #[arg(long, value_name = "ID")]
    pub verifier_id: Option<String>,
    /// The program that the hooks run [default: this one]
    #[arg(long, value_name = "PATH")]
    pub program: Option<PathBuf>,
    /// Keep hooks of others beside ours and run them first, instead of refusing
    #[arg(long)]
    pub chain: bool,
    /// Leave the hooks alone: they are placed by hand, as hooks/README.md says for each server
    #[arg(long, conflicts_with_all = ["program", "chain"])]
    pub no_hooks: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Installs, or with `--check` audits: [`Outcome::No`] if the audit finds a problem.
///
/// * `now`: tells whether what the policy allows has expired.
///
/// # Errors
/// Usage: no repository there, a hook of someone else's, hooks that git looks for elsewhere, a wrong name.
/// Outage: a file cannot be written, the ledger or the attestation key cannot be made.
pub fn run(args: &InitArgs, now: Timestamp, out: &mut Output) -> Result<Outcome, CommandError> {
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    run_in(args, &environment, now, out)
}

/// As [`run`], in a given environment: git's variables, and those by which servers skip hooks.
///
/// # Errors
/// As [`run`].
pub fn run_in(
    args: &InitArgs,
    environment: &[(OsString, OsString)],
    now: Timestamp,
    out: &mut Output,
) -> Result<Outcome, CommandError> {
    if args.client {
        client::install(&args.repository, args.program.as_deref(), out)?;
        return Ok(Outcome::Yes);
    }
    let git = Git::open(&args.repository, environment)?;
    let home = Home::of(git.dir());
    if args.check {
        let items = audit::audit(&git, &home, !args.no_hooks, environment, now)?;
        print_audit(args.format, &items, out);
        let bad = items.iter().any(|item| item.level == Level::Problem);
        return Ok(if bad { Outcome::No } else { Outcome::Yes });
    }
    let plan = Plan {
        resource: args.resource.as_deref(),
        verifier_id: args.verifier_id.as_deref(),
        program: args.program.as_deref(),
        chain: args.chain,
        hooks: !args.no_hooks,
    };
    let installed = install::install(&git, &home, &plan)?;
    print_installed(args, &home, &installed, out);
    publish::refresh(&home, out);
    Ok(Outcome::Yes)
}

fn print_installed(args: &InitArgs, home: &Home, installed: &Installed, out: &mut Output) {
    if args.format == Format::Json {
        let steps = |made: bool| -> Vec<&str> {
            let steps = installed.steps.iter().filter(|step| step.made == made);
            steps.map(|step| step.what.as_str()).collect()
        };
        out.line(json!({
            "home": home.dir.display().to_string(),
            "resource": installed.settings.resource,
            "verifier_id": installed.settings.verifier_id,
            "program": installed.program.display().to_string(),
            "made": steps(true),
            "kept": steps(false),
        }));
        return;
    }
    for step in &installed.steps {
        out.line(format_args!(
            "{}  {}",
            if step.made { "made" } else { "kept" },
            step.what
        ));
    }
    let repository = args.repository.display();
    out.line(format_args!(
        "\n{repository} is guarded as {}.\nNext:\n  \
         lychgate keys add KEYFILE --account NAME --email ADDRESS --repo {repository}   (who may sign)\n  \
         edit {}   (what is protected)\n  \
         lychgate init --check {repository}   (audit)",
        installed.settings.resource,
        home.policy().display(),
    ));
}

fn print_audit(format: Format, items: &[Item], out: &mut Output) {
    let count = |level| items.iter().filter(|item| item.level == level).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    if format == Format::Json {
        out.line(json!({ "problems": problems, "warnings": warnings, "results": items }));
        return;
    }
    for item in items {
        out.line(format_args!("{:<8} {}: {}", item.level.name(), item.name, item.detail));
        if !item.next.is_empty() {
            out.line(format_args!("           = help: {}", item.next));
        }
    }
    let many = |count: usize| if count == 1 { "" } else { "s" };
    out.line(format_args!(
        "{problems} problem{}, {warnings} warning{}, {} checks",
        many(problems),
        many(warnings),
        items.len()
    ));
}
