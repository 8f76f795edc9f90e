//! The strict reader of Git commits and tags.
//!
//! Accepts less than Git does, on purpose: exactly one each of tree, author and
//! committer, one known signature header, no other `gpgsig*`, no NUL, a known
//! encoding, one armor block and nothing after it. What it refuses never
//! reaches a verifier, so two verifiers cannot read it in two ways. Pure; reads
//! no store; judges no signature (`keyring`) and no policy (`check`).
//!
//! Headers that Git does not know are allowed after the committer line, once
//! each (Jujutsu and GitButler write them); a name that starts with `gpgsig` is
//! not, in any case of letters, since Git drops such a header from the payload.
//! Formats:
//! <https://git-scm.com/docs/gitformat-signature>,
//! <https://git-scm.com/docs/git-commit-tree>

use crate::facts::Identity;
use crate::push::{Oid, Timestamp};
use serde::{Deserialize, Serialize};

mod armor;

/// Most bytes of an object before its message: 256 KiB.
///
/// Holds 5,000 parents or 100 merged tags, far more than real commits have;
/// a reader that meets more stops here.
pub const MAX_HEADER_BYTES: usize = 256 * 1024;

/// Most bytes of one armored signature: 16 KiB.
///
/// RSA-8192 with a certificate chain in SSH form needs 6 KiB; the rest is room.
pub const MAX_SIGNATURE_BYTES: usize = 16 * 1024;

/// Most bytes of one person line and of a tag's name: 1 KiB, so that messages and rows stay small.
pub const MAX_LINE_BYTES: usize = 1024;

/// The encodings that a commit may declare, compared without case.
///
/// Each reads bytes below 0x80 as ASCII and one byte or valid UTF-8 as one
/// character, so that what is scanned is what is shown. No header means UTF-8.
pub const ENCODINGS: [&str; 6] = ["utf-8", "utf8", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252"];

/// The four kinds of Git object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ObjectKind {
    Commit,
    Tree,
    Blob,
    Tag,
}

/// A signature format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureFormat {
    /// `-----BEGIN PGP SIGNATURE-----`
    Openpgp,
    /// `-----BEGIN SSH SIGNATURE-----`
    Ssh,
}

/// The names in a tree object, each with its byte offset: file and folder names that a push brings.
///
/// * `id_len`: bytes of an object id, 20 or 32.
///
/// What does not read as `mode SP name NUL id` ends the list as one last name, so that no byte escapes a reader
/// who looks for something in names. Cannot fail.
/// <https://git-scm.com/book/en/v2/Git-Internals-Git-Objects>
pub fn tree_names(data: &[u8], id_len: usize) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = data.get(at..).filter(|rest| !rest.is_empty())?;
        let entry = memchr::memchr(0, rest).and_then(|nul| {
            let space = memchr::memchr(b' ', &rest[..nul.min(8)])?;
            (nul + id_len < rest.len()).then_some((space + 1, nul))
        });
        let (start, end, next) = match entry {
            Some((start, nul)) => (start, nul, nul + 1 + id_len),
            None => (0, rest.len(), rest.len()),
        };
        let found = (at + start, &rest[start..end]);
        at += next;
        Some(found)
    })
}

/// A signature cut out of an object, and the exact bytes that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureParts {
    /// The object without the signature: what was signed.
    pub payload: Vec<u8>,
    /// The armored signature, unfolded.
    pub signature: Vec<u8>,
    /// Its format.
    pub format: SignatureFormat,
}

/// A well-formed commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The tree.
    pub tree: Oid,
    /// The parents in their order.
    pub parents: Vec<Oid>,
    /// The author line.
    pub author: Identity,
    /// The committer line.
    pub committer: Identity,
    /// The message, as bytes.
    pub message: Vec<u8>,
    /// The signature, if there is one.
    pub signature: Option<SignatureParts>,
}

/// A well-formed annotated tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The object that it names.
    pub target: Oid,
    /// That object's kind, as the tag claims.
    pub target_kind: ObjectKind,
    /// The tag's own name.
    pub name: String,
    /// The tagger line.
    pub tagger: Option<Identity>,
    /// The message without the signature, as bytes.
    pub message: Vec<u8>,
    /// The signature, if there is one.
    pub signature: Option<SignatureParts>,
}

/// Why the strict reader refuses an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Malformed {
    /// Stable kebab-case code, such as `duplicate-header`.
    pub code: &'static str,
    /// One sentence that names the header or byte offset; safe to print.
    pub why: String,
}

