//! Writes an attestation with all that is needed to verify it without the repository.

use super::ledger::{Ledger, Wanted};
use crate::cmd::error::{CommandError, Outcome};
use crate::cmd::output::{Format, Output};
use crate::port::Store;
use crate::push::Timestamp;
use crate::worker;
use std::path::{Path, PathBuf};

/// The bundle's file name; the proof and the status list stand beside it as `<name>.proof` and `<name>.status`.
pub const BUNDLE: &str = "bundle.json";

/// Exports the newest entry of a revision.
///
/// # Errors
/// `unknown-revision`, `no-entry`, `cannot-write`; the store's and the signer's.
pub fn run(
    ledger: &Ledger,
    wanted: &Wanted,
    dir: &Path,
    now: Timestamp,
    format: Format,
    out: &mut Output,
) -> Result<Outcome, CommandError> {
    let commit = ledger.resolve(&wanted.rev)?;
    let entry = ledger.entries(commit, wanted)?.into_iter().next();
    let bundle = entry.as_ref().map(worker::bundle).transpose()?.flatten();
    let (Some(entry), Some(bundle)) = (entry, bundle) else {
        return Err(CommandError::Finding {
            code: "no-entry",
            what: format!("{} ({commit}) has no entry here", wanted.rev),
            next: "list what entered: lychgate log".to_owned(),
        });
    };
    // The list first: the proof's checkpoint must not be newer than the list, or the list reads as rolled back.
    let head = ledger.wait(ledger.store.head())?;
    let status = ledger.wait(worker::status_list(&ledger.store, &ledger.signer()?, &ledger.gate, now))?;
    let proof = ledger.wait(worker::prove(&ledger.store, &head, entry.log_index.unwrap_or(u64::MAX)))?;
    let files = [
        (BUNDLE.to_owned(), bundle + "\n"),
        (format!("{BUNDLE}.proof"), proof.to_text()),
        (format!("{BUNDLE}.status"), status + "\n"),
        ("attestation.pub".to_owned(), ledger.key.to_pem()),
    ];
    std::fs::create_dir_all(dir).map_err(|e| cannot_write(dir, &e))?;
    let mut written: Vec<PathBuf> = Vec::new();
    for (name, text) in files {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|e| cannot_write(&path, &e))?;
        written.push(path);
    }
    report(ledger, &commit.to_string(), &written, format, out);
    Ok(Outcome::Yes)
}

fn report(ledger: &Ledger, commit: &str, written: &[PathBuf], format: Format, out: &mut Output) {
    match format {
        Format::Json => out.line(serde_json::json!({ "commit": commit, "files": written })),
        Format::Text => {
            for path in written {
                out.line(path.display());
            }
            let [bundle, .., key] = written else { return };
            out.line("verify it anywhere:");
            out.line(format!(
                "  lychgate verify --bundle {} --key {} --verifier-id {} --resource {} --commit {commit}",
                bundle.display(),
                key.display(),
                ledger.gate.verifier_id,
                ledger.gate.resource,
            ));
        }
    }
}

fn cannot_write(path: &Path, why: &std::io::Error) -> CommandError {
    CommandError::usage(
        "cannot-write",
        format!("cannot write {}: {why}", path.display()),
        "give another --out",
    )
}
