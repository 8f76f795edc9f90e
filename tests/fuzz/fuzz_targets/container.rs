//! Containers of every kind with any content, through the whole scanner: no panic, spans inside, bounded work.
#![no_main]

use lychgate::scan::{FingerprintKey, MAX_EXCERPT, RuleSet, Scanner};

const MAGICS: [&[u8]; 17] = [
    b"PK\x03\x04",
    b"\x1f\x8b\x08\0",
    b"\xfd7zXZ\0\0\x04",
    b"BZh91AY&SY",
    b"\x28\xb5\x2f\xfd",
    b"%PDF-1.4 stream\n\x78\x9c",
    b"\x89PNG\r\n\x1a\n\0\0\0\x09zTXta\0\0",
    b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xff\xd8\xff\xe1\0\x70http://ns.adobe.com/xmp/extension/\0",
    b"!<arch>\n",
    b"\xed\xab\xee\xdb",
    b"\x50\x2a\x4d\x18\0\0\0\0\x28\xb5\x2f\xfd",
    b"SQLite format 3\0\x02\0\0\0\0",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"H4sI",
    b"7z\xbc\xaf\x27\x1c\0\x04",
    b"7z\xbc\xaf\x27\x1c\0\x04\0\0\0\0",
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let input = [MAGICS[usize::from(*kind) % MAGICS.len()], rest].concat();
    let key = FingerprintKey::new(Box::new([7; 32]));
    for found in Scanner::new(RuleSet::builtin(), &key).scan(&input) {
        assert!(found.span.start <= found.span.end && found.span.end <= input.len() as u64);
        assert!(found.excerpt.chars().count() <= MAX_EXCERPT);
    }
});
