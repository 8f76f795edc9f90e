//! Adapter: what objects were found to be, kept for later pushes and scans.
//!
//! In scope: a folder of one installation that tells of an object's id whether a look under the same rules found the
//! object plain ([`crate::port::Looked::plain`]). An id names its content, so this stays true wherever the object
//! comes from. Out of scope: what is not plain; it is looked at again each time.
//!
//! What is written for an object is a tag: HMAC-SHA-256 of its id, cut to 16 bytes, under a key made of the
//! installation's key of fingerprints, the rule set's digest and the program's version. Whoever does not know that key
//! can make no tag: a file that is damaged, cut off, foreign or of other rules holds tags of nothing, and what it
//! seems to hold is looked at. So nothing in these files is trusted, and none needs a header or a checksum.
//!
//! Two files, named after the key: tags in order, and (`.new`) those that pushes have added since, as they came.
//! [`Verdicts::merge`] makes one of both, outside of pushes, and removes what other rules left. Any of it may be
//! deleted at any time: that costs work, never a verdict.

mod sorted;

use crate::port;
use crate::push::Oid;
use crate::scan::FingerprintKey;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
pub use sorted::{ReadAt, Sorted, TAG, Tag};
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Most objects that are remembered: 64 MiB. Of more, every second old one is forgotten.
pub const MAX_TAGS: usize = 4 << 20;
/// Most bytes of added tags that a push reads. It adds none to more, until they are merged.
const MAX_NEW: u64 = 4 << 20;
/// From so many bytes of added tags on it pays to write all in order anew.
const MANY_NEW: u64 = 64 << 10;

type Key = Hmac<sha2::Sha256>;

/// The verdicts of one installation under one set of rules.
pub struct Verdicts {
    folder: PathBuf,
    key: Key,
    /// What the files are called.
    name: String,
    known: OnceLock<Known>,
    noted: Mutex<Vec<Tag>>,
}

/// What the files tell; what cannot be read tells nothing.
#[derive(Default)]
struct Known {
    sorted: Option<Sorted<File>>,
    new: HashSet<Tag>,
}

impl Verdicts {
    /// The verdicts that a folder keeps; touches nothing yet.
    ///
    /// * `rule_set`: the digest of the rules, [`crate::scan::RuleSet::digest`].
    pub fn new(folder: &Path, key: &FingerprintKey, rule_set: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let own = code(
            &keyed(key.expose_secret()),
            format!("lychgate verdicts\n{version}\n{rule_set}\n").as_bytes(),
        );
        let key = keyed(&own);
        let name = code(&key, b"name")[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            folder: folder.to_owned(),
            key,
            name,
            known: OnceLock::new(),
            noted: Mutex::default(),
        }
    }

    fn path(&self, end: &str) -> PathBuf {
        self.folder.join(format!("{}{end}", self.name))
    }

    fn tag(&self, oid: Oid) -> Tag {
        let code = code(&self.key, oid.as_bytes());
        std::array::from_fn(|at| code[at])
    }

    fn known(&self) -> &Known {
        self.known.get_or_init(|| Known {
            sorted: regular(&self.path("")).map(|(file, size)| Sorted::new(file, size)),
            new: read(&self.path(".new"), MAX_NEW)
                .unwrap_or_default()
                .into_iter()
                .collect(),
        })
    }

    /// Adds what was noted to the files.
    ///
    /// # Errors
    /// The folder cannot be written. Then the same objects are looked at again, nothing else.
    pub fn keep(&self) -> io::Result<()> {
        let noted = std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner));
        let path = self.path(".new");
        if noted.is_empty() || fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_NEW) {
            return Ok(());
        }
        let open = || {
            let mut options = OpenOptions::new();
            options.append(true).create(true).mode(0o600).open(&path)
        };
        let mut file = open().or_else(|_| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            open()
        })?;
        // In one call: pushes add at the same time, and tags that are torn apart are lost.
        file.write_all(noted.as_flattened())
    }

    /// Puts what was added among the rest if that is worth while, and removes what other rules left.
    ///
    /// # Errors
    /// The folder cannot be read or written. The files then stay as they are.
    pub fn merge(&self) -> io::Result<()> {
        if !self.folder.is_dir() {
            return Ok(());
        }
        let mut lock = OpenOptions::new();
        lock.create(true).truncate(false).write(true).mode(0o600);
        let lock = lock.open(self.folder.join("lock"))?;
        lock.lock()?;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name != "lock" && !name.starts_with(&self.name) {
                fs::remove_file(entry.path())?;
            }
        }
        let (new, taken) = (self.path(".new"), self.path(".taken"));
        // What a process that was ended has taken and not put in order comes first.
        if !taken.exists() {
            if fs::metadata(&new).map_or(0, |meta| meta.len()) < MANY_NEW {
                return Ok(());
            }
            fs::rename(&new, &taken)?;
        }
        self.put_in_order(&taken)?;
        fs::remove_file(&taken)
    }

    fn put_in_order(&self, taken: &Path) -> io::Result<()> {
        let most = (MAX_TAGS * TAG) as u64;
        let mut tags = read(&self.path(""), most).unwrap_or_default();
        let mut new = read(taken, most)?;
        while tags.len() + new.len() > MAX_TAGS && !tags.is_empty() {
            tags = tags.into_iter().skip(1).step_by(2).collect();
        }
        tags.append(&mut new);
        tags.sort_unstable();
        tags.dedup();
        let scratch = self.path(".scratch");
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o600);
        options.open(&scratch)?.write_all(tags.as_flattened())?;
        // Not waited for: what a power cut tears holds no tags.
        fs::rename(&scratch, self.path(""))
    }
}

