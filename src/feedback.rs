//! All text that a developer sees in git's terminal, built in one place. Pure.
//!
//! In scope: the words, their order, the bound of one screen, and ([`remedy`])
//! the commands that mend. Out of scope: what is found (`check`), reports for
//! administrators (`report`). Printable ASCII only, no colour, and of a secret
//! only its place, rule and keyed fingerprint: git's terminal is copied into
//! build logs, so not even the redacted line goes there.

#[cfg(feature = "bot")]
pub mod answer;
#[cfg(feature = "bot")]
pub mod change;
#[cfg(feature = "bot")]
pub mod landed;
#[cfg(feature = "bot")]
pub mod onboarding;
pub mod remedy;
mod waiver;
mod wrap;

use crate::config::WaiverPolicy;
use crate::decision::{Decision, Verdict};
use crate::finding::{Cause, Finding, Place, PolicyLine};
use crate::push::{Push, Server};
use wrap::{command, plain, words};

/// How much a terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most lines, the summary and the reference included; at least 8.
    pub lines: usize,
    /// Most columns of a line, the server's prefix included; at least 60.
    pub columns: usize,
}

impl Default for Limits {
    /// One screen: 40 lines of 100 columns.
    fn default() -> Self {
        Self {
            lines: 40,
            columns: 100,
        }
    }
}

/// Most advice that an accepted push shows: more would be skipped by the eye.
const MOST_ADVICE: usize = 5;
/// Most other commits that a group names.
const MOST_NAMED: usize = 3;

/// Tells a developer that the push was refused, why, and what mends it.
///
/// The summary stands first, the reference to the full report last, each
/// finding is a block between them, and the same finding at many commits is
/// one block. What does not fit is counted, never silently dropped.
///
/// * `findings`: those of the decision, in its order; advice among them is left out.
///
/// Ends with a newline.
pub fn refused(push: &Push, findings: &[Finding], limits: Limits) -> String {
    refusal(push, findings, None, limits)
}

fn refusal(push: &Push, findings: &[Finding], waivers: Option<&WaiverPolicy>, limits: Limits) -> String {
    let page = Page::new(Some(push.actor.server), limits);
    let denying: Vec<&Finding> = findings.iter().filter(|finding| finding.denies).collect();
    let (work, outages): (Vec<&Finding>, Vec<&Finding>) =
        denying.into_iter().partition(|finding| finding.cause == Cause::Work);
    let mut lines = page.words("", &summary(&work, &outages));
    let mut last = waivers.map_or(Vec::new(), |policy| waiver::lines(&page, push, findings, policy));
    last.extend(reference(push).into_iter().flat_map(|text| page.words("", &text)));
    let mut room = page.lines.saturating_sub(lines.len() + last.len());
    let outages = outage_blocks(&page, &group(&outages), &push.id, room);
    room = room.saturating_sub(outages.len());
    lines.extend(work_blocks(&page, &group(&work), room));
    lines.extend(outages);
    lines.extend(last);
    page.text(&lines)
}

/// Tells a developer what could be better about a push that was let in; empty if nothing could.
pub fn allowed(push: &Push, findings: &[Finding], limits: Limits) -> String {
    // No prefix: it would mark advice as an error.
    let page = Page::new(None, limits);
    let (waived, advice): (Vec<&Finding>, Vec<&Finding>) = findings
        .iter()
        .filter(|finding| !finding.denies)
        .partition(|finding| finding.waiver.is_some());
    let mut lines: Vec<String> = waived
        .iter()
        .flat_map(|finding| entered_under(&page, finding))
        .collect();
    lines = shortened(lines, page.lines.saturating_sub(2 * MOST_ADVICE));
    let groups = group(&advice);
    for group in groups.iter().take(MOST_ADVICE) {
        let place = place(&group.first.place).map_or(String::new(), |place| format!("{place}: "));
        let text = format!("advice[{}]: {place}{}", group.first.code, group.first.message);
        lines.push(page.cut(&text));
    }
    if groups.len() > MOST_ADVICE {
        let more = groups.len() - MOST_ADVICE;
        let rest = match push.id.as_str() {
            "" => String::new(),
            id => format!(": lychgate log show {id} (on the server)"),
        };
        lines.push(page.cut(&format!("and {more} more{rest}")));
    }
    page.text(&lines)
}

