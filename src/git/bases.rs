//! Objects of packs that others are made from, kept for as long as they are likely to be asked for again.
//!
//! In a pack most objects are written as what differs from another; versions
//! of one file share long chains of those. Without this each version would
//! be made from its chain's first object anew.

use gix::objs::Kind;
use gix::odb::pack::cache::DecodeEntry;

/// Most bytes of one object that is kept.
const MAX_ENTRY: usize = 1 << 20;
/// Most bytes of all that are kept.
const MAX_TOTAL: usize = 32 << 20;
/// Places for objects; two that share one push each other out.
const SLOTS: usize = 1 << 12;

#[derive(Default)]
struct Slot {
    place: Option<(u32, u64)>,
    kind: Option<Kind>,
    compressed: usize,
    data: Vec<u8>,
}

/// The objects that are kept.
pub(super) struct Bases {
    slots: Vec<Slot>,
    total: usize,
}

impl Default for Bases {
    fn default() -> Self {
        Self {
            slots: std::iter::repeat_with(Slot::default).take(SLOTS).collect(),
            total: 0,
        }
    }
}

impl Bases {
    fn slot(&mut self, pack: u32, offset: u64) -> &mut Slot {
        // Offsets are far apart and of any parity; the multiplier spreads them.
        let mixed = (offset ^ u64::from(pack) << 48).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &mut self.slots[(mixed >> 32) as usize % SLOTS]
    }
}

impl DecodeEntry for Bases {
    fn put(&mut self, pack: u32, offset: u64, data: &[u8], kind: Kind, compressed: usize) {
        if data.len() > MAX_ENTRY {
            return;
        }
        if self.total + data.len() > MAX_TOTAL {
            *self = Self::default();
        }
        let slot = self.slot(pack, offset);
        let before = slot.data.len();
        slot.data.clear();
        slot.data.extend_from_slice(data);
        (slot.place, slot.kind, slot.compressed) = (Some((pack, offset)), Some(kind), compressed);
        self.total = self.total - before + data.len();
    }

    fn get(&mut self, pack: u32, offset: u64, out: &mut Vec<u8>) -> Option<(Kind, usize)> {
        let slot = self.slot(pack, offset);
        let kind = slot.kind.filter(|_| slot.place == Some((pack, offset)))?;
        out.clear();
        out.extend_from_slice(&slot.data);
        Some((kind, slot.compressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_nothing_else_does() {
        let (mut bases, mut out) = (Bases::default(), vec![9]);
        bases.put(1, 12, b"one", Kind::Blob, 7);
        bases.put(1, 99, b"other", Kind::Tree, 8);
        assert_eq!(bases.get(1, 12, &mut out), Some((Kind::Blob, 7)));
        assert_eq!(out, b"one");
        assert_eq!(bases.get(2, 12, &mut out), None);
        bases.put(1, 12, b"again", Kind::Blob, 7);
        assert_eq!(bases.total, 10);
    }

    #[test]
    fn memory_is_bounded() {
        let mut bases = Bases::default();
        let (large, too_large) = (vec![0; MAX_ENTRY], vec![0; MAX_ENTRY + 1]);
        for offset in 0..100 {
            bases.put(1, offset, &large, Kind::Blob, 1);
            bases.put(2, offset, &too_large, Kind::Blob, 1);
            let held: usize = bases.slots.iter().map(|slot| slot.data.len()).sum();
            assert!(held == bases.total && held <= MAX_TOTAL);
        }
        assert_eq!(bases.get(2, 99, &mut Vec::new()), None);
    }
}
