//! The first report on a repository: what would be held up, and what is missing.
//!
//! In scope: asking forge and evaluator. Out of scope: the words (`feedback::onboarding`), when (`lane`, `cmd::forge`).

use super::landed::tip;
use super::lane::{Again, Answer, Bot, Evaluator, Unable, refused};
use crate::feedback;
use crate::feedback::change::Frame;
use crate::feedback::onboarding::{FirstReport, denying};
use crate::forge::guard::{GuardedTags, Wanted, drift};
use crate::forge::{Display, ForgeEvent, ForgeRepo};
use crate::port::{FetchSource, Forge, ForgeError, Outage, Queue};
use crate::push::{Oid, RefName, Timestamp};

/// Most open changes that are judged for the report.
const MOST_CHANGES: usize = 20;
/// Commits of the default branch's own line that are judged.
pub const HISTORY: usize = 50;

/// What a forge must guard in a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Branches that the policy protects, where they stand, and what it wants of the forge.
    pub branches: Vec<(RefName, Oid, Wanted)>,
    /// Tags that the policy protects, rule by rule.
    pub tags: Vec<GuardedTags>,
    /// The branch that changes go to by default, and where it stands.
    pub default: Option<(RefName, Oid)>,
}

/// Why there is no report.
#[derive(Debug)]
pub enum NoReport {
    /// The forge's.
    Forge(ForgeError),
    /// Ours.
    Outage(Outage),
}

impl From<ForgeError> for NoReport {
    fn from(error: ForgeError) -> Self {
        Self::Forge(error)
    }
}

impl From<Unable> for NoReport {
    fn from(unable: Unable) -> Self {
        match unable {
            Unable::Outage(outage) => Self::Outage(outage),
            Unable::Moved => Self::Forge(ForgeError::Later {
                after_seconds: 60,
                why: "the refs move".to_owned(),
            }),
        }
    }
}

/// Gathers the report, and the commit at which it is shown: the default branch's tip.
///
/// # Errors
/// The forge's and the evaluator's. What only one part lacks is told in the report.
pub async fn first_report<F: Forge, E: Evaluator>(
    forge: &F,
    evaluator: &E,
    repo: &ForgeRepo,
    now: Timestamp,
) -> Result<(FirstReport, Option<(RefName, Oid)>), NoReport> {
    let survey = evaluator.survey(repo, forge.fetch_source(repo, None).await?).await?;
    let mut report = FirstReport {
        repository: repo.full_name.clone(),
        missing: forge
            .missing(repo)
            .await
            .unwrap_or_else(|why| vec![format!("cannot be asked for: {why}")]),
        ..FirstReport::default()
    };
    for (name, _, wanted) in &survey.branches {
        let actual = match forge.protection(repo, name).await {
            Ok(actual) => Some(drift(*wanted, &actual)),
            Err(ForgeError::Refused { .. }) => None,
            Err(later) => return Err(later.into()),
        };
        report.branches.push((name.clone(), actual));
    }
    for tags in survey.tags {
        let actual = match forge.tag_protection(repo, &tags.names).await {
            Ok(actual) => Some(tags.drift(&actual)),
            Err(ForgeError::Refused { .. }) => None,
            Err(later) => return Err(later.into()),
        };
        report.tags.push((tags.pattern, actual));
    }
    let protected = |name: &RefName| survey.branches.iter().any(|(known, ..)| known == name);
    report.unprotected_default = survey
        .default
        .as_ref()
        .map(|(name, _)| name.clone())
        .filter(|name| !protected(name));
    changes(forge, evaluator, repo, now, &mut report).await?;
    if let Some((name, _)) = &survey.default {
        let source: FetchSource = forge.fetch_source(repo, None).await?;
        let judged = evaluator.history(repo, name, source, now).await?;
        report.history = Some((name.clone(), judged.commits, denying(&judged.findings)));
    }
    Ok((report, survey.default))
}

impl<Q: Queue + 'static, F: Forge + 'static, E: Evaluator> Bot<Q, F, E> {
    /// An installation changed: each repository that we judge gets its first report, once.
    pub(super) async fn installed(&self, forge: &str) -> Result<Vec<Display>, Again> {
        let repos = match self.call(forge, |forge| forge.repositories()).await? {
            Answer::Yes(repos) => repos,
            Answer::No(code, why) => return Err(refused(code, &why)),
        };
        for repo in repos {
            if self.evaluator.stamp(&repo)?.is_some() {
                let id = format!("first-report/{}", repo.id);
                self.put(forge.to_owned(), id, ForgeEvent::Installed { repo }).await?;
            }
        }
        Ok(Vec::new())
    }

    /// The first report, at the tip of the default branch.
    pub(super) async fn first_report(&self, repo: &ForgeRepo) -> Result<Vec<Display>, Again> {
        let (Some(stamp), Some((forge, _))) = (self.evaluator.stamp(repo)?, self.forges.get(&repo.forge)) else {
            return Ok(Vec::new());
        };
        let now = (self.clock)();
        let (report, at) = match first_report(forge, &self.evaluator, repo, now).await {
            Ok(report) => report,
            Err(NoReport::Outage(outage)) => return Err(outage.into()),
            Err(NoReport::Forge(ForgeError::Refused { code, why })) => return Err(refused(code, &why)),
            Err(NoReport::Forge(ForgeError::Later { after_seconds, why })) => {
                let after = Some(after_seconds.max(1));
                return Err(Again { after, why });
            }
        };
        self.log("first-report", &[("repository", repo.full_name.clone())]);
        let Some((name, head)) = at else { return Ok(Vec::new()) };
        let change = tip(repo, &name, head);
        let frame = Frame {
            change: &change,
            evaluation: "",
            policy: &stamp.policy,
            at: now,
        };
        Ok(vec![feedback::landed::first_report(frame, &report.markdown())])
    }
}

async fn changes<F: Forge, E: Evaluator>(
    forge: &F,
    evaluator: &E,
    repo: &ForgeRepo,
    now: Timestamp,
    report: &mut FirstReport,
) -> Result<(), NoReport> {
    let numbers = forge.open_changes(repo).await?;
    report.more_changes = numbers.len().saturating_sub(MOST_CHANGES);
    for number in numbers.into_iter().take(MOST_CHANGES) {
        let change = forge.change(repo, number).await?;
        let source = forge.fetch_source(repo, Some(number)).await?;
        let judged = match evaluator.evaluate(&change, source, now).await {
            Ok(judged) => Ok(denying(&judged.findings)),
            Err(Unable::Moved) => Err("its head moves".to_owned()),
            Err(Unable::Outage(outage)) => Err(format!("{}: {outage}", outage.code)),
        };
        report.changes.push((number, judged));
    }
    Ok(())
}
