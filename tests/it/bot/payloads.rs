//! What forges really send, and what others send to the same door.

use super::stage::{SECRET, Stage, opened, run};
use crate::forges::judged::judges;
use hmac::{Hmac, KeyInit, Mac};
use lychgate::forge::ForgeEvent;
use serde_json::Value;
use sqlx::{Connection, Row};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn signature(body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body);
    let digits: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256={digits}")
}

fn head(event: &str, delivery: &str, signature: &str, length: usize) -> String {
    format!(
        "POST /hooks/hub HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: {event}\r\nX-GitHub-Delivery: {delivery}\r\n\
         X-Hub-Signature-256: {signature}\r\nContent-Length: {length}\r\n\r\n"
    )
}

fn status(stream: &mut TcpStream) -> u16 {
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Statuses of all bodies, sent one after the other over one connection.
fn deliver_all(port: u16, examples: Vec<(String, Value)>) -> BTreeMap<u16, usize> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut statuses = BTreeMap::new();
    for (position, (event, payload)) in examples.into_iter().enumerate() {
        let body = payload.to_string();
        let head = head(&event, &format!("e{position}"), &signature(body.as_bytes()), body.len());
        stream.write_all((head + &body).as_bytes()).unwrap();
        *statuses.entry(status(&mut stream)).or_default() += 1;
    }
    statuses
}

#[test]
fn every_real_payload_of_github_is_stored_and_understood() {
    let index = judges().join("node_modules/@octokit/webhooks-examples/api.github.com/index.json");
    let index: Vec<Value> = serde_json::from_slice(&std::fs::read(index).unwrap()).unwrap();
    let examples: Vec<(String, Value)> = index
        .iter()
        .flat_map(|event| {
            let name = event["name"].as_str().unwrap();
            let all = event["examples"].as_array().unwrap();
            all.iter().map(|example| (name.to_owned(), example.clone()))
        })
        .collect();
    assert_eq!(examples.len(), 329, "the pinned package");
    run(async |stage: Stage| {
        let port = stage.open().await.port();
        let statuses = tokio::task::spawn_blocking(move || deliver_all(port, examples)).await;
        assert_eq!(statuses.unwrap(), BTreeMap::from([(202, 329)]));
        let mut sql = sqlx::SqliteConnection::connect(&format!("sqlite://{}", stage.store.display()))
            .await
            .unwrap();
        let counted = "SELECT event ->> 'kind', state, count(*) FROM inbox GROUP BY 1, 2 ORDER BY 1, 2";
        let rows = sqlx::query(counted).fetch_all(&mut sql).await.unwrap();
        let rows: Vec<(String, String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        insta::assert_debug_snapshot!(rows);
    });
}

#[test]
fn whoever_announces_much_reserves_nothing() {
    run(async |stage: Stage| {
        let door = stage.open().await;
        let port = door.port();
        let open = tokio::task::spawn_blocking(move || {
            let greedy = head("push", "g", &signature(b"other"), 25 << 20);
            let connections = (0..60).map(|_| {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.write_all(greedy.as_bytes()).unwrap();
                stream.write_all(&[b' '; 1000]).unwrap();
                stream
            });
            connections.collect::<Vec<_>>()
        });
        let open = open.await.unwrap();
        let begun = Instant::now();
        assert_eq!(door.post(&opened(7), "d1").await, 202);
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        drop(open);
    });
}

#[test]
fn large_bodies_hold_up_no_small_one_and_are_let_in_themselves() {
    run(async |stage: Stage| {
        let door = stage.open().await;
        let port = door.port();
        let held = tokio::task::spawn_blocking(move || {
            // More than all further memory, none of it ever finished.
            let head = head("push", "g", &signature(b"other"), 25 << 20);
            let piece = vec![b' '; 1 << 20];
            let connections = (0..9).map(|_| {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
                stream.write_all(head.as_bytes()).unwrap();
                let _ = (0..24).try_for_each(|_| stream.write_all(&piece));
                stream
            });
            connections.collect::<Vec<_>>()
        });
        let held = held.await.unwrap();
        assert_eq!(door.post(&opened(7), "d1").await, 202);
        drop(held);
        let padded = format!("{}{}", opened(8), " ".repeat(20 << 20));
        assert_eq!(door.post(&padded, "d2").await, 202);
    });
}

#[test]
fn a_signature_of_no_form_is_refused_before_its_body_comes() {
    run(async |stage: Stage| {
        let port = stage.open().await.port();
        let refused = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream
                .write_all(head("push", "g", "sha256=no", 20 << 20).as_bytes())
                .unwrap();
            status(&mut stream)
        });
        assert_eq!(refused.await.unwrap(), 401);
    });
}

