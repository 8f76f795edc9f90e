//! One look at a change, and the verdict that is shown of it.
//!
//! In scope: fetching, judging, what is shown meanwhile and afterwards, and
//! whether what is shown is still the verdict. Out of scope: when to look
//! (`lane`, `sweep`), how to judge (`change`), and any forge's wording.

use super::change::Judged;
use super::lane::{Again, Answer, Bot, Evaluator, Stamp, Unable, fields};
use super::metrics::Count;
use crate::decision::{canonical, hex};
use crate::feedback::change::{self as feedback, Frame, Seen};
use crate::forge::{Answer as Answered, Change, CheckState, Display};
use crate::port::{Forge, Outage, Queue};
use crate::push::{Oid, RefName};
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};

/// Longest that one evaluation may take, fetch included.
const LONGEST: Duration = Duration::from_secs(150);

impl<Q: Queue + 'static, F: Forge + 'static, E: Evaluator> Bot<Q, F, E> {
    /// Looks, and says what it saw; answers that stand under the same head stay.
    pub(super) async fn evaluated(
        &self,
        change: &Change,
        number: Option<u64>,
        stamp: &Stamp,
    ) -> Result<Vec<Display>, Again> {
        let judged = self.judged(change, number, stamp).await?;
        let answers = match number {
            Some(_) => self.answers(change).await?,
            None => Vec::new(),
        };
        Ok(vec![self.verdict(change, stamp, &judged, &answers)?])
    }

    /// Says that it looks, and looks.
    pub(super) async fn judged(&self, change: &Change, number: Option<u64>, stamp: &Stamp) -> Result<Judged, Again> {
        let begun = Instant::now();
        let prefix = prefix(change, stamp);
        let started = format!("{prefix}-pending");
        let pending = feedback::pending(self.frame(change, stamp, &started));
        let name = change.repo.forge.as_str();
        let look = async {
            let source = self
                .call(name, |forge| forge.fetch_source(&change.repo, number))
                .await?;
            let source = match source {
                Answer::Yes(source) => source,
                // The developer shall see it, not a check that stays pending.
                Answer::No(code, why) => return Ok(Ok(Err(Unable::Outage(unfetchable(code, why))))),
            };
            let evaluation = self.evaluator.evaluate(change, source, (self.clock)());
            Ok::<_, Again>(tokio::time::timeout(LONGEST, evaluation).await)
        };
        // That a pending display fails costs nobody the verdict.
        let (_, outcome) = tokio::join!(self.show(&pending), look);
        let judged = match outcome? {
            Ok(Ok(judged)) => judged,
            Ok(Err(Unable::Moved)) => {
                let why = "the head moves: fetched and told ones differ".to_owned();
                return Err(Again { after: None, why });
            }
            Ok(Err(Unable::Outage(outage))) => {
                return Err(self.no_verdict(change, stamp, outage.code, outage.to_string()).await);
            }
            Err(_) => {
                return Err(self
                    .no_verdict(change, stamp, "evaluation-too-slow", String::new())
                    .await);
            }
        };
        if judged.outage() {
            let code = judged
                .findings
                .iter()
                .find(|finding| finding.denies)
                .map(|finding| finding.code.to_string());
            let code = code.unwrap_or_default();
            return Err(self.no_verdict(change, stamp, &code, String::new()).await);
        }
        self.metrics.judged_in(begun.elapsed());
        let count = if judged.allowed() {
            Count::Success
        } else {
            Count::Failure
        };
        self.metrics.count(count);
        self.log("head-judged", &fields(&change.repo, number, change.head_oid));
        Ok(judged)
    }

    /// What it saw, as it is shown.
    pub(super) fn verdict(
        &self,
        change: &Change,
        stamp: &Stamp,
        judged: &Judged,
        answers: &[Answered],
    ) -> Result<Display, Outage> {
        let prefix = prefix(change, stamp);
        let seen = hex(&Sha256::digest(canonical(&judged.findings)));
        let evaluation = format!("{prefix}-{}", &seen[..16]);
        let frame = self.frame(change, stamp, &evaluation);
        let known = self.evaluator.waivers(&change.repo)?;
        let seen = Seen {
            findings: &judged.findings,
            merge_base: judged.merge_base,
            commits: judged.commits,
            waivers: &judged.waivers,
            policy: known.as_ref().map(|(policy, _)| policy),
            answers,
        };
        Ok(stamp.shown(feedback::verdict(frame, &seen)))
    }

    pub(super) fn frame<'a>(&self, change: &'a Change, stamp: &'a Stamp, evaluation: &'a str) -> Frame<'a> {
        Frame {
            change,
            evaluation,
            policy: &stamp.policy,
            at: (self.clock)(),
        }
    }

    /// Shows, if that is possible, that there is no verdict; the work is tried again.
    async fn no_verdict(&self, change: &Change, stamp: &Stamp, code: &str, why: String) -> Again {
        self.metrics.count(Count::NoVerdict);
        let evaluation = format!("{}-{code}", prefix(change, stamp));
        let display = feedback::unable(self.frame(change, stamp, &evaluation), code);
        let _ = self.show(&display).await;
        Again {
            after: None,
            why: format!("{code}: {why}"),
        }
    }
}

fn unfetchable(code: &'static str, why: String) -> Outage {
    Outage {
        code,
        what: "the forge gives no access to the repository".to_owned(),
        why,
        next: "grant the App the permission to read contents".to_owned(),
    }
}

/// The part of an evaluation's id that is known before it: head, base branch, policy and rules.
fn prefix(change: &Change, stamp: &Stamp) -> String {
    prefix_at(change.head_oid, &change.base, stamp)
}

fn prefix_at(head: Oid, base: &RefName, stamp: &Stamp) -> String {
    let text = format!("{head} {base} {}", stamp.all);
    hex(&Sha256::digest(text.as_bytes()))[..16].to_owned()
}

/// Whether a display is the verdict on the change as it is.
pub(super) fn is_verdict_on(display: &Display, change: &Change, stamp: &Stamp) -> bool {
    is_verdict_at(display, change.head_oid, &change.base, stamp)
}

/// Whether a display is the verdict on this head for this base branch.
pub(super) fn is_verdict_at(display: &Display, head: Oid, base: &RefName, stamp: &Stamp) -> bool {
    matches!(
        display.state,
        CheckState::Success | CheckState::Failure | CheckState::Neutral
    ) && display.head == head
        && display.evaluation.starts_with(&prefix_at(head, base, stamp))
}
