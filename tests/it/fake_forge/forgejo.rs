//! A stateful Forgejo: pull requests, statuses, reviews, comments.
//!
//! In scope: the calls that the adapter makes. Out of scope: all else.

use super::shelf::{ACCOUNT, Shelf, edited};
use super::{Brain, Reply, Seen};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What Forgejo knows.
pub(crate) struct ForgejoBrain {
    pub(crate) shelf: Shelf,
    pub(crate) heads: BTreeMap<u64, String>,
    pub(crate) statuses: Vec<Value>,
    pub(crate) reviews: Vec<Value>,
    pub(crate) comments: Vec<Value>,
    pub(crate) writers: BTreeMap<String, String>,
}

impl ForgejoBrain {
    pub(crate) fn new(token: &str) -> Self {
        Self {
            shelf: Shelf::new(token, ("limit", 50)),
            heads: BTreeMap::new(),
            statuses: Vec::new(),
            reviews: Vec::new(),
            comments: Vec::new(),
            writers: BTreeMap::new(),
        }
    }

    fn pull(&self, number: u64) -> Option<Value> {
        let head = self.heads.get(&number)?;
        let repo = json!({ "id": 9001, "full_name": "acme/widget", "archived": false });
        Some(json!({
            "number": number, "state": "open", "merged": false,
            "user": { "id": 9, "login": "mallory" },
            "base": { "ref": "main", "sha": "a".repeat(40), "repo": repo },
            "head": { "ref": "topic", "sha": head, "repo": repo },
        }))
    }

    fn written(&mut self, body: &Value) -> Value {
        json!({ "id": self.shelf.id(), "body": body["body"], "user": { "id": ACCOUNT, "login": "lychgate" } })
    }

    fn repo(&mut self, seen: &Seen, parts: &[&str]) -> Reply {
        let number = |text: &str| text.parse::<u64>().unwrap_or_default();
        match (seen.method.as_str(), parts) {
            ("GET", ["pulls"]) => {
                let all: Vec<Value> = self.heads.keys().filter_map(|number| self.pull(*number)).collect();
                self.shelf.listed(seen, &all)
            }
            ("GET", ["pulls", n]) => match self.pull(number(n)) {
                Some(pull) => Reply::new(200, pull),
                None => Reply::refuse(404, "not found"),
            },
            ("GET", ["pulls", _, "reviews"]) => self.shelf.listed(seen, &self.reviews.clone()),
            ("POST", ["pulls", _, "reviews"]) => {
                let mut review = self.written(&seen.body);
                review["commit_id"] = seen.body["commit_id"].clone();
                review["comments_count"] = json!(seen.body["comments"].as_array().map_or(0, Vec::len));
                self.reviews.push(review.clone());
                Reply::new(200, review)
            }
            ("GET", ["branches", name]) if !self.shelf.canned.contains_key(&format!("branches/{name}")) => {
                Reply::new(200, json!({ "name": name, "commit": { "id": "b".repeat(40) } }))
            }
            ("GET", ["collaborators", user, "permission"]) => match self.writers.get(*user) {
                Some(permission) => Reply::new(200, json!({ "permission": permission })),
                None => Reply::refuse(404, "not found"),
            },
            ("GET", ["statuses", sha]) => {
                let all: Vec<Value> = self
                    .statuses
                    .iter()
                    .rev()
                    .filter(|one| one["url"].as_str().unwrap().ends_with(sha))
                    .cloned()
                    .collect();
                self.shelf.listed(seen, &all)
            }
            ("POST", ["statuses", _]) => {
                let body = &seen.body;
                let url = format!("https://forge.example.com{}", seen.path);
                let (context, description) = (&body["context"], &body["description"]);
                let status = json!({ "id": self.shelf.id(), "status": body["state"], "context": context, "description": description, "url": url });
                self.statuses.push(status.clone());
                Reply::new(201, status)
            }
            ("GET", ["issues", _, "comments"]) => Reply::new(200, json!(self.comments)),
            ("POST", ["issues", _, "comments"]) => {
                let comment = self.written(&seen.body);
                self.comments.push(comment.clone());
                Reply::new(201, comment)
            }
            ("POST", ["tag_protections"]) => {
                let mut rule = seen.body.clone();
                rule["id"] = json!(self.shelf.id());
                let rules = self.shelf.canned.get_mut("tag_protections").unwrap();
                rules.as_array_mut().unwrap().push(rule.clone());
                Reply::new(201, rule)
            }
            (_, ["issues", "comments", id]) => edited(&mut self.comments, seen, id),
            (_, rest) => self.shelf.kept(seen, rest),
        }
    }
}

impl Brain for ForgejoBrain {
    fn answer(&mut self, seen: &Seen) -> Reply {
        if seen.header("authorization") != format!("token {}", self.shelf.token) {
            return Reply::refuse(401, "token is required");
        }
        let parts = seen.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["user"] => Reply::new(200, json!({ "id": ACCOUNT, "login": "lychgate" })),
            ["user", "repos"] => {
                let repo = json!({ "id": 9001, "full_name": "acme/widget", "archived": false });
                let old = json!({ "id": 9002, "full_name": "acme/old", "archived": true });
                self.shelf.listed(seen, &[repo, old])
            }
            ["repos", "acme", "widget"] if !self.shelf.canned.contains_key("") => Reply::new(
                200,
                json!({ "id": 9001, "full_name": "acme/widget", "archived": false }),
            ),
            ["repos", "acme", "widget", rest @ ..] => self.repo(seen, rest),
            _ => Reply::refuse(404, "not found"),
        }
    }
}
