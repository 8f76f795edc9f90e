//! What speaks for and against a match: structure checks, entropy, what a text is unlike.
//!
//! Pure judgements on the secret's bytes. A failed structure check lowers the
//! confidence and never drops: a token with a broken checksum may be a typing
//! error away from a real one.

use super::context::{self, Address, Found};
use super::placeholder::{
    crypted, encoded_words, own_name, phrase, placeholder, reference, repeated, sequential, worded,
};
use super::readable::readable;
use super::rules::Entry;
use crate::finding::Confidence;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// A structure check by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    GithubCrc32,
    Jwt,
    AwsAccessKey,
    PrivateKey,
    Random,
    AwsSecretKey,
    OktaToken,
}

/// What a structure check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Structure {
    /// It is as only a real one is.
    Confirmed,
    /// It may be one.
    Possible,
    /// It cannot be one as it stands.
    Refuted,
    /// It is something else: no finding.
    Absent,
}

impl Check {
    /// The check of that name; the names are [`crate::rule::CHECKSUMS`].
    pub(crate) const fn named(name: &str) -> Option<Self> {
        match name.as_bytes() {
            b"github-crc32" => Some(Self::GithubCrc32),
            b"jwt" => Some(Self::Jwt),
            b"aws-access-key" => Some(Self::AwsAccessKey),
            b"private-key" => Some(Self::PrivateKey),
            b"random" => Some(Self::Random),
            b"aws-secret-key" => Some(Self::AwsSecretKey),
            b"okta-token" => Some(Self::OktaToken),
            _ => None,
        }
    }

    /// Judges a secret's structure.
    pub(crate) fn judge(self, secret: &[u8]) -> Structure {
        let yes = match self {
            Self::GithubCrc32 => github_crc32(secret),
            Self::Jwt => return jwt(secret),
            Self::AwsAccessKey => aws_access_key(secret),
            Self::PrivateKey => return private_key(secret),
            Self::Random => return random(secret),
            Self::AwsSecretKey => return shaped(aws_secret_key(secret)),
            Self::OktaToken => return shaped(secret.len() == 42 && secret.starts_with(b"00")),
        };
        if yes { Structure::Confirmed } else { Structure::Refuted }
    }
}

/// What all evidence comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) confidence: Confidence,
    pub(crate) structure: Structure,
}

/// The verdict on a match after all evidence; `None`: not a secret.
pub(crate) fn judge(entry: &Entry, found: &Found) -> Option<Verdict> {
    let secret = found.secret();
    if entry.entropy > 0.0 && entropy(secret) < entry.entropy {
        return None;
    }
    if documented(secret) {
        return None;
    }
    if entry.generic && placeholder(secret) {
        return None;
    }
    let structure = entry.check.map_or(Structure::Possible, |check| check.judge(secret));
    let confidence = match structure {
        Structure::Confirmed => Confidence::High,
        Structure::Absent => return None,
        Structure::Refuted => Confidence::Low,
        Structure::Possible if doubts(entry, found).any(|(holds, _)| holds) => Confidence::Low,
        // In a provider's own form a sequence is a dummy or a careless key: never a reason to deny by itself.
        Structure::Possible if sequential(secret) => entry.confidence.min(Confidence::Medium),
        Structure::Possible => entry.confidence,
    };
    Some(Verdict { confidence, structure })
}

/// What makes a match doubtful whose structure says nothing.
fn doubts(entry: &Entry, found: &Found) -> impl Iterator<Item = (bool, &'static str)> {
    let secret = found.secret();
    let bound = entry.any_form();
    let named = |judge: fn(&Found) -> bool| bound && judge(found);
    let address = Address::round(found);
    [
        (reference(secret), "a template or a reference"),
        (worded(secret), "a placeholder's word"),
        (repeated(secret), "one character repeated"),
        (
            (entry.confidence < Confidence::High || address.is_some()) && own_name(secret),
            "only words, one of which is password, secret, token or key",
        ),
        (
            named(context::seen),
            "the name says that the value is meant to be seen, a digest, or says where something is",
        ),
        (context::part_of_more(found), "a piece of a longer word"),
        (
            crypted(secret) && context::keeps_hashes(found),
            "a password's hash where hashes are kept, or in code and not named a password",
        ),
        (named(context::packaged), "a piece of a package's name and version"),
        (
            named(context::searches),
            "a search key beside the name of its index: pages carry it",
        ),
        (
            named(context::said_before),
            "the same text stands before it, as the user's name",
        ),
        (
            entry.generic && uuid(secret) && !context::guarded(found),
            "a UUID: more often an identifier than a secret",
        ),
        (
            entry.confidence < Confidence::High && phrase(secret),
            "several ordinary words",
        ),
        (encoded_words(secret), "base64 of words, or of a user and a placeholder"),
        (
            address.as_ref().is_some_and(Address::reserved),
            "the host is reserved for documentation and tests (RFC 2606), or called host",
        ),
        (
            address.as_ref().is_some_and(Address::token_password),
            "the password is the user's name, or shorter than five characters",
        ),
        (
            address.as_ref().is_some_and(Address::word_at_home),
            "a word as the password of this machine itself",
        ),
    ]
    .into_iter()
}

