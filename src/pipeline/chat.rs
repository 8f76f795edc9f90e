//! Commands of a change: who may give them, what they do, and the answer in the one comment that we keep.
//!
//! In scope: permissions, orders about waivers, answers. Out of scope: reading
//! commands (`chat`), recording waivers (`worker::waive`, behind the
//! [`Evaluator`]), judging and showing (`lane`), words (`feedback::answer`).
//!
//! Idempotent by the command's own id: a waiver is recorded once for it, and its
//! answer stands once, however often the delivery is worked on.

use super::change::Judged;
use super::lane::{Again, Answer as Told, Bot, Evaluator, Stamp, refused};
use crate::chat::{self, Command};
use crate::feedback::answer;
use crate::forge::{Answer, Change, Display, ForgeEvent, ForgeRepo, Permission};
use crate::port::{Forge, Outage, Queue};
use crate::waiver::{Done, Order, Subject, Terms, Waiver};

/// Most answers that a comment keeps: the newest ones.
const MOST_ANSWERS: usize = 5;

/// A command as it came.
#[derive(Debug, Clone)]
pub(super) struct Given<'a> {
    pub(super) repo: &'a ForgeRepo,
    pub(super) number: u64,
    /// Who gave it, as the forge authenticated them.
    pub(super) by: &'a str,
    /// `comment 55` or `button 9`: unique in the change.
    pub(super) source: String,
    pub(super) command: Command,
    /// What was written or pressed, as the answer repeats it.
    pub(super) asked: String,
}

impl<'a> Given<'a> {
    /// The command that an event is, if it is one of a known change.
    pub(super) fn of(event: &'a ForgeEvent) -> Option<Self> {
        let (repo, number, by, source, command, button) = match event {
            ForgeEvent::Command {
                repo,
                number,
                by,
                comment,
                text,
            } => {
                let source = format!("comment {comment}");
                (repo, *number, by, source, chat::parse(text), None)
            }
            ForgeEvent::Pressed {
                repo,
                number,
                by,
                run,
                button,
                ..
            } => {
                let source = format!("button {button} {run}");
                (repo, (*number)?, by, source, chat::pressed(button), Some(button))
            }
            _ => return None,
        };
        let asked = match button {
            Some(button) => format!("the button {button}"),
            None => answer::asked(&command),
        };
        Some(Self {
            repo,
            number,
            by,
            source,
            command,
            asked,
        })
    }
}

impl<Q: Queue + 'static, F: Forge + 'static, E: Evaluator> Bot<Q, F, E> {
    /// Does what is commanded, judges the newest commit, and shows the verdict with the answer.
    pub(super) async fn command(&self, given: &Given<'_>) -> Result<Vec<Display>, Again> {
        let Some((stamp, change)) = self.present(given.repo, given.number).await? else {
            return Ok(Vec::new());
        };
        let permission = self.permission(given).await?;
        if permission < Permission::Write && !is_author(&change, given.by) {
            // Whoever may read may write comments: strangers get no work done, and no answer.
            self.noted("command-refused", given, "no-permission");
            return Ok(Vec::new());
        }
        let kept = self.answers(&change).await?;
        if kept.iter().any(|answer| answer.source == given.source) {
            self.noted("command-refused", given, "answered-already");
            return Ok(Vec::new());
        }
        // An approval first: it changes what the judging says. A request needs to know what was found.
        let before = match &given.command {
            Command::Approve(id) => Some(self.approve(given, &change, id, permission).await?),
            _ => None,
        };
        let mut judged = self.judged(&change, Some(given.number), &stamp).await?;
        let (text, asked) = match before {
            Some(text) => (text, Vec::new()),
            None => self.done(given, &change, &judged).await?,
        };
        let answer = Answer {
            source: given.source.clone(),
            by: given.by.to_owned(),
            asked: given.asked.clone(),
            text,
        };
        let mut answers = kept;
        answers.push(answer);
        let surplus = answers.len().saturating_sub(MOST_ANSWERS);
        answers.drain(..surplus);
        // What was just asked for stands in the verdict's list of what waits.
        judged.add(asked);
        Ok(vec![self.verdict(&change, &stamp, &judged, &answers)?])
    }

    /// The answers that the change's comment has about the present head.
    pub(super) async fn answers(&self, change: &Change) -> Result<Vec<Answer>, Outage> {
        let latest = self.queue.latest_display(&change.repo, change.number).await?;
        Ok(latest
            .filter(|display| display.head == change.head_oid)
            .map_or(Vec::new(), |display| display.answers))
    }

    /// The change as it is, if it is open and of a repository that we judge.
    pub(super) async fn present(&self, repo: &ForgeRepo, number: u64) -> Result<Option<(Stamp, Change)>, Again> {
        let stamp = match self.evaluator.stamp(repo) {
            Ok(stamp) => stamp,
            Err(outage) => return Err(self.unusable(repo, number, outage).await),
        };
        let Some(stamp) = stamp else {
            self.log("repository-not-configured", &[("repository", repo.full_name.clone())]);
            return Ok(None);
        };
        let change = match self.change_now(repo, number).await? {
            Told::Yes(change) => change,
            Told::No("gone", _) => return Ok(None),
            Told::No(code, why) => return Err(refused(code, &why)),
        };
        // Under the name that it has now, another entry of the configuration may be meant, or none.
        let stamp = match change.repo.full_name == repo.full_name {
            true => Some(stamp),
            false => self.evaluator.stamp(&change.repo)?,
        };
        Ok(stamp.filter(|_| change.open).map(|stamp| (stamp, change)))
    }

