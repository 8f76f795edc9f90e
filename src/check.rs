//! Checks: pure functions of facts and policy that return findings.
