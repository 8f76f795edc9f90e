//! The scan core and its command from outside: what is found where, and that no secret is ever printed.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which may panic")]

mod bad_input;

use lychgate::cmd::error::{CommandError, Outcome};
use lychgate::cmd::output::Output;
use lychgate::cmd::scan::{self, ScanArgs};
use lychgate::finding::Confidence;
use lychgate::scan::stream::Stream;
use lychgate::scan::{FingerprintKey, MASK, Match, RuleSet, Scanner, TOO_MANY};
use proptest::prelude::*;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Rules of the tests' own, so that these tests stand whatever rules are shipped.
const RULES: &str = r##"
[[rule]]
id = "acme-token"
provider = "Acme"
kind = "token"
severity = "critical"
confidence = "high"
documentation = "https://acme.example/docs/tokens"
revoke = "https://acme.example/revoke"
regex = '\b(acme_[A-Za-z0-9]{30})(?:[^A-Za-z0-9]|$)'
keywords = ["acme_"]
entropy = 3.0
examples = ["acme<>_0a1b2c3d4e5f6g7h8i9j0k1l2m3n4o"]

[[rule]]
id = "acme-hub"
provider = "Acme"
kind = "checked token"
severity = "high"
confidence = "medium"
documentation = "https://acme.example/docs/tokens"
regex = '\bahb_[A-Za-z0-9]{36}\b'
keywords = ["ahb_"]
checksum = "github-crc32"
examples = ["ahb<>_0a1b2c3d4e5f6g7h8i9j0k1l2m3n4o012345"]

[[rule]]
id = "short-key"
provider = "Short"
kind = "key"
severity = "high"
confidence = "high"
documentation = "https://short.example/docs"
regex = 'sq-[a-f0-9]{16}'
keywords = ["sq-"]
examples = ["sq<>-0123456789abcdee"]

[[rule]]
id = "generic-secret"
provider = "Generic"
kind = "secret assignment"
severity = "medium"
confidence = "medium"
documentation = "https://owasp.org/www-community/vulnerabilities/Use_of_hard-coded_password"
regex = '''(?i)[\w-]{0,30}(?:password|secret)[\w-]{0,10}\s{0,3}[:=]\s{0,3}["']?(?P<secret>[^\s"']{8,60})'''
keywords = ["password", "secret"]
entropy = 2.5
examples = ["pass<>word = 'Kq8-hunter-Zz1'"]

[[rule]]
id = "private-key"
provider = "PEM"
kind = "private key"
severity = "critical"
confidence = "high"
documentation = "https://www.rfc-editor.org/rfc/rfc7468"
regex = '-----BEGIN (?:[A-Z]{2,10} )?PRIVATE KEY-----[\s\\A-Za-z0-9+/=:,-]{64,}?-----END (?:[A-Z]{2,10} )?PRIVATE KEY-----'
keywords = ["PRIVATE KEY-----"]
checksum = "private-key"
examples = ["-----BEGIN <>PRIVATE KEY-----"]
"##;

fn rules() -> &'static RuleSet {
    static SET: std::sync::LazyLock<RuleSet> =
        std::sync::LazyLock::new(|| RuleSet::parse(&[("tests.toml", RULES)]).unwrap());
    &SET
}

fn key() -> FingerprintKey {
    FingerprintKey::new(Box::new([7; 32]))
}

fn find(data: &[u8]) -> Vec<Match> {
    let (rules, key) = (rules(), key());
    Scanner::new(rules, &key).scan(data)
}

/// A token of the rule `acme-token`, different for each number.
fn token(number: u64) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::from("acme") + "_";
    for _ in 0..30 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push(char::from(digits[(state >> 33) as usize % digits.len()]));
    }
    text
}

