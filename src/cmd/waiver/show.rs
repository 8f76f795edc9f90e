//! What `lychgate waiver` prints.

use crate::cmd::output::{Format, Output};
use crate::config::WaiverPolicy;
use crate::push::Timestamp;
use crate::waiver::{Standing, Waiver};
use serde_json::{Value, json};

/// Says what became of an order.
///
/// * `new`: whether anything was recorded.
pub(super) fn told(
    policy: &WaiverPolicy,
    waivers: &[Waiver],
    new: bool,
    now: Timestamp,
    format: Format,
    out: &mut Output,
) {
    if format == Format::Json {
        let result = if new { "recorded" } else { "already" };
        let list: Vec<Value> = waivers.iter().map(|it| document(policy, it, now)).collect();
        out.line(json!({ "result": result, "waivers": list }));
        return;
    }
    if !new {
        out.line("already so, nothing recorded:");
    }
    for waiver in waivers {
        out.line(line(policy, waiver, now));
        match waiver.standing(policy, now) {
            Standing::Asked(missing) => {
                let who = names(policy, waiver.ask.break_glass);
                let another = if waiver.approvals.is_empty() { "" } else { "other " };
                out.line(format!(
                    "  = next: {missing} {another}approver ({who}): lychgate waiver grant {} --approver NAME",
                    waiver.id
                ));
            }
            Standing::Active => out.line("  = next: push the same again; it enters, and its attestation says how"),
            _ => {}
        }
    }
}

/// Lists waivers.
pub(super) fn list(policy: &WaiverPolicy, waivers: &[&Waiver], now: Timestamp, format: Format, out: &mut Output) {
    if format == Format::Json {
        let list: Vec<Value> = waivers.iter().map(|it| document(policy, it, now)).collect();
        out.line(json!({ "waivers": list }));
        return;
    }
    for waiver in waivers {
        out.line(line(policy, waiver, now));
    }
    if waivers.is_empty() {
        out.line("no waivers");
    }
}

/// Whether a list shows a waiver of this standing.
pub(super) fn is_listed(standing: &Standing, active: bool, all: bool) -> bool {
    match standing {
        Standing::Active => true,
        Standing::Asked(_) | Standing::Refused(_) => !active,
        Standing::Expired | Standing::Revoked => all,
    }
}

fn line(policy: &WaiverPolicy, waiver: &Waiver, now: Timestamp) -> String {
    let ask = &waiver.ask;
    let kind = if ask.break_glass { " (break-glass)" } else { "" };
    let by = if waiver.approvals.is_empty() {
        String::new()
    } else {
        format!(", approved by {}", waiver.approvers())
    };
    let why = match waiver.standing(policy, now) {
        Standing::Refused(refusal) => format!(": {refusal}"),
        Standing::Revoked => waiver
            .revoked
            .as_ref()
            .map_or(String::new(), |(by, why)| format!("; ended by {by}: {why}")),
        _ => String::new(),
    };
    let text = format!(
        "{}  {}{kind}  {} of {} {}, until {}, for {}{by}: {}{why}",
        waiver.id,
        waiver.standing(policy, now).word(),
        ask.code,
        ask.target.kind(),
        ask.target.value(),
        ask.expires,
        ask.requester,
        ask.reason
    );
    // Names and reasons come from people: nothing of them moves a terminal's cursor.
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn names(policy: &WaiverPolicy, break_glass: bool) -> String {
    match policy.list(break_glass) {
        [only] if only == "*" => "any account".to_owned(),
        list => list.join(", "),
    }
}

fn document(policy: &WaiverPolicy, waiver: &Waiver, now: Timestamp) -> Value {
    let standing = waiver.standing(policy, now);
    let ask = &waiver.ask;
    let approvals: Vec<Value> = waiver
        .approvals
        .iter()
        .map(|it| json!({ "by": it.by, "at": it.at }))
        .collect();
    json!({
        "id": waiver.id,
        "standing": standing.word(),
        "code": ask.code,
        "target": { "kind": ask.target.kind(), "value": ask.target.value() },
        "repository": ask.repository,
        "reason": ask.reason,
        "requester": ask.requester,
        "authors": ask.authors,
        "break_glass": ask.break_glass,
        "created": ask.created,
        "expires": ask.expires,
        "approvals": approvals,
        "revoked": waiver.revoked.as_ref().map(|(by, reason)| json!({ "by": by, "reason": reason })),
        "records": waiver.records,
    })
}
