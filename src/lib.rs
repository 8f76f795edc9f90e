//! Lychgate guards the place where code enters an organisation, and makes that guard's word last.
//!
//! Layers, each of which sees only those above it; `tests/it/layers.rs` reads
//! the imports and fails when one looks down:
//!
//! 1. Vocabulary: [`push`], [`finding`], [`rule`], [`guarantee`], [`forge`], [`glob`].
//! 2. Core, pure: [`object`], [`facts`], [`config`], [`scan`], [`check`], [`decision`],
//!    [`attest`], [`tlog`], [`status`], [`verify`], [`feedback`], [`report`],
//!    [`baseline`], [`gitleaks`], [`waiver`]; with the bot [`webhook`], [`chat`].
//! 3. Ports: [`port`].
//! 4. Adapters, one vendor each: [`git`], [`keyring`], [`signer`], [`store`], [`verdicts`]; with the bot [`forges`],
//!    [`mirror`].
//! 5. Flow: [`pipeline`], [`worker`], [`server`].
//! 6. Commands: [`cmd`].
//!
//! The bot (`webhook`, `mirror`, `server` and what they need) is the feature
//! `bot`; its queue in PostgreSQL is the feature `postgres`. The gate needs neither.

pub mod finding;
pub mod forge;
pub mod glob;
pub mod guarantee;
pub mod push;
pub mod rule;

pub mod attest;
pub mod baseline;
#[cfg(feature = "bot")]
pub mod chat;
pub mod check;
pub mod config;
pub mod decision;
pub mod facts;
pub mod feedback;
pub mod gitleaks;
pub mod object;
pub mod report;
pub mod scan;
pub mod status;
pub mod tlog;
pub mod verify;
pub mod waiver;
#[cfg(feature = "bot")]
pub mod webhook;

pub mod port;

#[cfg(feature = "bot")]
pub mod forges;
pub mod git;
pub mod keyring;
#[cfg(feature = "bot")]
pub mod mirror;
pub mod signer;
pub mod store;
pub mod verdicts;

pub mod pipeline;
#[cfg(feature = "bot")]
pub mod server;
pub mod worker;

pub mod cmd;
