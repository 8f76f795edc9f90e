//! A stateful GitLab: merge requests, statuses, notes, members.
//!
//! In scope: the calls that the adapter makes; a state that stands cannot be
//! set again, as in GitLab. Out of scope: all else.

use super::{Brain, Reply, Seen, page};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) const ACCOUNT: u64 = 5;

/// What GitLab knows.
pub(crate) struct GitlabBrain {
    pub(crate) public: String,
    pub(crate) token: String,
    pub(crate) heads: BTreeMap<u64, String>,
    pub(crate) merged: BTreeMap<u64, String>,
    pub(crate) statuses: Vec<Value>,
    pub(crate) notes: Vec<Value>,
    /// Account → (id, access level).
    pub(crate) members: BTreeMap<String, (u64, u64)>,
    /// Answers to other reads, by the path below the repository.
    pub(crate) canned: BTreeMap<String, Value>,
    next_id: u64,
}

impl GitlabBrain {
    pub(crate) fn new(token: &str) -> Self {
        Self {
            public: String::new(),
            token: token.to_owned(),
            heads: BTreeMap::new(),
            merged: BTreeMap::new(),
            statuses: Vec::new(),
            notes: Vec::new(),
            members: BTreeMap::new(),
            canned: BTreeMap::new(),
            next_id: 100,
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn listed(&self, seen: &Seen, all: &[Value]) -> Reply {
        let (items, next) = page(seen, &self.public, all, "per_page", 100);
        let reply = Reply::new(200, json!(items));
        next.map_or_else(|| Reply::new(200, json!(items)), |next| reply.with("link", next))
    }

    fn request(&self, number: u64) -> Option<Value> {
        let head = self.heads.get(&number)?;
        let merged = self.merged.get(&number);
        Some(json!({
            "iid": number, "state": if merged.is_some() { "merged" } else { "opened" }, "target_branch": "main",
            "sha": head, "author": { "id": 9, "username": "mallory" }, "merge_commit_sha": merged,
        }))
    }

    fn set_status(&mut self, sha: &str, body: &Value) -> Reply {
        let state = body["state"].as_str().unwrap_or_default();
        if !["pending", "running", "success", "failed", "canceled"].contains(&state) {
            return Reply::refuse(400, "state does not have a valid value");
        }
        let stands = self
            .statuses
            .iter()
            .rfind(|one| one["sha"] == *sha && one["name"] == body["name"]);
        if stands.is_some_and(|one| one["status"] == *state) {
            return Reply::refuse(400, "Cannot transition status via :enqueue from :pending");
        }
        let (name, description) = (&body["name"], &body["description"]);
        let id = self.id();
        let status = json!({ "id": id, "sha": sha, "status": state, "name": name, "description": description });
        self.statuses.push(status.clone());
        Reply::new(201, status)
    }

    fn project(&mut self, seen: &Seen, parts: &[&str]) -> Reply {
        let number = |text: &str| text.parse::<u64>().unwrap_or_default();
        match (seen.method.as_str(), parts) {
            ("GET", ["merge_requests"]) => {
                let all: Vec<Value> = self.heads.keys().filter_map(|number| self.request(*number)).collect();
                self.listed(seen, &all)
            }
            ("GET", ["merge_requests", n]) => match self.request(number(n)) {
                Some(request) => Reply::new(200, request),
                None => Reply::refuse(404, "404 Not found"),
            },
            ("GET", ["repository", "branches", name]) => {
                Reply::new(200, json!({ "name": name, "commit": { "id": "b".repeat(40) } }))
            }
            ("GET", ["repository", "commits", sha, "statuses"]) => {
                let all: Vec<Value> = self
                    .statuses
                    .iter()
                    .filter(|one| one["sha"] == **sha)
                    .cloned()
                    .collect();
                self.listed(seen, &all)
            }
            ("POST", ["statuses", sha]) => self.set_status(sha, &seen.body),
            ("GET", ["members", "all", id]) => match self.members.values().find(|(user, _)| *user == number(id)) {
                Some((user, level)) => Reply::new(200, json!({ "id": user, "access_level": level })),
                None => Reply::refuse(404, "404 Not found"),
            },
            ("GET", ["merge_requests", _, "notes"]) => self.listed(seen, &self.notes.clone()),
            ("POST", ["merge_requests", _, "notes"]) => {
                let author = json!({ "id": ACCOUNT, "username": "lychgate" });
                let note = json!({ "id": self.id(), "body": seen.body["body"], "author": author });
                self.notes.push(note.clone());
                Reply::new(201, note)
            }
            (method, ["merge_requests", _, "notes", id]) => {
                let Some(at) = self.notes.iter().position(|note| note["id"] == json!(number(id))) else {
                    return Reply::refuse(404, "404 Not found");
                };
                if method == "DELETE" {
                    self.notes.remove(at);
                    return Reply::new(204, Value::Null);
                }
                self.notes[at]["body"] = seen.body["body"].clone();
                Reply::new(200, self.notes[at].clone())
            }
            ("GET", rest) => match self.canned.get(&rest.join("/")) {
                Some(Value::Array(all)) => self.listed(seen, &all.clone()),
                Some(one) => Reply::new(200, one.clone()),
                None => Reply::refuse(404, "not found"),
            },
            ("POST" | "PUT" | "PATCH", rest) => {
                // What was set is what is there from now on.
                let before = self.canned.get(&rest.join("/")).cloned().unwrap_or(json!({}));
                let after = super::laid_on(&before, seen.body.clone());
                self.canned.insert(rest.join("/"), after.clone());
                Reply::new(if seen.method == "POST" { 201 } else { 200 }, after)
            }
            _ => Reply::refuse(404, "404 Not found"),
        }
    }
}

impl Brain for GitlabBrain {
    fn answer(&mut self, seen: &Seen) -> Reply {
        if seen.header("private-token") != self.token {
            return Reply::refuse(401, "401 Unauthorized");
        }
        let parts = seen.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["user"] => Reply::new(200, json!({ "id": ACCOUNT, "username": "lychgate" })),
            ["users"] => {
                let name = seen.parameter("username").unwrap_or_default();
                let found = self
                    .members
                    .get(&name)
                    .map(|(id, _)| json!({ "id": id, "username": name }));
                Reply::new(200, json!(found.into_iter().collect::<Vec<_>>()))
            }
            ["projects"] => self.listed(
                seen,
                &[json!({ "id": 9001, "path_with_namespace": "acme/tools/widget" })],
            ),
            ["projects", "9001", rest @ ..] => self.project(seen, rest),
            _ => Reply::refuse(404, "404 Not found"),
        }
    }
}
