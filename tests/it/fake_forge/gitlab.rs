//! A stateful GitLab: merge requests, statuses, notes, members.
//!
//! In scope: the calls that the adapter makes. As in GitLab a status that waits cannot be set to wait again, and a status
//! belongs to a pipeline, that is to a commit and a ref. Out of scope: all else.

use super::shelf::{ACCOUNT, Shelf, edited};
use super::{Brain, Reply, Seen, laid_on};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const PROJECT: u64 = 9001;
const AT: &str = "2026-11-24T08:00:00.000Z";

/// What GitLab knows.
pub(crate) struct GitlabBrain {
    pub(crate) shelf: Shelf,
    pub(crate) heads: BTreeMap<u64, String>,
    /// Merge requests whose head is in a fork alone.
    pub(crate) forks: BTreeSet<u64>,
    /// Merge request → ref of the pipeline that GitLab's own CI ran for its head.
    pub(crate) pipelines: BTreeMap<u64, String>,
    pub(crate) merged: BTreeMap<u64, String>,
    pub(crate) statuses: Vec<Value>,
    pub(crate) notes: Vec<Value>,
    /// Account → (id, access level).
    pub(crate) members: BTreeMap<String, (u64, u64)>,
}

impl GitlabBrain {
    pub(crate) fn new(token: &str) -> Self {
        Self {
            shelf: Shelf::new(token, ("per_page", 100)),
            heads: BTreeMap::new(),
            forks: BTreeSet::new(),
            pipelines: BTreeMap::new(),
            merged: BTreeMap::new(),
            statuses: Vec::new(),
            notes: Vec::new(),
            members: BTreeMap::new(),
        }
    }

    fn request(&self, number: u64) -> Option<Value> {
        let head = self.heads.get(&number)?;
        let merged = self.merged.get(&number);
        let source = if self.forks.contains(&number) {
            8000 + number
        } else {
            PROJECT
        };
        let pipeline = self.pipelines.get(&number).map(
            |name| json!({ "id": 70 + number, "project_id": PROJECT, "sha": head, "ref": name, "status": "running" }),
        );
        Some(json!({
            "id": 600 + number, "iid": number, "project_id": PROJECT, "state": if merged.is_some() { "merged" } else { "opened" },
            "target_branch": "main", "target_project_id": PROJECT,
            "source_branch": format!("topic/{number}"), "source_project_id": source,
            "sha": head, "author": user(9, "mallory"), "merge_user": Value::Null, "merge_commit_sha": merged,
            "squash_commit_sha": Value::Null, "head_pipeline": pipeline,
        }))
    }

    /// The ref under which a status goes: the one asked for, or a pipeline's or branch's that has the commit.
    fn status_ref(&self, sha: &str, asked: &Value) -> Option<String> {
        let here = |number: &u64| self.heads[number] == sha;
        let pipeline = || self.pipelines.iter().find(|(number, _)| here(number));
        let branch = || {
            self.heads
                .keys()
                .find(|number| here(number) && !self.forks.contains(number))
        };
        asked
            .as_str()
            .map(str::to_owned)
            .or_else(|| pipeline().map(|(_, name)| name.clone()))
            .or_else(|| branch().map(|number| format!("topic/{number}")))
    }

    fn rules(&mut self) -> &mut Vec<Value> {
        let rules = self.shelf.canned.entry("protected_branches".to_owned());
        rules.or_insert_with(|| json!([])).as_array_mut().unwrap()
    }

    fn set_status(&mut self, sha: &str, body: &Value) -> Reply {
        let state = body["state"].as_str().unwrap_or_default();
        if !["pending", "running", "success", "failed", "canceled"].contains(&state) {
            return Reply::refuse(400, "state does not have a valid value");
        }
        let Some(name) = self.status_ref(sha, &body["ref"]) else {
            return Reply::refuse(404, "404 References for commit Not Found");
        };
        let stands = |one: &&Value| one["sha"] == *sha && one["name"] == body["name"] && one["ref"] == *name;
        let stands = self.statuses.iter().rfind(stands);
        // What has ended stays, and a new one begins.
        if matches!(state, "pending" | "running") && stands.is_some_and(|one| one["status"] == *state) {
            return Reply::refuse(400, "Cannot transition status via :enqueue from :pending");
        }
        let id = self.shelf.id();
        let status = status(id, sha, &name, body);
        self.statuses.push(status.clone());
        Reply::new(201, status)
    }

