//! Literals in parts and escapes through the whole scanner: no panic, spans inside.
#![no_main]

use lychgate::scan::{FingerprintKey, RuleSet, Scanner};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // Few characters, so that joints and escapes are frequent.
    let letters = b"\"' +.\\%&;#xu4142abgh_p\n";
    let text: Vec<u8> = data.iter().map(|b| letters[usize::from(*b) % letters.len()]).collect();
    let key = FingerprintKey::new(Box::new([7; 32]));
    for found in Scanner::new(RuleSet::builtin(), &key).scan(&text) {
        assert!(found.span.start < found.span.end && found.span.end <= text.len() as u64);
    }
});
