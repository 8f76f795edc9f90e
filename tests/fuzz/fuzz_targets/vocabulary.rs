//! Object ids, ref names and times: what is read is written again as it was.
#![no_main]

use lychgate::push::{Oid, RefName, Timestamp};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(oid) = text.parse::<Oid>() {
        assert_eq!(oid.to_string(), text);
    }
    if let Ok(name) = text.parse::<RefName>() {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        assert_eq!(time.to_string().parse(), Ok(time));
    }
});
