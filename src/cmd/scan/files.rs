//! Reading files and folders, on all cores, in bounded memory.
//!
//! Hidden files included, and the text of symbolic links, which are not
//! followed. Left out: the object store of a Git folder (`.git/objects`), which
//! is compressed, and what the caller excludes. Names are scanned too.

use super::super::error::CommandError;
use super::super::output::Output;
use super::crew::{Crew, Leave, Shared};
use super::progress::Progress;
use super::{Eye, io_outage};
use crate::report::{Item, Note, Report};
use crate::scan::{self, stream::Cutter};
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use zeroize::{Zeroize, Zeroizing};

/// Files up to this size are read whole.
const WHOLE: u64 = 16 << 20;
/// Larger ones are scanned in pieces of this size, read by so much at a time.
const PIECE: usize = 8 << 20;
const READ: usize = 1 << 20;

/// Archives above [`WHOLE`] are read whole up to this size, one at a time.
const ARCHIVE: u64 = 256 << 20;

/// What is read; it keeps its size from file to file.
type Buffer = Zeroizing<Vec<u8>>;

/// One thing to read.
struct Target {
    path: PathBuf,
    /// The path as it may be shown.
    shown: String,
    link: bool,
}

/// The walk over the given paths: what is to be read, in its order, and what names said.
pub(super) struct Walk<'a> {
    eye: &'a Eye<'a>,
    /// What Git ignores, as full paths.
    excluded: HashSet<PathBuf>,
    targets: Vec<Target>,
    /// Findings in names, each with the number of targets before it.
    names: Vec<(usize, Item)>,
    unread: Vec<(usize, Note)>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(eye: &'a Eye<'a>) -> Self {
        Self {
            eye,
            excluded: HashSet::new(),
            targets: Vec::new(),
            names: Vec::new(),
            unread: Vec::new(),
        }
    }

    /// Leaves these files and folders out.
    pub(super) fn exclude(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        self.excluded.extend(paths);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.names.is_empty() && self.unread.is_empty()
    }

    /// A path that the user names: followed if it is a link, refused if it is not there.
    pub(super) fn root(&mut self, path: &Path) -> Result<(), CommandError> {
        let (_, shown) = self.eye.scanner.scan_name(path.as_os_str().as_bytes());
        let kind = std::fs::metadata(path).map(|meta| meta.file_type()).map_err(|e| {
            CommandError::usage(
                "path-unreadable",
                format!("{shown}: {e}"),
                "name files or folders that exist",
            )
        })?;
        if kind.is_dir() {
            self.folder(path, &shown);
        } else if kind.is_file() {
            self.target(path, shown, false);
        } else {
            let what = format!("{shown}: neither a file nor a folder");
            return Err(CommandError::usage("path-not-a-file", what, "name files or folders"));
        }
        Ok(())
    }

    /// Everything in a folder, sorted by name; the folders' depth is bounded by the length of a path.
    fn folder(&mut self, folder: &Path, shown: &str) {
        let items = std::fs::read_dir(folder).and_then(|items| items.collect::<Result<Vec<_>, _>>());
        let mut items = match items {
            Ok(items) => items,
            Err(e) => return self.unreadable("folder-unreadable", shown, &e),
        };
        items.sort_by_cached_key(std::fs::DirEntry::file_name);
        for item in items {
            if !self.excluded.is_empty() && self.excluded.contains(&item.path()) {
                continue;
            }
            let name = item.file_name();
            let (found, shown_name) = self.eye.scanner.scan_name(name.as_bytes());
            let shown = format!("{}/{shown_name}", shown.trim_end_matches('/'));
            let at = self.targets.len();
            self.names
                .extend(found.into_iter().map(|m| (at, Item::name(&shown, m))));
            match item.file_type() {
                Err(e) => self.unreadable("file-unreadable", &shown, &e),
                Ok(kind) if kind.is_dir() => {
                    if !(name == "objects" && folder.file_name().is_some_and(|f| f == ".git")) {
                        self.folder(&item.path(), &shown);
                    }
                }
                Ok(kind) if kind.is_file() || kind.is_symlink() => {
                    self.target(&item.path(), shown, kind.is_symlink());
                }
                // Sockets, pipes and devices hold no text of their own.
                Ok(_) => {}
            }
        }
    }

    fn target(&mut self, path: &Path, shown: String, link: bool) {
        self.targets.push(Target {
            path: path.to_owned(),
            shown,
            link,
        });
    }

    fn unreadable(&mut self, code: &'static str, shown: &str, error: &std::io::Error) {
        let note = Note {
            code,
            path: shown.to_owned(),
            why: error.to_string(),
        };
        self.unread.push((self.targets.len(), note));
    }
}

/// What reading one target gave.
#[derive(Default)]
struct Outcomes {
    items: Vec<Item>,
    note: Option<Note>,
    bytes: u64,
}

