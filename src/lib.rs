//! Lychgate guards the place where code enters an organisation, and makes that guard's word last.
//!
//! Layers, each of which sees only those above it; `tests/it/layers.rs` reads
//! the imports and fails when one looks down:
//!
//! 1. Vocabulary: [`push`], [`finding`], [`rule`], [`guarantee`].
//! 2. Core, pure: [`object`], [`facts`], [`config`], [`scan`], [`check`], [`decision`],
//!    [`attest`], [`tlog`], [`status`], [`verify`], [`feedback`], [`report`],
//!    [`baseline`], [`gitleaks`].
//! 3. Ports: [`port`].
//! 4. Adapters, one vendor each: [`git`], [`keyring`], [`signer`], [`store`].
//! 5. Flow: [`pipeline`], [`worker`].
//! 6. Commands: [`cmd`].

pub mod finding;
pub mod guarantee;
pub mod push;
pub mod rule;

pub mod attest;
pub mod baseline;
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

pub mod port;

pub mod git;
pub mod keyring;
pub mod signer;
pub mod store;

pub mod pipeline;
pub mod worker;

pub mod cmd;
