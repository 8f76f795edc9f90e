//! `lychgate scan`: secrets in files, folders, standard input and Git repositories.
//!
//! In scope: the arguments, which source each path is, and where reports go.
//! `files` reads files and folders, a large one with the help of all threads
//! (`crew`), `repository` what Git holds, `setup` rules
//! and keys, `cache` keeps rules, `accept` baselines, `audit` asks a person.
//!
//! Bounds: files above 16 MiB are read in pieces, archives from there to
//! 256 MiB whole and one at a time; of larger ones the members are not read,
//! and of files above `--max-file-size` nothing: these are findings,
//! `archive-too-large` and `file-too-large`.

mod accept;
mod audit;
mod cache;
mod crew;
mod files;
mod known;
mod progress;
mod repository;
pub(super) mod setup;

use super::error::{CommandError, Outcome};
use super::output::Output;
use super::process;
use crate::finding::{Confidence, Severity};
use crate::gitleaks::{Allow, Place};
use crate::port::Outage;
use crate::report::{self, Form, Report};
use crate::scan::{Match, Scanner};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Arguments of `lychgate scan`.
#[derive(Debug, clap::Args)]
pub struct ScanArgs {
    /// Files and folders to scan; `-` is standard input. A bare repository or a bundle file: its whole history.
    #[arg(value_name = "PATH", required_unless_present_any = ["staged", "range", "history"])]
    pub paths: Vec<PathBuf>,
    /// Scan what the next commit of the repository PATH [default: .] would bring: what is staged, less the values
    /// that the same file of the last commit has already.
    #[arg(long, conflicts_with_all = ["range", "history", "no_ignored"])]
    pub staged: bool,
    /// Scan what the commits A..B bring, deleted again or not; of a single revision, those of it that no
    /// remote-tracking branch has.
    #[arg(long, value_name = "A..B", conflicts_with_all = ["history", "no_ignored"])]
    pub range: Option<String>,
    /// Scan the whole history: every object of the repository PATH once.
    #[arg(long, conflicts_with = "no_ignored")]
    pub history: bool,
    /// Note which objects of a repository with an installed gate have nothing in them: later pushes to it and
    /// scans of it need not look at them again.
    #[arg(long, conflicts_with_all = ["staged", "range", "no_ignored", "rules", "gitleaks_config"])]
    pub remember: bool,
    /// Leave out files that Git ignores.
    #[arg(long)]
    pub no_ignored: bool,
    /// How to print what is found.
    #[arg(long, value_enum, default_value_t)]
    pub format: ScanFormat,
    /// Write the report to a file instead.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write a further report, such as sarif=scan.sarif; may be repeated.
    #[arg(long, value_name = "FORMAT=FILE", value_parser = further)]
    pub report: Vec<(ScanFormat, PathBuf)>,
    /// A folder of rule files (*.toml) to use beside the shipped rules; also for severities by path.
    #[arg(long, value_name = "DIR")]
    pub rules: Option<PathBuf>,
    /// A .gitleaks.toml whose rules and allowlists count too; what cannot be honoured is said.
    #[arg(long, value_name = "FILE")]
    pub gitleaks_config: Option<PathBuf>,
    /// A .gitleaksignore whose findings are not listed.
    #[arg(long, value_name = "FILE")]
    pub gitleaks_ignore: Option<PathBuf>,
    /// List findings that are at least so sure.
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    pub min_confidence: Level,
    /// End with 1 only for findings at least so severe.
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub fail_on: Option<Grade>,
    /// End with 1 only for findings at least so sure.
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub fail_on_confidence: Option<Level>,
    /// Leave out the findings that this baseline accepts [default: .lychgate-ignore, if it is there].
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Use no baseline, not even .lychgate-ignore.
    #[arg(long, conflicts_with_all = ["baseline", "write_baseline", "audit"])]
    pub no_baseline: bool,
    /// Accept all findings of this scan: add them to this baseline, which is made if it is not there.
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    pub write_baseline: Option<PathBuf>,
    /// Walk through the findings on the terminal: real, false alarm, or later; the answers go to the baseline.
    #[arg(long, conflicts_with = "write_baseline")]
    pub audit: bool,
    /// Why the findings are accepted.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "was there before",
        requires = "write_baseline"
    )]
    pub reason: String,
    /// The day from which accepted findings count again, such as 2027-01-31 [default: in a year].
    #[arg(long, value_name = "DAY", requires = "write_baseline")]
    pub expires: Option<String>,
    /// The key of fingerprints, 64 hex digits; without it that of the baseline, or a random one.
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
    /// SARIF 2.1.0.
    Sarif,
    /// GitLab's secret-detection report.
    Gitlab,
    /// JUnit XML.
    Junit,
    /// Comma-separated values.
    Csv,
    /// GitHub's annotations.
    Github,
    /// One HTML page.
    Html,
}

