//! Lists of entries, and single entries and events.

use super::decision;
use super::ledger::Ledger;
use crate::attest::statement::levels;
use crate::attest::{Envelope, PublicKey};
use crate::cmd::error::{CommandError, Outcome};
use crate::cmd::output::{Format, Output};
use crate::guarantee::Guarantee;
use crate::port::{EntryRecord, EntryState, ReopenRecord, Store};
use crate::worker::{Standing, standings};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Lists published entries, newest first, with their standing.
///
/// # Errors
/// The store's.
pub fn list(ledger: &Ledger, limit: u32, format: Format, out: &mut Output) -> Result<Outcome, CommandError> {
    let (entries, reopens, standings) = all(ledger)?;
    let shown = entries.iter().take(limit as usize);
    match format {
        Format::Json => {
            let list: Vec<Value> = shown.map(|e| summary(ledger, e, &standings, &reopens)).collect();
            out.line(json!({ "entries": list, "total": entries.len() }));
        }
        Format::Text => {
            for entry in shown {
                out.line(line(entry, &standings, &reopens));
            }
            let more = entries.len().saturating_sub(limit as usize);
            if entries.is_empty() {
                out.line("nothing has entered yet");
            } else if more > 0 {
                out.line(format!("… and {more} older ones: --limit {}", entries.len()));
            }
        }
    }
    Ok(Outcome::Yes)
}

type Everything = (Vec<EntryRecord>, Vec<ReopenRecord>, BTreeMap<String, Standing>);

/// All published entries (newest first), all events, and how each entry stands.
fn all(ledger: &Ledger) -> Result<Everything, CommandError> {
    let entries = ledger.wait(ledger.store.entries(u32::MAX))?;
    let reopens = ledger.wait(ledger.store.reopens())?;
    let standings = standings(&entries, &reopens);
    Ok((entries, reopens, standings))
}

fn line(entry: &EntryRecord, standings: &BTreeMap<String, Standing>, reopens: &[ReopenRecord]) -> String {
    let standing = standings.get(&entry.id);
    let status = standing.map_or_else(|| "pending".to_owned(), |s| s.status.to_string());
    let reasons = standing.map_or(Vec::new(), |s| reasons(s, reopens));
    let why = if reasons.is_empty() {
        String::new()
    } else {
        format!(" ({})", reasons.join("; "))
    };
    let what = entry
        .commit
        .map_or_else(|| "(deleted)".to_owned(), |commit| commit.short());
    format!(
        "{:>6}  {}  {}  {:<12}  {}  {status}{why}",
        entry
            .log_index
            .map_or_else(|| "-".to_owned(), |index| index.to_string()),
        entry.id,
        entry.received_at,
        what,
        entry.update.name,
    )
}

/// Why an entry is not valid: action, reason, event and time of each event.
pub fn reasons(standing: &Standing, reopens: &[ReopenRecord]) -> Vec<String> {
    let events = standing.events.iter().filter_map(|at| reopens.get(*at));
    let sentence = |r: &ReopenRecord| {
        let value: String = r.selector_value.chars().filter(|c| !c.is_control()).take(80).collect();
        format!(
            "{} of {} {value}: {}, event {}, {}",
            r.action, r.selector_kind, r.reason, r.event, r.effective_from
        )
    };
    events.map(sentence).collect()
}

fn summary(
    ledger: &Ledger,
    entry: &EntryRecord,
    standings: &BTreeMap<String, Standing>,
    reopens: &[ReopenRecord],
) -> Value {
    let standing = standings.get(&entry.id);
    let guarantees: Vec<Guarantee> = serde_json::from_str(&entry.guarantees).unwrap_or_default();
    json!({
        "id": entry.id,
        "push_id": entry.push_id,
        "ref": entry.update.name,
        "old": entry.update.old,
        "new": entry.update.new,
        "commit": entry.commit,
        "tree": entry.tree,
        "received_at": entry.received_at,
        "state": entry.state,
        "log_index": entry.log_index,
        "status_index": entry.status_index,
        "levels": levels(&guarantees, ledger.gate.max_level),
        "status": standing.map(|s| s.status),
        "events": standing.map(|s| reasons(s, reopens)).unwrap_or_default(),
    })
}

