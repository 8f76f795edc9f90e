//! What stands round a secret: the name that it is bound to, the host of its address.
//!
//! Pure judgements on the bytes before and after a match. They lower a
//! confidence and never raise it, so that what a writer puts there can at most
//! turn a finding into advice. Out of scope: the secret itself (`evidence`).

use super::evidence::words;
use std::ops::Range;

/// Longest name that is looked at, in bytes.
const MAX_NAME: usize = 80;

/// A match in its text.
pub(crate) struct Found<'a> {
    /// The whole text.
    pub(crate) text: &'a [u8],
    /// Where the whole match stands.
    pub(crate) whole: Range<usize>,
    /// Where the secret stands in it.
    pub(crate) secret: Range<usize>,
}

impl Found<'_> {
    /// The secret's bytes.
    pub(crate) fn secret(&self) -> &[u8] {
        &self.text[self.secret.clone()]
    }

    /// The match before the secret, and the rest of the word in which it starts.
    fn before(&self) -> &[u8] {
        let start = self.whole.start.min(self.secret.start);
        let low = start.saturating_sub(MAX_NAME);
        let head = &self.text[low..start];
        let word = head
            .iter()
            .rev()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        &self.text[start - word.count()..self.secret.start]
    }
}

/// Words of a name whose value is meant to be seen, or is a digest of something.
const SEEN: [&str; 26] = [
    "alphabet",
    "licence",
    "license",
    "cache",
    "charset",
    "checksum",
    "commit",
    "digest",
    "fingerprint",
    "foreign",
    "hash",
    "integrity",
    "md",
    "partition",
    "primary",
    "pub",
    "public",
    "publishable",
    "rev",
    "revision",
    "sha",
    "sitekey",
    "sort",
    "srcrev",
    "uuid",
    "guid",
];

/// Whether the name before a secret says that it is none: `public_key`, `cache-key`, `SRCREV_token`.
pub(crate) fn seen(found: &Found) -> bool {
    let before = found.before();
    let name = &before[before.len().saturating_sub(MAX_NAME)..];
    // Of several lines only the last one names the value.
    let name = memchr::memrchr(b'\n', name).map_or(name, |i| &name[i..]);
    words(name).iter().any(|word| SEEN.contains(&word.as_str()))
}

/// The address in whose user part the secret stands: `scheme://user:secret@host`.
pub(crate) struct Address<'a> {
    user: &'a [u8],
    secret: &'a [u8],
    host: &'a [u8],
}

impl<'a> Address<'a> {
    /// The address round a secret; `None` where it stands in no address.
    pub(crate) fn round(found: &'a Found) -> Option<Self> {
        let before = &found.text[found.whole.start..found.secret.start];
        let user = &before[memchr::memmem::find(before, b"://")? + 3..];
        let rest = found.text[found.secret.end..].strip_prefix(b"@")?;
        let named = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
        Some(Self {
            user: user.strip_suffix(b":").unwrap_or(user),
            secret: found.secret(),
            host: &rest[..rest.iter().take(256).take_while(named).count()],
        })
    }

    /// Whether the host never is: those of documentation and of tests, and the word itself.
    ///
    /// `example.com`, `.net`, `.org`, and the top-level names `example`, `invalid`, `localhost` and `test`; plain
    /// `localhost` is a real machine (<https://www.rfc-editor.org/rfc/rfc2606>).
    pub(crate) fn reserved(&self) -> bool {
        let host = self.host.to_ascii_lowercase();
        let mut labels = host.rsplit(|b| *b == b'.');
        match (labels.next(), labels.next()) {
            (Some(b"example" | b"invalid" | b"test"), _) | (Some(b"localhost"), Some(_)) => true,
            (Some(b"com" | b"net" | b"org" | b"edu"), Some(b"example")) => true,
            _ => matches!(
                host.as_slice(),
                b"host" | b"hostname" | b"the.host" | b"your-host" | b"yourhost" | b"server"
            ),
        }
    }

    /// Whether the password is the user's name again, or has fewer than five characters.
    pub(crate) fn token_password(&self) -> bool {
        let escapes = self.secret.iter().filter(|b| **b == b'%').count();
        self.user.eq_ignore_ascii_case(self.secret) || self.secret.len().saturating_sub(2 * escapes) < 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> (bool, bool) {
        let found = found(text, "http", "secret");
        Address::round(&found).map_or((false, false), |a| (a.reserved(), a.token_password()))
    }

    fn found<'a>(text: &'a str, match_: &str, secret: &str) -> Found<'a> {
        let whole = text.find(match_).unwrap_or(0);
        let at = text.find(secret).unwrap_or(0);
        Found {
            text: text.as_bytes(),
            whole: whole..text.len(),
            secret: at..at + secret.len(),
        }
    }

    #[test]
    fn a_name_tells_what_is_meant_to_be_seen() {
        for text in ["SRCREV_token = \"abc\"", "public_key: abc", "my-cacheKey = abc"] {
            assert!(
                seen(&found(text, "ey", "abc")) || seen(&found(text, "token", "abc")),
                "{text}"
            );
        }
        for text in [
            "api_key = \"abc\"",
            "public = x;\napi_key = abc",
            "republic_token = abc",
        ] {
            assert!(
                !seen(&found(text, "key", "abc")) && !seen(&found(text, "token", "abc")),
                "{text}"
            );
        }
    }

    #[test]
    fn hosts_of_documentation_are_reserved() {
        for host in [
            "example.com",
            "a.b.Example.ORG:80/x",
            "db.test",
            "x.localhost",
            "host.invalid",
        ] {
            assert_eq!(address(&format!("http://u:secret@{host}")), (true, false), "{host}");
        }
        for host in [
            "localhost",
            "acme.com",
            "example.com.acme.io",
            "myexample.com",
            "10.0.0.1",
        ] {
            assert_eq!(address(&format!("http://u:secret@{host}")), (false, false), "{host}");
        }
        assert_eq!(address("secret@example.com"), (false, false));
        assert_eq!(address("http://Secret:secret@acme.com"), (false, true));
    }
}
