//! Whether the changed lines of a text bring anything, the text that was changed being known to have nothing.
//!
//! A match lies within its rule's reach round its keyword. So a match that a
//! change brings, or lets be, has changed bytes within that reach. Rules whose
//! matches lie in one line are served by whole lines, those of several lines by
//! [`MARGIN`] bytes more; a text with a keyword of a rule that reaches farther
//! is never plain. What depends on all of a text (containers, UTF-16, encoded
//! blocks that go on beyond the part) makes a part not clean, so that the whole
//! is looked at.

use super::container::{Budget, Kind};
use super::shape::Reach;
use super::{Hits, Scanner};

/// Bytes on either side of a change, before whole lines are taken.
pub const MARGIN: usize = 480;

/// Shortest line at a part's end that may belong to an encoded block of many lines: those have 60 to 76 characters.
const MIN_BLOCK_LINE: usize = 40;

/// Whether a rule's matches may lie outside of a part that has its changed bytes.
pub(crate) fn is_far(reach: Reach) -> bool {
    !reach.one_line && reach.before.max(reach.after) as usize > MARGIN
}

/// Whether a text is neither a container nor UTF-16 in any part.
pub(crate) fn is_text(data: &[u8]) -> bool {
    Kind::of(data).is_none()
        && !matches!(data, [0xff, 0xfe, ..] | [0xfe, 0xff, ..])
        && memchr::memchr(0, data).is_none()
}

impl Scanner<'_> {
    /// Whether a part of a text certainly brings nothing, if what the text was before was plain.
    ///
    /// * `part`: whole lines (but for the text's own ends): the changed ones and [`MARGIN`] bytes on either side.
    /// * `first`, `last`: whether the part begins and ends where the text does.
    ///
    /// `false` may be said of a part that has nothing; then the whole text decides.
    pub fn clean_part(&self, part: &[u8], first: bool, last: bool) -> bool {
        if !is_text(part) || !first && goes_on(first_line(part)) || !last && goes_on(last_line(part)) {
            return false;
        }
        let mut budget = Budget::default();
        let Hits {
            hits,
            overflow,
            far,
            cut,
        } = self.hits(part, 0, &mut budget);
        hits.is_empty() && !overflow && !far && !cut && !budget.exceeded
    }
}

fn first_line(part: &[u8]) -> &[u8] {
    let part = part.strip_prefix(b"\n").unwrap_or(part);
    memchr::memchr(b'\n', part).map_or(part, |end| &part[..end])
}

fn last_line(part: &[u8]) -> &[u8] {
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    memchr::memrchr(b'\n', part).map_or(part, |end| &part[end + 1..])
}

/// Whether a line may be one of a block that is encoded over many lines.
fn goes_on(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let encoded =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_' | b'=' | b'"' | b'\\' | b',');
    line.len() >= MIN_BLOCK_LINE
        && line.iter().all(encoded)
        && line.iter().any(u8::is_ascii_digit)
        && line.iter().any(u8::is_ascii_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::RuleSet;

    /// A keyword of a far rule makes a whole text be read again: an expression that needlessly admits a line break
    /// costs the hooks more than anything else does.
    #[test]
    fn hardly_any_shipped_rule_reaches_far() {
        let rules = RuleSet::builtin();
        let far: Vec<_> = rules.entries().iter().filter(|entry| is_far(entry.reach)).collect();
        let ids: Vec<_> = far.iter().map(|entry| &entry.id).collect();
        assert!(far.len() <= 20, "{ids:?}");
    }
}
