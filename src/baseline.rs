//! Baselines: findings that somebody accepted, one line each, by the value's keyed fingerprint.
//!
//! In scope: the file's text, which findings it accepts on a day, and the
//! fingerprints under a salt that clones share. Out of scope: files, who asks.
//!
//! ```text
//! # lychgate-baseline 1 salt 5f0c…
//! 0a1b…  github-pat-classic  2027-01-31  dev@example.com  sample of the documentation
//! ```
//!
//! A line holds no place, so it survives moved lines and rebased commits.
//! Lines are sorted, and their order means nothing, so that `merge=union` in
//! `.gitattributes` merges two files without conflicts.
//!
//! Privacy: with a key file, nobody without the key can tell anything from a
//! line. With a salt, whoever reads the file can test a guess, at the cost of
//! [`ROUNDS`] rounds of HMAC; a random token is out of reach, a guessable
//! password is not. A baseline of those wants a key file.

use hmac::{Hmac, KeyInit, Mac};
use std::collections::BTreeMap;

/// Rounds of PBKDF2 (<https://www.rfc-editor.org/rfc/rfc8018#section-5.2>) for each fingerprint under a salt: some
/// 20 ms, which one scan pays once for each distinct secret and a guesser for each guess.
pub const ROUNDS: u32 = 50_000;

/// Longest baseline, in bytes.
pub const MAX_FILE: usize = 64 << 20;

/// Whose fingerprints the lines hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Made with this salt, which everyone may know.
    Salt([u8; 32]),
    /// Made with a key that the file does not hold; its check value, 16 hex digits.
    Key(String),
}

/// One accepted secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The day from which it counts again, `2027-01-31`; none = never.
    pub expires: Option<String>,
    /// Who accepted it; no white space.
    pub author: String,
    /// Why; one line.
    pub reason: String,
}

/// What a baseline file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// Whose fingerprints.
    pub origin: Origin,
    /// (fingerprint, rule) → line.
    pub lines: BTreeMap<(String, String), Line>,
}

/// One error in a baseline file, with its line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: error[baseline-not-valid]: {message}")]
pub struct BaselineError {
    /// The file's name as it was given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl Baseline {
    /// An empty one.
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            lines: BTreeMap::new(),
        }
    }

    /// Reads a file.
    ///
    /// Of two lines about the same secret, the one that lasts longer counts: that is what a union merge leaves
    /// when one side prolonged it.
    ///
    /// # Errors
    /// Every error, with its line.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<BaselineError>> {
        let mut errors = Vec::new();
        let mut fail = |line: usize, message: String| {
            errors.push(BaselineError {
                file: file.to_owned(),
                line,
                message,
            });
        };
        let (mut origin, mut headed): (Option<Origin>, bool) = (None, false);
        let mut lines: BTreeMap<(String, String), Line> = BTreeMap::new();
        if text.len() > MAX_FILE {
            fail(1, format!("larger than {MAX_FILE} bytes"));
        }
        for (at, text) in (1..).zip(text.lines().take_while(|_| text.len() <= MAX_FILE)) {
            let text = text.trim();
            if let Some(header) = text.strip_prefix("# lychgate-baseline ") {
                headed = true;
                match read_header(header) {
                    Ok(found) if origin.as_ref().is_some_and(|known| *known != found) => {
                        fail(
                            at,
                            "a second salt or key: keep one file's lines and write the others anew".to_owned(),
                        );
                    }
                    Ok(found) => origin = Some(found),
                    Err(why) => fail(at, why.to_owned()),
                }
            } else if !text.is_empty() && !text.starts_with('#') {
                match read_line(text) {
                    Ok((key, line)) => match lines.get(&key) {
                        Some(known) if lasts(known) >= lasts(&line) => {}
                        _ => drop(lines.insert(key, line)),
                    },
                    Err(why) => fail(at, why.to_owned()),
                }
            }
        }
        if !headed {
            fail(
                1,
                "no header \"# lychgate-baseline 1 …\"; let scan --write-baseline make the file".to_owned(),
            );
        }
        match origin {
            Some(origin) if errors.is_empty() => Ok(Self { origin, lines }),
            _ => Err(errors),
        }
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut out = match &self.origin {
            Origin::Salt(salt) => format!("# lychgate-baseline 1 salt {}\n", hex(salt)),
            Origin::Key(check) => format!("# lychgate-baseline 1 key {check}\n"),
        };
        out.push_str("# fingerprint rule expires author reason\n");
        for ((fingerprint, rule), line) in &self.lines {
            let expires = line.expires.as_deref().unwrap_or("-");
            out.push_str(&format!(
                "{fingerprint} {rule} {expires} {} {}\n",
                line.author, line.reason
            ));
        }
        out
    }

    /// Accepts a secret; white space in the author and line breaks in the reason are replaced.
    pub fn accept(&mut self, fingerprint: &str, rule: &str, line: Line) {
        let author: String = line.author.split_whitespace().collect::<Vec<_>>().join("_");
        let reason = line.reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = Line {
            author: if author.is_empty() { "-".to_owned() } else { author },
            reason: if reason.is_empty() { "-".to_owned() } else { reason },
            ..line
        };
        self.lines.insert((fingerprint.to_owned(), rule.to_owned()), line);
    }

    /// Whether a finding is accepted on a day such as `2026-11-24`.
    pub fn accepts(&self, fingerprint: &str, rule: &str, today: &str) -> bool {
        let line = self.lines.get(&(fingerprint.to_owned(), rule.to_owned()));
        line.is_some_and(|line| line.expires.as_deref().is_none_or(|day| today < day))
    }

    /// The fingerprint as this baseline's lines hold it.
    ///
    /// * `fingerprint`: the scanner's, hex, made under the salt or the key.
    pub fn fingerprint(&self, fingerprint: &str) -> String {
        match &self.origin {
            Origin::Salt(salt) => hex(&stretch(salt, fingerprint.as_bytes())[..16]),
            Origin::Key(_) => fingerprint.to_owned(),
        }
    }
}

