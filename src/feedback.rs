//! All text that a developer sees in git's terminal, built in one place. Pure.
