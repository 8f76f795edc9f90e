//! The gate's public part: policy, public keys, the attestation key's public half and the signed records of waivers, in
//! `refs/lychgate/gate`.
//!
//! Written on the server by `init`, `keys`, `waiver` and `settle`; fetched in a clone by `check`, so that a dry run uses
//! what the server uses. Pushes to `refs/lychgate/` are refused by the gate itself.

use super::error::CommandError;
use super::git;
use super::home::Home;
use super::output::Output;
use crate::attest::PublicKey;
use crate::decision::hex;
use crate::port::{Outage, WaiverRecord};
use crate::waiver::Waiver;
use crate::worker::waive;
use sha2::Digest;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The ref that carries the gate's public part.
pub const GATE_REF: &str = "refs/lychgate/gate";

const PUBLIC_KEY: &str = "attestation.pub";
/// A JSON array of texts, each a DSSE envelope.
const WAIVERS: &str = "waivers.json";

/// Most files of a keyring that are published; more than any installation we know of has keys.
const MAX_FILES: usize = 100_000;

/// Writes the public part after a change of it; a failure is only told, since the next `settle` writes it too.
pub fn refresh(home: &Home, out: &mut Output) {
    if let Err(CommandError::Outage(outage)) = write(home) {
        out.note(format!("warning[{}]: {outage}\n  = help: {}", outage.code, outage.next));
    }
}

/// Writes the public part with these records of waivers, as [`refresh`] does.
pub fn refresh_waivers(home: &Home, records: &[WaiverRecord], out: &mut Output) {
    match keep_waivers(home, records) {
        Ok(()) => refresh(home, out),
        Err(why) => out.note(format!("warning[gate-not-published]: {why}")),
    }
}

/// Writes the public part with these records of waivers.
///
/// # Errors
/// As [`fn@write`].
pub fn write_waivers(home: &Home, records: &[WaiverRecord]) -> Result<(), CommandError> {
    keep_waivers(home, records).map_err(failed)?;
    write(home)
}

/// Keeps the records beside the policy, for whoever publishes next without the ledger at hand. Whole envelopes, byte
/// for byte: an approval names the digest of what it approves.
fn keep_waivers(home: &Home, records: &[WaiverRecord]) -> std::io::Result<()> {
    let envelopes: Vec<&str> = records.iter().map(|record| record.envelope.as_str()).collect();
    let text = serde_json::to_vec(&envelopes)?;
    if std::fs::read(home.waivers()).is_ok_and(|have| have == text) {
        return Ok(());
    }
    // Another account may have written the file that is there.
    let fresh = home.dir.join(format!("waivers.{}", std::process::id()));
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, home.waivers())
}

/// The waivers that a fetched gate publishes, each record verified by its attestation key; `None`: it publishes none,
/// since it is of a former version.
///
/// # Errors
/// `waivers-unreadable`, `waiver-unverified`.
pub fn waivers(gate: &Path) -> Result<Option<Vec<Waiver>>, Outage> {
    let unreadable = |why: String| Outage {
        code: "waivers-unreadable",
        what: "cannot read the waivers that the gate publishes".into(),
        why,
        next: "fetch them again: run without --offline; if that does not help, ask the gate's administrator".into(),
    };
    let text = match std::fs::read(gate.join(WAIVERS)) {
        Ok(text) => text,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(unreadable(why.to_string())),
    };
    let envelopes: Vec<String> = serde_json::from_slice(&text).map_err(|why| unreadable(why.to_string()))?;
    let pem = std::fs::read_to_string(gate.join(PUBLIC_KEY)).map_err(|why| unreadable(why.to_string()))?;
    let key = PublicKey::from_pem(&pem).map_err(|why| unreadable(why.to_string()))?;
    waive::verified(envelopes.iter().map(String::as_str), &key).map(Some)
}

/// Writes the public part, if it differs from what the ref has.
///
/// # Errors
/// `gate-not-published` with the cause; nothing else depends on it.
pub fn write(home: &Home) -> Result<(), CommandError> {
    let mut files = vec![("policy.toml".to_owned(), home.policy())];
    files.push((PUBLIC_KEY.to_owned(), home.attestation_public_key()));
    if home.waivers().exists() {
        files.push((WAIVERS.to_owned(), home.waivers()));
    }
    for folder in ["openpgp", "ssh"] {
        collect(&home.keyring().join(folder), &format!("keyring/{folder}"), &mut files).map_err(failed)?;
    }
    files.sort();
    let mut stream = String::from("commit ");
    stream.push_str(GATE_REF);
    stream.push_str("\ncommitter Lychgate <lychgate@localhost> 0 +0000\ndata 0\ndeleteall\n");
    let mut bytes = stream.into_bytes();
    for (name, path) in files {
        let content = std::fs::read(&path).map_err(failed)?;
        bytes.extend_from_slice(format!("M 100644 inline {name}\ndata {}\n", content.len()).as_bytes());
        bytes.extend_from_slice(&content);
        bytes.push(b'\n');
    }
    if unchanged(home, &bytes) {
        return Ok(());
    }
    fast_import(&home.git_dir, &bytes)?;
    // Only a hint that saves work: without it the same content is written again.
    let _ = std::fs::write(stamp(home), digest(&bytes));
    Ok(())
}

