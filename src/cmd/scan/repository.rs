//! What Git holds: the index, a range of commits, the whole history, a bundle.
//!
//! In scope: which objects each of these means, and what a finding in one of
//! them says: commit, author, path, and whether the secret is still in the tip
//! of a branch. Objects are read by `git` (the adapter); the `git` program
//! answers what revisions mean and what is staged or ignored.
//!
//! A history scan sees every object of the repository's own store once,
//! unreachable ones included for as long as Git keeps them.

use super::super::error::CommandError;
use super::super::git as program;
use super::super::output::Output;
use super::super::process;
use super::progress::Progress;
use super::{Eye, io_outage, known};
use crate::config::Bounds;
use crate::finding::{self, Confidence};
use crate::git::{EntryKind, Gate, tree_entries};
use crate::gitleaks::{Mark, Place};
use crate::object::ObjectKind;
use crate::pipeline;
use crate::port::{Introduced, Looked, ObjectVisitor, Outage, Part, Repository};
use crate::push::Oid;
use crate::report::{History, Item, Report};
use crate::scan::Match;
use crate::verdicts::Verdicts;
use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Larger objects are findings and are not read: a developer's scan has more time than a push.
const OBJECT_BYTES: u64 = 512 << 20;

/// Up to this many staged files, starting threads costs more than it saves.
const FEW: usize = 16;

fn bounds() -> Bounds {
    Bounds {
        objects: u64::from(u32::MAX),
        object_bytes: OBJECT_BYTES,
        commits: u64::from(u32::MAX),
        // A week: the user may interrupt a scan that takes too long.
        seconds: 7 * 24 * 3600,
        threads: 0,
    }
}

/// A match with what places it.
struct Hit {
    kind: ObjectKind,
    found: Match,
    marks: Vec<Mark>,
}

struct Visitor<'a> {
    eye: &'a Eye<'a>,
    scan: pipeline::Visitor<'a>,
    progress: &'a Progress,
}

impl ObjectVisitor for Visitor<'_> {
    type Hit = Hit;

    fn visit(&self, oid: Oid, kind: ObjectKind, data: &[u8]) -> Looked<Hit> {
        let looked = self.scan.visit(oid, kind, data);
        let hits = looked.hits.into_iter().map(|found| Hit {
            kind,
            marks: self.eye.allow.marks(data, &found),
            found,
        });
        self.progress.add(data.len() as u64);
        Looked {
            hits: hits.collect(),
            plain: looked.plain,
        }
    }

    fn margin(&self) -> usize {
        self.scan.margin()
    }

    fn clean_part(&self, part: Part<'_>) -> bool {
        self.scan.clean_part(part)
    }

    fn clean_name(&self, name: &[u8]) -> bool {
        self.scan.clean_name(name)
    }

    fn is_known(&self, oid: Oid, bytes: u64) -> bool {
        let known = self.scan.is_known(oid, bytes);
        self.progress.add(if known { bytes } else { 0 });
        known
    }

    fn passed(&self, oid: Oid, bytes: u64) {
        self.scan.passed(oid, bytes);
        self.progress.add(bytes);
    }
}

/// What a traversal gave.
type Seen = Introduced<Hit>;

/// Whether a path is a bare repository, which has no files of its own to scan.
pub(super) fn is_bare(path: &Path) -> bool {
    path.join("HEAD").is_file() && path.join("objects").is_dir() && path.join("refs").is_dir()
}

/// Whether a file begins as a bundle does: <https://git-scm.com/docs/gitformat-bundle>.
pub(super) fn is_bundle(path: &Path) -> bool {
    let mut start = [0; 16];
    let is_file = std::fs::metadata(path).is_ok_and(|meta| meta.is_file());
    is_file
        && std::fs::File::open(path)
            .and_then(|mut f| f.read_exact(&mut start))
            .is_ok()
        && (start.starts_with(b"# v2 git bundle") || start.starts_with(b"# v3 git bundle"))
}

/// Scans every object of a repository, but for those in which its installation knows that there is nothing.
///
/// * `remember`: whether the installation is told what this scan has found nothing in.
pub(super) fn history(eye: &Eye, path: &Path, remember: bool, out: &mut Output) -> Result<Report, CommandError> {
    let dir = git_dir(path)?;
    let gate = Gate::whole(&dir)?;
    let verdicts = known::verdicts(eye, &dir, remember)?;
    let (gate, seen) = watched(gate, eye, verdicts.as_ref(), out, |gate, visitor| {
        gate.survey(&bounds(), visitor)
    })?;
    if let (Some(verdicts), true) = (&verdicts, remember) {
        known::keep(verdicts)?;
    }
    report(eye, &gate, seen)
}

