//! Texts that are too large to hold: scanned piece by piece with the matches of the whole.
//!
//! Feed pieces in their order; each is scanned together with [`MARGIN`] bytes
//! on either side, and a match counts for the piece in which it starts. So a
//! match of at most [`MARGIN`] bytes is found as if the text were whole;
//! decoded pieces and UTF-16 text are cut at a window's ends. What is packed
//! is not opened: [`super::is_packed`] tells beforehand.
//!
//! A [`Stream`] scans as it is fed. A [`Cutter`] only cuts the windows, which
//! then may be scanned by any threads in any order, with the same matches.

use super::{Match, Scanner};
use crate::finding::Span;
use zeroize::Zeroize;

/// Bytes seen before and after a piece: the longest match is 64 KiB, in UTF-16 twice that.
pub const MARGIN: usize = 128 << 10;

/// The state of one text between pieces.
pub struct Stream<'s, 'r> {
    scanner: &'s Scanner<'r>,
    cutter: Cutter,
}

impl<'s, 'r> Stream<'s, 'r> {
    /// A stream that scans whenever `piece` bytes have come in; it holds at most twice that, what is fed at once,
    /// and 4 × [`MARGIN`].
    pub fn new(scanner: &'s Scanner<'r>, piece: usize) -> Self {
        Self {
            scanner,
            cutter: Cutter::new(piece),
        }
    }

    /// Takes the next bytes and returns the matches that are now certain, in order.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Match> {
        let window = self.cutter.feed(bytes);
        window.map(|window| window.scan(self.scanner)).unwrap_or_default()
    }

    /// Ends the text and returns the remaining matches.
    pub fn finish(self) -> Vec<Match> {
        self.cutter.finish().scan(self.scanner)
    }
}

/// Cuts a text into windows.
pub struct Cutter {
    /// Up to [`MARGIN`] bytes that were in a window's counted part, then those that were not.
    buffer: Vec<u8>,
    /// How many bytes of the buffer were counted.
    counted: usize,
    at: At,
    /// Bytes that are gathered before they are cut.
    piece: usize,
}

/// Where a buffer is in its text.
#[derive(Clone, Copy, Default)]
struct At {
    /// Where it starts.
    offset: u64,
    /// Newlines before it.
    newlines: u64,
    /// Where the line that it starts in starts.
    line_start: u64,
}

/// Part of a text with what stands around it.
pub struct Window {
    bytes: Vec<u8>,
    /// The matches that start here count.
    counted: std::ops::Range<u64>,
    at: At,
}

impl Cutter {
    /// A cutter that gives a window whenever `piece` bytes, at least 2 × [`MARGIN`], have come in.
    pub fn new(piece: usize) -> Self {
        Self {
            buffer: Vec::new(),
            counted: 0,
            at: At::default(),
            piece: piece.max(2 * MARGIN),
        }
    }

    /// Takes the next bytes; returns a window if there are enough.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Window> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() - self.counted < self.piece + MARGIN {
            return None;
        }
        // An even end keeps UTF-16 units whole.
        let until = (self.buffer.len() - MARGIN) & !1;
        let gone = until.saturating_sub(MARGIN) & !1;
        let mut tail = Vec::with_capacity(self.buffer.capacity());
        tail.extend_from_slice(&self.buffer[gone..]);
        let window = Window {
            bytes: std::mem::replace(&mut self.buffer, tail),
            counted: self.counted as u64..until as u64,
            at: self.at,
        };
        self.at = self.at.after(&window.bytes[..gone]);
        self.counted = until - gone;
        Some(window)
    }

    /// Ends the text and returns the last window.
    pub fn finish(mut self) -> Window {
        Window {
            bytes: std::mem::take(&mut self.buffer),
            counted: self.counted as u64..u64::MAX,
            at: self.at,
        }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

impl At {
    /// Where a buffer is that begins behind these bytes.
    fn after(mut self, gone: &[u8]) -> Self {
        self.newlines += memchr::memchr_iter(b'\n', gone).count() as u64;
        if let Some(last) = memchr::memrchr(b'\n', gone) {
            self.line_start = self.offset + last as u64 + 1;
        }
        self.offset += gone.len() as u64;
        self
    }

    /// A span in the buffer as a span in the text.
    fn shift(self, span: Span) -> Span {
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
}

impl Window {
    /// The matches that count here, in order; what was in the window is erased if there are any.
    pub fn scan(mut self, scanner: &Scanner) -> Vec<Match> {
        let mut matches = scanner.scan_part(&self.bytes);
        if !matches.is_empty() {
            self.bytes.zeroize();
        }
        matches.retain(|m| self.counted.contains(&m.span.start));
        matches.iter_mut().for_each(|m| m.span = self.at.shift(m.span));
        matches
    }
}
