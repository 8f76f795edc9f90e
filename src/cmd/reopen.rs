//! `lychgate reopen`.
