//! The strict tag reader: no input panics, and payload and signature are the object.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(tag) = lychgate::object::tag(data)
        && let Some(parts) = tag.signature
    {
        assert_eq!([parts.payload, parts.signature].concat(), data);
    }
});
