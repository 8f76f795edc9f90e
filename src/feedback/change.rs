//! The texts that a change shows at its forge: status, check run, sticky comment. Pure.
//!
//! In scope: Markdown for a tired developer: what, where, why, and commands to
//! copy for this change. Out of scope: sending it (`forge` adapters). All that a
//! pusher chose stands in code spans, where no Markdown, mention or HTML works; of
//! a secret only its place, rule and keyed fingerprint.

use super::answer;
use crate::config::WaiverPolicy;
use crate::decision::hex;
use crate::finding::{Cause, Finding};
use crate::forge::{Annotation, Answer, Change, CheckState, Display};
use crate::push::{Oid, Timestamp};
use crate::waiver::{self, Standing, Waiver};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Most rows of the table; the others are counted.
const MOST_ROWS: usize = 50;
/// Most remedies that are written out; one mends many findings.
const MOST_REMEDIES: usize = 10;
/// Most annotations.
const MOST_ANNOTATIONS: usize = 200;
/// Most characters of a summary or comment: below every forge's bound, with room for the adapter's marker.
const MOST_TEXT: usize = 60_000;
/// Codes that a key's owner or an administrator mends without a new commit.
const MENDED_ELSEWHERE: [&str; 3] = ["unknown-key", "key-expired", "untrusted-key"];

/// What every display says about itself.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The change; number 0 stands for a merge-queue head.
    pub change: &'a Change,
    /// The evaluation's id.
    pub evaluation: &'a str,
    /// The first digits of the policy's digest.
    pub policy: &'a str,
    /// When.
    pub at: Timestamp,
}

impl Frame<'_> {
    pub(super) fn display(&self, state: CheckState, title: &str, summary: String) -> Display {
        let number = self.change.number;
        Display {
            repo: self.change.repo.clone(),
            number: (number != 0).then_some(number),
            head: self.change.head_oid,
            evaluation: self.evaluation.to_owned(),
            state,
            title: title.chars().take(140).collect(),
            summary: bounded(summary),
            annotations: Vec::new(),
            comment: None,
            answers: Vec::new(),
            at: self.at,
        }
    }

    pub(super) fn foot(&self) -> String {
        let head = self.change.head_oid.short();
        format!("<sub>Commit {head}, policy {}, {}.</sub>\n", self.policy, self.at)
    }
}

/// Under evaluation.
pub fn pending(frame: Frame<'_>) -> Display {
    let summary = format!("Lychgate is looking at commit {}.\n", frame.change.head_oid.short());
    frame.display(CheckState::Pending, "Being checked", summary)
}

/// We failed: no verdict.
pub fn unable(frame: Frame<'_>, code: &str) -> Display {
    let summary = format!(
        "Lychgate could not look at this change: `{}`. **This says nothing about your work**, which was not judged. \
         It is tried again by itself; if this stays, tell your administrator the code.\n\n{}",
        span(code),
        frame.foot()
    );
    frame.display(CheckState::Error, "Could not be checked; this is no verdict", summary)
}

/// What was seen of a change.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// All findings of the evaluation, sorted.
    pub findings: &'a [Finding],
    /// The last commit that stays when the change is made anew.
    pub merge_base: Option<Oid>,
    /// How many commits were judged.
    pub commits: usize,
    /// The waivers that are about the findings.
    pub waivers: &'a [Waiver],
    /// What holds for waivers; `None`: there is no ledger to record one in.
    pub policy: Option<&'a WaiverPolicy>,
    /// Answers to commands, the newest last.
    pub answers: &'a [Answer],
}

/// The verdict.
pub fn verdict(frame: Frame<'_>, seen: &Seen<'_>) -> Display {
    let denying: Vec<&Finding> = seen.findings.iter().filter(|finding| finding.denies).collect();
    let mut display = match denying.is_empty() {
        true => allowed(frame, seen),
        false => denied(frame, seen, &denying),
    };
    let annotations = seen.findings.iter().filter_map(annotation);
    display.annotations = annotations.take(MOST_ANNOTATIONS).collect();
    display.answers = seen.answers.to_vec();
    display
}

