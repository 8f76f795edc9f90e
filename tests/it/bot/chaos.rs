//! Two replicas on a real PostgreSQL, killed at random, before a forge that fails in every way it can.
//!
//! Lasts 40 s and the time until all is settled; `LYCHGATE_CHAOS_SECONDS` makes it longer.

use super::hub::{Attempt, Hub, Trouble, request, signature, touched};
use super::postgres::Server;
use super::yard::{Process, Yard};
use crate::support::free_port;
use axum::http::Method;
use secrecy::ExposeSecret;
use sqlx::{Connection, Row};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

const REPOSITORIES: u64 = 6;
const CHANGES: u64 = 3;

/// Numbers that are random enough, and the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// One forge call in thirty goes wrong.
fn choose(dice: &mut Dice, method: &Method, path: &str) -> Option<Trouble> {
    let writes = *method != Method::GET && !path.ends_with("access_tokens");
    match dice.below(1000) {
        0..8 => Some(Trouble::Refused(502, None)),
        8..12 => Some(Trouble::Refused(403, Some(1))),
        12..16 => Some(Trouble::Refused(429, Some(1))),
        16..26 if writes => Some(Trouble::Lost(502)),
        26..34 => Some(Trouble::Slow(Duration::from_millis(1500))),
        // Longer than any caller waits.
        34 => Some(Trouble::Slow(Duration::from_secs(32))),
        _ => None,
    }
}

/// Two bots, of which one or the other may be dead.
struct Replicas {
    yard: Yard,
    ports: [u16; 2],
    running: [Mutex<Option<Process>>; 2],
    accepted: Mutex<BTreeSet<String>>,
    sent: AtomicU64,
}

impl Replicas {
    fn start(&self, which: usize) {
        let name = ["one", "two"][which];
        *self.running[which].lock().unwrap() = Some(self.yard.start(name));
    }

    fn kill(&self, which: usize) {
        // Dropping it kills it with -9.
        drop(self.running[which].lock().unwrap().take());
    }

    fn hub(&self) -> &Hub {
        &self.yard.hub
    }

    /// Delivers as a forge does: once, to whoever answers, and notes how it ended.
    fn deliver(&self, guid: &str, body: &str) {
        self.sent.fetch_add(1, Relaxed);
        let port = self.ports[usize::from(guid.len().is_multiple_of(2) ^ guid.ends_with(['1', '3', '5', '7', '9']))];
        let status = post(port, &request("pull_request", guid, body, &signature(body.as_bytes()))).unwrap_or(0);
        if (200..300).contains(&status) {
            self.accepted.lock().unwrap().insert(guid.to_owned());
        }
        let at = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        self.hub().state.lock().unwrap().attempts.push(Attempt {
            guid: guid.to_owned(),
            status,
            body: body.to_owned(),
            at: i64::try_from(at).unwrap(),
        });
    }

    /// Delivers again what the bot asked for.
    fn redeliver(&self) {
        let asked = std::mem::take(&mut self.hub().state.lock().unwrap().asked);
        for guid in asked {
            let body = {
                let state = self.hub().state.lock().unwrap();
                let first = state.attempts.iter().find(|attempt| attempt.guid == guid);
                first.map(|attempt| attempt.body.clone())
            };
            self.deliver(&guid, &body.unwrap());
        }
    }
}

fn post(port: u16, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = [0; 256];
    let read = stream.read(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    answer.split(' ').nth(1)?.parse().ok()
}

/// Kills one replica after the other, until told to stop.
fn killer(replicas: &Replicas, stop: &AtomicBool, mut dice: Dice) -> u32 {
    let mut kills = 0;
    while !stop.load(Relaxed) {
        std::thread::sleep(Duration::from_millis(2_000 + dice.below(3_000)));
        let which = usize::try_from(dice.below(2)).unwrap();
        replicas.kill(which);
        kills += 1;
        std::thread::sleep(Duration::from_millis(dice.below(800)));
        replicas.start(which);
    }
    kills
}

/// Pushes to changes, and lets the forge tell it late, twice or never.
fn developer(replicas: &Arc<Replicas>, stop: &AtomicBool, mut dice: Dice) {
    let mut author = replicas.yard.author();
    let mut pushes = 0;
    let mut late = Vec::new();
    // Each change is opened first, then pushed to.
    while !stop.load(Relaxed) || pushes < REPOSITORIES * CHANGES {
        let chosen = if pushes < REPOSITORIES * CHANGES {
            pushes
        } else {
            dice.below(REPOSITORIES * CHANGES)
        };
        let (index, number) = (chosen / CHANGES, chosen % CHANGES + 1);
        let at = usize::try_from(index).unwrap();
        let (dir, base) = {
            let state = replicas.hub().state.lock().unwrap();
            (state.repos[at].dir.clone(), state.repos[at].base.clone())
        };
        let git = git2::Repository::open_bare(dir).unwrap();
        let signed = dice.below(3) > 0;
        let base = git2::Oid::from_str(&base).unwrap();
        let head = (0..=dice.below(3)).fold(base, |parent, _| author.commit(&git, Some(parent), signed));
        replicas.hub().point(at, number, head, signed);
        pushes += 1;
        let (guid, body) = (format!("push-{pushes}"), touched(index + 1, number, "synchronize"));
        let times = match dice.below(20) {
            0..2 => 0,
            2..5 => 2,
            _ => 1,
        };
        for _ in 0..times {
            let (replicas, guid, body) = (Arc::clone(replicas), guid.clone(), body.clone());
            let delay = if dice.below(6) == 0 { dice.below(4_000) } else { 0 };
            late.push(std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(delay));
                replicas.deliver(&guid, &body);
            }));
        }
        std::thread::sleep(Duration::from_millis(100 + dice.below(400)));
    }
    late.into_iter().for_each(|delivery| delivery.join().unwrap());
}

