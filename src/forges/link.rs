//! The `Link` header of RFC 8288, as far as pagination needs it, and URLs made relative to a base.
//!
//! In scope: the `rel="next"` target, accepted only below the forge's own API,
//! so that a credential follows it nowhere else. Out of scope: every other
//! relation and parameter.

/// Longest header that is looked at.
const LONGEST: usize = 8_192;

/// The path and query of the `next` page, if the header names one below `base`.
///
/// * `header`: the value of `Link`; over 8,192 bytes it has no next page.
/// * `base`: `https://host/path` without a slash at the end.
///
/// <https://www.rfc-editor.org/rfc/rfc8288>
///
/// ```
/// let header = r#"<https://forge.test/api/v3/x?page=2>; rel="next", <https://forge.test/api/v3/x?page=9>; rel="last""#;
/// let next = lychgate::forges::link::next_below(header, "https://forge.test/api/v3");
/// assert_eq!(next.as_deref(), Some("/x?page=2"));
/// ```
pub fn next_below(header: &str, base: &str) -> Option<String> {
    if header.len() > LONGEST {
        return None;
    }
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        let (parameters, more) = match after.find('<') {
            Some(at) => after.split_at(at),
            None => (after, ""),
        };
        if is_next(parameters) {
            return below(target, base);
        }
        rest = more;
    }
    None
}

fn is_next(parameters: &str) -> bool {
    parameters.split(&[';', ','][..]).any(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else {
            return false;
        };
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("rel") && value.split(' ').any(|word| word.eq_ignore_ascii_case("next"))
    })
}

/// `url` as path and query below `base`; `None` if it leads anywhere else.
///
/// A relative URL (`/path`) is taken as one of the same host. Dot segments, backslashes, fragments and
/// characters that no URL has are refused.
pub fn below(url: &str, base: &str) -> Option<String> {
    let origin_end = base.find("://").map(|at| at + 3)?;
    let path_at = base[origin_end..].find('/').map_or(base.len(), |at| origin_end + at);
    let (origin, prefix) = base.split_at(path_at);
    let path = match url.starts_with('/') {
        true => url,
        false => strip_prefix_no_case(url, origin)?,
    };
    let path = path.strip_prefix(prefix)?;
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\\#<>\"".contains(&byte);
    let dots = path.split(&['/', '?'][..]).any(|part| matches!(part, "." | ".."));
    let fine = path.starts_with('/') && !path.starts_with("//") && !dots && path.bytes().all(plain);
    fine.then(|| path.to_owned())
}

fn strip_prefix_no_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: &str = "https://forge.test/api/v3";

    #[test]
    fn only_the_next_page_below_the_base() {
        for (header, next) in [
            (r#"<https://forge.test/api/v3/a?page=2>; rel="next""#, Some("/a?page=2")),
            (r#"</api/v3/a?after=b%3D>; rel=next"#, Some("/a?after=b%3D")),
            (
                r#"<https://FORGE.test/api/v3/a?x=1,2>; title="n"; rel="last next""#,
                Some("/a?x=1,2"),
            ),
            (
                r#"<https://forge.test/api/v3/a>; rel="prev", <https://forge.test/api/v3/b>; rel="next""#,
                Some("/b"),
            ),
            (r#"<https://evil.test/api/v3/a>; rel="next""#, None),
            (r#"<https://forge.test.evil.test/api/v3/a>; rel="next""#, None),
            (r#"<https://forge.test@evil.test/api/v3/a>; rel="next""#, None),
            (r#"<https://forge.test/other/a>; rel="next""#, None),
            (r#"<https://forge.test/api/v3evil/a>; rel="next""#, None),
            (r#"<https://forge.test/api/v3/../a>; rel="next""#, None),
            (r#"<//evil.test/api/v3/a>; rel="next""#, None),
            (r#"<https://forge.test/api/v3/a>; rel="last""#, None),
            ("<", None),
            ("", None),
        ] {
            assert_eq!(next_below(header, BASE).as_deref(), next, "{header}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_comes_out_stays_below(header in "[<>;=,\" a-z/:.?@\\\\-]{0,80}|.{0,200}") {
            if let Some(path) = next_below(&header, BASE) {
                let whole: http::Uri = format!("{BASE}{path}").parse().unwrap();
                prop_assert_eq!(whole.host(), Some("forge.test"));
                prop_assert!(whole.path().starts_with("/api/v3/"));
            }
        }

        #[test]
        fn a_page_of_our_own_is_found(page in "/[a-z0-9/]{1,20}\\?page=[0-9]{1,5}") {
            prop_assume!(!page.starts_with("//"));
            let header = format!("<{BASE}/first>; rel=\"first\", <{BASE}{page}>; rel=\"next\"");
            prop_assert_eq!(next_below(&header, BASE), Some(page));
        }
    }
}
