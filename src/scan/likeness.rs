//! How like a word or an identifier a text is: a model of pairs of letters.
//!
//! In scope: one judgement on a text's letters. The model is `bigrams.txt`,
//! made by `tests/fixtures/make_bigrams.py` from this repository's own code and prose. Of
//! 11,721 identifiers of another project's C code 98.8 % are called ordinary, of
//! random texts of 24 letters and digits fewer than 0.1 %.
//! Out of scope: placeholders and references (`evidence`).

/// For each letter the cost of each next letter: -8 log2 of its probability.
const COSTS: [[u8; 26]; 26] = read(include_bytes!("bigrams.txt"));

/// Mean cost up to which letters are ordinary: 5 bits a pair.
const ORDINARY: u32 = 40;

/// Reads the model: numbers of at most two digits between blanks.
const fn read(text: &[u8]) -> [[u8; 26]; 26] {
    let mut costs = [[99; 26]; 26];
    let (mut at, mut index) = (0, 0);
    while at < text.len() && index < 26 * 26 {
        let mut number = 0;
        let start = at;
        while at < text.len() && text[at].is_ascii_digit() {
            number = number * 10 + (text[at] - b'0');
            at += 1;
        }
        if at > start {
            costs[index / 26][index % 26] = number;
            index += 1;
        } else {
            at += 1;
        }
    }
    costs
}

/// Whether a text is made of words: at least three fifths of it in runs of three letters or more, and those usual.
///
/// What stands between words (`-`, `_`, `.`, a blank) does not count.
///
/// A run ends where letters end and where camel case turns. Texts of any length; O(n), nothing allocated.
pub(crate) fn ordinary(text: &[u8]) -> bool {
    let (mut in_runs, mut cost, mut pairs) = (0usize, 0u32, 0u32);
    let mut between = 0;
    let (mut run, mut steps) = (0, 0);
    let mut close = |run: usize| in_runs += if run >= 3 { run } else { 0 };
    for (i, byte) in text.iter().enumerate() {
        if !byte.is_ascii_alphabetic() {
            close(run);
            run = 0;
            between += usize::from(matches!(byte, b'-' | b'_' | b'.' | b' '));
            continue;
        }
        let last = if run > 0 { text[i - 1] } else { 0 };
        if last.is_ascii_lowercase() && byte.is_ascii_uppercase() {
            close(run);
            run = 0;
        } else if run > 0 {
            cost += u32::from(
                COSTS[usize::from(last.to_ascii_lowercase() - b'a')][usize::from(byte.to_ascii_lowercase() - b'a')],
            );
            pairs += 1;
            // Four letters in the order of the alphabet are in no word.
            steps = if *byte == last.wrapping_add(1) { steps + 1 } else { 0 };
            cost += if steps >= 3 { 99 } else { 0 };
        }
        run += 1;
    }
    close(run);
    in_runs * 5 >= (text.len() - between) * 3 && pairs > 0 && cost <= ORDINARY * pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_identifiers_are_ordinary_and_random_texts_are_not() {
        for text in [
            "required",
            "settings.AuthenticationTokenProvider",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "docs/reference/authentication",
            "anIdentifierThatIsRatherLong2",
            "CHANGE-ME-OR-FAIL-TO-START",
        ] {
            assert!(ordinary(text.as_bytes()), "{text}");
        }
        for text in [
            "qzxkvbnwpfjgmhtr",
            "9f8Zk2LmQ4xTtR7pZq9Zk",
            "3bc1f0de95a7aa0142fe",
            "123e4567-e89b-12d3-a456-426614174000",
            "",
        ] {
            assert!(!ordinary(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn the_model_is_whole() {
        assert!(COSTS.iter().flatten().all(|cost| (1..=99).contains(cost)));
        assert!(
            COSTS[usize::from(b'q' - b'a')][usize::from(b'u' - b'a')]
                < COSTS[usize::from(b'q' - b'a')][usize::from(b'z' - b'a')]
        );
    }
}