/// Scans what a range of commits brings.
pub(super) fn range(eye: &Eye, path: &Path, range: &str, out: &mut Output) -> Result<Report, CommandError> {
    let gate = Gate::open(&git_dir(path)?, None)?;
    let bad = || {
        CommandError::usage(
            "bad-range",
            format!("{}: no such range of commits", range.escape_debug()),
            "write A..B with two revisions that git rev-parse knows",
        )
    };
    let mut args = vec!["rev-parse", "--revs-only", range];
    if range.starts_with('-') {
        return Err(bad());
    }
    if !range.contains("..") {
        args.extend(["--exclude=HEAD", "--not", "--remotes"]);
    }
    args.push("--");
    let listed = program::ask(path, &args)?.ok_or_else(bad)?;
    let (mut tips, mut known) = (Vec::new(), Vec::new());
    for line in listed.lines() {
        match line.strip_prefix('^') {
            Some(id) => known.extend(id.parse::<Oid>()),
            None => tips.extend(line.parse::<Oid>()),
        }
    }
    for &tip in &tips {
        gate.peel(tip)?.ok_or_else(bad)?;
    }
    let commits = gate.between(&tips, &known)?;
    let (gate, seen) = watched(gate, eye, None, out, |gate, visitor| {
        gate.introduced(&commits, &bounds(), visitor)
    })?;
    report(eye, &gate, seen)
}

/// Scans a bundle: unpacked into a repository that is gone afterwards.
pub(super) fn bundle(eye: &Eye, path: &Path, out: &mut Output) -> Result<Report, CommandError> {
    let scratch = tempfile::Builder::new()
        .prefix("lychgate-bundle-")
        .tempdir()
        .map_err(|e| io_outage("scratch-not-made", "a folder for the bundle's objects", &e))?;
    let file =
        std::fs::canonicalize(path).map_err(|e| io_outage("bundle-unreadable", &path.display().to_string(), &e))?;
    let file = file.to_string_lossy();
    let refused = |why: &[u8]| {
        CommandError::usage(
            "bundle-not-valid",
            format!(
                "{}: {}",
                path.display(),
                String::from_utf8_lossy(why).trim().escape_debug()
            ),
            "a bundle that builds on other commits: fetch it into a repository that has them, and scan that with --range",
        )
    };
    for args in [
        &["init", "-q", "--bare", "--template="][..],
        &[
            "fetch",
            "-q",
            "--no-write-fetch-head",
            "--end-of-options",
            &file,
            "+refs/*:refs/*",
        ],
    ] {
        let done = program::run_in(scratch.path(), args)?;
        if !done.status.success() {
            return Err(refused(&done.stderr));
        }
    }
    history(eye, scratch.path(), false, out)
}

/// Scans what the next commit would bring: the staged files that differ from the last commit, less the values that
/// the same file, or the one that it was renamed from, has there already.
///
/// * `least`: less sure matches are not counted among those that are left out.
pub(super) fn staged(eye: &Eye, path: &Path, least: Confidence) -> Result<Report, CommandError> {
    let args = [
        "diff",
        "--cached",
        "--raw",
        "-z",
        "--find-renames",
        "--no-abbrev",
        "--no-ext-diff",
    ];
    let listed = program::run(path, &args)?;
    if !listed.status.success() {
        let why = String::from_utf8_lossy(&listed.stderr).trim().to_owned();
        return Err(CommandError::usage("not-a-repository", why, "name a Git work tree"));
    }
    let entries = staged_blobs(&listed.stdout);
    let dir = git_dir(path)?;
    let looked = spread(
        &entries,
        || Gate::open(&dir, None),
        |gate, staged| look_at_staged(eye, gate, staged, least),
    )?;
    let mut report = Report::default();
    for (bytes, known, items) in looked {
        report.files += 1;
        report.bytes += bytes;
        report.known += known;
        report.findings.extend(items);
    }
    Ok(report)
}

/// A staged file.
#[derive(Debug, PartialEq, Eq)]
struct Staged<'a> {
    name: &'a [u8],
    oid: Oid,
    /// What the last commit has in its place.
    before: Option<(&'a [u8], Oid)>,
}

/// The files of `:oldmode newmode oldid newid status` lines; a submodule's commit is not ours to read.
/// <https://git-scm.com/docs/git-diff#_raw_output_format>
fn staged_blobs(raw: &[u8]) -> Vec<Staged<'_>> {
    let mut entries = Vec::new();
    let mut fields = raw.split(|b| *b == 0);
    while let (Some(head), Some(first)) = (fields.next(), fields.next()) {
        let head = String::from_utf8_lossy(head);
        let head: Vec<&str> = head.trim_start_matches(':').split(' ').collect();
        let [old_mode, mode, old, new, status] = head[..] else {
            continue;
        };
        // A rename and a copy have two names.
        let name = match status.starts_with(['R', 'C']) {
            true => fields.next().unwrap_or(first),
            false => first,
        };
        let blob = |mode: &str, id: &str| {
            let oid = id.parse::<Oid>().ok().filter(|oid| !oid.is_zero());
            oid.filter(|_| mode != "160000")
        };
        let before = blob(old_mode, old).map(|oid| (first, oid));
        entries.extend(blob(mode, new).map(|oid| Staged { name, oid, before }));
    }
    entries
}

