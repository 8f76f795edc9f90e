//! Whether a text only stands for a secret: a placeholder, a template, a reference, ordinary words.
//!
//! In scope: judgements on the text alone, on whole words. Out of scope: what stands round it (`context`), the
//! forms of real secrets (`evidence`).

use super::likeness;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

/// Words that stand for a secret instead of being one, compared as whole words without case.
const WORDS: [&str; 33] = [
    "changeit",
    "changeme",
    "default",
    "dummy",
    "enter",
    "example",
    "examples",
    "fake",
    "fixme",
    "foobar",
    "here",
    "insert",
    "invalid",
    "lorem",
    "mock",
    "mypassword",
    "mysecret",
    "mytoken",
    "notreal",
    "placeholder",
    "redacted",
    "removed",
    "replace",
    "replaceme",
    "sample",
    "testing",
    "todo",
    "undefined",
    "unset",
    "yourkey",
    "yourpassword",
    "yoursecret",
    "yourtoken",
];

/// Words that are a placeholder only when nothing else is there.
///
/// With the word for password of translated texts.
const ALONE: [&str; 46] = [
    "adgangskode",
    "admin",
    "apikey",
    "contrasena",
    "contrasenya",
    "false",
    "foo",
    "geslo",
    "guest",
    "haslo",
    "heslo",
    "jelszo",
    "kennwort",
    "key",
    "kodeord",
    "losenord",
    "lozinka",
    "none",
    "null",
    "parola",
    "parole",
    "parool",
    "pasahitza",
    "pass",
    "passord",
    "passwd",
    "password",
    "passwort",
    "postgres",
    "root",
    "salasana",
    "sandi",
    "secret",
    "senha",
    "sifre",
    "slaptazodis",
    "string",
    "test",
    "token",
    "true",
    "user",
    "username",
    "wachtwoord",
    "wagwoord",
    "your",
    "zaporka",
];

/// Whether a text only stands for a secret: a template, a reference, a word, a pattern of the hand.
pub(crate) fn placeholder(secret: &[u8]) -> bool {
    reference(secret) || worded(secret) || repeated(secret) || sequential(secret)
}

/// `${VAR}`, `$(cmd)`, `{{ x }}`, `<token>`, `%s`, `$VAR`, `process.env.X`, `[your token]`.
pub(crate) fn reference(secret: &[u8]) -> bool {
    let between = |open: &[u8], close: &[u8]| secret.starts_with(open) && secret.ends_with(close);
    let inside = |open: &[u8]| memchr::memmem::find(secret, open).is_some();
    let variable = match secret {
        [b'$', first, rest @ ..] => {
            (first.is_ascii_alphabetic() || *first == b'_')
                && rest
                    .iter()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_')
        }
        [b'%', rest @ .., b'%'] => rest.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_'),
        [b'%' | b'@', b'a'..=b'z'] => true,
        _ => false,
    };
    variable
        || version(secret)
        || digest(secret)
        || between(b"<", b">")
        || between(b"[", b"]")
        || between(b"(", b")")
        || between(b"{", b"}")
        || between(b"__", b"__")
        || [
            b"${".as_slice(),
            b"$(",
            b"{{",
            b"#{",
            b"%(",
            b"<%",
            b"@@",
            b"...",
            b"&lt;",
        ]
        .iter()
        .any(|open| inside(open))
        || [
            b"getenv".as_slice(),
            b"os.environ",
            b"process.env",
            b"ENV[",
            b"env.",
            b"secrets.",
            b"vars.",
        ]
        .iter()
        .any(|call| inside(call))
}

/// A password's hash as `crypt` writes it: `$id$salt$hash` (<https://man7.org/linux/man-pages/man5/crypt.5.html>).
pub(crate) fn crypted(text: &[u8]) -> bool {
    text.starts_with(b"$") && memchr::memchr_iter(b'$', text).count() >= 3
}