/// What is signed and cannot be used is refused, each by its status, and the door stays open.
#[test]
fn bad_bodies_are_refused_and_nothing_else_suffers() {
    run(async |stage: Stage| {
        let door = stage.open().await;
        let port = door.port();
        let change = opened(7);
        let form = format!("payload={}", change.replace('{', "%7B").replace('"', "%22"));
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let with = |more: &str| change.replacen('{', &format!("{{{more},"), 1).into_bytes();
        let cases: Vec<(&str, Vec<u8>, u16)> = vec![
            ("pull_request", form.into_bytes(), 400),
            ("pull_request", Vec::new(), 400),
            ("pull_request", deep.clone().into_bytes(), 400),
            ("pull_request", with(&format!("\"ref\":{deep}")), 400),
            ("pull_request", with(r#""action":"closed""#), 400),
            ("pull_request", [&b"\xff\xfe"[..], change.as_bytes()].concat(), 400),
            ("no_such_event", b"[".to_vec(), 202),
            ("pull_request", with(r#""x":1"#), 202),
        ];
        let sent = tokio::task::spawn_blocking(move || {
            let answer = |at: usize, event: &str, body: &[u8]| {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let head = head(event, &format!("bad{at}"), &signature(body), body.len());
                stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
                status(&mut stream)
            };
            for (at, (event, body, wanted)) in cases.iter().enumerate() {
                let start = String::from_utf8_lossy(&body[..body.len().min(80)]);
                assert_eq!(answer(at, event, body), *wanted, "{event} {start}");
            }
        });
        sent.await.unwrap();
    });
}

/// A delivery's id is taken once: another body under it does nothing, however well it is signed.
#[test]
fn an_id_that_comes_again_with_another_body_does_nothing() {
    run(async |stage: Stage| {
        let door = stage.open().await;
        assert_eq!(door.post(&opened(7), "d1").await, 202);
        assert_eq!(door.post(&opened(8), "d1").await, 200);
        assert_eq!(door.post(&opened(7), "d1 d2").await, 400, "an id has no blanks");
        assert_eq!(door.post(&opened(7), &"d".repeat(129)).await, 400);
        let lease = stage.lease().await.unwrap();
        assert!(matches!(&lease.work.event, ForgeEvent::ChangeTouched { number: 7, .. }));
        assert!(stage.finish(&lease).await);
        assert!(stage.lease().await.is_none());
    });
}

#[test]
fn many_at_once_are_each_answered_once_they_are_stored() {
    run(async |stage: Stage| {
        let port = stage.open().await.port();
        let senders: Vec<_> = (0..8)
            .map(|sender| {
                tokio::task::spawn_blocking(move || {
                    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                    let each = (0..50).map(|n| {
                        // Every second one is a copy that another sender delivers as well.
                        let id = if n % 2 == 0 {
                            format!("own-{sender}-{n}")
                        } else {
                            format!("copy-{n}")
                        };
                        let body = opened(n);
                        let head = head("pull_request", &id, &signature(body.as_bytes()), body.len());
                        stream.write_all((head + &body).as_bytes()).unwrap();
                        status(&mut stream)
                    });
                    each.collect::<Vec<u16>>()
                })
            })
            .collect();
        let mut answers = BTreeMap::new();
        for sender in senders {
            for status in sender.await.unwrap() {
                *answers.entry(status).or_insert(0) += 1;
            }
        }
        assert_eq!(answers, BTreeMap::from([(202, 8 * 25 + 25), (200, 7 * 25)]));
    });
}