/// Bytes that were read, how many matches are in the last commit already, and the others.
fn look_at_staged(eye: &Eye, gate: &Gate, staged: &Staged, least: Confidence) -> Result<(u64, u64, Vec<Item>), Outage> {
    let (mut named, shown) = eye.scanner.scan_name(staged.name);
    let data = gate.object(staged.oid)?.data;
    let mut found = eye.look(&shown, &data);
    let mut known = 0;
    if let (Some((name, oid)), false) = (staged.before, named.is_empty() && found.is_empty()) {
        let (before, _) = eye.scanner.scan_name(name);
        known += forget(eye, &mut named, &before, least);
        // Without the object, as in a partial clone, nothing is known.
        let before = gate.object(oid).map(|object| eye.scanner.scan(&object.data));
        known += forget(eye, &mut found, &before.unwrap_or_default(), least);
    }
    let named = named.into_iter().map(|m| Item::name(&shown, m));
    let items = named.chain(found.into_iter().map(|m| Item::content(&shown, m)));
    Ok((data.len() as u64, known, items.collect()))
}

/// Takes out the matches whose value was there before, and counts the sure ones. What says that something was not
/// looked at stays: that may have changed unseen.
fn forget(eye: &Eye, found: &mut Vec<Match>, before: &[Match], least: Confidence) -> u64 {
    let was: HashSet<(&str, &str)> = before.iter().map(|m| (&*m.rule, &*m.fingerprint)).collect();
    let ours = |rule: &str| eye.scanner.rules().ids().any(|id| id == rule);
    let mut count = 0;
    found.retain(|m| {
        let known = was.contains(&(&*m.rule, &*m.fingerprint)) && ours(&m.rule);
        count += u64::from(known && m.confidence >= least);
        !known
    });
    count
}

