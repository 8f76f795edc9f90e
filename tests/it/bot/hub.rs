//! A GitHub for load and chaos: many repositories with real Git behind HTTP, and what it must never be told.
//!
//! In scope: the calls of the adapter, fast; smart HTTP by `git upload-pack`; failures
//! on order; webhooks' bodies; a list of faults: what a correct bot never writes. Out
//! of scope: strictness about forms, which `fake_forge::github` and Prism have.
//! Shared by the integration tests and `tests/bench/bot.rs`.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, Response};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The App's id.
pub(crate) const APP: u64 = 4242;
/// The webhooks' secret.
pub(crate) const SECRET: &str = "canary-webhook-secret-3f9c";
/// The name of our check.
const CHECK: &str = "lychgate";

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// This status, and no effect; with `retry-after` where a limit has one.
    Refused(u16, Option<u64>),
    /// The effect, and this status instead of the answer.
    Lost(u16),
    /// No answer for so long; then as usual.
    Slow(Duration),
}

/// Chooses the trouble of a call by method and path.
pub(crate) type Choice = Box<dyn FnMut(&Method, &str) -> Option<Trouble> + Send>;

/// One pull request.
pub(crate) struct Pull {
    pub(crate) head: String,
    /// Comments of ours: id and body.
    pub(crate) comments: Vec<(u64, String)>,
}

/// One repository; its number is also that of its installation.
pub(crate) struct Repo {
    pub(crate) id: u64,
    pub(crate) dir: PathBuf,
    pub(crate) base: String,
    pub(crate) pulls: BTreeMap<u64, Pull>,
}

impl Repo {
    pub(crate) fn name(&self) -> String {
        format!("acme/r{}", self.id)
    }
}

/// What the hub knows.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) repos: Vec<Repo>,
    /// Check runs by commit.
    pub(crate) runs: HashMap<String, Vec<Value>>,
    /// Check run → its commit.
    run_of: HashMap<u64, String>,
    /// Statuses by commit, newest last.
    pub(crate) statuses: HashMap<String, Vec<Value>>,
    /// Commit → whether it may enter: all that ever were heads.
    pub(crate) may_enter: HashMap<String, bool>,
    /// When a head's run was completed with a verdict.
    pub(crate) judged: HashMap<String, Instant>,
    /// Attempts of webhooks, oldest first: what GitHub tells of its deliveries.
    pub(crate) attempts: Vec<Attempt>,
    /// Deliveries that were asked for again.
    pub(crate) asked: Vec<String>,
    /// What a correct bot never does.
    pub(crate) faults: Vec<String>,
    /// Calls by kind.
    pub(crate) calls: BTreeMap<&'static str, u64>,
    next: u64,
}

/// One attempt to deliver.
#[derive(Clone)]
pub(crate) struct Attempt {
    pub(crate) guid: String,
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) at: i64,
}

/// A running hub; its threads end with the process.
#[derive(Clone)]
pub(crate) struct Hub {
    pub(crate) url: String,
    pub(crate) state: Arc<Mutex<State>>,
    trouble: Arc<Mutex<Option<Choice>>>,
    record: Arc<Mutex<Option<String>>>,
}

struct Reply {
    status: u16,
    body: Value,
    retry: Option<u64>,
}

impl Reply {
    fn new(status: u16, body: Value) -> Self {
        Self {
            status,
            body,
            retry: None,
        }
    }

    fn none() -> Self {
        Self::new(404, json!({ "message": "Not Found" }))
    }
}

