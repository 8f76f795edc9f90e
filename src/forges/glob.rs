//! Patterns of ref names as forges write them, in terms of our own, which no pattern makes slow.
//!
//! In scope: stars. Out of scope: all else that a forge's pattern can have (`?`, `[…]`, `{…}`): what such a one
//! matches is unknown here, and whoever asks takes the answer that claims less.

use crate::config::Pattern;
use crate::push::RefName;

/// Most `**/` of one pattern: each doubles what is to be compared with.
const MOST_DEEP: usize = 4;

/// A forge's pattern of ref names.
pub(super) struct Glob(Option<Vec<Pattern>>);

impl Glob {
    /// Each star stands for any text, slashes and all, as at GitLab and Forgejo; `below` is `refs/tags/` or the like.
    pub(super) fn any_text(below: &str, text: &str) -> Self {
        let parts: Vec<&str> = text.split('*').collect();
        let mut pattern = below.to_owned();
        for (at, part) in parts.iter().enumerate() {
            // A run of stars is one.
            if at > 0 && !pattern.ends_with("**") {
                pattern.push_str("**");
            }
            pattern.push_str(part);
        }
        Self(read(&[pattern]))
    }

    /// A star ends at a slash, and `**/` stands for any folders or none, as at GitHub.
    /// <https://docs.ruby-lang.org/en/master/File.html#method-c-fnmatch>
    pub(super) fn by_parts(text: &str) -> Self {
        let parts: Vec<&str> = text.split('/').collect();
        let last = parts.len() - 1;
        let deep = |at: usize| at < last && parts[at] == "**";
        if (0..last).filter(|at| deep(*at)).count() > MOST_DEEP {
            return Self(None);
        }
        let mut all = vec![String::new()];
        for (at, part) in parts.iter().enumerate() {
            let slash = if at < last { "/" } else { "" };
            let mut next = Vec::new();
            for before in all {
                if deep(at) {
                    next.push(before.clone());
                    next.push(format!("{before}**/"));
                } else {
                    next.push(format!("{before}{}{slash}", part.replace("**", "*")));
                }
            }
            all = next;
        }
        Self(read(&all))
    }

    /// Whether the name matches; `None`: that is not known here.
    pub(super) fn covers(&self, name: &RefName) -> Option<bool> {
        let patterns = self.0.as_ref()?;
        Some(patterns.iter().any(|pattern| pattern.matches(name)))
    }
}

fn read(texts: &[String]) -> Option<Vec<Pattern>> {
    if texts
        .iter()
        .any(|text| text.contains(['?', '[', ']', '{', '}', '\\', '!']))
    {
        return None;
    }
    texts.iter().map(|text| Pattern::parse(text).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(glob: &Glob, name: &str) -> Option<bool> {
        glob.covers(&format!("refs/tags/{name}").parse().unwrap())
    }

    #[test]
    fn a_star_is_any_text() {
        for (pattern, name, fitting) in [
            ("v1", "v1", true),
            ("v1", "v1x", false),
            ("v*", "v1/x", true),
            ("*-lts", "a-lts", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("v***", "v1", true),
            ("*", "x", true),
        ] {
            let glob = Glob::any_text("refs/tags/", pattern);
            assert_eq!(fits(&glob, name), Some(fitting), "{pattern} {name}");
        }
        assert_eq!(fits(&Glob::any_text("refs/tags/", "v[0-9]"), "v1"), None);
    }

    #[test]
    fn a_star_ends_at_a_slash_and_two_of_them_do_not() {
        for (pattern, name, fitting) in [
            ("v*", "v1", true),
            ("v*", "v1/x", false),
            ("**/*", "v1", true),
            ("**/*", "a/b/v1", true),
            ("**", "v1", true),
            ("**", "a/v1", false),
            ("a/**/v*", "a/v1", true),
            ("a/**/v*", "a/b/c/v1", true),
            ("a/**/v*", "b/v1", false),
        ] {
            let glob = Glob::by_parts(&format!("refs/tags/{pattern}"));
            assert_eq!(fits(&glob, name), Some(fitting), "{pattern} {name}");
        }
        assert_eq!(fits(&Glob::by_parts("refs/tags/v?"), "v1"), None);
        assert_eq!(fits(&Glob::by_parts("refs/tags/**/**/**/**/**/*"), "v1"), None);
    }
}
