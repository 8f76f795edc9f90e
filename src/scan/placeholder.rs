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
const ALONE: [&str; 31] = [
    "admin",
    "apikey",
    "contrasena",
    "false",
    "foo",
    "guest",
    "haslo",
    "heslo",
    "kennwort",
    "key",
    "none",
    "null",
    "parola",
    "pass",
    "passwd",
    "password",
    "passwort",
    "postgres",
    "root",
    "salasana",
    "secret",
    "senha",
    "sifre",
    "string",
    "test",
    "token",
    "true",
    "user",
    "username",
    "wachtwoord",
    "your",
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
        || between(b"<", b">")
        || between(b"[", b"]")
        || between(b"(", b")")
        || between(b"{", b"}")
        || between(b"__", b"__")
        || [b"${".as_slice(), b"$(", b"{{", b"#{", b"%(", b"<%", b"@@", b"..."]
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

/// What a package is asked for by: `^1.0.0`, `npm:^4.0.23`, `v2.1.3`, `>=3.2.1`.
fn version(text: &[u8]) -> bool {
    let at = text.iter().position(|b| *b == b':').map_or(0, |colon| colon + 1);
    let (scheme, rest) = text.split_at(at);
    let sign = rest
        .iter()
        .take_while(|b| matches!(b, b'^' | b'~' | b'<' | b'>' | b'=' | b'v'));
    let numbers = rest[sign.count()..].split(|b| *b == b'.');
    scheme.iter().all(|b| b.is_ascii_lowercase() || *b == b':')
        && numbers.clone().count() == 3
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

/// Base64 of words, or of `user:password` whose password is a placeholder: `dXNlcjpwYXNzd29yZA==`.
pub(crate) fn encoded_words(secret: &[u8]) -> bool {
    let body = secret.trim_ascii_end();
    let unpadded = body.iter().rposition(|b| *b != b'=').map_or(0, |last| last + 1);
    let Ok(text) = STANDARD_NO_PAD.decode(&body[..unpadded]).map(Zeroizing::new) else {
        return false;
    };
    let words = |text: &[u8]| own_name(text) || phrase(text);
    match text.iter().position(|b| *b == b':') {
        _ if !text.is_ascii() => false,
        None => words(&text),
        Some(colon) => {
            let (user, password) = (&text[..colon], &text[colon + 1..]);
            password.len() < 5 || user == password || placeholder(password) || words(password)
        }
    }
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
