//! `lychgate keys`.
