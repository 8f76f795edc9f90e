//! Globs: `*` stands for any text without a slash, `**` for any text.
//!
//! In scope: patterns of file paths, and the matching that patterns of refs
//! share. Out of scope: what a match means (`rule`, `config`).

use std::fmt;

/// Most bytes of a pattern: matching costs at most this times the bytes of a path.
const LONGEST: usize = 256;

/// A pattern of paths in a repository, compared with the whole path, byte by byte, case and all.
///
/// `*` stands for any text without `/`, `**` for any text, and `**/` also for no folder at all.
///
/// ```
/// use lychgate::glob::PathGlob;
/// let glob = PathGlob::parse("**/deploy/**").unwrap();
/// assert!(glob.matches("deploy/key.env") && glob.matches("svc/deploy/a/key.env"));
/// assert!(!glob.matches("deploy.md"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathGlob(String);

impl PathGlob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// One sentence if it is empty, longer than 256 bytes, starts with a slash, has a control character, a part that
    /// no path of Git has, or three stars in a row.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| Err(why.to_owned());
        if text.len() > LONGEST {
            return bad("it is longer than 256 bytes");
        }
        if text.starts_with('/') || text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return bad("paths are written from the repository's top, such as deploy/**, with no empty part, . or ..");
        }
        if text.chars().any(char::is_control) || text.contains(['?', '[', '\\', '{', '!']) {
            return bad("only * and ** are special; it has a control character or one of ?[\\{!");
        }
        if text.contains("***") {
            return bad("three stars in a row mean nothing; write * within one part or ** across parts");
        }
        Ok(Self(text.to_owned()))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the path matches.
    pub fn matches(&self, path: &str) -> bool {
        matches(self.0.as_bytes(), path.as_bytes(), true)
    }
}

impl fmt::Display for PathGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a pattern matches all of a name.
///
/// Keeps, after each token of the pattern, the set of prefixes of `name` that it can have eaten: no backtracking,
/// so no pattern is slow.
///
/// * `no_folder`: whether `**/` at the start of a part also stands for nothing.
pub(crate) fn matches(pattern: &[u8], name: &[u8], no_folder: bool) -> bool {
    if !pattern.contains(&b'*') {
        return pattern == name;
    }
    let mut ends = vec![false; name.len() + 1];
    ends[0] = true;
    let (mut rest, mut before) = (pattern, b'/');
    while let Some((&first, tail)) = rest.split_first() {
        if no_folder && before == b'/' && rest.starts_with(b"**/") {
            eat_folders(&mut ends, name);
            (rest, before) = (&rest[3..], b'/');
            continue;
        }
        before = first;
        if first != b'*' {
            eat_literal(&mut ends, name, first);
            rest = tail;
        } else if let Some(tail) = tail.strip_prefix(b"*") {
            eat_any(&mut ends, name, |_| true);
            rest = tail;
        } else {
            eat_any(&mut ends, name, |b| b != b'/');
            rest = tail;
        }
    }
    ends[name.len()]
}

/// Moves every prefix on by one byte, if the next byte of the name is `wanted`.
fn eat_literal(ends: &mut [bool], name: &[u8], wanted: u8) {
    for at in (0..name.len()).rev() {
        ends[at + 1] = ends[at] && name[at] == wanted;
    }
    ends[0] = false;
}

/// Adds every prefix that is longer by bytes that `may` pass.
fn eat_any(ends: &mut [bool], name: &[u8], may: impl Fn(u8) -> bool) {
    for at in 0..name.len() {
        ends[at + 1] |= ends[at] && may(name[at]);
    }
}

/// Adds every prefix that is longer by whole folders.
fn eat_folders(ends: &mut [bool], name: &[u8]) {
    let mut open = false;
    for at in 0..name.len() {
        open |= ends[at];
        ends[at + 1] |= open && name[at] == b'/';
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn globs(pattern: &str, path: &str) -> bool {
        PathGlob::parse(pattern).unwrap().matches(path)
    }

    #[test]
    fn stars_mean_what_the_docs_say() {
        assert!(globs("tests/**", "tests/a/b") && globs("tests/**", "tests/a"));
        assert!(!globs("tests/**", "tests") && !globs("tests/**", "src/tests/a") && !globs("tests/**", "Tests/a"));
        assert!(globs("*.env", "a.env") && !globs("*.env", "x/a.env"));
        assert!(globs("**/*.env", "a.env") && globs("**/*.env", "x/y/a.env"));
        assert!(globs("**", "any/path"));
        assert!(globs("a/**/b", "a/b") && globs("a/**/b", "a/x/y/b") && !globs("a/**/b", "a/xb"));
        assert!(globs("a/x**", "a/xy/z") && !globs("a**/b", "ab"));
    }

    #[test]
    fn a_bad_glob_is_an_error() {
        for text in [
            "", "/a", "a//b", "./a", "a/..", "a/", "a***", "a?", "[ab]", "!a", "{a,b}", "a\\b", "a\n",
        ] {
            assert!(PathGlob::parse(text).is_err(), "{text:?}");
        }
        assert!(PathGlob::parse(&"x".repeat(257)).is_err());
    }

    /// What the stars mean, written the plainest way.
    fn plainly(pattern: &[u8], name: &[u8], no_folder: bool, start: bool) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', b'*', b'/', rest @ ..] if no_folder && start => {
                let after = |at: &usize| *at == 0 || name[at - 1] == b'/';
                (0..=name.len())
                    .filter(after)
                    .any(|at| plainly(rest, &name[at..], no_folder, true))
            }
            [b'*', b'*', rest @ ..] => (0..=name.len()).any(|at| plainly(rest, &name[at..], no_folder, false)),
            [b'*', rest @ ..] => (0..=name.len())
                .take_while(|at| !name[..*at].contains(&b'/'))
                .any(|at| plainly(rest, &name[at..], no_folder, false)),
            [first, rest @ ..] => name.first() == Some(first) && plainly(rest, &name[1..], no_folder, *first == b'/'),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn agrees_with_the_plain_meaning(
            pattern in "[ab/]{0,3}(\\*{1,2}[ab/]{0,2}){0,3}", name in "[ab/]{0,10}", no_folder in any::<bool>()
        ) {
            prop_assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes(), no_folder),
                plainly(pattern.as_bytes(), name.as_bytes(), no_folder, true)
            );
        }
    }
}
