//! Loads the bot as a forge would, and measures what it answers and how soon it judges.
//!
//! Called by `tests/bench/bot`, which see. Everything runs on this machine: the forge,
//! its Git, the sender and the bot in a process of its own. Writes one JSON object.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program of the tests"
)]

#[path = "../it/bot/hub.rs"]
#[allow(dead_code, reason = "shared with the chaos test")]
mod hub;
#[path = "../it/bot/yard.rs"]
mod yard;

use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use yard::{Process, Yard};

/// Repositories, each of its own installation: GitHub asks for at most one write a second of each.
const REPOSITORIES: u64 = 200;
/// Connections that the webhooks come over.
const CONNECTIONS: usize = 32;
/// Commits of the changes, in turn: 8.4 on average, 50 at most.
const COMMITS: [usize; 10] = [1, 1, 2, 2, 3, 4, 5, 6, 10, 50];

struct Options {
    lychgate: PathBuf,
    store: String,
    examples: PathBuf,
    seconds: u64,
    rate: u64,
    changes: u64,
}

impl Options {
    fn of_arguments() -> Self {
        let mut given: HashMap<String, String> = HashMap::new();
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
            given.insert(name, value);
        }
        let text = |name: &str| given.get(name).unwrap_or_else(|| panic!("{name} is missing")).clone();
        let number = |name: &str| text(name).parse().unwrap();
        Self {
            lychgate: text("--lychgate").into(),
            store: text("--store"),
            examples: text("--examples").into(),
            seconds: number("--seconds"),
            rate: number("--rate"),
            changes: number("--changes"),
        }
    }
}

/// One webhook to come.
struct Job {
    due: Instant,
    request: Vec<u8>,
    /// The change that it opens: its verdict is waited for.
    opens: Option<(u64, u64, String)>,
    guid: String,
}

/// One webhook that was answered.
struct Answered {
    due: Instant,
    took: Duration,
    status: u16,
    head: Option<String>,
    guid: String,
}

fn main() {
    let options = Options::of_arguments();
    let folder = tempfile::tempdir().unwrap();
    let yard = Yard::new(&options.lychgate, folder.path(), REPOSITORIES);
    let heads = prepare(&yard, options.seconds * options.changes);
    let noise = noise(&options.examples);
    let port = free_port();
    let store = match options.store.as_str() {
        "sqlite" => format!("store = \"{}/bot.db\"", folder.path().display()),
        file => format!("postgres_url_file = \"{file}\""),
    };
    yard.configure("bot", port, &store, 240);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(measure(&options, &yard, port, heads, noise));
    println!("{report}");
}

/// Makes the changes; gives (repository's number, change's number, head) in the order in which they are opened.
fn prepare(yard: &Yard, count: u64) -> Vec<(u64, u64, String)> {
    let mut author = yard.author();
    let mut heads: Vec<Vec<(u64, u64, String)>> = Vec::new();
    for index in 0..usize::try_from(REPOSITORIES).unwrap() {
        let (dir, base, id) = {
            let state = yard.hub.state.lock().unwrap();
            let repo = &state.repos[index];
            (repo.dir.clone(), repo.base.clone(), repo.id)
        };
        let of_repo = one_pack(&dir, |git| {
            let base = git2::Oid::from_str(&base).unwrap();
            let many = (0..count).filter(|n| n % REPOSITORIES == index as u64);
            let each = many.map(|n| {
                let commits = COMMITS[usize::try_from(n / 7).unwrap() % COMMITS.len()];
                let head = (0..commits).fold(base, |parent, _| author.commit(git, Some(parent), true));
                (id, n / REPOSITORIES + 1, head)
            });
            each.collect::<Vec<_>>()
        });
        // The API shows each once its webhook comes.
        let git = git2::Repository::open_bare(&dir).unwrap();
        for (_, number, head) in &of_repo {
            let name = format!("refs/pull/{number}/head");
            git.reference(&name, *head, true, "push").unwrap();
        }
        heads.push(
            of_repo
                .into_iter()
                .map(|(id, n, head)| (id, n, head.to_string()))
                .collect(),
        );
    }
    // One of each repository in turn.
    let longest = heads.iter().map(Vec::len).max().unwrap_or_default();
    let turns = (0..longest).flat_map(|turn| heads.iter().filter_map(move |all| all.get(turn).cloned()));
    turns.collect()
}