impl port::Verdicts for Verdicts {
    fn is_plain(&self, oid: Oid) -> bool {
        let (tag, known) = (self.tag(oid), self.known());
        // A file that cannot be read tells nothing.
        let sorted = |sorted: &Sorted<File>| sorted.holds(&tag).unwrap_or(false);
        known.new.contains(&tag) || known.sorted.as_ref().is_some_and(sorted)
    }

    fn note(&self, oid: Oid) {
        let tag = self.tag(oid);
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() < MAX_TAGS {
            noted.push(tag);
        }
    }
}

fn keyed(key: &[u8; 32]) -> Key {
    // A key shorter than the hash's block is, by definition, filled up with zeros.
    let mut block = zeroize::Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    Key::new((&*block).into())
}

fn code(key: &Key, text: &[u8]) -> [u8; 32] {
    let mut mac = key.clone();
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// A regular file and its size; whatever else has the name is none of ours, and might never end.
fn regular(path: &Path) -> Option<(File, u64)> {
    let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((File::open(path).ok()?, meta.len()))
}

/// The tags of a file, at most `most` bytes of them; bytes at its end that are none are left out.
fn read(path: &Path, most: u64) -> io::Result<Vec<Tag>> {
    let (file, size) = regular(path).ok_or(io::ErrorKind::NotFound)?;
    let mut bytes = Vec::with_capacity(size.min(most) as usize);
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes.as_chunks().0.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Verdicts as _;
    use std::os::unix::fs::PermissionsExt;

    fn verdicts(folder: &Path, key: u8, rules: &str) -> Verdicts {
        Verdicts::new(folder, &FingerprintKey::new(Box::new([key; 32])), rules)
    }

    fn oid(number: u32) -> Oid {
        let mut bytes = [7; 20];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        Oid::from_bytes(&bytes).unwrap()
    }

    fn add(folder: &Path, numbers: std::ops::Range<u32>) {
        let ours = verdicts(folder, 1, "rules");
        numbers.for_each(|number| ours.note(oid(number)));
        ours.keep().unwrap();
    }

    fn known(folder: &Path, numbers: std::ops::Range<u32>) -> usize {
        let ours = verdicts(folder, 1, "rules");
        numbers.filter(|number| ours.is_plain(oid(*number))).count()
    }

    #[test]
    fn what_was_noted_is_known_before_and_after_it_is_put_in_order() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("verdicts");
        verdicts(&folder, 1, "rules").merge().unwrap();
        add(&folder, 0..9_000);
        assert_eq!(known(&folder, 0..10_000), 9_000);
        verdicts(&folder, 1, "rules").merge().unwrap();
        let ours = verdicts(&folder, 1, "rules");
        assert!(!ours.path(".new").exists() && ours.path("").exists());
        add(&folder, 8_000..9_500);
        assert_eq!(known(&folder, 0..10_000), 9_500);
        for path in [folder.clone(), ours.path(""), ours.path(".new")] {
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", path.display());
        }
    }

    #[test]
    fn another_key_and_other_rules_know_nothing_and_what_they_left_goes() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        add(folder, 0..9_000);
        let ours = verdicts(folder, 1, "rules");
        ours.merge().unwrap();
        for other in [verdicts(folder, 2, "rules"), verdicts(folder, 1, "other rules")] {
            // Even under its own name such a file holds tags of nothing.
            fs::copy(ours.path(""), other.path("")).unwrap();
            fs::copy(ours.path(""), other.path(".new")).unwrap();
            assert!((0..9_000).all(|number| !other.is_plain(oid(number))));
        }
        assert_eq!(fs::read_dir(folder).unwrap().count(), 6);
        ours.merge().unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 2);
    }

    #[test]
    fn files_that_are_damaged_or_no_files_know_less_and_nothing_wrong() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        add(folder, 0..9_000);
        let ours = verdicts(folder, 1, "rules");
        ours.merge().unwrap();
        let good = fs::read(ours.path("")).unwrap();
        let flipped: Vec<u8> = good.iter().map(|byte| byte ^ 1).collect();
        let bad = [
            good[..good.len() / 3 + 5].to_vec(),
            good[5..].to_vec(),
            flipped,
            vec![0; 100_000],
            vec![255; 100_001],
            Vec::new(),
        ];
        for bytes in bad {
            fs::write(ours.path(""), &bytes).unwrap();
            fs::write(ours.path(".new"), &bytes).unwrap();
            assert!(known(folder, 0..9_000) < 4_000);
            assert_eq!(known(folder, 9_000..20_000), 0);
        }
        for end in ["", ".new"] {
            fs::remove_file(ours.path(end)).unwrap();
            fs::create_dir(ours.path(end)).unwrap();
        }
        assert_eq!(known(folder, 0..9_000), 0);
    }

    #[test]
    fn what_a_process_that_was_ended_has_taken_is_not_lost() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        add(folder, 0..100);
        let ours = verdicts(folder, 1, "rules");
        fs::rename(ours.path(".new"), ours.path(".taken")).unwrap();
        add(folder, 100..200);
        ours.merge().unwrap();
        assert_eq!(known(folder, 0..300), 200);
    }

    #[test]
    fn a_push_adds_nothing_to_a_file_that_nobody_puts_in_order() {
        let scratch = tempfile::tempdir().unwrap();
        let ours = verdicts(scratch.path(), 1, "rules");
        fs::write(ours.path(".new"), vec![0; MAX_NEW as usize + 1]).unwrap();
        add(scratch.path(), 0..100);
        assert_eq!(fs::metadata(ours.path(".new")).unwrap().len(), MAX_NEW + 1);
    }
}
