//! Keywords and tokens between any bytes: the vector code finds what plain code finds, and pieces what the whole has.
#![no_main]

use lychgate::scan::stream::Stream;
use lychgate::scan::{FingerprintKey, RuleSet, Scanner, is_packed};

/// What the bytes up to 15 stand for: parts of keywords and of what follows them.
const PARTS: [&str; 16] = [
    "gh", "p_", "gl", "pat-", "AKIA", "-----BEGIN ", "PRIVATE KEY", "-----", "password", " = ", "\"", "token", "sk-",
    "0123456789abcdef", "Zq7Rw2Lx9Tn4Kb8V", "\n",
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let part = |byte: &u8| PARTS.get(usize::from(*byte)).map_or(vec![*byte], |part| part.as_bytes().to_vec());
    let text: Vec<u8> = data.iter().flat_map(part).collect();
    let key = FingerprintKey::new(Box::new([7; 32]));
    let scanner = Scanner::new(RuleSet::builtin(), &key);
    let found = scanner.scan(&text);
    let plainly = Scanner::new(RuleSet::builtin(), &key).one_byte_at_a_time();
    assert_eq!(plainly.scan(&text), found);
    if !is_packed(&text) {
        let mut stream = Stream::new(&scanner, 0);
        let mut pieces: Vec<_> = text.chunks(61).flat_map(|piece| stream.feed(piece)).collect();
        pieces.extend(stream.finish());
        assert_eq!(pieces, found);
    }
});
