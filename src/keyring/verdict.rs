//! Verdicts that both signature formats share, and the fact that a verdict becomes.

use super::folder::{Reason, Revocation};
use crate::facts::{SignatureFact, SignatureState};
use crate::push::Timestamp;

/// Most characters of a detail: parts of a signature may be quoted in it.
const MAX_DETAIL: usize = 300;

/// A state and the sentence that explains it.
pub(super) struct Verdict {
    pub(super) state: SignatureState,
    pub(super) detail: String,
}

impl Verdict {
    pub(super) fn new(state: SignatureState, detail: impl Into<String>) -> Self {
        let detail: String = detail.into();
        let shown = detail
            .chars()
            .take(MAX_DETAIL)
            .map(|c| if c.is_control() { ' ' } else { c });
        Self {
            state,
            detail: shown.collect(),
        }
    }

    pub(super) fn is_good(&self) -> bool {
        self.state == SignatureState::Good
    }

    pub(super) fn fact(self, principal: Option<String>, emails: Vec<String>) -> SignatureFact {
        SignatureFact {
            state: self.state,
            key: None,
            principal,
            emails,
            detail: self.detail,
            first_use: false,
        }
    }
}

/// The fact of a signature whose key is not known.
pub(super) fn no_key(state: SignatureState, detail: impl Into<String>) -> SignatureFact {
    Verdict::new(state, detail).fact(None, Vec::new())
}

/// What our own revocation says.
pub(super) fn revoked(revocation: Revocation) -> Verdict {
    let why = match revocation.reason {
        Reason::Compromised => "compromised".to_owned(),
        Reason::Superseded => format!("superseded from {}", revocation.from),
        Reason::Retired => format!("retired from {}", revocation.from),
    };
    Verdict::new(SignatureState::Revoked, format!("the keyring records the key as {why}"))
}

/// Refuses a committer's or tagger's time that lies more than `skew` seconds after the receive time.
pub(super) fn claimed_time(claimed: Timestamp, received_at: Timestamp, skew: i64) -> Verdict {
    if claimed.unix() > received_at.unix().saturating_add(skew.max(0)) {
        let detail = format!("it claims to be made at {claimed}, but was received at {received_at}");
        return Verdict::new(SignatureState::OutsideTime, detail);
    }
    Verdict::new(SignatureState::Good, "")
}
