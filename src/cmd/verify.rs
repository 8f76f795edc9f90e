//! `lychgate verify`.
