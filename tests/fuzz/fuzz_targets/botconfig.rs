//! The bot's configuration: any text is read or refused with places inside it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lychgate::config::BotConfig;

fuzz_target!(|text: &str| {
    if let Err(errors) = BotConfig::parse("bot.toml", text) {
        assert!(!errors.is_empty());
        assert!(errors.iter().all(|error| error.line >= 1 && error.column >= 1));
    }
});
