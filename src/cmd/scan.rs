//! `lychgate scan`: secrets in files and folders.
//!
//! Reads every regular file below the given paths, hidden ones included, and
//! the text of symbolic links, which it does not follow. Left out: the object
//! store of a Git folder (`.git/objects`), which is compressed. Names are
//! scanned too.
//!
//! Bounds: files above 16 MiB are read in pieces; of files above
//! `--max-file-size` nothing is read, and that is a finding, `file-too-large`.

use super::error::{CommandError, Outcome};
use super::output::Output;
use crate::finding::Confidence;
use crate::port::Outage;
use crate::report::{self, Item, Note, Report};
use crate::scan::stream::Stream;
use crate::scan::{FingerprintKey, RuleSet, Scanner};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use zeroize::{Zeroize, Zeroizing};

/// Files up to this size are read whole.
const WHOLE: u64 = 16 << 20;
/// Larger ones are scanned in pieces of this size, read by so much at a time.
const PIECE: usize = 8 << 20;
const READ: usize = 1 << 20;

/// Arguments of `lychgate scan`.
#[derive(Debug, clap::Args)]
pub struct ScanArgs {
    /// Files and folders to scan.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// How to print what is found; jsonl is one object a finding.
    #[arg(long, value_enum, default_value_t)]
    pub format: ScanFormat,
    /// A folder of rule files (*.toml) to use beside the shipped rules.
    #[arg(long, value_name = "DIR")]
    pub rules: Option<PathBuf>,
    /// List findings that are at least so sure.
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    pub min_confidence: Level,
    /// The key of fingerprints, 64 hex digits; without it a random one is used, and fingerprints differ from run to run.
    #[arg(long, value_name = "FILE")]
    pub fingerprint_key: Option<PathBuf>,
    /// Do not read files of more bytes; each is a finding, file-too-large.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 30)]
    pub max_file_size: u64,
}

/// How to print findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ScanFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// JSON Lines: one object a finding.
    Jsonl,
}

/// A confidence as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Level {
    /// The form alone.
    Low,
    /// The form and its surroundings agree.
    #[default]
    Medium,
    /// Hardly anything else has this form.
    High,
}

impl From<Level> for Confidence {
    fn from(level: Level) -> Self {
        match level {
            Level::Low => Self::Low,
            Level::Medium => Self::Medium,
            Level::High => Self::High,
        }
    }
}

/// Scans the paths and prints what was found.
///
/// [`Outcome::No`] if there are findings.
///
/// # Errors
/// Usage: a path that does not exist, rules or a key that are not valid.
/// Outage: a file or folder could not be read; the findings in the others are printed before.
pub fn run(args: &ScanArgs, out: &mut Output) -> Result<Outcome, CommandError> {
    let key = fingerprint_key(args.fingerprint_key.as_deref())?;
    let made = args.rules.as_deref().map(rule_set).transpose()?;
    let rules = made.as_ref().unwrap_or_else(|| RuleSet::builtin());
    let scanner = Scanner::new(rules, &key);
    let mut walk = Walk::new(&scanner);
    for path in &args.paths {
        walk.root(path)?;
    }
    let mut report = scan_all(&scanner, walk, args.max_file_size, out);
    report.rule_set = rules.digest().to_owned();
    let least = Confidence::from(args.min_confidence);
    let all = report.findings.len();
    report.findings.retain(|item| item.confidence >= least);
    report.less_sure = (all - report.findings.len()) as u64;
    print(&report, args.format, out)?;
    conclude(&report)
}

fn print(report: &Report, format: ScanFormat, out: &mut Output) -> Result<(), CommandError> {
    let text = match format {
        ScanFormat::Text => Ok(report::text(report)),
        ScanFormat::Json => report::json(report),
        ScanFormat::Jsonl => report::jsonl(report),
    };
    let text = text.map_err(|e| Outage {
        code: "report-not-written",
        what: "the report".to_owned(),
        why: e.to_string(),
        next: String::new(),
    })?;
    if !text.is_empty() {
        out.line(text.trim_end_matches('\n'));
    }
    out.flush();
    Ok(())
}

