//! The shipped rules test themselves: each finds its examples, none finds its counter-examples.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, which may panic")]

use lychgate::finding::Confidence;
use lychgate::rule::Rule;
use lychgate::scan::{FingerprintKey, Match, RuleSet, Scanner, shape, source};
use std::collections::BTreeSet;

fn shipped() -> Vec<Rule> {
    source::parse(RuleSet::builtin_sources()).unwrap()
}

fn scan(text: &str) -> Vec<Match> {
    let key = FingerprintKey::new(Box::new([1; 32]));
    Scanner::new(RuleSet::builtin(), &key).scan(text.as_bytes())
}

#[test]
fn the_built_tables_are_those_of_the_files() {
    let rules = shipped();
    let ids: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(RuleSet::builtin().ids().collect::<Vec<_>>(), ids);
    let made = RuleSet::parse(RuleSet::builtin_sources()).unwrap();
    assert_eq!(made.digest(), RuleSet::builtin().digest());
}

#[test]
fn at_least_450_kinds_of_credential_are_known() {
    let kinds: BTreeSet<(String, String)> = shipped().into_iter().map(|r| (r.provider, r.kind)).collect();
    let providers: BTreeSet<&str> = kinds.iter().map(|(provider, _)| provider.as_str()).collect();
    assert!(
        kinds.len() >= 450 && providers.len() >= 450,
        "{} kinds, {} providers",
        kinds.len(),
        providers.len()
    );
}

/// A rule finds its example itself: alone, so that a stronger rule of the same text does not take its place.
fn found_by(set: &RuleSet, text: &str) -> Option<Confidence> {
    let key = FingerprintKey::new(Box::new([1; 32]));
    let found = Scanner::new(set, &key).scan(text.as_bytes());
    found.iter().map(|m| m.confidence).max()
}

fn alone(rule: &Rule) -> RuleSet {
    let file = to_toml(rule);
    RuleSet::parse(&[("one.toml", &file)]).unwrap_or_else(|e| panic!("{}: {e:?}", rule.id))
}

fn to_toml(rule: &Rule) -> String {
    let quote = |text: &str| serde_json::to_string(text).unwrap();
    let list = |texts: &[String]| serde_json::to_string(texts).unwrap();
    let level = |value: serde_json::Value| value.to_string();
    let mut text = format!(
        "[[rule]]\nid = {}\nprovider = {}\nkind = {}\nseverity = {}\nconfidence = {}\ndocumentation = {}\n\
         regex = {}\nkeywords = {}\nentropy = {:?}\nexamples = [\"x\"]\n",
        quote(&rule.id),
        quote(&rule.provider),
        quote(&rule.kind),
        level(serde_json::to_value(rule.severity).unwrap()),
        level(serde_json::to_value(rule.confidence).unwrap()),
        quote(&rule.documentation),
        quote(&rule.regex),
        list(&rule.keywords),
        rule.entropy,
    );
    if let Some(name) = &rule.checksum {
        text.push_str(&format!("checksum = {}\n", quote(name)));
    }
    text
}

