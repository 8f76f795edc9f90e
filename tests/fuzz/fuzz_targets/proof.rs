//! Proof texts: any text is refused or read, what is read writes back the same, and no proof makes the verifier fail.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lychgate::tlog::{self, Proof};

fuzz_target!(|text: &str| {
    if let Ok(proof) = Proof::parse(text) {
        assert_eq!(Proof::parse(&proof.to_text()), Ok(proof.clone()));
        let size = proof.index.saturating_add(proof.hashes.len() as u64);
        tlog::verify_inclusion([0; 32], proof.index, size, &proof.hashes, &[0; 32]);
        tlog::verify_consistency((proof.index, &[0; 32]), (size, &[0; 32]), &proof.hashes);
    }
});