impl Hub {
    /// Serves on a free port, on two threads of its own.
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let hub = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            state: Arc::default(),
            trouble: Arc::default(),
            record: Arc::default(),
        };
        let served = hub.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let app = axum::Router::new().fallback(move |request: Request| {
                    let hub = served.clone();
                    async move { hub.serve(request).await }
                });
                axum::serve(listener, app).await.unwrap();
            });
        });
        hub
    }

    /// From now on, calls go wrong as this chooses; `None`: none does.
    pub(crate) fn trouble(&self, choice: Option<Choice>) {
        *self.trouble.lock().unwrap() = choice;
    }

    /// Keeps from now on all that is sent here, credentials in their headers aside.
    pub(crate) fn record(&self) {
        *self.record.lock().unwrap() = Some(String::new());
    }

    /// What was sent since then.
    pub(crate) fn recorded(&self) -> String {
        self.record.lock().unwrap().clone().unwrap_or_default()
    }

    /// Points a change at a commit of its repository, in Git and in the API.
    pub(crate) fn point(&self, repo: usize, number: u64, head: git2::Oid, may_enter: bool) {
        let dir = self.state.lock().unwrap().repos[repo].dir.clone();
        let git = git2::Repository::open_bare(dir).unwrap();
        git.reference(&format!("refs/pull/{number}/head"), head, true, "push")
            .unwrap();
        self.open(repo, number, &head.to_string(), may_enter);
    }

    /// The part of [`Hub::point`] that the API shows.
    pub(crate) fn open(&self, repo: usize, number: u64, head: &str, may_enter: bool) {
        let mut state = self.state.lock().unwrap();
        let head = head.to_owned();
        state.may_enter.insert(head.clone(), may_enter);
        let pulls = &mut state.repos[repo].pulls;
        match pulls.get_mut(&number) {
            Some(pull) => pull.head = head,
            None => {
                let comments = Vec::new();
                pulls.insert(number, Pull { head, comments });
            }
        }
    }

    async fn serve(&self, request: Request) -> Response<Body> {
        let (head, body) = request.into_parts();
        let (method, path) = (head.method, head.uri.path().to_owned());
        let query = head.uri.query().unwrap_or_default().to_owned();
        let body = to_bytes(body, 64 << 20).await.unwrap_or_default();
        if let Some(record) = self.record.lock().unwrap().as_mut() {
            record.push_str(&format!("{method} {path}?{query}\n"));
            let open = head.headers.iter().filter(|(name, _)| *name != "authorization");
            open.for_each(|(name, value)| record.push_str(&format!("{name}: {value:?}\n")));
            record.push_str(&String::from_utf8_lossy(&body));
        }
        let trouble = self
            .trouble
            .lock()
            .unwrap()
            .as_mut()
            .and_then(|choose| choose(&method, &path));
        if let Some(Trouble::Refused(status, retry)) = trouble {
            let message = "You have exceeded a secondary rate limit.";
            let mut reply = Reply::new(status, json!({ "message": message }));
            reply.retry = retry;
            return answer(reply);
        }
        if let Some(Trouble::Slow(time)) = trouble {
            tokio::time::sleep(time).await;
        }
        if path.contains(".git/") {
            return self.git(&path, &query, body.to_vec()).await;
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        // Tokens name the installation that they were given to.
        let bearer = head.headers.get("authorization").and_then(|value| value.to_str().ok());
        let who = bearer.and_then(|text| text.split('_').nth(1)?.parse().ok());
        let reply = self.state.lock().unwrap().answer(&method, &path, &body, who);
        match trouble {
            Some(Trouble::Lost(status)) => answer(Reply::new(status, json!({ "message": "lost" }))),
            _ => answer(reply),
        }
    }

    /// <https://git-scm.com/docs/http-protocol>
    async fn git(&self, path: &str, query: &str, body: Vec<u8>) -> Response<Body> {
        let (name, rest) = path.trim_start_matches('/').split_once(".git/").unwrap();
        let id: u64 = name.trim_start_matches("acme/r").parse().unwrap_or_default();
        let dir = {
            let state = self.state.lock().unwrap();
            let found = state.repos.iter().find(|repo| repo.id == id);
            found.map(|repo| repo.dir.clone())
        };
        let Some(dir) = dir else { return answer(Reply::none()) };
        let listing = rest == "info/refs" && query == "service=git-upload-pack";
        let output = tokio::task::spawn_blocking(move || upload_pack(&dir, listing, &body)).await;
        let (kind, start) = match listing {
            true => ("advertisement", b"001e# service=git-upload-pack\n0000".as_slice()),
            false => ("result", b"".as_slice()),
        };
        Response::builder()
            .header("content-type", format!("application/x-git-upload-pack-{kind}"))
            .body(Body::from([start, &output.unwrap()].concat()))
            .unwrap()
    }
}

