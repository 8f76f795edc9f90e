//! Decides stored pushes again: the same policy and facts must give the same bytes.

use super::ledger::Ledger;
use crate::cmd::error::{CommandError, Outcome};
use crate::cmd::output::{Format, Output};
use crate::decision;
use crate::port::{DecisionRecord, Store};
use serde::Serialize;

#[derive(Serialize)]
struct Replayed {
    push_id: String,
    allowed: bool,
    same: bool,
    why: String,
}

/// Replays the named pushes, or all if none is named.
///
/// # Errors
/// `unknown-push`; the store's.
pub fn run(ledger: &Ledger, push_ids: &[String], format: Format, out: &mut Output) -> Result<Outcome, CommandError> {
    let replayed: Vec<Replayed> = records(ledger, push_ids)?.iter().map(replay).collect();
    let same = replayed.iter().filter(|r| r.same).count();
    match format {
        Format::Json => out.line(serde_json::json!({ "replayed": replayed, "same": same, "total": replayed.len() })),
        Format::Text => {
            for r in &replayed {
                let verdict = if r.allowed { "allow" } else { "deny" };
                let result = if r.same { "same" } else { "DIFFERS" };
                out.line(format!("{}  {verdict:<5}  {result}{}", r.push_id, r.why));
            }
            out.line(format!("{same} of {} decisions replay byte for byte", replayed.len()));
            if same < replayed.len() {
                out.line(
                    "  = help: a decision made by another version of lychgate may differ; replay it with that version",
                );
            }
        }
    }
    Ok(if same == replayed.len() {
        Outcome::Yes
    } else {
        Outcome::No
    })
}

fn records(ledger: &Ledger, push_ids: &[String]) -> Result<Vec<DecisionRecord>, CommandError> {
    if push_ids.is_empty() {
        return Ok(ledger.wait(ledger.store.decisions(u32::MAX))?);
    }
    let record = |id: &String| {
        ledger.wait(ledger.store.decision(id))?.ok_or_else(|| {
            let what = format!("no decision on a push {id} is stored");
            CommandError::usage("unknown-push", what, "replay all: lychgate log replay --all")
        })
    };
    push_ids.iter().map(record).collect()
}

fn replay(record: &DecisionRecord) -> Replayed {
    let (same, why) = match decision::replay(&record.policy, &record.facts) {
        Ok(bytes) if bytes == record.decision => (true, String::new()),
        Ok(bytes) => {
            let at = bytes.iter().zip(&record.decision).take_while(|(a, b)| a == b).count();
            (false, format!(": from byte {at} on"))
        }
        Err(why) => (false, format!(": {why}")),
    };
    Replayed {
        push_id: record.push_id.clone(),
        allowed: record.allowed,
        same,
        why,
    }
}
