//! `lychgate reopen`: suspends, revokes or re-establishes what entries vouch for.
//!
//! Shows the blast radius first; appends one signed event. Idempotent.

use super::error::{CommandError, Outcome};
use super::git;
use super::log::ledger::Ledger;
use super::output::{Format, Output};
use super::process;
use crate::attest::statement::Signal;
use crate::attest::{Action, Reason, SelectorKind};
use crate::port::{EntryRecord, ReopenRecord, Store};
use crate::push::{Oid, RefName, Timestamp};
use crate::worker::{self, Event, Reopened};
use serde_json::json;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// Arguments of `lychgate reopen`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("selector").required(true))]
pub struct ReopenArgs {
    /// Entries of this commit and of what descends from it.
    #[arg(long, value_name = "OID", group = "selector")]
    pub commit: Option<Oid>,
    /// Entries whose new commits or tree hold this blob.
    #[arg(long, value_name = "OID", group = "selector")]
    pub blob: Option<Oid>,
    /// Entries with something signed by this key.
    #[arg(long, value_name = "FINGERPRINT", group = "selector")]
    pub key: Option<String>,
    /// Entries that this account pushed.
    #[arg(long, value_name = "NAME", group = "selector")]
    pub actor: Option<String>,
    /// Entries on this ref.
    #[arg(long = "ref", value_name = "REF", group = "selector")]
    pub ref_name: Option<RefName>,
    /// Why: leaked_secret_in_use, key_compromised, new_detection_rule, anomaly, policy_change, operator or
    /// protection_drift.
    #[arg(long, value_name = "REASON")]
    pub reason: Reason,
    /// reopen suspends, revoke ends for good, close ends a suspension by new attestations.
    #[arg(long, value_name = "ACTION", default_value = "reopen")]
    pub action: Action,
    /// What shows it: an alert's URL, a ticket, a sentence. A close needs it.
    #[arg(long, value_name = "TEXT")]
    pub evidence: Option<String>,
    /// Only show what would be affected.
    #[arg(long)]
    pub dry_run: bool,
    /// The repository; by default the one of the current directory.
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Most affected entries that are listed one by one.
const LISTED: usize = 20;

/// Runs `lychgate reopen`.
///
/// # Errors
/// `not-installed`, `close-needs-evidence`, `git-missing`; outages of the store, the settings and the signer.
pub fn run(args: &ReopenArgs, now: Timestamp, out: &mut Output) -> Result<Outcome, CommandError> {
    if args.action == Action::Close && args.evidence.is_none() {
        return Err(CommandError::usage(
            "close-needs-evidence",
            "a close vouches for the entries again, so it must say what that rests on",
            "add --evidence with what shows that the cause is gone",
        ));
    }
    let ledger = Ledger::open(args.repo.as_deref(), now, out)?;
    let (kind, value) = selector(args);
    let entries = affected(&ledger, args.action, kind, &value)?;
    if args.format == Format::Text {
        radius(args, kind, &value, &entries, out);
    }
    if args.dry_run {
        report(args, &entries, "dry-run", None, out);
        return Ok(Outcome::Yes);
    }
    let event = Event {
        id: process::fresh_id(now)?,
        action: args.action,
        reason: args.reason,
        authority: "authoritative",
        kind,
        value,
        signals: args.evidence.iter().map(|text| signal(text)).collect(),
        entries: entries.clone(),
        now,
        owner: process::owner(),
    };
    let signer = ledger.signer()?;
    let done = ledger.wait(worker::reopen(&ledger.store, &signer, &ledger.gate, event))?;
    Ok(tell(args, &entries, &done, out))
}

fn selector(args: &ReopenArgs) -> (SelectorKind, String) {
    let oid = |oid: &Oid| oid.to_string();
    let chosen = [
        (SelectorKind::Commit, args.commit.as_ref().map(oid)),
        (SelectorKind::Blob, args.blob.as_ref().map(oid)),
        (SelectorKind::Key, args.key.clone()),
        (SelectorKind::Actor, args.actor.clone()),
        (SelectorKind::Ref, args.ref_name.as_ref().map(RefName::to_string)),
    ];
    let given = chosen.into_iter().find_map(|(kind, value)| Some((kind, value?)));
    // The argument group demands exactly one.
    given.unwrap_or((SelectorKind::Actor, String::new()))
}

/// The entries that an event would select. A close selects what is open under its selector.
fn affected(
    ledger: &Ledger,
    action: Action,
    kind: SelectorKind,
    value: &str,
) -> Result<Vec<EntryRecord>, CommandError> {
    if action == Action::Close {
        return Ok(ledger.wait(worker::reopen::closable(&ledger.store, kind, value))?);
    }
    let entries = ledger.wait(ledger.store.entries(u32::MAX))?;
    let reached = match kind {
        SelectorKind::Commit => of_commit(&ledger.home.git_dir, value, &entries)?,
        SelectorKind::Blob => of_blob(&ledger.home.git_dir, value, &entries)?,
        SelectorKind::Key | SelectorKind::Rule | SelectorKind::Actor | SelectorKind::Ref => HashSet::new(),
    };
    Ok(ledger.wait(worker::select(&ledger.store, kind, value, |entry| {
        Ok(reached.contains(&entry.id))
    }))?)
}

/// Ids of the entries whose commit descends from `commit`, or is it.
fn of_commit(git_dir: &Path, commit: &str, entries: &[EntryRecord]) -> Result<HashSet<String>, CommandError> {
    let reaching = descendants(git_dir, commit, entries)?;
    let hit = |e: &&EntryRecord| e.commit.is_some_and(|c| reaching.contains(&c));
    Ok(entries.iter().filter(hit).map(|e| e.id.clone()).collect())
}

/// Ids of the entries that brought a commit which adds or removes the blob, and of those whose tree still has it.
///
/// # Errors
/// `unknown-blob`, `git-missing`.
pub fn of_blob(git_dir: &Path, blob: &str, entries: &[EntryRecord]) -> Result<HashSet<String>, CommandError> {
    let mut ids = HashSet::new();
    let mut trees = BTreeSet::new();
    for commit in touching(git_dir, blob, entries)? {
        let reaching = descendants(git_dir, &commit, entries)?;
        for entry in entries {
            let Some(tip) = entry.commit.filter(|c| reaching.contains(c)) else {
                continue;
            };
            let brought = !reaching.contains(&entry.update.old);
            if brought || trees.contains(&tip) || tree_has(git_dir, tip, blob)? {
                trees.insert(tip);
                ids.insert(entry.id.clone());
            }
        }
    }
    Ok(ids)
}

/// Commits of the entries' histories that descend from `commit`, itself among them.
fn descendants(git_dir: &Path, commit: &str, entries: &[EntryRecord]) -> Result<HashSet<Oid>, CommandError> {
    let bottom = format!("^{commit}");
    let mut found: HashSet<Oid> = commit.parse().into_iter().collect();
    for tips in tips(entries).chunks(TIPS_AT_ONCE) {
        let mut args = vec!["rev-list", "--ignore-missing", "--ancestry-path", &bottom];
        args.extend(tips.iter().map(String::as_str));
        // A commit that the repository does not have (any more) has no descendants in it.
        let listed = git::ask(git_dir, &args)?.unwrap_or_default();
        found.extend(listed.lines().filter_map(|line| line.parse::<Oid>().ok()));
    }
    Ok(found)
}

/// Commits of the entries' histories that add or remove a blob.
fn touching(git_dir: &Path, blob: &str, entries: &[EntryRecord]) -> Result<BTreeSet<String>, CommandError> {
    let object = format!("--find-object={blob}");
    let mut found = BTreeSet::new();
    for tips in tips(entries).chunks(TIPS_AT_ONCE) {
        let mut args = vec![
            "log",
            "--format=%H",
            "-m",
            "--root",
            "--no-show-signature",
            "--ignore-missing",
            &object,
        ];
        args.extend(tips.iter().map(String::as_str));
        args.push("--");
        let listed = git::ask(git_dir, &args)?.ok_or_else(|| {
            let what = format!("git cannot search the history for the blob {blob}");
            CommandError::usage("unknown-blob", what, "give the id of a blob that the repository has")
        })?;
        found.extend(listed.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    }
    Ok(found)
}

/// Tips in one call of git: 41 to 65 bytes each, far below the limit of a command line.
const TIPS_AT_ONCE: usize = 1000;

fn tips(entries: &[EntryRecord]) -> Vec<String> {
    let tips: BTreeSet<String> = entries.iter().filter_map(|e| e.commit).map(|c| c.to_string()).collect();
    tips.into_iter().collect()
}

fn tree_has(git_dir: &Path, commit: Oid, blob: &str) -> Result<bool, CommandError> {
    let args = ["ls-tree", "-r", "-z", "--full-tree", &commit.to_string()];
    let listed = git::ask(git_dir, &args)?;
    // A tree that cannot be read counts as holding it.
    Ok(listed.is_none_or(|text| {
        text.split('\0')
            .any(|line| line.split([' ', '\t']).nth(2) == Some(blob))
    }))
}

fn signal(evidence: &str) -> Signal {
    Signal {
        source: "operator".to_owned(),
        id: evidence.to_owned(),
        digest: Default::default(),
    }
}

fn radius(args: &ReopenArgs, kind: SelectorKind, value: &str, entries: &[EntryRecord], out: &mut Output) {
    let refs: BTreeSet<&str> = entries.iter().map(|e| e.update.name.as_str()).collect();
    let shown: String = value.chars().filter(|c| !c.is_control()).take(120).collect();
    let (entry_count, ref_count) = (entries.len(), refs.len());
    out.line(format!(
        "{} by {kind} {shown}: {entry_count} entries on {ref_count} refs",
        args.action
    ));
    for entry in entries.iter().take(LISTED) {
        let what = entry.commit.map_or_else(|| "(deleted)".to_owned(), |c| c.short());
        out.line(format!(
            "  {}  {what}  {}  {}",
            entry.id, entry.update.name, entry.received_at
        ));
    }
    if entries.len() > LISTED {
        out.line(format!("  … and {} more", entries.len() - LISTED));
    }
}

fn tell(args: &ReopenArgs, entries: &[EntryRecord], done: &Reopened, out: &mut Output) -> Outcome {
    let (result, record) = match done {
        Reopened::Appended(record) => ("appended", Some(record.as_ref())),
        Reopened::Already(record) => ("already", Some(record.as_ref())),
        Reopened::NothingSelected => ("nothing-selected", None),
        Reopened::NothingOpen => ("nothing-open", None),
    };
    report(args, entries, result, record, out);
    if record.is_some() { Outcome::Yes } else { Outcome::No }
}

fn report(args: &ReopenArgs, entries: &[EntryRecord], result: &str, record: Option<&ReopenRecord>, out: &mut Output) {
    if args.format == Format::Json {
        let ids: Vec<&str> = entries.iter().map(|e| e.id.as_str()).collect();
        let (event, index) = (record.map(|r| &r.event), record.map(|r| r.log_index));
        out.line(json!({ "result": result, "event": event, "log_index": index, "entries": ids }));
        return;
    }
    let event = record.map_or_else(String::new, |r| {
        format!("event {} is leaf {} of the log", r.event, r.log_index)
    });
    out.line(match result {
        "appended" => event,
        "already" => format!("already so, nothing appended: {event}"),
        "dry-run" => "dry run: nothing was appended".to_owned(),
        "nothing-open" => {
            "nothing is open under this selector (a revocation never closes): nothing appended".to_owned()
        }
        _ => "no entry is selected: nothing appended\n  = help: list what entered: lychgate log".to_owned(),
    });
}
