//! What a waiver is asked for: found in the stored decision that refused it, with who stands behind it.

use super::{Asked, Office, target};
use crate::cmd::error::CommandError;
use crate::decision::Decision;
use crate::facts::Facts;
use crate::port::{DecisionRecord, Outage, Store};
use crate::push::Timestamp;
use crate::waiver::{Ask, Subject, Target, Terms, subjects};
use std::collections::BTreeSet;

/// How many of the newest decisions are searched where no push is named.
const SEARCHED: u32 = 1_000;

/// What a decision says about it.
struct Refused {
    repository: String,
    actor: String,
    subjects: Vec<Subject>,
}

impl Office<'_> {
    /// One request for each subject of the wanted code.
    pub(super) fn asks(&self, asked: &Asked) -> Result<Vec<Ask>, CommandError> {
        let need = |value: &Option<String>, name: &str| {
            value.clone().ok_or_else(|| {
                CommandError::usage(
                    "missing-argument",
                    format!("there is no --{name}"),
                    "copy the command from the refusal, or see: lychgate waiver grant --help",
                )
            })
        };
        let (code, reason) = (need(&asked.code, "code")?, need(&asked.reason, "reason")?);
        let wanted = target(asked);
        let (refused, target_of) = match self.refused(asked, &code, wanted.as_ref())? {
            Some(refused) => (refused, wanted),
            None => (self.unknown(asked, &code, wanted.clone())?, wanted),
        };
        let requester = asked.requester.clone().unwrap_or_else(|| refused.actor.clone());
        let terms = Terms {
            repository: refused.repository.clone(),
            reason,
            requester,
            break_glass: asked.break_glass,
            change: None,
            created: self.now,
            expires: self.end(asked),
        };
        let ask = |subject: &Subject| {
            let mut subject = subject.clone();
            // Whoever pushed stands behind it as well, even where somebody else is named as the one who asks.
            subject.authors.insert(refused.actor.to_lowercase());
            subject
                .authors
                .extend(asked.author.iter().map(|name| name.to_lowercase()));
            subject.authors.remove("");
            let target = target_of.clone().or_else(|| subject.targets.first().cloned())?;
            Some(terms.ask(&subject, target))
        };
        Ok(refused.subjects.iter().filter_map(ask).collect())
    }

    fn end(&self, asked: &Asked) -> Timestamp {
        let days = asked.days.map(|days| i64::from(days) * 86_400);
        let seconds = days.or(asked.hours.map(|hours| i64::from(hours) * 3_600));
        let seconds = seconds.unwrap_or_else(|| self.policy.usual(asked.break_glass));
        Timestamp::from_unix(self.now.unix() + seconds)
    }

    /// What a stored decision refused with this code, narrowed to the wanted target.
    fn refused(&self, asked: &Asked, code: &str, wanted: Option<&Target>) -> Result<Option<Refused>, CommandError> {
        let store = &self.ledger.store;
        let records = match (&asked.push, wanted) {
            (Some(id), _) => vec![self.ledger.wait(store.decision(id))?.ok_or_else(|| unknown_push(id))?],
            (None, Some(_)) => self.ledger.wait(store.decisions(SEARCHED))?,
            (None, None) => {
                return Err(CommandError::usage(
                    "missing-argument",
                    "it says neither which push nor which commit or fingerprint",
                    "add --push ID, as the refusal names it",
                ));
            }
        };
        for record in records.iter().filter(|record| !record.allowed) {
            let mut refused = read(record)?;
            refused
                .subjects
                .retain(|subject| subject.code == code && wanted.is_none_or(|target| subject.targets.contains(target)));
            if !refused.subjects.is_empty() {
                return Ok(Some(refused));
            }
        }
        match &asked.push {
            None => Ok(None),
            Some(id) => Err(CommandError::usage(
                "nothing-to-waive",
                format!("the push {id} was not refused for that"),
                format!("see what it was refused for: lychgate log show {id}"),
            )),
        }
    }

    /// Where no decision knows it, whoever asks must say who stands behind it.
    fn unknown(&self, asked: &Asked, code: &str, wanted: Option<Target>) -> Result<Refused, CommandError> {
        let (Some(target), false, Some(requester)) = (wanted, asked.author.is_empty(), &asked.requester) else {
            return Err(CommandError::usage(
                "nothing-to-waive",
                "no decision of this gate refused that, so nobody knows who stands behind it",
                "add --push ID; or say it yourself with --author NAME and --requester NAME",
            ));
        };
        Ok(Refused {
            repository: self.ledger.gate.resource.clone(),
            actor: requester.clone(),
            subjects: vec![Subject {
                code: code.to_owned().into(),
                targets: vec![target],
                authors: BTreeSet::new(),
            }],
        })
    }
}

fn read(record: &DecisionRecord) -> Result<Refused, Outage> {
    let corrupt = |why: serde_json::Error| Outage {
        code: "store-corrupt",
        what: format!("cannot read the decision on push {}", record.push_id),
        why: why.to_string(),
        next: "run: lychgate log check".to_owned(),
    };
    let decision: Decision = serde_json::from_slice(&record.decision).map_err(corrupt)?;
    let facts: Facts = serde_json::from_slice(&record.facts).map_err(corrupt)?;
    Ok(Refused {
        subjects: subjects(&facts, &decision.findings),
        repository: facts.push.repository,
        actor: facts.push.actor.name,
    })
}

fn unknown_push(id: &str) -> CommandError {
    let id: String = id.chars().filter(|c| !c.is_control()).take(64).collect();
    let what = format!("no decision on a push {id} is stored");
    CommandError::usage("unknown-push", what, "copy the id from the refusal")
}