/// Does something with each item, on all cores if they are many; the results are in the items' order.
///
/// * `begin`: makes what one thread works with.
fn spread<T: Sync, W, R: Send>(
    items: &[T],
    begin: impl Fn() -> Result<W, Outage> + Sync,
    work: impl Fn(&mut W, &T) -> Result<R, Outage> + Sync,
) -> Result<Vec<R>, Outage> {
    let run = |part: &[T]| -> Result<Vec<R>, Outage> {
        let mut with = begin()?;
        part.iter().map(|item| work(&mut with, item)).collect()
    };
    if items.len() <= FEW {
        return run(items);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let parts = std::thread::scope(|scope| {
        let parts = items.chunks(items.len().div_ceil(cores));
        let threads: Vec<_> = parts.map(|part| scope.spawn(|| run(part))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok(parts.into_iter().flatten().collect())
}

/// The files and folders at and below a path that Git ignores, as paths below it.
pub(super) fn ignored(path: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let folder = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(path)
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let args = [
        "ls-files",
        "-z",
        "--others",
        "--ignored",
        "--exclude-standard",
        "--directory",
    ];
    let listed = program::run(folder, &args)?;
    if !listed.status.success() {
        return Err(CommandError::usage(
            "not-a-repository",
            format!("{}: {}", path.display(), String::from_utf8_lossy(&listed.stderr).trim()),
            "leave out --no-ignored: outside a Git work tree nothing is ignored",
        ));
    }
    let names = listed.stdout.split(|b| *b == 0).filter(|name| !name.is_empty());
    let path_of = |name: &[u8]| folder.join(std::ffi::OsStr::from_bytes(name.strip_suffix(b"/").unwrap_or(name)));
    Ok(names.map(path_of).collect())
}

fn git_dir(path: &Path) -> Result<PathBuf, CommandError> {
    if is_bare(path) {
        return Ok(path.to_owned());
    }
    // The usual work tree; the program knows the others, and what its environment says.
    let own = path.join(".git");
    if process::variable("GIT_DIR").is_none() && is_bare(&own) {
        return Ok(own);
    }
    let asked = program::run(path, &["rev-parse", "--absolute-git-dir"])?;
    let dir = asked.stdout.strip_suffix(b"\n").filter(|_| asked.status.success());
    dir.map(|dir| PathBuf::from(std::ffi::OsString::from_vec(dir.to_vec())))
        .ok_or_else(|| {
            CommandError::usage(
                "not-a-repository",
                format!("{}: no Git repository", path.display()),
                "name a work tree or a bare repository",
            )
        })
}

/// Runs a traversal, on a terminal beside the progress line.
fn watched(
    gate: Gate,
    eye: &Eye,
    verdicts: Option<&Verdicts>,
    out: &mut Output,
    work: impl FnOnce(&Gate, &Visitor) -> Result<Seen, Outage> + Send,
) -> Result<(Gate, Seen), CommandError> {
    let progress = Progress::new("objects", gate.brought());
    let visitor = Visitor {
        eye,
        scan: pipeline::Visitor::new(eye.scanner, verdicts.map(|known| known as _)),
        progress: &progress,
    };
    if !out.interactive {
        let seen = work(&gate, &visitor)?;
        return Ok((gate, seen));
    }
    let visitor = &visitor;
    let (gate, seen) = std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let seen = work(&gate, visitor);
            (gate, seen)
        });
        progress.watch(out, || thread.is_finished());
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    Ok((gate, seen?))
}

/// The hits as findings, each told where in the history it is.
fn report(eye: &Eye, gate: &Gate, seen: Seen) -> Result<Report, CommandError> {
    let tips = if seen.hits.is_empty() {
        HashSet::new()
    } else {
        tip_blobs(gate)?
    };
    let in_tip = |place: &finding::Place| place.object.is_some_and(|oid| tips.contains(&oid));
    let still: HashSet<&str> = seen
        .hits
        .iter()
        .filter(|(place, _)| in_tip(place))
        .map(|(_, hit)| hit.found.fingerprint.as_str())
        .collect();
    let still: HashSet<String> = still.into_iter().map(str::to_owned).collect();
    let mut authors = BTreeMap::new();
    let mut report = Report {
        files: seen.objects,
        bytes: seen.bytes,
        ..Report::default()
    };
    for (place, hit) in seen.hits {
        let shown = shown(&place, hit.kind);
        let commit = place.commit.map(|oid| oid.to_string());
        let at = Place {
            path: &shown,
            commit: commit.as_deref(),
        };
        if eye.allow.allows(&hit.found.rule, at, &hit.marks) {
            continue;
        }
        let author = match place.commit {
            Some(oid) => authors.entry(oid).or_insert_with(|| author(eye, gate, oid)).clone(),
            None => None,
        };
        let history = History {
            commit: place.commit,
            author,
            object: place.object,
            in_tip: Some(still.contains(&hit.found.fingerprint)),
        };
        let item = match hit.kind {
            ObjectKind::Tree => Item::name(&shown, hit.found),
            _ => Item::content(&shown, hit.found),
        };
        report.findings.push(Item {
            history: Some(history),
            ..item
        });
    }
    for (code, place) in seen.bounds {
        let title = format!("{code}: it was not scanned");
        report
            .findings
            .push(Item::bound(&shown(&place, ObjectKind::Blob), &code, title, None));
    }
    Ok(report)
}

/// What stands for the path: the file's, or that of the folder whose entries were read, or the object.
fn shown(place: &finding::Place, kind: ObjectKind) -> String {
    let kind = match kind {
        ObjectKind::Commit => "commit",
        ObjectKind::Tag => "tag",
        ObjectKind::Tree => "tree",
        ObjectKind::Blob => "object",
    };
    let object = || place.object.map(|oid| oid.to_string()).unwrap_or_default();
    place.path.clone().unwrap_or_else(|| format!("{kind} {}", object()))
}

/// The author line of a commit, secrets in it replaced.
fn author(eye: &Eye, gate: &Gate, commit: Oid) -> Option<String> {
    let data = gate.object(commit).ok()?.data;
    let mut headers = data.split(|b| *b == b'\n').take_while(|line| !line.is_empty());
    let line = headers.find_map(|line| line.strip_prefix(b"author "))?;
    let end = line.iter().rposition(|b| *b == b'>').map_or(line.len(), |at| at + 1);
    Some(eye.scanner.scan_name(&line[..end]).1)
}

/// Every blob and tree in the trees of the branches' tips.
fn tip_blobs(gate: &Gate) -> Result<HashSet<Oid>, CommandError> {
    let mut seen = HashSet::new();
    let mut waiting = Vec::new();
    for (_, tip) in gate.refs("refs/heads/")? {
        if let Some(commit) = gate.peel(tip)? {
            waiting.extend(crate::git::commit_head(&gate.object(commit)?.data).tree);
        }
    }
    while let Some(tree) = waiting.pop() {
        if !seen.insert(tree) {
            continue;
        }
        let data = gate.object(tree)?.data;
        for entry in tree_entries(&data, tree.as_bytes().len()) {
            let Ok(oid) = Oid::from_bytes(entry.id) else { continue };
            match entry.kind {
                EntryKind::Tree => waiting.push(oid),
                EntryKind::Blob => {
                    seen.insert(oid);
                }
                EntryKind::Submodule => {}
            }
        }
    }
    Ok(seen)
}