impl Malformed {
    fn new(code: &'static str, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }
}

/// Reads a commit object's content (without the `commit 123\0` before it).
///
/// The grammar, each line once unless it says otherwise, in this order:
/// `tree`, any number of `parent`, `author`, `committer`; then in any order
/// `encoding`, `mergetag` (any number, each a well-formed tag of a commit), one
/// signature header, and unknown headers; then an empty line and the message.
/// The signature header is `gpgsig` where ids have 40 digits and
/// `gpgsig-sha256` where they have 64. Only `mergetag`, the signature and
/// unknown headers may span lines. An armored block in the message is text.
///
/// * `data`: at most [`MAX_HEADER_BYTES`] before the message; the message is
///   bounded by the caller's bound on objects.
///
/// # Errors
/// [`Malformed`] for anything that is not exactly one well-formed commit; its
/// code is one of `nul-byte`, `header-too-large`, `no-message`, `bad-header`,
/// `missing-header`, `misplaced-header`, `duplicate-header`, `bad-object-id`,
/// `bad-identity`, `bad-time`, `unknown-encoding`, `bad-mergetag`,
/// `stray-signature-header`, `bad-armor`, `unknown-signature-format`,
/// `several-signatures`, `signature-too-large`.
pub fn commit(data: &[u8]) -> Result<Commit, Malformed> {
    let (head, message) = split(data)?;
    let mut headers = Headers { head, at: 0 };
    let tree = oid("tree", headers.require("tree")?)?;
    let mut parents = Vec::new();
    while let Some(parent) = headers.take("parent")? {
        parents.push(oid_like(tree, "parent", parent)?);
    }
    let author = identity("author", headers.require("author")?)?;
    let committer = identity("committer", headers.require("committer")?)?;
    let signature = extra_headers(&mut headers, tree)?.map(|(header, parts)| SignatureParts {
        payload: [&data[..header.start], &data[header.end..]].concat(),
        ..parts
    });
    Ok(Commit {
        tree,
        parents,
        author,
        committer,
        message: message.to_vec(),
        signature,
    })
}

/// Reads a tag object's content (without the `tag 123\0` before it).
///
/// The grammar: `object`, `type`, `tag`, at most one `tagger`, an empty line,
/// the message, and at most one armored signature, which must end the object.
/// No other header. A line that starts like an armored signature anywhere else
/// in the message is refused, since readers disagree about which one counts.
///
/// # Errors
/// [`Malformed`] as for [`commit`], and `bad-tag-name`, `bad-type`.
pub fn tag(data: &[u8]) -> Result<Tag, Malformed> {
    let (head, body) = split(data)?;
    let mut headers = Headers { head, at: 0 };
    let target = oid("object", headers.require("object")?)?;
    let target_kind = kind(headers.require("type")?)?;
    let name = tag_name(headers.require("tag")?)?;
    let tagger = headers.take("tagger")?.map(|h| identity("tagger", h)).transpose()?;
    if let Some(header) = headers.next()? {
        return Err(misplaced(header));
    }
    let begin = armor::only_begin(body)?;
    let (message, signature) = body.split_at(begin.unwrap_or(body.len()));
    let signature = match begin {
        None => None,
        Some(_) => Some(SignatureParts {
            payload: data[..data.len() - signature.len()].to_vec(),
            signature: signature.to_vec(),
            format: armor::check(signature)?,
        }),
    };
    Ok(Tag {
        target,
        target_kind,
        name,
        tagger,
        message: message.to_vec(),
        signature,
    })
}

/// Cuts an object at its first empty line: the headers with their last line feed, and the message.
fn split(data: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    if let Some(at) = memchr::memchr(0, data) {
        return Err(Malformed::new("nul-byte", format!("byte {at} is NUL")));
    }
    let window = &data[..data.len().min(MAX_HEADER_BYTES + 2)];
    match memchr::memmem::find(window, b"\n\n") {
        Some(at) => Ok((&data[..=at], &data[at + 2..])),
        None if data.len() > window.len() => Err(Malformed::new(
            "header-too-large",
            format!("the headers are larger than {MAX_HEADER_BYTES} bytes"),
        )),
        None => Err(Malformed::new("no-message", "no empty line ends the headers")),
    }
}

/// One header with its continuation lines.
#[derive(Clone, Copy)]
struct Header<'a> {
    name: &'a str,
    /// What follows the name and a space, still folded, without the last line feed.
    value: &'a [u8],
    /// Half-open byte range in the object, the last line feed included.
    start: usize,
    end: usize,
}

impl Header<'_> {
    fn one_line(&self) -> Result<&[u8], Malformed> {
        if self.value.contains(&b'\n') {
            let why = format!("the {} header spans lines", self.name);
            return Err(Malformed::new("bad-header", why));
        }
        Ok(self.value)
    }

    fn unfolded(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.value.len() + 1);
        let mut after_line_feed = false;
        for &byte in self.value {
            if !(after_line_feed && byte == b' ') {
                text.push(byte);
            }
            after_line_feed = byte == b'\n';
        }
        text.push(b'\n');
        text
    }
}

