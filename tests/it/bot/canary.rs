//! Secrets planted wherever the bot has any, looked for in all that leaves a real process of it.

use super::hub::{SECRET, request, signature, touched};
use super::yard::{Process, Yard};
use crate::support::{LYCHGATE, free_port};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) fn exchange(port: u16, request: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    // A connection that is kept open ends by the timeout.
    let _ = stream.read_to_end(&mut answer);
    Some(String::from_utf8_lossy(&answer).into_owned())
}

pub(crate) fn get(port: u16, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    exchange(port, request.as_bytes()).unwrap_or_default()
}

#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

/// Sends SIGTERM and gives the exit code.
#[expect(clippy::disallowed_methods, reason = "the shell's kill sends the signal")]
pub(crate) fn terminate(mut process: Process) -> Option<i32> {
    let id = process.child.id().to_string();
    let killed = std::process::Command::new("kill").args(["-TERM", &id]).status();
    assert!(killed.unwrap().success());
    process.child.wait().unwrap().code()
}

/// Delivers what is refused, each with a canary, and what is accepted; gives the answers.
fn deliveries(port: u16) -> String {
    let mut answers = String::new();
    let body = touched(1, 1, "opened");
    let wrong = format!("{{\"x\":\"canary-of-the-body\", {}", &body[1..]);
    for (id, body, signed) in [
        ("c1", wrong.as_str(), "sha256=00"),
        ("c2", wrong.as_str(), signature(b"canary-of-the-body").as_str()),
        (
            "c3",
            "{\"canary-of-the-body\"",
            signature(b"{\"canary-of-the-body\"").as_str(),
        ),
        (
            "canary-of-the-body\u{7f}",
            body.as_str(),
            signature(body.as_bytes()).as_str(),
        ),
        ("c5", body.as_str(), signature(body.as_bytes()).as_str()),
    ] {
        answers.extend(exchange(port, &request("pull_request", id, body, signed)));
    }
    answers
}

#[track_caller]
fn assert_every_line_is_an_event(log: &str) {
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(line["time"].is_string() && line["event"].is_string(), "{line}");
    }
    for event in [
        "serving",
        "delivery-refused",
        "head-judged",
        "display-shown",
        "draining",
        "drained",
    ] {
        assert!(log.contains(&format!("\"event\":\"{event}\"")), "{event}: {log}");
    }
}

#[test]
fn no_secret_leaves_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let yard = Yard::new(Path::new(LYCHGATE), folder.path(), 1);
    let planted = crate::support::token(4711);
    let (dir, base) = {
        let state = yard.hub.state.lock().unwrap();
        (state.repos[0].dir.clone(), state.repos[0].base.parse().unwrap())
    };
    let git = git2::Repository::open_bare(dir).unwrap();
    let text = format!("#!/bin/sh\nexport TOKEN={planted}\n");
    let head = yard.author().write(&git, Some(base), "deploy.sh", &text, true);
    yard.hub.point(0, 1, head, false);
    yard.hub.record();
    let port = free_port();
    let store = format!("store = \"{}\"", yard.dir.join("bot.db").display());
    yard.configure("bot", port, &store, 10);
    let bot = yard.start("bot");
    until("ready", || get(port, "/readyz").contains("ready"));
    assert!(get(port, "/healthz").contains("ok"));

    let answers = deliveries(port);
    until("judged", || yard.hub.state.lock().unwrap().unsettled().is_empty());
    let metrics = get(port, "/metrics");
    assert!(metrics.contains("lychgate_verdicts_failure_total 1"), "{metrics}");

    let core = read(Path::new(&format!("/proc/{}/coredump_filter", bot.child.id())));
    let nothing = core.trim().trim_start_matches('0').is_empty();
    assert!(nothing, "memory goes into a core file: {core}");
    assert_eq!(terminate(bot), Some(0), "a drain ends well");

    let log = read(&yard.dir.join("bot.log"));
    assert_every_line_is_an_event(&log);
    let sent = yard.hub.recorded();
    assert!(
        sent.contains("check-runs") && sent.contains("deploy.sh"),
        "the forge was told"
    );
    let everything = [
        ("log", log),
        ("metrics", metrics),
        ("answers", answers),
        ("what the forge was sent", sent),
        ("store", read(&yard.dir.join("bot.db"))),
        ("verdicts", read(&yard.dir.join("bot-mirrors/verdicts.db"))),
    ];
    let key = read(&yard.dir.join("app.pem"));
    let line_of_key = key.lines().nth(3).unwrap();
    let fingerprints = "5a".repeat(32);
    let tokens = format!("{}_1_", "ghs");
    for (what, text) in &everything {
        for canary in [
            &planted,
            SECRET,
            line_of_key,
            &fingerprints,
            &tokens,
            "canary-of-the-body",
        ] {
            assert!(!text.contains(canary), "a secret is in the {what}");
        }
        // Nor a part of what was found, nor its line.
        assert!(
            !text.contains(&planted[..planted.len() / 2]) && !text.contains("export TOKEN"),
            "{what}"
        );
    }
}