/// What is made in a repository, as one pack instead of thousands of files.
fn one_pack<T>(dir: &Path, make: impl FnOnce(&git2::Repository) -> T) -> T {
    let git = git2::Repository::open_bare(dir).unwrap();
    let odb = git.odb().unwrap();
    let memory = odb.add_new_mempack_backend(1_000).unwrap();
    let made = make(&git);
    let mut pack = git2::Buf::new();
    memory.dump(&git, &mut pack).unwrap();
    let disk = git2::Repository::open_bare(dir).unwrap();
    let disk = disk.odb().unwrap();
    let mut writer = disk.packwriter().unwrap();
    std::io::Write::write_all(&mut writer, &pack).unwrap();
    writer.commit().unwrap();
    made
}

/// Real webhooks that ask for nothing: event, body, signature.
fn noise(examples: &Path) -> Vec<(String, String, String)> {
    let index: Vec<Value> = serde_json::from_slice(&std::fs::read(examples).unwrap()).unwrap();
    let quiet = [
        "status",
        "issues",
        "label",
        "star",
        "workflow_run",
        "workflow_job",
        "fork",
        "watch",
        "check_run",
    ];
    let of_event = |event: &Value| -> Vec<(String, String, String)> {
        let name = event["name"].as_str().unwrap().to_owned();
        let all = event["examples"].as_array().unwrap().iter();
        let wanted = all.filter(|body| !matches!(body["action"].as_str(), Some("rerequested" | "requested_action")));
        wanted
            .map(|body| {
                let body = body.to_string();
                let signature = hub::signature(body.as_bytes());
                (name.clone(), body, signature)
            })
            .collect()
    };
    let chosen = index
        .iter()
        .filter(|event| quiet.contains(&event["name"].as_str().unwrap()));
    chosen.flat_map(of_event).collect()
}

/// All webhooks of the run, in order: of 500 a second 20 open changes, 20 are pushes, 20 touch a change that has
/// its verdict, 10 are copies, the rest asks for nothing.
fn jobs(
    options: &Options,
    begun: Instant,
    heads: &[(u64, u64, String)],
    noise: &[(String, String, String)],
) -> Vec<Job> {
    let total = options.seconds * options.rate;
    let every = options.rate / options.changes;
    let mut jobs: Vec<Job> = Vec::new();
    for n in 0..total {
        let due = begun + Duration::from_micros(n * 1_000_000 / options.rate);
        let mut guid = format!("load-{n}");
        let at = usize::try_from(n / every).unwrap();
        let mut opens = None;
        let (event, body) = match n % every {
            0 => {
                let (repo, number, _) = &heads[at];
                opens = Some(heads[at].clone());
                ("pull_request", hub::touched(*repo, *number, "opened"))
            }
            5 if at >= 200 => {
                let (repo, number, _) = &heads[at - 200];
                ("pull_request", hub::touched(*repo, *number, "ready_for_review"))
            }
            10 => ("push", pushed(&heads[at])),
            15 if at % 2 == 0 && at > 0 => {
                guid = format!("load-{}", (n / every - 1) * every);
                let (repo, number, _) = &heads[at - 1];
                ("pull_request", hub::touched(*repo, *number, "opened"))
            }
            _ => {
                let (event, body, signature) = &noise[usize::try_from(n).unwrap() % noise.len()];
                let request = hub::request(event, &guid, body, signature);
                jobs.push(Job {
                    due,
                    request,
                    opens,
                    guid,
                });
                continue;
            }
        };
        let request = hub::request(event, &guid, &body, &hub::signature(body.as_bytes()));
        jobs.push(Job {
            due,
            request,
            opens,
            guid,
        });
    }
    jobs
}

fn pushed((repo, number, head): &(u64, u64, String)) -> String {
    json!({
        "ref": format!("refs/heads/topic-{number}"), "before": "0".repeat(40), "after": head,
        "repository": { "id": repo, "full_name": format!("acme/r{repo}") }, "installation": { "id": repo },
    })
    .to_string()
}

async fn measure(
    options: &Options,
    yard: &Yard,
    port: u16,
    heads: Vec<(u64, u64, String)>,
    noise: Vec<(String, String, String)>,
) -> Value {
    let bot = yard.start("bot");
    until_ready(port).await;
    let begun = Instant::now() + Duration::from_millis(200);
    let answered = load(yard, port, jobs(options, begun, &heads, &noise)).await;
    let waited = until_judged(yard, heads.len()).await;
    let (cpu, memory) = used(&bot);
    let metrics = get(port, "/metrics").await;
    drop(bot);
    let again = yard.start("bot");
    until_ready(port).await;
    let lost = lost(port, &answered).await;
    drop(again);
    let state = yard.hub.state.lock().unwrap();
    let verdicts = verdicts(&answered, &state.judged);
    let accepted: Vec<Duration> = answered.iter().map(|it| it.took).collect();
    let status = |wanted: u16| answered.iter().filter(|it| it.status == wanted).count();
    let counter = |name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().parse().ok()).unwrap_or_default()
    };
    json!({
        "seconds": options.seconds, "webhooks": answered.len(), "stored": status(202), "copies": status(200),
        "failed": answered.len() - status(202) - status(200),
        "counted": counter("lychgate_deliveries_accepted_total"), "lost_after_kill": lost,
        "accept_ms": spread(accepted),
        "changes": heads.len(), "judged": verdicts.len(), "verdict_ms": spread(verdicts),
        "settled_after_s": waited.as_secs_f64(), "faults": state.faults,
        "bot_cpu_s": cpu, "bot_peak_mib": memory, "forge_calls": state.calls,
    })
}

