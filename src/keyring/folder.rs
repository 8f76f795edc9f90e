//! The keyring's folder: where each key lies, and how files are read and written.
//!
//! One file a key, so that the hook opens only the keys that it meets:
//!
//! ```text
//! openpgp/FPR.pgp         the certificate, binary        (FPR: upper-case hex)
//! openpgp/FPR.json        OpenpgpRecord
//! openpgp/by-keyid/ID     fingerprints of certificates with a (sub)key of this id, one a line
//! ssh/HEX.json            SshRecord                      (HEX: SHA-256 of the key)
//! gnupg/                  GnuPG's home for gpgme
//! lock                    held while a command changes the folder
//! ```
//!
//! Writes are atomic: a new file, synced, renamed over the old one. A missing
//! file is an answer only while its folder is there; anything else that cannot
//! be read is an [`Outage`], never "no such key".

use crate::port::Outage;
use crate::push::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Most bytes of a key file: 1 MiB. A certificate without others' signatures has some 10 KiB.
pub const MAX_KEY_BYTES: u64 = 1024 * 1024;

/// Why our own record refuses a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Someone else may have it: nothing by it counts any more, whatever time it claims.
    Compromised,
    /// Another key takes its place.
    Superseded,
    /// Its holder signs no more.
    Retired,
}

/// A revocation in our own record, beside those in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Why.
    pub reason: Reason,
    /// When it was recorded.
    pub at: Timestamp,
    /// From which receive time on the key is refused; a compromised key is refused at any.
    pub from: Timestamp,
}

impl Revocation {
    /// Whether the key is refused at this receive time.
    pub fn applies(&self, received_at: Timestamp) -> bool {
        self.reason == Reason::Compromised || received_at >= self.from
    }
}

/// What we know of an OpenPGP certificate beside itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenpgpRecord {
    /// The account that signs with it.
    pub account: String,
    /// E-mail addresses that it may sign for, lower-case.
    pub emails: Vec<String>,
    /// When it was added.
    pub added_at: Timestamp,
    /// Our revocation.
    pub revocation: Option<Revocation>,
}

/// What we know of an SSH key or certificate authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshRecord {
    /// The public key line, `ssh-ed25519 AAAA…`; `None` for a certified key that is only revoked here.
    pub key: Option<String>,
    /// The account that signs with it; `None` for an authority, whose certificates name it.
    pub account: Option<String>,
    /// E-mail addresses that it may sign for, lower-case.
    pub emails: Vec<String>,
    /// Namespaces that it may sign in; commits and tags need `git`.
    pub namespaces: Vec<String>,
    /// Whether it certifies keys instead of signing itself.
    pub cert_authority: bool,
    /// For an authority: the principals that it may certify, `*` standing for any text.
    pub principals: Vec<String>,
    /// First receive time at which it may sign.
    pub valid_after: Option<Timestamp>,
    /// First receive time at which it may no longer sign.
    pub valid_before: Option<Timestamp>,
    /// For an authority: serial numbers of certificates that are revoked.
    pub revoked_serials: Vec<u64>,
    /// When it was added.
    pub added_at: Timestamp,
    /// Our revocation.
    pub revocation: Option<Revocation>,
}

/// Which version of a file was read: any rename or write changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
    length: u64,
}

/// Held while a command changes the folder; released when dropped.
pub(super) struct Lock(#[expect(dead_code, reason = "held for its drop")] File);

/// The paths of one keyring, and bounded reads and atomic writes below them.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    dir: PathBuf,
}

impl Folder {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Makes the folders that are missing, mode 0700.
    pub(super) fn create(&self) -> Result<(), Outage> {
        for dir in [
            self.dir.clone(),
            self.openpgp(),
            self.by_keyid(),
            self.ssh(),
            self.gnupg(),
        ] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(|e| unwritable(&dir, e))?;
        }
        Ok(())
    }

    pub(super) fn openpgp(&self) -> PathBuf {
        self.dir.join("openpgp")
    }

    pub(super) fn ssh(&self) -> PathBuf {
        self.dir.join("ssh")
    }

    pub(super) fn gnupg(&self) -> PathBuf {
        self.dir.join("gnupg")
    }

    fn by_keyid(&self) -> PathBuf {
        self.openpgp().join("by-keyid")
    }

    /// A certificate's file.
    pub(super) fn certificate(&self, fingerprint: &str) -> PathBuf {
        self.openpgp().join(format!("{fingerprint}.pgp"))
    }

    /// A certificate's record.
    pub(super) fn record(&self, fingerprint: &str) -> PathBuf {
        self.openpgp().join(format!("{fingerprint}.json"))
    }

    /// The index entry of a key id (16 upper-case hex digits).
    pub(super) fn index(&self, keyid: &str) -> PathBuf {
        self.by_keyid().join(keyid)
    }

    /// The record of an SSH key (lower-case hex of its SHA-256).
    pub(super) fn ssh_record(&self, hex: &str) -> PathBuf {
        self.ssh().join(format!("{hex}.json"))
    }

    /// Waits until no other command changes the folder.
    pub(super) fn lock(&self) -> Result<Lock, Outage> {
        let path = self.dir.join("lock");
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let file = file.map_err(|e| unwritable(&path, e))?;
        file.lock().map_err(|e| unwritable(&path, e))?;
        Ok(Lock(file))
    }
}

