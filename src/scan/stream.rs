//! Texts that are too large to hold: scanned piece by piece with the matches of the whole.
//!
//! Feed pieces in their order; each is scanned together with [`MARGIN`] bytes
//! on either side, and a match counts for the piece in which it starts. So a
//! match of at most [`MARGIN`] bytes is found as if the text were whole;
//! decoded pieces and UTF-16 text are cut at a window's ends. What is packed
//! is not opened: [`super::is_packed`] tells beforehand.

use super::{Match, Scanner};
use crate::finding::Span;
use zeroize::Zeroize;

/// Bytes seen before and after a piece: the longest match is 64 KiB, in UTF-16 twice that.
pub const MARGIN: usize = 128 << 10;

/// The state of one text between pieces.
pub struct Stream<'s, 'r> {
    scanner: &'s Scanner<'r>,
    /// Up to [`MARGIN`] bytes that were scanned, then those that were not.
    buffer: Vec<u8>,
    /// How many bytes of the buffer were scanned.
    scanned: usize,
    /// Where the buffer starts in the text.
    offset: u64,
    /// Newlines before the buffer.
    newlines: u64,
    /// Where the line that the buffer starts in starts in the text.
    line_start: u64,
    /// Bytes that are gathered before they are scanned.
    piece: usize,
}

impl<'s, 'r> Stream<'s, 'r> {
    /// A stream that scans whenever `piece` bytes have come in; it holds at most that, what is fed at once, and 3 × [`MARGIN`].
    pub fn new(scanner: &'s Scanner<'r>, piece: usize) -> Self {
        Self {
            scanner,
            buffer: Vec::new(),
            scanned: 0,
            offset: 0,
            newlines: 0,
            line_start: 0,
            piece: piece.max(2 * MARGIN),
        }
    }

    /// Takes the next bytes and returns the matches that are now certain, in order.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Match> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() - self.scanned < self.piece + MARGIN {
            return Vec::new();
        }
        // An even end keeps UTF-16 units whole.
        let until = (self.buffer.len() - MARGIN) & !1;
        self.window(until)
    }

    /// Ends the text and returns the remaining matches.
    pub fn finish(mut self) -> Vec<Match> {
        self.window(usize::MAX)
    }

    /// Scans the buffer; matches that start from `scanned` up to `until` count.
    fn window(&mut self, until: usize) -> Vec<Match> {
        let counted = self.scanned as u64..until as u64;
        let mut matches = self.scanner.scan_part(&self.buffer);
        matches.retain(|m| counted.contains(&m.span.start));
        matches.iter_mut().for_each(|m| m.span = self.shift(m.span));
        let until = until.min(self.buffer.len());
        let gone = until.saturating_sub(MARGIN) & !1;
        self.drop_before(gone);
        self.scanned = until - gone;
        matches
    }

    /// A span in the buffer as a span in the text.
    fn shift(&self, span: Span) -> Span {
        let line = |line: u32| u32::try_from(u64::from(line) + self.newlines).unwrap_or(u32::MAX);
        let column = if span.start_line == 1 {
            u32::try_from(u64::from(span.start_column) + self.offset - self.line_start).unwrap_or(u32::MAX)
        } else {
            span.start_column
        };
        Span {
            start: span.start + self.offset,
            end: span.end + self.offset,
            start_line: line(span.start_line),
            end_line: line(span.end_line),
            start_column: column,
        }
    }

    /// Forgets the first bytes of the buffer.
    fn drop_before(&mut self, count: usize) {
        let gone = &self.buffer[..count];
        self.newlines += memchr::memchr_iter(b'\n', gone).count() as u64;
        if let Some(last) = memchr::memrchr(b'\n', gone) {
            self.line_start = self.offset + last as u64 + 1;
        }
        self.buffer.drain(..count);
        self.offset += count as u64;
    }
}

impl Drop for Stream<'_, '_> {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}