#[expect(clippy::disallowed_methods, reason = "Git serves itself")]
fn upload_pack(dir: &Path, listing: bool, body: &[u8]) -> Vec<u8> {
    let mut command = Command::new("git");
    command.args(["upload-pack", "--stateless-rpc"]);
    if listing {
        command.arg("--advertise-refs");
    }
    let child = command
        .arg(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.unwrap();
    // A request is far smaller than a pipe's buffer.
    let _ = child.stdin.take().unwrap().write_all(body);
    child.wait_with_output().unwrap().stdout
}

fn answer(reply: Reply) -> Response<Body> {
    let mut response = Response::builder()
        .status(reply.status)
        .header("content-type", "application/json")
        .header("date", "Tue, 24 Nov 2026 08:00:00 GMT");
    if let Some(seconds) = reply.retry {
        response = response.header("retry-after", seconds.to_string());
    }
    response.body(Body::from(reply.body.to_string())).unwrap()
}

impl State {
    /// A number that was never given.
    pub(crate) fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn answer(&mut self, method: &Method, path: &str, body: &Value, who: Option<u64>) -> Reply {
        let parts: Vec<String> = path
            .trim_matches('/')
            .split('/')
            .map(|part| part.replace("%2F", "/"))
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (method.as_str(), parts.as_slice()) {
            ("POST", ["app", "installations", id, "access_tokens"]) => {
                let token = format!("{}_{id}_{}", "ghs", self.id());
                Reply::new(201, json!({ "token": token, "expires_at": "2026-11-24T09:00:00Z" }))
            }
            ("GET", ["app", "installations"]) => {
                let all: Vec<Value> = self.repos.iter().map(|repo| json!({ "id": repo.id })).collect();
                Reply::new(200, json!(all))
            }
            ("GET", ["app", "hook", "deliveries"]) => Reply::new(200, self.deliveries()),
            ("POST", ["app", "hook", "deliveries", id, "attempts"]) => {
                let index: usize = id.parse().unwrap_or_default();
                let guid = self.attempts[index].guid.clone();
                self.asked.push(guid);
                Reply::new(202, json!({}))
            }
            ("GET", ["installation", "repositories"]) => {
                let own = self.repos.iter().filter(|repo| Some(repo.id) == who);
                let all: Vec<Value> = own.map(repository).collect();
                Reply::new(200, json!({ "repositories": all }))
            }
            (method, ["repos", "acme", name, rest @ ..]) => {
                let id: u64 = name.trim_start_matches('r').parse().unwrap_or_default();
                match self.repos.iter().position(|repo| repo.id == id) {
                    Some(at) => self.repo(at, method, rest, body),
                    None => Reply::none(),
                }
            }
            _ => Reply::none(),
        }
    }

    fn deliveries(&self) -> Value {
        let each = self.attempts.iter().enumerate().rev().take(100);
        each.map(|(id, attempt)| {
            let at = time::OffsetDateTime::from_unix_timestamp(attempt.at).unwrap();
            let at = at.format(&time::format_description::well_known::Rfc3339).unwrap();
            json!({ "id": id, "guid": attempt.guid, "status_code": attempt.status, "delivered_at": at })
        })
        .collect()
    }

    fn repo(&mut self, at: usize, method: &str, rest: &[&str], body: &Value) -> Reply {
        let number = |text: &str| text.parse::<u64>().unwrap_or_default();
        let repo = &self.repos[at];
        match (method, rest) {
            ("GET", []) => Reply::new(200, repository(repo)),
            ("GET", ["pulls"]) => {
                let all: Vec<Value> = repo.pulls.iter().map(|(n, pull)| pull_json(repo, *n, pull)).collect();
                Reply::new(200, json!(all))
            }
            ("GET", ["pulls", n]) => match repo.pulls.get(&number(n)) {
                Some(pull) => Reply::new(200, pull_json(repo, number(n), pull)),
                None => Reply::none(),
            },
            ("GET", ["branches", "main"]) => Reply::new(200, json!({ "commit": { "sha": repo.base } })),
            ("GET", ["commits", sha, "check-runs"]) => {
                let all = self.runs.get(*sha).cloned().unwrap_or_default();
                Reply::new(200, json!({ "check_runs": all }))
            }
            ("GET", ["commits", sha, "statuses"]) => {
                let newest = self.statuses.get(*sha).into_iter().flatten().rev().cloned();
                Reply::new(200, json!(newest.collect::<Vec<_>>()))
            }
            ("POST", ["check-runs"]) => self.create_run(body),
            ("PATCH", ["check-runs", id]) => self.update_run(number(id), body),
            ("POST", ["statuses", sha]) => self.create_status(sha, body),
            (method, ["issues", rest @ ..]) => self.comment(at, method, rest, body),
            _ => Reply::none(),
        }
    }

    fn create_run(&mut self, body: &Value) -> Reply {
        *self.calls.entry("check runs created").or_default() += 1;
        let sha = body["head_sha"].as_str().unwrap_or_default().to_owned();
        if !self.may_enter.contains_key(&sha) {
            self.faults
                .push(format!("a check run on {sha}, which was never a head"));
        }
        // A finished run of another evaluation may be followed by another: its annotations cannot be taken back.
        let twin = |run: &&Value| run["external_id"] == body["external_id"] || run["status"] != "completed";
        if let Some(twin) = self.runs.get(&sha).into_iter().flatten().find(twin) {
            let fault = format!("a second check run on {sha}: {} beside {twin}", body["external_id"]);
            self.faults.push(fault);
        }
        let id = self.id();
        let run = json!({ "id": id, "head_sha": sha, "output": { "annotations_count": 0 } });
        self.run_of.insert(id, sha.clone());
        self.runs.entry(sha).or_default().push(run);
        self.update_run(id, body);
        Reply::new(201, json!({ "id": id }))
    }

    fn update_run(&mut self, id: u64, body: &Value) -> Reply {
        *self.calls.entry("check runs written").or_default() += 1;
        let runs = self.run_of.get(&id).and_then(|sha| self.runs.get_mut(sha));
        let Some(run) = runs.into_iter().flatten().find(|run| run["id"] == json!(id)) else {
            return Reply::none();
        };
        for field in ["name", "external_id", "status", "conclusion"] {
            if let Some(value) = body.get(field) {
                run[field] = value.clone();
            }
        }
        if body["status"] == "in_progress" {
            run["conclusion"] = Value::Null;
        }
        let more = body["output"]["annotations"].as_array().map_or(0, Vec::len) as u64;
        let count = run["output"]["annotations_count"].as_u64().unwrap_or_default() + more;
        run["output"] = json!({
            "title": body["output"]["title"], "summary": body["output"]["summary"], "annotations_count": count,
        });
        let sha = run["head_sha"].as_str().unwrap_or_default().to_owned();
        let conclusion = body["conclusion"].as_str().map(str::to_owned);
        self.conclude(&sha, conclusion.as_deref());
        Reply::new(200, json!({ "id": id }))
    }

    /// Holds a verdict against what the commit really is.
    fn conclude(&mut self, sha: &str, conclusion: Option<&str>) {
        let said = match conclusion {
            Some("success") => true,
            Some("failure") => false,
            _ => return,
        };
        if self.may_enter.get(sha) != Some(&said) {
            self.faults.push(format!("{sha} was called {said}"));
        }
        self.judged.entry(sha.to_owned()).or_insert_with(Instant::now);
    }

    fn create_status(&mut self, sha: &str, body: &Value) -> Reply {
        *self.calls.entry("statuses").or_default() += 1;
        if !self.may_enter.contains_key(sha) {
            self.faults.push(format!("a status on {sha}, which was never a head"));
        }
        self.conclude(sha, body["state"].as_str());
        let mut status = body.clone();
        status["id"] = json!(self.id());
        self.statuses.entry(sha.to_owned()).or_default().push(status.clone());
        Reply::new(201, status)
    }

    fn comment(&mut self, at: usize, method: &str, rest: &[&str], body: &Value) -> Reply {
        let number = |text: &str| text.parse::<u64>().unwrap_or_default();
        let text = body["body"].as_str().unwrap_or_default().to_owned();
        let by = json!({ "id": APP });
        let shown = |id: u64, body: &str| json!({ "id": id, "body": body, "performed_via_github_app": by });
        match (method, rest) {
            ("GET", [n, "comments"]) => {
                let pull = self.repos[at].pulls.get(&number(n));
                let all = pull.map(|pull| pull.comments.iter().map(|(id, body)| shown(*id, body)).collect());
                Reply::new(200, all.unwrap_or_else(|| json!([])))
            }
            ("POST", [n, "comments"]) => {
                *self.calls.entry("comments created").or_default() += 1;
                let id = self.id();
                let Some(pull) = self.repos[at].pulls.get_mut(&number(n)) else {
                    return Reply::none();
                };
                let marker = text.lines().next().unwrap_or_default().to_owned();
                if pull.comments.iter().any(|(_, known)| known.starts_with(&marker)) {
                    self.faults.push(format!("a second comment {marker} on change {n}"));
                }
                pull.comments.push((id, text));
                Reply::new(201, json!({ "id": id }))
            }
            (method, ["comments", id]) => {
                let id = number(id);
                let pulls = self.repos[at].pulls.values_mut();
                let Some(pull) = pulls
                    .into_iter()
                    .find(|p| p.comments.iter().any(|(known, _)| *known == id))
                else {
                    return Reply::none();
                };
                if method == "DELETE" {
                    pull.comments.retain(|(known, _)| *known != id);
                    return Reply::new(204, Value::Null);
                }
                for (_, body) in pull.comments.iter_mut().filter(|(known, _)| *known == id) {
                    body.clone_from(&text);
                }
                Reply::new(200, json!({ "id": id }))
            }
            _ => Reply::none(),
        }
    }

    /// What is not yet as it must be in the end, one line each; empty: all is well.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let mut open = Vec::new();
        for repo in &self.repos {
            for (number, pull) in &repo.pulls {
                let wanted = if self.may_enter[&pull.head] {
                    "success"
                } else {
                    "failure"
                };
                let runs = self.runs.get(&pull.head).map_or(&[][..], Vec::as_slice);
                let named: Vec<_> = runs.iter().filter(|run| run["name"] == CHECK).collect();
                let latest = self.statuses.get(&pull.head).and_then(|all| all.last());
                let state = latest.map_or(&Value::Null, |status| &status["state"]);
                let ended = named.last().is_some_and(|run| run["conclusion"] == wanted);
                let folded = pull.comments.iter().all(|(_, body)| body.lines().count() <= 2);
                let said = match wanted {
                    "success" => folded && pull.comments.len() <= 1,
                    _ => !folded && pull.comments.len() == 1,
                };
                if !ended || state != wanted || !said {
                    let runs: Vec<_> = named.iter().map(|run| (&run["status"], &run["conclusion"])).collect();
                    let (name, comments) = (repo.name(), pull.comments.len());
                    open.push(format!(
                        "{name}#{number} at {}: not {wanted}, but runs {runs:?}, status {state}, {comments} comments",
                        pull.head
                    ));
                }
            }
        }
        open
    }
}