fn one(data: &[u8]) -> Match {
    let mut all = find(data);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn utf16(text: &str, big: bool) -> Vec<u8> {
    let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
    text.encode_utf16().flat_map(bytes).collect()
}

#[test]
fn a_match_says_where_and_how_sure_and_never_the_secret() {
    let text = format!("line one\nkey = \"{}\" # end\n", token(1));
    let found = one(text.as_bytes());
    assert_eq!(found.rule, "acme-token");
    assert_eq!(found.title, "Acme token");
    assert_eq!(found.confidence, Confidence::High);
    assert_eq!((found.span.start, found.span.end), (16, 51));
    assert_eq!(
        (found.span.start_line, found.span.end_line, found.span.start_column),
        (2, 2, 8)
    );
    assert_eq!(found.excerpt, "key = \"[secret]\" # end");
    assert_eq!(found.fingerprint.len(), 64);
    assert_eq!(found.revoke.as_deref(), Some("https://acme.example/revoke"));
}

#[test]
fn equal_secrets_have_equal_fingerprints_under_one_key_only() {
    let plain = one(token(1).as_bytes());
    let wide = one(&utf16(&token(1), false));
    assert_eq!(plain.fingerprint, wide.fingerprint);
    assert_ne!(plain.fingerprint, one(token(2).as_bytes()).fingerprint);
    let (rules, other) = (rules(), FingerprintKey::new(Box::new([8; 32])));
    assert_ne!(
        Scanner::new(rules, &other).scan(token(1).as_bytes())[0].fingerprint,
        plain.fingerprint
    );
}

#[test]
fn every_secret_of_a_line_is_replaced_in_each_excerpt() {
    let text = format!("{} password = Kq8-hunter-Zz1 {}", token(1), token(2));
    let found = find(text.as_bytes());
    assert_eq!(found.len(), 3);
    for m in &found {
        assert_eq!(m.excerpt, format!("{MASK} password = {MASK} {MASK}"));
    }
}

#[test]
fn utf16_is_read_with_and_without_a_mark_at_any_alignment() {
    let text = format!("key: {}\r\n", token(3));
    for big in [false, true] {
        let mark: &[u8] = if big { &[0xfe, 0xff] } else { &[0xff, 0xfe] };
        for before in [mark, b"", b"\x80", b"\x81\x82\x83\x84"] {
            let data = [before, &utf16(&text, big)].concat();
            let found = one(&data);
            let low = usize::from(big);
            let at = before.len() + 10;
            let (start, end) = (found.span.start as usize, found.span.end as usize);
            assert!(
                start.abs_diff(at) <= low && end.abs_diff(at + 70) <= low,
                "{start} {end} {at}"
            );
            assert_eq!(found.excerpt, "key: [secret]", "{big}");
        }
    }
}

#[test]
fn binary_data_hides_nothing() {
    let noise: Vec<u8> = (0..4000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let data = [&noise[..], b"\0", token(4).as_bytes(), b"\0", &noise].concat();
    let found = one(&data);
    assert_eq!(found.span.start, 4001);
    assert!(!found.excerpt.contains('\0') && found.excerpt.chars().count() <= 120);
}

#[test]
fn encoded_tokens_are_found_at_their_encoded_place() {
    use base64::Engine;
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let hex: String = token(5).bytes().map(|b| format!("{b:02x}")).collect();
    let each = |form: &dyn Fn(u8) -> String| token(5).bytes().map(form).collect::<String>();
    let encoded = [
        base64(&token(5)),
        base64(&base64(&format!("x={} ", token(5)))),
        hex,
        each(&|b| format!("%{b:02X}")),
        each(&|b| format!("\\u{b:04x}")),
        each(&|b| format!("&#{b};")),
        token(5).replace('_', "%5f"),
    ];
    let plain = one(token(5).as_bytes()).fingerprint;
    for text in encoded {
        let data = format!("first\n  data: {text}\n");
        let found = one(data.as_bytes());
        assert_eq!(found.fingerprint, plain, "{text}");
        assert_eq!(found.span.start_line, 2);
        assert!(
            found.span.start >= 14 && found.span.end <= 14 + text.len() as u64,
            "{:?}",
            found.span
        );
        assert!(found.excerpt.starts_with("data: "), "{}", found.excerpt);
    }
}

#[test]
fn private_keys_are_found_whole_in_text_and_in_strings() {
    let line = "MIIEowIBAAKCAQEAxJ8dV1Kq3mZp0sLwYt7uRb5nHcGf2aXeQo4iTyUk9vPz6DhE";
    for eol in ["\n", "\r\n", "\\n"] {
        let name = "RSA PRIVATE".to_owned() + " KEY";
        let body = [line; 20].join(eol);
        let data = format!("k = \"-----BEGIN {name}-----{eol}{body}{eol}-----END {name}-----{eol}\"");
        let found = one(data.as_bytes());
        assert_eq!(found.rule, "private-key");
        assert!(found.confidence >= Confidence::Medium);
        assert!(found.excerpt.starts_with("k = \"[secret]"), "{}", found.excerpt);
        assert_eq!(found.span.end_line > 20, eol != "\\n");
    }
}

#[test]
fn a_failed_checksum_lowers_and_a_good_one_raises() {
    // 30 characters and their CRC-32 in base 62.
    let body = "abcDEF123ghiJKL456mnoPQR789stu";
    let mut crc = u32::MAX;
    for byte in body.bytes() {
        crc ^= u32::from(byte);
        (0..8).for_each(|_| crc = (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 });
    }
    let (mut rest, mut sum) = (!crc, String::new());
    for _ in 0..6 {
        let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        sum.insert(0, char::from(digits[(rest % 62) as usize]));
        rest /= 62;
    }
    assert_eq!(one(format!("ahb_{body}{sum}").as_bytes()).confidence, Confidence::High);
    assert_eq!(
        one(format!("ahb_{}{sum}", body.replace('a', "b")).as_bytes()).confidence,
        Confidence::Low
    );
}

#[test]
fn placeholders_are_no_secrets_of_generic_rules() {
    for value in [
        "${PASSWORD_VALUE}",
        "<your-password>",
        "changeme-please",
        "xxxxxxxxxxxx",
        "{{ .Values.db }}",
    ] {
        assert_eq!(find(format!("password = {value}").as_bytes()), [], "{value}");
    }
}

#[test]
fn three_byte_keywords_work_at_either_end() {
    let key = format!("{}-{}", "sq", "0f1e2d3c4b5a6978");
    for text in [key.clone(), format!("x{key}"), format!("a line with {key} in it")] {
        assert_eq!(one(text.as_bytes()).rule, "short-key");
    }
}

#[test]
fn evil_inputs_end_soon_and_say_what_they_are() {
    assert_eq!(find(b""), []);
    assert_eq!(find(&vec![0; 1 << 20]), []);
    assert_eq!(find(&b"acme_".repeat(400_000)), []);
    assert!(find(&[b"password=".as_slice(), &vec![b'k'; 2 << 20]].concat()).len() <= 1);
    let line = [
        &b"0123,".repeat(800_000)[..],
        token(6).as_bytes(),
        &b",4567".repeat(200_000),
    ]
    .concat();
    let found = one(&line);
    assert_eq!(found.span.start_column, 4_000_001);
    let noise: Vec<u8> = (0..1u32 << 20)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 17) as u8)
        .collect();
    find(&noise);
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn rules_of(data: &[u8]) -> Vec<String> {
    find(data).into_iter().map(|m| m.rule).collect()
}

#[test]
fn containers_in_each_other_are_opened_to_the_bound_which_is_told() {
    let nested = |levels: usize| (0..levels).fold(token(8).into_bytes(), |inner, _| gzip(&inner));
    for levels in 1..=4 {
        assert_eq!(rules_of(&nested(levels)), ["acme-token"], "{levels}");
    }
    for levels in [5, 100] {
        assert_eq!(rules_of(&nested(levels)), ["archive-too-large"], "{levels}");
    }
    // In base64 one, since what is encoded in a text is not large.
    assert_eq!(rules_of(base64(&nested(1)).as_bytes()), ["acme-token"]);
    assert_eq!(rules_of(base64(&nested(2)).as_bytes()), ["archive-too-large"]);
}

/// One member of a zip: a header and content as it is.
fn member(method: u8, flags: u8, content: &[u8]) -> Vec<u8> {
    let mut zip = [b"PK\x03\x04\x14\0", &[flags, 0, method, 0][..], &[0; 8]].concat();
    zip.extend((content.len() as u32).to_le_bytes());
    zip.extend([0, 0, 0, 0, 1, 0, 0, 0, b'a']);
    [zip, content.to_vec()].concat()
}

#[test]
fn what_is_told_of_containers_has_its_place_in_any_order() {
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    deflate.write_all(format!("k = {}", token(1)).as_bytes()).unwrap();
    let zip = [
        member(99, 0, b"?\n"),
        member(8, 0, &deflate.finish().unwrap()),
        member(0, 1, b"?\n"),
        member(0, 0, format!("\n\n{}", token(2)).as_bytes()),
    ];
    let found = find(&zip.concat());
    let told: Vec<(&str, u32)> = found.iter().map(|m| (m.rule.as_str(), m.span.start_line)).collect();
    let line = |members: usize| 1 + zip[..members].concat().iter().filter(|b| **b == b'\n').count() as u32;
    let expected = [
        ("archive-method-unknown", 1),
        ("acme-token", line(1)),
        ("archive-encrypted", line(2)),
        ("acme-token", line(4)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn encodings_in_each_other_are_read_to_the_bound_which_is_told() {
    let nested = |levels: usize| (0..levels).fold(format!("x = {}", token(8)), |inner, _| base64(inner.as_bytes()));
    for levels in 1..=4 {
        assert_eq!(rules_of(nested(levels).as_bytes()), ["acme-token"], "{levels}");
    }
    for levels in [5, 20] {
        assert_eq!(rules_of(nested(levels).as_bytes()), ["encoded-too-deep"], "{levels}");
    }
    // Lines that a last `=` joins, again and again: nothing is encoded.
    let lines = "sign= utf8=t keep= keepcr= skip= interactive= resolved= rebasing= abort=\n\
                 resolvemsg= resume= scissors= no_inbody_headers=\ngit_apply_opt=\n\
                 committer_date_is_author_date=\nignore_date=\nallow_rerere_autoupdate=\n";
    assert!(rules_of(lines.as_bytes()).is_empty());
    // A chart's release: a list of resources, one with an encoded value, compressed, encoded twice.
    let secret = format!("{{\"data\": {{\"token\": \"{}\"}}}}", base64(token(8).as_bytes()));
    let release = base64(base64(&gzip(secret.as_bytes())).as_bytes());
    assert_eq!(rules_of(format!("release: {release}\n").as_bytes()), ["acme-token"]);
}

/// Tokens and values of 10 MB: what is at their ends is found, and what is in between costs one pass.
#[test]
fn tokens_of_ten_megabytes_are_read_to_their_ends() {
    const SIZE: usize = 10 << 20;
    let text = "some words and ".repeat(SIZE / 15) + &token(9);
    let hex: String = text.bytes().map(|b| format!("{b:02x}")).collect();
    let percent: String = token(9).bytes().map(|b| format!("%{b:02x}")).collect();
    for data in [
        base64(text.as_bytes()),
        format!("'{hex}'"),
        "%41".repeat(SIZE / 3) + " " + &percent,
        "\u{430}b".repeat(SIZE / 3) + " " + &token(9),
    ] {
        assert_eq!(rules_of(data.as_bytes()), ["acme-token"], "{}", &data[..8]);
    }
    let long = "aB3".repeat(SIZE / 3);
    for data in [
        format!("acme_{long}"),
        format!("password = {long}"),
        format!("sq-{long}"),
        long.clone(),
        format!("'{}'", &long[..400]).repeat(SIZE / 400),
    ] {
        let found = find(data.as_bytes());
        assert!(
            found.len() <= 1 && found.iter().all(|m| m.excerpt.chars().count() <= 120),
            "{}",
            &data[..12]
        );
    }
}

/// What is done about letters that look like others: the text is read as it looks as well.
#[test]
fn keywords_and_names_with_letters_of_other_scripts_hide_nothing() {
    let look_alike = |text: &str| text.replace('a', "\u{430}").replace('o', "\u{3bf}");
    let full_width = |text: &str| -> String {
        let wide = |c: char| char::from_u32(u32::from(c) + 0xfee0).unwrap();
        text.chars()
            .map(|c| if c.is_ascii_alphabetic() { wide(c) } else { c })
            .collect()
    };
    let value = "Kq8-hunter-Zz1";
    for name in [look_alike("password"), full_width("password")] {
        let text = format!("first\n{name} = \"{value}\"\n");
        let found = one(text.as_bytes());
        assert_eq!(
            (found.rule.as_str(), found.span.start_line),
            ("generic-secret", 2),
            "{name}"
        );
        let (start, end) = (found.span.start as usize, found.span.end as usize);
        assert_eq!(&text[start..end], value);
        assert!(!found.excerpt.contains(value));
    }
    for name in ["acme", "ACME"] {
        let text = format!("k = {}", token(3).replace("acme", &look_alike(name).to_lowercase()));
        assert_eq!(
            one(text.as_bytes()).fingerprint,
            one(token(3).as_bytes()).fingerprint,
            "{text}"
        );
    }
}

#[test]
fn encodings_of_mail_scripts_and_old_systems_are_read() {
    let token = token(5);
    let wide = utf16(&format!("$k = '{token}'"), false);
    let of_32 = |big: bool| -> Vec<u8> {
        let bytes = |c: char| {
            if big {
                u32::from(c).to_be_bytes()
            } else {
                u32::from(c).to_le_bytes()
            }
        };
        format!("\u{feff}k = {token}\n").chars().flat_map(bytes).collect()
    };
    let (head, tail) = token.split_at(20);
    let mail = format!("Subject: x\n\n{}{head}=\n{tail} is it\n", "w ".repeat(28));
    let printable: String = token.bytes().map(|b| format!("={b:02X}")).collect();
    for data in [
        format!("powershell -enc {}", base64(&wide)).into_bytes(),
        of_32(false),
        of_32(true),
        mail.into_bytes(),
        printable.into_bytes(),
        token
            .bytes()
            .map(|b| format!("\\u{{{b:x}}}"))
            .collect::<String>()
            .into_bytes(),
    ] {
        assert_eq!(one(&data).fingerprint, one(token.as_bytes()).fingerprint);
    }
}

/// Base64 in lines, as mail, PEM and YAML have it; compressed or not.
#[test]
fn what_is_encoded_over_many_lines_is_read_as_one() {
    let text = format!(
        "{}\nk = {}\n{}",
        "some ordinary words ".repeat(9),
        token(5),
        "and more of them ".repeat(9)
    );
    let noise: Vec<u8> = (0..400u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let packed = gzip(&[text.as_bytes(), &noise].concat());
    let plain = one(token(5).as_bytes()).fingerprint;
    for written in [base64(text.as_bytes()), base64(&packed)] {
        for (width, indent) in [(60, ""), (64, "    "), (76, ""), (76, "\t")] {
            let lines: Vec<&str> = written
                .as_bytes()
                .chunks(width)
                .map(|l| std::str::from_utf8(l).unwrap())
                .collect();
            for eol in ["\n", "\r\n"] {
                let data = format!(
                    "kind: Secret\ndata:\n  all: |\n{indent}{}{eol}more: 1\n",
                    lines.join(&format!("{eol}{indent}"))
                );
                let found = one(data.as_bytes());
                assert_eq!(found.fingerprint, plain, "{width} {indent:?}");
                assert!(
                    found.span.start_line >= 4 && found.span.end_line as usize <= 3 + lines.len(),
                    "{:?}",
                    found.span
                );
                assert!(
                    !found.excerpt.contains(&written[..20]) || found.span.start_line > 4,
                    "{}",
                    found.excerpt
                );
            }
        }
    }
}

#[test]
fn more_matches_than_are_listed_are_a_match_of_their_own() {
    let text: String = (0..10_050)
        .map(|i| format!("sq-{:016x}\n", 0x0123_4567_89ab_cdef_u64.wrapping_mul(2 * i + 1)))
        .collect();
    let found = find(text.as_bytes());
    assert_eq!(found.len(), 10_001);
    assert_eq!(found[10_000].rule, TOO_MANY);
}

/// Every match of every expression over every byte, without any of the core's short cuts.
fn oracle(data: &[u8]) -> Vec<(String, u64, u64)> {
    let expressions = [
        (
            "acme-token",
            r"(?-u)\b(?P<secret>acme_[A-Za-z0-9]{30})(?:[^A-Za-z0-9]|$)",
        ),
        ("short-key", r"(?-u)(?P<secret>sq-[a-f0-9]{16})"),
    ];
    let mut all: Vec<(String, u64, u64)> = Vec::new();
    for (id, expression) in expressions {
        for captures in regex::bytes::Regex::new(expression).unwrap().captures_iter(data) {
            let secret = captures.name("secret").unwrap();
            all.push((id.to_owned(), secret.start() as u64, secret.end() as u64));
        }
    }
    all.sort_by_key(|(_, start, _)| *start);
    all
}

fn planted() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => any::<u64>().prop_map(|n| token(n).into_bytes()),
        4 => any::<u64>().prop_map(|n| format!("sq-{n:016x}").into_bytes()),
        2 => any::<u64>().prop_map(|n| token(n).as_bytes()[..20].to_vec()),
        1 => Just(b"acme_acme_sq-sq-".to_vec()),
        2 => "[ -~\n]{0,80}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..60),
        1 => (0usize..400).prop_map(|n| vec![b'.'; n]),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_core_equals_every_expression_over_every_byte(data in planted()) {
        let found: Vec<(String, u64, u64)> = find(&data)
            .into_iter()
            .filter(|m| m.rule == "acme-token" || m.rule == "short-key")
            .map(|m| (m.rule, m.span.start, m.span.end))
            .collect();
        // Decoding may find more; it never finds less, and planted text has no escapes of its own by intent.
        for expected in oracle(&data) {
            let overlapped = found.iter().any(|(_, start, end)| *start < expected.2 && expected.1 < *end);
            prop_assert!(found.contains(&expected) || overlapped, "{expected:?} not in {found:?}");
        }
        if !data.iter().any(|b| b"%\\&".contains(b)) {
            prop_assert_eq!(found, oracle(&data));
        }
    }

    #[test]
    fn the_vector_code_finds_what_plain_code_finds(data in planted()) {
        let key = key();
        let plainly = Scanner::new(rules(), &key).one_byte_at_a_time();
        prop_assert_eq!(plainly.scan(&data), find(&data));
    }

    #[test]
    fn any_bytes_are_scanned_and_nothing_of_a_secret_is_shown(data in planted()) {
        for m in find(&data) {
            prop_assert!(m.span.start < m.span.end && m.span.end <= data.len() as u64);
            prop_assert!(m.excerpt.chars().count() <= 120);
            let secret = &data[m.span.start as usize..m.span.end as usize];
            prop_assert!(!m.excerpt.contains(&*String::from_utf8_lossy(secret)));
        }
    }
}

#[test]
fn a_text_in_pieces_gives_the_matches_of_the_whole() {
    let mut text = Vec::new();
    for i in 0..3000u64 {
        text.extend_from_slice(format!("{} {i}\n", "some ordinary words ".repeat((i % 29) as usize)).as_bytes());
        if i % 7 == 0 {
            text.extend_from_slice(format!("{} ", token(i)).as_bytes());
        }
    }
    let (rules, key) = (rules(), key());
    let scanner = Scanner::new(rules, &key);
    let whole = scanner.scan(&text);
    assert!(whole.len() > 400);
    for size in [1000, 65_537, 300_001] {
        let mut stream = Stream::new(&scanner, 1);
        let mut pieces: Vec<Match> = text.chunks(size).flat_map(|chunk| stream.feed(chunk)).collect();
        pieces.extend(stream.finish());
        let place = |m: &Match| (m.rule.clone(), m.span, m.fingerprint.clone());
        assert_eq!(
            pieces.iter().map(place).collect::<Vec<_>>(),
            whole.iter().map(place).collect::<Vec<_>>(),
            "{size}"
        );
    }
}

#[test]
fn rule_files_give_all_their_errors_at_once_with_lines() {
    let text = r#"
[[rule]]
id = "Bad Id"
provider = "P"
kind = "k"
severity = "awful"
confidence = "high"
documentation = "http://x"
regex = '(['
keywords = ["ab"]
checksum = "no-such"
entropy = 9.5
examples = []
colour = "red"

[[rule]]
id = "empty"
"#;
    let errors = RuleSet::parse(&[("bad.toml", text)]).err().unwrap();
    let shown: Vec<String> = errors
        .iter()
        .map(|e| format!("{}:{} {}", e.file, e.line, e.code))
        .collect();
    for expected in [
        "bad.toml:3 rule-bad-id",
        "bad.toml:6 rule-bad-value",
        "bad.toml:8 rule-bad-link",
        "bad.toml:9 rule-bad-regex",
        "bad.toml:10 rule-bad-keyword",
        "bad.toml:11 rule-unknown-checksum",
        "bad.toml:12 rule-bad-value",
        "bad.toml:13 rule-no-example",
        "bad.toml:14 rule-unknown-key",
        "bad.toml:17 rule-missing-key",
    ] {
        assert!(shown.iter().any(|s| s == expected), "{expected} not in {shown:#?}");
    }
    let twice = RuleSet::parse(&[("a.toml", RULES), ("b.toml", RULES)]).err().unwrap();
    assert!(
        twice
            .iter()
            .all(|e| e.code == "rule-duplicate-id" && e.file == "b.toml")
    );
    assert!(RuleSet::parse(&[("c.toml", "[[rule]")]).err().unwrap()[0].code == "rule-syntax");
}

/// The account's rule, and one that counts only near it.
fn composite() -> String {
    let account = RULES.find("[[rule]]\nid = \"short-key\"").unwrap();
    let end = account + RULES[account..].find("\n\n").unwrap();
    let account = &RULES[account..end];
    let pair = account
        .replace("short-key", "short-pair")
        .replace("sq", "sp")
        .replace("examples", "near = [\"short-key\"]\nwithin_lines = 2\nexamples")
        .replace("sp<>-0123456789abcdee", "sp<>-0123456789abcdee sq<>-0123456789abcdee");
    format!("{account}\n{pair}\n")
}

fn composites(data: &[u8]) -> Vec<(String, u64)> {
    let set = RuleSet::parse(&[("c.toml", &composite())]).unwrap();
    let key = key();
    let scanner = Scanner::new(&set, &key);
    let found = |m: &Match| (m.rule.clone(), m.span.start);
    let whole: Vec<_> = scanner.scan(data).iter().map(found).collect();
    let mut stream = Stream::new(&scanner, 0);
    let mut pieces: Vec<_> = data.chunks(100).flat_map(|piece| stream.feed(piece)).collect();
    pieces.extend(stream.finish());
    assert_eq!(pieces.iter().map(found).collect::<Vec<_>>(), whole);
    whole
}

/// [`composites`] from every match of every expression over every byte.
fn composites_plainly(data: &[u8]) -> Vec<(String, u64)> {
    let all = |expression: &str| -> Vec<usize> {
        let expression = regex::bytes::Regex::new(expression).unwrap();
        expression.find_iter(data).map(|m| m.start()).collect()
    };
    let keys = all(r"(?-u)sq-[a-f0-9]{16}");
    let lines = |a: usize, b: usize| data[a.min(b)..a.max(b)].iter().filter(|b| **b == b'\n').count();
    let near = |at: &usize| keys.iter().any(|key| lines(*key, *at) <= 2);
    let pairs = all(r"(?-u)sp-[a-f0-9]{16}").into_iter().filter(near);
    let mut found: Vec<(String, u64)> = pairs.map(|at| ("short-pair".to_owned(), at as u64)).collect();
    found.extend(keys.iter().map(|at| ("short-key".to_owned(), *at as u64)));
    found.sort_by_key(|(_, at)| *at);
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn composite_rules_equal_every_expression_over_every_byte(
        pieces in prop::collection::vec(
            prop_oneof![
                any::<u64>().prop_map(|n| format!("sq-{n:016x}")),
                any::<u64>().prop_map(|n| format!("sp-{n:016x}")),
                (1usize..3).prop_map(|n| "\n".repeat(n)),
                Just(" and ".to_owned()),
            ],
            0..16,
        ),
    ) {
        let data = pieces.join(" ");
        prop_assert_eq!(composites(data.as_bytes()), composites_plainly(data.as_bytes()));
    }
}

/// Rules without a rare text of their own: one for every text, one for texts that have a word.
const SLOW: &str = r#"
[[rule]]
id = "hex-alone"
provider = "Acme"
kind = "key"
severity = "high"
confidence = "high"
documentation = "https://acme.example/docs"
regex = '\b(?P<secret>[0-9a-f]{16})\b'
slow = true
examples = ["0123456<>789abcdee"]

[[rule]]
id = "hex-with-word"
provider = "Acme"
kind = "long key"
severity = "high"
confidence = "high"
documentation = "https://acme.example/docs"
regex = '\b(?P<secret>[0-9A-F]{20})\b'
slow = true
keywords = ["acmewares"]
examples = ["AcmeWares 0123456789<>ABCDEFEE01"]
"#;

fn slow_set(text: &str) -> Result<RuleSet, Vec<String>> {
    let told = |errors: Vec<lychgate::scan::source::RuleError>| errors.iter().map(ToString::to_string).collect();
    RuleSet::parse(&[("s.toml", text)]).map_err(told)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn slow_rules_equal_every_expression_over_every_byte(
        pieces in prop::collection::vec(
            prop_oneof![
                3 => any::<u64>().prop_map(|n| format!("{n:016x}")),
                3 => any::<u64>().prop_map(|n| format!("{n:020X}")),
                1 => Just("acmeWARES".to_owned()),
                2 => "[ .\n]{1,30}",
            ],
            0..16,
        ),
    ) {
        let data = pieces.join(" ");
        let set = slow_set(SLOW).unwrap();
        let key = key();
        let scanner = Scanner::new(&set, &key);
        let place = |m: Match| (m.rule, m.span.start);
        let found: Vec<(String, u64)> = scanner.scan(data.as_bytes()).into_iter().map(place).collect();
        let all = |expression: &str, id: &str| -> Vec<(String, u64)> {
            let expression = regex::bytes::Regex::new(expression).unwrap();
            expression.find_iter(data.as_bytes()).map(|m| (id.to_owned(), m.start() as u64)).collect()
        };
        let mut expected = all(r"(?-u)\b[0-9a-f]{16}\b", "hex-alone");
        if data.to_lowercase().contains("acmewares") {
            expected.extend(all(r"(?-u)\b[0-9A-F]{20}\b", "hex-with-word"));
        }
        expected.sort_by_key(|(_, at)| *at);
        prop_assert_eq!(&found, &expected);
        let mut stream = Stream::new(&scanner, 0);
        let mut pieces: Vec<Match> = data.as_bytes().chunks(50).flat_map(|piece| stream.feed(piece)).collect();
        pieces.extend(stream.finish());
        prop_assert_eq!(pieces.into_iter().map(place).collect::<Vec<_>>(), found);
    }
}

#[test]
fn a_text_with_a_slow_rules_word_is_not_judged_by_its_changed_lines() {
    let (set, key) = (slow_set(SLOW).unwrap(), key());
    let scanner = Scanner::new(&set, &key);
    let value = ["0123456789", "ABCDEFEE01"].concat();
    assert!(scanner.outline(b"nothing\n").1);
    assert!(
        !scanner.outline(b"acmewares\n").1,
        "a value in another line would count"
    );
    assert!(scanner.clean_part(format!("{value}\n").as_bytes(), false, true));
    assert!(!scanner.clean_part(b"acmewares\n", false, true));
    let short = ["01234567", "89abcdee\n"].concat();
    assert!(!scanner.clean_part(short.as_bytes(), false, true));
    // One that may go on over many lines makes no text plain.
    let wide = SLOW.replacen("{16})", "{16}(?s:.*)ffff)", 1);
    let set = slow_set(&wide).unwrap();
    assert!(!Scanner::new(&set, &key).outline(b"nothing\n").1);
}

#[test]
fn slow_rules_have_a_bound_which_is_told() {
    let (set, key) = (slow_set(SLOW).unwrap(), key());
    let value = ["01234567", "89abcdee"].concat();
    let mut text = format!("{value}\n").into_bytes();
    text.resize(16 << 20, b'.');
    let rules = |text: &[u8]| {
        let found = Scanner::new(&set, &key).scan(text);
        let mut rules: Vec<String> = found.into_iter().map(|m| m.rule).collect();
        rules.sort();
        rules
    };
    assert_eq!(rules(&text), ["hex-alone"]);
    text.extend(format!(" {value}\n").bytes());
    assert_eq!(rules(&text), ["hex-alone", "slow-rules-cut"]);
    // Other rules do not tell it.
    assert!(find(&vec![b'.'; (16 << 20) + 1]).is_empty());
}

#[test]
fn a_rule_without_a_rare_text_is_refused_or_declared_slow() {
    let told = slow_set(&SLOW.replace("slow = true\n", "")).err().unwrap();
    assert!(
        told[0].contains("error[rule-bad-keyword]") && told[0].contains("slow = true"),
        "{told:?}"
    );
    for (from, to, code) in [
        ("slow = true", "slow = 1", "rule-wrong-type"),
        ("acmewares", "the", "rule-common-keyword"),
        ("acmewares", "ab", "rule-bad-keyword"),
    ] {
        let told = slow_set(&SLOW.replace(from, to)).err().unwrap();
        assert!(told.iter().any(|line| line.contains(code)), "{to}: {told:?}");
    }
    let one = SLOW.split("\n\n").next().unwrap();
    let many: String = (0..65)
        .map(|i| one.replace("hex-alone", &format!("hex-{i}")) + "\n")
        .collect();
    let told = slow_set(&many).err().unwrap();
    assert!(told[0].contains("error[rule-too-many]: 65 slow rules"), "{told:?}");
}

#[test]
fn a_composite_rule_counts_only_near_what_it_names() {
    let (key, pair) = (
        ["sq", "-0123456789abcdee"].concat(),
        ["sp", "-0123456789abcdee"].concat(),
    );
    let rules = |text: String| {
        composites(text.as_bytes())
            .into_iter()
            .map(|(rule, _)| rule)
            .collect::<Vec<_>>()
    };
    assert_eq!(rules(pair.clone()), [""; 0]);
    assert_eq!(rules(format!("{pair}\n\n{key}")), ["short-pair", "short-key"]);
    assert_eq!(rules(format!("{key}\n\n\n{pair}")), ["short-key"]);
    let set = RuleSet::parse(&[("c.toml", &composite())]).unwrap();
    let told = |text: &str| {
        lychgate::scan::explain(&set, "short-pair", text.as_bytes())
            .unwrap()
            .remove(0)
    };
    assert_eq!(told(&pair).confidence, None);
    assert!(
        told(&pair)
            .evidence
            .contains(&"alone: no short-key within 2 lines".to_owned())
    );
    assert!(told(&format!("{pair} {key}")).confidence.is_some());
}

#[test]
fn what_is_wrong_with_a_composite_rule_is_told_at_its_line() {
    for (from, to, expected) in [
        (
            "[\"short-key\"]",
            "[\"no-such\"]",
            "c.toml:20: error[rule-unknown-near]",
        ),
        (
            "[\"short-key\"]",
            "[\"short-pair\"]",
            "c.toml:20: error[rule-near-chain]",
        ),
        ("[\"short-key\"]", "\"short-key\"", "c.toml:20: error[rule-wrong-type]"),
        (
            "within_lines = 2",
            "within_lines = 101",
            "c.toml:21: error[rule-bad-value]",
        ),
        ("within_lines = 2\n", "", "c.toml:20: error[rule-bad-value]"),
    ] {
        let errors = RuleSet::parse(&[("c.toml", &composite().replace(from, to))])
            .err()
            .unwrap();
        assert!(errors[0].to_string().starts_with(expected), "{expected}: {}", errors[0]);
    }
    // Rules of one's own may name a shipped one.
    let own = composite().replace("[\"short-key\"]", "[\"gitlab-pat\"]");
    let files = [RuleSet::builtin_sources(), &[("own.toml", &*own)]].concat();
    assert!(RuleSet::parse(&files).is_ok());
}

#[test]
fn the_digest_depends_on_the_text_and_not_on_the_order() {
    let (a, b) = (("a.toml", ""), ("b.toml", RULES));
    let digest = |files: &[(&str, &str)]| RuleSet::parse(files).unwrap().digest().to_owned();
    assert_eq!(digest(&[a, b]), digest(&[b, a]));
    assert_ne!(digest(&[a, b]), digest(&[b]));
    assert_eq!(RuleSet::builtin().digest().len(), 64);
}

/// A writer whose bytes can be read after the command has it.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs `scan` with the tests' rules; the outcome and all that was printed.
fn command(folder: &Path, more: &[&str]) -> (Result<Outcome, CommandError>, String) {
    #[derive(clap::Parser)]
    struct Arguments {
        #[command(flatten)]
        scan: ScanArgs,
    }
    let rules = tempfile::tempdir().unwrap();
    std::fs::write(rules.path().join("tests.toml"), RULES).unwrap();
    let fixed = [
        "scan",
        "--rules",
        rules.path().to_str().unwrap(),
        folder.to_str().unwrap(),
    ];
    let arguments = <Arguments as clap::Parser>::parse_from(fixed.iter().chain(more));
    let buffer = Buffer::default();
    let mut output = Output::to(Box::new(buffer.clone()), Box::new(buffer.clone()));
    let result = scan::run(&arguments.scan, &mut output);
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    (result, text)
}

/// A folder with a token in each kind of place, and the tokens.
fn hiding_places() -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let tokens: Vec<String> = (20..28).map(token).collect();
    let write = |name: &str, data: &[u8]| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, data).unwrap();
    };
    write("a/plain.txt", format!("x\ny = '{}'\n", tokens[0]).as_bytes());
    write("a/.hidden/z", tokens[1].as_bytes());
    write(&format!("b/{}.txt", tokens[2]), b"nothing");
    write(&format!("c-{}/inner.txt", tokens[3]), tokens[4].as_bytes());
    write(".git/objects/aa/bb", tokens[5].as_bytes());
    write(".git/config", tokens[5].as_bytes());
    write(
        "big.txt",
        &[&b"ordinary words\n".repeat(1_300_000)[..], tokens[6].as_bytes()].concat(),
    );
    std::os::unix::fs::symlink(format!("/nowhere/{}", tokens[7]), dir.path().join("link")).unwrap();
    (dir, tokens)
}

#[test]
fn the_command_looks_everywhere_and_prints_no_secret() {
    let (dir, tokens) = hiding_places();
    for format in ["text", "json", "jsonl"] {
        let (result, printed) = command(dir.path(), &["--format", format]);
        assert_eq!(result.unwrap(), Outcome::No);
        for token in &tokens {
            assert!(!printed.contains(token.as_str()), "{format}: {printed}");
        }
    }
}

#[test]
fn jsonl_has_one_object_a_finding_in_the_order_of_the_walk() {
    let (dir, _) = hiding_places();
    let (_, printed) = command(dir.path(), &["--format", "jsonl"]);
    let rows: Vec<serde_json::Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let root = dir.path().to_str().unwrap().to_owned() + "/";
    let places: Vec<String> = rows
        .iter()
        .map(|row| {
            let path = row["path"].as_str().unwrap().strip_prefix(&root).unwrap();
            format!(
                "{path}:{}:{} {} {}",
                row["start_line"],
                row["start_column"],
                row["rule"].as_str().unwrap(),
                row["in_name"]
            )
        })
        .collect();
    let expected = [
        ".git/config:1:1 acme-token false",
        "a/.hidden/z:1:1 acme-token false",
        "a/plain.txt:2:6 acme-token false",
        "b/[secret].txt:1:1 acme-token true",
        "big.txt:1300001:1 acme-token false",
        "c-[secret]:1:3 acme-token true",
        "c-[secret]/inner.txt:1:1 acme-token false",
        "link:1:10 acme-token false",
    ];
    assert_eq!(places, expected);
    for row in rows {
        assert_eq!(row["severity"], "critical");
        assert_eq!(row["confidence"], "high");
        assert_eq!(row["fingerprint"].as_str().unwrap().len(), 64);
        assert!(row["end_line"].is_u64());
    }
}

#[test]
fn text_and_json_read_as_documented() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("f.txt"),
        format!(
            "k = {}\npassword = k9Zq-28xx-Lm\nahb_{}\n",
            token(1),
            "a1b2c3".repeat(6)
        ),
    )
    .unwrap();
    std::fs::write(dir.path().join("key"), "07".repeat(32)).unwrap();
    let key = dir.path().join("key");
    let arguments = ["--fingerprint-key", key.to_str().unwrap()];
    let (_, text) = command(&dir.path().join("f.txt"), &arguments);
    let text = text.replace(dir.path().to_str().unwrap(), "DIR");
    let print = one(token(1).as_bytes()).fingerprint;
    let expected = format!(
        "critical[acme-token]: Acme token, confidence high\n  --> DIR/f.txt:1:5\n   |  k = [secret]\n  = fingerprint: {print}\n  \
         = revoke: https://acme.example/revoke\n"
    );
    assert!(text.starts_with(&expected), "{text}");
    assert!(
        text.ends_with("2 findings in 1 file (105 bytes); 1 less sure, shown with --min-confidence low\n"),
        "{text}"
    );
    let (_, json) = command(
        &dir.path().join("f.txt"),
        &["--format", "json", "--min-confidence", "low"],
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), 3);
    assert_eq!(json["files"], 1);
    assert_eq!(json["rule_set"].as_str().unwrap().len(), 64);
}