/// Shows one entry, event or push.
///
/// # Errors
/// `unknown-entry`; the store's.
pub fn one(ledger: &Ledger, id: &str, format: Format, out: &mut Output) -> Result<Outcome, CommandError> {
    let (entries, reopens, standings) = all(ledger)?;
    let index: Option<u64> = id.parse().ok();
    let is_entry =
        |e: &&EntryRecord| e.id == id || (index.is_some() && (e.log_index == index || provenance_index(e) == index));
    let entry = match entries.iter().find(is_entry) {
        Some(entry) => Some(entry.clone()),
        None => ledger.wait(ledger.store.entry(id))?,
    };
    if let Some(entry) = entry {
        return entry_out(ledger, &entry, &standings, &reopens, format, out);
    }
    if let Some(event) = reopens.iter().find(|r| r.event == id || Some(r.log_index) == index) {
        return event_out(ledger, event, format, out);
    }
    if let Some(record) = ledger.wait(ledger.store.decision(id))? {
        return decision::show(ledger, &record, format, out);
    }
    let shown: String = id.chars().filter(|c| !c.is_control()).take(80).collect();
    Err(CommandError::usage(
        "unknown-entry",
        format!("no push, entry or event has the id or index {shown}"),
        "list what entered: lychgate log",
    ))
}

fn provenance_index(entry: &EntryRecord) -> Option<u64> {
    entry.log_index.filter(|_| entry.commit.is_some())?.checked_sub(1)
}

fn entry_out(
    ledger: &Ledger,
    entry: &EntryRecord,
    standings: &BTreeMap<String, Standing>,
    reopens: &[ReopenRecord],
    format: Format,
    out: &mut Output,
) -> Result<Outcome, CommandError> {
    let opened = |text: &Option<String>| text.as_deref().and_then(|text| statement(text, &ledger.key));
    let (provenance, vsa) = (opened(&entry.provenance), opened(&entry.vsa));
    match format {
        Format::Json => {
            let mut value = summary(ledger, entry, standings, reopens);
            value["provenance"] = json!(provenance);
            value["vsa"] = json!(vsa);
            out.line(value);
        }
        Format::Text => {
            let line = match entry.state {
                EntryState::Void => format!("{}  void: the ref did not move", entry.id),
                EntryState::Pending | EntryState::Published => line(entry, standings, reopens),
            };
            out.line(line.trim_start());
            for (title, statement) in [("source provenance", provenance), ("verification summary", vsa)] {
                pretty(title, statement.as_ref(), out);
            }
        }
    }
    Ok(Outcome::Yes)
}

fn event_out(ledger: &Ledger, event: &ReopenRecord, format: Format, out: &mut Output) -> Result<Outcome, CommandError> {
    let statement = statement(&event.envelope, &ledger.key);
    match format {
        Format::Json => out.line(json!({ "event": event, "statement": statement })),
        Format::Text => {
            out.line(format!(
                "{}  {}  {}",
                event.log_index, event.event, event.effective_from
            ));
            out.line(format!(
                "{} of {} {}: {}, {} entries",
                event.action,
                event.selector_kind,
                event.selector_value,
                event.reason,
                event.entries.len()
            ));
            pretty("event", statement.as_ref(), out);
        }
    }
    Ok(Outcome::Yes)
}

fn pretty(title: &str, statement: Option<&Value>, out: &mut Output) {
    if let Some(text) = statement.and_then(|s| serde_json::to_string_pretty(s).ok()) {
        out.line(format!("{title}:\n{text}"));
    }
}

/// The statement in an envelope that our own key signed.
fn statement(envelope: &str, key: &PublicKey) -> Option<Value> {
    let payload = Envelope::parse(envelope.as_bytes()).ok()?.open(&[key])?;
    serde_json::from_slice(payload.bytes()).ok()
}
