//! The texts about a ref of a forge: what became of a revision that landed, and of the forge's protection. Pure.
//!
//! In scope: what is shown at the ref's commit. Out of scope: changes (`change`).

use super::change::{Frame, code, count, table};
use crate::decision::{canonical, hex};
use crate::finding::Finding;
use crate::forge::guard::Drift;
use crate::forge::{CheckState, Display};
use crate::push::{Oid, RefUpdate};
use sha2::{Digest, Sha256};

/// What stands above a command that changes the forge's settings.
const WHERE: &str = "# where the bot runs; FILE holds the token of an administrator of the repository";

/// The command that mends the forge's protection, of this repository alone.
fn apply(frame: Frame<'_>) -> String {
    let name = &frame.change.repo.full_name;
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c)) && !name.starts_with('-');
    let only = if plain {
        format!(" --repository {name}")
    } else {
        String::new()
    };
    format!("lychgate forge apply --config bot.toml --token-file FILE{only}")
}

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
            "The forge let this into {name}, although **{} in {}** {} it. It has no entry, so nothing vouches for \
             it, nor for what is built on it.\n\n",
            count(denying.len(), "finding"),
            count(commits, "commit"),
            if denying.len() == 1 { "refuses" } else { "refuse" },
        );
        text.push_str(&table(&denying));
        text.push_str(match update.name.is_tag() {
            true => {
                "It is judged again within the hour: register the key that is missing, have the rule waived, or put the \
                 tag right: back where it was, or made again and signed. No forge makes a tag wait for a check, but it \
                 can keep tags where they are:\n\n"
            }
            false => {
                "It is judged again within the hour, and when the next revision lands: register the key that is \
                 missing, have the rule waived, or take the commits out of the branch. So that this cannot happen \
                 again, make the forge require the check:\n\n"
            }
        });
        let apply = apply(frame);
        text.push_str(&format!("```sh\n{WHERE}\n{apply} --yes\n```\n\n"));
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
        let apply = apply(frame);
        text.push_str(&format!(
            "\nAn administrator restores it in the forge's settings, or by:\n\n```sh\n{WHERE}\n\
             {apply}          # shows what it would do\n{apply} --yes\n```\n\n",
        ));
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

/// The forge says that a secret is in use which a revision of the ref holds.
///
/// * `alert`: the forge's number of its alert. `event`: the id of the ledger's event, which suspends `entries`.
pub fn leaked(frame: Frame<'_>, alert: u64, blob: Oid, event: &str, entries: usize) -> Display {
    let name = code(frame.change.base.short());
    let held = match entries {
        1 => "the entry that holds it".to_owned(),
        _ => format!("the {entries} entries that hold it"),
    };
    let text = format!(
        "The forge says that a secret in {name} is in use (its alert {alert}). Nothing vouches any more for {held} \
         (event {}).\n\n\
         1. Revoke it where it was issued: whoever can read the repository has it.\n\
         2. Take it out of the newest revision, so that what lands next does not hold it.\n\
         3. Once it is revoked, an administrator vouches for the old revisions again, where the gate's repository is:\n\n\
         ```sh\n\
         lychgate reopen --action close --reason leaked_secret_in_use --blob {blob} --evidence 'revoked, alert {alert}'\n\
         ```\n\n{}",
        code(event),
        frame.foot(),
    );
    let title = format!("A secret in use is in {}", frame.change.base.short());
    shown(frame, &(alert, blob, event), CheckState::Failure, &title, text)
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
