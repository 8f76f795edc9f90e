//! Vocabulary of a forge: repositories, changes, events, and what the bot shows there.
//!
//! In scope: plain data that any forge's adapter reads and writes. Out of
//! scope: webhooks' bytes and API calls (`forge` adapters), order and retries
//! (`pipeline::lane`), the words (`feedback`).

pub mod guard;

use crate::push::{Oid, RefName, Timestamp};
use serde::{Deserialize, Serialize};

/// The kinds of forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ForgeKind {
    Github,
    Forgejo,
    Gitlab,
}

/// What an account may do in a repository. Ordered: `None < Admin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Permission {
    None,
    Read,
    Write,
    Maintain,
    Admin,
}

/// A repository at one configured forge. Renames keep `id`, so state keys on it and never on the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ForgeRepo {
    /// The forge's name in our configuration, which is also in the webhook's URL path.
    pub forge: String,
    /// The forge's own numeric id of the repository.
    pub id: u64,
    /// `owner/name` as last seen.
    pub full_name: String,
    /// GitHub App installation, where there is one.
    pub installation: Option<u64>,
}

/// A pull or merge request as the forge has it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The repository that it would enter.
    pub repo: ForgeRepo,
    /// Its number there.
    pub number: u64,
    /// Whether it is open.
    pub open: bool,
    /// The branch that it would enter.
    pub base: RefName,
    /// Where that branch stands.
    pub base_oid: Oid,
    /// The newest commit that it proposes.
    pub head_oid: Oid,
    /// The account that opened it.
    pub author: String,
    /// The revision that the base had after the merge, once merged.
    pub merged_as: Option<Oid>,
}

/// What a delivery means to us. Closed: a new trigger is a new variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ForgeEvent {
    /// A change was opened, pushed to, re-targeted, reopened, reviewed or marked ready: evaluate its present head.
    ChangeTouched {
        /// Where.
        repo: ForgeRepo,
        /// Its number.
        number: u64,
    },
    /// A change was merged or closed.
    ChangeClosed {
        /// Where.
        repo: ForgeRepo,
        /// Its number.
        number: u64,
        /// The revision that landed, if it was merged.
        merged_as: Option<Oid>,
    },
    /// Somebody asked for a new evaluation of a head (button, re-run, `/lychgate recheck`).
    RecheckAsked {
        /// Where.
        repo: ForgeRepo,
        /// The change, if the forge says which.
        number: Option<u64>,
        /// The head that was meant, if the forge says which.
        head: Option<Oid>,
        /// Who asked.
        by: String,
    },
    /// A comment that begins with `/lychgate`.
    Command {
        /// Where.
        repo: ForgeRepo,
        /// The change.
        number: u64,
        /// Who wrote it.
        by: String,
        /// The forge's id of the comment.
        comment: u64,
        /// The text after `/lychgate `, at most 4,096 characters.
        text: String,
    },
    /// A button of a check run that means a command.
    Pressed {
        /// Where.
        repo: ForgeRepo,
        /// The change, if the forge says which.
        number: Option<u64>,
        /// The head that the check run is about.
        head: Oid,
        /// Who pressed it.
        by: String,
        /// The forge's id of the check run.
        run: u64,
        /// The button's identifier.
        button: String,
    },
    /// A merge queue asks about a tentative merge.
    QueueChecked {
        /// Where.
        repo: ForgeRepo,
        /// The tentative merge's commit.
        head: Oid,
        /// The base that it would move.
        base: RefName,
        /// Where the base stands.
        base_oid: Oid,
    },
    /// A branch moved.
    Pushed {
        /// Where.
        repo: ForgeRepo,
        /// The branch or tag.
        name: RefName,
        /// From where.
        old: Oid,
        /// To where.
        new: Oid,
        /// Who pushed, if the forge says so.
        #[serde(default)]
        by: Option<String>,
    },
    /// The bot was installed: report what would be held up, and what is missing.
    Installed {
        /// Where.
        repo: ForgeRepo,
    },
    /// Installation, protection or rules changed: sweep the repository.
    SettingsChanged {
        /// Where; `None`: all repositories of the forge.
        repo: Option<ForgeRepo>,
    },
    /// The forge has something new to say of its alert about a secret in a repository.
    SecretAlerted {
        /// Where.
        repo: ForgeRepo,
        /// The alert's number.
        alert: u64,
    },
    /// Nothing to do for us; kept in the inbox for the record.
    Ignored {
        /// The forge's event name.
        event: String,
    },
}

impl ForgeEvent {
    /// The repository, where the event names one.
    pub fn repo(&self) -> Option<&ForgeRepo> {
        match self {
            Self::ChangeTouched { repo, .. }
            | Self::ChangeClosed { repo, .. }
            | Self::RecheckAsked { repo, .. }
            | Self::Command { repo, .. }
            | Self::Pressed { repo, .. }
            | Self::QueueChecked { repo, .. }
            | Self::Pushed { repo, .. }
            | Self::SecretAlerted { repo, .. }
            | Self::Installed { repo } => Some(repo),
            Self::SettingsChanged { repo } => repo.as_ref(),
            Self::Ignored { .. } => None,
        }
    }