/// The headers of an object, one after the other.
struct Headers<'a> {
    head: &'a [u8],
    at: usize,
}

impl<'a> Headers<'a> {
    /// The next header without taking it. Every line of `head` ends with a line feed.
    fn peek(&self) -> Result<Option<Header<'a>>, Malformed> {
        let rest = &self.head[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let mut end = 0;
        for line_feed in memchr::memchr_iter(b'\n', rest) {
            end = line_feed + 1;
            if rest.get(end) != Some(&b' ') {
                break;
            }
        }
        let text = &rest[..end.saturating_sub(1)];
        let space = memchr::memchr(b' ', text).filter(|&at| header_name(&text[..at]));
        let (Some(space), start) = (space, self.at) else {
            let why = format!("the line at byte {} is no header", self.at);
            return Err(Malformed::new("bad-header", why));
        };
        Ok(Some(Header {
            name: std::str::from_utf8(&text[..space]).unwrap_or_default(),
            value: &text[space + 1..],
            start,
            end: start + end,
        }))
    }

    fn next(&mut self) -> Result<Option<Header<'a>>, Malformed> {
        let header = self.peek()?;
        self.at = header.map_or(self.at, |h| h.end);
        Ok(header)
    }

    fn take(&mut self, name: &str) -> Result<Option<Header<'a>>, Malformed> {
        match self.peek()? {
            Some(header) if header.name == name => self.next(),
            _ => Ok(None),
        }
    }

    fn require(&mut self, name: &str) -> Result<Header<'a>, Malformed> {
        match self.take(name)? {
            Some(header) => Ok(header),
            None => Err(match self.peek()? {
                Some(other) => Malformed::new(
                    "misplaced-header",
                    format!("{} stands at byte {} where {name} must be", other.name, other.start),
                ),
                None => Malformed::new("missing-header", format!("there is no {name} header")),
            }),
        }
    }
}

/// At most 64 bytes of letters, digits and `:._-`, a letter first: what Git's and other tools' headers use.
fn header_name(name: &[u8]) -> bool {
    name.len() <= 64
        && name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(|b| b.is_ascii_alphanumeric() || b":._-".contains(b))
}

fn misplaced(header: Header<'_>) -> Malformed {
    Malformed::new(
        "misplaced-header",
        format!(
            "the {} header at byte {} may not stand there",
            header.name, header.start
        ),
    )
}

/// Reads what follows the committer; gives the signature header and its parts (payload still empty).
fn extra_headers<'a>(headers: &mut Headers<'a>, tree: Oid) -> Result<Option<(Header<'a>, SignatureParts)>, Malformed> {
    let signature_name = if tree.as_bytes().len() == 20 {
        "gpgsig"
    } else {
        "gpgsig-sha256"
    };
    let mut seen: Vec<String> = Vec::new();
    let mut signature = None;
    while let Some(header) = headers.next()? {
        let folded_name = header.name.to_ascii_lowercase();
        if header.name != "mergetag" && seen.contains(&folded_name) {
            let why = format!("a second {} header stands at byte {}", header.name, header.start);
            return Err(Malformed::new("duplicate-header", why));
        }
        match folded_name.as_str() {
            "encoding" if header.name == "encoding" => encoding(header.one_line()?)?,
            "mergetag" if header.name == "mergetag" => mergetag(header)?,
            _ if header.name == signature_name => signature = Some((header, signature_parts(header)?)),
            name if name.starts_with("gpgsig") => {
                let why = format!("{} at byte {} is no signature header here", header.name, header.start);
                return Err(Malformed::new("stray-signature-header", why));
            }
            "tree" | "parent" | "author" | "committer" => return Err(repeated(header)),
            "encoding" | "mergetag" => return Err(misplaced(header)),
            _ => {}
        }
        seen.push(folded_name);
    }
    Ok(signature)
}

/// A header of the fixed beginning that comes again, or comes late.
fn repeated(header: Header<'_>) -> Malformed {
    if header.name == "parent" {
        return misplaced(header);
    }
    let why = format!("a second {} header stands at byte {}", header.name, header.start);
    Malformed::new("duplicate-header", why)
}

fn signature_parts(header: Header<'_>) -> Result<SignatureParts, Malformed> {
    let signature = header.unfolded();
    let format = armor::check(&signature)?;
    Ok(SignatureParts {
        payload: Vec::new(),
        signature,
        format,
    })
}

fn encoding(value: &[u8]) -> Result<(), Malformed> {
    if ENCODINGS
        .iter()
        .any(|known| known.as_bytes().eq_ignore_ascii_case(value))
    {
        return Ok(());
    }
    let why = format!("the declared encoding is none of {}", ENCODINGS.join(", "));
    Err(Malformed::new("unknown-encoding", why))
}

