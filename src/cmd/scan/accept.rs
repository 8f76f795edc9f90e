//! Baselines at work: which key makes the fingerprints, which findings are accepted, what is written.

use super::super::error::CommandError;
use super::super::output::Output;
use super::super::{git, process};
use super::{ScanArgs, audit, io_outage, setup};
use crate::baseline::{self, Baseline, Line, Origin};
use crate::push::Timestamp;
use crate::report::Report;
use crate::scan::FingerprintKey;
use secrecy::ExposeSecret;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The baseline of the folder in which the command runs.
const DEFAULT: &str = ".lychgate-ignore";
const YEAR: i64 = 365 * 24 * 3600;
/// How long "later" lasts.
const LATER: i64 = 14 * 24 * 3600;

/// The key of a scan, and its baseline if it has one.
pub(super) struct Accepted {
    key: FingerprintKey,
    baseline: Option<Baseline>,
    path: PathBuf,
    now: Timestamp,
}

impl Accepted {
    /// Reads key and baseline, or makes them.
    ///
    /// # Errors
    /// `baseline-unreadable`, `baseline-not-valid`, `baseline-other-key`, and those of the key.
    pub(super) fn load(args: &ScanArgs, now: Timestamp) -> Result<Self, CommandError> {
        let named = args.baseline.as_ref().or(args.write_baseline.as_ref());
        let path = named.cloned().unwrap_or_else(|| DEFAULT.into());
        let writes = args.write_baseline.is_some() || args.audit;
        let wanted = !args.no_baseline && (named.is_some() || writes || path.exists());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) if wanted => Some(text),
            Err(e) if wanted && !(writes && e.kind() == std::io::ErrorKind::NotFound) => {
                let what = format!("{}: {e}", path.display());
                return Err(CommandError::usage(
                    "baseline-unreadable",
                    what,
                    "make one with --write-baseline",
                ));
            }
            _ => None,
        };
        let read = text.map(|text| Baseline::parse(&path.display().to_string(), &text));
        let read = read.transpose().map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            CommandError::usage("baseline-not-valid", lines.join("\n"), "mend or remove these lines")
        })?;
        let own = args
            .fingerprint_key
            .as_deref()
            .map(setup::fingerprint_key)
            .transpose()?;
        let baseline = match read {
            None if writes => Some(Baseline::new(match &own {
                Some(key) => Origin::Key(baseline::check_value(key.expose_secret())),
                None => Origin::Salt(process::random()?),
            })),
            read => read,
        };
        let key = key_for(baseline.as_ref(), own, &path)?;
        Ok(Self {
            key,
            baseline,
            path,
            now,
        })
    }

    pub(super) fn key(&self) -> &FingerprintKey {
        &self.key
    }

    /// Takes the accepted findings out, and gives the others the fingerprints of the baseline.
    pub(super) fn apply(&self, report: &mut Report) {
        let Some(baseline) = &self.baseline else { return };
        let mut known: HashMap<String, String> = HashMap::new();
        for print in report.findings.iter_mut().filter_map(|item| item.fingerprint.as_mut()) {
            let stretched = known
                .entry(print.clone())
                .or_insert_with(|| baseline.fingerprint(print));
            print.clone_from(stretched);
        }
        self.drop_accepted(report);
    }

    fn drop_accepted(&self, report: &mut Report) {
        let Some(baseline) = &self.baseline else { return };
        let today = day(self.now, 0);
        let all = report.findings.len();
        report.findings.retain(|item| {
            let print = item.fingerprint.as_deref();
            !print.is_some_and(|print| baseline.accepts(print, &item.rule, &today))
        });
        report.accepted += (all - report.findings.len()) as u64;
    }

    /// Accepts all findings that are left.
    pub(super) fn write(&mut self, args: &ScanArgs, report: &mut Report, out: &mut Output) -> Result<(), CommandError> {
        let expires = args.expires.clone().unwrap_or_else(|| day(self.now, YEAR));
        if !baseline::is_day(&expires) {
            let what = format!("--expires {expires}: no day of the calendar");
            return Err(CommandError::usage("bad-day", what, "write it as 2027-01-31"));
        }
        let line = Line {
            expires: Some(expires),
            author: author()?,
            reason: args.reason.clone(),
        };
        if let Some(baseline) = &mut self.baseline {
            for item in &report.findings {
                if let Some(print) = &item.fingerprint {
                    baseline.accept(print, &item.rule, line.clone());
                }
            }
        }
        self.save(report, out)
    }

    /// Asks about each secret that is left, and writes what is accepted.
    pub(super) fn audit(&mut self, report: &mut Report, out: &mut Output) -> Result<(), CommandError> {
        let author = author()?;
        let answers = audit::ask(report, &mut std::io::stdin().lock(), out);
        if let Some(baseline) = &mut self.baseline {
            for answer in answers {
                let (reason, seconds) = match answer.verdict {
                    audit::Verdict::False => (format!("false alarm: {}", answer.reason), YEAR),
                    audit::Verdict::Later => ("later".to_owned(), LATER),
                };
                let line = Line {
                    expires: Some(day(self.now, seconds)),
                    author: author.clone(),
                    reason,
                };
                baseline.accept(&answer.fingerprint, &answer.rule, line);
            }
        }
        self.save(report, out)
    }

    fn save(&self, report: &mut Report, out: &mut Output) -> Result<(), CommandError> {
        let Some(baseline) = &self.baseline else { return Ok(()) };
        let shown = self.path.display().to_string();
        let beside = self.path.with_extension("lychgate-new");
        let written = std::fs::write(&beside, baseline.render()).and_then(|()| std::fs::rename(&beside, &self.path));
        written.map_err(|e| io_outage("baseline-not-written", &shown, &e))?;
        self.drop_accepted(report);
        out.note(format!(
            "lychgate: {shown} accepts {} secrets; commit it, with \"{} merge=union\" in .gitattributes",
            baseline.lines.len(),
            self.path.file_name().unwrap_or_default().to_string_lossy()
        ));
        Ok(())
    }
}

/// The key that makes fingerprints which the baseline can hold.
fn key_for(
    baseline: Option<&Baseline>,
    own: Option<FingerprintKey>,
    path: &Path,
) -> Result<FingerprintKey, CommandError> {
    let other = |next: &str| {
        let what = format!("{}: its fingerprints were made with another key", path.display());
        CommandError::usage("baseline-other-key", what, next)
    };
    match (baseline.map(|b| &b.origin), own) {
        (Some(Origin::Salt(salt)), None) => Ok(FingerprintKey::new(Box::new(*salt))),
        (Some(Origin::Salt(_)), Some(_)) => Err(other("leave out --fingerprint-key")),
        (Some(Origin::Key(_)), None) => Err(other("name the key file with --fingerprint-key")),
        (Some(Origin::Key(check)), Some(key)) if baseline::check_value(key.expose_secret()) != *check => {
            Err(other("name the key file that the baseline was made with"))
        }
        (_, Some(key)) => Ok(key),
        (None, None) => Ok(FingerprintKey::new(Box::new(process::random()?))),
    }
}

/// Who accepts: Git's user, else the account.
fn author() -> Result<String, CommandError> {
    let address = git::ask(Path::new("."), &["config", "user.email"])?;
    Ok(address.filter(|text| !text.is_empty()).unwrap_or_else(process::account))
}

/// The day so many seconds from now.
fn day(now: Timestamp, seconds: i64) -> String {
    let text = Timestamp::from_unix(now.unix().saturating_add(seconds)).to_string();
    text.get(..10).unwrap_or_default().to_owned()
}