#[test]
fn what_cannot_be_read_is_an_outage_after_the_findings() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), token(1)).unwrap();
    std::fs::create_dir(dir.path().join("locked")).unwrap();
    let locked = dir.path().join("locked/file");
    std::fs::write(&locked, "x").unwrap();
    let mode =
        |bits: u32| std::fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(bits)).unwrap();
    mode(0o000);
    let readable = std::fs::File::open(&locked).is_ok();
    let (result, printed) = command(dir.path(), &[]);
    mode(0o600);
    assert!(printed.contains("acme-token"), "{printed}");
    if readable {
        // The tests run as root, who may read everything.
        assert_eq!(result.unwrap(), Outcome::No);
    } else {
        assert_eq!(result.unwrap_err().exit_code(), 3);
        assert!(printed.contains("error[file-unreadable]"), "{printed}");
    }
}

#[test]
fn bounds_and_mistakes_have_names() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("large"), vec![b'x'; 2000]).unwrap();
    let (result, printed) = command(dir.path(), &["--max-file-size", "1000"]);
    assert_eq!(result.unwrap(), Outcome::No);
    assert!(printed.contains("high[file-too-large]"), "{printed}");
    let (result, _) = command(dir.path(), &[]);
    assert_eq!(result.unwrap(), Outcome::Yes);
    let (result, _) = command(&dir.path().join("absent"), &[]);
    let error = result.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().starts_with("error[path-unreadable]"), "{error}");
    let large = dir.path().join("large");
    let (result, _) = command(dir.path(), &["--fingerprint-key", large.to_str().unwrap()]);
    assert!(result.unwrap_err().to_string().contains("not 64 hex digits"));
}