fn denied(frame: Frame<'_>, seen: &Seen<'_>, denying: &[&Finding]) -> Display {
    let title = format!(
        "{}; may not enter {}",
        count(denying.len(), "finding"),
        frame.change.base.short()
    );
    let mut text = format!(
        "**{} in {} of this change**, so it may not enter {}.\n\n",
        count(denying.len(), "finding"),
        count(seen.commits, "commit"),
        code(frame.change.base.short())
    );
    text.push_str(&table(denying));
    text.push_str(&remedies(denying, seen.merge_base));
    text.push_str("After a push this is checked again by itself. To ask for it: comment `/lychgate recheck`.\n\n");
    text.push_str(&how_to_ask(frame, seen, denying));
    text.push_str(&waiting(frame, seen));
    text.push_str(&frame.foot());
    let mut display = frame.display(CheckState::Failure, &title, text.clone());
    display.comment = Some(bounded(format!(
        "### Lychgate: this change may not enter yet\n\n{text}\n{}",
        answer::section(seen.answers)
    )));
    display
}

fn allowed(frame: Frame<'_>, seen: &Seen<'_>) -> Display {
    let (waived, advice): (Vec<&Finding>, Vec<&Finding>) =
        seen.findings.iter().partition(|finding| finding.waiver.is_some());
    let under = match waived.len() {
        0 => String::new(),
        many => format!(", {} waived", count(many, "finding")),
    };
    let title = format!("May enter {}{under}", frame.change.base.short());
    let judged = count(seen.commits, "commit");
    let mut text = format!("{judged} judged, nothing found that denies{under}.\n\n");
    for (head, findings) in [("Waived, and not vouched for later:", &waived), ("Advice:", &advice)] {
        if !findings.is_empty() {
            let _ = write!(text, "{head}\n\n{}", table(findings));
        }
    }
    text.push_str(&frame.foot());
    let mut display = frame.display(CheckState::Success, &title, text.clone());
    // A waiver is seen by all who see the change, and whoever asked something gets the answer.
    if !waived.is_empty() || !seen.answers.is_empty() {
        let answers = answer::section(seen.answers);
        display.comment = Some(bounded(format!(
            "### Lychgate: this change may enter\n\n{text}\n{answers}"
        )));
    }
    display
}

/// The annotations of a display as SARIF 2.1.0, one line.
pub fn sarif(display: &Display) -> String {
    let rules: BTreeSet<&str> = display.annotations.iter().map(|note| note.title.as_str()).collect();
    let result = |note: &Annotation| {
        let about = format!("{} {} {}", note.title, note.path, note.message);
        serde_json::json!({
            "ruleId": note.title,
            "level": if note.denies { "error" } else { "warning" },
            "message": { "text": note.message },
            "partialFingerprints": { "lychgate/v1": hex(&Sha256::digest(about)) },
            "locations": [{ "physicalLocation": {
                "artifactLocation": { "uri": encoded(&note.path) },
                "region": { "startLine": note.start_line.max(1), "endLine": note.end_line.max(note.start_line).max(1) },
            }}],
        })
    };
    let rule = |id: &&str| serde_json::json!({ "id": id, "shortDescription": { "text": id } });
    let log = serde_json::json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "Lychgate",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(rule).collect::<Vec<_>>(),
            }},
            "results": display.annotations.iter().map(result).collect::<Vec<_>>(),
        }],
    });
    log.to_string()
}

/// A path as the path of a URI.
fn encoded(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    let one = |b: u8| {
        if plain(b) {
            char::from(b).to_string()
        } else {
            format!("%{b:02X}")
        }
    };
    path.bytes().map(one).collect()
}

