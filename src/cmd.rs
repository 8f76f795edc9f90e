//! Commands: arguments in, exit code out. The only place that constructs adapters.

pub mod check;
pub mod error;
pub mod home;
pub mod hook;
pub mod init;
pub mod keys;
pub mod log;
pub mod output;
pub mod reopen;
pub mod scan;
pub mod verify;
