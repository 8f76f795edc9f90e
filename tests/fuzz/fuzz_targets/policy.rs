//! Any text is a policy or a list of errors that can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lychgate::config::{Policy, Settings, render_errors};

fuzz_target!(|text: &str| {
    for errors in [Policy::parse("policy.toml", text).err(), Settings::parse("gate.toml", text).err()]
        .into_iter()
        .flatten()
    {
        assert!(!errors.is_empty());
        render_errors("policy.toml", &errors);
    }
});
