//! GitHub and GitHub Enterprise Server, as a GitHub App.
//!
//! In scope: the App's JWT, one token an installation, the port's calls. Check
//! runs are in `checks`, comments in `comments`, redelivery in
//! `deliveries`. Out of scope: webhooks.
//!
//! API: <https://docs.github.com/en/rest>

mod checks;
mod comments;
mod deliveries;
mod guard;
mod leaks;
mod needs;
mod session;
mod tags;
mod wire;

use super::board;
use super::client::{Client, Manner, Session};
use super::fault::{self, refused};
use super::lane::Lane;
use super::{path, text};
use crate::forge::guard::{GuardedTags, Landing, Protection, Wanted};
use crate::forge::{Change, Display, ForgeRepo, Leak, Permission};
use crate::port::{FetchSource, Forge, ForgeError, OpenChange};
use crate::push::{Oid, RefName, Timestamp};
use comments::Thread;
use octocrab::EncodingKey;
use secrecy::{ExposeSecret, SecretString};
use session::{AsAdmin, AsApp, AsInstallation, Installation};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Identifiers of the buttons of a check run, as `check_run.requested_action` brings them back.
pub mod action {
    /// "Re-check".
    pub const RECHECK: &str = "recheck";
    /// "Request waiver".
    pub const WAIVER: &str = "waiver";
    /// "Not a secret".
    pub const NOT_A_SECRET: &str = "not-a-secret";
}

/// What a GitHub App is configured with.
pub struct GitHubApp {
    /// The forge's name in our configuration.
    pub forge: String,
    /// `https://api.github.com`, or `https://HOST/api/v3` of a GitHub Enterprise Server.
    pub api: String,
    /// The App's id, a number.
    pub app_id: u64,
    /// The App's private key, PEM (PKCS #1 as GitHub gives it, or PKCS #8).
    pub key: SecretString,
    /// An administrator's token, for changing protection; the bot has none.
    pub admin: Option<SecretString>,
    /// Waiting times.
    pub manner: Manner,
}

/// The adapter. `Debug` shows its name and URL only.
pub struct GitHub {
    forge: String,
    app_id: u64,
    key: EncodingKey,
    admin: Option<SecretString>,
    client: Client,
    /// For calls as the App.
    app_lane: Lane,
    /// For tokens, which no gap shall hold up.
    token_lane: Lane,
    installations: Mutex<HashMap<u64, Arc<Installation>>>,
}

impl fmt::Debug for GitHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GitHub({} at {})", self.forge, self.client.base)
    }
}

impl GitHub {
    /// Makes the adapter. Must be called within a Tokio runtime; opens no connection.
    ///
    /// # Errors
    /// `app-key-unreadable`, `base-url-wrong`, `client-unavailable`.
    pub fn new(app: GitHubApp) -> Result<Self, ForgeError> {
        let key = EncodingKey::from_rsa_pem(app.key.expose_secret().as_bytes())
            .map_err(|_| refused("app-key-unreadable", "the App's private key is no RSA key in PEM"))?;
        Ok(Self {
            forge: app.forge,
            app_id: app.app_id,
            key,
            admin: app.admin,
            client: Client::new(&app.api, "application/vnd.github+json", app.manner)?,
            app_lane: Lane::new(app.manner.mutation_gap, app.manner.mutation_burst),
            token_lane: Lane::new(Duration::ZERO, 1),
            installations: Mutex::default(),
        })
    }

    fn as_app(&self) -> AsApp<'_> {
        AsApp {
            hub: self,
            lane: &self.app_lane,
        }
    }

    fn as_installation(&self, id: u64) -> AsInstallation<'_> {
        let mut all = self.installations.lock().unwrap_or_else(PoisonError::into_inner);
        let manner = self.client.manner;
        let installation = all.entry(id).or_insert_with(|| Arc::new(Installation::new(id, manner)));
        AsInstallation {
            hub: self,
            installation: Arc::clone(installation),
        }
    }

    /// The installation that a repository names, or the one that the forge names for it.
    async fn session(&self, repo: &ForgeRepo) -> Result<AsInstallation<'_>, ForgeError> {
        let id = match repo.installation {
            Some(id) => id,
            None => {
                let path = format!("/repos/{}/installation", path::repo(repo)?);
                self.as_app().get::<wire::InstallationRef>(&path).await?.id
            }
        };
        Ok(self.as_installation(id))
    }

    /// Whether the change's head is still the one that was evaluated; a merge queue's head has none to compare.
    async fn is_head(&self, session: &AsInstallation<'_>, display: &Display) -> Result<bool, ForgeError> {
        let Some(number) = display.number else {
            let found: wire::Repository = session.get(&format!("/repos/{}", path::repo(&display.repo)?)).await?;
            return path::same(&display.repo, found.id).map(|()| true);
        };
        let pull: wire::Pull = session.get(&pull_path(&display.repo, number)?).await?;
        path::same(&display.repo, pull.base.repo.id)?;
        Ok(pull.head.sha == display.head)
    }

    async fn found(&self, repo: &ForgeRepo) -> Result<ForgeRepo, ForgeError> {
        let session = self.session(repo).await?;
        let found: wire::Repository = session.get(&format!("/repos/{}", path::repo(repo)?)).await?;
        path::same(repo, found.id)?;
        Ok(ForgeRepo {
            full_name: found.full_name,
            installation: Some(session.installation.id),
            ..repo.clone()
        })
    }

    async fn branch(&self, session: &impl Session, at: &str, name: &RefName) -> Result<Option<Oid>, ForgeError> {
        let path = format!("/repos/{at}/branches/{}", path::encoded(name.short()));
        let found: Option<wire::Branch> = session.find(&path).await?;
        Ok(found.map(|found| found.commit.sha))
    }

    /// `https://github.com` or the server's own, for people and for Git.
    fn web(&self) -> String {
        match self.client.base.as_str() {
            "https://api.github.com" => "https://github.com".to_owned(),
            base => base.strip_suffix("/api/v3").unwrap_or(base).to_owned(),
        }
    }
}

