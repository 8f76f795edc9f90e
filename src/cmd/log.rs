//! `lychgate log`.