impl From<ScanFormat> for Form {
    fn from(format: ScanFormat) -> Self {
        match format {
            ScanFormat::Text => Self::Text,
            ScanFormat::Json => Self::Json,
            ScanFormat::Jsonl => Self::Jsonl,
            ScanFormat::Sarif => Self::Sarif,
            ScanFormat::Gitlab => Self::Gitlab,
            ScanFormat::Junit => Self::Junit,
            ScanFormat::Csv => Self::Csv,
            ScanFormat::Github => Self::Github,
            ScanFormat::Html => Self::Html,
        }
    }
}

/// Reads `FORMAT=FILE`.
fn further(text: &str) -> Result<(ScanFormat, PathBuf), String> {
    let (format, file) = text.split_once('=').ok_or("write FORMAT=FILE")?;
    if file.is_empty() {
        return Err("write FORMAT=FILE".to_owned());
    }
    <ScanFormat as clap::ValueEnum>::from_str(format, false).map(|format| (format, file.into()))
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

/// A severity as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Grade {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl From<Grade> for Severity {
    fn from(grade: Grade) -> Self {
        match grade {
            Grade::Info => Self::Info,
            Grade::Low => Self::Low,
            Grade::Medium => Self::Medium,
            Grade::High => Self::High,
            Grade::Critical => Self::Critical,
        }
    }
}

/// What looks at every text: the scanner, and what an imported configuration allows.
struct Eye<'a> {
    scanner: &'a Scanner<'a>,
    allow: &'a Allow,
    /// Held while a large archive is in memory.
    large: Mutex<()>,
}

impl Eye<'_> {
    /// The matches in a file's content, less what is allowed there.
    fn look(&self, path: &str, data: &[u8]) -> Vec<Match> {
        let mut found = self.scanner.scan(data);
        if !self.allow.is_empty() {
            found.retain(|m| {
                let marks = self.allow.marks(data, m);
                let place = Place { path, commit: None };
                !self.allow.allows(&m.rule, place, &marks)
            });
        }
        found
    }

    /// Whether a match is allowed by its file alone.
    fn ignores_path(&self, path: &str, rule: &str) -> bool {
        self.allow.allows(rule, Place { path, commit: None }, &[])
    }
}

/// Scans the paths and prints what was found.
///
/// [`Outcome::No`] if there are findings that count.
///
/// # Errors
/// Usage: a path that does not exist, rules, a baseline or a key that are not valid.
/// Outage: something could not be read; the findings in the rest are printed before.
pub fn run(args: &ScanArgs, out: &mut Output) -> Result<Outcome, CommandError> {
    let started = process::now();
    let mut accepted = accept::Accepted::load(args, started)?;
    let setup = setup::Setup::load(args.rules.as_deref(), args.gitleaks_config.as_deref(), out)?;
    let scanner = Scanner::new(setup.rules(), accepted.key());
    let eye = Eye {
        scanner: &scanner,
        allow: &setup.allow,
        large: Mutex::default(),
    };
    let mut report = sources(args, &eye, out)?;
    report.rule_set = setup.rules().digest().to_owned();
    for item in report.findings.iter_mut().filter(|item| item.fingerprint.is_some()) {
        item.severity = setup.rules().severity(&item.rule, &item.path, item.severity);
    }
    let least = Confidence::from(args.min_confidence);
    let all = report.findings.len();
    report.findings.retain(|item| item.confidence >= least);
    report.less_sure = (all - report.findings.len()) as u64;
    if let Some(path) = &args.gitleaks_ignore {
        setup::ignore(path, &mut report, out)?;
    }
    accepted.apply(&mut report);
    if args.audit {
        accepted.audit(&mut report, out)?;
    }
    if args.write_baseline.is_some() {
        accepted.write(args, &mut report, out)?;
    }
    (report.started, report.ended) = (Some(started), Some(process::now()));
    publish(args, &report, out)?;
    conclude(args, &report)
}