/// Whether the ref has this content already, by the digest of what was written last.
fn unchanged(home: &Home, bytes: &[u8]) -> bool {
    std::fs::read_to_string(stamp(home)).is_ok_and(|have| have == digest(bytes))
        && git::ask(&home.git_dir, &["rev-parse", "--verify", "--quiet", GATE_REF]).is_ok_and(|oid| oid.is_some())
}

fn stamp(home: &Home) -> PathBuf {
    home.dir.join("published")
}

fn digest(bytes: &[u8]) -> String {
    hex(&sha2::Sha256::digest(bytes))
}

fn fast_import(git_dir: &Path, stream: &[u8]) -> Result<(), CommandError> {
    #[expect(clippy::disallowed_methods, reason = "commands may start git")]
    let mut command = std::process::Command::new("git");
    // Named outright: a GIT_DIR in the environment may mean another repository.
    command
        .arg("--git-dir")
        .arg(git_dir)
        .args(["fast-import", "--quiet", "--force"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // A failed write shows in the exit status too, with git's own reason.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(stream));
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(std::io::Error::other(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    )))
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> std::io::Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &name, files)?;
        } else if files.len() < MAX_FILES {
            files.push((name, entry.path()));
        } else {
            return Err(std::io::Error::other(format!("more than {MAX_FILES} key files")));
        }
    }
    Ok(())
}

fn failed(why: std::io::Error) -> CommandError {
    CommandError::Outage(Outage {
        code: "gate-not-published",
        what: format!("cannot write {GATE_REF}"),
        why: why.to_string(),
        next: "developers' `lychgate check` uses the former policy and keys until this works".into(),
    })
}

/// Fetches the public part of a remote's gate into `<git_dir>/lychgate-gate` and gives that folder.
///
/// # Errors
/// `no-gate-at-remote` if the remote has none or cannot be reached.
pub fn fetch(git_dir: &Path, remote: &str, offline: bool) -> Result<PathBuf, CommandError> {
    let folder = git_dir.join("lychgate-gate");
    if !offline {
        let refspec = format!("+{GATE_REF}:{GATE_REF}");
        // Where the developer stands: a remote may be named by a path relative to the work tree.
        let output = git::run(
            Path::new("."),
            &["fetch", "--quiet", "--no-tags", "--", remote, &refspec],
        )?;
        if !output.status.success() {
            return Err(no_gate(remote, String::from_utf8_lossy(&output.stderr).trim()));
        }
    }
    std::fs::create_dir_all(&folder).map_err(|e| no_gate(remote, &e.to_string()))?;
    let Some(listing) = git::ask(git_dir, &["ls-tree", "-r", "-z", "--name-only", GATE_REF])? else {
        return Err(no_gate(remote, "it was never fetched"));
    };
    // Start from an empty keyring: a key that the server removed must go here too.
    let _ = std::fs::remove_dir_all(folder.join("keyring"));
    let _ = std::fs::remove_file(folder.join(WAIVERS));
    for kind in ["openpgp", "ssh"] {
        // Git has no empty folders, but a keyring without its folders cannot be read.
        std::fs::create_dir_all(folder.join("keyring").join(kind)).map_err(|e| no_gate(remote, &e.to_string()))?;
    }
    for name in listing.split('\0').filter(|name| !name.is_empty()) {
        extract(git_dir, &folder, name).map_err(|e| no_gate(remote, &e))?;
    }
    Ok(folder)
}

fn extract(git_dir: &Path, folder: &Path, name: &str) -> Result<(), String> {
    // Names come from the remote: none may lead out of the folder.
    let plain = name
        .split('/')
        .all(|part| !part.is_empty() && part != "." && part != "..");
    if !plain {
        return Err(format!("the gate has a file with the name {name:?}"));
    }
    let output = git::run(git_dir, &["cat-file", "blob", &format!("{GATE_REF}:{name}")]).map_err(|e| e.to_string())?;
    let path = folder.join(name);
    let parent = path.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).map_err(|e| e.to_string())?;
    std::fs::write(&path, output.stdout).map_err(|e| e.to_string())
}

fn no_gate(remote: &str, why: &str) -> CommandError {
    CommandError::usage(
        "no-gate-at-remote",
        format!("cannot fetch the policy and keys of {remote}: {why}"),
        "check the remote's name; a gate publishes them in refs/lychgate/gate",
    )
}

/// Removes a SQLite file with its companions.
pub fn remove_database(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}
