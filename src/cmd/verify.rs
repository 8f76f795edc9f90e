//! `lychgate verify`: says of each check whether a revision's attestation passes it.
//!
//! With a revision: against the ledger of an installed repository. With
//! `--bundle`: against files alone, anywhere.

use super::error::{CommandError, Outcome};
use super::log::ledger::{Ledger, Wanted, full_ref};
use super::log::show::reasons;
use super::output::{Format, Output};
use crate::attest::{PublicKey, dsse::LONGEST_ENVELOPE};
use crate::port::{EntryRecord, Store};
use crate::push::{Oid, Timestamp};
use crate::verify::{Check, Evidence, Expectation, Report, State, TrustedKey, verify};
use crate::worker;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The highest level that a gate can establish, and so the highest that its key is believed.
const MOST_BELIEVED: u8 = 4;

/// Arguments of `lychgate verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The revision: a commit, branch or tag.
    #[arg(required_unless_present = "bundle", conflicts_with = "bundle")]
    pub rev: Option<String>,
    /// The repository; by default the one of the current directory.
    #[arg(long, value_name = "DIR", conflicts_with = "bundle")]
    pub repo: Option<PathBuf>,
    /// The ref on which it must have entered.
    #[arg(long = "ref", value_name = "REF")]
    pub ref_name: Option<String>,
    /// The least SLSA source level that it must have.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub level: u8,
    /// A Sigstore bundle or DSSE envelope instead of a revision.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub bundle: Option<PathBuf>,
    /// The public key of the gate that issued it, PEM.
    #[arg(long, value_name = "FILE", requires = "bundle")]
    pub key: Option<PathBuf>,
    /// The proof that it is in the log; by default BUNDLE.proof.
    #[arg(long, value_name = "FILE", requires = "bundle")]
    pub proof: Option<PathBuf>,
    /// The status list; by default BUNDLE.status.
    #[arg(long, value_name = "FILE", requires = "bundle")]
    pub status: Option<PathBuf>,
    /// The verifier whose word it must be; the key is believed for no other.
    #[arg(long, value_name = "ID", requires = "bundle")]
    pub verifier_id: Option<String>,
    /// The repository that it must be about, by its resource URI.
    #[arg(long, value_name = "URI", requires = "bundle")]
    pub resource: Option<String>,
    /// The commit that it must be about.
    #[arg(long, value_name = "OID", requires = "bundle")]
    pub commit: Option<Oid>,
    /// The name that the log's checkpoint must carry.
    #[arg(long, value_name = "NAME", requires = "bundle")]
    pub origin: Option<String>,
    /// Refuse a status list older than this.
    #[arg(long, value_name = "SECONDS", requires = "bundle", value_parser = clap::value_parser!(i64).range(0..))]
    pub max_age: Option<i64>,
    /// Refuse a status list or checkpoint of a log of fewer leaves than this, which was seen before.
    #[arg(long, value_name = "N", requires = "bundle", default_value_t = 0)]
    pub seen_size: u64,
    /// Accept a bundle without proof and status list.
    #[arg(long, requires = "bundle")]
    pub without_log: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Runs `lychgate verify`.
///
/// # Errors
/// `not-installed`, `unknown-revision`, `bad-ref`, `cannot-read`, `bad-key`; outages of the store, the settings and
/// the signer. That it is not verified is no error but [`Outcome::No`].
pub fn run(args: &VerifyArgs, now: Timestamp, out: &mut Output) -> Result<Outcome, CommandError> {
    let report = match (&args.bundle, &args.key, &args.rev) {
        (Some(bundle), Some(key), _) => of_files(args, bundle, key, now)?,
        (_, _, Some(rev)) => of_ledger(args, rev, now, out)?,
        _ => {
            return Err(CommandError::usage(
                "usage",
                "give a revision, or --bundle and --key",
                "",
            ));
        }
    };
    print(&report, args.format, out);
    Ok(if report.verified() { Outcome::Yes } else { Outcome::No })
}

fn of_ledger(args: &VerifyArgs, rev: &str, now: Timestamp, out: &mut Output) -> Result<Report, CommandError> {
    let ledger = Ledger::open(args.repo.as_deref(), now, out)?;
    let wanted = Wanted::new(rev, args.ref_name.as_deref())?;
    let commit = ledger.resolve(rev)?;
    let mut refused = None;
    // A revision may have entered on several refs, or again after it was closed: one good attestation suffices.
    for entry in ledger.entries(commit, &wanted)? {
        let report = judge(&ledger, &entry, &wanted, commit, args.level, now)?;
        if report.verified() {
            return Ok(report);
        }
        refused = refused.or(Some(report));
    }
    Ok(refused.unwrap_or_else(|| {
        let place = wanted.ref_name.map_or_else(String::new, |name| format!(" on {name}"));
        let why = format!("{commit} has no entry{place}: no push to a protected ref ended there");
        Report::absent(&why, "Verify a revision that a push ended at: lychgate log lists them.")
    }))
}