fn conclude(report: &Report) -> Result<Outcome, CommandError> {
    if let Some(note) = report.unread.first() {
        let more = report.unread.len() - 1;
        let others = if more > 0 {
            format!(" (and {more} more)")
        } else {
            String::new()
        };
        return Err(CommandError::Outage(Outage {
            code: note.code,
            what: format!("{}{others}", note.path),
            why: note.why.clone(),
            next: "let this account read it, or scan a path without it".to_owned(),
        }));
    }
    Ok(if report.findings.is_empty() {
        Outcome::Yes
    } else {
        Outcome::No
    })
}

/// The shipped rules and those of a folder.
fn rule_set(folder: &Path) -> Result<RuleSet, CommandError> {
    let unreadable = |path: &Path, e: std::io::Error| {
        let what = format!("{}: {e}", path.display());
        CommandError::usage("rules-unreadable", what, "name a folder of *.toml rule files")
    };
    let mut files = Vec::new();
    for item in std::fs::read_dir(folder).map_err(|e| unreadable(folder, e))? {
        let path = item.map_err(|e| unreadable(folder, e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".toml") && name != "policy.toml" {
            let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, e))?;
            files.push((path.display().to_string(), text));
        }
    }
    files.sort();
    let own = files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let all: Vec<(&str, &str)> = RuleSet::builtin_sources().iter().copied().chain(own).collect();
    RuleSet::parse(&all).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        CommandError::usage(
            "rules-not-valid",
            lines.join("\n"),
            "mend the rule files and scan again",
        )
    })
}

/// The key in the file, or a random one.
fn fingerprint_key(path: Option<&Path>) -> Result<FingerprintKey, CommandError> {
    let mut key = Box::new([0; 32]);
    match path {
        None => random(&mut key)?,
        Some(path) => {
            let read = std::fs::read(path).map(Zeroizing::new);
            let text = read.map_err(|e| {
                let what = format!("{}: {e}", path.display());
                CommandError::usage("fingerprint-key-unreadable", what, "name a file of 64 hex digits")
            })?;
            let digits = text.trim_ascii();
            let value = |i: usize| digits.get(i).and_then(|b| char::from(*b).to_digit(16));
            for (i, byte) in key.iter_mut().enumerate() {
                let (Some(high), Some(low), 64) = (value(2 * i), value(2 * i + 1), digits.len()) else {
                    let what = format!("{}: not 64 hex digits", path.display());
                    return Err(CommandError::usage(
                        "fingerprint-key-not-valid",
                        what,
                        "make one with: openssl rand -hex 32",
                    ));
                };
                *byte = (high << 4 | low) as u8;
            }
        }
    }
    Ok(FingerprintKey::new(key))
}

fn random(key: &mut [u8; 32]) -> Result<(), CommandError> {
    let source = "/dev/urandom";
    let read = File::open(source).and_then(|mut file| file.read_exact(key));
    read.map_err(|e| {
        CommandError::Outage(Outage {
            code: "random-unreadable",
            what: source.to_owned(),
            why: e.to_string(),
            next: "give a key with --fingerprint-key".to_owned(),
        })
    })
}

/// One thing to read.
struct Target {
    path: PathBuf,
    /// The path as it may be shown.
    shown: String,
    link: bool,
}

/// The walk over the given paths: what is to be read, in its order, and what names said.
struct Walk<'s, 'r> {
    scanner: &'s Scanner<'r>,
    targets: Vec<Target>,
    /// Findings in names, each with the number of targets before it.
    names: Vec<(usize, Item)>,
    unread: Vec<(usize, Note)>,
}

impl<'s, 'r> Walk<'s, 'r> {
    fn new(scanner: &'s Scanner<'r>) -> Self {
        Self {
            scanner,
            targets: Vec::new(),
            names: Vec::new(),
            unread: Vec::new(),
        }
    }

