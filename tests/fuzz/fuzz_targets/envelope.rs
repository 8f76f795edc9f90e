//! Bundles and envelopes: any bytes are refused or read, and what is read writes back to something that reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lychgate::attest::Bundle;

fuzz_target!(|data: &[u8]| {
    if let Ok(bundle) = Bundle::parse(data) {
        let again = bundle.envelope.to_json();
        assert_eq!(Bundle::parse(again.as_bytes()).map(|b| b.envelope), Ok(bundle.envelope));
    }
});
