//! Webhooks: no bytes of any forge panic, and what is read is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lychgate::forge::{ForgeEvent, ForgeKind};
use lychgate::push::Timestamp;
use lychgate::webhook::{read, verify};
use secrecy::SecretString;

const EVENTS: [&str; 8] = [
    "pull_request",
    "pull_request_review",
    "issue_comment",
    "check_run",
    "merge_group",
    "push",
    "repository",
    "other",
];

fuzz_target!(|input: (u8, u8, String, Vec<u8>)| {
    let (kind, event, header, body) = input;
    let kind = [ForgeKind::Github, ForgeKind::Forgejo, ForgeKind::Gitlab][usize::from(kind % 3)];
    let event = EVENTS[usize::from(event) % EVENTS.len()];
    let headers = |name: &str| match name {
        name if name.ends_with("-event") => Some(event.to_owned()),
        _ => Some(header.clone()),
    };
    let secrets = [SecretString::from("whsec_a2V5".to_owned()), SecretString::from("token".to_owned())];
    let _ = verify(kind, &headers, &body, &secrets, Timestamp::from_unix(0));
    if let Ok(incoming) = read(kind, "hub", &headers, &body) {
        assert!(incoming.delivery.len() <= 128);
        assert!(incoming.event.lane("hub").len() < 2000);
        if let ForgeEvent::Command { text, .. } = &incoming.event {
            let _ = lychgate::chat::parse(text);
        }
    }
});