/// What tells two keys apart without telling the key.
pub fn check_value(key: &[u8; 32]) -> String {
    let mut mac = mac(key);
    mac.update(b"lychgate baseline key check");
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    hex(&full[..8])
}

fn lasts(line: &Line) -> &str {
    line.expires.as_deref().unwrap_or("9999-99-99")
}

fn read_header(header: &str) -> Result<Origin, &'static str> {
    let parts: Vec<&str> = header.split_whitespace().collect();
    match parts.as_slice() {
        ["1", "salt", digits] => unhex(digits).map(Origin::Salt).ok_or("the salt is not 64 hex digits"),
        ["1", "key", check] if check.len() == 16 => Ok(Origin::Key((*check).to_owned())),
        ["1", ..] => Err("the header names neither salt nor key"),
        _ => Err("a version that this program does not know"),
    }
}

fn read_line(text: &str) -> Result<((String, String), Line), &'static str> {
    let mut rest = text;
    let mut word = || {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = after.trim_start();
        word.to_owned()
    };
    let (fingerprint, rule, expires, author) = (word(), word(), word(), word());
    let reason = rest.to_owned();
    let digits = fingerprint.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !digits || !(fingerprint.len() == 32 || fingerprint.len() == 64) {
        return Err("it does not begin with a fingerprint of 32 or 64 hex digits");
    }
    if reason.is_empty() {
        return Err("not \"fingerprint rule expires author reason\"");
    }
    if expires != "-" && !is_day(&expires) {
        return Err("the third word is neither a day such as 2027-01-31 nor -");
    }
    let line = Line {
        expires: (expires != "-").then_some(expires),
        author,
        reason,
    };
    Ok(((fingerprint, rule), line))
}

/// Whether a text is a day of the calendar, `2027-01-31`.
pub fn is_day(text: &str) -> bool {
    text.len() == 10 && format!("{text}T00:00:00Z").parse::<crate::push::Timestamp>().is_ok()
}

/// PBKDF2-HMAC-SHA-256, one block.
fn stretch(salt: &[u8; 32], password: &[u8]) -> [u8; 32] {
    let mac = mac(password);
    let mut first = mac.clone();
    first.update(salt);
    first.update(&1u32.to_be_bytes());
    let mut round: [u8; 32] = first.finalize().into_bytes().into();
    let mut sum = round;
    for _ in 1..ROUNDS {
        let mut next = mac.clone();
        next.update(&round);
        round = next.finalize().into_bytes().into();
        sum.iter_mut().zip(round).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

/// HMAC under a key of at most 64 bytes, which is filled up with zeros.
fn mac(key: &[u8]) -> Hmac<sha2::Sha256> {
    let mut block = [0; 64];
    block.iter_mut().zip(key).for_each(|(slot, byte)| *slot = *byte);
    Hmac::new(&block.into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// 32 bytes from 64 hex digits.
pub fn unhex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let pairs = digits.as_bytes().chunks_exact(2);
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let value = |b: u8| char::from(b).to_digit(16);
        *byte = (value(pair[0])? << 4 | value(pair[1])?) as u8;
    }
    Some(bytes)
}