    /// A path that the user names: followed if it is a link, refused if it is not there.
    fn root(&mut self, path: &Path) -> Result<(), CommandError> {
        let (_, shown) = self.scanner.scan_name(path.as_os_str().as_bytes());
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
        items.sort_by_key(std::fs::DirEntry::file_name);
        for item in items {
            let name = item.file_name();
            let (found, shown_name) = self.scanner.scan_name(name.as_bytes());
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
fn scan_all(scanner: &Scanner, walk: Walk, max: u64, out: &mut Output) -> Report {
    let targets = &walk.targets;
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut buffer = Zeroizing::new(Vec::new());
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(target) = targets.get(i) else {
                return done;
            };
            done.push((i, scan_target(scanner, target, max, &mut buffer)));
        }
    };
    let mut results: Vec<(usize, Outcomes)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores.min(targets.len())).map(|_| scope.spawn(work)).collect();
        while out.interactive && !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let read = next.load(Ordering::Relaxed).min(targets.len());
            out.progress(&format!("scanning: {read} of {} files", targets.len()));
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        out.progress("");
        // A worker that panicked took its results along: its files count as unread below.
        threads.into_iter().filter_map(|t| t.join().ok()).flatten().collect()
    });
    results.sort_by_key(|(i, _)| *i);
    assemble(walk, results)
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

fn scan_target(scanner: &Scanner, target: &Target, max: u64, buffer: &mut Vec<u8>) -> Outcomes {
    let scanned = if target.link {
        std::fs::read_link(&target.path).map(|text| {
            let text = text.as_os_str().as_bytes();
            let found = scanner.scan(text);
            Outcomes {
                items: found.into_iter().map(|m| Item::content(&target.shown, m)).collect(),
                note: None,
                bytes: text.len() as u64,
            }
        })
    } else {
        scan_file(scanner, target, max, buffer)
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

fn scan_file(scanner: &Scanner, target: &Target, max: u64, buffer: &mut Vec<u8>) -> std::io::Result<Outcomes> {
    let mut file = File::open(&target.path)?;
    let size = file.metadata()?.len();
    if size > max {
        let title = format!("a file of {size} bytes, more than --max-file-size {max}; it was not scanned");
        return Ok(Outcomes {
            items: vec![Item::bound(&target.shown, "file-too-large", title, None)],
            ..Outcomes::default()
        });
    }
    buffer.clear();
    if size > WHOLE {
        return scan_pieces(scanner, target, &mut file, buffer);
    }
    // A file may grow while it is read: what lies beyond is read in pieces too.
    let bytes = (&mut file).take(WHOLE + 1).read_to_end(buffer)? as u64;
    if bytes > WHOLE {
        return scan_pieces(scanner, target, &mut file, buffer);
    }
    let found = scanner.scan(buffer);
    if !found.is_empty() {
        // Only what was read: the buffer may be far larger than the file.
        buffer.as_mut_slice().zeroize();
    }
    Ok(Outcomes {
        items: found.into_iter().map(|m| Item::content(&target.shown, m)).collect(),
        note: None,
        bytes,
    })
}

/// Scans a file of any size in bounded memory; `buffer` holds what was read of it already.
fn scan_pieces(scanner: &Scanner, target: &Target, file: &mut File, buffer: &[u8]) -> std::io::Result<Outcomes> {
    let mut stream = Stream::new(scanner, PIECE);
    let mut bytes = buffer.len() as u64;
    let mut found = stream.feed(buffer);
    let mut piece = Zeroizing::new(vec![0; READ]);
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        bytes += count as u64;
        found.extend(stream.feed(&piece[..count]));
    }
    found.extend(stream.finish());
    Ok(Outcomes {
        items: found.into_iter().map(|m| Item::content(&target.shown, m)).collect(),
        note: None,
        bytes,
    })
}
