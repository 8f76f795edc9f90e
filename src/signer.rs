//! Adapter: the attestation key in a file.
