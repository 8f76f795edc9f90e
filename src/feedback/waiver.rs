//! How to ask for a waiver of what was refused: commands for an administrator, filled in. Pure.

use super::Page;
use super::wrap::command;
use crate::config::WaiverPolicy;
use crate::finding::{Cause, Finding};
use crate::push::Push;
use crate::waiver::{APPROVER_HERE, REASON_HERE, Target, WAIVABLE, targets};

/// Most codes for which a command is written out; who needs more has something to mend.
const MOST_CODES: usize = 3;

/// Most approvers that are named.
const MOST_NAMES: usize = 4;

/// The lines, indented; none if a waiver could not let the push in: nobody may approve, or something among what
/// denies can be waived by nobody.
pub(super) fn lines(page: &Page, push: &Push, findings: &[Finding], policy: &WaiverPolicy) -> Vec<String> {
    let denying: Vec<&Finding> = findings.iter().filter(|finding| finding.denies).collect();
    let Some(commands) = commands(push, &denying, policy) else {
        return Vec::new();
    };
    let one = if commands.len() == 1 {
        "this command"
    } else {
        "these commands"
    };
    let secrets = denying.iter().all(|finding| finding.code == "secret-found");
    let case = if secrets {
        "if that is no secret"
    } else {
        "if that cannot be mended"
    };
    let text = format!(
        "lychgate: {case}: send {one} to {}, to run in the repository on the server",
        approvers(policy, &push.actor.name)
    );
    let mut lines = page.words("", &text);
    lines.extend(commands.iter().flat_map(|text| command(text, page.columns)));
    lines
}

/// One command for each code; `None` if that would not be enough.
fn commands(push: &Push, denying: &[&Finding], policy: &WaiverPolicy) -> Option<Vec<String>> {
    if push.id.is_empty() || (policy.approvers.is_empty() && policy.break_glass.is_empty()) {
        return None;
    }
    let mut codes: Vec<(&str, Vec<Target>)> = Vec::new();
    for finding in denying {
        let target = may_be_waived(push, finding, policy)?;
        match codes.iter_mut().find(|(code, _)| *code == finding.code) {
            Some((_, known)) if known.contains(&target) => {}
            Some((_, known)) => known.push(target),
            None => codes.push((&finding.code, vec![target])),
        }
    }
    let few = !codes.is_empty() && codes.len() <= MOST_CODES;
    few.then(|| codes.iter().map(|(code, all)| grant(push, code, all, policy)).collect())
}

fn may_be_waived(push: &Push, finding: &Finding, policy: &WaiverPolicy) -> Option<Target> {
    let known = WAIVABLE.iter().any(|(code, _)| *code == finding.code);
    let never = policy.never.iter().any(|code| *code == finding.code);
    let work = finding.cause == Cause::Work;
    targets(push, finding)
        .into_iter()
        .next()
        .filter(|_| known && work && !never)
}

fn grant(push: &Push, code: &str, all: &[Target], policy: &WaiverPolicy) -> String {
    let bound = match all {
        [one] => format!(" --{} {}", one.kind(), one.value()),
        // All that this push was refused for with this code.
        _ => String::new(),
    };
    let glass = if policy.approvers.is_empty() {
        " --break-glass"
    } else {
        ""
    };
    format!(
        "lychgate waiver grant --push {} --code {code}{bound}{glass} --reason '{REASON_HERE}' --approver {APPROVER_HERE}",
        push.id
    )
}

/// Whom to ask, as far as the line may be long; not whoever pushes, who may not approve it.
fn approvers(policy: &WaiverPolicy, pusher: &str) -> String {
    let list = policy.list(policy.approvers.is_empty());
    let others = list.iter().map(String::as_str).filter(|name| *name != pusher);
    let names: Vec<&str> = others.take(MOST_NAMES + 1).collect();
    match names.as_slice() {
        ["*"] | [] => "somebody who did not write it".to_owned(),
        names if names.len() > MOST_NAMES => format!("{} or another approver", names[..MOST_NAMES].join(", ")),
        names => names.join(" or "),
    }
}