/// The file's content, or `None` if it does not exist but its folder does.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Outage> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return missing(path).map(|()| None),
        Err(e) => return Err(unreadable(path, e)),
    };
    // Most files fit: two reads instead of six.
    let mut bytes = Vec::with_capacity(8192);
    let read = file.take(MAX_KEY_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|e| unreadable(path, e))?;
    if bytes.len() as u64 > MAX_KEY_BYTES {
        return Err(unreadable(path, "it is larger than 1 MiB"));
    }
    Ok(Some(bytes))
}

/// A JSON file's value, or `None` as for [`read`].
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Outage> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let value = serde_json::from_slice(&bytes).map_err(|e| unreadable(path, e))?;
    Ok(Some(value))
}

/// The fingerprints that an index entry lists.
pub(super) fn read_index(path: &Path) -> Result<Vec<String>, Outage> {
    let bytes = read(path)?.unwrap_or_default();
    let text = String::from_utf8(bytes).map_err(|e| unreadable(path, e))?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let fingerprint = |line: &String| line.len() >= 40 && line.bytes().all(|b| b.is_ascii_hexdigit());
    if lines.iter().all(fingerprint) {
        Ok(lines)
    } else {
        Err(unreadable(path, "a line of it is no fingerprint"))
    }
}

/// A file's version; `None` if it does not exist.
pub(super) fn stamp(path: &Path) -> Result<Option<Stamp>, Outage> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(Stamp {
            inode: meta.ino(),
            seconds: meta.mtime(),
            nanoseconds: meta.mtime_nsec(),
            length: meta.len(),
        })),
        Err(e) if e.kind() == ErrorKind::NotFound => missing(path).map(|()| None),
        Err(e) => Err(unreadable(path, e)),
    }
}

/// Fails if the folder that should hold the file is missing itself.
fn missing(path: &Path) -> Result<(), Outage> {
    let dir = path.parent().unwrap_or(path);
    match fs::metadata(dir) {
        Ok(_) => Ok(()),
        Err(e) => Err(unreadable(dir, e)),
    }
}

/// The names in a folder that end so, without that ending, sorted.
pub(super) fn names(dir: &Path, ending: &str) -> Result<Vec<String>, Outage> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| unreadable(dir, e))? {
        let name = entry.map_err(|e| unreadable(dir, e))?.file_name();
        names.extend(name.to_str().and_then(|n| n.strip_suffix(ending)).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Writes a file atomically and durably, mode 0600.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Outage> {
    let fail = |e| unwritable(path, e);
    let dir = path.parent().unwrap_or(path);
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".new-{}", std::process::id()));
    let new = PathBuf::from(new);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(fail)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(e) = written.and_then(|()| fs::rename(&new, path)) {
        let _ = fs::remove_file(&new);
        return Err(fail(e));
    }
    sync(dir)
}

/// Writes a value as JSON, as [`write`] does.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Outage> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| unwritable(path, e))?;
    text.push(b'\n');
    write(path, &text)
}

/// Removes a file durably; one that is not there is no error.
pub(super) fn remove(path: &Path) -> Result<(), Outage> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(unwritable(path, e)),
        _ => sync(path.parent().unwrap_or(path)),
    }
}

fn sync(dir: &Path) -> Result<(), Outage> {
    let synced = File::open(dir).and_then(|d| d.sync_all());
    synced.map_err(|e| unwritable(dir, e))
}

/// The outage of a file that cannot be read or does not hold what it should.
pub(super) fn unreadable(path: &Path, why: impl std::fmt::Display) -> Outage {
    Outage {
        code: "keyring-unreadable",
        what: format!("cannot read {}", path.display()),
        why: why.to_string(),
        next: "check the file's owner and mode (0600; folders 0700), or restore it from a backup".to_owned(),
    }
}

/// The outage of a file that cannot be written.
pub(super) fn unwritable(path: &Path, why: impl std::fmt::Display) -> Outage {
    Outage {
        code: "keyring-unwritable",
        what: format!("cannot write {}", path.display()),
        why: why.to_string(),
        next: "check the disk's space, and the folder's owner and mode (0700)".to_owned(),
    }
}
