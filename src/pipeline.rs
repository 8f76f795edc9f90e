//! The way of a push: facts, checks, decision, durable record.
