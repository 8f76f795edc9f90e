//! Tags in order, from a file of any content: what is found is there, and of tags in order each is found.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lychgate::verdicts::{Sorted, TAG, Tag};

fuzz_target!(|input: (Tag, &[u8])| {
    let (tag, bytes) = input;
    let tags = bytes.as_chunks::<TAG>().0;
    let holds = |bytes: &[u8], tag: &Tag| Sorted::new(bytes, bytes.len() as u64).holds(tag).unwrap_or(false);
    assert!(!holds(bytes, &tag) || tags.contains(&tag));
    let mut ordered = tags.to_vec();
    ordered.sort_unstable();
    assert!(ordered.iter().step_by(97).all(|tag| holds(ordered.as_flattened(), tag)));
    assert_eq!(holds(ordered.as_flattened(), &tag), tags.contains(&tag));
});
