//! What stands round a secret: the name that it is bound to, the host of its address.
//!
//! Pure judgements on the bytes before and after a match. They lower a
//! confidence and never raise it, so that what a writer puts there can at most
//! turn a finding into advice. Out of scope: the secret itself (`evidence`).

use super::likeness;
use super::placeholder::words;
use std::ops::Range;
use zeroize::Zeroizing;

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
const SEEN: [&str; 33] = [
    "alphabet",
    "authenticity",
    "licence",
    "license",
    "cache",
    "charset",
    "checksum",
    "commit",
    "crypted",
    "csrf",
    "digest",
    "encrypted",
    "fingerprint",
    "foreign",
    "hash",
    "hashed",
    "idempotency",
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
    "xsrf",
];

/// Words at the end of a name whose value tells where or what something is: `secretName`, `token_url`.
const ABOUT: [&str; 14] = [
    "algorithm",
    "class",
    "field",
    "file",
    "filename",
    "format",
    "label",
    "name",
    "path",
    "ref",
    "type",
    "uri",
    "url",
    "version",
];

/// Whether the name before a secret says that it is none: `public_key`, `cache-key`, `SRCREV_token`, `secretName`.
pub(crate) fn seen(found: &Found) -> bool {
    let words = name(found);
    let about = words.last().is_some_and(|word| ABOUT.contains(&word.as_str()));
    // A header's nonce: <https://www.rfc-editor.org/rfc/rfc6455#section-11.3.1>.
    let nonce = words
        .iter()
        .map(|word| word.as_str())
        .eq(["sec", "web", "socket", "key"]);
    // What a password became before it was stored.
    let encoded = words
        .windows(2)
        .any(|two| two[0].as_str() == "encoded" && two[1].as_str() == "password");
    about || nonce || encoded || words.iter().any(|word| SEEN.contains(&word.as_str()))
}

/// Whether the name before a secret can mean nothing but one: a password, a secret, or a key or token to get in with.
pub(crate) fn guarded(found: &Found) -> bool {
    let words = name(found);
    let is = |word: &Zeroizing<String>, list: &[&str]| list.contains(&word.as_str());
    let alone = |word| {
        is(
            word,
            &["password", "passwd", "passphrase", "secret", "apikey", "authtoken"],
        )
    };
    let pair = |two: &[Zeroizing<String>]| {
        is(&two[0], &["access", "api", "auth", "private"]) && is(&two[1], &["key", "token"])
    };
    words.iter().any(alone) || words.windows(2).any(pair)
}

/// Whether a password's hash stands where hashes are kept, or is a literal of code that nothing calls a password.
///
/// Kept: an account's line in a password file (`bob:$apr1$…`), a line that says hash or crypt before it, a scheme in
/// braces (`{bcrypt}$2a$…`). A literal stands for somebody's password under a name that says so, in an SQL statement
/// and in a row of a dump.
pub(crate) fn keeps_hashes(found: &Found) -> bool {
    let start = found.secret.start;
    let near = &found.text[start.saturating_sub(MAX_NAME)..start];
    let line = memchr::memrchr(b'\n', near).map_or(near, |feed| &near[feed + 1..]);
    let said = |word: &Zeroizing<String>| {
        ["hash", "crypt", "htpasswd", "encoded"]
            .iter()
            .any(|sign| word.contains(sign))
    };
    let account = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'@' | b'_' | b'-' | b'+');
    let name = line.trim_ascii_start().strip_suffix(b":");
    let ends = matches!(found.text.get(found.secret.end), None | Some(b'\n' | b'\r'));
    words(line).iter().any(said)
        || ends && name.is_some_and(|name| !name.is_empty() && name.iter().all(account))
        || matches!(line, [.., b'"' | b'\'']) && !somebodys(line)
}

/// Whether a line before a literal says that it is somebody's password, or is a statement or a row of SQL.
fn somebodys(line: &[u8]) -> bool {
    let said = |word: &Zeroizing<String>| {
        word.contains("pass")
            || [
                "pwd",
                "shadow",
                "insert",
                "into",
                "values",
                "update",
                "set",
                "identified",
            ]
            .contains(&word.as_str())
    };
    line.trim_ascii_start().starts_with(b"(") || words(line).iter().any(said)
}

