//! What is packed in other files: archives, compressed files, PDF streams, texts of images.
//!
//! Pure: bytes in, members out. In scope: to recognise a container by its
//! first bytes, never by a name, and to hand on what it holds. Out of scope:
//! what a member means (`Scanner`), writing containers.
//!
//! Bounds, all of one input: [`MAX_INFLATED`] bytes come out, [`MAX_MEMBERS`]
//! members are looked at, [`MAX_NESTING`] containers lie in each other. A
//! bound that is hit, a broken, an encrypted or an unknown member is told as
//! a [`Trouble`]; what was read before it counts.

mod ar;
mod cfb;
mod compressed;
mod cpio;
mod jpeg;
mod pdf;
mod png;
mod rpm;
mod sevenz;
mod sqlite;
mod tar;
mod zip;

use std::ops::Range;
use zeroize::Zeroizing;

/// Most bytes that may come out of all containers of one input: 64 MiB.
pub(crate) const MAX_INFLATED: usize = 64 << 20;
/// Most members of all containers of one input.
pub(crate) const MAX_MEMBERS: usize = 10_000;
/// Most containers in each other.
pub(crate) const MAX_NESTING: u32 = 4;

/// What a container holds.
pub(crate) struct Member {
    /// The member's name, as it is written there; empty where it has none.
    pub(crate) name: Vec<u8>,
    /// Its bytes, inflated.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Where the container holds it.
    pub(crate) place: Range<usize>,
}

/// Why something in a container was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// More than [`MAX_INFLATED`] bytes, [`MAX_MEMBERS`] members or [`MAX_NESTING`] levels.
    Bound,
    /// Encoded text in more levels than are decoded, or more than [`MAX_INFLATED`] bytes of it.
    Deep,
    /// Slow rules did not search all of a text.
    Slow,
    /// The member is encrypted.
    Encrypted,
    /// The container is cut off, or not what it says.
    Broken,
    /// The member is packed in a way that is not known here.
    Unknown,
}

impl Trouble {
    /// The rule id and title of the match that tells it, and whether it counts as certain.
    ///
    /// Only a bound does: there is readable content that was not read. What is
    /// broken or unknown may be no container at all.
    pub(crate) const fn told(self) -> (&'static str, &'static str, bool) {
        match self {
            Self::Bound => (
                "archive-too-large",
                "archive beyond the bounds of 64 MiB, 10,000 members or 4 levels; the rest was not scanned",
                true,
            ),
            Self::Deep => (
                "encoded-too-deep",
                "text encoded beyond the bounds of 4 levels in each other or 64 MiB; the rest was not scanned",
                true,
            ),
            Self::Slow => (
                "slow-rules-cut",
                "text of more than 16 MiB; slow rules searched its first 16 MiB only",
                true,
            ),
            Self::Encrypted => (
                "archive-encrypted",
                "encrypted archive member; it was not scanned",
                false,
            ),
            Self::Broken => (
                "archive-broken",
                "broken archive; what could be read was scanned",
                false,
            ),
            Self::Unknown => (
                "archive-method-unknown",
                "archive member packed in an unknown way; it was not scanned",
                false,
            ),
        }
    }
}

/// What is left of an input's bounds.
pub(crate) struct Budget {
    bytes: usize,
    members: usize,
    /// Bytes of pieces that were decoded from decoded ones.
    decoded: usize,
    /// Whether a bound was hit where no place can be told: inside an encoded piece.
    pub(crate) exceeded: bool,
    /// Whether that was a bound of decoding ([`Trouble::Deep`]).
    pub(crate) deep: bool,
    /// Whether anything was met that reaches far ([`super::part`]).
    pub(crate) far: bool,
    /// Whether slow rules did not search all of a text ([`Trouble::Slow`]).
    pub(crate) cut: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: MAX_INFLATED,
            members: MAX_MEMBERS,
            decoded: MAX_INFLATED,
            exceeded: false,
            deep: false,
            far: false,
            cut: false,
        }
    }
}

impl Budget {
    /// Counts one more member.
    fn member(&mut self) -> Result<(), Trouble> {
        self.members = self.members.checked_sub(1).ok_or(Trouble::Bound)?;
        Ok(())
    }

    /// Counts the bytes of a piece that was decoded from a decoded one; whether it may be looked at.
    pub(crate) fn decode(&mut self, bytes: usize) -> bool {
        let rest = self.decoded.checked_sub(bytes);
        self.decoded = rest.unwrap_or(0);
        if rest.is_none() {
            self.too_deep();
        }
        rest.is_some()
    }

    /// Notes that there is encoded text which is not decoded.
    pub(crate) fn too_deep(&mut self) {
        (self.deep, self.exceeded) = (true, true);
    }

    /// Reads a decoder to its end, within the bounds.
    ///
    /// Returns what came out, and what ended it early.
    fn read(&mut self, decoder: impl std::io::Read) -> (Zeroizing<Vec<u8>>, Result<(), Trouble>) {
        let mut out = Zeroizing::new(Vec::new());
        let mut decoder = decoder.take(self.bytes as u64 + 1);
        let end = std::io::Read::read_to_end(&mut decoder, &mut out);
        if out.len() > self.bytes {
            out.truncate(self.bytes);
            self.bytes = 0;
            return (out, Err(Trouble::Bound));
        }
        self.bytes -= out.len();
        (out, end.map(|_| ()).map_err(|_| Trouble::Broken))
    }