/// A display in report-only mode: what would be refused is told, and holds nothing up.
pub fn only_told(display: Display) -> Display {
    const NOTE: &str = "> **Report only:** nothing is held up yet; this **would have been refused**.\n\n";
    if display.state != CheckState::Failure {
        return display;
    }
    Display {
        state: CheckState::Neutral,
        title: format!("Would have been refused: {}", display.title)
            .chars()
            .take(140)
            .collect(),
        summary: bounded(format!("{NOTE}{}", display.summary)),
        annotations: display
            .annotations
            .into_iter()
            .map(|note| Annotation { denies: false, ..note })
            .collect(),
        comment: display.comment.map(|text| bounded(format!("{NOTE}{text}"))),
        ..display
    }
}

/// How to ask for a waiver, where one could let the change in.
fn how_to_ask(frame: Frame<'_>, seen: &Seen<'_>, denying: &[&Finding]) -> String {
    let Some(policy) = seen.policy else {
        return String::new();
    };
    let ordinary = !policy.approvers.is_empty();
    if !ordinary && policy.break_glass.is_empty() {
        return String::new();
    }
    let may = |finding: &&&Finding| {
        let known = waiver::WAIVABLE.iter().any(|(code, _)| *code == finding.code);
        known && !policy.never.iter().any(|code| *code == finding.code) && finding.cause == Cause::Work
    };
    if !denying.iter().all(|finding| may(&finding)) {
        return String::new();
    }
    let mut codes: Vec<&str> = denying.iter().map(|finding| finding.code.as_ref()).collect();
    codes.dedup();
    let case = match codes.as_slice() {
        ["secret-found"] => "If it is no secret",
        _ => "If it cannot be mended",
    };
    let waits = |code: &&str| {
        let mut known = seen.waivers.iter().filter(|waiver| waiver.ask.code == *code);
        known.any(|waiver| matches!(waiver.standing(policy, frame.at), Standing::Asked(_)))
    };
    codes.retain(|code| !waits(code));
    if codes.is_empty() {
        return String::new();
    }
    let command = if ordinary { "waive" } else { "break-glass" };
    let lines: Vec<String> = codes
        .iter()
        .map(|code| format!("/lychgate {command} {code} {}", waiver::REASON_HERE))
        .collect();
    let names = answer::names(policy, !ordinary, &[&frame.change.author]);
    format!(
        "{case}, ask for a waiver by a comment; {names} may approve it, and nobody approves their own work:\n\n\
         ````\n{}\n````\n\n",
        lines.join("\n")
    )
}

/// The waivers that wait for an approver.
fn waiting(frame: Frame<'_>, seen: &Seen<'_>) -> String {
    let Some(policy) = seen.policy else {
        return String::new();
    };
    let mut text = String::new();
    for waiver in seen.waivers {
        if matches!(waiver.standing(policy, frame.at), Standing::Asked(_)) {
            let line = answer::standing(waiver, policy, &frame.change.author, frame.at);
            let _ = writeln!(text, "- {line}");
        }
    }
    match text.is_empty() {
        true => text,
        false => format!("Waivers that were asked for:\n\n{text}\n"),
    }
}

pub(super) fn table(findings: &[&Finding]) -> String {
    let mut text = "| what | where | why |\n| --- | --- | --- |\n".to_owned();
    for finding in findings.iter().take(MOST_ROWS) {
        let why = finding
            .required_by
            .as_ref()
            .map_or(String::new(), |line| code(&format!("{}:{}", line.file, line.line)));
        let _ = writeln!(
            text,
            "| **{}** {} | {} | {why} |",
            finding.code,
            code(&finding.message),
            place(finding)
        );
    }
    if findings.len() > MOST_ROWS {
        let _ = writeln!(text, "\n… and {}.", count(findings.len() - MOST_ROWS, "more finding"));
    }
    text.push('\n');
    text
}

