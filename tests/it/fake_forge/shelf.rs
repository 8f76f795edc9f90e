//! What the fakes of Forgejo and GitLab have in common.
//!
//! In scope: ids, listings by pages, comments that are edited, and answers that a test laid down. Out of scope: what
//! is a forge's own.

use super::{Reply, Seen, laid_on, page};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Id of the account that the adapter is.
pub(crate) const ACCOUNT: u64 = 5;

pub(crate) struct Shelf {
    /// The URL by which the forge is reached.
    pub(crate) public: String,
    pub(crate) token: String,
    /// Answers to other reads, by the path below the repository.
    pub(crate) canned: BTreeMap<String, Value>,
    /// Name of the parameter for the size of a page, and the most items on one.
    page: (&'static str, usize),
    next_id: u64,
}

impl Shelf {
    pub(super) fn new(token: &str, page: (&'static str, usize)) -> Self {
        Self {
            public: String::new(),
            token: token.to_owned(),
            canned: BTreeMap::new(),
            page,
            next_id: 100,
        }
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn listed(&self, seen: &Seen, all: &[Value]) -> Reply {
        let (name, most) = self.page;
        let (items, next) = page(seen, &self.public, all, name, most);
        let reply = Reply::new(200, json!(items));
        match next {
            Some(next) => reply.with("link", next),
            None => reply,
        }
    }

    /// What was laid down there: read, or changed, so that what was set is what is there from now on.
    pub(super) fn kept(&mut self, seen: &Seen, path: &[&str]) -> Reply {
        let path = path.join("/");
        let before = self.canned.get(&path);
        match (seen.method.as_str(), before) {
            ("GET", Some(Value::Array(all))) => self.listed(seen, all),
            ("GET", Some(one)) => Reply::new(200, one.clone()),
            ("POST" | "PUT" | "PATCH", _) => {
                let after = laid_on(before.unwrap_or(&json!({})), seen.body.clone());
                self.canned.insert(path, after.clone());
                Reply::new(if seen.method == "POST" { 201 } else { 200 }, after)
            }
            _ => Reply::refuse(404, "not found"),
        }
    }
}

/// One of `all`, by its id: deleted, or given another text.
pub(super) fn edited(all: &mut Vec<Value>, seen: &Seen, id: &str) -> Reply {
    let Some(at) = all.iter().position(|one| one["id"].as_u64() == id.parse().ok()) else {
        return Reply::refuse(404, "not found");
    };
    if seen.method == "DELETE" {
        all.remove(at);
        return Reply::new(204, Value::Null);
    }
    all[at]["body"] = seen.body["body"].clone();
    Reply::new(200, all[at].clone())
}
