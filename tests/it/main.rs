//! The one integration binary: it links once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod attest;
#[cfg(feature = "bot")]
mod bot;
mod check;
mod cli;
mod crafted;
mod crash;
mod decision;
mod deltas;
mod deploy;
#[cfg(feature = "bot")]
mod fake_forge;
mod feedback;
#[cfg(feature = "bot")]
mod forges;
mod git_adapter;
mod hook;
mod init;
mod keyring;
mod layers;
mod ledger;
mod object;
mod places;
mod policy;
mod rules;
mod scan;
mod store;
mod support;
mod tidy;
mod transport;
mod verdicts;
mod waiver;
mod ways;
mod worker;
