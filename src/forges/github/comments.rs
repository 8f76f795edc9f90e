//! Comments of a pull request.
//!
//! In scope: those that our App wrote. Out of scope: which to write.
//!
//! <https://docs.github.com/en/rest/issues/comments>

use super::session::AsInstallation;
use super::wire::Comment;
use crate::forge::ForgeRepo;
use crate::forges::board::{Board, Posted};
use crate::forges::client::{Call, Session};
use crate::forges::path;
use crate::port::ForgeError;
use http::Method;
use serde_json::json;

/// The conversation of one pull request.
pub(super) struct Thread<'a> {
    session: &'a AsInstallation<'a>,
    app: u64,
    /// `/repos/owner/name/issues`.
    issues: String,
    number: u64,
}

impl<'a> Thread<'a> {
    pub(super) fn new(
        session: &'a AsInstallation<'a>,
        app: u64,
        repo: &ForgeRepo,
        number: u64,
    ) -> Result<Self, ForgeError> {
        Ok(Self {
            session,
            app,
            issues: format!("/repos/{}/issues", path::repo(repo)?),
            number,
        })
    }
}

impl Board for Thread<'_> {
    async fn ours(&self, marker: &str) -> Result<Vec<Posted>, ForgeError> {
        let path = format!("{}/{}/comments?per_page=100", self.issues, self.number);
        let all: Vec<Comment> = self.session.list(&path).await?;
        let ours = |comment: &Comment| {
            comment
                .performed_via_github_app
                .as_ref()
                .is_some_and(|app| app.id == self.app)
        };
        Ok(all
            .into_iter()
            .filter(ours)
            .map(|comment| Posted {
                id: comment.id,
                body: comment.body.unwrap_or_default(),
            })
            .filter(|posted| posted.body.starts_with(marker))
            .collect())
    }

    async fn create(&self, body: String) -> Result<(), ForgeError> {
        let path = format!("{}/{}/comments", self.issues, self.number);
        let call = Call::write(Method::POST, path, json!({ "body": body }));
        self.session.send(&call).await.map(drop)
    }

    async fn update(&self, id: u64, body: String) -> Result<(), ForgeError> {
        let call = Call::write(
            Method::PATCH,
            format!("{}/comments/{id}", self.issues),
            json!({ "body": body }),
        );
        self.session.send(&call).await.map(drop)
    }

    async fn delete(&self, id: u64) -> Result<(), ForgeError> {
        let call = Call::delete(format!("{}/comments/{id}", self.issues));
        self.session.send(&call).await.map(drop)
    }
}
