//! Names of refs in which a secret matched: what is said about the push does not repeat it.
//!
//! In scope: every text of a finding, and the name as a report shows it. Out of scope: the facts, which keep
//! the names as Git has them, since a decision is replayed from them.

use crate::facts::{Fact, Facts};
use crate::finding::{Finding, Place};
use crate::push::RefName;
use std::collections::BTreeMap;
use std::ops::Range;

/// What stands for a secret: allowed in a ref name, and no word of a shell command that would run.
pub const MASK: &str = "(hidden)";

/// The secrets in the names of one push's refs.
#[derive(Debug, Default)]
pub struct Hidden {
    /// Longest first, so that none is cut by another.
    secrets: Vec<String>,
}

impl Hidden {
    /// Collects them from the matches whose place is a ref's name.
    pub fn of(facts: &Facts) -> Self {
        let Fact::Known(scan) = &facts.scan else {
            return Self::default();
        };
        let mut spans: BTreeMap<&RefName, Vec<Range<usize>>> = BTreeMap::new();
        for secret in &scan.secrets {
            if let (Some(name), Some(span)) = (in_name(&secret.place), secret.place.span) {
                let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                spans.entry(name).or_default().push(bound(span.start)..bound(span.end));
            }
        }
        let mut secrets: Vec<String> = spans.into_iter().flat_map(|(name, spans)| cut(name, spans)).collect();
        secrets.sort_by(|a, b| (b.len(), a).cmp(&(a.len(), b)));
        secrets.dedup();
        Self { secrets }
    }

    /// The text without the secrets.
    pub fn text(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| {
            // As a command quotes it, too.
            text.replace(secret.as_str(), MASK)
                .replace(&secret.replace('\'', "'\\''"), MASK)
        })
    }

    /// Takes the secrets out of all that a finding says.
    pub(super) fn apply(&self, finding: &mut Finding) {
        if self.secrets.is_empty() {
            return;
        }
        finding.message = self.text(&finding.message);
        finding.remedy = finding.remedy.iter().map(|line| self.text(line)).collect();
        let place = &mut finding.place;
        place.path = place.path.as_deref().map(|path| self.text(path));
        place.ref_name = place
            .ref_name
            .as_ref()
            .and_then(|name| self.text(name.as_str()).parse().ok());
    }
}

/// The ref whose name a place is; `None` for a place in an object.
pub(super) fn in_name(place: &Place) -> Option<&RefName> {
    let name = place.ref_name.as_ref()?;
    (place.object.is_none() && place.commit.is_none()).then_some(name)
}

/// The parts of a name that the spans cover, those that touch as one.
fn cut(name: &RefName, mut spans: Vec<Range<usize>>) -> Vec<String> {
    spans.sort_by_key(|span| span.start);
    let mut joined: Vec<Range<usize>> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => joined.push(span),
        }
    }
    let name = name.as_str();
    // A span that does not fit hides the whole name: rather too much than a part of a secret.
    let part = |span: Range<usize>| name.get(span).filter(|part| !part.is_empty()).unwrap_or(name);
    joined.into_iter().map(|span| part(span).to_owned()).collect()
}
