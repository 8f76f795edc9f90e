//! Where a command writes: standard output and error behind one type, so that a broken pipe is no panic.

use std::io::{IsTerminal, Write};

/// How a command shall print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people; readable without colour.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// Standard output and error of one command.
pub struct Output {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    /// Whether standard error is a terminal: progress is shown only then.
    pub interactive: bool,
}

impl Output {
    /// The process's own.
    pub fn standard() -> Self {
        let interactive = std::io::stderr().is_terminal();
        let out = Box::new(std::io::BufWriter::new(std::io::stdout()));
        Self {
            out,
            err: Box::new(std::io::stderr()),
            interactive,
        }
    }

    /// Any two writers, such as buffers.
    pub fn to(out: Box<dyn Write>, err: Box<dyn Write>) -> Self {
        Self {
            out,
            err,
            interactive: false,
        }
    }

    /// Replaces the progress line on a terminal; writes nothing elsewhere. An empty text removes the line.
    pub fn progress(&mut self, text: &str) {
        if self.interactive {
            let _ = write!(self.err, "\r\x1b[K{text}");
            let _ = self.err.flush();
        }
    }

    /// Writes a line to standard output. A closed pipe is the reader's wish, not an error.
    pub fn line(&mut self, text: impl std::fmt::Display) {
        let _ = writeln!(self.out, "{text}");
    }

    /// Writes a line to standard error.
    pub fn note(&mut self, text: impl std::fmt::Display) {
        let _ = writeln!(self.err, "{text}");
    }

    /// Flushes standard output.
    pub fn flush(&mut self) {
        let _ = self.out.flush();
    }
}
