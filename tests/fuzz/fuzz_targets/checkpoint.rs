//! Checkpoints: no text opens under a key that signed nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lychgate::attest::PublicKey;
use lychgate::tlog::Checkpoint;

/// The base point of P-256 as a public key.
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
";

fuzz_target!(|text: &str| {
    if let Ok(key) = PublicKey::from_pem(KEY) {
        let _ = Checkpoint::open(text, &key);
    }
});
