//! ZIP: also jar, docx, wheels.
//!
//! Read by the local headers that follow each other, which a reader of the
//! central directory would be led past; then by the directory, for members
//! that a header with a wrong size hides. Members of the second kind end where
//! the next one begins, so that no byte is unpacked more than twice however
//! they overlap. Format: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>.

use super::Kind;
use super::{Budget, Member, Trouble, compressed, u16_at, u32_at};
use std::collections::BTreeMap;
use std::ops::Range;
use zeroize::Zeroizing;

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
/// Bytes of the record at an archive's end that has no comment.
const END_SIZE: usize = 22;
/// A size that is written elsewhere.
const ELSEWHERE: usize = 0xffff_ffff;

/// Whether an archive ends here, whatever stands before it: programs that unpack themselves, images with an archive.
pub(super) fn ends(data: &[u8]) -> bool {
    data.len()
        .checked_sub(END_SIZE)
        .is_some_and(|at| data[at..].starts_with(END) && data.ends_with(&[0, 0]))
}

pub(super) fn each(
    data: &[u8],
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) {
    let sizes = sizes(data);
    let mut seen = Vec::new();
    let mut at = 0;
    while let Some(start) = memchr::memmem::find(&data[at..], LOCAL).map(|i| at + i) {
        seen.push(start);
        match one(data, start, &sizes, budget, found, trouble) {
            Some(next) => at = next.max(start + LOCAL.len()),
            None => return,
        }
    }
    let hidden =
        |at: &usize| data.get(*at..).is_some_and(|rest| rest.starts_with(LOCAL)) && seen.binary_search(at).is_err();
    let hidden: Vec<usize> = sizes.keys().copied().filter(hidden).collect();
    let ends = hidden.iter().skip(1).copied().chain([data.len()]);
    for (start, end) in hidden.iter().zip(ends) {
        if one(&data[..end], *start, &sizes, budget, found, trouble).is_none() {
            return;
        }
    }
    if sizes.len() > super::MAX_MEMBERS {
        trouble(Trouble::Bound, 0..data.len());
    }
}

/// Packed sizes by the places of local headers, as the central directory has them; at most one more than is read.
fn sizes(data: &[u8]) -> BTreeMap<usize, usize> {
    memchr::memmem::find_iter(data, CENTRAL)
        .filter_map(|at| Some((u32_at(data, at + 42)?, u32_at(data, at + 20)?)))
        .take(super::MAX_MEMBERS + 1)
        .collect()
}

/// Reads the member whose local header stands at `start`; where its content ends, or `None` at a bound.
fn one(
    data: &[u8],
    start: usize,
    sizes: &BTreeMap<usize, usize>,
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) -> Option<usize> {
    let Some(local) = local(data, start, sizes) else {
        trouble(Trouble::Broken, start..data.len());
        return Some(start);
    };
    if let Err(why) = budget.member() {
        trouble(why, start..data.len());
        return None;
    }
    // A name may hide the next header if a size lies: never trust one beyond the data.
    let place = local.content.start..local.content.end.min(data.len());
    let (used, end) = member(data, &local, &place, budget, found);
    if let Err(why) = end {
        trouble(why, place.clone());
        if why == Trouble::Bound {
            return None;
        }
    }
    if local.content.end > data.len() {
        trouble(Trouble::Broken, place.clone());
    }
    Some(place.start + used)
}

/// One member's local header.
struct Local {
    method: usize,
    encrypted: bool,
    name: Range<usize>,
    content: Range<usize>,
}

fn local(data: &[u8], at: usize, sizes: &BTreeMap<usize, usize>) -> Option<Local> {
    let flags = u16_at(data, at + 6)?;
    let method = u16_at(data, at + 8)?;
    let name_start = at + 30;
    let name = name_start..name_start + u16_at(data, at + 26)?;
    let start = name.end + u16_at(data, at + 28)?;
    let extra = data.get(name.end..start)?;
    let said = u32_at(data, at + 18)?;
    // Zero with bit 3 set: the size follows the content.
    let size = if said == ELSEWHERE {
        large(extra)
    } else {
        Some(said).filter(|_| flags & 8 == 0 || said != 0)
    };
    let size = size.or_else(|| sizes.get(&at).copied().filter(|size| *size != ELSEWHERE));
    let end = match size {
        Some(size) => start.saturating_add(size),
        // A deflated member tells its end itself.
        None if method == 8 => data.len(),
        None => start + next_record(&data[start..]),
    };
    Some(Local {
        method,
        encrypted: flags & 1 != 0,
        name,
        content: start..end,
    })
}

/// The packed size of a member of more than 4 GiB, or that might have become one: the second number of field 1.
fn large(mut extra: &[u8]) -> Option<usize> {
    while let (Some(id), Some(size)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let field = extra.get(4..4 + size)?;
        if id == 1 {
            return usize::try_from(u64::from_le_bytes(field.get(8..16)?.try_into().ok()?)).ok();
        }
        extra = &extra[4 + size..];
    }
    None
}

/// Where the next header, directory entry or descriptor begins.
fn next_record(rest: &[u8]) -> usize {
    memchr::memmem::find_iter(rest, b"PK")
        .find(|at| matches!(rest[at + 2..], [1, 2, ..] | [3, 4, ..] | [7, 8, ..]))
        .unwrap_or(rest.len())
}

/// Hands on a member; how many packed bytes it has in truth, and what ended it early.
fn member(
    data: &[u8],
    local: &Local,
    place: &Range<usize>,
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
) -> (usize, Result<(), Trouble>) {
    let packed = &data[place.clone()];
    let mut hand_on = |bytes, budget: &mut Budget| {
        let (name, place) = (data[local.name.clone()].to_vec(), place.clone());
        found(Member { name, bytes, place }, budget);
    };
    let mut end = Ok(());
    let kind = match local.method {
        12 => Some(Kind::Bzip2),
        93 => Some(Kind::Zstd),
        95 => Some(Kind::Xz),
        _ => None,
    };
    match (local.encrypted, local.method, kind) {
        (false, 0, _) => match budget.copy(packed) {
            Ok(bytes) => hand_on(bytes, budget),
            Err(why) => end = Err(why),
        },
        (false, 8, _) => {
            let mut decoder = flate2::read::DeflateDecoder::new(packed);
            let (bytes, ended) = budget.read(&mut decoder);
            hand_on(bytes, budget);
            let used = usize::try_from(decoder.total_in()).map_or(packed.len(), |used| used.min(packed.len()));
            return (used, ended);
        }
        (false, _, Some(kind)) => compressed::each(
            kind,
            packed,
            budget,
            &mut |inner, budget| hand_on(inner.bytes, budget),
            &mut |why, _| end = Err(why),
        ),
        _ => {
            // The name is readable even so.
            hand_on(Zeroizing::new(Vec::new()), budget);
            let why = if local.encrypted {
                Trouble::Encrypted
            } else {
                Trouble::Unknown
            };
            end = Err(why);
        }
    }
    (packed.len(), end)
}