/// What each piece of evidence says of a match, one line each; [`judge`] draws the same conclusions.
pub(crate) fn account(entry: &Entry, found: &Found) -> Vec<String> {
    let secret = found.secret();
    let mut lines = vec![format!("the rule starts from confidence {:?}", entry.confidence).to_lowercase()];
    let bits = entropy(secret);
    if entry.entropy > 0.0 {
        let verdict = if bits < entry.entropy {
            "too even: no finding"
        } else {
            "enough"
        };
        lines.push(format!(
            "entropy {bits:.2} of at least {:.2} bits a character: {verdict}",
            entry.entropy
        ));
    }
    let mut say = |holds: bool, what: &str, so: &str| {
        if holds {
            lines.push(format!("{what}: {so}"));
        }
    };
    say(
        documented(secret),
        "an example of the provider's documentation",
        "no finding",
    );
    let dropped = entry.generic && placeholder(secret);
    for (holds, what) in doubts(entry, found) {
        say(holds, what, if dropped { "no finding" } else { "lowers to low" });
    }
    let at_most = if entry.generic { "no finding" } else { "at most medium" };
    say(sequential(secret), "a sequence of characters", at_most);
    if let Some(check) = entry.check {
        let name = format!("structure ({check:?})").to_lowercase();
        let so = match check.judge(secret) {
            Structure::Confirmed => "confirmed: high",
            Structure::Possible => "possible: as it was",
            Structure::Refuted => "refuted: low",
            Structure::Absent => "words, a path, a number or a reference: no finding",
        };
        say(true, &name, so);
    }
    lines
}

/// Shannon entropy, bits per byte.
pub(crate) fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in text {
        counts[usize::from(*byte)] += 1;
    }
    let total = text.len().max(1) as f64;
    let bits = |count: &u32| {
        let p = f64::from(*count) / total;
        -p * p.log2()
    };
    counts.iter().filter(|count| **count > 0).map(bits).sum()
}

/// The last six characters are the base-62 CRC-32 of those between the first `_` and them.
fn github_crc32(secret: &[u8]) -> bool {
    let Some(underscore) = secret.iter().position(|b| *b == b'_') else {
        return false;
    };
    let rest = &secret[underscore + 1..];
    let Some((body, sum)) = rest.len().checked_sub(6).map(|at| rest.split_at(at)) else {
        return false;
    };
    sum == base62(crc32(body))
}

fn crc32(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

fn base62(mut number: u32) -> [u8; 6] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = [b'0'; 6];
    for digit in text.iter_mut().rev() {
        *digit = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    text
}

/// Texts that the examples of documentation end in: RFC 6749, 6455, 7515 and 9449, <https://jwt.io> and
/// <https://discord.com/developers/docs/reference>.
const SAMPLES: [&[u8]; 7] = [
    b"2YotnFZFEjr1zCsicMWpAA",
    b"tGzv3JOkF0XG5Qx2TlKWIA",
    b"dGhlIHNhbXBsZSBub25jZQ==",
    b"Xb1Mk2nEhe-4iUcrGOuegj57zMC",
    b"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    b"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU",
    b"SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
];

/// A time that has passed, in seconds since 1970: the start of 2025.
const PASSED: f64 = 1_735_689_600.0;

/// Three parts, the first of which is JSON with an `alg`.
///
/// One that nobody signed (`none`) gives no access, and one that expired before [`PASSED`] none any more. A head that is no JSON is another kind of text, which other
/// rules may know by its name.
fn jwt(secret: &[u8]) -> Structure {
    let mut parts = secret.split(|b| *b == b'.');
    let (Some(header), Some(payload)) = (parts.next(), parts.next()) else {
        return Structure::Absent;
    };
    let json = |part: &[u8]| {
        let text = Zeroizing::new(URL_SAFE_NO_PAD.decode(part).ok()?);
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&text).ok()
    };
    let Some(header) = json(header) else {
        return Structure::Absent;
    };
    let algorithm = header.get("alg").and_then(serde_json::Value::as_str);
    let signed = algorithm.is_some_and(|name| !name.eq_ignore_ascii_case("none"));
    let expires = json(payload).and_then(|claims| claims.get("exp")?.as_f64());
    match expires {
        _ if !signed || payload.is_empty() => Structure::Refuted,
        Some(expired) if expired < PASSED => Structure::Possible,
        _ => Structure::Confirmed,
    }
}

