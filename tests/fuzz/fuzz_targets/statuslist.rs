//! Status lists: no text opens under a key that signed nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lychgate::attest::PublicKey;
use lychgate::push::Timestamp;
use lychgate::status::{Demand, VerifiedList};

/// The base point of P-256 as a public key.
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
";

fuzz_target!(|text: &str| {
    let demand = Demand {
        uri: "https://example.com/status/1",
        now: Timestamp::from_unix(0),
        largest_log_size: 0,
        max_age: None,
    };
    if let Ok(key) = PublicKey::from_pem(KEY) {
        let _ = VerifiedList::open(text, &key, demand);
    }
});
