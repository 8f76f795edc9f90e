//! Vocabulary of a push: object ids, ref names, ref updates, the actor, time.
//!
//! In scope: newtypes whose constructors validate and cite the spec. Out of
//! scope: reading a push from anywhere (`cmd::hook`) and judging it (`check`).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A Git object id: 20 bytes (SHA-1) or 32 bytes (SHA-256).
///
/// Ordered by bytes. Serialises as lower-case hex.
///
/// ```
/// let oid: lychgate::push::Oid = "4b825dc642cb6eb9a060e54bf8d69288fbee4904".parse().unwrap();
/// assert!(!oid.is_zero());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Oid {
    bytes: [u8; 32],
    len: u8,
}

/// Of the id's own bytes alone: equal ids have the same.
impl std::hash::Hash for Oid {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
    }
}

/// Why a text is no object id, ref name or time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}: {why}")]
pub struct Invalid {
    /// What was expected, such as `object id`.
    pub what: &'static str,
    /// What is wrong with what was given; never quotes more than 80 characters.
    pub why: String,
}

impl Invalid {
    fn new(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, why: why.into() }
    }
}

impl Oid {
    /// Makes an object id of 20 or 32 raw bytes.
    ///
    /// # Errors
    /// [`Invalid`] for any other length.
    pub fn from_bytes(raw: &[u8]) -> Result<Self, Invalid> {
        if raw.len() != 20 && raw.len() != 32 {
            return Err(Invalid::new("object id", format!("{} bytes, not 20 or 32", raw.len())));
        }
        let mut bytes = [0; 32];
        bytes[..raw.len()].copy_from_slice(raw);
        Ok(Self {
            bytes,
            len: raw.len() as u8,
        })
    }

    /// The raw bytes, 20 or 32 of them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether this is the all-zero id by which Git says "no object".
    pub fn is_zero(&self) -> bool {
        self.bytes == [0; 32]
    }

    /// The all-zero id of the same length.
    pub fn zero(&self) -> Self {
        Self {
            bytes: [0; 32],
            len: self.len,
        }
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }
}

impl FromStr for Oid {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Invalid::new("object id", "it has a character other than 0-9 and a-f"));
        }
        if text.len() != 40 && text.len() != 64 {
            return Err(Invalid::new(
                "object id",
                format!("{} hex digits, not 40 or 64", text.len()),
            ));
        }
        let digit = |b: u8| if b <= b'9' { b - b'0' } else { b - b'a' + 10 };
        let raw: Vec<u8> = text
            .as_bytes()
            .chunks(2)
            .map(|p| digit(p[0]) << 4 | digit(p[1]))
            .collect();
        Self::from_bytes(&raw)
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A long push writes a hundred thousand of them.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.as_bytes()) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        let text = &text[..2 * usize::from(self.len)];
        f.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({self})")
    }
}

/// Serialises a type by its `Display` and reads it back by its `FromStr`.
macro_rules! serde_as_text {
    ($name:ty) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
serde_as_text!(Oid);
serde_as_text!(RefName);
serde_as_text!(Timestamp);

/// A full ref name, such as `refs/heads/main`, that Git itself would accept.
///
/// At most 1,024 bytes, so that every message and row that holds one is bounded.
/// Rules: <https://git-scm.com/docs/git-check-ref-format>
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(String);

impl RefName {
    /// The whole name, `refs/heads/main`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without `refs/heads/` or `refs/tags/`, for people.
    pub fn short(&self) -> &str {
        let name = self.0.as_str();
        name.strip_prefix("refs/heads/")
            .or_else(|| name.strip_prefix("refs/tags/"))
            .unwrap_or(name)
    }

    /// Whether it is a branch (`refs/heads/…`).
    pub fn is_branch(&self) -> bool {
        self.0.starts_with("refs/heads/")
    }

    /// Whether it is a tag (`refs/tags/…`).
    pub fn is_tag(&self) -> bool {
        self.0.starts_with("refs/tags/")
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RefName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = |why: &str| Err(Invalid::new("ref name", why));
        if text.len() > 1024 {
            return bad("it is longer than 1,024 bytes");
        }
        if !text.starts_with("refs/") {
            return bad("it does not start with refs/");
        }
        if text.bytes().any(|b| b < 0x20 || b == 0x7f || b" ~^:?*[\\".contains(&b)) {
            return bad("it has a space, a control character or one of ~^:?*[\\");
        }
        if text.contains("..") || text.contains("@{") || text.ends_with('.') {
            return bad("it contains .. or @{ or ends with a dot");
        }
        if text
            .split('/')
            .any(|part| part.is_empty() || part.starts_with('.') || part.ends_with(".lock"))
        {
            return bad("a part of it is empty, starts with a dot or ends with .lock");
        }
        Ok(Self(text.to_owned()))
    }
}

/// A moment in UTC, whole seconds since 1970; the only clock reading is the receive time.
///
/// Serialises as RFC 3339, `2026-11-24T07:30:46Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Makes a time of seconds since 1970-01-01T00:00:00Z.
    ///
    /// Seconds outside the years 0 to 9999 are clamped to that range, since
    /// RFC 3339 can write no other.
    pub fn from_unix(seconds: i64) -> Self {
        Self(seconds.clamp(-62_167_219_200, 253_402_300_799))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = time::OffsetDateTime::from_unix_timestamp(self.0).map_err(|_| fmt::Error)?;
        let text = moment
            .format(&time::format_description::well_known::Rfc3339)
            .map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl FromStr for Timestamp {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
            .map(|moment| Self::from_unix(moment.unix_timestamp()))
            .map_err(|_| Invalid::new("time", "write it as RFC 3339, such as 2026-11-24T07:30:46Z"))
    }
}

/// One line of the pre-receive hook's input: move `name` from `old` to `new`.
///
/// <https://git-scm.com/docs/githooks#pre-receive>
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RefUpdate {
    /// The ref.
    pub name: RefName,
    /// Where the ref stands; zero when the update creates it.
    pub old: Oid,
    /// Where the ref shall stand; zero when the update deletes it.
    pub new: Oid,
}

/// What a ref update does, as far as the two ids tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateKind {
    /// The ref did not exist.
    Create,
    /// The ref exists and moves.
    Update,
    /// The ref goes.
    Delete,
}

