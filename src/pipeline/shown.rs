//! What is sent to a forge, and where the repository is that it is about.
//!
//! In scope: displays, findings for the forge's own list, and repositories that were renamed, transferred, or made
//! anew under the name of one that is gone. Out of scope: what is shown (`verdict`, `landed`) and when (`lane`).

use super::lane::{Again, Answer, Bot, Evaluator, fields, refused};
use super::metrics::Count;
use crate::feedback::change as feedback;
use crate::forge::{Change, CheckState, Display, ForgeRepo};
use crate::port::{Forge, Queue};

/// What a forge says of a repository that our old name or installation does not lead to any more.
const LOST: [&str; 3] = ["not-found", "permission-missing", "redirected-away"];

impl<Q: Queue + 'static, F: Forge + 'static, E: Evaluator> Bot<Q, F, E> {
    pub(super) async fn show(&self, display: &Display) -> Result<(), Again> {
        let mut answer = self.call(&display.repo.forge, |forge| forge.show(display)).await?;
        if matches!(answer, Answer::No(code, _) if LOST.contains(&code))
            && let Some(repo) = self.elsewhere(&display.repo).await?
        {
            let display = Display {
                repo,
                ..display.clone()
            };
            answer = self.call(&display.repo.forge, |forge| forge.show(&display)).await?;
        }
        let (count, what) = match &answer {
            Answer::Yes(true) => (Count::Shown, "display-shown"),
            Answer::Yes(false) => (Count::NotShown, "display-overtaken"),
            Answer::No("gone", _) => (Count::NotShown, "display-gone"),
            Answer::No(code, why) => return Err(refused(code, why)),
        };
        self.metrics.count(count);
        self.log(what, &fields(&display.repo, display.number, display.head));
        match answer {
            Answer::Yes(true) => self.upload(display).await,
            _ => Ok(()),
        }
    }

    /// A change's findings, for the forge's own list of them. Uploaded again it replaces what was there.
    async fn upload(&self, display: &Display) -> Result<(), Again> {
        let verdict = matches!(
            display.state,
            CheckState::Success | CheckState::Failure | CheckState::Neutral
        );
        let Some(number) = display.number.filter(|_| verdict) else {
            return Ok(());
        };
        let wanted = self.evaluator.stamp(&display.repo)?.is_some_and(|stamp| stamp.sarif);
        if !wanted {
            return Ok(());
        }
        let (name, sarif) = (format!("refs/pull/{number}/head"), feedback::sarif(display));
        let (repo, head) = (&display.repo, display.head);
        let asked = self.call(&repo.forge, |forge| forge.upload(repo, &name, head, &sarif));
        let what = match asked.await? {
            Answer::Yes(true) => "findings-uploaded",
            // The check run has the same findings.
            Answer::Yes(false) | Answer::No(..) => "findings-not-taken",
        };
        self.log(what, &fields(repo, Some(number), head));
        Ok(())
    }

    /// A repository as it is now; `None`: it is gone.
    pub(super) async fn found(&self, repo: &ForgeRepo) -> Result<Option<ForgeRepo>, Again> {
        match self.call(&repo.forge, |forge| forge.whereabouts(repo)).await? {
            Answer::Yes(now) => Ok(Some(now)),
            Answer::No("gone" | "not-found", why) => {
                self.log(
                    "repository-gone",
                    &[("repository", repo.full_name.clone()), ("why", why)],
                );
                Ok(None)
            }
            Answer::No(code, why) => Err(refused(code, &why)),
        }
    }

    /// Where a repository is that is not where it was said to be.
    async fn elsewhere(&self, repo: &ForgeRepo) -> Result<Option<ForgeRepo>, Again> {
        let asked = self.call(&repo.forge, |forge| forge.whereabouts(repo)).await?;
        Ok(match asked {
            Answer::Yes(now) if now != *repo => Some(now),
            Answer::Yes(_) | Answer::No(..) => None,
        })
    }

    /// A change as it is, wherever its repository is by now. Of another repository that has the old name: `gone`.
    pub(super) async fn change_now(&self, repo: &ForgeRepo, number: u64) -> Result<Answer<Change>, Again> {
        let mut told = self.call(&repo.forge, |forge| forge.change(repo, number)).await?;
        if matches!(told, Answer::No(code, _) if LOST.contains(&code))
            && let Some(now) = self.elsewhere(repo).await?
        {
            told = self.call(&now.forge, |forge| forge.change(&now, number)).await?;
        }
        Ok(match told {
            Answer::Yes(change) if change.repo.id != repo.id => {
                Answer::No("gone", "another repository has its name".to_owned())
            }
            told => told,
        })
    }
}
