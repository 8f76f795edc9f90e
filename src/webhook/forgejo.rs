//! Forgejo's and Gitea's events: GitHub's shapes under their own names.
//! <https://forgejo.org/docs/latest/user/webhooks/>

use super::github::Payload;
use super::{Headers, Refused, ignored, json};
use crate::forge::ForgeEvent;

pub(super) fn event(forge: &str, headers: Headers<'_>, body: &[u8]) -> Result<ForgeEvent, Refused> {
    // Never the copies that are named after GitHub: they say less.
    let name = headers("x-forgejo-event").or_else(|| headers("x-gitea-event"));
    let name = name.ok_or(Refused::Unreadable)?;
    let payload = || json::<Payload>(body);
    match name.as_str() {
        "pull_request" => payload()?.change(forge),
        "pull_request_sync"
        | "pull_request_review_approved"
        | "pull_request_review_rejected"
        | "pull_request_review_comment"
        | "pull_request_approved"
        | "pull_request_rejected" => payload()?.touched(forge),
        "issue_comment" | "pull_request_comment" => Ok(payload()?.command(forge).unwrap_or_else(|| ignored(&name))),
        "push" => Ok(payload()?.push(forge)?.unwrap_or_else(|| ignored(&name))),
        "repository" => Ok(ForgeEvent::SettingsChanged {
            repo: payload()?.repo(forge).ok(),
        }),
        other => Ok(ignored(other)),
    }
}