/// A digest that names its algorithm: `sha256:2c26…`, `hmac-sha256:…`, `sha512-…==`.
fn digest(text: &[u8]) -> bool {
    const ALGORITHMS: [&[u8]; 8] = [
        b"sha1", b"sha224", b"sha256", b"sha384", b"sha512", b"md5", b"blake2b", b"blake3",
    ];
    let text = text.strip_prefix(b"hmac-").unwrap_or(text);
    let digits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'_' | b'-');
    let mut rests = ALGORITHMS.iter().filter_map(|name| text.strip_prefix(*name));
    rests.any(|rest| matches!(rest, [b':' | b'-' | b'=', sum @ ..] if sum.len() >= 20 && sum.iter().all(digits)))
}

/// What a package is asked for by: `^1.0.0`, `npm:^4.0.23`, `v2.1.3`, `>=3.2.1`, `Version=16.0.0.0`.
fn version(text: &[u8]) -> bool {
    let name = text.strip_prefix(b"Version=").map(|_| b"Version=".len());
    let at = text
        .iter()
        .position(|b| *b == b':')
        .map_or(0, |colon| colon + 1)
        .max(name.unwrap_or(0));
    let (scheme, rest) = text.split_at(at);
    let sign = rest
        .iter()
        .take_while(|b| matches!(b, b'^' | b'~' | b'<' | b'>' | b'=' | b'v'));
    let numbers = rest[sign.count()..].split(|b| *b == b'.');
    (name.is_some() || scheme.iter().all(|b| b.is_ascii_lowercase() || *b == b':'))
        && (3..=4).contains(&numbers.clone().count())
        && numbers
            .into_iter()
            .all(|n| (1..=4).contains(&n.len()) && n.iter().all(u8::is_ascii_digit))
}

/// A placeholder's word among the words of the text, or alone.
pub(crate) fn worded(secret: &[u8]) -> bool {
    let words = words(secret);
    let equals = |list: &[&str], word: &Zeroizing<String>| list.contains(&word.as_str());
    let joined: Zeroizing<String> = Zeroizing::new(words.iter().map(|word| word.as_str()).collect());
    // `CHANGE-ME-FIRST`: such a word may be written as two.
    let pair = |two: &[Zeroizing<String>]| {
        let both = Zeroizing::new([two[0].as_str(), two[1].as_str()].concat());
        equals(&WORDS, &both)
    };
    words.iter().any(|word| equals(&WORDS, word))
        || words.windows(2).any(pair)
        || equals(&WORDS, &joined)
        || equals(&ALONE, &joined)
        || (words.len() > 1 && words[0].as_str() == "your")
        || (words.first().is_some_and(|word| word.as_str() == "my")
            && words.len() > 1
            && words
                .iter()
                .skip(1)
                .all(|word| equals(&ALONE, word) || matches!(word.as_str(), "api" | "access")))
}

/// Several words or one long one, letters only, that speak of a password: `home-pass`, `badpassword`.
pub(crate) fn own_name(secret: &[u8]) -> bool {
    const NAMES: [&str; 8] = [
        "key",
        "pass",
        "passphrase",
        "passwd",
        "password",
        "pwd",
        "secret",
        "token",
    ];
    if secret
        .iter()
        .any(|b| !b.is_ascii_alphabetic() && !matches!(b, b'-' | b'_' | b'.' | b' '))
    {
        return false;
    }
    words(secret)
        .iter()
        .any(|word| NAMES.contains(&word.as_str()) || word.contains("password") || word.contains("passwd"))
}

/// Base64 of words, or of `user:password` whose password is a placeholder: `dXNlcjpwYXNzd29yZA==`; or words in hex.
pub(crate) fn encoded_words(secret: &[u8]) -> bool {
    if let Some(text) = unhexed(secret) {
        return own_name(&text) || phrase(&text) || worded(&text);
    }
    let body = secret.trim_ascii_end();
    let unpadded = body.iter().rposition(|b| *b != b'=').map_or(0, |last| last + 1);
    let Ok(text) = STANDARD_NO_PAD.decode(&body[..unpadded]).map(Zeroizing::new) else {
        return false;
    };
    let words = |text: &[u8]| own_name(text) || phrase(text);
    match text.iter().position(|b| *b == b':') {
        _ if !text.is_ascii() => false,
        None => words(&text) || worded(&text) || text.iter().all(u8::is_ascii_alphabetic) && likeness::ordinary(&text),
        Some(colon) => {
            let (user, password) = (&text[..colon], &text[colon + 1..]);
            password.len() < 5 || user == password || placeholder(password) || words(password)
        }
    }
}

