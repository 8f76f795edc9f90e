//! An account with an access token: its client, its pace, who it is, and its comments under a change.
//!
//! In scope: what Forgejo and GitLab have in common. Out of scope: their
//! paths, and the answers that differ.

use super::board::{Board, Posted};
use super::client::{Answer, Call, Client, Credential, Manner, Session};
use super::lane::Lane;
use crate::forge::ForgeRepo;
use crate::port::ForgeError;
use http::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::OnceCell;

/// An account of which the forge says `U` when it is asked who calls.
pub(super) struct Account<U> {
    /// The forge's name in our configuration.
    pub(super) forge: String,
    pub(super) token: SecretString,
    client: Client,
    lane: Lane,
    credential: fn(&SecretString) -> Credential,
    user: OnceCell<U>,
}

impl<U: DeserializeOwned + Send + Sync> Account<U> {
    /// Must be called within a Tokio runtime; opens no connection.
    ///
    /// # Errors
    /// `base-url-wrong`, `client-unavailable`.
    pub(super) fn new(
        forge: &str,
        api: &str,
        token: SecretString,
        manner: Manner,
        credential: fn(&SecretString) -> Credential,
    ) -> Result<Self, ForgeError> {
        Ok(Self {
            forge: forge.to_owned(),
            client: Client::new(api, "application/json", manner)?,
            lane: Lane::new(manner.mutation_gap, manner.mutation_burst),
            token,
            credential,
            user: OnceCell::new(),
        })
    }

    /// Who calls; asked once.
    pub(super) async fn user(&self) -> Result<&U, ForgeError> {
        self.user.get_or_try_init(|| self.get("/user")).await
    }

    /// The repository with that id and name, at this forge.
    pub(super) fn repo(&self, id: u64, full_name: String) -> ForgeRepo {
        ForgeRepo {
            forge: self.forge.clone(),
            id,
            full_name,
            installation: None,
        }
    }

    /// The forge's web address, below which the repositories are: the API's without `below`.
    pub(super) fn web(&self, below: &str) -> &str {
        self.client.base.strip_suffix(below).unwrap_or(&self.client.base)
    }

    /// `KIND(name at URL)`, for `Debug`: nothing else of it may be shown.
    pub(super) fn shown(&self, kind: &str) -> String {
        format!("{kind}({} at {})", self.forge, self.client.base)
    }
}

impl<U: Send + Sync> Session for Account<U> {
    async fn send(&self, call: &Call) -> Result<Answer, ForgeError> {
        self.client
            .call(&self.lane, &(self.credential)(&self.token), call)
            .await
    }

    fn client(&self) -> &Client {
        &self.client
    }
}

/// What somebody wrote under a change.
#[derive(Deserialize)]
pub(super) struct Written {
    id: u64,
    #[serde(default)]
    body: String,
    /// GitLab says `author`.
    #[serde(alias = "author")]
    user: Option<Writer>,
}

#[derive(Deserialize)]
struct Writer {
    id: u64,
}

impl Written {
    /// Whether that account wrote it, and it begins with `marker`.
    pub(super) fn is(&self, account: u64, marker: &str) -> bool {
        self.user.as_ref().is_some_and(|user| user.id == account) && self.body.starts_with(marker)
    }
}

/// The comments of one change.
pub(super) struct Thread<'a, U> {
    pub(super) session: &'a Account<U>,
    /// Id of the account that we are.
    pub(super) account: u64,
    /// Where they are listed and written.
    pub(super) all: String,
    /// What the listing takes, such as `?per_page=100`.
    pub(super) query: &'static str,
    /// Where each of them is, before its id.
    pub(super) each: String,
    pub(super) edit: Method,
}

impl<U: Send + Sync> Board for Thread<'_, U> {
    async fn ours(&self, marker: &str) -> Result<Vec<Posted>, ForgeError> {
        let all: Vec<Written> = self.session.list(&format!("{}{}", self.all, self.query)).await?;
        let ours = all.into_iter().filter(|written| written.is(self.account, marker));
        Ok(ours
            .map(|written| Posted {
                id: written.id,
                body: written.body,
            })
            .collect())
    }

    async fn create(&self, body: String) -> Result<(), ForgeError> {
        let call = Call::write(Method::POST, self.all.clone(), json!({ "body": body }));
        self.session.send(&call).await.map(drop)
    }

    async fn update(&self, id: u64, body: String) -> Result<(), ForgeError> {
        let path = format!("{}/{id}", self.each);
        let call = Call::write(self.edit.clone(), path, json!({ "body": body }));
        self.session.send(&call).await.map(drop)
    }

    async fn delete(&self, id: u64) -> Result<(), ForgeError> {
        let call = Call::delete(format!("{}/{id}", self.each));
        self.session.send(&call).await.map(drop)
    }
}
