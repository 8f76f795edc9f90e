//! The texts that a change shows at its forge: status, check run, sticky comment. Pure.
//!
//! In scope: Markdown for a tired developer: what, where, why, and commands to
//! copy for this change. Out of scope: sending it (`forge` adapters). All that a
//! pusher chose stands in code spans, where no Markdown, mention or HTML works; of
//! a secret only its place, rule and keyed fingerprint.

use crate::decision::hex;
use crate::finding::Finding;
use crate::forge::{Annotation, Change, CheckState, Display};
use crate::push::{Oid, Timestamp};
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

/// The verdict.
///
/// * `findings`: all of the evaluation, sorted.
/// * `merge_base`: the last commit that stays when the change is made anew.
/// * `commits`: how many were judged.
pub fn verdict(frame: Frame<'_>, findings: &[Finding], merge_base: Option<Oid>, commits: usize) -> Display {
    let denying: Vec<&Finding> = findings.iter().filter(|finding| finding.denies).collect();
    if denying.is_empty() {
        return allowed(frame, findings, commits);
    }
    let title = format!(
        "{}; may not enter {}",
        count(denying.len(), "finding"),
        frame.change.base.short()
    );
    let mut text = format!(
        "**{} in {} of this change**, so it may not enter {}.\n\n",
        count(denying.len(), "finding"),
        count(commits, "commit"),
        code(frame.change.base.short())
    );
    text.push_str(&table(&denying));
    text.push_str(&remedies(&denying, merge_base));
    text.push_str("After a push this is checked again by itself. To ask for it: comment `/lychgate recheck`.\n\n");
    text.push_str(&frame.foot());
    let mut display = frame.display(CheckState::Failure, &title, text.clone());
    display.annotations = findings.iter().filter_map(annotation).take(MOST_ANNOTATIONS).collect();
    display.comment = Some(bounded(format!(
        "### Lychgate: this change may not enter yet\n\n{text}"
    )));
    display
}

fn allowed(frame: Frame<'_>, findings: &[Finding], commits: usize) -> Display {
    let title = format!("May enter {}", frame.change.base.short());
    let mut text = format!("{} judged, nothing found that denies.\n\n", count(commits, "commit"));
    if !findings.is_empty() {
        text.push_str("Advice:\n\n");
        text.push_str(&table(&findings.iter().collect::<Vec<_>>()));
    }
    text.push_str(&frame.foot());
    let mut display = frame.display(CheckState::Success, &title, text);
    display.annotations = findings.iter().filter_map(annotation).take(MOST_ANNOTATIONS).collect();
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

/// The answer to a command that we do not know.
pub fn unknown_command() -> &'static str {
    "Lychgate knows this command: `/lychgate recheck` judges the newest commit again."
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

fn place(finding: &Finding) -> String {
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
fn adapted(finding: &Finding, merge_base: Option<Oid>) -> Vec<String> {
    const RECHECK: &str = "# then comment on this change: /lychgate recheck";
    let unrelated = merge_base.is_none() && finding.code == "non-fast-forward";
    if unrelated {
        return vec!["# it shares no history with the base: start again from a clone of this repository".to_owned()];
    }
    let elsewhere = MENDED_ELSEWHERE.contains(&finding.code.as_ref());
    let adapt = |line: &String| match line.as_str() {
        "# then push again, nothing need be rewritten:" if elsewhere => None,
        "git push" if elsewhere => Some(RECHECK.to_owned()),
        line if line == "git push" || line.ends_with("&& git push") => Some(format!("{line} --force-with-lease")),
        line => Some(line.to_owned()),
    };
    finding.remedy.iter().filter_map(adapt).collect()
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
