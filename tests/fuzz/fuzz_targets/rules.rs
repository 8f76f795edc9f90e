//! Any text as a rule file: errors with places, or a set that can scan.
#![no_main]

use lychgate::scan::{FingerprintKey, RuleSet, Scanner};

libfuzzer_sys::fuzz_target!(|text: &str| {
    match RuleSet::parse(&[("fuzz.toml", text)]) {
        Err(errors) => assert!(!errors.is_empty() && errors.iter().all(|e| e.line >= 1)),
        Ok(rules) => {
            let key = FingerprintKey::new(Box::new([7; 32]));
            Scanner::new(&rules, &key).scan(text.as_bytes());
        }
    }
});
