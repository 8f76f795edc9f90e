//! `scan --audit`: asks a person about each distinct secret.
//!
//! Real: it stays a finding until it is revoked and gone. False: accepted for
//! a year, with the reason that is given. Later: accepted for two weeks. The
//! end of the input ends the audit; what was answered before counts.

use super::super::output::Output;
use crate::report::{Item, Report};
use std::collections::HashSet;
use std::io::BufRead;

/// What makes the baseline accept it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    False,
    Later,
}

/// An answer that accepts.
pub(super) struct Answer {
    pub(super) fingerprint: String,
    pub(super) rule: String,
    pub(super) verdict: Verdict,
    pub(super) reason: String,
}

/// Asks about each distinct secret of a report.
pub(super) fn ask(report: &Report, input: &mut dyn BufRead, out: &mut Output) -> Vec<Answer> {
    let mut seen = HashSet::new();
    let distinct: Vec<(&Item, &String)> = report
        .findings
        .iter()
        .filter_map(|item| item.fingerprint.as_ref().map(|print| (item, print)))
        .filter(|(item, print)| seen.insert((&item.rule, *print)))
        .collect();
    let mut answers = Vec::new();
    for (at, (item, print)) in (1..).zip(&distinct) {
        out.note(format!("\n{at} of {}: {} [{}]", distinct.len(), item.title, item.rule));
        out.note(format!("  {}:{}:{}", item.path, item.start_line, item.start_column));
        out.note(format!("  {}", item.excerpt.as_deref().unwrap_or_default()));
        let answer = loop {
            out.note("  real, false or later? [r/f/l, q ends]");
            match line(input).as_deref() {
                None | Some("q") => return answers,
                Some("r" | "real") => break None,
                Some("f" | "false") => break Some(Verdict::False),
                Some("l" | "later") => break Some(Verdict::Later),
                Some(_) => {}
            }
        };
        let Some(verdict) = answer else {
            let how = item.revoke.as_deref().unwrap_or("where it was issued");
            out.note(format!("  revoke it: {how}"));
            continue;
        };
        let mut reason = String::new();
        if verdict == Verdict::False {
            out.note("  why is it none?");
            let Some(text) = line(input) else { return answers };
            reason = text;
        }
        answers.push(Answer {
            fingerprint: (*print).clone(),
            rule: item.rule.clone(),
            verdict,
            reason,
        });
    }
    answers
}

/// A line of the answerer's; none at the end.
fn line(input: &mut dyn BufRead) -> Option<String> {
    let mut text = String::new();
    match input.read_line(&mut text) {
        Ok(count) if count > 0 => Some(text.trim().to_owned()),
        _ => None,
    }
}