/// Whether a secret is a piece of a package's file or requirement: `hf_transfer-0.1.9-cp38-abi3.whl`, `api-core==2.18.0`.
///
/// Such a word has a version in it, of three numbers or more, after `-`, `_`, `@` or `==`.
pub(crate) fn packaged(found: &Found) -> bool {
    let part = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'+' | b'-' | b'=' | b'@');
    let (start, end) = (found.secret.start, found.secret.end);
    let before = found.text[start.saturating_sub(MAX_NAME)..start]
        .iter()
        .rev()
        .take_while(part);
    let after = found.text[end..].iter().take(MAX_NAME).take_while(part);
    let word = &found.text[start - before.count()..end + after.count()];
    let joins = |at: usize| matches!(word[at], b'-' | b'_' | b'@') || at > 0 && word[at - 1..=at] == *b"==";
    (0..word.len()).any(|at| joins(at) && numbers(&word[at + 1..]) >= 3)
}

/// How many numbers of at most four digits a text begins with, a point between them: 3 in `0.1.9-cp38`.
fn numbers(text: &[u8]) -> usize {
    let digits = |part: &&[u8]| (1..=4).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
    let version = text
        .split(|b| !b.is_ascii_digit() && *b != b'.')
        .next()
        .unwrap_or_default();
    version.split(|b| *b == b'.').take_while(digits).count()
}

/// Whether a secret is the key with which a page searches: 32 hexadecimal digits beside the name of an index.
///
/// <https://docsearch.algolia.com/docs/api/>: `appId`, `apiKey`, `indexName`, all of them in the page.
pub(crate) fn searches(found: &Found) -> bool {
    let (start, end) = (found.secret.start, found.secret.end);
    let near = &found.text[start.saturating_sub(3 * MAX_NAME)..found.text.len().min(end + 3 * MAX_NAME)];
    let named = |name: &[u8]| memchr::memmem::find(near, name).is_some();
    end - start == 32
        && found.secret().iter().all(u8::is_ascii_hexdigit)
        && (named(b"indexName") || named(b"index_name"))
}

/// Whether a match has the same text before the secret, as a word: `user = "app", password = "app"`.
pub(crate) fn said_before(found: &Found) -> bool {
    let secret = found.secret();
    let before = &found.text[found.whole.start.min(found.secret.start)..found.secret.start];
    let letter =
        |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@'));
    let mut places = memchr::memmem::find_iter(before, secret);
    let joined = |at: usize| at.checked_sub(1).is_some_and(|last| letter(before.get(last)));
    places.any(|at| !joined(at) && !letter(before.get(at + secret.len())))
}

/// Whether letters or digits go on before or after a secret, where the expression does not say what stands there.
///
/// An escape before it (`\n`, `%3D`, `\u003d`) is no part of the word.
pub(crate) fn part_of_more(found: &Found) -> bool {
    let (secret, whole) = (&found.secret, &found.whole);
    let letter = |at: usize| found.text.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let goes_on = |at: usize| at > 0 && letter(at - 1) && letter(at);
    let before = whole.start == secret.start && goes_on(secret.start) && !escaped(&found.text[..secret.start]);
    before || whole.end == secret.end && goes_on(secret.end)
}

/// Whether a text ends in an escape: `\n`, `\x3d`, `\u003d`, `%3D`.
fn escaped(text: &[u8]) -> bool {
    let hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    match text {
        [.., b'\\', b'a'..=b'z' | b'0'] => true,
        [.., b'%', a, b] | [.., b'\\', b'x', a, b] => hex(&[*a, *b]),
        [.., b'\\', b'u', a, b, c, d] => hex(&[*a, *b, *c, *d]),
        _ => false,
    }
}