/// Lines that look like secrets and are none; the shipped rules list no finding in them by default.
#[test]
fn ordinary_lines_are_quiet() {
    let key = key();
    let scanner = Scanner::new(RuleSet::builtin(), &key);
    let text = include_str!("../corpus/ordinary.txt");
    let loud: Vec<String> = text
        .lines()
        .flat_map(|line| scanner.scan(line.as_bytes()).into_iter().map(move |m| (line, m)))
        .filter(|(_, m)| m.confidence >= Confidence::Medium)
        .map(|(line, m)| format!("{}: {line}", m.rule))
        .collect();
    assert!(loud.is_empty(), "{loud:#?}");
}

/// A rule that matches nearly everything is slow for its user, not without end: matches and time are bounded.
#[test]
fn a_rule_that_matches_everything_ends_and_says_that_there_is_more() {
    let everything = RULES
        .replace(r"\b(acme_[A-Za-z0-9]{30})(?:[^A-Za-z0-9]|$)", r"(?s)acme.{0,9}")
        .replace("entropy = 3.0", "entropy = 0.0");
    let set = RuleSet::parse(&[("everything.toml", &everything)]).unwrap();
    let key = key();
    let text = "acme_ACMEzqXW".repeat(40_000);
    let found = Scanner::new(&set, &key).scan(text.as_bytes());
    assert!(found.len() <= 10_001, "{}", found.len());
    assert_eq!(found.last().unwrap().rule, TOO_MANY);
    for regex in ["", "a*", "(?:acme_)?"] {
        let empty = RULES.replace(r"\b(acme_[A-Za-z0-9]{30})(?:[^A-Za-z0-9]|$)", regex);
        assert!(RuleSet::parse(&[("empty.toml", &empty)]).is_err(), "{regex}");
    }
}

/// One line longer than what is held at once: the same as one that is not, in bounded memory.
#[test]
fn a_line_without_end_is_read_in_pieces() {
    let (rules, key) = (rules(), key());
    let scanner = Scanner::new(rules, &key);
    let mut stream = Stream::new(&scanner, 1);
    let part = vec![b'-'; 100_000];
    let mut found = Vec::new();
    for number in 0..12 {
        found.extend(stream.feed(&part));
        found.extend(stream.feed(token(number).as_bytes()));
    }
    found.extend(stream.feed(&part));
    found.extend(stream.finish());
    let starts: Vec<u64> = found.iter().map(|m| m.span.start).collect();
    assert_eq!(starts, (0..12).map(|i| 100_000 + i * 100_035).collect::<Vec<_>>());
    assert!(found.iter().all(|m| m.span.start_line == 1));
    assert_eq!(u64::from(found[11].span.start_column), found[11].span.start + 1);
    assert!(found.iter().all(|m| m.excerpt.chars().count() <= 120));
}