/// The printable text that a value of hexadecimal digits writes; `None` if it is none.
fn unhexed(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let pair = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok();
    let hex = text.len() >= 8 && text.len().is_multiple_of(2) && text.iter().all(u8::is_ascii_hexdigit);
    let bytes: Option<Vec<u8>> = text.chunks(2).map(pair).collect();
    let bytes = Zeroizing::new(bytes.filter(|_| hex)?);
    bytes
        .iter()
        .all(|b| b.is_ascii_graphic() || *b == b' ')
        .then_some(bytes)
}

/// Two ordinary words or more with separators between them: `required|min:6`, `change-this-key-in-2024`.
pub(crate) fn phrase(secret: &[u8]) -> bool {
    let separated = secret
        .iter()
        .any(|b| matches!(b, b'-' | b'_' | b'.' | b':' | b'|' | b'/' | b' '));
    separated && words(secret).iter().filter(|word| word.len() > 1).count() >= 2 && likeness::ordinary(secret)
}

/// The words of a text in lower case: split where letters end, digits begin, or camel case turns.
pub(crate) fn words(secret: &[u8]) -> Vec<Zeroizing<String>> {
    let mut words = Vec::new();
    let mut word = Zeroizing::new(String::new());
    let mut last = 0u8;
    for byte in secret {
        let turns = last.is_ascii_lowercase() && byte.is_ascii_uppercase();
        if (turns || !byte.is_ascii_alphabetic()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if byte.is_ascii_alphabetic() {
            word.push(char::from(byte.to_ascii_lowercase()));
        }
        last = *byte;
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// One or two different characters, or one character that fills half of the text.
pub(crate) fn repeated(secret: &[u8]) -> bool {
    let body: Vec<u8> = secret.iter().copied().filter(u8::is_ascii_graphic).collect();
    let body = Zeroizing::new(body);
    let mut longest = 0;
    let mut run = 0;
    let mut seen = [false; 256];
    for (i, byte) in body.iter().enumerate() {
        run = if i > 0 && body[i - 1] == *byte { run + 1 } else { 1 };
        longest = longest.max(run);
        seen[usize::from(*byte)] = true;
    }
    let different = seen.iter().filter(|s| **s).count();
    (different <= 2 && body.len() >= 3)
        || longest >= 6.max(body.len() / 2)
        || (longest >= 8 && longest * 3 >= body.len())
}

/// Mostly steps of one: `abcdef`, `1234567890`.
pub(crate) fn sequential(secret: &[u8]) -> bool {
    let steps = secret
        .windows(2)
        .filter(|w| w[1] == w[0].wrapping_add(1) || w[0] == w[1].wrapping_add(1));
    let count = steps.count();
    count >= 5 && count * 10 >= (secret.len() - 1) * 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_judged_on_whole_words() {
        for text in [
            "${TOKEN}",
            "$TOKEN",
            "<your-token>",
            "xxxxxxxx",
            "changeme",
            "my-example-value",
            "abcdefghij",
            "1234567890",
            "password",
            "%s",
            "{{ secret }}",
            "process.env.KEY",
            "your-api-key",
            "AIOSFODNN7EXAMPLE",
            "CHANGE-ME-OR-FAIL",
            "Wachtwoord",
            "npm:^4.0.23",
            "^1.0.0",
            "Version=16.0.0.0",
            "hmac-sha256:2d09b7dc250c78aab17d0bc11d4858",
            "sha512-Aos28tfxN/Zk4V5ttr8Mr7Qu9/LW76rB7BZDdzT==",
            "************",
        ] {
            assert!(placeholder(text.as_bytes()), "{text}");
        }
        for text in [
            "tR7pexamplesq9Zk",
            "hunter2-Kq8",
            "9f8Zk2LmQ4xT",
            "p4ssw0rd!now",
            "Sup3rs3cretStuff",
            "1.kQz.92",
        ] {
            assert!(!placeholder(text.as_bytes()), "{text}");
        }
    }
}
