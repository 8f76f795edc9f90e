//! The texts about a ref of a forge: what became of a revision that landed, and of the forge's protection. Pure.
//!
//! In scope: what is shown at the ref's commit. Out of scope: changes (`change`).

use super::change::{Frame, code, count, table};
use crate::decision::{canonical, hex};
use crate::finding::Finding;
use crate::forge::guard::Drift;
use crate::forge::{CheckState, Display};
use crate::push::RefUpdate;
use sha2::{Digest, Sha256};

/// A revision landed.
///
/// * `findings`: all of the evaluation, sorted. `commits`: how many were judged.
/// * `entry`: the entry's id and SLSA source level; `None`: the policy refuses what the forge let in.
pub fn landed(
    frame: Frame<'_>,
    update: &RefUpdate,
    findings: &[Finding],
    commits: usize,
    entry: Option<(&str, u8)>,
) -> Display {
    let seen = (update, findings, entry);
    let name = code(update.name.short());
    let denying: Vec<&Finding> = findings.iter().filter(|finding| finding.denies).collect();
    let display = |state, title: &str, mut text: String| {
        text.push_str(&frame.foot());
        shown(frame, &seen, state, title, text)
    };
    let Some((id, level)) = entry else {
        let title = format!("{}; let in without an entry", count(denying.len(), "finding"));
        let mut text = format!(
            "The forge let this into {name}, although **{} in {}** refuse it. It has no entry, so nothing vouches for \
             it, nor for what is built on it.\n\n",
            count(denying.len(), "finding"),
            count(commits, "commit"),
        );
        text.push_str(&table(&denying));
        text.push_str(
            "It is judged again within the hour, and when the next revision lands: register the key that is missing, have the rule waived, \
             or take the commits out of the branch. So that this cannot happen again, make the forge require the \
             check:\n\n```sh\nlychgate forge apply --config bot.toml --token-file FILE --yes\n```\n\n",
        );
        return display(CheckState::Failure, &title, text);
    };
    if update.new.is_zero() {
        let text = format!(
            "The policy lets {name} be deleted. Entry {} is in the log.\n\n",
            code(id)
        );
        return display(CheckState::Success, "Its deletion is recorded", text);
    }
    let title = format!("Entered {}, source level {level}", update.name.short());
    let text = format!(
        "{} judged. Entry {}, SLSA source level {level}, is in the log of {name}.\n\nTo verify it where the gate's \
         repository is:\n\n```sh\nlychgate verify {} --ref {}\n```\n\n",
        count(commits, "commit"),
        code(id),
        update.new,
        update.name,
    );
    display(CheckState::Success, &title, text)
}

/// The forge's protection of a ref lapsed, or was restored.
///
/// * `event`: the id of the ledger's event. `open`: whether the lapse is open.
pub fn protection(frame: Frame<'_>, drift: &[Drift], event: &str, open: bool) -> Display {
    let name = code(frame.change.base.short());
    let mut text = String::new();
    let title = if open {
        text.push_str(&format!(
            "The forge enforces less on {name} than the policy wants, so its newest entry is suspended (event {}):\n\n",
            code(event)
        ));
        for one in drift {
            text.push_str(&format!("- **{}**: {}\n", one.code(), one.what()));
        }
        text.push_str(
            "\nAn administrator restores it in the forge's settings, or by:\n\n```sh\n\
             lychgate forge apply --config bot.toml --token-file FILE          # shows what it would do\n\
             lychgate forge apply --config bot.toml --token-file FILE --yes\n```\n\n",
        );
        format!("The forge no longer guards {}", frame.change.base.short())
    } else {
        text.push_str(&format!(
            "The forge enforces on {name} what the policy wants again; the newest entry was issued anew, its continuity \
             begins here (event {}).\n\n",
            code(event)
        ));
        format!("The forge guards {} again", frame.change.base.short())
    };
    text.push_str(&frame.foot());
    let state = if open { CheckState::Failure } else { CheckState::Success };
    shown(frame, &(event, open), state, &title, text)
}

/// The first report on a repository: what would be held up, and what is missing. Holds nothing up.
pub fn first_report(frame: Frame<'_>, report: &str) -> Display {
    let text = format!("{report}\n{}", frame.foot());
    shown(frame, &report, CheckState::Neutral, "Lychgate: the first report", text)
}

fn shown(frame: Frame<'_>, seen: &impl serde::Serialize, state: CheckState, title: &str, text: String) -> Display {
    let digest = hex(&Sha256::digest(canonical(&seen)));
    let evaluation = format!("ref-{}", &digest[..32]);
    let frame = Frame {
        evaluation: &evaluation,
        ..frame
    };
    frame.display(state, title, text)
}
