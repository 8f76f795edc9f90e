//! The keyring: real OpenPGP and SSH keys, each state of a signature, and the `keys` command.

#[path = "keyring/kit.rs"]
pub(crate) mod kit;
