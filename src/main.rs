//! `lychgate`: arguments → command → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Arguments that are not UTF-8 are shown lossily and refused by name where they matter.
    let arguments = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    ExitCode::from(lychgate::cmd::main(arguments))
}
