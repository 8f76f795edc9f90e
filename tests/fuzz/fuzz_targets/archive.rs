//! Archives with whole headers, lying sizes and any content, in each other: no panic, spans inside, bounded work.
#![no_main]

use lychgate::scan::{FingerprintKey, RuleSet, Scanner};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut members = Vec::new();
    let mut rest = data;
    while let [kind, size, lie, more @ ..] = rest {
        let (content, after) = more.split_at(more.len().min(usize::from(*size)));
        let said = content.len().wrapping_add_signed(isize::from(lie.cast_signed() / 64));
        let inner = [&members[..], content].concat();
        match kind % 4 {
            0 => members = zip(*kind, said, &inner),
            1 => members = tar(said, &inner),
            2 => members = [b"!<arch>\n".to_vec(), ar(said, &inner)].concat(),
            _ => members = cpio(said, &inner),
        }
        rest = after;
    }
    let key = FingerprintKey::new(Box::new([7; 32]));
    for found in Scanner::new(RuleSet::builtin(), &key).scan(&members) {
        assert!(found.span.start <= found.span.end && found.span.end <= members.len() as u64);
    }
});

fn zip(kind: u8, said: usize, content: &[u8]) -> Vec<u8> {
    let method = [0, 8, 12, 93, 95, 8, 0, 8][usize::from(kind >> 5)];
    let flags = kind >> 2 & 8;
    let mut zip = [b"PK\x03\x04\x14\0", &[flags, 0, method, 0][..], &[0; 8]].concat();
    zip.extend((said as u32).to_le_bytes());
    zip.extend([0, 0, 0, 0, 1, 0, 0, 0, b'a']);
    zip.extend(content);
    let mut entry = [0; 46];
    entry[..4].copy_from_slice(b"PK\x01\x02");
    entry[42] = kind;
    zip.extend(entry);
    zip
}

fn tar(said: usize, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[0] = b'a';
    block[124..135].copy_from_slice(format!("{:011o}", said & 0xfff_ffff).as_bytes());
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block.extend(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

fn ar(said: usize, content: &[u8]) -> Vec<u8> {
    let header = format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", "a", 0, 0, 0, 0, said & 0xfff_ffff);
    [header.as_bytes(), content].concat()
}

fn cpio(said: usize, content: &[u8]) -> Vec<u8> {
    let fields = [0, 0, 0, 0, 0, 0, said as u32, 0, 0, 0, 0, 2, 0];
    let fields: String = fields.iter().map(|n| format!("{n:08x}")).collect();
    [b"070701", fields.as_bytes(), b"a\0", content].concat()
}