fn pull_path(repo: &ForgeRepo, number: u64) -> Result<String, ForgeError> {
    Ok(format!("/repos/{}/pulls/{number}", path::repo(repo)?))
}

impl Forge for GitHub {
    async fn change(&self, repo: &ForgeRepo, number: u64) -> Result<Change, ForgeError> {
        let session = self.session(repo).await?;
        let pull: wire::Pull = session.get(&pull_path(repo, number)?).await?;
        let base: RefName = format!("refs/heads/{}", pull.base.name)
            .parse()
            .map_err(|_| refused("base-unreadable", "the change's base is no branch that Git accepts"))?;
        // The pull request's own `base.sha` is from its last push; the branch may have moved since.
        let tip = self.branch(&session, &path::repo(repo)?, &base).await?;
        Ok(Change {
            repo: ForgeRepo {
                forge: self.forge.clone(),
                id: pull.base.repo.id,
                full_name: pull.base.repo.full_name,
                installation: Some(session.installation.id),
            },
            number,
            open: pull.state == "open",
            base,
            base_oid: tip.unwrap_or(pull.base.sha),
            head_oid: pull.head.sha,
            author: pull.user.map_or_else(|| "ghost".to_owned(), |user| user.login),
            merged_as: pull.merge_commit_sha.filter(|_| pull.merged),
        })
    }

    async fn open_changes(&self, repo: &ForgeRepo) -> Result<Vec<u64>, ForgeError> {
        let open = self.open_heads(repo).await?;
        Ok(open.into_iter().map(|change| change.number).collect())
    }

    async fn open_heads(&self, repo: &ForgeRepo) -> Result<Vec<OpenChange>, ForgeError> {
        let session = self.session(repo).await?;
        let path = format!("/repos/{}/pulls?state=open&per_page=100", path::repo(repo)?);
        let pulls: Vec<wire::Pull> = session.list(&path).await?;
        let open = |pull: wire::Pull| OpenChange {
            number: pull.number,
            at: format!("refs/heads/{}", pull.base.name)
                .parse()
                .ok()
                .map(|base| (pull.head.sha, base)),
        };
        Ok(pulls.into_iter().map(open).collect())
    }

    /// An installation that has withdrawn our access has no repositories for us; it hides no other's.
    async fn repositories(&self) -> Result<Vec<ForgeRepo>, ForgeError> {
        let all: Vec<wire::InstallationRef> = self.as_app().list("/app/installations?per_page=100").await?;
        let mut found = Vec::new();
        for installation in all.iter().filter(|one| one.suspended_at.is_none()) {
            let session = self.as_installation(installation.id);
            let listed = session.pages("/installation/repositories?per_page=100", |page: wire::Repositories| {
                let served = page.repositories.into_iter().filter(|repo| !repo.archived);
                found.extend(served.map(|repo| ForgeRepo {
                    forge: self.forge.clone(),
                    id: repo.id,
                    full_name: repo.full_name,
                    installation: Some(installation.id),
                }));
                true
            });
            match listed.await {
                Ok(()) | Err(ForgeError::Refused { .. }) => {}
                Err(why) => return Err(why),
            }
        }
        Ok(found)
    }

    /// The new owner's installation is another one: the old one sees nothing any more, or is gone itself.
    async fn whereabouts(&self, repo: &ForgeRepo) -> Result<ForgeRepo, ForgeError> {
        match self.found(repo).await {
            Err(ForgeError::Refused { code, .. }) if code != fault::GONE && repo.installation.is_some() => {
                let anew = ForgeRepo {
                    installation: None,
                    ..repo.clone()
                };
                self.found(&anew).await
            }
            found => found,
        }
    }

