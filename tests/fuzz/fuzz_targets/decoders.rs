//! Every encoding of any bytes, one in another, through the whole scanner: no panic, spans inside.
#![no_main]

use lychgate::scan::{FingerprintKey, RuleSet, Scanner};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [ways @ .., _] = data.get(..4).unwrap_or_default() else {
        return;
    };
    let mut text = data[3..].to_vec();
    for way in ways {
        if text.len() < 1 << 14 {
            text = encode(*way, &text);
        }
    }
    let key = FingerprintKey::new(Box::new([7; 32]));
    for found in Scanner::new(RuleSet::builtin(), &key).scan(&text) {
        assert!(found.span.start < found.span.end && found.span.end <= text.len() as u64);
    }
});

fn encode(way: u8, text: &[u8]) -> Vec<u8> {
    let each = |form: &dyn Fn(u8) -> String| text.iter().map(|b| form(*b)).collect::<String>().into_bytes();
    let units = |width: usize, low: usize| -> Vec<u8> {
        let unit = |b: &u8| (0..width).map(|i| if i == low { *b } else { 0 }).collect::<Vec<u8>>();
        text.iter().flat_map(unit).collect()
    };
    match way % 14 {
        0 => base64(text),
        1 => lines(&base64(text), 60 + usize::from(way >> 4), b"\n"),
        2 => lines(&base64(text), 76, b"\r\n    "),
        3 => lines(&base64(text), 64, b"\\n"),
        4 => each(&|b| format!("{b:02x}")),
        5 => lines(&each(&|b| format!("{b:02x}")), 72, b"\n"),
        6 => each(&|b| format!("%{b:02X}")),
        7 => each(&|b| format!("\\u{b:04x}\\x{b:02x}\\u{{{b:x}}}")),
        8 => each(&|b| format!("&#{b};&#x{b:x};&quot;")),
        9 => lines(&each(&|b| format!("={b:02X}")), 72, b"=\n"),
        10 => units(2, usize::from(way >> 7)),
        11 => [&[0xff, 0xfe, 0, 0][..], &units(4, 0)].concat(),
        12 => units(4, usize::from(way >> 6)),
        _ => each(&|b| char::from_u32(0x400 + u32::from(b)).map_or(String::new(), |c| format!("a{c}"))),
    }
}

fn base64(text: &[u8]) -> Vec<u8> {
    let group = |three: &[u8]| {
        let bits = three.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        let digits = (0..=three.len()).map(move |i| ALPHABET[(bits >> (18 - 6 * i) & 63) as usize]);
        digits.collect::<Vec<u8>>()
    };
    text.chunks(3).flat_map(group).collect()
}

fn lines(text: &[u8], width: usize, end: &[u8]) -> Vec<u8> {
    text.chunks(width).collect::<Vec<_>>().join(end)
}
