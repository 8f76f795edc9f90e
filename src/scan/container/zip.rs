//! ZIP: also jar, docx, wheels.
//!
//! Read by the local headers that follow each other, which a reader of the
//! central directory would be led past, and by the directory for those
//! members whose header does not tell their size.
//! Format: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>.

use super::Kind;
use super::{Budget, Member, Trouble, compressed, u16_at, u32_at};
use std::collections::BTreeMap;
use std::ops::Range;

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";

/// One member's local header.
struct Local {
    method: usize,
    encrypted: bool,
    name: Range<usize>,
    content: Range<usize>,
}

pub(super) fn each(
    data: &[u8],
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
    trouble: &mut dyn FnMut(Trouble, Range<usize>),
) {
    let sizes = sizes(data);
    let mut at = 0;
    while let Some(start) = memchr::memmem::find(&data[at..], LOCAL).map(|i| at + i) {
        let Some(local) = local(data, start, &sizes) else {
            trouble(Trouble::Broken, start..data.len());
            at = start + LOCAL.len();
            continue;
        };
        if let Err(why) = budget.member() {
            return trouble(why, start..data.len());
        }
        // A name may hide the next header if a size lies: never trust one beyond the data.
        let place = local.content.start..local.content.end.min(data.len());
        match member(data, &local, &place, budget, found) {
            Ok(()) => {}
            Err(Trouble::Bound) => return trouble(Trouble::Bound, place),
            Err(why) => trouble(why, place.clone()),
        }
        if local.content.end > data.len() {
            trouble(Trouble::Broken, place.clone());
        }
        at = place.end.max(start + LOCAL.len());
    }
}

/// Packed sizes by the places of local headers, as the central directory has them.
fn sizes(data: &[u8]) -> BTreeMap<usize, usize> {
    memchr::memmem::find_iter(data, CENTRAL)
        .filter_map(|at| Some((u32_at(data, at + 42)?, u32_at(data, at + 20)?)))
        .take(super::MAX_MEMBERS)
        .collect()
}

fn local(data: &[u8], at: usize, sizes: &BTreeMap<usize, usize>) -> Option<Local> {
    let flags = u16_at(data, at + 6)?;
    let method = u16_at(data, at + 8)?;
    let name_start = at + 30;
    let name = name_start..name_start + u16_at(data, at + 26)?;
    let start = name.end + u16_at(data, at + 28)?;
    if start > data.len() {
        return None;
    }
    let said = u32_at(data, at + 18)?;
    // Zero with bit 3 set: the size follows the content. All ones: it is in the extra field.
    let unknown = (flags & 8 != 0 && said == 0) || said == 0xffff_ffff;
    let size = if unknown {
        sizes.get(&at).copied().filter(|s| *s != 0xffff_ffff)
    } else {
        Some(said)
    };
    let end = size.map_or(data.len(), |size| start.saturating_add(size));
    Some(Local {
        method,
        encrypted: flags & 1 != 0,
        name,
        content: start..end,
    })
}

fn member(
    data: &[u8],
    local: &Local,
    place: &Range<usize>,
    budget: &mut Budget,
    found: &mut dyn FnMut(Member, &mut Budget),
) -> Result<(), Trouble> {
    let name = data[local.name.clone()].to_vec();
    let packed = &data[place.clone()];
    let whole = |bytes| Member {
        name: name.clone(),
        bytes,
        place: place.clone(),
    };
    if local.encrypted {
        // The name is readable even so.
        found(whole(zeroize::Zeroizing::new(Vec::new())), budget);
        return Err(Trouble::Encrypted);
    }
    let (bytes, end) = match local.method {
        0 => (budget.copy(packed)?, Ok(())),
        8 => budget.read(flate2::read::DeflateDecoder::new(packed)),
        12 | 93 | 95 => {
            let kind = match local.method {
                12 => Kind::Bzip2,
                93 => Kind::Zstd,
                _ => Kind::Xz,
            };
            let mut result = Ok(());
            compressed::each(
                kind,
                packed,
                budget,
                &mut |inner, budget| found(whole(inner.bytes), budget),
                &mut |why, _| result = Err(why),
            );
            return result;
        }
        _ => {
            found(whole(zeroize::Zeroizing::new(Vec::new())), budget);
            return Err(Trouble::Unknown);
        }
    };
    found(whole(bytes), budget);
    end
}
