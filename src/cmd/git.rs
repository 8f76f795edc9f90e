//! The `git` program, for what a command asks of the user's repository.

use super::error::CommandError;
use crate::port::Outage;
use std::path::Path;
use std::process::{Command, Output};

/// Runs git in a folder and gives its standard output, trimmed, if it exits with 0; `None` otherwise.
///
/// # Errors
/// `git-missing` if the program cannot be started.
pub fn ask(dir: &Path, args: &[&str]) -> Result<Option<String>, CommandError> {
    let output = run(dir, args)?;
    Ok(output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned()))
}

/// Runs git in a folder.
///
/// # Errors
/// `git-missing` if the program cannot be started.
pub fn run(dir: &Path, args: &[&str]) -> Result<Output, CommandError> {
    let mut command = program();
    command.arg("-C").arg(dir).args(args);
    finish(command)
}

/// As [`run`], in the bare repository `dir` and in no other, whatever the environment says.
///
/// # Errors
/// `git-missing` if the program cannot be started.
pub fn run_in(dir: &Path, args: &[&str]) -> Result<Output, CommandError> {
    let mut command = program();
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"GIT_") {
            command.env_remove(name);
        }
    }
    command.current_dir(dir).arg("--git-dir=.").args(args);
    finish(command)
}

fn program() -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "commands may start git; git answers what only it knows"
    )]
    Command::new("git")
}

fn finish(mut command: Command) -> Result<Output, CommandError> {
    command.output().map_err(|e| {
        CommandError::Outage(Outage {
            code: "git-missing",
            what: "cannot run git".into(),
            why: e.to_string(),
            next: "install git 2.39 or later".into(),
        })
    })
}