pub(super) fn place(finding: &Finding) -> String {
    let place = &finding.place;
    let commit = place.commit.map(|oid| oid.short());
    let line = place.span.map_or(String::new(), |span| format!(":{}", span.start_line));
    let path = place.path.as_ref().map(|path| code(&format!("{path}{line}")));
    let fingerprint = finding
        .fingerprint
        .as_ref()
        .map(|print| format!("fingerprint {}", code(print)));
    [path, commit, fingerprint]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

/// Each different remedy once, as commands for a clone that has this change checked out.
fn remedies(findings: &[&Finding], merge_base: Option<Oid>) -> String {
    let mut seen: Vec<(&str, Vec<String>)> = Vec::new();
    for finding in findings {
        let lines = adapted(finding, merge_base);
        if !lines.is_empty() && !seen.iter().any(|(_, known)| *known == lines) {
            seen.push((&finding.code, lines));
        }
    }
    let mut text = String::new();
    for (code, lines) in seen.iter().take(MOST_REMEDIES) {
        let _ = writeln!(
            text,
            "To mend **{code}**, in a clone with this change checked out:\n\n````sh"
        );
        lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        text.push_str("````\n\n");
    }
    text
}

/// The hook's remedy as it must read for a change: its branch was pushed already, so what is made anew is pushed
/// with a lease; and what needs no new commit needs a new look.
pub(super) fn adapted(finding: &Finding, merge_base: Option<Oid>) -> Vec<String> {
    const RECHECK: &str = "# then comment on this change: /lychgate recheck";
    let unrelated = merge_base.is_none() && finding.code == "non-fast-forward";
    if unrelated {
        return vec!["# it shares no history with the base: start again from a clone of this repository".to_owned()];
    }
    let elsewhere = MENDED_ELSEWHERE.contains(&finding.code.as_ref());
    let mut optional = false;
    let mut lines = Vec::new();
    for line in &finding.remedy {
        // The block is copied as a whole: of two ways only the first runs, and what only some need does not.
        if line.starts_with('#') {
            optional = line.starts_with("# or, ") || line.starts_with("# if ");
        }
        let pushes = line == "git push" || line.ends_with("&& git push");
        lines.push(match line.as_str() {
            "# then push again, nothing need be rewritten:" if elsewhere => continue,
            "git push" if elsewhere => RECHECK.to_owned(),
            line if elsewhere => line.replace(", then push again:", ":"),
            line if optional && !line.starts_with('#') => match pushes {
                true => format!("# {line} --force-with-lease"),
                false => format!("# {line}"),
            },
            line if pushes => format!("{line} --force-with-lease"),
            line => line.to_owned(),
        });
    }
    lines
}

fn annotation(finding: &Finding) -> Option<Annotation> {
    let path = finding.place.path.clone()?;
    let (start_line, end_line) = finding
        .place
        .span
        .map_or((1, 1), |span| (span.start_line, span.end_line));
    let commit = finding
        .place
        .commit
        .map_or(String::new(), |oid| format!(" (commit {})", oid.short()));
    Some(Annotation {
        path,
        start_line,
        end_line: end_line.max(start_line),
        title: finding.code.chars().take(255).collect(),
        message: format!("{}{commit}", finding.message),
        denies: finding.denies,
    })
}

/// A code span in which nothing of the text works.
pub(super) fn code(text: &str) -> String {
    format!("`{}`", span(text))
}

/// Text for inside a code span, also in a table.
pub(super) fn span(text: &str) -> String {
    let safe = |c: char| match c {
        '`' => '\'',
        '|' => '\u{a6}',
        c if c.is_control() => ' ',
        // What turns the direction of writing would show another text than the one that is there.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => '?',
        c => c,
    };
    let text: String = text.chars().take(300).map(safe).collect();
    if text.trim().is_empty() { "-".to_owned() } else { text }
}

fn bounded(mut text: String) -> String {
    if text.len() > MOST_TEXT {
        text.truncate(text.floor_char_boundary(MOST_TEXT));
        text.push_str("\n````\n… cut here: too long to show.\n");
    }
    text
}

pub(super) fn count(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}
