//! The decision on one push, denied or allowed, in full.

use super::ledger::Ledger;
use crate::check::hidden::Hidden;
use crate::cmd::error::{CommandError, Outcome};
use crate::cmd::output::{Format, Output};
use crate::decision::{Decision, Verdict};
use crate::facts::Facts;
use crate::finding::{Cause, Finding};
use crate::port::{DecisionRecord, EntryRecord, Outage, Store};
use crate::push::{RefUpdate, Server};
use serde_json::{Value, json};

/// Shows the decision on a push.
///
/// # Errors
/// `store-corrupt` if the record cannot be read; the store's.
pub fn show(
    ledger: &Ledger,
    record: &DecisionRecord,
    format: Format,
    out: &mut Output,
) -> Result<Outcome, CommandError> {
    let decision: Decision = serde_json::from_slice(&record.decision).map_err(|e| corrupt(record, &e))?;
    let facts: Facts = serde_json::from_slice(&record.facts).map_err(|e| corrupt(record, &e))?;
    let hidden = Hidden::of(&facts);
    let entries = entries(ledger, &decision)?;
    match format {
        Format::Json => out.line(document(&decision, &facts, &hidden, &entries)),
        Format::Text => text(&decision, &facts, &hidden, &entries, out),
    }
    Ok(Outcome::Yes)
}

fn corrupt(record: &DecisionRecord, why: &serde_json::Error) -> Outage {
    Outage {
        code: "store-corrupt",
        what: format!("cannot read the decision on push {}", record.push_id),
        why: why.to_string(),
        next: "run: lychgate log check".to_owned(),
    }
}

/// The entries that the decision made; an entry issued anew has another push's id.
fn entries(ledger: &Ledger, decision: &Decision) -> Result<Vec<EntryRecord>, Outage> {
    let ids = (0..decision.accepted.len()).map(|at| format!("{}-{at}", decision.push));
    let found: Result<Vec<_>, Outage> = ids.map(|id| ledger.wait(ledger.store.entry(&id))).collect();
    Ok(found?.into_iter().flatten().collect())
}

fn document(decision: &Decision, facts: &Facts, hidden: &Hidden, entries: &[EntryRecord]) -> Value {
    let update = |update: &RefUpdate| {
        json!({
            "ref": hidden.text(update.name.as_str()),
            "old": update.old,
            "new": update.new,
        })
    };
    let entry = |entry: &EntryRecord| {
        json!({
            "id": entry.id,
            "ref": entry.update.name,
            "state": entry.state,
            "log_index": entry.log_index,
        })
    };
    json!({
        "push_id": decision.push,
        "verdict": decision.verdict,
        "outage": decision.outage,
        "decided_at": decision.decided_at,
        "actor": facts.push.actor,
        "updates": facts.push.updates.iter().map(update).collect::<Vec<_>>(),
        "findings": decision.findings,
        "facts_sha256": decision.facts,
        "policy_sha256": decision.policy,
        "entries": entries.iter().map(entry).collect::<Vec<_>>(),
    })
}

fn text(decision: &Decision, facts: &Facts, hidden: &Hidden, entries: &[EntryRecord], out: &mut Output) {
    let verdict = match (decision.verdict, decision.outage) {
        (Verdict::Allow, _) => "allowed",
        (Verdict::Deny, true) => "DENIED by an outage, which is no verdict about the work",
        (Verdict::Deny, false) => "DENIED",
    };
    out.line(format!("push {} at {}: {verdict}", decision.push, decision.decided_at));
    let actor = &facts.push.actor;
    let protocol = actor.protocol.as_ref().map_or(String::new(), |p| format!(" over {p}"));
    out.line(format!(
        "by {}, as {} says{protocol}",
        printable(&actor.name),
        server(actor.server)
    ));
    for update in &facts.push.updates {
        let name = printable(&hidden.text(update.name.as_str()));
        out.line(format!("  {name}  {} -> {}", update.old.short(), update.new.short()));
    }
    for each in &decision.findings {
        out.line("");
        finding(each, out);
    }
    if decision.findings.is_empty() {
        out.line("no findings");
    }
    out.line("");
    for entry in entries {
        let index = entry
            .log_index
            .map_or_else(String::new, |index| format!(", leaf {index} of the log"));
        let state = json!(entry.state);
        let state = state.as_str().unwrap_or_default();
        out.line(format!("entry {}  {}  {state}{index}", entry.id, entry.update.name));
    }
    out.line(format!("facts  sha256:{}", decision.facts));
    out.line(format!("policy sha256:{}", decision.policy));
}

/// One finding with all that is known of it, nothing cut.
fn finding(finding: &Finding, out: &mut Output) {
    let kind = match (finding.cause, finding.denies) {
        (Cause::Outage, _) => "outage",
        (Cause::Work, true) => "error",
        (Cause::Work, false) if finding.waiver.is_some() => "waived",
        (Cause::Work, false) => "advice",
    };
    out.line(format!("{kind}[{}]: {}", finding.code, printable(&finding.message)));
    let place = &finding.place;
    let parts = [
        ("ref", place.ref_name.as_ref().map(ToString::to_string)),
        ("commit", place.commit.map(|oid| oid.to_string())),
        ("object", place.object.map(|oid| oid.to_string())),
        ("path", place.path.clone()),
        ("line", place.span.map(|span| span.start_line.to_string())),
        ("text", finding.excerpt.clone()),
        ("rule", finding.rule.clone()),
        ("fingerprint", finding.fingerprint.clone()),
        ("waiver", finding.waiver.clone()),
        (
            "required by",
            finding
                .required_by
                .as_ref()
                .map(|line| format!("{}:{}", line.file, line.line)),
        ),
    ];
    for (name, value) in parts {
        if let Some(value) = value {
            out.line(format!("  {name:<12} {}", printable(&value)));
        }
    }
    for step in &finding.remedy {
        match step.strip_prefix('#') {
            Some(sentence) => out.line(format!("  help: {}", printable(sentence.trim()))),
            None => out.line(format!("      {}", printable(step))),
        }
    }
}

fn server(server: Server) -> String {
    let name = json!(server);
    match server {
        Server::Plain => "the operating system".to_owned(),
        _ => name.as_str().unwrap_or_default().to_owned(),
    }
}

/// Nothing of a pushed text moves a cursor.
fn printable(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escape).collect()
}
