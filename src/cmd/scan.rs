//! `lychgate scan`.
