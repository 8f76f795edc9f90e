//! Check runs and commit statuses of one evaluated head.
//!
//! In scope: one run an evaluation, found again by its `external_id`;
//! annotations in batches, continued after a lost answer; the limits of the
//! API. Out of scope: whether the head is still the head (the caller looks).
//!
//! <https://docs.github.com/en/rest/checks/runs>

use super::action;
use super::session::AsInstallation;
use super::wire::{CheckRun, CheckRuns, InstallationRef as Created, Status};
use crate::forge::{Annotation, CheckState, Display};
use crate::forges::client::{Call, Session};
use crate::forges::fault::refused;
use crate::forges::path;
use crate::forges::text::{NAME, clipped};
use crate::port::ForgeError;
use http::Method;
use serde_json::{Value, json};

/// Annotations that one request may carry.
const BATCH: usize = 50;
/// The status's context. Not the check's name: whoever may push may set a status, but not our check.
const STATUS: &str = "lychgate/status";

/// Refuses what GitHub would take half: it looks a short id up, and shows it on another commit.
pub(super) fn assert_whole(display: &Display) -> Result<(), ForgeError> {
    match display.head.as_bytes().len() {
        20 if !display.head.is_zero() => Ok(()),
        _ => Err(refused(
            "head-not-whole",
            "GitHub takes 40 hex digits of a commit that exists",
        )),
    }
}

/// Makes the check run of this evaluation show what it shall.
pub(super) async fn show_run(session: &AsInstallation<'_>, app: u64, display: &Display) -> Result<(), ForgeError> {
    let at = path::repo(&display.repo)?;
    let runs = runs(session, &at, app, display).await?;
    // Only the newest counts: GitHub shows that one. An older run that says the same was overtaken, by a look that
    // began anew or by another verdict, and must be said again.
    let same = runs
        .first()
        .filter(|run| run.external_id.as_deref() == Some(&display.evaluation));
    if same.is_some_and(|run| shows(run, display)) {
        return Ok(());
    }
    let begun = same.map_or(0, |run| run.output.annotations_count.min(display.annotations.len()));
    let mut id = same.or_else(|| runs.iter().find(|run| is_blank(run))).map(|run| run.id);
    let rest = &display.annotations[begun..];
    let batches = rest.len().div_ceil(BATCH).max(1);
    for number in 0..batches {
        let batch = &rest[(number * BATCH).min(rest.len())..((number + 1) * BATCH).min(rest.len())];
        let body = run_body(display, batch, number + 1 == batches);
        let call = match id {
            None => Call::write(Method::POST, format!("/repos/{at}/check-runs"), created(body, display)),
            Some(id) => Call::write(Method::PATCH, format!("/repos/{at}/check-runs/{id}"), body),
        };
        let answer = session.send(&call).await?;
        if id.is_none() {
            id = Some(answer.json::<Created>()?.id);
        }
    }
    Ok(())
}

/// Our runs of that head, newest first.
async fn runs(
    session: &AsInstallation<'_>,
    at: &str,
    app: u64,
    display: &Display,
) -> Result<Vec<CheckRun>, ForgeError> {
    let query = format!("check_name={NAME}&app_id={app}&filter=all&per_page=100");
    let mut all = Vec::new();
    let path = format!("/repos/{at}/commits/{}/check-runs?{query}", display.head);
    session
        .pages(&path, |page: CheckRuns| {
            all.extend(page.check_runs);
            true
        })
        .await?;
    all.sort_by_key(|run| std::cmp::Reverse(run.id));
    Ok(all)
}

/// Whether an earlier evaluation's run is still under way and empty: this one takes it over. A finished one stays
/// as it is, since its annotations cannot be taken back.
fn is_blank(run: &CheckRun) -> bool {
    run.status != "completed" && run.output.annotations_count == 0
}

fn shows(run: &CheckRun, display: &Display) -> bool {
    let ended = conclusion(display.state);
    let as_wanted = match ended {
        None => run.status == "in_progress",
        Some(_) => run.status == "completed",
    };
    as_wanted
        && run.conclusion.as_deref() == ended
        && run.output.annotations_count >= display.annotations.len()
        && run.output.title.as_deref() == Some(&title(display))
        && run.output.summary.as_deref().map(str::trim_end) == Some(summary(display).trim_end())
}

