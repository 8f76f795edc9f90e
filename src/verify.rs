//! Verification of an entry attestation: every check by name. Pure.
