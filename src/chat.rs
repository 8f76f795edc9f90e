//! Commands in a change's comments: what somebody wrote after `/lychgate`, and what a check's buttons mean.
//!
//! In scope: reading them. Out of scope: who may give them and what they do
//! (`pipeline::chat`), the answers (`feedback::answer`).

use crate::finding::Code;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Judge the newest commit again.
    Recheck,
    /// Say what a code means, where it was found and what mends it.
    Explain(Code),
    /// Ask for a waiver of all findings of a code, or of all that can be waived.
    Waive {
        /// The code; `None`: all.
        code: Option<Code>,
        /// Why; may be empty, which is refused later with the reason for it.
        reason: String,
        /// Whether it is a break-glass waiver.
        break_glass: bool,
    },
    /// Approve a waiver that was asked for.
    Approve(String),
    /// None that we know.
    Unknown,
}

/// Most bytes of a code or an id; all of ours are shorter.
const LONGEST_WORD: usize = 64;

/// Reads what stands after `/lychgate`; only its first line counts, so that a quotation below says nothing.
pub fn parse(text: &str) -> Command {
    let line = text.lines().next().unwrap_or_default();
    let (word, rest) = split(line);
    let (first, reason) = split(rest);
    let waive = |break_glass| Command::Waive {
        code: Some(Code::from(first.to_owned())),
        reason: reason.to_owned(),
        break_glass,
    };
    match (word, is_word(first)) {
        ("recheck", _) if rest.is_empty() => Command::Recheck,
        ("explain", true) if reason.is_empty() => Command::Explain(Code::from(first.to_owned())),
        ("waive", true) => waive(false),
        ("break-glass", true) => waive(true),
        ("approve", true) if reason.is_empty() => Command::Approve(first.to_owned()),
        _ => Command::Unknown,
    }
}

/// What a button of the check run means; the button itself asks for no reason.
pub fn pressed(button: &str) -> Command {
    let waive = |code: Option<&'static str>, reason: &str| Command::Waive {
        code: code.map(Code::from),
        reason: reason.to_owned(),
        break_glass: false,
    };
    match button {
        "recheck" => Command::Recheck,
        "waiver" => waive(None, "asked for with the button of the check, no reason given"),
        "not-a-secret" => waive(Some("secret-found"), "not a secret, says whoever pressed the button"),
        _ => Command::Unknown,
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim())
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_WORD && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_nothing_else() {
        let waive = |code: &str, reason: &str, break_glass| Command::Waive {
            code: Some(Code::from(code.to_owned())),
            reason: reason.into(),
            break_glass,
        };
        let table = [
            ("recheck", Command::Recheck),
            (" explain  unsigned-commit ", Command::Explain("unsigned-commit".into())),
            (
                "waive unsigned-commit no key yet",
                waive("unsigned-commit", "no key yet", false),
            ),
            (
                "waive unsigned-commit\nquoted text below",
                waive("unsigned-commit", "", false),
            ),
            (
                "break-glass secret-found production is down",
                waive("secret-found", "production is down", true),
            ),
            (
                "approve 01ARZ3NDEKTSV4RRFFQ69G5FAV",
                Command::Approve("01ARZ3NDEKTSV4RRFFQ69G5FAV".into()),
            ),
            ("approve 01A and 01B", Command::Unknown),
            ("approve", Command::Unknown),
            ("explain `x`", Command::Unknown),
            ("recheck now", Command::Unknown),
            ("rechec", Command::Unknown),
            ("", Command::Unknown),
        ];
        for (text, command) in table {
            assert_eq!(parse(text), command, "{text:?}");
        }
        assert_eq!(parse(&format!("explain {}", "x".repeat(65))), Command::Unknown);
    }

    #[test]
    fn each_button_is_a_command() {
        assert_eq!(pressed("recheck"), Command::Recheck);
        for button in ["waiver", "not-a-secret"] {
            assert!(
                matches!(pressed(button), Command::Waive { reason, .. } if !reason.is_empty()),
                "{button}"
            );
        }
        assert_eq!(pressed("format-disk"), Command::Unknown);
    }
}
