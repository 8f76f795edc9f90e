//! A stateful GitHub: apps, tokens, pull requests, check runs, statuses, comments, deliveries.
//!
//! In scope: the calls that the adapter makes, refused as strictly as GitHub
//! does or more so where its specification is silent (a short id, a completed
//! run without conclusion, a missing credential). Out of scope: all else.

use super::{Brain, Reply, Seen, laid_on, page};
use axum::http::Method;
use base64::Engine;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) const APP: u64 = 4242;
pub(crate) const INSTALLATION: u64 = 77;
pub(crate) const REPO: &str = "acme/widget";
pub(crate) const REPO_ID: u64 = 9001;

/// What GitHub knows.
pub(crate) struct GitHubBrain {
    /// Where clients reach it: not the server's own URL when a proxy stands before it.
    pub(crate) public: String,
    /// Seconds that a token lives.
    pub(crate) token_life: i64,
    /// Token → whether it is good.
    pub(crate) tokens: BTreeMap<String, bool>,
    pub(crate) heads: BTreeMap<u64, String>,
    /// Moves the head of that change after so many reads of it.
    pub(crate) move_after: Option<(u64, usize, String)>,
    pub(crate) base_tip: String,
    pub(crate) runs: Vec<Value>,
    /// Annotations by run, in the order in which they came.
    pub(crate) annotations: BTreeMap<u64, Vec<Value>>,
    pub(crate) statuses: Vec<Value>,
    pub(crate) comments: Vec<Value>,
    pub(crate) deliveries: Vec<Value>,
    pub(crate) writers: BTreeMap<String, String>,
    /// Under which name the repository was known before it was renamed.
    pub(crate) old_name: Option<String>,
    /// Answers to other reads, by the path below the repository: the example that they are shaped by, and the answer.
    pub(crate) canned: BTreeMap<String, (&'static str, Value)>,
    /// Permissions and events of the installation.
    pub(crate) installed: Value,
    /// What was uploaded to code scanning; `None`: it is not enabled.
    pub(crate) sarifs: Option<Vec<Value>>,
    /// What Git serves.
    pub(crate) refs: Vec<(&'static str, String)>,
    examples: Value,
    next_id: u64,
}

impl GitHubBrain {
    pub(crate) fn new() -> Self {
        Self {
            public: String::new(),
            token_life: 3_600,
            tokens: BTreeMap::new(),
            heads: BTreeMap::new(),
            move_after: None,
            base_tip: "b".repeat(40),
            runs: Vec::new(),
            annotations: BTreeMap::new(),
            statuses: Vec::new(),
            comments: Vec::new(),
            deliveries: Vec::new(),
            writers: BTreeMap::new(),
            old_name: None,
            canned: BTreeMap::new(),
            installed: json!({ "permissions": {}, "events": [] }),
            sarifs: None,
            refs: Vec::new(),
            examples: json!({}),
            next_id: 1_000,
        }
    }

    /// Shapes its answers by the examples of the specification, so that they have every field.
    pub(crate) fn with_examples(mut self, path: &Path) -> Self {
        self.examples = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        self
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn like(&self, name: &str, value: Value) -> Value {
        let example = &self.examples[name];
        let example = if example.is_array() { &example[0] } else { example };
        laid_on(example, value)
    }

    fn listed(&self, seen: &Seen, all: &[Value]) -> Reply {
        let (items, next) = page(seen, &self.public, all, "per_page", 100);
        linked(Reply::new(200, json!(items)), next)
    }

    fn wrapped(&self, seen: &Seen, name: &str, all: &[Value]) -> Reply {
        let (items, next) = page(seen, &self.public, all, "per_page", 100);
        let mut body = json!({ "total_count": all.len() });
        body[name] = json!(items);
        linked(Reply::new(200, body), next)
    }

    fn repository(&self) -> Value {
        json!({ "id": REPO_ID, "full_name": REPO, "archived": false })
    }

    fn pull(&mut self, number: u64) -> Option<Value> {
        if let Some((moving, left, to)) = self.move_after.take() {
            if moving == number && left == 0 {
                self.heads.insert(number, to);
            } else {
                self.move_after = Some((moving, left.saturating_sub(usize::from(moving == number)), to));
            }
        }
        let head = self.heads.get(&number)?.clone();
        let base = json!({ "ref": "release/1.0", "sha": "a".repeat(40), "repo": self.repository() });
        let pull = json!({
            "number": number, "state": "open", "merged": false, "merge_commit_sha": "c".repeat(40),
            "user": { "login": "mallory" }, "base": base, "head": { "ref": "topic", "sha": head },
        });
        Some(self.like("pull", pull))
    }

    fn app(&mut self, seen: &Seen, parts: &[&str]) -> Reply {
        match (seen.method.as_str(), parts) {
            ("GET", ["app", "installations"]) => {
                let one = self.like("installations", json!({ "id": INSTALLATION, "suspended_at": null }));
                let mut other = json!({ "id": 78, "suspended_at": "2026-01-01T00:00:00Z" });
                other = self.like("installations", other);
                self.listed(seen, &[one, other])
            }
            ("POST", ["app", "installations", _, "access_tokens"]) => {
                let token = format!("{}_{:036}", "ghs", self.id());
                self.tokens.insert(token.clone(), true);
                let expires = OffsetDateTime::now_utc() + time::Duration::seconds(self.token_life);
                let expires = expires.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
                Reply::new(201, json!({ "token": token, "expires_at": expires, "permissions": {} }))
            }
            ("GET", ["app", "hook", "deliveries"]) => {
                let all: Vec<Value> = self
                    .deliveries
                    .iter()
                    .map(|one| self.like("deliveries", one.clone()))
                    .collect();
                self.listed(seen, &all)
            }
            ("POST", ["app", "hook", "deliveries", _, "attempts"]) => Reply::new(202, json!({})),
            ("GET", ["app", "installations", id]) => {
                let mut one = self.installed.clone();
                one["id"] = json!(id.parse::<u64>().unwrap());
                let mut installed = self.like("installed", one);
                installed["permissions"] = self.installed["permissions"].clone();
                Reply::new(200, installed)
            }
            ("GET", ["repos", _, _, "installation"]) => {
                Reply::new(200, self.like("installation", json!({ "id": INSTALLATION })))
            }
            _ => Reply::refuse(404, "Not Found"),
        }
    }

    fn repo(&mut self, seen: &Seen, parts: &[&str]) -> Reply {
        let number = |text: &str| text.parse::<u64>().unwrap_or_default();
        match (seen.method.as_str(), parts) {
            ("GET", []) => Reply::new(200, self.like("repository", self.repository())),
            ("GET", ["pulls"]) => {
                let base = json!({ "ref": "release/1.0", "sha": "a".repeat(40), "repo": self.repository() });
                let listed = |(n, head): (&u64, &String)| {
                    let head = json!({ "ref": "topic", "sha": head });
                    self.like(
                        "pulls",
                        json!({ "number": n, "state": "open", "base": base, "head": head }),
                    )
                };
                let all: Vec<Value> = self.heads.iter().map(listed).collect();
                self.listed(seen, &all)
            }
            ("GET", ["pulls", n]) if self.canned.contains_key(&format!("pulls/{n}")) => {
                self.canned(seen, &format!("pulls/{n}"))
            }
            ("GET", ["pulls", n]) => self
                .pull(number(n))
                .map_or_else(|| Reply::refuse(404, "Not Found"), |pull| Reply::new(200, pull)),
            ("GET", ["branches", name]) => {
                let branch = json!({ "name": name, "commit": { "sha": self.base_tip } });
                Reply::new(200, self.like("branch", branch))
            }
            ("GET", ["collaborators", user, "permission"]) => match self.writers.get(*user) {
                None => Reply::refuse(404, "Not Found"),
                // As GitHub has it: `permission` calls the finer roles by the coarser ones.
                Some(role) => {
                    let permission = if role == "maintain" { "write" } else { role.as_str() };
                    let body = json!({ "permission": permission, "role_name": role });
                    Reply::new(200, self.like("permission", body))
                }
            },
            ("GET", ["commits", sha, "check-runs"]) => {
                let name = seen.parameter("check_name");
                let ours =
                    |run: &&Value| run["head_sha"] == **sha && name.as_deref().is_none_or(|name| run["name"] == name);
                let all: Vec<Value> = self.runs.iter().filter(ours).cloned().collect();
                self.wrapped(seen, "check_runs", &all)
            }
            ("POST", ["check-runs"]) => self.create_run(&seen.body),
            ("PATCH", ["check-runs", id]) => self.update_run(number(id), &seen.body),
            ("GET", ["commits", sha, "statuses"]) => {
                let all: Vec<Value> = self
                    .statuses
                    .iter()
                    .rev()
                    .filter(|one| one["sha"] == **sha)
                    .cloned()
                    .collect();
                self.listed(seen, &all)
            }
            ("POST", ["statuses", sha]) => self.create_status(sha, &seen.body),
            ("GET", ["issues", n, "comments"]) => {
                let of = |comment: &&Value| comment["issue"] == json!(number(n));
                let all: Vec<Value> = self.comments.iter().filter(of).cloned().collect();
                self.listed(seen, &all)
            }
            ("POST", ["issues", n, "comments"]) => self.create_comment(number(n), &seen.body),
            (method, ["issues", "comments", id]) => self.change_comment(method, number(id), &seen.body),
            ("GET", ["rulesets"]) => self.rulesets(seen),
            ("POST", ["rulesets"]) => {
                let id = self.id();
                self.set_rules(id, &seen.body, 201)
            }
            ("PUT", ["rulesets", id]) => self.set_rules(number(id), &seen.body, 200),
            ("POST", ["code-scanning", "sarifs"]) => match &mut self.sarifs {
                None => Reply::refuse(
                    403,
                    "Code Security must be enabled for this repository to use code scanning.",
                ),
                Some(sarifs) => {
                    sarifs.push(seen.body.clone());
                    Reply::new(202, self.like("sarif", json!({})))
                }
            },
            ("GET", rest) => self.canned(seen, &rest.join("/")),
            _ => Reply::refuse(404, "Not Found"),
        }
    }

    fn canned(&self, seen: &Seen, path: &str) -> Reply {
        match self.canned.get(path) {
            None => Reply::refuse(404, "Not Found"),
            Some((name, Value::Array(all))) => {
                let all: Vec<Value> = all.iter().map(|one| self.like(name, one.clone())).collect();
                self.listed(seen, &all)
            }
            Some((name, one)) => Reply::new(200, self.like(name, one.clone())),
        }
    }

    /// Those with the targets that were asked for.
    fn rulesets(&self, seen: &Seen) -> Reply {
        let Some((_, Value::Array(all))) = self.canned.get("rulesets") else {
            return Reply::refuse(404, "Not Found");
        };
        let targets = seen.parameter("targets");
        let target = |one: &Value| one["target"].as_str().unwrap_or("branch").to_owned();
        let asked = |one: &&Value| {
            targets
                .as_ref()
                .is_none_or(|asked| asked.split(',').any(|it| it == target(one)))
        };
        let all: Vec<Value> = all
            .iter()
            .filter(asked)
            .map(|one| self.like("rulesets", one.clone()))
            .collect();
        self.listed(seen, &all)
    }

    /// The rules of a ruleset are in force at once on what it names.
    fn set_rules(&mut self, id: u64, body: &Value, status: u16) -> Reply {
        if !body["name"].is_string() || !body["enforcement"].is_string() {
            return Reply::refuse(422, "Invalid request");
        }
        let mut whole = body.clone();
        whole["id"] = json!(id);
        self.set_ruleset(whole.clone());
        for name in body["conditions"]["ref_name"]["include"]
            .as_array()
            .into_iter()
            .flatten()
        {
            if let Some(branch) = name.as_str().unwrap().strip_prefix("refs/heads/") {
                self.canned
                    .insert(format!("rules/branches/{branch}"), ("rule", body["rules"].clone()));
            }
        }
        Reply::new(status, self.like("ruleset", whole))
    }

    /// A ruleset is there, listed and as a whole.
    pub(crate) fn set_ruleset(&mut self, whole: Value) {
        let listed = json!({ "id": whole["id"], "name": whole["name"], "target": whole["target"],
            "enforcement": whole["enforcement"], "source_type": "Repository" });
        let (_, all) = self
            .canned
            .entry("rulesets".to_owned())
            .or_insert(("rulesets", json!([])));
        let all = all.as_array_mut().unwrap();
        all.retain(|one| one["id"] != whole["id"]);
        all.push(listed);
        self.canned
            .insert(format!("rulesets/{}", whole["id"]), ("ruleset", whole));
    }

    fn create_run(&mut self, body: &Value) -> Reply {
        let sha = body["head_sha"].as_str().unwrap_or_default();
        if !whole(sha) {
            return Reply::refuse(422, "head_sha is not a whole commit id");
        }
        if let Some(why) = faults_of_run(body) {
            return Reply::refuse(422, why);
        }
        let id = self.id();
        let mut run = json!({
            "id": id, "app": { "id": APP }, "head_sha": sha, "conclusion": null, "completed_at": null,
            "output": { "annotations_count": 0 },
        });
        run = self.like("check_run", run);
        self.runs.push(run);
        self.write_run(id, body);
        Reply::new(201, self.runs.last().unwrap().clone())
    }

    fn update_run(&mut self, id: u64, body: &Value) -> Reply {
        if let Some(why) = faults_of_run(body) {
            return Reply::refuse(422, why);
        }
        match self.runs.iter().any(|run| run["id"] == json!(id)) {
            false => Reply::refuse(404, "Not Found"),
            true => Reply::new(200, self.write_run(id, body)),
        }
    }

    fn write_run(&mut self, id: u64, body: &Value) -> Value {
        let annotations = self.annotations.entry(id).or_default();
        annotations.extend(body["output"]["annotations"].as_array().into_iter().flatten().cloned());
        let count = annotations.len();
        let run = self.runs.iter_mut().find(|run| run["id"] == json!(id)).unwrap();
        for field in ["name", "external_id", "status", "conclusion", "completed_at", "actions"] {
            if let Some(value) = body.get(field) {
                run[field] = value.clone();
            }
        }
        for field in ["title", "summary"] {
            run["output"][field] = body["output"][field].clone();
        }
        run["output"]["annotations_count"] = json!(count);
        run.clone()
    }

    fn create_status(&mut self, sha: &str, body: &Value) -> Reply {
        if !whole(sha)
            || body["description"]
                .as_str()
                .is_some_and(|text| text.chars().count() > 140)
        {
            return Reply::refuse(422, "Validation Failed");
        }
        let mut status = body.clone();
        status["sha"] = json!(sha);
        status["id"] = json!(self.id());
        status = self.like("status", status);
        self.statuses.push(status.clone());
        Reply::new(201, status)
    }

    fn create_comment(&mut self, issue: u64, body: &Value) -> Reply {
        let id = self.id();
        let comment =
            json!({ "id": id, "issue": issue, "body": body["body"], "performed_via_github_app": self.own_app() });
        let comment = self.like("comment", comment);
        self.comments.push(comment.clone());
        Reply::new(201, comment)
    }

    /// A comment that somebody else wrote.
    pub(crate) fn comment_by_other(&mut self, issue: u64, body: &str) {
        let id = self.id();
        let comment = json!({ "id": id, "issue": issue, "body": body, "performed_via_github_app": null });
        let comment = self.like("comment", comment);
        self.comments.push(comment);
    }

    fn own_app(&self) -> Value {
        let app = &self.examples["check_run"]["app"];
        laid_on(app, json!({ "id": APP }))
    }

    fn change_comment(&mut self, method: &str, id: u64, body: &Value) -> Reply {
        let Some(at) = self.comments.iter().position(|comment| comment["id"] == json!(id)) else {
            return Reply::refuse(404, "Not Found");
        };
        if method == "DELETE" {
            self.comments.remove(at);
            return Reply::new(204, Value::Null);
        }
        self.comments[at]["body"] = body["body"].clone();
        Reply::new(200, self.comments[at].clone())
    }

    /// Who asks: the App by its JWT, or an installation by a token.
    fn caller(&self, seen: &Seen) -> Option<Caller> {
        let bearer = seen.header("authorization").strip_prefix("Bearer ")?;
        if let Some(good) = self.tokens.get(bearer) {
            return good.then_some(Caller::Installation);
        }
        let claims = bearer.split('.').nth(1)?;
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let life = claims["exp"].as_i64()? - claims["iat"].as_i64()?;
        (claims["iss"] == json!(APP) && (1..=600).contains(&life)).then_some(Caller::App)
    }
}

#[derive(PartialEq)]
enum Caller {
    App,
    Installation,
}

impl Brain for GitHubBrain {
    fn answer(&mut self, seen: &Seen) -> Reply {
        if seen.path.ends_with(".git/info/refs") {
            return super::advertised(&self.refs);
        }
        let parts = seen.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let Some(caller) = self.caller(seen) else {
            return Reply::refuse(401, "Bad credentials");
        };
        let app_only = parts.first() == Some(&"app") || parts.last() == Some(&"installation");
        if app_only != (caller == Caller::App) {
            return Reply::refuse(401, "A JSON web token could not be decoded");
        }
        if app_only {
            return self.app(seen, &parts);
        }
        if parts == ["installation", "repositories"] {
            let example = &self.examples["repositories"]["repositories"][0];
            let repository = laid_on(example, self.repository());
            return self.wrapped(seen, "repositories", &[repository]);
        }
        let name = parts.get(1..3).map(|name| name.join("/")).unwrap_or_default();
        if Some(&name) == self.old_name.as_ref() {
            let keeps = if seen.method == Method::GET { 301 } else { 307 };
            let rest = seen.path.replacen(&name, REPO, 1);
            let query = if seen.query.is_empty() {
                String::new()
            } else {
                format!("?{}", seen.query)
            };
            return Reply::refuse(keeps, "Moved").with("location", format!("{}{rest}{query}", self.public));
        }
        match parts.first() == Some(&"repos") && name == REPO {
            true => self.repo(seen, &parts[3..]),
            false => Reply::refuse(404, "Not Found"),
        }
    }
}

fn linked(reply: Reply, next: Option<String>) -> Reply {
    match next {
        Some(next) => reply.with("link", next),
        None => reply,
    }
}

fn whole(sha: &str) -> bool {
    sha.len() == 40 && sha.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What GitHub refuses of a check run, by its documentation.
fn faults_of_run(body: &Value) -> Option<&'static str> {
    let completed = body["status"] == "completed";
    let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    let annotations = body["output"]["annotations"].as_array().map_or(0, Vec::len);
    let actions = body["actions"].as_array().cloned().unwrap_or_default();
    let rules = [
        (
            completed != body["conclusion"].is_string(),
            "a conclusion comes with completion, and only then",
        ),
        (annotations > 50, "more than 50 annotations"),
        (length(&body["output"]["summary"]) > 65_535, "the summary is too long"),
        (length(&body["output"]["title"]) > 255, "the title is too long"),
        (actions.len() > 3, "more than 3 actions"),
        (
            actions.iter().any(|action| length(&action["label"]) > 20),
            "a label is too long",
        ),
    ];
    rules.into_iter().find(|(broken, _)| *broken).map(|(_, why)| why)
}