    /// Copies bytes that are stored as they are.
    fn copy(&mut self, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        self.bytes = self.bytes.checked_sub(bytes.len()).ok_or(Trouble::Bound)?;
        Ok(Zeroizing::new(bytes.to_vec()))
    }
}

/// The kinds of container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Zip,
    Tar,
    Gzip,
    Xz,
    Bzip2,
    Zstd,
    Lzma,
    Pdf,
    Png,
    Jpeg,
    Ar,
    Cpio,
    Rpm,
    Sqlite,
    Cfb,
    SevenZ,
    /// Known by name and not read here.
    Foreign,
}

impl Kind {
    /// The kind that the first bytes tell; that of an archive behind a program or an image, the last ones.
    pub(crate) fn of(data: &[u8]) -> Option<Self> {
        match data {
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Zip),
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => Some(Self::Bzip2),
            // A frame, or one that is to be skipped before it.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            // Properties, a dictionary of whole 64 KiB, and an unpacked size that is unknown or below 2^40.
            [0x5d, 0, 0, _, _, _, _, _, _, _, 0 | 0xff, 0 | 0xff, 0 | 0xff, ..] => Some(Self::Lzma),
            [b'%', b'P', b'D', b'F', b'-', ..] => Some(Self::Pdf),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'!', b'<', b'a', b'r', b'c', b'h', b'>', b'\n', ..] => Some(Self::Ar),
            [0xed, 0xab, 0xee, 0xdb, ..] => Some(Self::Rpm),
            _ if data.starts_with(b"SQLite format 3\0") => Some(Self::Sqlite),
            [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1, ..] => Some(Self::Cfb),
            [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => Some(Self::SevenZ),
            // RAR, LZ4, lzip, compress.
            [b'R', b'a', b'r', b'!', 0x1a, 7, 0 | 1, ..]
            | [0x04, 0x22, 0x4d, 0x18, ..]
            | [b'L', b'Z', b'I', b'P', 1, ..]
            | [0x1f, 0x9d, 0x89..=0x90, ..] => Some(Self::Foreign),
            _ if cpio::is(data) => Some(Self::Cpio),
            _ if tar::is(data) => Some(Self::Tar),
            _ if zip::ends(data) => Some(Self::Zip),
            _ => None,
        }
    }
}

/// Calls `found` with each member of a container and `trouble` with each reason why one was left.
///
/// Does nothing for bytes that are no container.
pub(crate) fn each(
    data: &[u8],
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) {
    let Some(kind) = Kind::of(data) else {
        return;
    };
    match kind {
        Kind::Zip => zip::each(data, budget, found, trouble),
        Kind::Tar => tar::each(data, budget, found, trouble),
        Kind::Pdf => pdf::each(data, budget, found, trouble),
        Kind::Png => png::each(data, budget, found, trouble),
        Kind::Jpeg => jpeg::each(data, budget, found, trouble),
        Kind::Ar => ar::each(data, budget, found, trouble),
        Kind::Cpio => cpio::each(data, budget, found, trouble),
        Kind::Rpm => rpm::each(data, budget, found, trouble),
        Kind::Sqlite => scattered(sqlite::values(data), data, budget, found, trouble),
        Kind::Cfb => scattered(cfb::streams(data), data, budget, found, trouble),
        Kind::SevenZ => sevenz::each(data, budget, found, trouble),
        Kind::Foreign => trouble(Trouble::Unknown, 0..data.len()),
        Kind::Gzip | Kind::Xz | Kind::Bzip2 | Kind::Zstd | Kind::Lzma => {
            compressed::each(kind, data, budget, found, trouble);
        }
    }
    if kind != Kind::Zip && zip::ends(data) {
        zip::each(data, budget, found, trouble);
    }
}

/// Hands on a member of an archive that stores its members as they are, if it is a container itself.
///
/// What else it holds has been found where it stands.
fn stored(
    data: &[u8],
    place: Range<usize>,
    name: &[u8],
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
) -> Result<(), Trouble> {
    budget.member()?;
    if Kind::of(&data[place.clone()]).is_some() {
        let bytes = budget.copy(&data[place.clone()])?;
        let name = name.to_vec();
        found(Member { name, bytes, place }, budget);
    }
    Ok(())
}

/// Hands on what lies in a file in several parts, put together; `None` if the file is not what it begins as.
fn scattered(
    whole: Option<Zeroizing<Vec<u8>>>,
    data: &[u8],
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) {
    let Some(whole) = whole else {
        return trouble(Trouble::Broken, 0..data.len());
    };
    if whole.is_empty() {
        return;
    }
    let (name, place) = (Vec::new(), 0..data.len());
    match budget.member().and_then(|()| budget.copy(&whole)) {
        Ok(bytes) => found(Member { name, bytes, place }, budget),
        Err(why) => trouble(why, place),
    }
}

/// A little-endian number of two bytes.
fn u16_at(data: &[u8], at: usize) -> Option<usize> {
    let bytes = data.get(at..at.checked_add(2)?)?;
    Some(usize::from(u16::from_le_bytes(bytes.try_into().ok()?)))
}

/// A little-endian number of four bytes.
fn u32_at(data: &[u8], at: usize) -> Option<usize> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests;