fn repository(repo: &Repo) -> Value {
    json!({ "id": repo.id, "full_name": repo.name(), "archived": false })
}

fn pull_json(repo: &Repo, number: u64, pull: &Pull) -> Value {
    json!({
        "number": number, "state": "open", "merged": false, "merge_commit_sha": null,
        "user": { "login": "dev" }, "head": { "sha": pull.head },
        "base": { "ref": "main", "sha": repo.base, "repo": repository(repo) },
    })
}

/// The body of a webhook about a change.
pub(crate) fn touched(repo: u64, number: u64, action: &str) -> String {
    json!({
        "action": action, "number": number, "installation": { "id": repo },
        "repository": { "id": repo, "full_name": format!("acme/r{repo}") },
    })
    .to_string()
}

/// The value of `X-Hub-Signature-256`.
pub(crate) fn signature(body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body);
    let digits: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256={digits}")
}

/// One webhook as HTTP.
pub(crate) fn request(event: &str, delivery: &str, body: &str, signature: &str) -> Vec<u8> {
    let head = format!(
        "POST /hooks/hub HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: {event}\r\nX-GitHub-Delivery: {delivery}\r\n\
         X-Hub-Signature-256: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    head.into_bytes()
}

/// Makes commits, signed by a key or not, without a program for each.
pub(crate) struct Author {
    key: ssh_key::PrivateKey,
    made: i64,
    seen: HashSet<git2::Oid>,
}

impl Author {
    /// With an OpenSSH private key that has no passphrase.
    pub(crate) fn new(key: &Path) -> Self {
        Self {
            key: ssh_key::PrivateKey::read_openssh_file(key).unwrap(),
            made: 0,
            seen: HashSet::new(),
        }
    }

    /// One commit on top of `parent`, with one file of its own.
    pub(crate) fn commit(&mut self, git: &git2::Repository, parent: Option<git2::Oid>, signed: bool) -> git2::Oid {
        let text = format!("fn answer_{0}() -> u64 {{\n    {0}\n}}\n", self.made).repeat(20);
        let name = format!("answer_{}.rs", self.made % 40);
        self.write(git, parent, &name, &text, signed)
    }

    /// One commit on top of `parent`, with this file.
    pub(crate) fn write(
        &mut self,
        git: &git2::Repository,
        parent: Option<git2::Oid>,
        name: &str,
        text: &str,
        signed: bool,
    ) -> git2::Oid {
        self.made += 1;
        let parent = parent.map(|oid| git.find_commit(oid).unwrap());
        let blob = git.blob(text.as_bytes()).unwrap();
        let below = parent.as_ref().map(|parent| parent.tree().unwrap());
        let mut tree = git.treebuilder(below.as_ref()).unwrap();
        tree.insert(name, blob, 0o100_644).unwrap();
        let tree = git.find_tree(tree.write().unwrap()).unwrap();
        let at = git2::Time::new(1_764_000_000 + self.made, 0);
        let who = git2::Signature::new("Dev", "dev@example.com", &at).unwrap();
        let parents: Vec<_> = parent.iter().collect();
        let message = format!("Answer {}\n", self.made);
        let text = git.commit_create_buffer(&who, &who, &message, &tree, &parents).unwrap();
        let oid = match signed {
            true => {
                let signature = self.key.sign("git", ssh_key::HashAlg::Sha512, &text).unwrap();
                let armored = signature.to_pem(ssh_key::LineEnding::LF).unwrap();
                let text = std::str::from_utf8(&text).unwrap();
                git.commit_signed(text, armored.trim_end(), None).unwrap()
            }
            false => git.odb().unwrap().write(git2::ObjectType::Commit, &text).unwrap(),
        };
        assert!(self.seen.insert(oid), "each commit is another");
        oid
    }
}
