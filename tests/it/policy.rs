//! The policy's text: what it means, and what an operator is told when it is wrong.

use lychgate::config::{Bounds, DEFAULT_POLICY, Policy, Settings, render_errors};
use lychgate::finding::{Confidence, Severity};
use proptest::prelude::*;

fn errors_of(text: &str) -> String {
    let errors = Policy::parse("policy.toml", text).unwrap_err();
    render_errors("policy.toml", &errors)
}

fn codes_of(text: &str) -> Vec<&'static str> {
    let errors = Policy::parse("policy.toml", text).unwrap_err();
    errors.iter().map(|error| error.code).collect()
}

#[test]
fn the_default_means_what_its_comments_say() {
    let policy = Policy::parse("policy.toml", DEFAULT_POLICY).unwrap();
    let patterns: Vec<&str> = policy.refs.iter().map(|rule| rule.pattern.value.as_str()).collect();
    assert_eq!(patterns, ["refs/heads/main", "refs/heads/release/**", "refs/tags/v*"]);
    for rule in &policy.refs {
        assert_eq!(rule.who.value, ["*"]);
        assert!(rule.create.value && rule.require_signed.value && rule.committer_is_signer.value);
        assert!(!rule.delete.value && !rule.non_fast_forward.value && !rule.pusher_is_signer.value);
        assert_eq!(
            rule.update.value,
            !rule.pattern.value.as_str().starts_with("refs/tags/")
        );
    }
    assert_eq!(policy.secrets.refs.value.len(), 1);
    assert!(policy.secrets.refs.value[0].matches(&"refs/anything/at/all".parse().unwrap()));
    assert_eq!(policy.secrets.deny_confidence.value, Confidence::High);
    assert_eq!(policy.secrets.deny_severity.value, Severity::Low);
    assert!(policy.secrets.allow.is_empty());
    assert_eq!(policy.skew_seconds.value, 300);
    assert_eq!(policy.bounds, Bounds::default());
    for protected in ["refs/heads/main", "refs/heads/release/1/a", "refs/tags/v1.0"] {
        assert!(policy.protects(&protected.parse().unwrap()), "{protected}");
    }
    assert!(!policy.protects(&"refs/heads/topic".parse().unwrap()));
}

#[test]
fn the_default_writes_out_the_defaults() {
    let short = "version = 1\n[[ref]]\npattern = 'refs/heads/main'\n[[ref]]\npattern = 'refs/heads/release/**'\n\
                 [[ref]]\npattern = 'refs/tags/v*'\nupdate = false\n";
    let (short, long) = (
        Policy::parse("p", short).unwrap(),
        Policy::parse("p", DEFAULT_POLICY).unwrap(),
    );
    assert_eq!(meaning(&short), meaning(&long));
}

#[test]
fn a_commented_sample_is_valid_too() {
    let text = DEFAULT_POLICY.replace("# [[secrets.allow]]", "[[secrets.allow]]");
    let text = text
        .replace("# fingerprint", "fingerprint")
        .replace("# reason", "reason");
    let text = text.replace("# expires", "expires");
    let text = ["[[secrets.severity]]", "paths =", "severity =", "rules ="]
        .iter()
        .fold(text, |text, key| text.replace(&format!("# {key}"), key));
    let policy = Policy::parse("policy.toml", &text).unwrap();
    assert_eq!(policy.secrets.allow.len(), 1);
    let severities: Vec<_> = policy.secrets.severity.iter().map(|one| one.value.severity).collect();
    assert_eq!(severities, [Severity::Info, Severity::Critical]);
}

#[test]
fn severities_by_path_are_read_with_all_their_errors() {
    let said = errors_of(
        "version = 1\n[[secrets.severity]]\npaths = [\"/abs\", \"a/***\", 3]\nseverity = \"hgh\"\n\
         [[secrets.severity]]\npaths = []\nrules = []\n[[secrets.severity]]\nseverity = \"low\"\nrules = [\"A b\"]\npath = \"x\"\n",
    );
    let told: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("error") || line.trim_start().starts_with("-->"))
        .map(|line| line.split("]: ").next().unwrap_or(line).trim())
        .collect();
    let expected = [
        ("invalid-pattern", "3:11"),
        ("invalid-pattern", "3:19"),
        ("wrong-type", "3:27"),
        ("unknown-value", "4:13"),
        ("missing-key", "5:1"),
        ("empty-list", "6:9"),
        ("empty-list", "7:9"),
        ("missing-key", "8:1"),
        ("invalid-rule", "10:11"),
        ("unknown-key", "11:1"),
    ];
    let expected: Vec<String> = expected
        .iter()
        .flat_map(|(code, at)| [format!("error[{code}"), format!("--> policy.toml:{at}")])
        .collect();
    assert_eq!(told, expected, "{said}");
    let many = "[[secrets.severity]]\npaths = ['**']\nseverity = 'low'\n".repeat(257);
    assert_eq!(codes_of(&format!("version = 1\n{many}")), ["too-many-entries"]);
}