/// The words of the name before a secret, in its line.
fn name(found: &Found) -> Vec<Zeroizing<String>> {
    let before = found.before();
    let name = &before[before.len().saturating_sub(MAX_NAME)..];
    // Of several lines only the last one names the value.
    words(memchr::memrchr(b'\n', name).map_or(name, |i| &name[i..]))
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

    /// Whether the password is a word and the host this machine itself: `scott:tiger@localhost`.
    pub(crate) fn word_at_home(&self) -> bool {
        let home = matches!(self.host, b"localhost" | b"127.0.0.1");
        home && self.secret.iter().all(u8::is_ascii_alphabetic) && likeness::ordinary(self.secret)
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
        for text in ["my_key_name: abc", "tokenkey-url = abc", "Sec-WebSocket-Key: abc"] {
            assert!(seen(&found(text, "ey", "abc")), "{text}");
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
    fn hashes_are_kept_in_password_files_and_under_names_that_say_so() {
        let kept = |text: &str| keeps_hashes(&found(text, "$6$x$y", "$6$x$y"));
        for text in [
            "bob@acme:$6$x$y\nal:",
            "  bob:$6$x$y",
            "PWDHASH='$6$x$y'",
            "(\"{crypt}$6$x$y\")",
            "assertTrue(matches(\"$6$x$y\"))",
            "expected = '$6$x$y'",
        ] {
            assert!(kept(text), "{text}");
        }
        for text in [
            "$6$x$y",
            "root:$6$x$y:19000:0:",
            "password: $6$x$y",
            "(1, 'bob', '$6$x$y')",
            "values('bob', '$6$x$y')",
            "'password' => '$6$x$y'",
            "bob, $6$x$y",
            "hash:\n $6$x$y",
        ] {
            assert!(!kept(text), "{text}");
        }
    }

    #[test]
    fn a_piece_of_a_package_a_search_key_and_a_name_said_twice_are_known() {
        let key = "0dbb76467f0c180a1344fc46858df17b";
        assert!(packaged(&found(
            "a/hf_transfer-0.1.9-cp38-abi3.whl",
            "hf_transfer",
            "cp38-abi3"
        )));
        assert!(packaged(&found("install api-core==2.18.0", "api", "core")));
        for text in ["api_key=2.18.0", "a-1.2-cp38", "x-10.0"] {
            assert!(!packaged(&found(text, text, text)), "{text}");
        }
        assert!(searches(&found(
            &format!("apiKey: '{key}',\n indexName: 'docs'"),
            "apiKey",
            key
        )));
        assert!(!searches(&found(&format!("apiKey: '{key}',\n"), "apiKey", key)));
        let twice = "user=\"app1\" password=\"app1\"";
        let at = twice.len() - 5;
        let pair = |text: &'static str| Found {
            text: text.as_bytes(),
            whole: 0..text.len(),
            secret: at..at + 4,
        };
        assert!(said_before(&pair(twice)));
        assert!(!said_before(&pair("user=\"x-app1\" password=\"app1\"")));
    }

    #[test]
    fn a_word_is_no_password_of_this_machine_itself() {
        let home = |host: &str| {
            let text = format!("http://scott:tiger{}{host}", '@');
            Address::round(&found(&text, "http", "tiger")).is_some_and(|a| a.word_at_home())
        };
        assert!(home("localhost:1/x"));
        assert!(!home("db1/x") && !home("localhost.acme.com/x"));
    }

    #[test]
    fn a_piece_of_a_longer_word_is_told_from_one_after_an_escape() {
        let piece = |text: &str| {
            let at = text.find("abc_1").unwrap_or(0);
            let place = at..at + 5;
            part_of_more(&Found {
                text: text.as_bytes(),
                whole: place.clone(),
                secret: place,
            })
        };
        for text in ["xabc_1", "abc_12", "thisabc_1 "] {
            assert!(piece(text), "{text}");
        }
        for text in ["abc_1", "-abc_1-", "\\nabc_1", "%3Dabc_1", "\\u003dabc_1", "\\x3dabc_1"] {
            assert!(!piece(text), "{text}");
        }
    }

    #[test]
    fn some_names_can_mean_nothing_but_a_secret() {
        for text in [
            "apiKey: abc",
            "auth_token=abc",
            "my-client-secret=abc",
            "DB_PASSWORD: abc",
        ] {
            assert!(guarded(&found(text, text, "abc")), "{text}");
        }
        for text in ["key: abc", "token=abc", "session_token=abc", "primary-key=abc"] {
            assert!(!guarded(&found(text, text, "abc")), "{text}");
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