    async fn permission(&self, repo: &ForgeRepo, account: &str) -> Result<Permission, ForgeError> {
        let session = self.session(repo).await?;
        let account = path::encoded(account);
        let path = format!("/repos/{}/collaborators/{account}/permission", path::repo(repo)?);
        let found: Option<wire::Permission> = session.find(&path).await?;
        Ok(found.map_or(Permission::None, |found| found.meaning()))
    }

    /// With a number, all that GitHub keeps of that change: `head`, and `merge` where it merges cleanly.
    async fn fetch_source(&self, repo: &ForgeRepo, number: Option<u64>) -> Result<FetchSource, ForgeError> {
        let session = self.session(repo).await?;
        path::repo(repo)?;
        Ok(FetchSource {
            url: format!("{}/{}.git", self.web(), repo.full_name),
            user: "x-access-token".to_owned(),
            password: session.token().await?,
            refspecs: text::refspecs("refs/pull", number),
        })
    }

    async fn show(&self, display: &Display) -> Result<bool, ForgeError> {
        checks::assert_whole(display)?;
        let session = self.session(&display.repo).await?;
        if !self.is_head(&session, display).await? {
            return Ok(false);
        }
        checks::show_run(&session, self.app_id, display).await?;
        checks::show_status(&session, display).await?;
        let Some(number) = display.number else { return Ok(true) };
        // The comment is not bound to a commit: look again, since the writes above took their time.
        if !self.is_head(&session, display).await? {
            return Ok(false);
        }
        let thread = Thread::new(&session, self.app_id, &display.repo, number)?;
        let marker = text::sticky_marker(&format!("app-{}", self.app_id), &display.repo, number);
        board::stick(&thread, &marker, display).await?;
        Ok(true)
    }

    async fn reply(&self, repo: &ForgeRepo, number: u64, marker: &str, text: &str) -> Result<(), ForgeError> {
        let session = self.session(repo).await?;
        let thread = Thread::new(&session, self.app_id, repo, number)?;
        board::reply(&thread, &text::marker("reply", marker), text).await
    }

    async fn redeliver(&self, since: Timestamp) -> Result<u32, ForgeError> {
        deliveries::redeliver(&self.as_app(), since).await
    }

    async fn protection(&self, repo: &ForgeRepo, name: &RefName) -> Result<Protection, ForgeError> {
        guard::protection(&self.session(repo).await?, self.app_id, repo, name).await
    }

    async fn landing(&self, repo: &ForgeRepo, name: &RefName, steps: &[Oid]) -> Result<Landing, ForgeError> {
        guard::landing(&self.session(repo).await?, self, repo, name, steps).await
    }

    /// As the administrator whose token was given; the App itself only reads settings.
    async fn protect(
        &self,
        repo: &ForgeRepo,
        name: &RefName,
        wanted: Wanted,
        dry_run: bool,
    ) -> Result<Vec<String>, ForgeError> {
        let session = self.session(repo).await?;
        let actual = guard::protection(&session, self.app_id, repo, name).await?;
        match &self.admin {
            Some(token) => {
                let admin = AsAdmin { hub: self, token };
                guard::protect(&admin, self.app_id, repo, name, wanted, &actual, dry_run).await
            }
            None => guard::protect(&session, self.app_id, repo, name, wanted, &actual, dry_run).await,
        }
    }

    async fn tag_protection(&self, repo: &ForgeRepo, names: &[RefName]) -> Result<Vec<Protection>, ForgeError> {
        tags::protection(&self.session(repo).await?, repo, names).await
    }

    /// As [`Forge::protect`]: as the administrator.
    async fn protect_tags(
        &self,
        repo: &ForgeRepo,
        tags: &GuardedTags,
        dry_run: bool,
    ) -> Result<Vec<String>, ForgeError> {
        let session = self.session(repo).await?;
        let actual = tags::protection(&session, repo, &tags.names).await?;
        match &self.admin {
            Some(token) => tags::protect(&AsAdmin { hub: self, token }, repo, tags, &actual, dry_run).await,
            None => tags::protect(&session, repo, tags, &actual, dry_run).await,
        }
    }

    async fn missing(&self, repo: &ForgeRepo) -> Result<Vec<String>, ForgeError> {
        let installation = self.session(repo).await?.installation.id;
        needs::missing(&self.as_app(), installation).await
    }

    async fn leak(&self, repo: &ForgeRepo, alert: u64) -> Result<Option<Leak>, ForgeError> {
        leaks::leak(&self.session(repo).await?, repo, alert).await
    }

    async fn upload(&self, repo: &ForgeRepo, name: &str, head: Oid, sarif: &str) -> Result<bool, ForgeError> {
        guard::upload(&self.session(repo).await?, repo, name, head, sarif).await
    }
}