/// What entered under a waiver is always announced: to whoever pushes, and in whatever log keeps it.
fn entered_under(page: &Page, finding: &Finding) -> Vec<String> {
    let place = place(&finding.place).map_or(String::new(), |place| format!("{place}: "));
    let id = finding.waiver.as_deref().unwrap_or_default();
    let text = format!("waived[{}]: {place}{} (waiver {id})", finding.code, finding.message);
    page.words("", &text)
}

/// Tells a developer what was decided, and how to ask for a waiver of what was refused.
pub fn decided_here(push: &Push, decision: &Decision, waivers: &WaiverPolicy) -> String {
    match decision.verdict {
        Verdict::Allow => allowed(push, &decision.findings, Limits::default()),
        Verdict::Deny => refusal(push, &decision.findings, Some(waivers), Limits::default()),
    }
}

/// Tells a developer what was decided: [`refused`] or [`allowed`].
pub fn decided(push: &Push, decision: &Decision) -> String {
    match decision.verdict {
        Verdict::Allow => allowed(push, &decision.findings, Limits::default()),
        Verdict::Deny => refused(push, &decision.findings, Limits::default()),
    }
}

/// Tells a developer that the gate failed before it had a push to judge: an outage, never a verdict.
///
/// * `server`: if it is known yet.
/// * `code`: the outage's stable code.
/// * `what`: what failed and why, for an administrator, lines after the first as they are; no secret, no pushed text.
/// * `next`: the administrator's next step; may be empty.
pub fn could_not_decide(server: Option<Server>, code: &str, what: &str, next: &str, limits: Limits) -> String {
    let summary = "lychgate: push refused: the gate could not decide";
    let note = "this says nothing about your work; it was not judged";
    failure(&Page::new(server, limits), summary, note, (code, what, next))
}

/// Tells a developer that the push entered, and that what the gate does afterwards failed.
///
/// Arguments as for [`could_not_decide`].
pub fn could_not_finish(server: Option<Server>, code: &str, what: &str, next: &str, limits: Limits) -> String {
    let summary = "lychgate: the push entered; what follows it could not be done yet";
    let note = "nothing is lost, and nothing is left for you to do: the next push or command makes up for it";
    failure(&Page::new(server, limits), summary, note, (code, what, next))
}

/// Tells that a ref must not move so, where nobody pushed: someone moved it on the server.
///
/// Arguments as for [`could_not_decide`], but the code is a finding's.
pub fn vetoed(server: Option<Server>, code: &str, what: &str, next: &str, limits: Limits) -> String {
    let page = Page::new(server, limits);
    let mut lines = page.words("", &format!("error[{code}]: {what}"));
    lines.extend(page.words("  ", &format!("= help: {next}")));
    lines.truncate(page.lines);
    page.text(&lines)
}

/// An outage: its summary, what failed, that it is no verdict, and whom to tell. What failed is shortened first.
fn failure(page: &Page, summary: &str, note: &str, (code, what, next): (&str, &str, &str)) -> String {
    let mut last = page.words("  ", &format!("= note: {note}"));
    last.extend(page.words("  ", &format!("= help: tell your administrator: {code}")));
    if !next.is_empty() {
        last.extend(page.words("  ", &format!("= help: for the administrator: {next}")));
    }
    let mut said = what.lines();
    let mut cause = page.words("  ", &format!("outage[{code}]: {}", said.next().unwrap_or_default()));
    cause.extend(said.map(|line| page.cut(&format!("    {line}"))));
    let mut lines = page.words("", summary);
    lines.extend(shortened(cause, page.lines.saturating_sub(lines.len() + last.len())));
    lines.extend(last);
    lines.truncate(page.lines);
    page.text(&lines)
}

/// The bounds and the prefix of every line.
struct Page {
    prefix: &'static str,
    columns: usize,
    lines: usize,
}

impl Page {
    fn new(server: Option<Server>, limits: Limits) -> Self {
        // GitLab shows in its web interface only the lines that begin so.
        let prefix = if server == Some(Server::Gitlab) {
            "GL-HOOK-ERR: "
        } else {
            ""
        };
        Self {
            prefix,
            columns: limits.columns.max(60) - prefix.len(),
            lines: limits.lines.max(8),
        }
    }

