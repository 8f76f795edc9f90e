//! Statements: source provenance, Source VSA, re-open event; DSSE and Sigstore bundle. Pure.
