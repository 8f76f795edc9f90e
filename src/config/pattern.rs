//! Ref patterns: a full ref name where `*` stands for any text without `/` and `**` for any text.
//!
//! In scope: reading and matching. Out of scope: ref names themselves (`push`).
//! A pattern that could not match what its author means is refused, never skipped.

use crate::glob;
use crate::push::RefName;
use std::fmt;

/// Most bytes of a pattern: matching costs at most this times the 1,024 bytes of a ref name.
const LONGEST: usize = 256;

/// A ref pattern: a full ref name where `*` stands for any text without `/` and `**` for any text.
///
/// ```
/// use lychgate::config::Pattern;
/// let pattern = Pattern::parse("refs/heads/release/**").unwrap();
/// assert!(pattern.matches(&"refs/heads/release/1/hotfix".parse().unwrap()));
/// assert!(!pattern.matches(&"refs/heads/main".parse().unwrap()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// One sentence if it does not start with `refs/`, is longer than 256 bytes, has a character or part that no
    /// ref can have, or three stars in a row.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| Err(why.to_owned());
        if text.len() > LONGEST {
            return bad("it is longer than 256 bytes");
        }
        if !text.starts_with("refs/") {
            return bad("it does not start with refs/; write the full name, such as refs/heads/main");
        }
        if text.bytes().any(|b| b < 0x20 || b == 0x7f || b" ~^:?[\\".contains(&b)) {
            return bad(
                "no ref has a space, a control character or one of ~^:?[\\ in its name; only * and ** are special",
            );
        }
        if text.contains("***") {
            return bad("three stars in a row mean nothing; write * within one part or ** across parts");
        }
        if text.contains("..") || text.contains("@{") || text.ends_with('.') {
            return bad("no ref contains .. or @{ or ends with a dot");
        }
        let odd = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
        if text.split('/').any(odd) {
            return bad("a part of it is empty, starts with a dot or ends with .lock, as no ref does");
        }
        Ok(Self(text.to_owned()))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the ref matches: the whole name, byte by byte, case and all.
    pub fn matches(&self, name: &RefName) -> bool {
        glob::matches(self.0.as_bytes(), name.as_str().as_bytes(), false)
    }

    /// A tag that it matches; `None`: it matches none, or none was found.
    pub fn a_tag(&self) -> Option<RefName> {
        let stars = self.0.replace("**", "*");
        let filled = |first: &str| stars.replacen('*', first, 1).replace('*', "0");
        let found = ["0", "tags", "tags/0"].map(|first| filled(first).parse::<RefName>());
        found
            .into_iter()
            .flatten()
            .find(|name| name.is_tag() && self.matches(name))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(&name.parse().unwrap())
    }

    #[test]
    fn stars_mean_what_the_docs_say() {
        assert!(matches("refs/heads/main", "refs/heads/main"));
        assert!(!matches("refs/heads/main", "refs/heads/main2"));
        assert!(!matches("refs/heads/main", "refs/heads/Main"));
        assert!(matches("refs/heads/*", "refs/heads/main"));
        assert!(!matches("refs/heads/*", "refs/heads/a/b"));
        assert!(matches("refs/heads/**", "refs/heads/a/b"));
        assert!(matches("refs/tags/v*", "refs/tags/v"));
        assert!(!matches("refs/tags/v*", "refs/tags/v1/x"));
        assert!(matches("refs/**/stable/*", "refs/heads/a/b/stable/x"));
        assert!(!matches("refs/**/stable/*", "refs/heads/a/b/stable/x/y"));
        assert!(matches("refs/*/*-lts", "refs/heads/1-lts"));
    }

    #[test]
    fn a_tag_is_found_for_a_pattern_that_matches_tags() {
        let tag = |pattern: &str| Pattern::parse(pattern).unwrap().a_tag().map(|name| name.to_string());
        for (pattern, name) in [
            ("refs/tags/v*", "refs/tags/v0"),
            ("refs/tags/v1.0", "refs/tags/v1.0"),
            ("refs/tags/**/v*", "refs/tags/0/v0"),
            ("refs/**", "refs/tags/0"),
            ("refs/*/v*", "refs/tags/v0"),
        ] {
            assert_eq!(tag(pattern).as_deref(), Some(name), "{pattern}");
        }
        assert_eq!(tag("refs/heads/**"), None);
        assert_eq!(tag("refs/heads/main"), None);
    }

    #[test]
    fn a_bad_pattern_is_an_error() {
        for text in [
            "",
            "main",
            "heads/main",
            "refs/",
            "refs/heads/",
            "refs//x",
            "refs/heads/***",
            "refs/heads/[ab]",
            "refs/heads/a?",
            "refs/heads/a b",
            "refs/heads/.x",
            "refs/heads/x.lock",
            "refs/heads/a..b",
            "refs/heads/a\\*",
            "refs/heads/a.",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        assert!(Pattern::parse(&format!("refs/heads/{}", "x".repeat(300))).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_ref_name_is_a_pattern_that_matches_itself(name in "refs/heads/[a-z0-9_+-]{1,20}(/[a-z0-9]{1,9}){0,3}") {
            prop_assert!(matches(&name, &name));
        }
    }
}
