//! Who calls GitHub: the App with its JWT, or an installation with its token.
//!
//! In scope: one token an installation, asked for by one caller while the
//! others wait, renewed before it expires or once it is refused. Out of scope:
//! what is called.

use super::GitHub;
use super::wire::AccessToken;
use crate::forges::client::{Answer, Call, Client, Credential, Manner, Session};
use crate::forges::fault::{self, UNAUTHORIZED, refused};
use crate::forges::lane::Lane;
use crate::port::ForgeError;
use crate::push::Timestamp;
use http::Method;
use octocrab::models::AppId;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// GitHub's tokens live for an hour.
const LONGEST_LIFE: i64 = 3_600;
/// A token is renewed this long before it expires, so that a fetch that begins with it can end with it.
const RESERVE: i64 = 300;

/// The App itself.
pub(super) struct AsApp<'a> {
    pub(super) hub: &'a GitHub,
    pub(super) lane: &'a Lane,
}

impl Session for AsApp<'_> {
    async fn send(&self, call: &Call) -> Result<Answer, ForgeError> {
        let jwt = octocrab::auth::create_jwt(AppId(self.hub.app_id), &self.hub.key)
            .map_err(|_| refused("app-key-unreadable", "the App's private key cannot sign"))?;
        let credential = Credential::bearer(&SecretString::from(jwt));
        self.hub.client.call(self.lane, &credential, call).await
    }

    fn client(&self) -> &Client {
        &self.hub.client
    }
}

/// An administrator, for changing protection.
pub(super) struct AsAdmin<'a> {
    pub(super) hub: &'a GitHub,
    pub(super) token: &'a SecretString,
}

impl Session for AsAdmin<'_> {
    async fn send(&self, call: &Call) -> Result<Answer, ForgeError> {
        let credential = Credential::bearer(self.token);
        self.hub.client.call(&self.hub.app_lane, &credential, call).await
    }

    fn client(&self) -> &Client {
        &self.hub.client
    }
}

/// One installation's pace and token.
pub(super) struct Installation {
    pub(super) id: u64,
    lane: Lane,
    token: tokio::sync::Mutex<Option<Token>>,
}

struct Token {
    value: SecretString,
    fresh_until: Instant,
}

impl Installation {
    pub(super) fn new(id: u64, manner: Manner) -> Self {
        Self {
            id,
            lane: Lane::new(manner.mutation_gap, manner.mutation_burst),
            token: tokio::sync::Mutex::default(),
        }
    }
}

/// The App within one installation.
pub(super) struct AsInstallation<'a> {
    pub(super) hub: &'a GitHub,
    pub(super) installation: Arc<Installation>,
}

impl AsInstallation<'_> {
    /// The installation's token. Holds the lock while it asks: whoever comes meanwhile waits for the same one.
    pub(super) async fn token(&self) -> Result<SecretString, ForgeError> {
        let mut kept = self.installation.token.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| Instant::now() < token.fresh_until) {
            return Ok(token.value.clone());
        }
        let app = AsApp {
            hub: self.hub,
            lane: &self.hub.token_lane,
        };
        let path = format!("/app/installations/{}/access_tokens", self.installation.id);
        let answer = app
            .send(&Call::write(Method::POST, path, serde_json::json!({})))
            .await?;
        let token: AccessToken = answer.json()?;
        *kept = Some(Token {
            value: token.token.clone(),
            fresh_until: Instant::now() + life(&answer, &token.expires_at),
        });
        Ok(token.token)
    }

    /// Drops a token that was refused, unless another caller has renewed it already.
    async fn forget(&self, refused: &SecretString) {
        let mut kept = self.installation.token.lock().await;
        if kept
            .as_ref()
            .is_some_and(|kept| kept.value.expose_secret() == refused.expose_secret())
        {
            *kept = None;
        }
    }
}

/// How long to use a token, by the forge's own clock.
fn life(answer: &Answer, expires_at: &str) -> Duration {
    let expires: Option<i64> = expires_at.parse().ok().map(Timestamp::unix);
    let left = expires
        .zip(fault::date(answer))
        .map_or(LONGEST_LIFE, |(end, now)| end - now);
    Duration::from_secs(u64::try_from(left.min(LONGEST_LIFE) - RESERVE).unwrap_or_default())
}

impl Session for AsInstallation<'_> {
    async fn send(&self, call: &Call) -> Result<Answer, ForgeError> {
        let token = self.token().await?;
        let lane = &self.installation.lane;
        let first = self.hub.client.call(lane, &Credential::bearer(&token), call).await;
        let Err(ForgeError::Refused { code: UNAUTHORIZED, .. }) = first else {
            return first;
        };
        // Nothing was done, so even a write may be sent again with a new token.
        self.forget(&token).await;
        let token = self.token().await?;
        self.hub.client.call(lane, &Credential::bearer(&token), call).await
    }

    fn client(&self) -> &Client {
        &self.hub.client
    }
}
