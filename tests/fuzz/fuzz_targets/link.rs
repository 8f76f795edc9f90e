//! Pagination links: whatever a server writes, the credential stays below the forge's API.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lychgate::forges::link::{below, next_below};

const BASE: &str = "https://forge.test/api/v3";

fuzz_target!(|header: &str| {
    for path in [next_below(header, BASE), below(header, BASE)].into_iter().flatten() {
        assert!(path.starts_with('/') && !path.starts_with("//") && !path.contains(['\\', '#', ' ']));
    }
});
