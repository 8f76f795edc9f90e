//! Trees, and the heads of commits and tags, from bytes that anyone may push.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for id_len in [20, 32] {
        let mut entries = lychgate::git::tree_entries(data, id_len);
        let read: usize = entries.by_ref().map(|e| e.name.len() + e.id.len()).sum();
        assert!(read <= data.len());
        assert_eq!(entries.next(), None);
    }
    lychgate::git::commit_head(data);
    lychgate::git::tag_target(data);
});
