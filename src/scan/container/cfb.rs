//! Compound files (Office before 2007, Outlook messages, installers): streams that lie in parts, put together.
//!
//! Streams that lie in one run are found as they are. A stream is a chain of
//! sectors; each chain is followed once, so the work is linear.
//! Format: <https://learn.microsoft.com/openspecs/windows_protocols/ms-cfb>.

use super::{u16_at, u32_at};
use zeroize::Zeroizing;

/// Bytes of a sector of the small streams.
const SMALL: usize = 64;
/// Numbers from here on are none of sectors.
const LAST: usize = 0xffff_fffa;
/// A sector that belongs to no stream, because it is free or holds the chains.
const NO_STREAM: [usize; 3] = [0xffff_ffff, 0xffff_fffd, 0xffff_fffc];

struct Sectors<'a> {
    data: &'a [u8],
    size: usize,
}

impl<'a> Sectors<'a> {
    /// A sector; the first one follows the header.
    fn sector(&self, number: usize) -> Option<&'a [u8]> {
        let start = number.checked_add(1)?.checked_mul(self.size)?;
        self.data.get(start..start.checked_add(self.size)?)
    }

    /// Which sector follows each one.
    fn chains(&self) -> Vec<usize> {
        let most = self.data.len() / self.size;
        let mut lists: Vec<usize> = (0..109).filter_map(|i| u32_at(self.data, 76 + 4 * i)).collect();
        let (mut more, per) = (u32_at(self.data, 68), self.size / 4 - 1);
        while let Some(sector) = more.filter(|_| lists.len() <= most).and_then(|more| self.sector(more)) {
            lists.extend((0..per).filter_map(|i| u32_at(sector, 4 * i)));
            more = u32_at(sector, 4 * per);
        }
        let lists = lists.into_iter().take(most).filter_map(|number| self.sector(number));
        lists.flat_map(numbers).take(most).collect()
    }

    /// The bytes of a chain.
    fn stream(&self, chains: &[usize], first: Option<usize>) -> Zeroizing<Vec<u8>> {
        let sectors = chain(chains, first.unwrap_or(LAST));
        Zeroizing::new(
            sectors
                .into_iter()
                .filter_map(|number| self.sector(number))
                .flatten()
                .copied()
                .collect(),
        )
    }
}

/// The streams that lie in parts, a line each; `None` if the header makes no sense.
pub(super) fn streams(data: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let size = match u16_at(data, 30)? {
        9 => 1 << 9,
        12 => 1 << 12,
        _ => return None,
    };
    let sectors = Sectors { data, size };
    let chains = sectors.chains();
    let mut out = Zeroizing::new(Vec::new());
    scattered(&chains, &|number| sectors.sector(number), &mut out);
    // Small streams lie in a stream of their own, which the first entry of the directory names.
    let directory = sectors.sector(u32_at(data, 48)?);
    let small = sectors.stream(&chains, directory.and_then(|entries| u32_at(entries, 116)));
    let small_chains: Vec<usize> = numbers(&sectors.stream(&chains, u32_at(data, 60))).collect();
    scattered(&small_chains, &|number| small.chunks_exact(SMALL).nth(number), &mut out);
    Some(out)
}

fn numbers(sector: &[u8]) -> impl Iterator<Item = usize> {
    (0..sector.len() / 4).filter_map(|i| u32_at(sector, 4 * i))
}

/// The sectors of a chain, at most as many as there are.
fn chain(chains: &[usize], first: usize) -> Vec<usize> {
    std::iter::successors(Some(first), |at| chains.get(*at).copied())
        .take_while(|at| *at < chains.len())
        .take(chains.len())
        .collect()
}

/// Adds every stream that does not lie in one run.
fn scattered<'a>(chains: &[usize], sector: &dyn Fn(usize) -> Option<&'a [u8]>, out: &mut Vec<u8>) {
    let mut inside = vec![false; chains.len()];
    for next in chains {
        if let Some(inside) = inside.get_mut(*next) {
            // Of two chains that share their end, the first one has it: no sector is read twice.
            *inside = true;
        }
    }
    let mut read = vec![false; chains.len()];
    for (first, next) in chains.iter().enumerate() {
        if inside[first] || NO_STREAM.contains(next) {
            continue;
        }
        let mut at = first;
        let mut parts = Vec::new();
        while at < chains.len() && !std::mem::replace(&mut read[at], true) {
            parts.push(at);
            at = chains[at];
        }
        if parts.windows(2).all(|pair| pair[1] == pair[0] + 1) {
            continue;
        }
        parts
            .iter()
            .filter_map(|part| sector(*part))
            .for_each(|part| out.extend_from_slice(part));
        out.push(b'\n');
    }
}