    fn words(&self, indent: &str, text: &str) -> Vec<String> {
        words(text, self.columns, indent)
    }

    /// One line, cut at the right edge.
    fn cut(&self, text: &str) -> String {
        let text = plain(text);
        match text.len() > self.columns {
            true => format!("{}...", &text[..self.columns - 3]),
            false => text,
        }
    }

    fn text(&self, lines: &[String]) -> String {
        lines.iter().fold(String::new(), |mut text, line| {
            text.push_str(self.prefix);
            text.push_str(line.trim_end());
            text.push('\n');
            text
        })
    }
}

/// The same finding at one or many places.
struct Group<'a> {
    first: &'a Finding,
    /// The other findings.
    rest: Vec<&'a Finding>,
}

/// Puts together what a developer mends at once: one secret, or one code on one ref with one remedy.
fn group<'a>(findings: &[&'a Finding]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for finding in findings {
        let place = *places.entry(key(finding)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.rest.push(finding),
            None => groups.push(Group {
                first: finding,
                rest: Vec::new(),
            }),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.first.severity));
    groups
}

type Key<'a> = (
    &'a str,
    Option<&'a str>,
    Option<&'a str>,
    &'a [String],
    Option<&'a PolicyLine>,
);

fn key(finding: &Finding) -> Key<'_> {
    let ref_name = finding.place.ref_name.as_ref().map(|name| name.as_str());
    let required = finding.required_by.as_ref();
    match finding.fingerprint.as_deref() {
        Some(fingerprint) => (&finding.code, ref_name, Some(fingerprint), &[], required),
        // Without a commit there is nothing to count: the message itself tells two findings apart.
        None if finding.place.commit.is_none() => (
            &finding.code,
            ref_name,
            Some(&finding.message),
            &finding.remedy,
            required,
        ),
        None => (&finding.code, ref_name, None, &finding.remedy, required),
    }
}

fn summary(work: &[&Finding], outages: &[&Finding]) -> String {
    let commits: std::collections::HashSet<_> = work.iter().filter_map(|finding| finding.place.commit).collect();
    let refs: std::collections::BTreeSet<_> = work.iter().filter_map(|f| f.place.ref_name.as_ref()).collect();
    let mut text = "lychgate: push refused: ".to_owned();
    if work.is_empty() {
        text.push_str("the gate could not decide; this says nothing about your work");
        return text;
    }
    text.push_str(&count(work.len(), "finding"));
    if commits.len() > 1 {
        text.push_str(&format!(" in {}", count(commits.len(), "commit")));
    }
    match refs.iter().next() {
        Some(name) if refs.len() == 1 => text.push_str(&format!(" on {name}")),
        Some(_) => text.push_str(&format!(" on {} refs", refs.len())),
        None => {}
    }
    if !outages.is_empty() {
        text.push_str("; besides, something could not be read");
    }
    text
}

/// Where the rest is; nowhere for a push without an id, which is a dry run.
fn reference(push: &Push) -> Option<String> {
    let text = format!("lychgate: full report: lychgate log show {} (on the server)", push.id);
    (!push.id.is_empty()).then_some(text)
}

