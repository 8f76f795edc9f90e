//! Traces, as a collector receives them.

use super::canary::{exchange, get, read, terminate, until};
use super::hub::{request, signature, touched};
use super::yard::Yard;
use crate::support::{LYCHGATE, free_port};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Takes OTLP requests on a free port; gives the port and their bodies.
fn collector() -> (u16, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let given = Arc::clone(&bodies);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut text) = (stream.unwrap(), String::new());
            let mut piece = [0; 4096];
            let body = loop {
                let read = stream.read(&mut piece).unwrap();
                text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                if body.len() == length.unwrap().parse::<usize>().unwrap() {
                    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
                    break body.to_owned();
                }
            };
            bodies.lock().unwrap().push(serde_json::from_str(&body).unwrap());
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                .unwrap();
        }
    });
    (port, given)
}

#[test]
fn each_step_of_a_delivery_is_a_span() {
    let (folder, (collector, bodies)) = (tempfile::tempdir().unwrap(), collector());
    let yard = Yard::new(Path::new(LYCHGATE), folder.path(), 1);
    let (dir, base) = {
        let state = yard.hub.state.lock().unwrap();
        (state.repos[0].dir.clone(), state.repos[0].base.parse().unwrap())
    };
    let git = git2::Repository::open_bare(dir).unwrap();
    let head = yard.author().commit(&git, Some(base), true);
    yard.hub.point(0, 1, head, true);
    let port = free_port();
    let lines = format!(
        "store = \"{}\"\notlp = \"127.0.0.1:{collector}\"",
        yard.dir.join("bot.db").display()
    );
    yard.configure("bot", port, &lines, 240);
    let bot = yard.start("bot");
    until("ready", || get(port, "/readyz").contains("ready"));
    let body = touched(1, 1, "opened");
    exchange(port, &request("pull_request", "d1", &body, &signature(body.as_bytes())));
    until("judged", || yard.hub.state.lock().unwrap().unsettled().is_empty());
    // What ended just before the end is sent as well.
    assert_eq!(terminate(bot), Some(0));
    // The start's own sweep finds the change as well: several deliveries may have been worked on.
    let mut spans: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for body in bodies.lock().unwrap().iter() {
        let resource = &body["resourceSpans"][0];
        assert_eq!(
            resource["resource"]["attributes"][0]["value"]["stringValue"],
            "lychgate"
        );
        for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
            let name = span["name"].as_str().unwrap().to_owned();
            spans.entry(name).or_default().push(span.clone());
        }
    }
    assert_eq!(spans.keys().collect::<Vec<_>>(), ["accept", "delivery", "display"]);
    let accepted = &spans["accept"][0]["traceId"];
    assert!(spans["delivery"].iter().any(|span| span["traceId"] == *accepted));
    for span in spans.values().flatten() {
        let number = |field: &str| span[field].as_str().unwrap().parse::<u128>().unwrap();
        assert!(number("startTimeUnixNano") < number("endTimeUnixNano"), "{span}");
        let digits = |field: &str| span[field].as_str().unwrap().len();
        assert_eq!((digits("traceId"), digits("spanId")), (32, 16));
        assert_eq!(span["status"]["code"], 1);
    }
    assert!(!read(&yard.dir.join("bot.log")).contains("traces-dropped"));
}