    fn project(&mut self, seen: &Seen, parts: &[&str]) -> Reply {
        let number = |text: &str| text.parse::<u64>().unwrap_or_default();
        match (seen.method.as_str(), parts) {
            ("GET", ["merge_requests"]) => {
                let all: Vec<Value> = self.heads.keys().filter_map(|number| self.request(*number)).collect();
                self.shelf.listed(seen, &all)
            }
            ("GET", ["merge_requests", n]) => match self.request(number(n)) {
                Some(request) => Reply::new(200, request),
                None => Reply::refuse(404, "404 Not found"),
            },
            ("GET", ["repository", "branches", name]) => {
                let commit = commit(&"b".repeat(40));
                Reply::new(
                    200,
                    json!({ "name": name, "commit": commit, "protected": true, "default": false }),
                )
            }
            ("GET", ["repository", "commits", sha, "statuses"]) => {
                let asked = |name: &str, one: &Value| seen.parameter(name).is_none_or(|value| one[name] == *value);
                let fits = |one: &&Value| one["sha"] == **sha && asked("name", one) && asked("ref", one);
                let all: Vec<Value> = self.statuses.iter().filter(fits).cloned().collect();
                self.shelf.listed(seen, &all)
            }
            ("POST", ["statuses", sha]) => self.set_status(sha, &seen.body),
            ("GET", ["members", "all", id]) => match self.members.iter().find(|(_, (user, _))| *user == number(id)) {
                Some((name, (id, level))) => {
                    let (access, expires) = (json!({ "access_level": level }), json!({ "expires_at": null }));
                    Reply::new(200, laid_on(&laid_on(&user(*id, name), access), expires))
                }
                None => Reply::refuse(404, "404 Not found"),
            },
            ("GET", ["merge_requests", _, "notes"]) => self.shelf.listed(seen, &self.notes.clone()),
            ("POST", ["merge_requests", n, "notes"]) => {
                let note = json!({
                    "id": self.shelf.id(), "body": seen.body["body"], "author": user(ACCOUNT, "lychgate"),
                    "created_at": AT, "updated_at": AT, "system": false,
                    "noteable_type": "MergeRequest", "noteable_iid": number(n),
                });
                self.notes.push(note.clone());
                Reply::new(201, note)
            }
            (_, ["merge_requests", _, "notes", id]) => edited(&mut self.notes, seen, id),
            ("POST", ["protected_branches"]) => {
                let id = self.shelf.id();
                let levels = json!([{ "id": id, "access_level": seen.body["push_access_level"], "access_level_description": "x" }]);
                let force = seen.body["allow_force_push"].as_bool().unwrap_or(false);
                let rule = json!({ "id": id, "name": seen.body["name"], "push_access_levels": levels,
                    "merge_access_levels": [], "allow_force_push": force });
                self.rules().push(rule.clone());
                Reply::new(201, rule)
            }
            ("POST", ["protected_tags"]) => {
                let level = &seen.body["create_access_level"];
                let levels = json!([{ "id": self.shelf.id(), "access_level": level, "access_level_description": "x" }]);
                let rule = json!({ "name": seen.body["name"], "create_access_levels": levels });
                let rules = self
                    .shelf
                    .canned
                    .entry("protected_tags".to_owned())
                    .or_insert_with(|| json!([]));
                rules.as_array_mut().unwrap().push(rule.clone());
                Reply::new(201, rule)
            }
            ("PATCH", ["protected_branches", name]) => {
                match self.rules().iter_mut().find(|rule| rule["name"] == **name) {
                    Some(rule) => {
                        *rule = laid_on(rule, seen.body.clone());
                        Reply::new(200, rule.clone())
                    }
                    None => Reply::refuse(404, "404 Not found"),
                }
            }
            (_, rest) => self.shelf.kept(seen, rest),
        }
    }
}

pub(crate) fn user(id: u64, name: &str) -> Value {
    json!({ "id": id, "username": name, "name": name, "state": "active", "locked": false, "avatar_url": null,
        "web_url": format!("https://gitlab.example.com/{name}") })
}

pub(crate) fn commit(oid: &str) -> Value {
    json!({ "id": oid, "short_id": &oid[..8], "title": "A commit", "parent_ids": ["c".repeat(40)] })
}

pub(crate) fn status(id: u64, sha: &str, name: &str, body: &Value) -> Value {
    json!({
        "id": id, "sha": sha, "ref": name, "status": body["state"], "name": body["name"],
        "description": body["description"], "target_url": null, "created_at": AT, "started_at": null,
        "finished_at": null, "allow_failure": false, "coverage": null, "pipeline_id": 70,
        "author": user(ACCOUNT, "lychgate"),
    })
}

impl Brain for GitlabBrain {
    fn answer(&mut self, seen: &Seen) -> Reply {
        if seen.header("private-token") != self.shelf.token {
            return Reply::refuse(401, "401 Unauthorized");
        }
        let parts = seen.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["user"] => Reply::new(200, user(ACCOUNT, "lychgate")),
            ["users"] => {
                let name = seen.parameter("username").unwrap_or_default();
                let found = self
                    .members
                    .get(&name)
                    .map(|(id, _)| user(*id, &name));
                Reply::new(200, json!(found.into_iter().collect::<Vec<_>>()))
            }
            ["projects"] => self.shelf.listed(
                seen,
                &[json!({ "id": PROJECT, "name": "widget", "path": "widget", "path_with_namespace": "acme/tools/widget",
                    "default_branch": "main", "web_url": "https://gitlab.example.com/acme/tools/widget" })],
            ),
            ["projects", "9001", rest @ ..] => self.project(seen, rest),
            _ => Reply::refuse(404, "404 Not found"),
        }
    }
}
