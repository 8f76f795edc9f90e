//! The strict commit reader: no input panics, and what it accepts keeps its bounds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(commit) = lychgate::object::commit(data)
        && let Some(parts) = commit.signature
    {
        assert!(parts.payload.len() < data.len());
        assert!(parts.signature.len() <= lychgate::object::MAX_SIGNATURE_BYTES);
    }
});
