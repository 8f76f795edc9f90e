//! Whether a value is the name of something that people read: a path, a file, an identifier, a host, words.
//!
//! In scope: judgements on the value alone, by its structure. Out of scope: placeholders and references
//! (`placeholder`), what stands round it (`context`).

use super::likeness;

/// Whether a value reads as a name.
pub(crate) fn readable(text: &[u8]) -> bool {
    path(text)
        || file(text)
        || identifier(text)
        || slug(text)
        || counted(text)
        || host(text)
        || likeness::ordinary(text)
}

/// Words and a number after them: `ExpiresAt4687177990`.
fn counted(text: &[u8]) -> bool {
    let digits = text.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let letters = &text[..text.len() - digits];
    digits > 0 && letters.len() >= 6 && letters.iter().all(u8::is_ascii_alphabetic) && likeness::ordinary(letters)
}

/// Three parts or more with `/` between them, one of which is a word.
fn path(text: &[u8]) -> bool {
    let parts = || text.split(|b| *b == b'/');
    parts().count() >= 3 && parts().any(|part| part.len() >= 4 && likeness::ordinary(part))
}

/// Short parts with `_` between them, each of one case and with digits at one place only: `CFG80211_ADD_KEY2`.
///
/// Also one such name given to another, `key=other_key2`, and one in another, `module.some_key2`.
fn identifier(text: &[u8]) -> bool {
    let part = |part: &[u8]| {
        let letters = || part.iter().filter(|b| b.is_ascii_alphabetic());
        let runs = part.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
        let one_case = letters().all(u8::is_ascii_uppercase) || letters().skip(1).all(u8::is_ascii_lowercase);
        part.len() <= 14 && part.iter().all(u8::is_ascii_alphanumeric) && one_case && runs.count() <= 3
    };
    text.contains(&b'_') && text.split(|b| matches!(b, b'_' | b'=' | b'.')).all(part)
}

/// A host's name, perhaps with a path or a version after it: labels in lower case, one of them a word.
///
/// `secrets-store.csi.x-k8s.io/v1`, `keycloak.acme.com-tls`.
fn host(text: &[u8]) -> bool {
    let label = |label: &[u8]| {
        let whole = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        (1..=40).contains(&label.len()) && label.iter().all(whole)
    };
    let name = text.split(|b| matches!(b, b'/' | b':')).next().unwrap_or_default();
    let labels = || name.split(|b| *b == b'.');
    labels().count() >= 3 && labels().all(label) && labels().any(|part| part.len() >= 4 && likeness::ordinary(part))
}

/// What the names of files end in.
const ENDS: [&str; 52] = [
    "bz2",
    "cfg",
    "conf",
    "cpp",
    "crt",
    "csproj",
    "css",
    "csv",
    "dll",
    "exe",
    "gem",
    "gif",
    "html",
    "ico",
    "ini",
    "ipynb",
    "jar",
    "java",
    "jpeg",
    "jpg",
    "js",
    "json",
    "jsx",
    "key",
    "lock",
    "log",
    "map",
    "md",
    "mjs",
    "pem",
    "php",
    "png",
    "properties",
    "py",
    "rb",
    "rst",
    "scss",
    "sh",
    "sql",
    "svg",
    "tar",
    "tgz",
    "toml",
    "ts",
    "tsx",
    "txt",
    "war",
    "whl",
    "xml",
    "yaml",
    "yml",
    "zip",
];

/// A file, by the end of its name, or by a path from the root or here: `2.40.3.tar.gz`, `/etc/envoy/envoy.key`.
fn file(text: &[u8]) -> bool {
    let whole = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'+' | b'~');
    let end = text.iter().rposition(|b| *b == b'.').map(|dot| &text[dot + 1..]);
    let ends = |end: &[u8]| end == b"gz" || end == b"xz" || ENDS.iter().any(|known| known.as_bytes() == end);
    let rooted = [b"/".as_slice(), b"./", b"../", b"~/"]
        .iter()
        .any(|root| text.starts_with(root));
    let low = !text.iter().any(u8::is_ascii_uppercase);
    text.iter().all(whole) && (end.is_some_and(ends) || rooted && low && memchr::memchr_iter(b'/', text).count() >= 2)
}

/// Three parts or more in lower case with `-`, `.`, `/` or `_` between them, short, with digits at one place only, and
/// half of the letters in words: `npm-token-create-doesnt-work-in-6-6-0`.
fn slug(text: &[u8]) -> bool {
    let short = |part: &[u8]| {
        let runs = part.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
        part.len() <= 14 && part.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) && runs.count() <= 3
    };
    let parts = || text.split(|b| matches!(b, b'-' | b'.' | b'/' | b'_'));
    let letters = |part: &[u8]| part.iter().filter(|b| b.is_ascii_alphabetic()).count();
    let in_words = parts().filter(|part| part.len() >= 4 && likeness::ordinary(part));
    let in_words: usize = in_words.map(letters).sum();
    parts().count() >= 3 && parts().all(short) && in_words > 0 && 2 * in_words >= letters(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_and_slugs_are_told_from_tokens() {
        for text in [
            "2.40.3.tar.gz",
            "cp313-cp313-manylinux_2_17_x86_64.whl",
            "/etc/envoy/envoy.key",
            "win32-x64-msvc/package.json",
            "ExpiresAt4687177990",
            "create-doesnt-work-in-6-6-0-6-9-0",
        ] {
            assert!(readable(text.as_bytes()), "{text}");
        }
        for text in [
            "/k8Zq2vNxWtR7pLm+/a0Q",
            "4f9a1c7e2b8d60-53a1c7-9f",
            "8d8c30e4-965e-4f9c-aa8e-9a7e8de01f11",
            "tR7p.q9Zk4Lm2xTv.B",
        ] {
            assert!(!readable(text.as_bytes()), "{text}");
        }
    }
}
