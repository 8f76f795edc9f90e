//! SQLite: values that are longer than a page, put together.
//!
//! Shorter ones stand in one run and are found as they are. Every page is
//! looked at once, and each belongs to one value at most, so the work is
//! linear. Format: <https://www.sqlite.org/fileformat2.html>, 1.6 and 1.7.

use std::ops::Range;
use zeroize::Zeroizing;

struct Pages<'a> {
    data: &'a [u8],
    size: usize,
    /// Bytes of a page that are used.
    usable: usize,
    /// Which pages have been taken for a value.
    taken: Vec<bool>,
}

/// The values of several pages, a line each; `None` if the header makes no sense.
pub(super) fn values(data: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let size = match number(data, 16..18)? {
        1 => 1 << 16,
        size => size,
    };
    let usable = size.checked_sub(usize::from(*data.get(20)?))?;
    if !size.is_power_of_two() || size < 512 || usable < 480 {
        return None;
    }
    let count = data.len() / size;
    let mut pages = Pages {
        data,
        size,
        usable,
        taken: vec![false; count],
    };
    let mut out = Zeroizing::new(Vec::new());
    for page in 0..count {
        pages.cells(page, &mut out);
    }
    Some(out)
}

/// A number, its highest byte first.
fn number(data: &[u8], range: Range<usize>) -> Option<usize> {
    Some(data.get(range)?.iter().fold(0, |sum, b| sum << 8 | usize::from(*b)))
}

/// A number of one to nine bytes, and how many those are; larger ones than 2^56 do not occur in lengths.
fn varint(data: &[u8]) -> Option<(usize, usize)> {
    let more = data.iter().take(8).take_while(|b| **b >= 0x80).count();
    let bytes = data.get(..=more)?;
    Some((
        bytes.iter().fold(0, |sum, b| sum << 7 | usize::from(b & 0x7f)),
        more + 1,
    ))
}

impl Pages<'_> {
    /// Adds the values that begin on a page and go on elsewhere.
    fn cells(&mut self, page: usize, out: &mut Vec<u8>) {
        let start = page * self.size;
        let body = &self.data[start..start + self.usable];
        let head = if page == 0 { 100 } else { 0 };
        let table = match body[head] {
            13 => true,
            2 | 10 => false,
            _ => return,
        };
        // Inner pages have one more number before the cells' places, and one in each cell.
        let inner = if body[head] == 2 { 4 } else { 0 };
        let places = head + 8 + inner;
        let count = number(body, head + 3..head + 5).unwrap_or(0);
        for place in body.get(places..places + 2 * count).unwrap_or_default().chunks_exact(2) {
            let at = usize::from(place[0]) << 8 | usize::from(place[1]);
            let cell = body.get(at + inner..).unwrap_or_default();
            if self.cell(cell, table, out).is_some() {
                out.push(b'\n');
            }
        }
    }

    /// Adds one value, if it goes on in other pages.
    fn cell(&mut self, cell: &[u8], table: bool, out: &mut Vec<u8>) -> Option<()> {
        let (length, mut at) = varint(cell)?;
        if table {
            at += varint(cell.get(at..)?)?.1;
        }
        let most = if table {
            self.usable - 35
        } else {
            (self.usable - 12) * 64 / 255 - 23
        };
        if length <= most {
            return None;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let even = least + (length - least) % (self.usable - 4);
        let local = if even <= most { even } else { least };
        let mut next = number(cell, at + local..at + local + 4)?;
        // Cells may lie over each other: what is added has a page of its own.
        if *self.taken.get(next.checked_sub(1)?)? {
            return None;
        }
        out.extend_from_slice(&cell[at..at + local]);
        let mut rest = length - local;
        while rest > 0 {
            let page = next.checked_sub(1)?;
            if std::mem::replace(self.taken.get_mut(page)?, true) {
                return Some(());
            }
            let body = &self.data[page * self.size..][..self.usable];
            let part = rest.min(self.usable - 4);
            out.extend_from_slice(&body[4..4 + part]);
            (next, rest) = (number(body, 0..4)?, rest - part);
        }
        Some(())
    }
}
