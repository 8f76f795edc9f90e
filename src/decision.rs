//! The decision: a pure function of policy, facts, findings and now.