fn mergetag(header: Header<'_>) -> Result<(), Malformed> {
    let merged = tag(&header.unfolded())
        .map_err(|e| Malformed::new("bad-mergetag", format!("the tag at byte {}: {e}", header.start)))?;
    if merged.target_kind == ObjectKind::Commit {
        return Ok(());
    }
    let why = format!("the tag at byte {} names no commit", header.start);
    Err(Malformed::new("bad-mergetag", why))
}

fn oid(name: &str, header: Header<'_>) -> Result<Oid, Malformed> {
    std::str::from_utf8(header.value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            Malformed::new(
                "bad-object-id",
                format!("{name} at byte {} is no object id", header.start),
            )
        })
}

/// An object id of the same hash as `like`.
fn oid_like(like: Oid, name: &str, header: Header<'_>) -> Result<Oid, Malformed> {
    let id = oid(name, header)?;
    if id.as_bytes().len() == like.as_bytes().len() {
        return Ok(id);
    }
    let why = format!("{name} at byte {} is an id of another hash than the tree", header.start);
    Err(Malformed::new("bad-object-id", why))
}

fn kind(header: Header<'_>) -> Result<ObjectKind, Malformed> {
    match header.value {
        b"commit" => Ok(ObjectKind::Commit),
        b"tree" => Ok(ObjectKind::Tree),
        b"blob" => Ok(ObjectKind::Blob),
        b"tag" => Ok(ObjectKind::Tag),
        _ => Err(Malformed::new(
            "bad-type",
            "the type is none of commit, tree, blob, tag",
        )),
    }
}

fn tag_name(header: Header<'_>) -> Result<String, Malformed> {
    let bad = |why: &str| Malformed::new("bad-tag-name", format!("the tag's name {why}"));
    let name = std::str::from_utf8(header.value).map_err(|_| bad("is not UTF-8"))?;
    if name.is_empty() || name.len() > MAX_LINE_BYTES {
        return Err(bad("is empty or longer than 1,024 bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err(bad("has a control character"));
    }
    Ok(name.to_owned())
}

/// Reads `name <email> seconds zone`, at most [`MAX_LINE_BYTES`].
///
/// The name is not empty and has no space at its ends; neither it nor the
/// e-mail has `<`, `>` or a control character. Seconds have no leading zero and
/// end with the year 9999; the zone is at most 14 hours from UTC.
fn identity(name: &str, header: Header<'_>) -> Result<Identity, Malformed> {
    let bad = |why: &str| Malformed::new("bad-identity", format!("the {name} line {why}"));
    let line = header.value;
    if line.len() > MAX_LINE_BYTES {
        return Err(bad("is longer than 1,024 bytes"));
    }
    if line.iter().any(|&b| b < 0x20 || b == 0x7f) {
        return Err(bad("has a control character or spans lines"));
    }
    let open = memchr::memchr(b'<', line).ok_or_else(|| bad("has no <"))?;
    let close = memchr::memchr(b'>', line)
        .filter(|&at| at > open)
        .ok_or_else(|| bad("has no > after <"))?;
    let person = line[..open]
        .strip_suffix(b" ")
        .ok_or_else(|| bad("has no space before <"))?;
    if person.is_empty() || person.trim_ascii() != person {
        return Err(bad("has an empty name or one with spaces at its ends"));
    }
    let email = &line[open + 1..close];
    if email.contains(&b'<') || line[close + 1..].iter().any(|b| b"<>".contains(b)) {
        return Err(bad("has more than one <…>"));
    }
    let time = line[close + 1..]
        .strip_prefix(b" ")
        .ok_or_else(|| bad("has no space after >"))?;
    Ok(Identity {
        name: String::from_utf8_lossy(person).into_owned(),
        email: String::from_utf8_lossy(email).into_owned(),
        time: moment(time).ok_or_else(|| {
            Malformed::new(
                "bad-time",
                format!("the {name} line does not end with seconds and a zone like +0100"),
            )
        })?,
    })
}

/// Reads `seconds zone`; only the seconds say when.
fn moment(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, zone) = text.split_once(' ')?;
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let plain = !seconds.is_empty() && seconds.len() <= 12 && digits(seconds);
    if !plain || (seconds.starts_with('0') && seconds != "0") {
        return None;
    }
    let offset = zone.strip_prefix(['+', '-']).filter(|z| z.len() == 4 && digits(z))?;
    let offset: u32 = offset.parse().ok()?;
    if offset > 1400 || offset % 100 > 59 {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    (seconds <= 253_402_300_799).then(|| Timestamp::from_unix(seconds))
}