/// Reads every source, in the order of the arguments.
fn sources(args: &ScanArgs, eye: &Eye, out: &mut Output) -> Result<Report, CommandError> {
    let here = [PathBuf::from(".")];
    let paths = if args.paths.is_empty() { &here[..] } else { &args.paths };
    let mut report = Report::default();
    let mut walk = files::Walk::new(eye);
    for path in paths {
        let part = if args.staged {
            repository::staged(eye, path, args.min_confidence.into())?
        } else if let Some(range) = &args.range {
            repository::range(eye, path, range, out)?
        } else if args.history || repository::is_bare(path) {
            repository::history(eye, path, args.remember, out)?
        } else if repository::is_bundle(path) {
            repository::bundle(eye, path, out)?
        } else if path == Path::new("-") {
            files::incoming(eye, "(stdin)", &mut std::io::stdin().lock())?
        } else {
            if args.no_ignored {
                walk.exclude(repository::ignored(path)?);
            }
            walk.root(path)?;
            continue;
        };
        join(&mut report, part);
    }
    if !walk.is_empty() {
        join(&mut report, files::scan_all(eye, walk, args.max_file_size, out));
    }
    Ok(report)
}

fn join(report: &mut Report, part: Report) {
    report.files += part.files;
    report.bytes += part.bytes;
    report.findings.extend(part.findings);
    report.unread.extend(part.unread);
    report.known += part.known;
}

/// Prints the report, and writes those to files.
fn publish(args: &ScanArgs, report: &Report, out: &mut Output) -> Result<(), CommandError> {
    let render = |format: ScanFormat| {
        report::render(report, format.into()).map_err(|e| {
            CommandError::Outage(Outage {
                code: "report-not-written",
                what: "the report".to_owned(),
                why: e.to_string(),
                next: String::new(),
            })
        })
    };
    let write = |format: ScanFormat, path: &Path| {
        let text = render(format)?;
        std::fs::write(path, text).map_err(|e| io_outage("report-not-written", &path.display().to_string(), &e))
    };
    for (format, path) in &args.report {
        write(*format, path)?;
    }
    match &args.output {
        Some(path) => write(args.format, path)?,
        None => {
            let text = render(args.format)?;
            if !text.is_empty() {
                out.line(text.trim_end_matches('\n'));
            }
            out.flush();
        }
    }
    Ok(())
}

fn conclude(args: &ScanArgs, report: &Report) -> Result<Outcome, CommandError> {
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
    let severe = args.fail_on.map(Severity::from);
    let sure = args.fail_on_confidence.map(Confidence::from);
    // What was not looked at (a finding without a fingerprint) always counts.
    let counts = report.findings.iter().any(|item| {
        item.fingerprint.is_none()
            || severe.is_none_or(|least| item.severity >= least) && sure.is_none_or(|least| item.confidence >= least)
    });
    Ok(if counts { Outcome::No } else { Outcome::Yes })
}

/// An error of the operating system as an outage.
fn io_outage(code: &'static str, what: &str, error: &std::io::Error) -> CommandError {
    CommandError::Outage(Outage {
        code,
        what: what.to_owned(),
        why: error.to_string(),
        next: "check that this account may use it".to_owned(),
    })
}
