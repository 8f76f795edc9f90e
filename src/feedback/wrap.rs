//! Lines of bounded width, in printable ASCII.

/// Indent of commands, deeper than any sentence.
const COMMAND_INDENT: &str = "      ";

/// A text as printable ASCII: everything else is escaped, so that nothing moves a cursor or hides.
pub(super) fn plain(text: &str) -> String {
    text.chars().fold(String::new(), |mut plain, c| {
        match c {
            '\n' | '\r' | '\t' => plain.push(' '),
            ' '..='~' => plain.push(c),
            c => plain.extend(c.escape_default()),
        }
        plain
    })
}

/// A text as lines of at most `width` columns, broken at spaces; longer words are broken anywhere.
///
/// The first line has the indent, those that follow two spaces more.
pub(super) fn words(text: &str, width: usize, indent: &str) -> Vec<String> {
    let next = format!("{indent}  ");
    let mut lines = Vec::new();
    let mut line = indent.to_owned();
    let mut empty = true;
    for word in plain(text).split(' ').filter(|word| !word.is_empty()) {
        let mut word = word;
        if !empty && line.len() + 1 + word.len() > width {
            lines.push(std::mem::replace(&mut line, next.clone()));
            empty = true;
        }
        while line.len() + word.len() > width {
            let (head, tail) = word.split_at(width - line.len());
            line.push_str(head);
            lines.push(std::mem::replace(&mut line, next.clone()));
            word = tail;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = word.is_empty();
    }
    if !empty || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// A command on one line; if that is too long, broken between its words as a shell allows.
pub(super) fn command(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = COMMAND_INDENT.to_owned();
    for word in shell_words(&plain(text)) {
        if line.trim().is_empty() {
            line.push_str(&word);
        } else if line.len() + 1 + word.len() + 2 <= width {
            line.push(' ');
            line.push_str(&word);
        } else {
            lines.push(format!("{line} \\"));
            line = format!("{COMMAND_INDENT}  {word}");
        }
    }
    lines.push(line);
    lines
}

/// A command's words, the quotes left as they are.
fn shell_words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        quoted ^= c == '\'';
        match words.last_mut() {
            Some(word) if c != ' ' || quoted => word.push(c),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_command_breaks_between_words_only() {
        let lines = command(
            "git commit --message 'one two three four five six seven' --all --signoff",
            62,
        );
        assert_eq!(
            lines,
            [
                "      git commit --message \\",
                "        'one two three four five six seven' --all --signoff",
            ]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn words_keep_the_width_and_lose_nothing(text in "\\PC{0,300}", width in 40usize..100) {
            let lines = words(&text, width, "  ");
            let joined: String = lines.concat().split(' ').collect();
            let wanted: String = plain(&text).split(' ').collect();
            prop_assert_eq!(joined, wanted);
            for line in lines {
                prop_assert!(line.len() <= width && line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{}", line);
            }
        }
    }
}