/// Base-32 after the four letters of the prefix, and, for ids of the present format, an account of 12 digits.
///
/// An id's first ten bytes hold the account in bits 1 to 40; ids made before 2019, whose
/// fifth character is below `Q`, do not.
fn aws_access_key(secret: &[u8]) -> bool {
    let Some(body) = secret.get(4..20).filter(|_| secret.len() == 20) else {
        return false;
    };
    let mut bits = 0u128;
    for byte in body {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'2'..=b'7' => byte - b'2' + 26,
            _ => return false,
        };
        bits = bits << 5 | u128::from(digit);
    }
    let account = (bits >> 32 & 0x7fff_ffff_ff80) >> 7;
    body[0] < b'Q' || account < 1_000_000_000_000
}

/// A form without a checksum: it can be refuted and not confirmed.
fn shaped(fits: bool) -> Structure {
    if fits { Structure::Possible } else { Structure::Refuted }
}

/// Base64 of 30 bytes: 40 characters, some of which are capitals.
fn aws_secret_key(secret: &[u8]) -> bool {
    secret.len() == 40 && secret.iter().any(u8::is_ascii_uppercase) && secret.iter().any(u8::is_ascii_lowercase)
}

/// A block whose body is base64: of a DER sequence or an OpenSSH key, confirmed; of anything else, possible.
fn private_key(secret: &[u8]) -> Structure {
    let text = Zeroizing::new(unescaped(secret));
    // A line of dots: a document that shows how a key looks.
    if contains(&text, b"ENCRYPTED") || contains(&text, b"\n...") {
        return Structure::Refuted;
    }
    let body = Zeroizing::new(pem_body(&text));
    // The shortest private key, Ed25519 in PKCS#8, has 48 bytes.
    if body.len() < 64 || placeholder(&body) || entropy(&body) < 3.5 {
        return Structure::Refuted;
    }
    let whole = &body[..body.len() - body.len() % 4];
    match STANDARD_NO_PAD.decode(whole).map(Zeroizing::new) {
        Err(_) => Structure::Refuted,
        Ok(bytes) if bytes.starts_with(b"openssh-key-v1\0") || der_sequence(&bytes) => Structure::Confirmed,
        Ok(_) => Structure::Possible,
    }
}

/// A value that no name, word, path, number or reference is: what a random token looks like.
fn random(secret: &[u8]) -> Structure {
    let digits = secret.iter().filter(|b| b.is_ascii_digit()).count();
    let letters = secret.iter().filter(|b| b.is_ascii_alphabetic()).count();
    let number = letters == 0 && secret.len() < 30;
    let word = digits == 0 && secret.len() < 20;
    if number || word || readable(secret) || reference(secret) || worded(secret) || public_der(secret) {
        Structure::Absent
    } else {
        Structure::Possible
    }
}

/// Base64 of a certificate or a public key: a DER sequence that begins with another, as no private key does.
///
/// A private key begins with its version, an integer (<https://www.rfc-editor.org/rfc/rfc5958>), a public one
/// with its algorithm (<https://www.rfc-editor.org/rfc/rfc5280#section-4.1>).
fn public_der(text: &[u8]) -> bool {
    let head = text.get(..text.len().min(40) / 4 * 4).unwrap_or_default();
    let Ok(bytes) = STANDARD_NO_PAD.decode(head) else {
        return false;
    };
    matches!(
        bytes.as_slice(),
        [0x30, 0x82, _, _, 0x30, ..] | [0x30, 0x81, _, 0x30, ..] | [0x30, 0x59, 0x30, ..]
    )
}

/// `8-4-4-4-12` hexadecimal digits (<https://www.rfc-editor.org/rfc/rfc9562>).
fn uuid(text: &[u8]) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let parts = || text.split(|b| *b == b'-');
    parts().map(<[u8]>::len).eq(lengths) && parts().flatten().all(u8::is_ascii_hexdigit)
}

/// Whether a value is the example of a standard, or of its provider's own documentation, which says so at its end.
///
/// AWS: `AKIAIOSFODNN7EXAMPLE` and the secrets that end in `EXAMPLEKEY`
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html>).
fn documented(secret: &[u8]) -> bool {
    let own = [b"EXAMPLE".as_slice(), b"EXAMPLEKEY"];
    own.iter().chain(&SAMPLES).any(|end| secret.ends_with(end))
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(text, word).is_some()
}

/// The text with `\n` and `\r` of string literals made into line ends.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            (b'\\', Some(b'n' | b'r')) => {
                out.push(b'\n');
                at += 2;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// The base64 characters between the first `-----` line and the next `-----`, armor headers left out.
