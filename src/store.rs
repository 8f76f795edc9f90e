//! Adapter: the ledger in SQLite.