#[test]
fn lines_say_where_a_value_is_set() {
    let text = "version = 1\n\n[[ref]]\npattern = \"refs/heads/main\"\nwho = [\n  \"ann\",\n  \"bob\",\n]\n\
                delete = true\n\n[secrets]\ndeny_confidence = \"low\"\n\n[[secrets.allow]]\n\
                fingerprint = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n\
                reason = \"sample\"\nexpires = \"2027-06-30T00:00:00Z\"\n";
    let policy = Policy::parse("policy.toml", text).unwrap();
    let rule = &policy.refs[0];
    let line = |line: &lychgate::finding::PolicyLine| line.line;
    assert_eq!(line(&rule.pattern.line), 4);
    assert_eq!(line(&rule.who.line), 5);
    assert_eq!(line(&rule.delete.line), 9);
    assert_eq!(line(&rule.require_signed.line), 3, "the header's, as it is a default");
    assert_eq!(line(&policy.secrets.deny_confidence.line), 12);
    assert_eq!(line(&policy.secrets.deny_severity.line), 11);
    assert_eq!(line(&policy.secrets.allow[0].line), 14);
    assert_eq!(line(&policy.skew_seconds.line), 1);
    assert_eq!(rule.pattern.line.file, "policy.toml");
}

#[test]
fn every_error_is_told_at_once() {
    insta::assert_snapshot!(errors_of(
        r#"version = 2
polcy = true

[[ref]]
pattern = "refs/heads/main"
requires_signed = true
delete = "no"
who = ["*", "ann", "ann"]

[[ref]]
pattern = "refs/heads/main"

[[ref]]
pattern = "refs/heads/[a-z]"
who = []
require_signed = false
pusher_is_signer = true

[[ref]]
create = false

[secrets]
refs = ["main", 7]
deny_confidence = "hihg"
deny_severity = "awful"

[[secrets.allow]]
fingerprint = "abc"
reason = ""
expires = "tomorrow"

[signatures]
skew_seconds = 86401

[bounds]
objects = 0
secnds = 10
"#
    ));
}

#[test]
fn syntax_errors_are_all_told_and_hide_nothing() {
    insta::assert_snapshot!(errors_of(
        "version = 1\n[[ref]]\npattern = refs/heads/main\ndelete = yes\n[secrets]\ndeny_confidnce = \"low\"\n"
    ));
}

#[test]
fn a_wrong_shape_is_an_error_and_no_panic() {
    assert_eq!(codes_of(""), ["missing-key"]);
    assert_eq!(codes_of("version = 1\nref = 1"), ["wrong-type"]);
    assert_eq!(codes_of("version = 1\nref = [1]"), ["wrong-type"]);
    assert_eq!(codes_of("version = 1\n[ref]\npattern = 'refs/heads/x'"), ["wrong-type"]);
    assert_eq!(codes_of("version = '1'"), ["wrong-type"]);
    assert_eq!(codes_of("version = 1\nsecrets = 3"), ["wrong-type"]);
    assert_eq!(codes_of("version = 1\nversion = 1"), ["bad-syntax"]);
    assert_eq!(codes_of("version = 1\nx = \"\"\"\n"), ["bad-syntax"]);
    assert_eq!(
        codes_of(&format!("version = 1\nx = {}", "[".repeat(100_000))),
        ["bad-syntax"]
    );
    for deep in [
        "a.".repeat(500_000) + "a = 1",
        format!("[{}a]", "a.".repeat(500_000)),
        "x = ".to_owned() + &"{a=".repeat(300_000),
    ] {
        assert!(!codes_of(&format!("version = 1\n{deep}")).is_empty());
    }
    assert_eq!(codes_of(&" ".repeat((1 << 20) + 1)), ["text-too-long"]);
}

#[test]
fn a_column_counts_characters_and_nothing_moves_the_cursor() {
    insta::assert_snapshot!(errors_of(
        "version = 1\n\"\u{e9}\u{202e}\" = 1 # \u{1b}[2J\n\u{e9}t\u{e9} = 1\n"
    ));
}

#[test]
fn settings_come_back_as_they_were_written() {
    let settings = Settings::new(
        "git+https://git.example.com/acme/pay",
        "https://git.example.com/lychgate",
    );
    assert_eq!(settings.origin, "git.example.com/acme/pay");
    assert_eq!(Settings::parse("gate.toml", &settings.to_toml()).unwrap(), settings);
}

#[test]
fn wrong_settings_are_all_told() {
    let text = "version = 1\nresource = \"acme/pay\"\nverifier = \"x\"\norigin = \"a + b\"\n\
                policy_uri = \"https://ann:word@example.com/\"\nstatus_uri = 3\n";
    let errors = Settings::parse("gate.toml", text).unwrap_err();
    insta::assert_snapshot!(render_errors("gate.toml", &errors));
}

/// All of a policy but its digest and its lines.
fn meaning(policy: &Policy) -> String {
    let text = format!("{policy:?}").replace(&policy.digest, "");
    let mut plain = String::new();
    for (at, part) in text.split("PolicyLine {").enumerate() {
        let rest = if at == 0 {
            Some(part)
        } else {
            part.split_once('}').map(|(_, rest)| rest)
        };
        plain.push_str(rest.unwrap_or(""));
    }
    plain
}

