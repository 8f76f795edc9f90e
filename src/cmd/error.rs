//! What a command can end with: exit codes, and the one mapping of errors to text.
//!
//! 0 allowed, clean, verified; 1 denied, findings, not verified; 2 usage or
//! configuration; 3 outage (and an outage denies).

use crate::port::Outage;
use std::fmt;

/// How a command ended, where it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Allowed, clean, verified: 0.
    Yes,
    /// Denied, findings, not verified: 1.
    No,
}

/// Why a command could not do its work.
#[derive(Debug)]
pub enum CommandError {
    /// The user's: arguments, configuration, a file of theirs. Exit code 2.
    Usage {
        /// Kebab-case code.
        code: &'static str,
        /// What is wrong and where; may have several lines.
        what: String,
        /// What to do next.
        next: String,
    },
    /// Ours or the system's. Exit code 3.
    Outage(Outage),
    /// A finding that ends a command by itself. Exit code 1.
    Finding {
        /// Kebab-case code.
        code: &'static str,
        /// What and where.
        what: String,
        /// What to do next.
        next: String,
    },
    /// Denied because of an outage whose message has been printed. Exit code 3.
    Denied,
}

impl CommandError {
    /// A usage error.
    pub fn usage(code: &'static str, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Usage {
            code,
            what: what.into(),
            next: next.into(),
        }
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Finding { .. } => 1,
            Self::Outage(_) | Self::Denied => 3,
        }
    }
}

impl From<Outage> for CommandError {
    fn from(outage: Outage) -> Self {
        Self::Outage(outage)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, what, next) = match self {
            Self::Usage { code, what, next } | Self::Finding { code, what, next } => (*code, what.clone(), next),
            Self::Outage(o) => (o.code, format!("{}: {}", o.what, o.why), &o.next),
            Self::Denied => return Ok(()),
        };
        write!(f, "error[{code}]: {what}")?;
        if next.is_empty() {
            Ok(())
        } else {
            write!(f, "\n  = help: {next}")
        }
    }
}
