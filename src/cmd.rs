//! Commands: arguments in, exit code out. The only place that constructs adapters.

pub mod actor;
pub mod check;
pub mod error;
#[cfg(feature = "bot")]
pub mod forge;
pub mod git;
pub mod home;
pub mod hook;
pub mod init;
pub mod keys;
pub mod log;
pub mod open;
pub mod output;
mod pass;
pub mod process;
pub mod publish;
#[cfg(feature = "bot")]
pub mod queue;
pub mod reopen;
pub mod rules;
pub mod scan;
#[cfg(feature = "bot")]
pub mod serve;
pub mod settle;
pub mod verify;
pub mod waiver;

use clap::{CommandFactory, Parser, Subcommand};
use error::{CommandError, Outcome};
use output::Output;

/// Guards the place where code enters an organisation, and makes that guard's word last.
///
/// Exit codes: 0 allowed, clean, verified; 1 denied, findings, not verified; 2 usage or configuration;
/// 3 outage (and an outage denies).
#[derive(Debug, Parser)]
#[command(name = "lychgate", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install the gate into a repository on the server, or audit an installation.
    Init(init::InitArgs),
    /// Run a server hook; Git calls this.
    Hook(HookArgs),
    /// Tell before a push what the server would decide about it.
    Check(check::CheckArgs),
    /// Scan files, folders and Git repositories for secrets.
    Scan(Box<scan::ScanArgs>),
    /// List, count, explain, start, test and import detection rules.
    Rules(rules::RulesArgs),
    /// Verify that a revision entered through the gate, and that this still holds.
    Verify(verify::VerifyArgs),
    /// Re-open, revoke or close entries after a signal.
    Reopen(reopen::ReopenArgs),
    /// Ask for, approve, list and end waivers of what was refused.
    Waiver(waiver::WaiverArgs),
    /// Manage the keys that may sign.
    Keys(keys::KeysArgs),
    /// Read, export, check and replay the log.
    Log(log::LogArgs),
    /// Finish what pushes left to do: recovery, second opinions, notes. Each push starts it.
    Settle(settle::SettleArgs),
    /// Compare what forges enforce with the policy, and make them enforce it.
    #[cfg(feature = "bot")]
    Forge(forge::ForgeArgs),
    /// Serve forges: the same verdict on every pull request.
    #[cfg(feature = "bot")]
    Serve(serve::ServeArgs),
    /// List, show and replay what the service laid aside after too many attempts.
    #[cfg(feature = "bot")]
    Queue(queue::QueueArgs),
    /// Print completions for a shell.
    Completions(CompletionArgs),
    /// Print the manual page.
    Man,
}

/// Arguments of `lychgate hook`.
#[derive(Debug, clap::Args)]
pub struct HookArgs {
    /// The hook's name, or the path by which Git called it.
    pub name: String,
    /// Git's arguments.
    pub args: Vec<String>,
}

/// Arguments of `lychgate completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Runs the program and gives its exit code.
pub fn main(arguments: Vec<String>) -> u8 {
    let mut out = Output::standard();
    let result = dispatch(arguments, &mut out);
    finish(result, &mut out)
}

/// Prints what is left to say and gives the exit code.
fn finish(result: Result<Outcome, CommandError>, out: &mut Output) -> u8 {
    out.flush();
    match result {
        Ok(Outcome::Yes) => 0,
        Ok(Outcome::No) => 1,
        Err(error) => {
            let text = error.to_string();
            if !text.is_empty() {
                out.note(text);
            }
            error.exit_code()
        }
    }
}

fn dispatch(arguments: Vec<String>, out: &mut Output) -> Result<Outcome, CommandError> {
    let now = process::now();
    // A hook pays for every start: it does not even build the description of the other commands.
    if let [_, command, name, args @ ..] = arguments.as_slice()
        && command == "hook"
        && !name.starts_with('-')
    {
        return hook::run(name, args, now, out);
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, out),
    };
    match cli.command {
        Command::Init(args) => init::run(&args, now, out),
        Command::Hook(args) => hook::run(&args.name, &args.args, now, out),
        Command::Check(args) => check::run(&args, now, out),
        Command::Scan(args) => scan::run(&args, out),
        Command::Rules(args) => rules::run(&args, out),
        Command::Verify(args) => verify::run(&args, now, out),
        Command::Reopen(args) => reopen::run(&args, now, out),
        Command::Waiver(args) => waiver::run(&args, now, out),
        Command::Keys(args) => keys::run(&args, now, out),
        Command::Log(args) => log::run(&args, now, out),
        Command::Settle(args) => settle::run(&args, now, out),
        #[cfg(feature = "bot")]
        Command::Forge(args) => forge::run(&args, out),
        #[cfg(feature = "bot")]
        Command::Serve(args) => serve::run(&args, out),
        #[cfg(feature = "bot")]
        Command::Queue(args) => queue::run(&args, out),
        Command::Completions(args) => completions(args.shell, out),
        Command::Man => manual(out),
    }
}

/// Help and version are answers; anything else is a usage error with clap's own text.
fn usage(error: &clap::Error, out: &mut Output) -> Result<Outcome, CommandError> {
    let text = error.to_string();
    if error.use_stderr() {
        return Err(CommandError::Usage {
            code: "usage",
            what: text.trim_start_matches("error: ").trim_end().to_owned(),
            next: String::new(),
        });
    }
    out.line(text.trim_end());
    Ok(Outcome::Yes)
}

fn completions(shell: clap_complete::Shell, out: &mut Output) -> Result<Outcome, CommandError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lychgate", &mut text);
    out.line(String::from_utf8_lossy(&text).trim_end());
    Ok(Outcome::Yes)
}

fn manual(out: &mut Output) -> Result<Outcome, CommandError> {
    let mut page = Vec::new();
    let render = clap_mangen::Man::new(Cli::command()).render(&mut page);
    render.map_err(|e| CommandError::usage("no-manual", e.to_string(), ""))?;
    out.line(String::from_utf8_lossy(&page).trim_end());
    Ok(Outcome::Yes)
}
