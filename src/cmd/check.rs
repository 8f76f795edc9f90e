//! `lychgate check`.