/// Waits until the forge shows what it must about every change.
fn settle(replicas: &Replicas) -> Duration {
    let begun = Instant::now();
    loop {
        replicas.redeliver();
        let open = {
            let state = replicas.hub().state.lock().unwrap();
            assert_eq!(state.faults, Vec::<String>::new());
            state.unsettled()
        };
        if open.is_empty() {
            return begun.elapsed();
        }
        let log = || std::fs::read_to_string(replicas.yard.dir.join("one.log")).unwrap_or_default();
        let tail = |log: String| log.lines().rev().take(15).collect::<Vec<_>>().join("\n");
        assert!(
            begun.elapsed() < Duration::from_secs(240),
            "not settled: {open:#?}\n{}",
            tail(log())
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Deliveries that the store knows, and how many were laid aside.
fn stored(url: &str) -> (BTreeSet<String>, i64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut sql = sqlx::PgConnection::connect(url).await.unwrap();
        let rows = sqlx::query("SELECT delivery FROM lychgate_inbox")
            .fetch_all(&mut sql)
            .await;
        let dead = sqlx::query("SELECT count(*) FROM lychgate_dead_letter")
            .fetch_one(&mut sql)
            .await;
        let known = rows.unwrap().iter().map(|row| row.get(0)).collect();
        (known, dead.unwrap().get(0))
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long it shall last is asked of the environment"
)]
fn seconds() -> u64 {
    let asked = std::env::var("LYCHGATE_CHAOS_SECONDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(40)
}

#[test]
fn kills_and_failures_lose_nothing_and_double_nothing() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let url = server.url().expose_secret().to_owned();
    let replicas = Arc::new(Replicas {
        yard: Yard::new(Path::new(env!("CARGO_BIN_EXE_lychgate")), folder.path(), REPOSITORIES),
        ports: [free_port(), free_port()],
        running: Default::default(),
        accepted: Mutex::default(),
        sent: AtomicU64::new(0),
    });
    let file = replicas.yard.dir.join("postgres-url");
    std::fs::write(&file, &url).unwrap();
    let store = format!("postgres_url_file = \"{}\"", file.display());
    for (name, port) in ["one", "two"].into_iter().zip(replicas.ports) {
        replicas.yard.configure(name, port, &store, 10);
    }
    replicas.start(0);
    replicas.start(1);
    let mut trouble = Dice(0x5eed_0001);
    replicas
        .hub()
        .trouble(Some(Box::new(move |method, path| choose(&mut trouble, method, path))));
    let stop = Arc::new(AtomicBool::new(false));
    let (kills, killer_stop) = (Arc::clone(&replicas), Arc::clone(&stop));
    let kills = std::thread::spawn(move || killer(&kills, &killer_stop, Dice(0x5eed_0002)));
    let (pushes, push_stop) = (Arc::clone(&replicas), Arc::clone(&stop));
    let pushes = std::thread::spawn(move || developer(&pushes, &push_stop, Dice(0x5eed_0003)));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds()) {
        replicas.redeliver();
        std::thread::sleep(Duration::from_millis(200));
    }
    stop.store(true, Relaxed);
    pushes.join().unwrap();
    let kills = kills.join().unwrap();
    replicas.hub().trouble(None);
    let settled = settle(&replicas);
    let state = replicas.hub().state.lock().unwrap();
    assert_eq!(state.faults, Vec::<String>::new());
    let (known, dead) = stored(&url);
    let accepted = replicas.accepted.lock().unwrap();
    assert!(accepted.is_subset(&known), "accepted and lost");
    assert_eq!(dead, 0);
    let sent = replicas.sent.load(Relaxed);
    println!(
        "{kills} kills, {sent} deliveries, {} accepted, {} heads, settled after {settled:?}",
        accepted.len(),
        state.may_enter.len()
    );
    assert!(kills >= 5 && state.may_enter.len() > 40, "nothing happened");
}