/// Reads and scans all targets on all cores; the report is in the order of the walk.
pub(super) fn scan_all(eye: &Eye, walk: Walk, max: u64, out: &mut Output) -> Report {
    let targets = &walk.targets;
    let next = AtomicUsize::new(0);
    let threads = threads(targets);
    let crew = Crew::new(threads);
    let progress = Progress::new("files", targets.len() as u64);
    let work = || {
        let mut leave = Leave(Some(&crew));
        let mut buffer = Buffer::default();
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(target) = targets.get(i) else { break };
            let outcomes = scan_target(eye, &crew, target, max, &mut buffer);
            progress.add(outcomes.bytes);
            done.push((i, outcomes));
        }
        leave.0 = None;
        crew.help(eye.scanner);
        done
    };
    let mut results: Vec<(usize, Outcomes)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        progress.watch(out, || threads.iter().all(std::thread::ScopedJoinHandle::is_finished));
        // A worker that panicked took its results along: its files count as unread below.
        threads.into_iter().filter_map(|t| t.join().ok()).flatten().collect()
    });
    results.sort_by_key(|(i, _)| *i);
    assemble(walk, results)
}

/// As many threads as there are cores, fewer only if there is less to do.
fn threads(targets: &[Target]) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let is_large = |target: &Target| !target.link && std::fs::metadata(&target.path).is_ok_and(|m| m.len() > WHOLE);
    if targets.len() >= cores || targets.iter().any(is_large) {
        return cores;
    }
    targets.len()
}

fn assemble(walk: Walk, results: Vec<(usize, Outcomes)>) -> Report {
    let mut report = Report::default();
    let mut names = walk.names.into_iter().peekable();
    let mut notes = walk.unread.into_iter().peekable();
    let mut results = results.into_iter().peekable();
    for (i, target) in walk.targets.iter().enumerate() {
        report
            .findings
            .extend(std::iter::from_fn(|| names.next_if(|(at, _)| *at <= i)).map(|(_, item)| item));
        report
            .unread
            .extend(std::iter::from_fn(|| notes.next_if(|(at, _)| *at <= i)).map(|(_, note)| note));
        match results.next_if(|(at, _)| *at == i) {
            Some((_, outcomes)) => {
                report.files += u64::from(outcomes.note.is_none());
                report.bytes += outcomes.bytes;
                report.findings.extend(outcomes.items);
                report.unread.extend(outcomes.note);
            }
            None => report.unread.push(Note {
                code: "file-not-scanned",
                path: target.shown.clone(),
                why: "the scan of it broke off; this is a defect of Lychgate".to_owned(),
            }),
        }
    }
    report.findings.extend(names.map(|(_, item)| item));
    report.unread.extend(notes.map(|(_, note)| note));
    report
}

fn scan_target(eye: &Eye, crew: &Crew, target: &Target, max: u64, buffer: &mut Buffer) -> Outcomes {
    let scanned = if target.link {
        std::fs::read_link(&target.path).map(|text| {
            let text = text.as_os_str().as_bytes();
            let found = eye.look(&target.shown, text);
            Outcomes {
                items: found.into_iter().map(|m| Item::content(&target.shown, m)).collect(),
                note: None,
                bytes: text.len() as u64,
            }
        })
    } else {
        scan_file(eye, crew, target, max, buffer)
    };
    scanned.unwrap_or_else(|e| Outcomes {
        note: Some(Note {
            code: "file-unreadable",
            path: target.shown.clone(),
            why: e.to_string(),
        }),
        ..Outcomes::default()
    })
}

fn scan_file(eye: &Eye, crew: &Crew, target: &Target, max: u64, buffer: &mut Buffer) -> std::io::Result<Outcomes> {
    let file = File::open(&target.path)?;
    let size = file.metadata()?.len();
    if size > max {
        let title = format!("a file of {size} bytes, more than --max-file-size {max}; it was not scanned");
        return Ok(Outcomes {
            items: vec![Item::bound(&target.shown, "file-too-large", title, None)],
            ..Outcomes::default()
        });
    }
    let mut sized = Sized {
        file,
        size,
        read: 0,
        ended: false,
    };
    scan_stream(eye, crew, &target.shown, &mut sized, size, buffer)
}

/// A regular file of a known size, which is not asked again for what follows its end.
struct Sized {
    file: File,
    size: u64,
    read: u64,
    ended: bool,
}

impl Read for Sized {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let count = self.file.read(into)?;
        self.read += count as u64;
        // Less than was asked for is given at the end; a file that grows or shrinks shows it by its size.
        self.ended = count < into.len() && self.read == self.size;
        Ok(count)
    }
}

