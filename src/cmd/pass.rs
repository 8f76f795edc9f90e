//! A push's pass: the moves that `pre-receive` has made durable entries for, noted for the hook that comes next.
//!
//! Opening the ledger costs a millisecond, which `reference-transaction` would pay to read what the same push has
//! just written. A pass is written after the entries are durable, names the one receive-pack that may use it, and
//! is worth no more than its entries: a move that it does not name is looked up in the ledger, and without a pass
//! all are.

use super::home::Home;
use super::process;
use crate::decision::Accepted;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

/// Most bytes of a pass that are read; a longer one is none.
const LONGEST: u64 = 1 << 20;

/// Writes the pass of a push whose entries are durable.
///
/// * `owner`: the receive-pack that will move the refs, as [`process::owner`] names it.
///
/// Cannot fail: without a pass the ledger is asked.
pub(super) fn write(home: &Home, owner: &str, accepted: &[Accepted]) {
    let Some(path) = path(home, owner).filter(|_| !accepted.is_empty()) else {
        return;
    };
    let mut text = format!("{owner}\n");
    for entry in accepted {
        let update = &entry.update;
        text.push_str(&format!("{} {} {}\n", update.old, update.new, update.name));
    }
    let new = || {
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
    };
    let file = new().or_else(|_| {
        fs::DirBuilder::new().mode(0o700).create(folder(home))?;
        new()
    });
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
}

/// Whether this push has a pass that names every ref's line of the reference-transaction hook. A line of `HEAD` only
/// says that it follows.
pub(super) fn covers(home: &Home, input: &[u8]) -> bool {
    let owner = process::owner();
    let Some(text) = path(home, &owner).and_then(|path| read(&path)) else {
        return false;
    };
    let mut lines = text.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    if lines.next() != Some(owner.as_bytes()) {
        return false;
    }
    let named: Vec<&[u8]> = lines.collect();
    let is_head = |line: &&[u8]| line.is_empty() || line.ends_with(b" HEAD");
    let mut asked = input.split(|&b| b == b'\n').filter(|line| !is_head(line));
    asked.all(|line| named.contains(&line))
}

/// Removes the passes of pushes that are over.
pub(super) fn clear(home: &Home) {
    for entry in fs::read_dir(folder(home)).into_iter().flatten().flatten() {
        let text = read(&entry.path()).unwrap_or_default();
        let owner = text.split(|&b| b == b'\n').next().unwrap_or_default();
        // A pass that is being written has no owner yet; it goes the next time.
        if process::is_alive(&String::from_utf8_lossy(owner)) == Some(false) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn folder(home: &Home) -> PathBuf {
    home.dir.join("passes")
}

/// Where the pass of a receive-pack lies; `None` where it is not known.
fn path(home: &Home, owner: &str) -> Option<PathBuf> {
    let mut parts = owner.split(' ');
    let (_, pid, start) = (parts.next()?, parts.next()?, parts.next()?);
    Some(folder(home).join(format!("{pid}-{start}")))
}

fn read(path: &PathBuf) -> Option<Vec<u8>> {
    let length = fs::metadata(path).ok()?.len();
    (length <= LONGEST).then(|| fs::read(path).ok())?
}
