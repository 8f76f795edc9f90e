//! Why a rule finds something in a text, or does not: each piece of evidence and what it comes to.
//!
//! For people who write rules or doubt a finding. Nothing here repeats the
//! secret. Out of scope: decoded and packed texts, overlaps of rules (`Scanner`).

use super::context::Found;
use super::rules::{Entry, RuleSet};
use super::{engine, evidence};
use crate::finding::Confidence;
use regex_automata::Input;
use std::ops::Range;

/// Most places that are explained.
pub const MAX_PLACES: usize = 100;

/// One place where a rule's expression matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Where the whole match stands, in bytes.
    pub matched: Range<usize>,
    /// Where the secret stands in it.
    pub secret: Range<usize>,
    /// What was looked at and what it says, one line each, in the order in which it counts.
    pub evidence: Vec<String>,
    /// What it comes to; `None`: no finding.
    pub confidence: Option<Confidence>,
}

/// All places of `text` where the expression of the rule called `id` matches, at most [`MAX_PLACES`].
///
/// `None` if the set has no rule of that name. Searches the text whole, not
/// only near keywords, so that a match without one is shown as well.
pub fn explain(rules: &RuleSet, id: &str, text: &[u8]) -> Option<Vec<Explanation>> {
    let entry = rules.entries().iter().find(|entry| entry.id == id)?;
    let Some(expression) = entry.expression().and_then(|expression| expression.whole()) else {
        return Some(Vec::new());
    };
    let mut captures = expression.regex.create_captures();
    let (mut places, mut at) = (Vec::new(), 0);
    while at < text.len() && places.len() < MAX_PLACES {
        expression
            .regex
            .search_captures(&Input::new(text).range(at..), &mut captures);
        let Some(whole) = captures.get_match() else {
            break;
        };
        let secret = captures
            .get_group(expression.group)
            .map_or(whole.range(), |group| group.start..group.end);
        let found = Found {
            text,
            whole: whole.range(),
            secret: secret.clone(),
        };
        places.push(Explanation {
            matched: whole.range(),
            evidence: evidence::account(entry, &found),
            confidence: evidence::judge(entry, &found).map(|verdict| verdict.confidence),
            secret,
        });
        at = whole.end().max(at + 1);
    }
    nearby(rules, entry, text, &mut places);
    Some(places)
}

/// Adds to each place of a composite rule whether a rule that it names matches near by.
fn nearby(rules: &RuleSet, entry: &Entry, text: &[u8], places: &mut [Explanation]) {
    if entry.near.is_empty() {
        return;
    }
    let named: Vec<&str> = entry
        .near
        .iter()
        .map(|rule| &*rules.entries()[usize::from(*rule)].id)
        .collect();
    let found = named.iter().filter_map(|id| explain(rules, id, text)).flatten();
    let mut starts: Vec<usize> = found
        .filter(|place| place.confidence.is_some())
        .map(|place| place.secret.start)
        .collect();
    starts.sort_unstable();
    let (names, lines) = (named.join(" or "), entry.within);
    for place in places {
        if engine::is_near(text, place.secret.start, &starts, lines) {
            place.evidence.push(format!("near it, within {lines} lines: {names}"));
        } else {
            place.evidence.push(format!("alone: no {names} within {lines} lines"));
            place.confidence = None;
        }
    }
}