impl RefUpdate {
    /// What the update does, as far as the two ids tell.
    pub fn kind(&self) -> UpdateKind {
        match (self.old.is_zero(), self.new.is_zero()) {
            (_, true) => UpdateKind::Delete,
            (true, false) => UpdateKind::Create,
            (false, false) => UpdateKind::Update,
        }
    }
}

/// The software that authenticated the pusher and runs our hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// GitLab (custom server hooks).
    Gitlab,
    /// GitHub Enterprise Server.
    Ghes,
    /// Gitea or Forgejo.
    Gitea,
    /// gitolite 3.
    Gitolite,
    /// Bitbucket Data Center.
    Bitbucket,
    /// Phorge.
    Phorge,
    /// git-http-backend behind a web server that authenticated the user.
    HttpBackend,
    /// Plain git over SSH or a local path: the operating system's account.
    Plain,
}

/// Who pushes, as the server authenticated them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The server that says so.
    pub server: Server,
    /// The account's name at that server.
    pub name: String,
    /// How they came in (`http`, `ssh`, `web`), where the server tells.
    pub protocol: Option<String>,
}

/// The ref updates of one receive-pack: atomic, one rejected update rejects all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// Unique: a ULID made at receive time.
    pub id: String,
    /// The repository's resource URI, such as `git+https://git.example.com/acme/pay`.
    pub repository: String,
    /// When the hook started: the only trusted time.
    pub received_at: Timestamp,
    /// Who pushes.
    pub actor: Actor,
    /// Push options in their order, at most 64 of at most 1,024 bytes each.
    pub options: Vec<String>,
    /// The updates in the order of the hook's input.
    pub updates: Vec<RefUpdate>,
}

/// Most ref updates that one push may have, so that every list of them is bounded.
pub const MAX_UPDATES: usize = 10_000;

/// Reads the pre-receive hook's standard input: `old SP new SP ref LF` for each update.
///
/// # Errors
/// [`Invalid`] that names the line: no update at all, more than [`MAX_UPDATES`], a line without its three
/// parts or its end, an id or name that is not valid, ids of unequal length, or a ref named twice.
///
/// <https://git-scm.com/docs/githooks#pre-receive>
pub fn read_updates(input: &[u8]) -> Result<Vec<RefUpdate>, Invalid> {
    let bad = |line: usize, why: String| Invalid::new("list of ref updates", format!("line {line}: {why}"));
    let Some(body) = input.strip_suffix(b"\n") else {
        return Err(bad(1, "it is empty or its last line has no end".into()));
    };
    let lines: Vec<&[u8]> = body.split(|&b| b == b'\n').take(MAX_UPDATES + 1).collect();
    if lines.len() > MAX_UPDATES {
        return Err(bad(lines.len(), format!("more than {MAX_UPDATES} updates in one push")));
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut updates = Vec::with_capacity(lines.len());
    for (at, line) in lines.into_iter().enumerate() {
        let update = read_update(line).map_err(|why| bad(at + 1, why))?;
        if !seen.insert(update.name.clone()) {
            return Err(bad(at + 1, "its ref is named twice".to_owned()));
        }
        updates.push(update);
    }
    Ok(updates)
}

fn read_update(line: &[u8]) -> Result<RefUpdate, String> {
    let text = std::str::from_utf8(line).map_err(|_| "the ref name is not UTF-8".to_owned())?;
    let mut parts = text.splitn(3, ' ');
    let (Some(old), Some(new), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("it is not `old new ref`".into());
    };
    let say = |e: Invalid| e.to_string();
    let update = RefUpdate {
        name: name.parse().map_err(say)?,
        old: old.parse().map_err(say)?,
        new: new.parse().map_err(say)?,
    };
    if update.old.as_bytes().len() != update.new.as_bytes().len() {
        return Err("the two ids are of unequal length".into());
    }
    Ok(update)
}
