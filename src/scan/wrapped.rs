//! Base64 and hexadecimal over many lines: PEM-like bodies, MIME, YAML blocks, `\n` in strings.
//!
//! Lines that follow each other at equal distances, all of one width but for
//! the last, are decoded as one text as well as each by itself. Bounds: only
//! the first line is decoded to see whether there is text in it or a
//! compressed stream, so that keys, certificates and images cost nothing more.

use super::decode::{self, Piece};
use std::ops::Range;
use zeroize::Zeroizing;

/// Narrowest line of a block; encoders write 60 to 76 characters.
const MIN_WIDTH: usize = 40;
/// Deepest indentation of a line.
const MAX_INDENT: usize = 64;

/// Where the characters of a block stand: in lines of `width`, `stride` from each line's start to the next one's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fold {
    start: usize,
    width: usize,
    stride: usize,
}

impl Fold {
    /// The place of some of the block's characters.
    pub(crate) fn outer(&self, characters: &Range<usize>) -> Range<usize> {
        let at = |i: usize| self.start + i / self.width * self.stride + i % self.width;
        at(characters.start)..characters.end.checked_sub(1).map_or(self.start, |last| at(last) + 1)
    }
}

/// Lines that may be of one block: full ones, and a last one that is shorter.
struct Block {
    fold: Fold,
    /// How many of them are full.
    full: usize,
    /// The shorter one.
    last: Range<usize>,
}

impl Block {
    fn end(&self) -> usize {
        self.fold.start + (self.full - 1) * self.fold.stride + self.fold.width
    }
}

/// Gathers the runs of a text, in their order, to blocks.
pub(crate) struct Wrapped<'a> {
    data: &'a [u8],
    block: Option<Block>,
    found: &'a mut dyn FnMut(Piece),
}

impl<'a> Wrapped<'a> {
    pub(crate) fn new(data: &'a [u8], found: &'a mut dyn FnMut(Piece)) -> Self {
        Self {
            data,
            block: None,
            found,
        }
    }

    /// Takes the next run; it is handed on by itself where it is text.
    pub(crate) fn run(&mut self, mut run: Range<usize>) {
        // The letter of `\n` in a string is none of what follows it.
        let escaped = run.start > 0 && self.data[run.start - 1] == b'\\';
        run.start += usize::from(escaped && matches!(self.data[run.start], b'n' | b'r' | b't'));
        if run.len() < decode::MIN_RUN {
            return;
        }
        if let Some(piece) = decode::run(&self.data[run.clone()], run.start) {
            (self.found)(piece);
        }
        if !self.grows(&run) {
            self.end();
            let (start, width) = (run.start, run.len());
            self.block = (width >= MIN_WIDTH).then_some(Block {
                fold: Fold {
                    start,
                    width,
                    stride: 0,
                },
                full: 1,
                last: 0..0,
            });
        }
    }

    /// Adds a run to the block, if it is its next line.
    fn grows(&mut self, run: &Range<usize>) -> bool {
        let Some(block) = &mut self.block else {
            return false;
        };
        let stride = run.start - (block.end() - block.fold.width);
        let same = block.full == 1 || stride == block.fold.stride;
        let gap = &self.data[block.end()..run.start];
        if !block.last.is_empty() || run.len() > block.fold.width || !same || line_break(gap) != Some(gap.len()) {
            return false;
        }
        block.fold.stride = stride;
        if run.len() == block.fold.width {
            block.full += 1;
        } else {
            block.last = run.clone();
        }
        true
    }

    /// Hands on the block, if it has several lines and begins as text or as a compressed stream.
    pub(crate) fn end(&mut self) {
        let Some(mut block) = self.block.take() else {
            return;
        };
        if block.last.is_empty() {
            block.last = self.short_line(&block);
        }
        if block.full == 1 {
            if block.last.is_empty() {
                return;
            }
            block.fold.stride = block.last.start - block.fold.start;
        }
        let fold = block.fold;
        if !decode::is_head(&self.data[fold.start..fold.start + fold.width]) {
            return;
        }
        let mut written = Zeroizing::new(Vec::with_capacity((block.full + 1) * fold.width));
        for line in 0..block.full {
            let start = fold.start + line * fold.stride;
            written.extend_from_slice(&self.data[start..start + fold.width]);
        }
        let full = written.len();
        written.extend_from_slice(&self.data[block.last]);
        // A word after the block may look like its last line.
        let piece = decode::run(&written, 0).or_else(|| decode::run(&written[..full], 0));
        if let Some(piece) = piece {
            (self.found)(piece.folded(fold));
        }
    }

    /// The line after the last full one, where it is too short for a run.
    fn short_line(&self, block: &Block) -> Range<usize> {
        let end = block.end();
        let Some(gap) = line_break(&self.data[end..]) else {
            return 0..0;
        };
        if block.full > 1 && gap + block.fold.width != block.fold.stride {
            return 0..0;
        }
        let encoded = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
        let rest = &self.data[end + gap..];
        let count = rest.iter().take(block.fold.width).take_while(encoded).count();
        end + gap..end + gap + count
    }
}

/// The length of one line end, as it is or as it is written in a string, and of the blanks after it.
fn line_break(rest: &[u8]) -> Option<usize> {
    let written = rest.strip_prefix(br"\r").unwrap_or(rest).strip_prefix(br"\n");
    let plain = || {
        let rest = rest.strip_prefix(b"\\").unwrap_or(rest);
        rest.strip_prefix(b"\r").unwrap_or(rest).strip_prefix(b"\n")
    };
    let after = written.or_else(plain)?;
    let blanks = after.iter().take(MAX_INDENT).take_while(|b| matches!(b, b' ' | b'\t'));
    Some(rest.len() - after.len() + blanks.count())
}
