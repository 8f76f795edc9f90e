//! The reader of deltas: every place that a step names is within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lychgate::git::{Step, delta};

fuzz_target!(|data: &[u8]| {
    let Ok(delta) = delta(data) else { return };
    for step in delta {
        match step {
            Ok(Step::Copy(range)) => assert!(range.start < range.end && range.end as u64 <= delta.base_len),
            Ok(Step::Insert(range)) => assert!(range.start < range.end && range.end <= data.len()),
            Err(_) => return,
        }
    }
});
