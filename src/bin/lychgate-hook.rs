//! `lychgate-hook`: the hooks after the decision, which need neither keys nor rules. See `cmd::hook`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    ExitCode::from(lychgate::cmd::hook::lean_main(&arguments))
}
