//! Errors of a text as text: where, the line itself, and what to underline.

use super::PolicyError;
use std::fmt::Write;

/// Errors as an operator sees them, one block each, in the order given.
///
/// Pure; ASCII except for the quoted source line, in which control characters are already replaced.
///
/// * `file`: the file's name as the operator knows it.
pub fn render_errors(file: &str, errors: &[PolicyError]) -> String {
    let mut text = String::new();
    for error in errors {
        render_error(&mut text, file, error);
    }
    if errors.len() > 1 {
        let _ = writeln!(text, "{} errors in {file}; nothing of it is in force", errors.len());
    }
    text
}

fn render_error(text: &mut String, file: &str, error: &PolicyError) {
    let number = error.line.to_string();
    let gutter = " ".repeat(number.len());
    let before = (error.column as usize - 1).min(error.source.chars().count());
    let room = (error.source.chars().count() - before).max(1);
    let carets = "^".repeat((error.length as usize).clamp(1, room));
    let _ = writeln!(text, "error[{}]: {}", error.code, error.message);
    let _ = writeln!(text, "{gutter} --> {file}:{}:{}", error.line, error.column);
    let _ = writeln!(text, "{number} | {}", error.source);
    let _ = writeln!(text, "{gutter} | {}{carets}", " ".repeat(before));
}