fn pem_body(text: &[u8]) -> Vec<u8> {
    let dashes: Vec<usize> = memchr::memmem::find_iter(text, b"-----").collect();
    let (from, to) = match dashes.as_slice() {
        [_, begin, end, ..] => (begin + 5, *end),
        [_, begin] => (begin + 5, text.len()),
        _ => (0, text.len()),
    };
    let body = text.get(from..to).unwrap_or_default();
    body.split(|b| *b == b'\n')
        .filter(|line| !line.contains(&b':'))
        .flatten()
        .copied()
        .filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        .collect()
}

/// Whether the bytes start as a DER sequence whose length fits them.
fn der_sequence(bytes: &[u8]) -> bool {
    let length = match bytes {
        [0x30, short @ 0..=0x7f, ..] => usize::from(*short) + 2,
        [0x30, 0x81, length, ..] => usize::from(*length) + 3,
        [0x30, 0x82, high, low, ..] => (usize::from(*high) << 8 | usize::from(*low)) + 4,
        _ => return false,
    };
    // Up to three bytes may be missing, since the last, incomplete group is not decoded.
    length >= bytes.len() && length <= bytes.len() + 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_of_a_published_format_is_right() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(&base62(61), b"00000z");
        let body = "abcdefghijklmnopqrstuvwxyz0123";
        let sum = String::from_utf8(base62(crc32(body.as_bytes())).to_vec()).unwrap();
        let token = format!("ghp{}{body}{sum}", '_');
        assert!(github_crc32(token.as_bytes()));
        assert!(!github_crc32(token.replace('b', "c").as_bytes()));
        assert!(!github_crc32(b"ghp"));
        assert!(!github_crc32(b"_12"));
    }

    #[test]
    fn keys_are_confirmed_possible_or_refuted() {
        let block = |body: &str| format!("-----BEGIN {0}-----\n{body}\n-----END {0}-----", "PRIVATE KEY");
        let der = [
            &[0x30u8, 0x2e][..],
            &(0..46u8).map(|i| i.wrapping_mul(73)).collect::<Vec<_>>(),
        ]
        .concat();
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        assert_eq!(private_key(block(&body).as_bytes()), Structure::Confirmed);
        assert_eq!(
            private_key(block(&body.replacen('M', "N", 1)).as_bytes()),
            Structure::Possible
        );
        assert_eq!(private_key(block(&"x".repeat(80)).as_bytes()), Structure::Refuted);
        assert_eq!(private_key(block("...").as_bytes()), Structure::Refuted);
        let elided = format!("{}\n...\n{}", &body[..32], body.repeat(2));
        assert_eq!(private_key(block(&elided).as_bytes()), Structure::Refuted);
        assert_eq!(private_key(b"-----"), Structure::Refuted);
    }

    #[test]
    fn names_hosts_and_public_keys_are_not_random() {
        let spki = ["MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A", "MIIBCgKCAQEAq4yKxb6SNePdDmQi9xFC"].concat();
        for text in [
            "msg=empty_password_msg",
            "module.some_key2",
            "store.csi.x-k8s.io/v1",
            "keycloak.acme.com-tls",
            spki.as_str(),
        ] {
            assert_eq!(random(text.as_bytes()), Structure::Absent, "{text}");
        }
        let private = ["MIIEvwIBADANBgkqhkiG9w0BAQEFAASC", "BKkwggSlAgEAAoIBAQDcWWomvlNGyQhA"].concat();
        for text in ["k8q2.vx7tz.9w4nrb3m", "tR7p_q9Zk.4Lm2xTvB", private.as_str()] {
            assert_eq!(random(text.as_bytes()), Structure::Possible, "{text}");
        }
    }

    #[test]
    fn a_jwt_has_an_algorithm() {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let token = format!("{}.{}.c2ln", part(r#"{"alg":"HS256"}"#), part("{}"));
        assert_eq!(jwt(token.as_bytes()), Structure::Confirmed);
        for header in [r#"{"typ":"JWT"}"#, r#"{"alg":"none"}"#] {
            let text = format!("{}.{}.c2ln", part(header), part("{}"));
            assert_eq!(jwt(text.as_bytes()), Structure::Refuted, "{header}");
        }
        for (exp, structure) in [
            ("1600000000", Structure::Possible),
            ("4600000000", Structure::Confirmed),
        ] {
            let claims = format!(r#"{{"exp":{exp}}}"#);
            let text = format!("{}.{}.c2ln", part(r#"{"alg":"HS256"}"#), part(&claims));
            assert_eq!(jwt(text.as_bytes()), structure, "{exp}");
        }
        assert_eq!(jwt(b"eyJ"), Structure::Absent);
        assert_eq!(jwt(b"eyJoZWFkIGlzIG5v.eyJ9.c2ln"), Structure::Absent);
    }
}
