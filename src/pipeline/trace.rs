//! Spans: how long each step of a delivery took, for a collector of traces.
//!
//! In scope: what a span holds, and handing it on. Out of scope: sending it
//! (`cmd::serve`). A span has no text of a forge's or a developer's: only ids,
//! lanes and words of ours.

use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// One step that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What was done: `accept`, `delivery`, `display`.
    pub name: &'static str,
    /// What belongs together, such as all steps of one delivery.
    pub trace: [u8; 16],
    /// How long it took; it ends when it is handed on.
    pub took: Duration,
    /// Whether it did what it should.
    pub ok: bool,
    /// Fields that hold no secret.
    pub fields: Vec<(&'static str, String)>,
}

type Taker = Box<dyn Fn(Span) + Send + Sync>;

/// Where spans go; nowhere until somebody takes them.
#[derive(Default)]
pub struct Traces(OnceLock<Taker>);

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traces(taken: {})", self.0.get().is_some())
    }
}

impl Traces {
    /// Hands all spans to this one from now on. Only the first taker counts.
    pub fn take(&self, taker: impl Fn(Span) + Send + Sync + 'static) {
        let _ = self.0.set(Box::new(taker));
    }

    /// Ends a step that began at `begun`.
    ///
    /// * `seed`: what all steps of one trace have in common.
    pub fn end(&self, name: &'static str, seed: &str, begun: Instant, ok: bool, fields: &[(&'static str, &str)]) {
        let Some(taker) = self.0.get() else { return };
        let mut trace = [0; 16];
        trace.copy_from_slice(&Sha256::digest(seed.as_bytes())[..16]);
        taker(Span {
            name,
            trace,
            took: begun.elapsed(),
            ok,
            fields: fields.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
        });
    }
}