    async fn permission(&self, given: &Given<'_>) -> Result<Permission, Again> {
        let asked = self.call(&given.repo.forge, |forge| forge.permission(given.repo, given.by));
        match asked.await? {
            Told::Yes(permission) => Ok(permission),
            Told::No("gone" | "not-found", _) => Ok(Permission::None),
            Told::No(code, why) => Err(refused(code, &why)),
        }
    }

    /// What the commands other than an approval do: the answer, and the waivers that they asked for.
    async fn done(&self, given: &Given<'_>, change: &Change, judged: &Judged) -> Result<(String, Vec<Waiver>), Again> {
        let text = match &given.command {
            Command::Recheck => answer::rechecked().to_owned(),
            Command::Explain(code) => answer::explained(code, &judged.findings, judged.merge_base),
            Command::Waive {
                code,
                reason,
                break_glass,
            } => {
                let wanted = |subject: &&Subject| code.as_ref().is_none_or(|code| subject.code == *code);
                let subjects: Vec<&Subject> = judged.subjects.iter().filter(wanted).collect();
                return self.waive(given, change, &subjects, reason, *break_glass).await;
            }
            Command::Approve(_) | Command::Unknown => answer::unknown().to_owned(),
        };
        Ok((text, Vec::new()))
    }

    async fn waive(
        &self,
        given: &Given<'_>,
        change: &Change,
        subjects: &[&Subject],
        reason: &str,
        break_glass: bool,
    ) -> Result<(String, Vec<Waiver>), Again> {
        if subjects.is_empty() {
            return Ok((answer::nothing_to_waive().to_owned(), Vec::new()));
        }
        let Some((policy, repository)) = self.evaluator.waivers(given.repo)? else {
            return Ok((answer::no_ledger().to_owned(), Vec::new()));
        };
        let now = (self.clock)();
        let terms = Terms {
            repository,
            reason: reason
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .take(256)
                .collect(),
            requester: given.by.to_owned(),
            break_glass,
            change: Some(given.repo.change_lane(given.number)),
            created: now,
            expires: crate::push::Timestamp::from_unix(now.unix() + policy.usual(break_glass)),
        };
        let ask = |subject: &&Subject| {
            let mut subject = (*subject).clone();
            subject.authors.insert(change.author.to_lowercase());
            Some(terms.ask(&subject, subject.targets.first()?.clone()))
        };
        let order = Order::Ask {
            asks: subjects.iter().filter_map(ask).collect(),
            approver: None,
        };
        let done = self.order(given, &order).await?;
        let text = answer::of_order(&done, &policy, now);
        let asked = match done {
            Done::Recorded(waivers) | Done::Already(waivers) => waivers,
            Done::Refused(_) => Vec::new(),
        };
        Ok((text, asked))
    }

    async fn approve(
        &self,
        given: &Given<'_>,
        change: &Change,
        id: &str,
        permission: Permission,
    ) -> Result<String, Again> {
        let Some((policy, _)) = self.evaluator.waivers(given.repo)? else {
            return Ok(answer::no_ledger().to_owned());
        };
        if permission < policy.permission {
            self.noted("command-refused", given, "permission-too-low");
            return Ok(answer::permission_too_low(policy.permission));
        }
        if is_author(change, given.by) {
            self.noted("command-refused", given, "approver-is-author");
            return Ok(answer::own_change().to_owned());
        }
        let order = Order::Approve {
            waiver: id.to_owned(),
            by: given.by.to_owned(),
        };
        let done = self.order(given, &order).await?;
        Ok(answer::of_order(&done, &policy, (self.clock)()))
    }

    async fn order(&self, given: &Given<'_>, order: &Order) -> Result<Done, Again> {
        let lane = given.repo.change_lane(given.number);
        let via = format!(
            "{} {}#{} {}",
            given.repo.forge, given.repo.full_name, given.number, given.source
        );
        let source = format!("{lane}/{}", given.source);
        let now = (self.clock)();
        let done = self.evaluator.order(given.repo, order, &via, &source, now).await?;
        match &done {
            Done::Refused(refusal) => self.noted("command-refused", given, refusal.code()),
            Done::Recorded(waivers) => waivers.iter().for_each(|waiver| self.recorded(given, waiver)),
            Done::Already(_) => {}
        }
        Ok(done)
    }

    fn recorded(&self, given: &Given<'_>, waiver: &Waiver) {
        // Break-glass is announced wherever it shows: whoever watches the log hears of it at once.
        let what = if waiver.ask.break_glass {
            "break-glass-recorded"
        } else {
            "waiver-recorded"
        };
        self.noted(what, given, &waiver.id);
    }

    fn noted(&self, what: &'static str, given: &Given<'_>, why: &str) {
        let fields = [
            ("repository", given.repo.full_name.clone()),
            ("change", given.number.to_string()),
            ("by", given.by.chars().filter(|c| !c.is_control()).take(64).collect()),
            ("source", given.source.clone()),
            ("what", why.to_owned()),
        ];
        self.log(what, &fields);
    }
}

fn is_author(change: &Change, account: &str) -> bool {
    !account.is_empty() && change.author.eq_ignore_ascii_case(account)
}
