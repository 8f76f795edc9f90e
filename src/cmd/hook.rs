//! `lychgate hook`.
