//! The forges' own API descriptions judge adapter and fake: Prism stands between them and refuses what is not theirs.
//!
//! Set up by `tests/fixtures/forge_judges.sh` in `target/forge-judges`, or in
//! the folder that `LYCHGATE_FORGE_JUDGES` names.

use super::{display, hasty, head, hub_at, repo, wait};
use crate::fake_forge::github::GitHubBrain;
use crate::fake_forge::{Brain, Fake};
use crate::support::free_port;
use lychgate::forge::{CheckState, Permission};
use lychgate::port::Forge;
use lychgate::push::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[expect(
    clippy::disallowed_methods,
    reason = "the judges are programs, set up where tests/run says"
)]
pub(crate) fn judges() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = std::env::var_os("LYCHGATE_FORGE_JUDGES").map_or_else(|| root.join("target/forge-judges"), PathBuf::from);
    let script = root.join("tests/fixtures/forge_judges.sh");
    let done = Command::new("sh").arg(script).arg(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "the forges' judges could not be set up: run tests/run\n{said}"
    );
    dir
}

/// Prism as a proxy before a fake. Stops when dropped.
pub(crate) struct Prism {
    child: Child,
    pub(crate) url: String,
}

impl Prism {
    /// * `specification`: a file's name in the judges' folder, or its whole path.
    #[expect(clippy::disallowed_methods, reason = "Prism is a program")]
    pub(crate) fn before(judges: &Path, specification: &str, upstream: &str) -> Self {
        let port = free_port();
        // What it objects to stands there.
        let name = Path::new(specification).file_name().unwrap().display();
        let log = File::create(judges.join(format!("{name}.log"))).unwrap();
        let child = Command::new("node")
            .arg(judges.join("node_modules/@stoplight/prism-cli/dist/index.js"))
            .args(["proxy", "-p", &port.to_string(), "--errors"])
            .arg(judges.join(specification))
            .arg(upstream)
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let prism = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(90), "Prism does not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        prism
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What Prism lets pass: each parameter of each call is one that the description names. Gives the operations that
/// nobody called.
pub(crate) fn idle_operations<B: Brain>(fake: &Fake<B>, description: &Path) -> BTreeSet<String> {
    let description: Value = serde_json::from_slice(&std::fs::read(description).unwrap()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    let mut idle: BTreeSet<String> = all.collect();
    for seen in fake.log() {
        let method = seen.method.as_str();
        let called = paths.keys().filter(|path| fits(path, &seen.path));
        // `/users/me` is both itself and `/users/{name}`.
        let called = called.min_by_key(|path| path.matches('{').count());
        let path = called.unwrap_or_else(|| panic!("{method} {} is not described", seen.path));
        let operation = &paths[path][&method.to_lowercase()];
        let named: Vec<&str> = listed(operation)
            .chain(listed(&paths[path]))
            .map(|one| name(&description, one))
            .collect();
        for pair in seen.query.split('&').filter(|pair| !pair.is_empty()) {
            let key = pair.split('=').next().unwrap();
            assert!(named.contains(&key), "{method} {path} has no parameter {key}");
        }
        idle.remove(&format!("{method} {path}"));
    }
    idle
}

fn fits(template: &str, path: &str) -> bool {
    let parts = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (template, path) = (parts(template), parts(path));
    let same = |(one, other): (&String, &String)| one == other || one.starts_with('{');
    template.len() == path.len() && template.iter().zip(&path).all(same)
}

fn listed(item: &Value) -> impl Iterator<Item = &Value> {
    item["parameters"].as_array().into_iter().flatten()
}

fn name<'a>(description: &'a Value, parameter: &'a Value) -> &'a str {
    let named = |at: &str| description.pointer(at.trim_start_matches('#')).unwrap();
    let parameter = parameter["$ref"].as_str().map_or(parameter, named);
    parameter["name"].as_str().unwrap()
}

/// Status of one request, by hand.
pub(crate) fn post(url: &str, path: &str, body: &str) -> u16 {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    let head = "host: x\r\nconnection: close\r\nauthorization: Bearer x\r\ncontent-type: application/json";
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn githubs_own_specification_accepts_adapter_and_fake() {
    let judges = judges();
    let fake = Fake::start(GitHubBrain::new().with_examples(&judges.join("github-examples.json")));
    let prism = Prism::before(&judges, "github.json", &fake.url);
    {
        let mut brain = fake.brain.lock().unwrap();
        brain.public.clone_from(&prism.url);
        brain.heads.extend((1..=120).map(|number| (number, head())));
        brain.writers.insert("ann".to_owned(), "admin".to_owned());
        let delivery = json!({ "id": 9, "guid": "lost", "status_code": 502, "delivered_at": "2026-11-24T08:00:00Z" });
        brain.deliveries.push(delivery);
    }
    assert_eq!(
        post(&prism.url, "/repos/a/b/check-runs", r#"{"name":"x"}"#),
        422,
        "the judge is awake"
    );
    wait(async {
        let hub = hub_at(&prism.url, hasty());
        assert_eq!(hub.repositories().await.unwrap(), [repo()]);
        let mut asked = repo();
        asked.installation = None;
        assert_eq!(hub.change(&asked, 7).await.unwrap().head_oid.to_string(), head());
        assert_eq!(hub.open_changes(&repo()).await.unwrap().len(), 120);
        assert_eq!(hub.permission(&repo(), "ann").await.unwrap(), Permission::Admin);
        let states = [
            CheckState::Pending,
            CheckState::Failure,
            CheckState::Error,
            CheckState::Success,
        ];
        for (state, annotations) in states.into_iter().zip([0, 120, 0, 0]) {
            let mut display = display(state, annotations);
            display.comment = display.comment.filter(|_| state != CheckState::Success);
            display.title = "é".repeat(300);
            display.summary = "é".repeat(70_000);
            assert!(hub.show(&display).await.unwrap());
            let writes = fake.writes();
            assert!(hub.show(&display).await.unwrap());
            assert_eq!(fake.writes(), writes);
        }
        hub.reply(&repo(), 7, "comment 5", "Evaluated again.").await.unwrap();
        assert_eq!(hub.redeliver(Timestamp::from_unix(0)).await.unwrap(), 1);
        // A twin makes the adapter delete one.
        let twin = fake.brain.lock().unwrap().comments[0].clone();
        fake.brain.lock().unwrap().comments.push(twin);
        hub.show(&display(CheckState::Failure, 120)).await.unwrap();
    });
    let idle = idle_operations(&fake, &judges.join("github.json"));
    assert!(
        idle.contains("POST /repos/{owner}/{repo}/rulesets"),
        "what guards is judged in `guard`: {idle:?}"
    );
    let brain = fake.brain.lock().unwrap();
    // The failure that the success had overtaken is said again, with its notes.
    assert_eq!(brain.annotations.values().map(Vec::len).sum::<usize>(), 240);
}
