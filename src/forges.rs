//! The forges' APIs: GitHub / GHES, Forgejo / Gitea, GitLab behind the port [`crate::port::Forge`].
//!
//! In scope: what to ask a forge and what to write there, so that a repetition
//! shows nothing twice and a moved head gets nothing. Out of scope: webhooks
//! (the server), when to call again (`pipeline`, which gets
//! [`ForgeError::Later`](crate::port::ForgeError::Later)), and the words shown.
//!
//! All three use one HTTP client, octocrab's raw transport, without its
//! retries, redirects, authentication and pagination, which misbehave outside
//! of `api.github.com`. Only a call without effect (GET) is repeated here.

mod account;
mod any;
mod board;
mod client;
mod fault;
pub mod forgejo;
pub mod github;
pub mod gitlab;
mod glob;
mod lane;
pub mod link;
mod path;
mod text;

use crate::forge::guard::GuardedTags;

/// Most commits of a landing that a forge is asked about one by one: each is a call.
const MOST_STEPS: usize = 100;

/// What is left to a person about tags, since no call of the forge does it.
fn by_hand(tags: &GuardedTags) -> String {
    let name = tags.short().unwrap_or(&tags.pattern);
    format!("by hand: protect the tags {name} in the repository's settings")
}

pub use any::AnyForge;
pub use client::Manner;
pub use forgejo::Forgejo;
pub use github::{GitHub, GitHubApp};
pub use gitlab::Gitlab;