/// Scans what comes from a file, a pipe or the like.
///
/// * `size`: about as many bytes are expected; a file may grow or shrink while it is read.
fn scan_stream(
    eye: &Eye,
    crew: &Crew,
    shown: &str,
    from: &mut dyn Read,
    size: u64,
    buffer: &mut Buffer,
) -> std::io::Result<Outcomes> {
    let count = fill(from, size, WHOLE, buffer)?;
    if count as u64 <= WHOLE {
        return Ok(scan_whole(eye, shown, &mut buffer[..count]));
    }
    if scan::is_packed(&buffer[..count]) {
        return archive(eye, crew, shown, from, size, &buffer[..count]);
    }
    pieces(eye, crew, shown, from, &buffer[..count])
}

fn scan_whole(eye: &Eye, shown: &str, data: &mut [u8]) -> Outcomes {
    let found = eye.look(shown, data);
    if !found.is_empty() {
        // Only what was read: the buffer may be far larger than the file.
        data.zeroize();
    }
    Outcomes {
        items: found.into_iter().map(|m| Item::content(shown, m)).collect(),
        note: None,
        bytes: data.len() as u64,
    }
}

/// Reads to the end or one byte beyond a limit; returns how many bytes of the buffer count.
///
/// The buffer grows as it must and stays as large, so that many files are read without a look at it.
fn fill(from: &mut dyn Read, size: u64, limit: u64, buffer: &mut Buffer) -> std::io::Result<usize> {
    let most = limit as usize + 1;
    let mut count = 0;
    // One byte of room more than is expected shows the end.
    let mut room = most.min(size.min(limit) as usize + 1);
    loop {
        if buffer.len() < room {
            let mut larger = Zeroizing::new(vec![0; room.next_power_of_two().min(most)]);
            larger[..count].copy_from_slice(&buffer[..count]);
            *buffer = larger;
        }
        let end = buffer.len().min(most);
        while count < end {
            match from.read(&mut buffer[count..end]) {
                Ok(0) => return Ok(count),
                Ok(more) => count += more,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if count == most {
            return Ok(count);
        }
        room = most.min(2 * end);
    }
}

/// Scans a large archive: whole, since its members are of use only so; `head` was read of it already.
///
/// One at a time, so that the memory is bounded however many there are. Of
/// one beyond [`ARCHIVE`] only the bytes as they stand are scanned.
fn archive(
    eye: &Eye,
    crew: &Crew,
    shown: &str,
    from: &mut dyn Read,
    size: u64,
    head: &[u8],
) -> std::io::Result<Outcomes> {
    let _alone = eye.large.lock().unwrap_or_else(PoisonError::into_inner);
    let mut whole = Buffer::default();
    let count = fill(&mut head.chain(&mut *from), size, ARCHIVE, &mut whole)?;
    if count as u64 <= ARCHIVE {
        return Ok(scan_whole(eye, shown, &mut whole[..count]));
    }
    let mut outcomes = pieces(eye, crew, shown, from, &whole[..count])?;
    let title = format!("an archive of more than {ARCHIVE} bytes; its members were not scanned");
    let bound = Item::bound(shown, "archive-too-large", title, None);
    outcomes.items.insert(0, bound);
    Ok(outcomes)
}

/// Scans a text of any size in bounded memory, with whoever of the crew is idle; `buffer` holds what was read of it
/// already.
fn pieces(eye: &Eye, crew: &Crew, shown: &str, file: &mut dyn Read, buffer: &[u8]) -> std::io::Result<Outcomes> {
    let mut cutter = Cutter::new(PIECE);
    let mut shared = Shared::new(crew, eye.scanner);
    let mut bytes = buffer.len() as u64;
    for part in buffer.chunks(PIECE) {
        cutter.feed(part).into_iter().for_each(|window| shared.scan(window));
    }
    let mut piece = Zeroizing::new(vec![0; READ]);
    loop {
        let count = match file.read(&mut piece) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if count == 0 {
            break;
        }
        bytes += count as u64;
        cutter
            .feed(&piece[..count])
            .into_iter()
            .for_each(|window| shared.scan(window));
    }
    shared.scan(cutter.finish());
    let broken = || std::io::Error::other("the scan of it broke off; this is a defect of Lychgate");
    let mut found = shared.finish().ok_or_else(broken)?;
    found.retain(|m| !eye.ignores_path(shown, &m.rule));
    Ok(Outcomes {
        items: found.into_iter().map(|m| Item::content(shown, m)).collect(),
        note: None,
        bytes,
    })
}

/// Scans a text that comes in, such as standard input.
///
/// # Errors
/// `input-unreadable`.
pub(super) fn incoming(eye: &Eye, shown: &str, input: &mut dyn Read) -> Result<Report, CommandError> {
    let outcomes = scan_stream(eye, &Crew::new(1), shown, input, 0, &mut Buffer::default())
        .map_err(|e| io_outage("input-unreadable", shown, &e))?;
    Ok(Report {
        files: 1,
        bytes: outcomes.bytes,
        findings: outcomes.items,
        ..Report::default()
    })
}

#[cfg(test)]
mod tests {
    //! What comes in otherwise than its size promised.

    use super::*;

    /// Gives its bytes a few at a time, with an interruption before each.
    struct Slow<'a> {
        rest: &'a [u8],
        interrupt: bool,
    }

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.interrupt = !self.interrupt;
            if self.interrupt {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let count = into.len().min(7);
            (&mut self.rest).take(count as u64).read(into)
        }
    }

    fn filled(data: &[u8], size: u64, limit: u64, buffer: &mut Buffer) -> usize {
        let mut from = Slow {
            rest: data,
            interrupt: false,
        };
        fill(&mut from, size, limit, buffer).unwrap()
    }

    #[test]
    fn a_file_is_read_to_its_end_whatever_its_size_was() {
        let data: Vec<u8> = (0..200u8).collect();
        let mut buffer = Buffer::default();
        for size in [0, 1, 199, 200, 201, 5000] {
            let count = filled(&data, size, 1000, &mut buffer);
            assert_eq!(&buffer[..count], data, "{size}");
        }
        // Shorter ones after it are not mixed with what the buffer held.
        let count = filled(b"short", 200, 1000, &mut buffer);
        assert_eq!(&buffer[..count], b"short");
    }

    #[test]
    fn one_byte_beyond_the_limit_shows_that_there_is_more() {
        for (length, counted) in [(63, 63), (64, 64), (65, 65), (900, 65)] {
            let mut buffer = Buffer::default();
            assert_eq!(filled(&vec![b'x'; length], 900, 64, &mut buffer), counted, "{length}");
            assert!(buffer.len() <= 65);
        }
    }

    /// A token of a personal access token's form, put together here.
    fn token(number: usize) -> String {
        let mixed = (0..20u64).map(|i| {
            let n = (number as u64 * 7919 + i * 104_729 + 31) * 2_654_435_761 % 1_000_003;
            b"AbCdEfGhJkLmNpQrStUvWxYz23456789"[(n % 32) as usize] as char
        });
        ["gl", "pat-"].concat() + &mixed.collect::<String>()
    }

    /// A text of more than three pieces with tokens on both sides of the seams and across them; some overwrite others.
    fn seamed() -> Vec<u8> {
        let mut text = b"int main(void) { return 0; }\n".repeat(3 * PIECE / 29 + 40_000);
        let seam = 2 * scan::stream::MARGIN;
        let places =
            (1..=3).flat_map(|k| [-(seam as isize), -40, -13, -1, 0, 1, 900].map(|by| (k * PIECE) as isize + by));
        for (number, at) in places.enumerate() {
            let line = format!("\nkey = {}\n", token(number));
            text[at as usize..][..line.len()].copy_from_slice(line.as_bytes());
        }
        text
    }

    #[test]
    fn a_large_file_on_many_threads_gives_what_one_thread_gives() {
        let key = scan::FingerprintKey::new(Box::new([7; 32]));
        let scanner = scan::Scanner::new(scan::RuleSet::builtin(), &key);
        let eye = Eye {
            scanner: &scanner,
            allow: &crate::gitleaks::Allow::default(),
            large: std::sync::Mutex::default(),
        };
        let text = seamed();
        let read = |crew: &Crew| pieces(&eye, crew, "large", &mut &text[100..], &text[..100]).unwrap();
        let alone = read(&Crew::new(1));
        let crew = Crew::new(4);
        let together = std::thread::scope(|scope| {
            (0..3).for_each(|_| drop(scope.spawn(|| crew.help(&scanner))));
            let _leave = Leave(Some(&crew));
            read(&crew)
        });
        let mut stream = scan::stream::Stream::new(&scanner, PIECE);
        let mut streamed = stream.feed(&text[..100]);
        text[100..]
            .chunks(READ)
            .for_each(|part| streamed.extend(stream.feed(part)));
        streamed.extend(stream.finish());
        let streamed: Vec<Item> = streamed.into_iter().map(|m| Item::content("large", m)).collect();
        let all = |outcomes: &Outcomes| format!("{:?}", outcomes.items);
        assert!(streamed.len() >= 9, "{}", streamed.len());
        assert_eq!(all(&alone), format!("{streamed:?}"));
        assert_eq!(all(&together), all(&alone));
        assert_eq!((together.bytes, alone.bytes), (text.len() as u64, text.len() as u64));
    }

    #[test]
    fn a_file_that_breaks_off_is_an_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::ConnectionReset.into())
            }
        }
        let failed = fill(&mut Broken, 9, 1000, &mut Buffer::default());
        assert_eq!(failed.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
}