#[derive(Debug, Clone)]
struct Written {
    flags: [Option<bool>; 5],
    who: Option<Vec<String>>,
    name: String,
    skew: Option<i64>,
}

fn written() -> impl Strategy<Value = Written> {
    let who = proptest::option::of(proptest::collection::btree_set("[a-z]{1,8}", 1..4));
    (
        any::<[Option<bool>; 5]>(),
        who,
        "[a-z]{1,10}(/\\*{1,2})?",
        proptest::option::of(0i64..=86_400),
    )
        .prop_map(|(flags, who, name, skew)| Written {
            flags,
            who: who.map(|names| names.into_iter().collect()),
            name,
            skew,
        })
}

/// The same policy in a style: spaces, comments, quotes, order of keys, inline or not.
fn write(policy: &Written, spaces: &str, quote: char, comment: &str, backwards: bool, inline: bool) -> String {
    let mut keys = vec![format!(
        "pattern{spaces}={spaces}{quote}refs/heads/{}{quote}",
        policy.name
    )];
    for (key, flag) in ["create", "update", "delete", "non_fast_forward", "require_signed"]
        .iter()
        .zip(policy.flags)
    {
        keys.extend(flag.map(|flag| format!("{key}{spaces}={spaces}{flag}")));
    }
    keys.extend(policy.who.as_ref().map(|names| {
        let names: Vec<String> = names.iter().map(|name| format!("{quote}{name}{quote}")).collect();
        format!("who{spaces}={spaces}[{spaces}{}{spaces}]", names.join(","))
    }));
    if backwards {
        keys.reverse();
    }
    let skew = policy.skew.map(|skew| format!("skew_seconds{spaces}={spaces}{skew}"));
    if inline {
        let skew = skew.map_or(String::new(), |skew| format!("signatures = {{ {skew} }} {comment}\n"));
        format!("version = 1\n{skew}ref = [{{ {} }}]\n", keys.join(", "))
    } else {
        let skew = skew.map_or(String::new(), |skew| format!("[signatures]\n{skew}\n"));
        format!(
            "{comment}\nversion=1\n{skew}\n[[ref]] {comment}\n{}\n{comment}",
            keys.join("\n\n")
        )
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        if let Err(errors) = Policy::parse("p", &text) {
            prop_assert!(!errors.is_empty());
            render_errors("p", &errors);
        }
    }

    #[test]
    fn any_almost_toml_is_read_or_refused(
        parts in proptest::collection::vec(prop_oneof![
            Just("[[ref]]\n"), Just("[ref]\n"), Just("ref."), Just("pattern"), Just(" = "), Just("\"refs/heads/"),
            Just("'"), Just("\"\"\""), Just("{"), Just("}"), Just("["), Just("]"), Just(","), Just("\n"), Just("\\u00e9"),
            Just("é"), Just("#"), Just("[secrets]\n"), Just("[[secrets.allow]]"), Just("allow."), Just("true"),
            Just("1e9"), Just("0x"), Just("version = 1\n"), Just("\r\n"), Just("\r"), Just("\t"), Just("who"), Just("\u{feff}"),
        ], 0..40)
    ) {
        if let Err(errors) = Policy::parse("p", &parts.concat()) {
            prop_assert!(!errors.is_empty());
            for error in &errors {
                prop_assert!(error.line >= 1 && error.column >= 1 && error.length >= 1);
                prop_assert!(error.source.chars().count() <= 160);
            }
            render_errors("p", &errors);
        }
    }

    #[test]
    fn a_damaged_policy_is_read_or_refused(
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..60, any::<prop::sample::Index>(), any::<bool>()), 1..6)
    ) {
        let mut text: Vec<char> = DEFAULT_POLICY.lines().map(|line| line.split('#').next().unwrap_or("").trim())
            .filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n").chars().collect();
        for (from, len, to, copy) in cuts {
            let start = from.index(text.len());
            let end = (start + len).min(text.len());
            let moved: Vec<char> = if copy { text[start..end].to_vec() } else { text.drain(start..end).collect() };
            let to = to.index(text.len() + 1);
            text.splice(to..to, moved);
        }
        let text: String = text.into_iter().collect();
        if let Err(errors) = Policy::parse("p", &text) {
            prop_assert!(!errors.is_empty());
            render_errors("p", &errors);
        }
    }

    #[test]
    fn layout_changes_no_meaning(
        policy in written(),
        spaces in " {0,3}",
        comment in "(# [a-z \\[\\]=\"]{0,20})?",
        backwards in any::<bool>(),
        inline in any::<bool>(),
    ) {
        let plain = Policy::parse("p", &write(&policy, " ", '"', "", false, false)).unwrap();
        let other = Policy::parse("p", &write(&policy, &spaces, '\'', &comment, backwards, inline)).unwrap();
        prop_assert_eq!(meaning(&plain), meaning(&other));
    }
}