/// Whole blocks for as many as leave room to name the others; then what and where; then a count.
fn work_blocks(page: &Page, groups: &[Group<'_>], room: usize) -> Vec<String> {
    let whole: Vec<Vec<String>> = groups.iter().map(|group| block(page, group)).collect();
    let brief: Vec<Vec<String>> = groups.iter().map(|group| what_and_where(page, group)).collect();
    let mut lines = Vec::new();
    for (at, block) in whole.into_iter().enumerate() {
        let others: usize = brief[at + 1..].iter().map(Vec::len).sum();
        let hidden: usize = groups[at..].iter().map(|group| 1 + group.rest.len()).sum();
        let free = room.saturating_sub(lines.len());
        // One line is kept for the count, unless this is the last block.
        let keep = usize::from(at + 1 < groups.len());
        if block.len() + others <= free {
            lines.extend(block);
        } else if at == 0 {
            lines.extend(shortened(
                block,
                free.saturating_sub(others.min(free / 2)).saturating_sub(keep),
            ));
        } else if brief[at].len() + keep <= free {
            lines.extend(brief[at].iter().cloned());
        } else if free > 0 {
            lines.push(page.cut(&format!(
                "... and {}: see the full report",
                count(hidden, "more finding")
            )));
            break;
        }
    }
    lines
}

/// At most `room` lines, the last of which says that there are more.
fn shortened(mut block: Vec<String>, room: usize) -> Vec<String> {
    if block.len() > room {
        block.truncate(room.saturating_sub(1));
        if room > 0 {
            block.push("  ...".to_owned());
        }
    }
    block
}

fn block(page: &Page, group: &Group<'_>) -> Vec<String> {
    let first = group.first;
    let mut lines = what_and_where(page, group);
    if let Some(more) = more(group) {
        lines.extend(page.words("  ", &more));
    }
    if let Some(PolicyLine { file, line }) = &first.required_by {
        lines.extend(page.words("  ", &format!("= required by: {file}:{line}")));
    }
    if let Some(fingerprint) = &first.fingerprint {
        lines.extend(page.words("  ", &format!("= fingerprint: {fingerprint}")));
    }
    lines.extend(help(page, &first.remedy));
    lines
}

fn what_and_where(page: &Page, group: &Group<'_>) -> Vec<String> {
    let first = group.first;
    let mut lines = page.words("", &format!("error[{}]: {}", first.code, first.message));
    if let Some(place) = place(&first.place) {
        lines.extend(page.words("  ", &format!("--> {place}")));
    }
    lines
}

fn place(place: &Place) -> Option<String> {
    let path = place.path.as_ref()?;
    let line = place.span.map_or(String::new(), |span| format!(":{}", span.start_line));
    let commit = place
        .commit
        .map_or(String::new(), |oid| format!(" in commit {}", oid.short()));
    Some(format!("{path}{line}{commit}"))
}

fn more(group: &Group<'_>) -> Option<String> {
    let first = group.first.place.commit;
    let mut others: Vec<_> = group.rest.iter().filter_map(|finding| finding.place.commit).collect();
    others.retain(|oid| Some(*oid) != first);
    let mut seen = std::collections::HashSet::new();
    others.retain(|oid| seen.insert(*oid));
    if others.is_empty() {
        return (!group.rest.is_empty()).then(|| format!("and {}", count(group.rest.len(), "more place")));
    }
    let named: Vec<String> = others.iter().take(MOST_NAMED).map(|oid| oid.short()).collect();
    let dots = if others.len() > MOST_NAMED { ", ..." } else { "" };
    Some(format!(
        "and {}: {}{dots}",
        count(others.len(), "more commit"),
        named.join(", ")
    ))
}

/// Sentences wrap; commands stand alone on their lines, indented, to be copied.
fn help(page: &Page, remedy: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for step in remedy {
        match step.strip_prefix('#') {
            Some(sentence) if lines.is_empty() => {
                lines.extend(page.words("  ", &format!("= help: {}", sentence.trim())));
            }
            Some(sentence) => lines.extend(page.words("    ", sentence.trim())),
            None => {
                if lines.is_empty() {
                    lines.push("  = help:".to_owned());
                }
                lines.extend(command(step, page.columns));
            }
        }
    }
    lines
}

/// Outages, at most half of the room: what is wrong with the work can be mended at once, they cannot.
fn outage_blocks(page: &Page, groups: &[Group<'_>], push_id: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if groups.is_empty() {
        return lines;
    }
    for group in groups {
        let text = format!(
            "outage[{}]: the gate could not decide: {}",
            group.first.code, group.first.message
        );
        lines.extend(page.words("", &text));
    }
    lines = shortened(lines, (room / 2).saturating_sub(2));
    lines.extend(page.words("  ", "= note: this says nothing about your work"));
    let mut codes: Vec<&str> = groups.iter().map(|group| group.first.code.as_ref()).collect();
    codes.dedup();
    let mut help = format!("= help: tell your administrator: {}", codes.join(", "));
    if !push_id.is_empty() {
        help.push_str(&format!(", push {push_id}"));
    }
    lines.push(page.cut(&format!("  {help}")));
    lines
}

fn count(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}
