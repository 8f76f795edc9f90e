//! The first report on a repository of a forge: what would be held up, and what is missing. Pure.
//!
//! In scope: Markdown for whoever installs the bot. Out of scope: gathering it (`pipeline::survey`).

use super::change::{code, count, span};
use crate::finding::Finding;
use crate::forge::guard::Drift;
use crate::push::RefName;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Most lines of one list.
const MOST: usize = 50;

/// Codes that deny, with how often.
pub type Codes = BTreeMap<String, usize>;

/// What was found about a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct FirstReport {
    /// Its name.
    pub repository: String,
    /// Permissions and events that we lack.
    pub missing: Vec<String>,
    /// Branches that the policy protects, with what the forge does not enforce; `None`: it does not tell us.
    pub branches: Vec<(RefName, Option<Vec<Drift>>)>,
    /// Patterns of tags that the policy protects, as branches.
    pub tags: Vec<(String, Option<Vec<Drift>>)>,
    /// The default branch, if the policy does not protect it.
    pub unprotected_default: Option<RefName>,
    /// Open changes: number, and the codes that would refuse it with how often, or why it was not judged.
    pub changes: Vec<(u64, Result<Codes, String>)>,
    /// Open changes that were not looked at, since there are so many.
    pub more_changes: usize,
    /// The default branch: commits judged, and the codes that would have refused them.
    pub history: Option<(RefName, usize, Codes)>,
}

/// How often each code denies.
pub fn denying(findings: &[Finding]) -> Codes {
    let mut codes = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.denies) {
        *codes.entry(finding.code.to_string()).or_default() += 1;
    }
    codes
}

impl FirstReport {
    /// Whether there is nothing to do.
    pub fn is_clean(&self) -> bool {
        let guarded = |drift: &Option<Vec<Drift>>| drift.as_ref().is_some_and(Vec::is_empty);
        let clean = |(_, judged): &(u64, Result<Codes, String>)| judged.as_ref().is_ok_and(Codes::is_empty);
        self.missing.is_empty()
            && self.unprotected_default.is_none()
            && self.branches.iter().all(|(_, drift)| guarded(drift))
            && self.tags.iter().all(|(_, drift)| guarded(drift))
            && self.changes.iter().all(clean)
            && self.history.as_ref().is_none_or(|(_, _, codes)| codes.is_empty())
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "### Lychgate: first report on {}\n\nNothing is held up by this report.\n\n",
            code(&self.repository)
        );
        self.missing(&mut text);
        self.branches(&mut text);
        self.changes(&mut text);
        self.history(&mut text);
        text
    }

    fn missing(&self, text: &mut String) {
        if self.missing.is_empty() {
            text.push_str("**Permissions and events:** complete.\n\n");
            return;
        }
        text.push_str("**Missing permissions and events** (grant them in the App's or account's settings):\n\n");
        list(text, self.missing.iter().map(|what| code(what)));
    }

    fn branches(&self, text: &mut String) {
        if let Some(name) = &self.unprotected_default {
            let _ = writeln!(
                text,
                "**Not protected by the policy:** the default branch {}. Add a `[[ref]]` for it.\n",
                code(name.as_str())
            );
        }
        let branches = self.branches.iter().map(|(name, drift)| (name.short(), drift));
        guarded(text, "Branches", branches);
        if !self.tags.is_empty() {
            let tags = self.tags.iter().map(|(pattern, drift)| (pattern.as_str(), drift));
            guarded(text, "Tags", tags);
        }
    }

    fn changes(&self, text: &mut String) {
        let refused = self
            .changes
            .iter()
            .filter(|(_, judged)| judged.as_ref().is_ok_and(|codes| !codes.is_empty()));
        let _ = writeln!(
            text,
            "**Open changes:** {} of {} would have been refused.\n",
            refused.count(),
            self.changes.len()
        );
        let lines = self.changes.iter().filter_map(|(number, judged)| match judged {
            Ok(codes) if codes.is_empty() => None,
            Ok(codes) => Some(format!("#{number}: {}", told(codes))),
            Err(why) => Some(format!("#{number}: not judged: {}", code(why))),
        });
        list(text, lines);
        if self.more_changes > 0 {
            let _ = writeln!(
                text,
                "{} not looked at here; each gets its verdict by itself.\n",
                count(self.more_changes, "more change")
            );
        }
    }

    fn history(&self, text: &mut String) {
        let Some((name, commits, codes)) = &self.history else {
            return;
        };
        let what = if codes.is_empty() {
            "nothing".to_owned()
        } else {
            told(codes)
        };
        let _ = writeln!(
            text,
            "**The newest {} of {}:** {what} would have been refused. What is there already stays; only what comes is judged.\n",
            count(*commits, "commit"),
            code(name.short())
        );
    }
}

/// Which of some branches or tags the forge guards, and which not.
fn guarded<'a>(text: &mut String, what: &str, all: impl ExactSizeIterator<Item = (&'a str, &'a Option<Vec<Drift>>)>) {
    let number = all.len();
    let lines = all.filter_map(|(name, drift)| match drift {
        None => Some(format!("{}: the forge does not tell us what it enforces", code(name))),
        Some(drift) if drift.is_empty() => None,
        Some(drift) => {
            let codes: Vec<&str> = drift.iter().map(|one| one.code()).collect();
            Some(format!("{}: {}", code(name), codes.join(", ")))
        }
    });
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        let told = match number {
            0 => "the policy protects none that there is.".to_owned(),
            1 => "the forge guards the one that the policy protects.".to_owned(),
            _ => format!("the forge guards all {number} that the policy protects."),
        };
        let _ = writeln!(text, "**{what}:** {told}\n");
        return;
    }
    let _ = writeln!(
        text,
        "**{what} that the forge does not guard as the policy wants** (mended by `lychgate forge apply`):\n"
    );
    list(text, lines.into_iter());
}

fn told(codes: &Codes) -> String {
    let one = |(code, times): (&String, &usize)| format!("{} × {}", times, span(code));
    codes.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn list(text: &mut String, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    for line in lines.iter().take(MOST) {
        let _ = writeln!(text, "- {line}");
    }
    if lines.len() > MOST {
        let _ = writeln!(text, "- … and {}", lines.len() - MOST);
    }
    if !lines.is_empty() {
        text.push('\n');
    }
}
