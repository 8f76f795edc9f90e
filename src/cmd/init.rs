//! `lychgate init`.
