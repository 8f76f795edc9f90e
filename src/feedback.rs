//! All text that a developer sees in git's terminal, built in one place. Pure.
/// remedies
pub mod remedy {
    use crate::facts::SignatureState; use crate::finding::Place; use crate::push::{Oid, RefName};
    pub fn not_allowed(_: &RefName) -> Vec<String> { Vec::new() }
    pub fn deletion(_: &RefName) -> Vec<String> { Vec::new() }
    pub fn tag_moved(_: &RefName) -> Vec<String> { Vec::new() }
    pub fn non_fast_forward(_: &RefName) -> Vec<String> { Vec::new() }
    pub fn unsigned_tag(_: &RefName) -> Vec<String> { Vec::new() }
    pub fn signature(_: SignatureState, _: &RefName, _: Option<Oid>, _: usize) -> Vec<String> { Vec::new() }
    pub fn committer(_: &RefName, _: &[String]) -> Vec<String> { Vec::new() }
    pub fn secret(_: Option<&str>, _: &Place, _: &RefName) -> Vec<String> { Vec::new() }
    pub fn bound(_: &str) -> Vec<String> { Vec::new() }
    pub fn malformed(_: &RefName) -> Vec<String> { Vec::new() }
}