/// `None`: not completed. An outage is neither success nor failure, and lets nothing merge.
fn conclusion(state: CheckState) -> Option<&'static str> {
    match state {
        CheckState::Pending => None,
        CheckState::Success => Some("success"),
        CheckState::Neutral => Some("neutral"),
        CheckState::Failure => Some("failure"),
        CheckState::Error => Some("cancelled"),
    }
}

fn title(display: &Display) -> String {
    clipped(&display.title, 255)
}

fn summary(display: &Display) -> String {
    clipped(&display.summary, 65_535)
}

/// A run's body; it is completed with the last batch only, so that no verdict stands without its reasons.
fn run_body(display: &Display, batch: &[Annotation], last: bool) -> Value {
    let mut body = json!({
        "name": NAME,
        "external_id": display.evaluation,
        "output": {
            "title": title(display),
            "summary": summary(display),
            "annotations": batch.iter().map(annotation).collect::<Vec<_>>(),
        },
    });
    match conclusion(display.state).filter(|_| last) {
        None => body["status"] = json!("in_progress"),
        Some(conclusion) => {
            body["status"] = json!("completed");
            body["conclusion"] = json!(conclusion);
            body["completed_at"] = json!(display.at.to_string());
            body["actions"] = actions(display.state);
        }
    }
    body
}

/// The commit can be named at creation only.
fn created(mut body: Value, display: &Display) -> Value {
    body["head_sha"] = json!(display.head.to_string());
    body
}

fn annotation(note: &Annotation) -> Value {
    let start = note.start_line.max(1);
    json!({
        "path": note.path,
        "start_line": start,
        "end_line": note.end_line.max(start),
        "annotation_level": if note.denies { "failure" } else { "warning" },
        "title": clipped(&note.title, 255),
        "message": clipped(&note.message, 16_000),
    })
}

/// At most three, labels at most 20 characters, descriptions at most 40.
fn actions(state: CheckState) -> Value {
    let recheck = json!({
        "label": "Re-check",
        "description": "Evaluate this commit again",
        "identifier": action::RECHECK,
    });
    match state {
        CheckState::Failure => json!([
            recheck,
            {
                "label": "Request waiver",
                "description": "Ask an approver to let this in",
                "identifier": action::WAIVER,
            },
            {
                "label": "Not a secret",
                "description": "Ask an approver to call it harmless",
                "identifier": action::NOT_A_SECRET,
            },
        ]),
        _ => json!([recheck]),
    }
}

/// Makes the commit status say what it shall; writes nothing if it does already.
///
/// <https://docs.github.com/en/rest/commits/statuses>
pub(super) async fn show_status(session: &AsInstallation<'_>, display: &Display) -> Result<(), ForgeError> {
    let at = path::repo(&display.repo)?;
    let state = match display.state {
        CheckState::Pending => "pending",
        CheckState::Success | CheckState::Neutral => "success",
        CheckState::Failure => "failure",
        CheckState::Error => "error",
    };
    let description = clipped(&display.title, 140);
    let mut latest: Option<Status> = None;
    let path = format!("/repos/{at}/commits/{}/statuses?per_page=100", display.head);
    session
        .pages(&path, |page: Vec<Status>| {
            latest = page.into_iter().find(|status| status.context == STATUS);
            latest.is_none()
        })
        .await?;
    if latest.is_some_and(|now| now.state == state && now.description.as_deref() == Some(&description)) {
        return Ok(());
    }
    let body = json!({ "state": state, "context": STATUS, "description": description });
    let call = Call::write(Method::POST, format!("/repos/{at}/statuses/{}", display.head), body);
    session.send(&call).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buttons_fit() {
        for state in [CheckState::Success, CheckState::Failure, CheckState::Error] {
            let actions = actions(state);
            let actions = actions.as_array().unwrap();
            assert!(!actions.is_empty() && actions.len() <= 3);
            for (field, most) in [("label", 20), ("description", 40), ("identifier", 20)] {
                let length = |action: &Value| action[field].as_str().unwrap().chars().count();
                assert!(
                    actions.iter().all(|action| (1..=most).contains(&length(action))),
                    "{actions:?}"
                );
            }
        }
    }
}