#[test]
fn every_rule_finds_its_examples_as_surely_as_it_says() {
    let mut wrong = Vec::new();
    for rule in shipped() {
        let set = alone(&rule);
        for (i, example) in rule.examples.iter().enumerate() {
            match found_by(&set, example) {
                None => wrong.push(format!("{} example {i}: not found", rule.id)),
                Some(confidence) if confidence < rule.confidence && rule.checksum.is_none() => {
                    wrong.push(format!("{} example {i}: only {confidence:?}", rule.id));
                }
                Some(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_rule_finds_its_counterexamples() {
    let mut wrong = Vec::new();
    for rule in shipped() {
        let set = alone(&rule);
        for (i, text) in rule.counterexamples.iter().enumerate() {
            if let Some(confidence) = found_by(&set, text) {
                wrong.push(format!("{} counterexample {i}: found, {confidence:?}", rule.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_example_is_found_by_the_shipped_set_at_medium_confidence_or_more() {
    let mut wrong = Vec::new();
    for rule in shipped() {
        for (i, example) in rule.examples.iter().enumerate() {
            let best = scan(example).iter().map(|m| m.confidence).max();
            if best < Some(rule.confidence) && rule.checksum.is_none() {
                wrong.push(format!("{} example {i}: {best:?} by the whole set", rule.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn keywords_are_in_every_match_as_far_as_can_be_shown() {
    let rules = shipped();
    let unproved = rules.iter().filter(|rule| !shape::proves(&rule.regex, &rule.keywords));
    let unproved: Vec<&str> = unproved.map(|rule| rule.id.as_str()).collect();
    assert!(
        unproved.is_empty(),
        "a match may lack the keywords of: {}",
        unproved.join(", ")
    );
}

#[test]
fn an_explanation_names_each_piece_of_evidence_and_not_the_secret() {
    let scratch = crate::support::Scratch::new();
    let secret = ["9f1182d0ffd81457d8fe", "1ffca4c33e5adb24e221"].concat();
    std::fs::write(
        scratch.path("a.txt"),
        format!("x\ntrello_token = {secret}\ntrello_token = settings.token_provider\n"),
    )
    .unwrap();
    let run = scratch
        .run(crate::support::LYCHGATE, &["rules", "explain", "trello-key", "a.txt"])
        .ends_with(1);
    for part in [
        "trello-key: Trello API key or token",
        "line 2, column 16",
        "structure (random): possible: as it was",
        "  = medium",
        "words, a path, a number or a reference: no finding",
        "  = no finding",
    ] {
        assert!(run.stdout.contains(part), "{part} in:\n{}", run.stdout);
    }
    assert!(!run.stdout.contains(&secret));
    scratch
        .run(crate::support::LYCHGATE, &["rules", "explain", "no-such-rule"])
        .ends_with(2);
}

#[test]
fn the_reference_page_is_that_of_the_rules() {
    let scratch = crate::support::Scratch::new();
    let page = scratch
        .run(crate::support::LYCHGATE, &["rules", "list", "--format", "markdown"])
        .ok();
    let written = crate::tidy::read("rules/REFERENCE.md");
    assert!(
        page.trim_end() == written.trim_end(),
        "rules/REFERENCE.md is old: lychgate rules list --format markdown >rules/REFERENCE.md"
    );
}

#[test]
fn a_new_rule_loads_and_passes_its_examples() {
    let scratch = crate::support::Scratch::new();
    std::fs::create_dir(scratch.path("rules")).unwrap();
    let new = ["rules", "new", "acme-api-token", "--provider", "Acme \"Cloud\""];
    let text = scratch.run(crate::support::LYCHGATE, &new).ok();
    std::fs::write(scratch.path("rules/acme.toml"), &text).unwrap();
    let run = scratch.run(crate::support::LYCHGATE, &["rules", "test", "rules"]).ok();
    assert_eq!(run.trim_end(), "1 rules, 3 examples and counter-examples, 0 wrong");
    scratch
        .run(crate::support::LYCHGATE, &["rules", "new", "Not An Id"])
        .ends_with(2);
}

#[test]
fn the_counts_of_rules_add_up() {
    let scratch = crate::support::Scratch::new();
    let json = scratch
        .run(crate::support::LYCHGATE, &["rules", "stats", "--format", "json"])
        .ok();
    let counts: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rules = shipped().len() as u64;
    for name in ["provider", "kind", "severity", "confidence", "checksum"] {
        let sum: u64 = counts[name]
            .as_object()
            .unwrap()
            .values()
            .filter_map(|n| n.as_u64())
            .sum();
        assert_eq!(sum, rules, "{name}");
    }
    let text = scratch.run(crate::support::LYCHGATE, &["rules", "stats"]).ok();
    assert!(text.starts_with(&format!("{rules} rules\n")), "{text}");
}
