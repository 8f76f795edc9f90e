//! Any text as a foreign configuration, ignore file or baseline: what comes out is valid in our form.
#![no_main]

use lychgate::baseline::Baseline;
use lychgate::gitleaks::{self, Ignored, Place};
use lychgate::scan::source;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(config) = gitleaks::parse("fuzz.toml", text) {
        let rules = gitleaks::render(&config.rules);
        assert!(config.rules.is_empty() || source::parse(&[("imported", &rules)]).is_ok());
        let place = Place { path: text, commit: Some(text) };
        config.allow.allows("rule", place, &[]);
    }
    Ignored::parse("fuzz", text);
    if let Ok(baseline) = Baseline::parse("fuzz", text) {
        assert_eq!(Baseline::parse("again", &baseline.render()), Ok(baseline));
    }
});