/// Sends each webhook when it is due, whatever became of those before it.
async fn load(yard: &Yard, port: u16, jobs: Vec<Job>) -> Vec<Answered> {
    let (send, receive) = mpsc::unbounded_channel::<Job>();
    let receive = Arc::new(Mutex::new(receive));
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let receive = Arc::clone(&receive);
        senders.spawn(async move {
            let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            connection.set_nodelay(true).unwrap();
            let mut answered = Vec::new();
            loop {
                let next = receive.lock().await.recv().await;
                let Some(job) = next else { return answered };
                let status = exchange(&mut connection, &job.request).await;
                let took = job.due.elapsed();
                answered.push(Answered {
                    due: job.due,
                    took,
                    status,
                    head: job.opens.map(|(_, _, head)| head),
                    guid: job.guid,
                });
            }
        });
    }
    for job in jobs {
        tokio::time::sleep_until(job.due.into()).await;
        if let Some((repo, number, head)) = &job.opens {
            let index = usize::try_from(*repo - 1).unwrap();
            yard.hub.open(index, *number, head, true);
        }
        send.send(job).unwrap();
    }
    drop(send);
    senders.join_all().await.into_iter().flatten().collect()
}

async fn exchange(connection: &mut TcpStream, request: &[u8]) -> u16 {
    if connection.write_all(request).await.is_err() {
        return 0;
    }
    let mut answer = [0; 2048];
    let read = connection.read(&mut answer).await.unwrap_or_default();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_default()
}

async fn get(port: u16, path: &str) -> String {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)).await else {
        return String::new();
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = connection.read_to_string(&mut answer).await;
    answer
}

async fn until_ready(port: u16) {
    let begun = Instant::now();
    while !get(port, "/readyz").await.starts_with("HTTP/1.1 200") {
        assert!(begun.elapsed() < Duration::from_secs(30), "the bot does not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits, at most a minute, until every head has its verdict.
async fn until_judged(yard: &Yard, heads: usize) -> Duration {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) && yard.hub.state.lock().unwrap().judged.len() < heads {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

/// After a kill -9: delivers a part of what was stored again, and counts what is not known.
async fn lost(port: u16, answered: &[Answered]) -> usize {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let stored: Vec<_> = answered.iter().filter(|it| it.status == 202).collect();
    let step = (stored.len() / 2_000).max(1);
    let (body, mut lost) = ("{}", 0);
    // The last ones are those that a lost write would take; of the others every nth.
    let last = stored.len().saturating_sub(200);
    for (_, it) in stored
        .iter()
        .enumerate()
        .filter(|(at, _)| at % step == 0 || *at >= last)
    {
        let request = hub::request("ping", &it.guid, body, &hub::signature(body.as_bytes()));
        lost += usize::from(exchange(&mut connection, &request).await != 200);
    }
    lost
}

/// From the moment at which the forge sends the webhook until its check run has a conclusion.
fn verdicts(answered: &[Answered], judged: &HashMap<String, Instant>) -> Vec<Duration> {
    let with_head = answered
        .iter()
        .filter_map(|it| Some((it.due, judged.get(it.head.as_ref()?)?)));
    with_head.map(|(due, at)| at.saturating_duration_since(due)).collect()
}

fn spread(mut all: Vec<Duration>) -> Value {
    all.sort();
    let at = |part: f64| {
        let index = (all.len().saturating_sub(1)) as f64 * part;
        all.get(index.round() as usize)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    };
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0) })
}

/// CPU seconds and peak memory, MiB. <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
fn used(bot: &Process) -> (f64, u64) {
    let at = format!("/proc/{}", bot.child.id());
    let stat = std::fs::read_to_string(format!("{at}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or_default()
    };
    let status = std::fs::read_to_string(format!("{at}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    ((ticks(11) + ticks(12)) / 100.0, peak.unwrap_or_default() / 1024)
}

fn free_port() -> u16 {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    probe.local_addr().unwrap().port()
}