fn judge(
    ledger: &Ledger,
    entry: &EntryRecord,
    wanted: &Wanted,
    commit: Oid,
    level: u8,
    now: Timestamp,
) -> Result<Report, CommandError> {
    let head = ledger.wait(ledger.store.head())?;
    let status = ledger.wait(worker::status_list(&ledger.store, &ledger.signer()?, &ledger.gate, now))?;
    let proof = ledger.wait(worker::prove(&ledger.store, &head, entry.log_index.unwrap_or(u64::MAX)))?;
    let standing = ledger.wait(worker::status_of(&ledger.store, entry))?;
    let reopens = ledger.wait(ledger.store.reopens())?;
    let events = standing.map_or(Vec::new(), |s| reasons(&s, &reopens));
    let bundle = worker::bundle(entry)?.unwrap_or_default();
    let evidence = Evidence {
        bundle: bundle.as_bytes(),
        proof: Some(&proof.to_text()),
        status: Some(&status),
        largest_log_size: head.size,
        events: &events,
        ..Evidence::default()
    };
    let trusted = TrustedKey {
        key: ledger.key.clone(),
        verifier_id: Some(ledger.gate.verifier_id.clone()),
        max_level: ledger.gate.max_level,
    };
    let expected = Expectation {
        resource_uri: Some(ledger.gate.resource.clone()),
        commit: Some(commit),
        ref_name: wanted.ref_name.clone(),
        min_level: level,
        origin: Some(ledger.gate.origin.clone()),
    };
    Ok(verify(evidence, &[trusted], &expected, now))
}

fn of_files(args: &VerifyArgs, bundle: &Path, key: &Path, now: Timestamp) -> Result<Report, CommandError> {
    let key_text = read(key, 4096)?;
    let key = PublicKey::from_pem(&String::from_utf8_lossy(&key_text)).map_err(|e| {
        let what = format!("{}: {e}", key.display());
        CommandError::usage("bad-key", what, "give the gate's attestation.pub")
    })?;
    let bundle_bytes = read(bundle, LONGEST_ENVELOPE as u64)?;
    let proof = read_beside(args.proof.as_deref(), bundle, "proof")?;
    let status = read_beside(args.status.as_deref(), bundle, "status")?;
    let evidence = Evidence {
        bundle: &bundle_bytes,
        proof: proof.as_deref(),
        status: status.as_deref(),
        largest_log_size: args.seen_size,
        max_status_age: args.max_age,
        without_log: args.without_log,
        events: &[],
    };
    let trusted = TrustedKey {
        key,
        verifier_id: args.verifier_id.clone(),
        max_level: MOST_BELIEVED,
    };
    let expected = Expectation {
        resource_uri: args.resource.clone(),
        commit: args.commit,
        ref_name: args.ref_name.as_deref().map(full_ref).transpose()?,
        min_level: args.level,
        origin: args.origin.clone(),
    };
    Ok(verify(evidence, &[trusted], &expected, now))
}

/// Reads the named file, or the bundle's sidecar if there is one.
fn read_beside(named: Option<&Path>, bundle: &Path, extension: &str) -> Result<Option<String>, CommandError> {
    let mut beside = bundle.as_os_str().to_owned();
    beside.push(".");
    beside.push(extension);
    let beside = PathBuf::from(beside);
    let path = match named {
        Some(path) => path,
        None if beside.exists() => &beside,
        None => return Ok(None),
    };
    let bytes = read(path, crate::status::LONGEST_LIST as u64)?;
    // What is not UTF-8 cannot be a proof or a token, so the check fails with its own reason.
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn read(path: &Path, longest: u64) -> Result<Vec<u8>, CommandError> {
    use std::io::Read;
    let cannot = |why: String| {
        let what = format!("cannot read {}: {why}", path.display());
        CommandError::usage(
            "cannot-read",
            what,
            "give the path of a file that lychgate log export wrote",
        )
    };
    let file = std::fs::File::open(path).map_err(|e| cannot(e.to_string()))?;
    let mut bytes = Vec::new();
    file.take(longest + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| cannot(e.to_string()))?;
    if bytes.len() as u64 > longest {
        return Err(cannot(format!("it is longer than {longest} bytes")));
    }
    Ok(bytes)
}

fn print(report: &Report, format: Format, out: &mut Output) {
    match format {
        Format::Json => {
            out.line(json!({ "verified": report.verified(), "claim": report.claim, "checks": report.checks }));
        }
        Format::Text => {
            out.line(headline(report));
            for check in &report.checks {
                out.line(format!("  {:<8}  {:<14}  {}", word(check), check.name, check.reason));
                if !check.hint.is_empty() {
                    out.line(format!("  = help: {}", check.hint));
                }
            }
        }
    }
}

fn headline(report: &Report) -> String {
    let failures: Vec<&str> = report
        .failures()
        .filter(|c| c.state != State::Unjudged)
        .map(|c| c.name)
        .collect();
    let Some(claim) = report.claim.as_ref().filter(|_| report.verified()) else {
        return format!("NOT VERIFIED: {}", failures.join(", "));
    };
    let commit = claim.commit.as_deref().unwrap_or("no commit");
    let levels = claim.levels.join(" ");
    format!(
        "verified: {commit} entered on {} at {} with {levels}",
        claim.refs.join(", "),
        claim.time_verified
    )
}

fn word(check: &Check) -> &'static str {
    match check.state {
        State::Pass => "pass",
        State::Fail => "FAIL",
        State::Missing => "MISSING",
        State::Waived => "waived",
        State::Unjudged => "unjudged",
    }
}
