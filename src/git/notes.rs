//! Writes bundles as Git notes, for readers that know no ledger, by `git fast-import`.
//!
//! fast-import keeps the notes tree's fan-out and refuses to lose what somebody else wrote meanwhile.
//! <https://git-scm.com/docs/git-fast-import#_notemodify>

use crate::port::{Notes, Outage};
use crate::push::{Oid, Timestamp};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The notes ref that readers of source attestations look at.
pub const NOTES_REF: &str = "refs/notes/commits";

/// Seconds after which a lock of the ref is nobody's: git holds it for milliseconds, and its hooks for seconds.
const GIVEN_UP_AFTER: i64 = 600;

/// Notes in one repository.
#[derive(Debug, Clone)]
pub struct FastImportNotes {
    git_dir: PathBuf,
}

impl FastImportNotes {
    /// Notes of a repository; touches nothing.
    pub fn new(git_dir: &Path) -> Self {
        Self {
            git_dir: git_dir.to_owned(),
        }
    }

    fn git(&self) -> Command {
        #[expect(clippy::disallowed_methods, reason = "this adapter's vendor is the git program")]
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.git_dir);
        command
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// The note that a commit has now; empty if none.
    fn present(&self, commit: Oid) -> Result<Vec<u8>, Outage> {
        let mut command = self.git();
        command.args(["notes", "--ref", NOTES_REF, "show", &commit.to_string()]);
        let output = command.output().map_err(|e| failed(&e.to_string()))?;
        Ok(if output.status.success() {
            output.stdout
        } else {
            Vec::new()
        })
    }

    fn exists(&self) -> Result<bool, Outage> {
        let mut command = self.git();
        command
            .args(["rev-parse", "--verify", "--quiet", NOTES_REF])
            .stdout(Stdio::null());
        Ok(command.status().map_err(|e| failed(&e.to_string()))?.success())
    }

    /// Removes the lock of a ref update that did not live to its end. `false`: there is none, or it may be in use.
    fn unlock(&self, now: Timestamp) -> bool {
        let lock = self.git_dir.join(format!("{NOTES_REF}.lock"));
        let since = std::fs::metadata(&lock).map_or(i64::MAX, |meta| meta.mtime());
        now.unix().saturating_sub(since) > GIVEN_UP_AFTER && std::fs::remove_file(&lock).is_ok()
    }

    fn import(&self, stream: &[u8]) -> Result<(), Outage> {
        let mut command = self.git();
        command
            .args(["fast-import", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut child = command.spawn().map_err(|e| failed(&e.to_string()))?;
        // A failed write shows in the exit status too, with git's own reason.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(stream));
        let output = child.wait_with_output().map_err(|e| failed(&e.to_string()))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(failed(String::from_utf8_lossy(&output.stderr).trim()))
        }
    }
}

impl Notes for FastImportNotes {
    fn append(&self, notes: &[(Oid, String)], now: Timestamp) -> Result<(), Outage> {
        let mut changed = Vec::new();
        for (commit, line) in notes {
            let mut text = match changed.iter().position(|(c, _): &(Oid, Vec<u8>)| c == commit) {
                Some(at) => changed.swap_remove(at).1,
                None => self.present(*commit)?,
            };
            if !text.is_empty() && !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            if !text.split(|&b| b == b'\n').any(|have| have == line.as_bytes()) {
                text.extend_from_slice(line.as_bytes());
                text.push(b'\n');
            }
            changed.push((*commit, text));
        }
        if changed.is_empty() {
            return Ok(());
        }
        let mut stream = format!(
            "commit {NOTES_REF}\ncommitter Lychgate <lychgate@localhost> {} +0000\n",
            now.unix()
        );
        stream.push_str("data 18\nEntry attestations");
        stream.push_str(if self.exists()? {
            "\nfrom refs/notes/commits^0\n"
        } else {
            "\n"
        });
        let mut bytes = stream.into_bytes();
        for (commit, text) in changed {
            bytes.extend_from_slice(format!("N inline {commit}\ndata {}\n", text.len()).as_bytes());
            bytes.extend_from_slice(&text);
            bytes.push(b'\n');
        }
        match self.import(&bytes) {
            Err(_) if self.unlock(now) => self.import(&bytes),
            other => other,
        }
    }
}

fn failed(why: &str) -> Outage {
    Outage {
        code: "notes-not-written",
        what: format!("cannot write {NOTES_REF}"),
        why: why.to_owned(),
        next: "the ledger has the attestation all the same; run: lychgate settle".into(),
    }
}
