//! The status list: what became of an attestation after it was issued. Pure.