    /// Whether nothing is to be done about it.
    pub fn asks_for_nothing(&self) -> bool {
        matches!(self, Self::Ignored { .. })
    }

    /// The lane of a delivery of this forge: what shares a lane is worked on one at a time.
    ///
    /// Keys on the repository's id, which a rename keeps. At most some 200 characters.
    pub fn lane(&self, forge: &str) -> String {
        match self {
            Self::ChangeTouched { repo, number }
            | Self::ChangeClosed { repo, number, .. }
            | Self::Command { repo, number, .. }
            | Self::RecheckAsked {
                repo,
                number: Some(number),
                ..
            } => change_lane(repo, Some(*number), None),
            Self::Pressed { repo, number, head, .. } => change_lane(repo, *number, Some(*head)),
            Self::RecheckAsked { repo, head, .. } => change_lane(repo, None, *head),
            Self::QueueChecked { repo, head, .. } => change_lane(repo, None, Some(*head)),
            Self::Pushed { repo, name, .. } => format!("{}/{}/push/{name}", repo.forge, repo.id),
            Self::Installed { repo } | Self::SettingsChanged { repo: Some(repo) } => {
                format!("{}/{}/settings", repo.forge, repo.id)
            }
            Self::SecretAlerted { repo, alert } => format!("{}/{}/alert/{alert}", repo.forge, repo.id),
            Self::SettingsChanged { repo: None } | Self::Ignored { .. } => format!("{forge}/settings"),
        }
    }

    /// Whether working on one such event of a lane covers all that wait there: it reads the state as it is then.
    pub fn covers_its_lane(&self) -> bool {
        matches!(
            self,
            Self::ChangeTouched { .. } | Self::SettingsChanged { .. } | Self::SecretAlerted { .. }
        )
    }
}

impl ForgeRepo {
    /// The lane of one of its changes.
    pub fn change_lane(&self, number: u64) -> String {
        change_lane(self, Some(number), None)
    }
}

fn change_lane(repo: &ForgeRepo, number: Option<u64>, head: Option<Oid>) -> String {
    match (number, head) {
        (Some(number), _) => format!("{}/{}/change/{number}", repo.forge, repo.id),
        (None, Some(head)) => format!("{}/{}/head/{head}", repo.forge, repo.id),
        (None, None) => format!("{}/{}/settings", repo.forge, repo.id),
    }
}

impl Display {
    /// The lane that it is shown in.
    pub fn lane(&self) -> String {
        change_lane(&self.repo, self.number, Some(self.head))
    }
}

/// What a forge says now of one of its alerts about a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leak {
    /// Whether the alert is open, and whoever issued the secret says that it is valid. An alert alone is a guess.
    pub in_use: bool,
    /// The blobs that hold it; asked for only if it is in use.
    pub blobs: Vec<Oid>,
}

/// The state that a status or check shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    /// Under evaluation.
    Pending,
    /// It may enter.
    Success,
    /// It may not.
    Failure,
    /// We failed: not a verdict.
    Error,
    /// It may not, and nothing is held up by that: the repository is in report-only mode, or this only tells.
    Neutral,
}

/// One note at a line of the change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// The path.
    pub path: String,
    /// First line, from 1.
    pub start_line: u32,
    /// Last line.
    pub end_line: u32,
    /// At most 255 characters.
    pub title: String,
    /// The text; no secret, no line of the file.
    pub message: String,
    /// Whether it denies.
    pub denies: bool,
}

/// What a command was answered; it stands in the sticky comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// `comment 55` or `button 9`: a command is answered once.
    pub source: String,
    /// Who gave it.
    pub by: String,
    /// What was asked, at most 200 characters.
    pub asked: String,
    /// The answer, Markdown.
    pub text: String,
}

/// What shall be seen at the forge about one evaluated head. Absolute: writing it twice shows it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Display {
    /// Where.
    pub repo: ForgeRepo,
    /// The change; `None` for a merge-queue head.
    pub number: Option<u64>,
    /// The commit that was evaluated: nothing is ever written to another.
    pub head: Oid,
    /// Unique for (head, policy, facts): our marker at the forge, by which we look before we write.
    pub evaluation: String,
    /// What the status says.
    pub state: CheckState,
    /// One line, at most 140 characters.
    pub title: String,
    /// Markdown, at most 65,535 characters.
    pub summary: String,
    /// Notes at lines, all of them; adapters send batches.
    pub annotations: Vec<Annotation>,
    /// The sticky comment's Markdown; `None`: fold the one that is there, if this is a verdict.
    pub comment: Option<String>,
    /// The answers that the comment has, for the next one about this head.
    #[serde(default)]
    pub answers: Vec<Answer>,
    /// When it was evaluated.
    pub at: Timestamp,
}
