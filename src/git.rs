//! Adapter: a Git repository with its quarantine, read by gix.
