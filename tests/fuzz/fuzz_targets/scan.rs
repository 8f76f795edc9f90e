//! Any bytes through the whole matching core with the shipped rules: no panic, spans inside, bounded excerpts.
#![no_main]

use lychgate::scan::{FingerprintKey, MAX_EXCERPT, RuleSet, Scanner};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let key = FingerprintKey::new(Box::new([7; 32]));
    let scanner = Scanner::new(RuleSet::builtin(), &key);
    for found in scanner.scan(data) {
        assert!(found.span.start < found.span.end && found.span.end <= data.len() as u64);
        assert!(found.excerpt.chars().count() <= MAX_EXCERPT);
    }
    let (_, shown) = scanner.scan_name(data);
    assert!(!shown.chars().any(char::is_control));
});
